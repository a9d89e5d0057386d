"""Training data is made: gathered, negatives mined, looked at, and refused where training on it could only mislead."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

from openbook.errors import DatasetError
from openbook.evaluate.datasets import leakage
from openbook.evaluate.datasets.dataset import Dataset, Question, Split
from openbook.evaluate.datasets.making import Corpus
from openbook.finetune.data import report
from openbook.finetune.data.documents import of_documents
from openbook.finetune.data.formats import Format, examples_of, joined, scored_of
from openbook.finetune.data.negatives import MARGIN, Mined, Miner, filled
from openbook.finetune.data.places import Asked, Library, Ranking
from openbook.finetune.data.rows import Dropped, Example, Rows, grouped, merged, named
from openbook.finetune.data.sources import of_dataset, of_feedback

if TYPE_CHECKING:
    from openbook.embed import Embedder
    from openbook.evaluate.measures.judge import Budget
    from openbook.knowledge_base import KnowledgeBase
    from openbook.recipe import LanguageModel

Progress = Callable[[int, int], None]

NEGATIVES = 4
"""Of each query, where negatives are mined and nobody says how many."""

WITHIN = 10
"""First hits among which search must find the passage of a query that was made of it."""

SHOWN = 10
"""Of the rows that were dropped, what a person is shown; ``--json`` has all."""


@dataclass(frozen=True, slots=True)
class Made:
    """Training data, ``read`` from so many rows and queries, what was dropped and why, and what is to be known of it:
    as ``report`` counts it."""

    rows: Rows
    form: Format
    read: int
    dropped: tuple[Dropped, ...]
    refused: Mapping[str, int]
    lengths: Mapping[str, Any]
    noise: Mapping[str, Any] | None
    overlap: Mapping[str, Any] | None
    warnings: tuple[str, ...]
    seconds: float
    random: int = 0
    groups: Mapping[str, int] = field(default_factory=dict)

    @property
    def written(self) -> int:
        """Rows that a file of them has."""
        if self.rows.scored:
            return len(self.rows.scored)
        if self.form in ("scored", "labelled"):
            return len(scored_of(self.rows))
        if self.form == "triplets":
            return sum(len(one.positives) * len(one.negatives) for one in self.rows.examples)
        if self.form in ("beir", "tevatron"):
            return len(self.rows.examples)
        return sum(len(one.positives) for one in self.rows.examples)

    def as_json(self) -> dict[str, Any]:
        """As the command line prints it."""
        passages = self.rows.passages
        negatives = [passage for example in self.rows.examples for passage in example.negatives]
        kinds = Counter(example.kind or "file" for example in self.rows.examples)
        kinds.update(one.kind or "file" for one in self.rows.scored)
        return {
            "format": self.form,
            "read": self.read,
            "rows": self.written,
            "queries": len(self.rows.examples),
            "positives": sum(len(example.positives) for example in self.rows.examples),
            "negatives": {
                "count": len(negatives),
                "by": dict(Counter(passage.by or "file" for passage in negatives).most_common()),
                "refused": dict(self.refused),
            },
            "kinds": dict(kinds.most_common()),
            "groups": dict(self.groups),
            "lengths": dict(self.lengths),
            "noise": None if self.noise is None else dict(self.noise),
            "overlap": None if self.overlap is None else dict(self.overlap),
            "documents": len(self.rows.documents),
            "access": [list(names) for names in self.rows.access],
            "local_only": sum(passage.local_only for passage in passages),
            "dropped": [{"line": one.line, "reason": one.reason} for one in self.dropped],
            "warnings": list(self.warnings),
            "seconds": self.seconds,
        }

    def lines(self) -> list[str]:
        """As a person reads it."""
        told = self.as_json()
        what = f"{told['queries']} queries, {told['positives']} positives" if self.rows.examples else "scored pairs"
        lines = [f"{told['rows']} rows ({self.form}): {what}, of {told['documents']} documents"]
        lines.append("kinds: " + ", ".join(f"{kind} {count}" for kind, count in told["kinds"].items()))
        if told["negatives"]["count"]:
            by = ", ".join(f"{name} {count}" for name, count in told["negatives"]["by"].items())
            lines.append(f"negatives: {told['negatives']['count']} ({by})")
        if self.refused:
            lines.append("no negatives: " + ", ".join(f"{count} {why}" for why, count in self.refused.items()))
        for kind, of in self.lengths.items():
            if isinstance(of, Mapping):
                cut = f", {of['truncated']} cut at {self.lengths['max_tokens']}" if of["truncated"] else ""
                lines.append(f"tokens of {kind}: median {of['median']}, p95 {of['p95']}, longest {of['longest']}{cut}")
        if self.noise is not None and self.noise["positives"]:
            lines.append(
                f"doubtful: {self.noise['doubtful']} of {self.noise['positives']} positives stand below"
                f" {report.MANY} other passages, {self.noise['above_positive']} of {self.noise['negatives']} negatives"
                " above their positive"
            )
        if self.overlap is not None:
            kept = {kind: count for kind, count in self.overlap.items() if count and kind != "tested"}
            also = ", ".join(f"{kind} {count}" for kind, count in kept.items()) or "nothing"
            lines.append(f"shared with {self.overlap['tested']} test questions: {also}")
        if self.dropped:
            counts = Counter(re.split(r": | '", one.reason)[0] for one in self.dropped)
            lines.append("dropped: " + ", ".join(f"{count} {reason}" for reason, count in counts.most_common()))
            lines += [f"  {one.line}: {one.reason}" for one in self.dropped[:SHOWN]]
            if len(self.dropped) > SHOWN:
                lines.append(f"  … and {len(self.dropped) - SHOWN} more")
        if told["local_only"]:
            lines.append(f"{told['local_only']} texts are local-only: train on this machine")
        access = [" or ".join(names) for names in told["access"] if "public" not in names]
        if access:
            lines.append(f"what is trained on it may answer who is among each of: {'; '.join(access)}")
        return [*lines, *(f"warning: {line}" for line in self.warnings)]


def make(
    kb: KnowledgeBase | None,
    files: Sequence[Rows] = (),
    datasets: Sequence[Dataset] = (),
    *,
    feedback: bool = False,
    documents: int = 0,
    llm: LanguageModel | None = None,
    budget: Budget | None = None,
    form: Format = "tuples",
    negatives: int = NEGATIVES,
    margin: float = MARGIN,
    gap: float = 0.0,
    within: int = WITHIN,
    test: Sequence[Dataset] = (),
    drop_leaks: bool = False,
    embedder: Embedder | None = None,
    seed: int = 0,
    as_: Sequence[str] | None = None,
    progress: Progress = lambda done, of: None,
) -> Made:
    """Training data of ``files`` (rows as they stand), the train splits of ``datasets``, what people said of answers
    (``feedback``), and so many queries made of the ``documents`` that ``as_`` may see.

    Without ``kb`` the files are taken as they are; with it each query gets ``negatives`` (``margin``, ``gap``: see
    ``negatives.py``). ``test`` are the sets that will be measured; the test questions of ``datasets`` are added to
    them. ``embedder`` is the model to be trained, by which texts are counted; that of ``kb`` where not said. The same
    ``seed`` makes the same.

    Raises:
        DatasetError: nothing is there to train on, or training on it would mislead: fewer than ten queries, one label,
            questions that are in the test set, labels most of which name no document.
        ModelError, StoreError: a model or the index cannot be asked.
    """
    start = time.perf_counter()
    test_questions = _test_questions(test, datasets)
    dev_questions = _of_split("dev", (*test, *datasets))
    if form in ("scored", "labelled") and any(one.scored for one in files):
        if datasets or feedback or documents:
            do = "make them apart: scored pairs are written as they stand"
            raise DatasetError("scored pairs, and queries that have no scores", do=do)
        return _of_pairs(kb, files, form, test_questions, dev_questions, drop_leaks, embedder, start)
    if any(one.scored for one in files):
        files = [joined(files)]  # one may hold what is alike, and another what is not
        if kb is None and form != "pairs":  # with it negatives are mined, and pairs say that all are positives
            report.require_labels(files[0])
    given = list(chain.from_iterable(map(examples_of, files)))
    dropped = [one for file in files for one in file.dropped]
    asked: list[Asked] = []
    rankings: dict[str, Ranking] = {}
    library = None
    if kb is not None:
        _ = kb.embedder  # told before the work, not after
        corpus = Corpus.of(kb, as_, progress)
        listing = kb.list(as_=as_)
        library = Library.of(kb, listing, {row["source"]: corpus.versions.of(row["source"]) for row in listing})
        for dataset in datasets:
            if documents and dataset.corpus is not None and not _trains(dataset):
                continue  # its documents alone are read
            found, gone = of_dataset(kb, dataset, listing, as_=as_)
            asked += found
            dropped += gone
        if feedback:
            found, gone = of_feedback(kb, listing, as_=as_)
            asked += found
            dropped += gone
        if documents:
            # A query made of a text is sent where that would be: to the writer, and to the embedder that looks for it.
            sends = not kb.recipe.index.embed.is_local or (llm is not None and not llm.is_local)
            told = [row for row in listing if not (sends and row["local_only"])]
            if not told:
                what, do = "every document is local-only, and a model is remote", "take a local model"
                raise DatasetError(what, where=f"knowledge base {kb.name}", do=do)
            found, gone = of_documents(
                kb, replace(corpus, listing=told), documents, within=within, rankings=rankings, depth=report.DEPTH,
                llm=llm, budget=budget, seed=seed, as_=as_, progress=progress,
            )  # fmt: skip
            asked += found
            dropped += gone
    read = len(given) + len(asked) + len(dropped)
    distinct, twice = _joined(asked)
    every: list[Asked | Example] = [*given, *distinct]
    # Before the work, not after.
    texts, places = [[one.query] for one in every], [one.where for one in every]
    out, of_dev = _leaked(texts, places, test_questions, dev_questions, drop_leaks)
    dropped += [*twice, *out.values()]
    apart = [one for number, one in enumerate(every) if number not in out]
    mined = [Mined(one) for one in apart if isinstance(one, Example)]
    refused: Counter[str] = Counter()
    noise = None
    if kb is not None and library is not None:
        miner = Miner(kb, library, 0 if form == "pairs" else negatives, margin, gap, as_, refused)
        mined = list(miner.mine(apart, progress))
        dropped += miner.dropped
        for number, one in enumerate(mined, 1):
            if one.right and one.example.query not in rankings:
                rankings[one.example.query] = Ranking.of(kb, one.example.query, report.DEPTH, as_)
            progress(number, len(mined))
        noise = report.noise(mined, rankings)
    examples, again = merged(one.example for one in mined)
    dropped += again
    kept = list(grouped(examples))
    random = 0
    if form == "pairs":
        kept = [replace(example, negatives=()) for example in kept]
    elif form == "tuples":
        report.require_enough(Rows(tuple(kept)), read)
        most = negatives if kb is not None else max((len(example.negatives) for example in kept), default=0)
        kept, random = filled(kept, most, seed)
    elif form == "triplets":
        dropped += [
            Dropped(one.where or named(one.query), "no negative was found") for one in kept if not one.negatives
        ]
        kept = [example for example in kept if example.negatives]
    rows = Rows(tuple(kept))
    return _made(kb, rows, form, read, dropped, refused, noise, test_questions, of_dev, embedder, start, random)


def _of_pairs(
    kb: KnowledgeBase | None,
    files: Sequence[Rows],
    form: Format,
    test: Sequence[Question],
    dev: Sequence[Question],
    drop_leaks: bool,
    embedder: Embedder | None,
    start: float,
) -> Made:
    """Scored pairs are taken as they are: there is nothing to mine."""
    data = joined([replace(file, examples=(), scored=scored_of(file)) for file in files])
    scored, dropped = data.scored, data.dropped
    read = len(scored) + len(dropped)
    texts = [[one.first.text, one.second.text] for one in scored]
    out, of_dev = _leaked(texts, [one.where for one in scored], test, dev, drop_leaks)
    rows = Rows(scored=tuple(one for number, one in enumerate(scored) if number not in out))
    return _made(kb, rows, form, read, [*dropped, *out.values()], {}, None, test, of_dev, embedder, start, 0)


def _made(
    kb: KnowledgeBase | None,
    rows: Rows,
    form: Format,
    read: int,
    dropped: Sequence[Dropped],
    refused: Mapping[str, int],
    noise: Mapping[str, Any] | None,
    test: Sequence[Question],
    of_dev: Sequence[str],
    embedder: Embedder | None,
    start: float,
    random: int,
) -> Made:
    report.require_enough(rows, read)
    if form in ("scored", "labelled"):
        report.require_enough(Rows(scored=scored_of(rows)), read)
    lengths = report.lengths(embedder or _model(kb), rows)
    groups = report.groups(rows.examples)
    counted = {"lengths": lengths, "noise": noise, "groups": groups}
    return Made(
        rows=rows,
        form=form,
        read=read,
        dropped=tuple(dropped),
        refused=dict(Counter(refused).most_common()),
        lengths=lengths,
        noise=noise,
        overlap=report.overlap(rows, test) if test else None,
        warnings=(*report.warnings(rows, counted, tested=bool(test)), *of_dev),
        seconds=round(time.perf_counter() - start, 1),
        random=random,
        groups=groups,
    )


def _model(kb: KnowledgeBase | None) -> Embedder:
    if kb is not None:
        return kb.embedder
    from openbook.embed import open_embedder
    from openbook.recipe import LocalEmbedder

    return open_embedder(LocalEmbedder())


def _trains(dataset: Dataset) -> bool:
    return any(question.split == "train" for question in dataset.questions.values())


def _test_questions(test: Sequence[Dataset], datasets: Sequence[Dataset]) -> list[Question]:
    """What will be measured on. Raises: DatasetError: a test set without a test question."""
    for one in test:
        if not _of_split("test", [one]):
            raise DatasetError("no question of it is to test with", where=one.name, do="name another as --test")
    return _of_split("test", (*test, *datasets))


def _of_split(split: Split, datasets: Sequence[Dataset]) -> list[Question]:
    """The questions of a split, each by its data set's name, too."""
    found = {}
    for dataset in datasets:
        for question in dataset.questions.values():
            if question.is_in(split):
                found[f"{dataset.name}: {question.id}"] = replace(question, id=f"{dataset.name}: {question.id}")
    return list(found.values())


