"""``train_embedder``: rows in, a model's folder out.

A folder is there when all of it is, and was found to serve what was trained. Until then the run's own files lie beside
it (``.NAME.training``), from which one that was cut off goes on.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from openbook.embed.folder import read_folder
from openbook.errors import QueryError
from openbook.evaluate.datasets.dataset import Question
from openbook.finetune import running
from openbook.finetune.data.formats import examples_of, scored_of
from openbook.finetune.data.report import LEAST, asked_in, of_dev
from openbook.finetune.data.rows import Rows, grouped
from openbook.finetune.embedder import doubts
from openbook.finetune.embedder.dev import LEAST as LEAST_ASKED
from openbook.finetune.embedder.dev import Asking, Dev, held_out
from openbook.finetune.embedder.prepared import Prepared, place_of, prepare
from openbook.finetune.embedder.trained import Progress, Trained, of_seed, unwritten, write_told
from openbook.finetune.provenance import Listing, TrainedOn
from openbook.finetune.settings import OF_PAIRS, EmbedderSettings

if TYPE_CHECKING:
    from openbook.embed import Embedder, FloatArray
    from openbook.embed.folder import ModelFolder
    from openbook.knowledge_base import KnowledgeBase


@dataclass(frozen=True, slots=True)
class Run:
    """One training, ready to begin: ``place`` is where its own files lie until the folder is there, ``told`` what
    it trains on as it was when it began, as the ``kbs`` listed it. ``notes`` were said to ``say`` already."""

    settings: EmbedderSettings
    base: Embedder
    folder: ModelFolder | None
    prepared: Prepared
    asking: Asking | None
    dev: Dev | None
    replay: Rows | None
    out: Path
    place: Path
    resume: bool
    progress: Progress
    notes: tuple[str, ...]
    told: TrainedOn
    kbs: tuple[KnowledgeBase, ...]
    say: Callable[[str], None]


def train_embedder(
    rows: Rows,
    out: Path,
    settings: EmbedderSettings,
    *,
    dev: Dev | None = None,
    replay: Rows | None = None,
    kb: KnowledgeBase | None = None,
    resume: bool = False,
    progress: Progress = lambda step: None,
    say: Callable[[str], None] = lambda line: None,
) -> Trained:
    """Train by ``settings`` and write the model's folder ``out``: of an adapter what ``[query.adapter]`` opens, else
    what ``[index.embed]`` does.

    An adapter is trained on the vectors of ``dev.kb`` as its index holds them; without ``dev`` on the passages of the
    rows alone. Training stops early by the dev questions; without any it goes to its end. ``resume`` goes on with a run
    that was cut off, and gives the weights that it would have given.

    ``kb`` holds the documents that the rows are of, where the dev questions are asked of others: by it they are named
    in what the model was trained on.

    What makes the training doubtful and does not forbid it is handed to ``say`` before the first step, a line each, and
    stands in the ``notes`` of what was trained.

    The same rows, settings, base, processor and number of threads give the same weights.

    Raises:
        DatasetError: the rows cannot be trained on (see ``prepare``), or the dev questions not be asked.
        ModelError: the base cannot be used, ``out`` is there already or cannot be written, torch is missing, the loss
            is no number, no weight moved, or what was written is not what was trained.
        QueryError: there is no such run to go on with.
    """
    kbs = _kbs(dev, kb)
    listings = [one.list() for one in kbs]
    return _train(rows, out, settings, dev, replay, kbs, listings, resume=resume, progress=progress, say=say)


def _kbs(dev: Dev | None, kb: KnowledgeBase | None) -> tuple[KnowledgeBase, ...]:
    kbs = (dev.kb if dev is not None else None, kb)
    return tuple(dict.fromkeys(one for one in kbs if one is not None))


def _train(
    rows: Rows,
    out: Path,
    settings: EmbedderSettings,
    dev: Dev | None,
    replay: Rows | None,
    kbs: tuple[KnowledgeBase, ...],
    listings: Sequence[Listing],
    *,
    resume: bool,
    progress: Progress,
    say: Callable[[str], None],
) -> Trained:
    settings = settings.resolved(scored=bool(rows.scored) and any(one.score not in (0.0, 1.0) for one in rows.scored))
    out = out.absolute()
    running.require_new(out)
    running.require_torch("embedder")
    settings, base, folder = _base(settings, dev)
    if replay is not None:
        # As the loss takes them, and whatever their own file says of groups: they share batches with the rows.
        pairs = settings.loss in OF_PAIRS
        replay = Rows(scored=scored_of(replay)) if pairs else Rows(grouped(examples_of(replay)))
    prepared = prepare(rows, settings, base)
    prepared, questions, why = _apart(prepared, settings, dev)
    asking = Asking(dev, questions) if dev is not None and questions else None
    notes = [] if asking is not None else [f"no dev questions, and so it is trained to the end of its epochs: {why}"]
    if asking is not None and asking.left_out:
        notes.append(f"{asking.left_out} dev questions refer to documents that are not there, and are not asked")
    if dev is not None and dev.questions:
        notes += _known(prepared, questions)
    cut, texts = prepared.cut
    if cut:
        notes.append(f"{cut} of {texts} texts are longer than the model reads, and are cut")
    if settings.method != "adapter" and running.is_first():  # whose vectors are looked at where they are made
        notes += doubts.embedded(prepared.rows, base)
    for note in notes:
        say(note)
    place = running.place_of(out)
    running.begin(place, settings, resume=resume)
    told = running.noted(place, _trained_on(prepared, replay, settings, listings))
    said = tuple(notes)
    run = Run(settings, base, folder, prepared, asking, dev, replay, out, place, resume, progress, said, told, kbs, say)
    if settings.method == "adapter":
        return _adapter(run)
    from openbook.finetune.embedder.model import train

    return train(run)


def train_seeds(
    rows: Rows,
    out: Path,
    settings: EmbedderSettings,
    *,
    dev: Dev | None = None,
    replay: Rows | None = None,
    kb: KnowledgeBase | None = None,
    resume: bool = False,
    progress: Progress = lambda step: None,
    say: Callable[[str], None] = lambda line: None,
) -> list[Trained]:
    """As many models as ``settings.seeds`` says: ``out`` itself, or of several ``out/seed-N`` each. With ``resume``
    those that are there stay, and what was cut off goes on. Raises: as ``train_embedder``."""
    said: set[str] = set()

    def say_once(line: str) -> None:
        if line not in said:
            said.add(line)
            say(line)

    kbs = _kbs(dev, kb)
    listings = [one.list() for one in kbs]  # once: every seed has the same rows, whatever is forgotten meanwhile

    def trained(folder: Path, one: EmbedderSettings, resume: bool) -> Trained:
        told = of_seed(progress, one.seed, settings.seed, settings.seeds)
        return _train(rows, folder, one, dev, replay, kbs, listings, resume=resume, progress=told, say=say_once)

    def loaded(folder: Path) -> Trained:
        there = Trained.load(folder)
        for note in there.notes:
            say_once(note)
        return there

    return running.each_seed(out, settings, trained, loaded, resume=resume)


def _base(settings: EmbedderSettings, dev: Dev | None) -> tuple[EmbedderSettings, Embedder, ModelFolder | None]:
    """The model to be trained, and its folder; of an adapter that whose vectors the index holds, wherever it is. The
    settings name it.

    Raises:
        QueryError: an adapter is wanted for another model than that of the index.
        ModelError: it is missing, has its weights in pickles only or no tokenizer, is no embedding model, or may not be
            changed by its licence.
    """
    from openbook.embed import open_embedder
    from openbook.finetune.embedder.base import require_trainable
    from openbook.recipe import LocalEmbedder

    if settings.method == "adapter" and dev is not None:
        held = dev.kb.recipe.index.embed.model
        if settings.base not in ("default", held):
            do = "leave --base out, or build a release with that model first"
            raise QueryError(f"the index holds vectors of {held}, and not of {settings.base}", where="--base", do=do)
        return settings.model_copy(update={"base": held}), dev.kb.embedder, None
    folder = None if settings.method == "adapter" else require_trainable(settings.base)
    return settings, open_embedder(LocalEmbedder(model=settings.base)), folder


def _apart(prepared: Prepared, settings: EmbedderSettings, dev: Dev | None) -> tuple[Prepared, Sequence[Question], str]:
    """What is trained on, and the dev questions: those that were given, else queries that are held out for it. Where
    there are none: why not, and what to do."""
    if dev is None:
        return prepared, (), "no knowledge base answers them; name one (--db, --kb)"
    if dev.questions:
        return prepared, dev.questions[: settings.dev.questions], ""
    if not prepared.examples:
        return prepared, (), "scored pairs are not asked; name a data set (--dev DATA)"
    sources = {row["source"]: row["document"] for row in dev.kb.list(as_=dev.as_)}
    known = sum(any(passage.document in sources for passage in one.positives) for one in prepared.examples)
    if not known:
        what = f"none of the {len(prepared.examples)} queries names a document of knowledge base {dev.kb.name}"
        do = "name a data set (--dev DATA), or train on rows that were made of its documents, or of a data set on them"
        return prepared, (), f"{what}; {do}"
    groups, questions = held_out(prepared.examples, settings.dev.share, sources)
    if len(questions) < LEAST_ASKED:
        what = f"{len(questions)} of {known} queries fall into the share that is held out ({settings.dev.share:g})"
        do = f"{LEAST_ASKED} are needed: name a data set (--dev DATA), give more rows, or raise [dev] share"
        return prepared, (), f"{what}; {do}"
    kept = tuple(one for one in prepared.examples if one.group not in groups)
    left = {one.group for one in kept}
    if len({one.query for one in kept}) < LEAST or (len(left) == 1 and not any(one.negatives for one in kept)):
        what = f"without the {len(questions)} that would be held out so little is left that nothing could be learnt"
        return prepared, (), f"{what}; name a data set (--dev DATA), give more rows, or lower [dev] share"
    return replace(prepared, examples=kept), questions[: settings.dev.questions], ""


def _known(prepared: Prepared, questions: Sequence[Question]) -> list[str]:
    """What is to be told of rows that ask what dev questions ask: a line, or none. (Nearly the same is no matter: of
    few questions in the same words about other things many would be, and what they stop is measured apart.)"""
    texts = [[one.query] for one in prepared.examples] + [[one.first.text, one.second.text] for one in prepared.scored]
    leaks = {number: leak for number, leak in asked_in(texts, questions).items() if leak.kind == "question"}
    places = [*map(place_of, prepared.examples), *map(place_of, prepared.scored)]
    return [of_dev(leaks, places)] if leaks else []


def finish(run: Run, trained: Trained, new: Path) -> Trained:
    """Move ``new``, whose weights are there, into place, with what is told of it. Raises: ModelError."""
    running.finish(
        new,
        run.out,
        moved=trained.moved,
        parity=trained.parity,
        tell=lambda folder: write_told(trained, folder, run.settings),
    )
    return trained


def _trained_on(
    prepared: Prepared, replay: Rows | None, settings: EmbedderSettings, listings: Iterable[Listing]
) -> TrainedOn:
    """What the rows are of, by the names that it has now; and what a model that is gone on from was trained on."""
    rows = [prepared.rows, *([replay] if replay is not None else [])]
    before = [] if settings.start is None else [Path(settings.start.path)]
    if settings.method != "adapter":  # of which the base is no part
        before.append(read_folder(settings.base).path)
    sources = {source for one in rows for source in one.documents}
    told = TrainedOn.of(sources, {rule for one in rows for rule in one.access}, listings)
    for folder in before:
        told |= TrainedOn.read(folder)
    return told


def provenance(
    run: Run, told: TrainedOn
) -> tuple[tuple[tuple[str, int | None], ...], tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """(id, version) of the documents that were trained on, their sources, and who may be answered: as it was when the
    run began, and as it is now, too."""
    told |= _trained_on(run.prepared, run.replay, run.settings, [kb.list() for kb in run.kbs])
    return tuple(sorted(told.documents.items())), tuple(sorted(told.sources)), tuple(sorted(told.principals))


def _adapter(run: Run) -> Trained:
    import torch
    from safetensors import SafetensorError

    from openbook.finetune.embedder import adapter
    from openbook.finetune.embedder.dev import Turned
    from openbook.finetune.embedder.vectors import of_index, of_rows

    settings, prepared, base = run.settings, run.prepared, run.base
    told = run.told
    if prepared.scored:
        first = base.encode([one.first.text for one in prepared.scored], "query")
        second = base.encode([one.second.text for one in prepared.scored])
        loss, count = adapter.cosine_loss(first, second, prepared.scored), len(prepared.scored)
        queries, pulled = first, [torch.from_numpy(second)]
        doubtful = doubts.of_pairs(prepared.scored, first, second)
    else:
        examples = prepared.examples
        indexed = run.dev is not None and settings.loss == "softmax"
        if run.dev is not None and indexed:
            targets = of_index(examples, base, run.dev, prepared.rows.access)
            told = running.noted(run.place, told.with_documents(targets.documents, run.dev.kb.list()))
        else:
            targets = of_rows(examples, base)
        loss = adapter.softmax_loss(targets, settings.scale, in_batch=settings.loss == "in-batch")
        queries, count = targets.queries, len(examples)
        pulled = [torch.from_numpy(targets.passages)]
        doubtful = doubts.of_examples(examples, targets)
    for note in doubtful:
        run.say(note)
    if run.replay is not None and settings.replay.ratio:
        kept_still = run.replay
        asked = [example.query for example in kept_still.examples] or [one.first.text for one in kept_still.scored]
        texts = list(dict.fromkeys(passage.text for passage in kept_still.passages))
        pulled += [torch.from_numpy(base.encode(asked, "query")), torch.from_numpy(base.encode(texts))]
    score = None
    if run.asking is not None:
        asking = run.asking

        def score(matrix: FloatArray) -> dict[str, float]:
            kept.turn = lambda vectors: adapter.turned(vectors, matrix)
            return asking.scores(kept)

        kept = Turned(base, lambda vectors: vectors)
    checkpoint = run.place / "state.safetensors"
    if run.resume and checkpoint.is_file():
        state = adapter.State.load(checkpoint)
    else:
        begun = None if settings.start is None else adapter.standing(Path(settings.start.path), base.hash)
        state = adapter.State.new(base.dimension, begun)
    state = adapter.fit(
        count, loss, pulled if settings.pull else [], settings,
        score=score, checkpoint=checkpoint, state=state, progress=run.progress,
    )  # fmt: skip
    matrix = adapter.matrix(state.best, settings.interpolate, state.start)
    new = run.place / "model"
    try:
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir()
        adapter.write(matrix, new)
    except (OSError, SafetensorError) as error:
        raise unwritten("the model", new, error) from None
    served = adapter.turned(queries, adapter.read(new))
    x = torch.nn.functional.normalize(torch.from_numpy(queries) @ torch.from_numpy(matrix), dim=1).numpy()
    documents, sources, principals = provenance(run, told)
    trained = Trained(
        folder=run.out, method="adapter", base=settings.base, base_hash=base.hash, fits=base.hash,
        hash=adapter.hash_of(new, base.hash), seed=settings.seed,
        used=prepared.used, dropped=prepared.dropped, cut=prepared.cut, tokens=prepared.tokens,
        documents=documents, sources=sources, principals=principals,
        loss=tuple(state.loss), dev=tuple(state.dev), asked=len(run.asking.questions) if run.asking else 0,
        dev_questions=run.asking.digests if run.asking else (),
        best=state.best_at, steps=state.steps, moved=float((state.best - state.start).abs().max()),
        parity=float(abs(served - x).max()),
        seconds=round(state.seconds + state.asking, 2),
        pairs_per_second=round(state.at * min(settings.batch or 1, count) / max(state.seconds, 1e-6), 1),
        notes=(*run.notes, *doubtful),
    )  # fmt: skip
    return finish(run, trained, new)
