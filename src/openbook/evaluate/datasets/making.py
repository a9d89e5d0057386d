"""Data sets are made: split by document, and from what people said of answers.

A question belongs to the split of the documents it is about, and documents that are versions of each other, questions
that are nearly the same and passages that say the same belong to one split together. So nothing that training saw is
measured, and what is chosen on dev is new to test.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openbook.errors import DatasetError, QueryError
from openbook.evaluate.datasets import leakage
from openbook.evaluate.datasets.dataset import Dataset, Evidence, Question, dataset
from openbook.evaluate.datasets.evidence import locate
from openbook.evaluate.datasets.sheet import Row, narrowed, standing

if TYPE_CHECKING:
    from openbook.knowledge_base import KnowledgeBase
    from openbook.store.feedback import Feedback, Passage, Reviewed

Progress = Callable[[int, int], None]

SHARES: Mapping[str, float] = {"dev": 0.5, "test": 0.5}
"""Of an evaluation set's documents. What a model is to be trained on as well gets a share of ``train``."""

BATCH = 4_000_000
"""Characters of documents that are held at once."""


@dataclass(frozen=True, slots=True)
class Made:
    """A data set, how many questions there are of each ``kind`` (as their metadata says), and what became of the rest:
    ``dropped`` (reason → how many), ``to_annotate`` (rows of a sheet for people), ``notes`` for the one who made it."""

    dataset: Dataset
    dropped: Mapping[str, int] = field(default_factory=dict)
    to_annotate: tuple[Row, ...] = ()
    contradictory: tuple[Mapping[str, Any], ...] = ()
    notes: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kinds(self) -> dict[str, int]:
        return dict(Counter(str(q.metadata.get("kind", "")) for q in self.dataset.questions.values()).most_common())

    @property
    def splits(self) -> dict[str, int]:
        counted = Counter(q.split or "" for q in self.dataset.questions.values())
        return {name: counted[name] for name in ("train", "dev", "test") if counted[name]}

    def as_json(self) -> dict[str, Any]:
        """As the command line prints it."""
        return {
            "questions": len(self.dataset.questions),
            "documents": len({s for q in self.dataset.questions.values() for s in leakage.sources(q)}),
            "splits": self.splits,
            "kinds": self.kinds,
            "dropped": dict(self.dropped),
            "to_annotate": [{"id": row.id, "question": row.question, "why": row.note} for row in self.to_annotate],
            "contradictory": [dict(one) for one in self.contradictory],
            "notes": list(self.notes),
            **self.details,
        }

    def lines(self) -> list[str]:
        """As a person reads it."""
        told = self.as_json()
        counts = ", ".join(f"{name} {count}" for name, count in self.splits.items())
        lines = [f"{told['questions']} questions about {told['documents']} documents: {counts or 'none'}"]
        if self.kinds:
            lines.append("kinds: " + ", ".join(f"{kind} {count}" for kind, count in self.kinds.items()))
        if self.dropped:
            lines.append("dropped: " + ", ".join(f"{count} {reason}" for reason, count in self.dropped.items()))
        for one in self.contradictory:
            lines.append(f"contradictory: {one['question']} (up {one['up']}, down {one['down']}): {one['answer']}")
        for row in self.to_annotate:
            lines.append(f"to annotate: {row.question} ({row.note})")
        return [*lines, *self.notes]


def new_file(path: Path) -> Path:
    """Before the work is done: nobody's annotations are overwritten.

    Raises:
        QueryError: the file is there already, or its folder is not.
    """
    if path.exists():
        raise QueryError("exists already", where=str(path), do="name another file, or remove it")
    if not path.absolute().parent.is_dir():
        raise QueryError("no such folder", where=str(path.absolute().parent), do="make it, or name another")
    return path


# --- splits -----------------------------------------------------------------------------------------------------------


def read_shares(text: str) -> dict[str, float]:
    """``"train=0.6,dev=0.2,test=0.2"``: shares of the documents, which sum to 1.

    >>> read_shares("test=0.75, dev=0.25")
    {'dev': 0.25, 'test': 0.75}

    Raises:
        QueryError: another form, another split, a split twice, or another sum.
    """
    found: dict[str, float] = {}
    do = "write it as train=0.6,dev=0.2,test=0.2"
    for part in text.split(","):
        name, _, share = (piece.strip() for piece in part.partition("="))
        if name not in ("train", "dev", "test") or not re.fullmatch(r"\d+(\.\d*)?|\.\d+", share):
            raise QueryError("not shares of train, dev and test", where=text, do=do)
        if name in found:
            raise QueryError(f"two shares of {name}", where=text, do=do)
        found[name] = float(share)
    total = math.fsum(found.values())
    if not math.isclose(total, 1, abs_tol=1e-6):
        raise QueryError(f"shares that sum to {total:g}", where=text, do="let them sum to 1, such as dev=0.5,test=0.5")
    return {name: found[name] / total for name in ("train", "dev", "test") if name in found}