def _leaked(
    texts: Sequence[Sequence[str]],
    places: Sequence[str],
    test: Sequence[Question],
    dev: Sequence[Question],
    drop: bool,
) -> tuple[dict[int, Dropped], list[str]]:
    """The rows, by number, that ask what the test set asks, by the texts and the place of each; and what is to be told
    of those that ask what dev questions do. These measure nothing, and only stop a training: that they be known is no
    reason to refuse it. Where leaks are to be dropped they are, too.

    Raises:
        DatasetError: some ask what is tested, and it is not said that they be dropped.
    """
    places = [place or named(of[0]) for place, of in zip(places, texts, strict=True)]
    leaks = report.asked_in(texts, test) if test else {}
    if leaks and not drop:
        raise report.refusal(leaks, places)
    found = {number: Dropped(places[number], f"asked in the test set: {leaks[number].b}") for number in leaks}
    known = report.asked_in(texts, dev) if dev else {}
    if known and not drop:
        return found, [report.of_dev(known, places)]
    asked = {number: Dropped(places[number], f"asked in dev questions: {leak.b}") for number, leak in known.items()}
    return dict(sorted((asked | found).items())), []


def _joined(asked: Sequence[Asked]) -> tuple[list[Asked], list[Dropped]]:
    """Each query once, with all places that answer it; and those that were asked before."""
    found: dict[str, Asked] = {}
    dropped = []
    for one in asked:
        same = leakage.normalised(one.query)
        known = found.get(same)
        if known is None:
            found[same] = one
            continue
        right = {place.document: place for place in (*one.right, *known.right)}
        wrong = {place.document: place for place in (*one.wrong, *known.wrong) if place.document not in right}
        if right.keys() == {place.document for place in known.right}:
            dropped.append(Dropped(one.where, "said twice"))
        asked_by = tuple(sorted({*known.asked_by, *one.asked_by}))
        found[same] = replace(known, right=tuple(right.values()), wrong=tuple(wrong.values()), asked_by=asked_by)
    return list(found.values()), dropped
