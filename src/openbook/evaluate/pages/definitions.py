"""What each measure is, in a sentence, and among which others it is shown."""

from __future__ import annotations

from collections.abc import Iterable

DEFINITIONS = {
    "ndcg@": "How well the first {k} documents are ordered: the sum of their grades, each divided by the logarithm of"
    " its rank, over that of the best possible order (Järvelin and Kekäläinen, 2002).",
    "recall@": "The share of the relevant documents that are among the first {k}.",
    "precision@": "The share of the first {k} documents that are relevant.",
    "mrr@": "One divided by the rank of the first relevant document; 0 where none is among the first {k}.",
    "map@": "The mean of the precision at the rank of every relevant document, those beyond the first {k} counting 0.",
    "success@": "1 where at least one relevant document is among the first {k}, else 0.",
    "chunk_ndcg@": "As ndcg@{k}, of chunks: one is relevant that holds half of a piece of evidence, or nothing else.",
    "chunk_recall@": "The share of the relevant chunks that are among the first {k}.",
    "chunk_precision@": "The share of the first {k} chunks that are relevant.",
    "span_recall@": "The share of the evidence's characters that the first {k} chunks hold.",
    "span_precision@": "The share of the characters of the first {k} chunks that are evidence.",
    "span_iou@": "Characters in both the evidence and the first {k} chunks, over those in either.",
    "exact_match": "1 where the answer is an accepted one, apart from case, punctuation and articles (SQuAD).",
    "f1": "The overlap of the answer's words with the closest accepted answer: harmonic mean of precision and recall.",
    "answer_contained": "1 where an accepted answer stands, word for word, in the answer.",
    "evidence_contained": "The share of the evidence that stood in the passages the answer was made from.",
    "citation_precision": "The share of the citations that point at evidence.",
    "citation_recall": "The share of the evidence that a citation points at.",
    "citation_document_precision": "The share of the citations that point into a relevant document.",
    "coverage": "The share of the questions that were answered rather than refused.",
    "false_answer_rate": "The share of the unanswerable questions that were answered all the same.",
    "false_abstention_rate": "The share of the answerable questions that were not answered.",
    "risk": "The share of the answers given that are wrong.",
    "risk_coverage_area": "The mean risk over every share of questions that could be answered: 0 is perfect (AURC).",
    "abstention_auroc": "The chance that an answerable question has the higher confidence beside an unanswerable one.",
    "format_parses": "1 where the answer is JSON, bare or in one fence.",
    "format_valid": "1 where the answer is JSON that its schema allows.",
    "format_values": "The share of the expected values that stand in the answer, at their places.",
    "style_adherence": "1 where a classifier, trained on other examples, finds the answer to be in style.",
    "refusal_kept": "The share of the questions that must get no answer and got none.",
    "injection_rate": "The share of the orders planted in passages that were obeyed.",
    "injection_quoted_rate": "The share of the planted orders that reached the reader as a quotation.",
    "access_leak_rate": "The share of the questions that showed something of a document closed to the caller.",
    "faithfulness": "The share of an answer's statements that its passages bear, as a judge model says.",
    "unsupported_rate": "The share of the questions answered with a statement that no passage bears, by a judge model.",
    "win_rate": "The share of the pairs won against the other side, ties counting half.",
    "flip_rate": "The share of the pairs on which the judge model changed its mind with the order of the two answers.",
    "ms_total": "Milliseconds from the question to the whole answer.",
    "cost": "US dollars that a question costs, by the price file.",
    "tokens_input": "Tokens that the language model read for a question.",
    "tokens_output": "Tokens that the language model wrote for a question.",
}
"""What each measure is, in a sentence; a name that ends in ``@`` takes any k."""

GROUPS = {
    "Chunks and spans": ("chunk_", "span_"),
    "Answers": (
        "exact_match",
        "f1",
        "answer_",
        "evidence_",
        "citation_",
        "faithfulness",
        "unsupported_",
        "win_",
        "flip_",
    ),
    "Form": ("format_", "style_"),
    "Abstention": ("coverage", "false_", "risk", "abstention_"),
    "Safety": ("refusal_", "injection_", "access_"),
    "Time and money": ("ms", "cost", "tokens"),
}
"""Measures, by the start of their name, under the heads that they stand below; all others are of documents."""


def definition(measure: str) -> str | None:
    """What a measure is, in a sentence; ``None`` for one that is not openbook's.

    >>> definition("recall@20")
    'The share of the relevant documents that are among the first 20.'
    """
    kind, at, k = measure.partition("@")
    found = DEFINITIONS.get(kind + at)
    return found.replace("{k}", k) if found else None


def grouped(measures: Iterable[str]) -> dict[str, list[str]]:
    """Head → the measures below it.

    >>> grouped(["f1", "ndcg@10", "ms_total"])
    {'Documents': ['ndcg@10'], 'Answers': ['f1'], 'Time and money': ['ms_total']}
    """
    groups: dict[str, list[str]] = {"Documents": [], **{group: [] for group in GROUPS}}
    for name in measures:
        groups[next((group for group, starts in GROUPS.items() if name.startswith(starts)), "Documents")].append(name)
    return {group: names for group, names in groups.items() if names}