def split(
    questions: Sequence[Question],
    versions: leakage.Groups[str],
    shares: Mapping[str, float] = SHARES,
    names: Mapping[str, str] | None = None,
) -> list[Question]:
    """The questions with their splits, which ``leakage.find`` finds nothing between.

    ``versions`` says which documents (sources) are versions of each other. The first name of a group decides, by its
    SHA-256 (``names``: what a source is called, else itself): the same documents get the same split whenever they are
    asked about.
    """
    names = names or {}
    groups: leakage.Groups[tuple[int, str]] = leakage.Groups()
    nodes = [(1, leakage.normalised(question.text)) for question in questions]
    for node, question in zip(nodes, questions, strict=True):
        for source in leakage.sources(question):
            first = versions.of(source)
            groups.join(node, (0, names.get(first, first)))
    for i, j, _ in leakage.near([question.text for question in questions]):
        groups.join(nodes[i], nodes[j])
    sketches: leakage.Sketches[tuple[int, int]] = leakage.Sketches()
    for i, question in enumerate(questions):
        for number, evidence in enumerate(question.evidence):
            if evidence.text.strip():
                sketches.add((i, number), evidence.text)
    for (i, _), (j, _), _ in sketches.alike(leakage.NEAR_PASSAGE, leakage.HELD_PASSAGE):
        groups.join(nodes[i], nodes[j])
    return [
        replace(question, split=split_of(groups.of(node)[1], shares))
        for node, question in zip(nodes, questions, strict=True)
    ]


def split_of(name: str, shares: Mapping[str, float]) -> str:
    """The split of the documents whose group is called so."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
    at = int.from_bytes(digest[:8], "big") / 2**64
    for split, share in shares.items():
        at -= share
        if at < 0:
            return split
    return [*shares][-1]


# --- the documents ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Corpus:
    """What one pass over all documents tells. ``versions``: which are versions of each other, by source;
    ``names[source]``: its path where no other document's ends so, which is the same on another machine; else itself.
    ``frequency[word]``: in how many documents it stands; ``codes``: names such as HB-4012, as they are compared."""

    listing: Sequence[Mapping[str, Any]]
    versions: leakage.Groups[str]
    names: Mapping[str, str]
    frequency: Mapping[str, int]
    codes: frozenset[str]

    @staticmethod
    def of(
        kb: KnowledgeBase,
        as_: Sequence[str] | None = None,
        progress: Progress | None = None,
        *,
        local_only: bool = True,
    ) -> Corpus:
        """The documents that ``as_`` may see; only those that remote models may see too, unless ``local_only``.

        Raises:
            DatasetError: there is none.
        """
        listing = kb.list(as_=as_)
        if not listing:
            raise DatasetError("no documents to ask about", where=f"knowledge base {kb.name}", do="openbook add FOLDER")
        sketches: leakage.Sketches[str] = leakage.Sketches()
        frequency: Counter[str] = Counter()
        codes: set[str] = set()
        for number, (row, text) in enumerate(texts(kb, listing, as_), 1):
            sketches.add(row["source"], text)
            frequency.update(set(leakage.words(text)))
            codes.update(code_of(match[0]) for match in CODE.finditer(text))
            if progress is not None:
                progress(number, len(listing))
        told = [row for row in listing if local_only or not row["local_only"]]
        if not told:
            what, do = "every document is local-only, and a model is remote", "write by rules, with a local embedder"
            raise DatasetError(what, where=f"knowledge base {kb.name}", do=do)
        return Corpus(told, sketches.versions(), _names(listing), frequency, frozenset(codes))

    def split(self, questions: Sequence[Question], shares: Mapping[str, float]) -> list[Question]:
        """The questions with their splits, and their documents by name."""
        made = split(questions, self.versions, shares, self.names)
        return [replace(q, evidence=tuple(map(self.named, q.evidence))) for q in made]

    def split_of(self, source: str, shares: Mapping[str, float]) -> str:
        """The split of a document."""
        first = self.versions.of(source)
        return split_of(self.names.get(first, first), shares)

    def named(self, evidence: Evidence) -> Evidence:
        """The same, its document by name."""
        return replace(evidence, source=self.names.get(evidence.source, evidence.source))


def _names(listing: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    ends: dict[str, list[tuple[str, str]]] = {}
    for row in listing:
        for path in {row["source"], str(row["metadata"].get("path") or row["source"])}:
            ends.setdefault(path.rpartition("/")[2], []).append((f"/{path}", row["source"]))
    names = {}
    for row in listing:
        path = str(row["metadata"].get("path") or row["source"])
        meant = {source for other, source in ends[path.rpartition("/")[2]] if other.endswith(f"/{path}")}
        names[row["source"]] = path if meant == {row["source"]} else row["source"]
    return names


CODE = re.compile(
    r"(?<![\w-])(?=[\w.-]*[A-Z])(?=[\w.-]*\d)[A-Za-z0-9]+(?:[-_.][A-Za-z0-9]+)*|(?<![\w-])[A-Z]{2,8}(?![\w-])"
)


def code_of(text: str) -> str:
    """Letters and digits only: one code is written HB-4012, HB4012 and hb_4012."""
    return "".join(c for c in text.casefold() if c.isalnum())


def texts(
    kb: KnowledgeBase, listing: Sequence[Mapping[str, Any]], as_: Sequence[str] | None
) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Rows of ``kb.list`` with the documents' texts, a batch at a time."""
    batch: list[Mapping[str, Any]] = []
    size = 0
    for number, row in enumerate(listing):
        batch.append(row)
        size += row["characters"]
        if size >= BATCH or number == len(listing) - 1:
            found = kb.texts([row["document"] for row in batch], as_=as_)
            yield from ((row, found[row["document"]]) for row in batch if row["document"] in found)
            batch, size = [], 0


