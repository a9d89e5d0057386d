"""Retrained from use: the query adapter learns from what people clicked and said since the live release was promoted.

What was said is parted by queries: some are trained on, some say when to stop, and the rest test it. No query that is
nearly the same as another lies in another part. Only where the verdict is "ship" does the adapter go live.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openbook.errors import DatasetError, ModelError, QueryError
from openbook.evaluate.datasets import leakage
from openbook.evaluate.datasets.dataset import Dataset, Evidence, Question, dataset
from openbook.evaluate.datasets.making import reviewed_since
from openbook.finetune.data.negatives import Miner
from openbook.finetune.data.places import Asked, Library
from openbook.finetune.data.report import LEAST, asked_in, require_enough
from openbook.finetune.data.rows import Dropped, Rows, digest, grouped, merged
from openbook.finetune.data.sources import of_feedback
from openbook.finetune.embedder import Dev, Progress, Trained, train_seeds
from openbook.finetune.embedder.dev import LEAST as LEAST_DEV
from openbook.finetune.general import general_sets
from openbook.finetune.promotion import Released, promoted, release, require_own
from openbook.finetune.running import served
from openbook.finetune.settings import EmbedderSettings, File, read_now
from openbook.finetune.trial import Asking, Tried, read_models, try_models
from openbook.finetune.verdict import LOSS
from openbook.recipe import LinearAdapter
from openbook.store.models import Models

if TYPE_CHECKING:
    from openbook.knowledge_base import KnowledgeBase
    from openbook.store.releases import Release

STEPS = 120
"""At least so many, where nobody says how often the rows are read: feedback has tens of rows, and not thousands."""

BATCH = 16
"""Rows of a step: few rows make few steps of large ones."""

DEV = 5
"""One in so many queries says when to stop, where that makes enough of them."""

# --- what was said ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Parts:
    """What was said of ``queries`` distinct ones, parted: rows to train on, questions to stop by, questions to test
    with; and what of it is not used, with the reason."""

    queries: int
    rows: Rows
    dev: tuple[Question, ...]
    test: Dataset
    dropped: tuple[Dropped, ...]
    since: datetime
    live: str

    def as_json(self) -> dict[str, Any]:
        return {
            "since": self.since.isoformat(timespec="seconds"),
            "queries": self.queries,
            "trained_on": len(self.rows.examples),
            "dev": len(self.dev),
            "test": len(self.test.questions),
            "dropped": [{"line": one.line, "reason": one.reason} for one in self.dropped],
        }

    def lines(self) -> Iterator[str]:
        """As a person reads it."""
        told = f"{self.queries} queries with feedback since {self.live} was promoted ({self.since:%Y-%m-%d %H:%M} UTC)"
        dev = f", {len(self.dev)} say when to stop" if self.dev else ""
        yield f"{told}: {len(self.rows.examples)} are trained on{dev}, {len(self.test.questions)} test it"
        for reason, count in Counter(one.reason.partition(":")[0] for one in self.dropped).most_common():
            yield f"not used: {count} ({reason})"


def parted(
    kb: KnowledgeBase,
    *,
    test: Dataset | None = None,
    as_: Sequence[str] | None = None,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Parts:
    """What was said since the live release was promoted, as far as ``as_`` may see it. Half of it is trained on (ten
    queries at least), a fifth says when to stop where that is enough, and the rest tests; with a ``test`` set of one's
    own nothing needs to be held out for it, and what asks the same is left out.

    Which query is in which part its own words and the live release decide. (If a training's seed did, who tried ten
    seeds would test on ten draws of the same feedback, and one of them might ship by luck.)

    Raises:
        DatasetError: fewer than ten distinct queries, or none left to test with.
    """
    live = kb.show_release(kb.release)
    since = live.promoted or live.created
    listing = kb.list(as_=as_)
    when = f"since {live.name} was promoted ({since:%Y-%m-%d %H:%M} UTC)"
    if not reviewed_since(kb, since, as_):
        do = f"let people search and say what they found: openbook feedback TRACE up --hit N; {LEAST} queries at least"
        raise DatasetError(f"nobody has said anything of what was found {when}", do=do)
    asked, dropped = of_feedback(kb, listing, since=since, as_=as_)
    if test is not None:
        questions = [one for one in test.questions.values() if one.is_in("test")]
        # By what they ask: who reads of this training need not be who may read that test set.
        leaks = asked_in([[one.query] for one in asked], [replace(one, id=digest(one.text)) for one in questions])
        dropped += [Dropped(asked[n].where, f"asked in the test set: {leak.b}") for n, leak in sorted(leaks.items())]
        asked = [one for number, one in enumerate(asked) if number not in leaks]
    groups = _groups(asked, live.name)
    queries = len({leakage.normalised(one.query) for one in asked})
    if queries < LEAST:
        do = f"training needs {LEAST} at least: wait for more, or ask people to say what they found"
        raise DatasetError(f"{queries} distinct queries with feedback that can be used {when}", do=do)
    to_stop = queries // DEV if queries // DEV >= LEAST_DEV else 0
    to_train = queries - to_stop if test is not None else max(LEAST, math.ceil(queries / 2))
    trained, left = _first(groups, to_train)
    stopping, tested = _first(left, to_stop if test is None else len(asked))
    if test is None and not tested:
        do = "wait for more, or name questions to test with: --test DATA"
        raise DatasetError(f"all {queries} queries with feedback {when} are needed to train on", do=do)
    miner = Miner(kb, Library.of(kb, listing, {}), 0, as_=as_)
    mined = [one.example for one in miner.mine([one for group in trained for one in group], progress)]
    examples, twice = merged(mined)
    # A row is named by its query, and the model's folder tells which were not used: without what somebody asked.
    rows = Rows(tuple(replace(one, where=f"fb-{digest(one.query)}") for one in grouped(examples)))
    require_enough(rows, queries)
    sources = {row["document"]: row["source"] for row in listing}
    texts = kb.texts(sorted({place.document for one in asked for place in one.right}), as_=as_)
    ask = [[_question(one, sources, texts, split) for group in of for one in group]
           for of, split in ((stopping, "dev"), (tested, "test"))]  # fmt: skip
    held = test if test is not None else dataset("feedback", ask[1])
    return Parts(queries, rows, tuple(ask[0]), held, (*dropped, *miner.dropped, *twice), since, live.name)


def _groups(asked: Sequence[Asked], draw: str) -> list[list[Asked]]:
    """Queries that are nearly the same, together; in an order drawn by their words and ``draw``. (Those that one
    passage answers need not be: people ask for it in ever other words, and the verdict tells them apart.)"""
    joined: leakage.Groups[int] = leakage.Groups()
    for i, j, _ in leakage.near([one.query for one in asked]):
        joined.join(i, j)
    members: dict[int, list[Asked]] = {}
    for number, one in enumerate(asked):
        members.setdefault(joined.of(number), []).append(one)
    names = {group: min(leakage.normalised(one.query) for one in of) for group, of in members.items()}
    drawn = {group: hashlib.sha256(f"{draw} {name}".encode()).digest() for group, name in names.items()}
    return [members[group] for group in sorted(members, key=lambda group: drawn[group])]


def _first(groups: Sequence[Sequence[Asked]], wanted: int) -> tuple[list[Sequence[Asked]], list[Sequence[Asked]]]:
    """The first groups that hold so many queries, and the others."""
    taken = 0
    for number, group in enumerate(groups):
        if taken >= wanted:
            return [*groups[:number]], [*groups[number:]]
        taken += len(group)
    return [*groups], []


def _question(one: Asked, sources: Mapping[str, str], texts: Mapping[str, str], split: str) -> Question:
    evidence = tuple(
        Evidence(sources[place.document], texts[place.document][start:end], start, end)
        for place in one.right
        for start, end in place.spans
        if place.document in texts
    )
    judged = {sources[place.document]: 1 for place in one.right}
    return Question(f"fb-{digest(one.query)}", one.query, judged, evidence=evidence, split=split)


# --- retraining -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Retrained:
    """What became of it: the ``parts`` of what was said, how each seed was ``trained``, the verdict (``tried``), and
    the release, where one is built. ``why`` nothing answers otherwise; empty where the adapter went live."""

    parts: Parts
    trained: Sequence[Trained]
    tried: Tried
    released: Released | None
    why: str
    failed: bool = False

    @property
    def is_live(self) -> bool:
        return self.released is not None and self.released.pointers is not None

    def as_json(self) -> dict[str, Any]:
        """As the command line prints it."""
        best = self.trained[served([one.after for one in self.trained]).at]
        trial = self.tried.trial.as_json()
        general = trial["candidates"][0]["general"]
        return {
            **best.report(),
            "model": str(best.folder),
            "seeds": [one.summary() for one in self.trained],
            "feedback": self.parts.as_json(),
            "trial": trial,
            "general": {"before": general["before"], "after": general["after"]},
            "verdict": self.tried.trial.verdict,
            "live": self.parts.live,
            **({} if self.released is None else self.released.as_json()),
            "promoted": self.is_live,
            "why": self.why,
        }

    def lines(self) -> Iterator[str]:
        """As a person reads it."""
        yield from self.parts.lines()
        for one in self.trained:
            yield from one.lines()
        yield from self.tried.trial.lines()
        if self.tried.why:
            yield self.tried.why
        if self.released is not None:
            yield from self.released.lines()
        if self.why:
            yield self.why


def retrain(
    kb: KnowledgeBase,
    out: Path,
    settings: EmbedderSettings | None = None,
    *,
    test: Dataset | None = None,
    general: Mapping[str, Dataset] | None = None,
    replay: Rows | None = None,
    as_: Sequence[str] | None = None,
    promote: bool = True,
    worth: float = 0.0,
    allowed: float = LOSS,
    say: Callable[[str], None] = lambda line: None,
    progress: Callable[[int, int], None] = lambda done, of: None,
    curve: Progress = lambda step: None,
) -> Retrained:
    """Train the query adapter on what was said since the live release was promoted, into the folder ``out``; it begins
    where the live release's adapter stands. Compare it with what answers now, on the questions held out (or on
    ``test``) and on ``general`` sets (by default openbook's own). On "ship" build a release by it, with the verdict as
    its report, and unless ``promote`` is false have it answer: in the place of the release that it was compared with,
    and of no other.

    It answers only who may see all that it and the one before were trained on. Where that is not everybody whom the
    live release's adapter answers it stays a candidate, so that nobody loses what they have.

    Raises:
        DatasetError: as ``parted``.
        QueryError: another method than ``adapter``, or a test set with documents of its own.
        ModelError, StoreError: as ``train_embedder`` and ``try_models``.
    """
    settings = settings or EmbedderSettings()
    if settings.method != "adapter":
        do = "leave --method away; LoRA and full training take rows: openbook finetune data ROWS --from-feedback"
        raise QueryError(f"feedback retrains the query adapter, and not {settings.method}", where="--method", do=do)
    if test is not None:
        require_own(test, test.name)
    if out.exists():
        raise ModelError("is there already", where=str(out), do="name a new folder, or remove that one")
    live = kb.show_release(kb.release)
    if live.state != "live":
        raise QueryError("is not the live release", where=live.name, do="open the knowledge base without naming one")
    begun, note = _start(kb, live)
    if note:
        say(note)
    parts = parted(kb, test=test, as_=as_, progress=progress)
    settings, _ = read_now(_small(settings.model_copy(update={"start": begun}), len(parts.rows.examples)))
    dev = Dev(kb, parts.dev, as_)
    trained = train_seeds(
        parts.rows, out, settings, dev=dev, replay=replay, progress=curve, say=lambda line: say(f"note: {line}")
    )
    for one in trained:
        kb.register(one.folder)
    tried = try_models(
        parts.test,
        read_models([out]),
        general=general_sets() if general is None else general,
        rows=parts.rows,
        asking=Asking(db=kb.database.address, kb=kb.name, as_=as_, say=say, progress=progress),
        worth=worth,
        allowed=allowed,
        seed=settings.seed,
    )
    done = release(kb, tried)
    if done is None:
        said = "; ".join(reason for one in tried.trial.candidates for reason in one.reasons)
        why = f"{tried.trial.base.release} answers as before, and {out} stays: {tried.trial.verdict} ({said})"
        return Retrained(parts, trained, tried, None, why)
    say(f"{done.release} is built")
    if not promote:
        return Retrained(parts, trained, tried, done, f"{done.live} answers as before")
    if others := _left_out(kb, done):
        return Retrained(parts, trained, tried, done, f"{done.live} answers as before: {others}")
    try:
        done = promoted(kb, done)
    except QueryError as error:
        return Retrained(parts, trained, tried, done, f"{done.release} does not answer: {error}", failed=True)
    return Retrained(parts, trained, tried, done, "")


def _start(kb: KnowledgeBase, live: Release) -> tuple[File | None, str]:
    """The live release's adapter, which the new one begins at; what is to be told where it may not be."""
    part = live.recipe.query.adapter
    if not isinstance(part, LinearAdapter):
        return None, ""
    if part.content is not None and Models(kb.database, kb.kb).is_withdrawn(part.content):
        return None, "note: the live adapter is withdrawn, because a text that it knew is forgotten: a new one is begun"
    return File(path=part.path), ""


def _small(settings: EmbedderSettings, rows: int) -> EmbedderSettings:
    """Of what is not said, what tens of rows need."""
    batch = settings.batch or BATCH
    epochs = settings.epochs or max(12.0, float(math.ceil(STEPS / math.ceil(rows / batch))))
    return settings.model_copy(update={"batch": batch, "epochs": epochs})


def _left_out(kb: KnowledgeBase, done: Released) -> str:
    """Whom the live adapter answers and the new one would not: what to say of them. They would lose what they have."""
    live = kb.show_release(done.live)
    if not isinstance(live.recipe.query.adapter, LinearAdapter):
        return ""
    before = {rule for one in kb.restricted(live.name) if one.kind == "adapter" for rule in one.rules}
    now = {rule for one in kb.restricted(done.release) if one.kind == "adapter" for rule in one.rules}
    if now <= before:
        return ""
    whom = "; ".join(" or ".join(rule) for rule in sorted(now - before))
    return (
        f"the new adapter answers only who is {whom}, and others would lose that of {live.name}; train on what"
        " everybody may see (--as public), or promote it by hand"
    )
