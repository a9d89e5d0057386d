"""openbook: answers from your own documents, with citations a reader can check.

>>> import openbook
>>> kb = openbook.open()                                    # doctest: +SKIP
>>> kb.add("handbook/")                                     # doctest: +SKIP
>>> kb.ask("How many sick days do I get?").citations        # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from openbook.errors import OpenbookError
    from openbook.knowledge_base import KnowledgeBase, import_, open
    from openbook.recipe import Recipe
    from openbook.types import Answer, Chunk, Citation, Document, Hit, Skipped, Trace

__version__ = "0.1.0"

_HOMES = {
    "KnowledgeBase": "knowledge_base",
    "import_": "knowledge_base",
    "open": "knowledge_base",
    "OpenbookError": "errors",
    "Recipe": "recipe",
    "Answer": "types",
    "Chunk": "types",
    "Citation": "types",
    "Document": "types",
    "Hit": "types",
    "Skipped": "types",
    "Trace": "types",
}

__all__ = [
    "Answer",
    "Chunk",
    "Citation",
    "Document",
    "Hit",
    "KnowledgeBase",
    "OpenbookError",
    "Recipe",
    "Skipped",
    "Trace",
    "import_",
    "open",
]


def __getattr__(name: str) -> Any:
    """The public names come when they are first used: importing openbook loads nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'openbook' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"openbook.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