# --- from feedback ----------------------------------------------------------------------------------------------------

SHOWN = 5
"""Passages of a trace that the one who annotates its question is shown."""


def from_feedback(
    kb: KnowledgeBase,
    *,
    as_: Sequence[str] | None = None,
    shares: Mapping[str, float] = SHARES,
    since: datetime | None = None,
    progress: Progress | None = None,
) -> Made:
    """The questions that people said something of (``since`` then), as far as ``as_`` may see their traces and
    documents.

    An answer with thumbs up gives its quotes as answer and evidence, an abstention with thumbs up an unanswerable
    question, a better answer an accepted one; its evidence is the passage named with it, or where it stands word for
    word in what was found. A question asked several times is one. An answer that one liked and another did not is
    contradictory and counts for nothing. Questions of which nothing good is known are ``to_annotate``, as are those
    whose evidence is gone or changed since.

    Raises:
        DatasetError: nobody has said anything that this caller may see.
    """
    reviewed = reviewed_since(kb, since, as_)
    if not reviewed:
        do = 'give some: openbook feedback TRACE up|down|"better answer"'
        raise DatasetError("no feedback that could be seen", where=f"knowledge base {kb.name}", do=do)
    asked: dict[tuple[str, str | None], list[Reviewed]] = {}
    for trace in reviewed:
        asked.setdefault((leakage.normalised(trace.question), trace.filter), []).append(trace)
    judged = [_judged(traces) for traces in asked.values()]
    corpus = Corpus.of(kb, as_, progress)
    located = locate(kb, [one.question for one in judged if not one.why], as_=as_)
    kept: list[Question] = []
    rows: list[Row] = []
    for one in judged:
        lost = located.missing.get(one.question.id, ())
        why = one.why or ("; ".join(f"the document changed since: {line}" for line in lost) if lost else "")
        if why:
            rows.append(_to_annotate(one, why, corpus, shares))
        else:
            kept.append(one.question)
    made = corpus.split(kept, shares)
    contradictory = tuple(item for one in judged for item in one.contradictory)
    several = [one.question for one in judged if len(one.better) > 1 and not one.why]
    notes = tuple(f"{len(q.answers)} answers are accepted: {q.text}; make sure that all are right" for q in several)
    said = sum(len(trace.feedback) for trace in reviewed)
    details = {"traces": len(reviewed), "feedback": said, "merged": len(reviewed) - len(asked)}
    return Made(dataset("feedback", made), {}, tuple(rows), contradictory, notes, details)


def reviewed_since(kb: KnowledgeBase, since: datetime | None, as_: Sequence[str] | None) -> list[Reviewed]:
    """Every trace with what was said of it since then; one of which nothing was is left out."""
    if since is None:
        return [*kb.reviewed(as_=as_)]
    found = []
    for trace in kb.reviewed(as_=as_):
        new = [said for said in trace.feedback if datetime.fromisoformat(str(said.created)) >= since]
        if new:
            found.append(replace(trace, feedback=new))
    return found


@dataclass(frozen=True, slots=True)
class _Judged:
    question: Question
    traces: Sequence[Reviewed]
    better: tuple[str, ...]
    contradictory: tuple[Mapping[str, Any], ...]
    why: str = ""  # nothing good is known of it, for this reason


@dataclass(slots=True)
class _Votes:
    """What was said of one answer (or passage)."""

    text: str
    evidence: tuple[Evidence, ...]
    up: int = 0
    down: int = 0
    written: bool = False


