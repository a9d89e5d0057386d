"""How good are the answers? A data set's questions are asked, and what was found and said is measured.

    evaluation.py    ``evaluate``: asks the questions and puts the families of measures together
    report.py        Outcome (what happened to a question), Measured (a family's figures), Report; kept.py: read back
    significance.py  intervals and paired tests; comparison.py: the verdict; gate.py: ``check`` in a user's own CI
    sides.py         what can be compared: recipes, the live release, kept reports, TREC runs
        turns.py         two evaluations, question by question; caches.py: what is indexed apart for them

    datasets/
        dataset.py       Dataset, Question, Evidence, Span
        formats.py       ``read``: data sets as others write them; rows.py: a row, whatever its columns are called;
                         trec.py: judgements and runs of TREC
        evidence.py      where the evidence of a question stands in the documents; normal.py: what does not count in it
        making.py        data sets made: split by document, from feedback
        sheet.py         passages sampled for people to annotate
        writing.py       questions written from the documents, by a model or by rules: written.py; grammar.py: of plain
                         sentences
        checking.py      what is wrong with a data set; leakage.py: what must not stand in two splits
    measures/
        ranking.py       documents, chunks and spans that were found
        answers.py       what was said, and cited
        abstention.py    what was not said
        adherence.py     the form: JSON schema, style
        faithfulness.py  what is said and not borne, as a judge model (judge.py) sees it
        safety.py        refusals kept, planted orders not obeyed
        operations.py    time, tokens, money, size, freshness
        preference.py    which of two answers people prefer; prefer.py: a judge model
    pages/
        definitions.py   what each measure is, in a sentence
        terminal.py      in a terminal; html.py: as a page; plots.py

Nothing here is imported by a question that is only asked.
"""

from openbook.evaluate.caches import open_corpus
from openbook.evaluate.comparison import Comparison, compare
from openbook.evaluate.datasets.dataset import Dataset, Evidence, Question, Span, Split
from openbook.evaluate.datasets.formats import read
from openbook.evaluate.evaluation import evaluate
from openbook.evaluate.gate import check
from openbook.evaluate.kept import read_report
from openbook.evaluate.measures.adherence import StyleClassifier
from openbook.evaluate.measures.judge import Judge
from openbook.evaluate.report import Measure, Report

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
