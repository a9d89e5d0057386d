"""openbook: answers from your own documents, with citations a reader can check."""

__version__ = "0.1.0"