def _judged(traces: Sequence[Reviewed]) -> _Judged:
    """Everything that was said of one question, which may have been asked several times."""
    answers: dict[str | None, _Votes] = {}  # by text; None: an abstention
    hits: dict[tuple[str, str], _Votes] = {}  # by source and text
    better: dict[str, tuple[str, tuple[Evidence, ...]]] = {}  # by normalised text
    reasons: dict[str, None] = {}
    for trace in traces:
        for said in trace.feedback:
            if said.verdict == "better":
                text = str(said.answer)
                same = leakage.normalised(text)
                better[same] = text, better.get(same, ("", ()))[1] or _evidence_of(said, trace)
            if said.hit is not None and said.verdict != "better":
                passage = trace.hits[said.hit - 1]
                if passage is None:
                    reasons["its document is gone"] = None
                else:
                    key = passage.source, passage.text
                    _count(hits.setdefault(key, _Votes(passage.text, (_evidence(passage),))), said)
                continue
            if not trace.answered:
                if said.verdict == "up":
                    reasons["thumbs up for hits, but not for which; give --hit"] = None
                continue
            quotes = [passage for passage in trace.cited if passage is not None]
            if len(quotes) < len(trace.cited):
                reasons["its document is gone"] = None
                continue
            text = " ".join(" ".join(passage.text.split()) for passage in quotes)
            evidence = tuple(map(_evidence, quotes))
            votes = answers.setdefault(None if trace.abstained else text, _Votes(text, evidence))
            votes.written = trace.written
            _count(votes, said)
    newest = traces[-1]
    metadata: dict[str, Any] = {"kind": "feedback", **({"filter": newest.filter} if newest.filter else {})}
    liked = [votes for key, votes in answers.items() if key is not None and votes.up and not votes.down]
    if any(votes.written for votes in liked):
        metadata["answered_by"] = "model"  # its own words are not kept: the answer is what it quoted
    shown = [votes.evidence[0] for votes in hits.values() if votes.up and not votes.down]
    refused = answers.get(None)
    contradictory = [
        {"question": newest.question, "answer": votes.text or "(an abstention)", "up": votes.up, "down": votes.down}
        for votes in (*answers.values(), *hits.values())
        if votes.up and votes.down
    ]
    unanswerable = refused is not None and refused.up > 0 and not refused.down
    if unanswerable and (liked or better or shown):
        item = {"question": newest.question, "answer": "(an abstention)", "up": refused.up, "down": 0}  # type: ignore[union-attr]
        contradictory.append(item)
        unanswerable = False
        liked, better, shown = [], {}, []
    accepted = [*(text for text, _ in better.values()), *(votes.text for votes in liked)]
    bearing = [*(item for _, found in better.values() for item in found)]
    bearing += [*(item for votes in liked for item in votes.evidence), *shown]
    digest = hashlib.sha256(f"{leakage.normalised(newest.question)}\0{newest.filter or ''}".encode()).hexdigest()[:12]
    question = Question(
        id=f"fb-{digest}",
        text=newest.question,
        answers=tuple(dict.fromkeys(accepted)),
        answerable=False if unanswerable else True if accepted or shown else None,
        evidence=tuple(dict.fromkeys(bearing)),
        metadata={**metadata, "reason": "thumbs up for an abstention"} if unanswerable else metadata,
    )
    why = ""
    if not (unanswerable or accepted or shown):
        why = "contradictory" if contradictory else "; ".join(reasons) or "thumbs down, and no better answer"
    return _Judged(question, traces, tuple(text for text, _ in better.values()), tuple(contradictory), why)


def _count(votes: _Votes, said: Feedback) -> None:
    votes.up += said.verdict == "up"
    votes.down += said.verdict != "up"  # who knows a better one does not like this one


def _evidence(passage: Passage) -> Evidence:
    return Evidence(passage.source, passage.text, passage.start, passage.end)


def _evidence_of(said: Feedback, trace: Reviewed) -> tuple[Evidence, ...]:
    """Where a better answer stands: in the passage that was named, or in any that was found; as a sentence where it
    stands there word for word."""
    named = [trace.hits[said.hit - 1]] if said.hit is not None else [*trace.cited, *trace.hits]
    for passage in named:
        if passage is not None and (found := standing(passage.text, str(said.answer))):
            return (narrowed(_evidence(passage), found),)
        if passage is not None and said.hit is not None:
            return (_evidence(passage),)
    return ()


def _to_annotate(one: _Judged, why: str, corpus: Corpus, shares: Mapping[str, float]) -> Row:
    shown = dict.fromkeys(passage for trace in reversed(one.traces) for passage in trace.hits if passage is not None)
    evidence = tuple(_evidence(passage) for passage in [*shown][:SHOWN])
    splits = {corpus.named(item).source: corpus.split_of(item.source, shares) for item in evidence}
    named = tuple(map(corpus.named, evidence))
    question = one.question
    return Row(question.id, named, question.text, note=why, splits=splits, metadata=question.metadata)
