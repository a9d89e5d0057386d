"""How good are the answers? A data set's questions are asked, and what was found and said is measured.

dataset.py      Dataset, Question, Evidence, Span
formats.py      ``read``: data sets as others write them
report.py       Outcome (what happened to a question), Measured, Report
ranking.py      retrieval measures: documents, chunks, spans
evaluation.py   ``evaluate``: asks the questions and puts the families of measures together
"""

from openbook.evaluate.dataset import Dataset, Evidence, Question, Span, Split
from openbook.evaluate.evaluation import evaluate, open_corpus
from openbook.evaluate.formats import read
from openbook.evaluate.report import Measure, Report, read_report

__all__ = [
    "Dataset",
    "Evidence",
    "Measure",
    "Question",
    "Report",
    "Span",
    "Split",
    "evaluate",
    "open_corpus",
    "read",
    "read_report",
]
