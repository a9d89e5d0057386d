"""How good are the answers? A data set's questions are asked, and what was found and said is measured.

    dataset.py       Dataset, Question, Evidence, Span
    formats.py       ``read``: data sets as others write them; trec.py: judgements and runs of TREC
    evidence.py      where the evidence of a question stands in the documents
    evaluation.py    ``evaluate``: asks the questions and puts the families of measures together
        ranking.py       documents, chunks and spans that were found
        answers.py       what was said, and cited
        abstention.py    what was not said
        adherence.py     the form: JSON schema, style
        judge.py         faithfulness and preference by a language model; preference.py: by people
        safety.py        refusals kept, planted orders not obeyed
        operations.py    time, tokens, money, size, freshness
    report.py        Outcome (what happened to a question), Measured (a family's figures), Report
    significance.py  paired tests; comparison.py: the verdict; gate.py: ``check`` in a user's own CI
    sides.py         what can be compared: recipes, the live release, kept reports, TREC runs
    html.py          reports as pages; plots.py
    making.py        data sets made: split by document, from feedback
        sheet.py         passages sampled for people to annotate
        writing.py       questions written from the documents, by a model or by the rules of written.py
    checking.py      what is wrong with a data set; leakage.py: what must not stand in two splits

Nothing here is imported by a question that is only asked.
"""

from openbook.evaluate.adherence import StyleClassifier
from openbook.evaluate.comparison import Comparison, compare
from openbook.evaluate.dataset import Dataset, Evidence, Question, Span, Split
from openbook.evaluate.evaluation import evaluate, open_corpus
from openbook.evaluate.formats import read
from openbook.evaluate.gate import check
from openbook.evaluate.judge import Judge
from openbook.evaluate.report import Measure, Report, read_report

__all__ = [
    "Comparison",
    "Dataset",
    "Evidence",
    "Judge",
    "Measure",
    "Question",
    "Report",
    "Span",
    "Split",
    "StyleClassifier",
    "check",
    "compare",
    "evaluate",
    "open_corpus",
    "read",
    "read_report",
]
