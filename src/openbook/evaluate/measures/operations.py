"""Operations measures: what it takes to answer, in time, tokens, money and disk, and how soon an edit is found.

Latency, tokens, money and size are read from what happened anyway. ``cold`` and ``freshness`` start processes and write
into the database, so they are measured only where they are asked for. None of them changes the knowledge base.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from openbook.errors import OpenbookError, StoreError
from openbook.evaluate.datasets.dataset import Question
from openbook.evaluate.report import Measured, Outcome
from openbook.recipe import LanguageModel, Recipe
from openbook.store.index import Index, keyword_folder
from openbook.types import Document

if TYPE_CHECKING:
    from openbook.embed import Embedder, FloatArray, TextKind
    from openbook.knowledge_base import KnowledgeBase

QUANTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}

COLD_RUNS = 3
FRESH_ROUNDS = 5
VISIBLE_SECONDS = 30.0
"""An edit that is not found by then is told as not found."""

_PROCESS_SECONDS = 300.0
_SCRATCH = "openbook freshness "  # and a number: names of the knowledge bases that ``freshness`` makes
_LEFT_BEHIND = "1 hour"  # a scratch knowledge base of this age belongs to a process that was killed


def measure(
    kb: KnowledgeBase,
    questions: Mapping[str, Question],
    outcomes: Mapping[str, Outcome],
    *,
    llm: str | LanguageModel | None = None,
    cold: bool = False,
    freshness: bool = False,
) -> Measured:
    """What the outcomes took, in ``details["operations"]``: ``latency``, ``tokens``, ``money``, ``size``; and where
    asked for ``cold`` and ``freshness``. ``llm`` is what answered, where it was not the recipe's generator.

    ``per_question`` has ``ms_total`` of every question (of one that failed: until it failed), and of those that were
    answered ``cost`` (US dollars) where every price is known, and ``tokens_input`` and ``tokens_output`` of a language
    model.

    Raises:
        PriceError: the price file cannot be read.
        StoreError: the database went away.
    """
    recipe = answering(kb.recipe, llm)
    usages = {id: outcome.answer.usage for id, outcome in outcomes.items() if outcome.answer is not None}
    per_question: dict[str, dict[str, float]] = {
        "ms_total": {id: outcome.ms["total"] for id, outcome in outcomes.items() if "total" in outcome.ms}
    }
    details: dict[str, Any] = {"latency": latency(list(outcomes.values())), "size": size(kb)}
    if usages:
        tokens = {
            "input": {id: float(usage.input_tokens) for id, usage in usages.items()},
            "output": {id: float(usage.output_tokens) for id, usage in usages.items()},
        }
        if any(any(of.values()) for of in tokens.values()):
            per_question |= {f"tokens_{way}": of for way, of in tokens.items()}
        details["tokens"] = {
            way: {"total": int(sum(of.values())), "mean": sum(of.values()) / len(of)} for way, of in tokens.items()
        }
        known = {id: usage.cost for id, usage in usages.items() if usage.cost is not None}
        if len(known) == len(usages):
            per_question["cost"] = known
        details["money"] = _money(recipe, known, unknown=len(usages) - len(known))
    asked = [questions[id].text for id, outcome in outcomes.items() if outcome.error is None]
    if cold and asked:
        details["cold"] = _or_error(lambda: measure_cold(kb, asked[0], recipe=recipe, answer=bool(usages)))
    if freshness:
        details["freshness"] = _or_error(lambda: measure_freshness(kb))
    return Measured({name: values for name, values in per_question.items() if values}, {}, {"operations": details})


def require_prices(recipe: Recipe, llm: str | LanguageModel | None = None) -> None:
    """Before a language model is asked, and paid, for answers whose cost could then not be told.

    Raises:
        PriceError: the price file cannot be read.
    """
    from openbook.prices import prices

    if isinstance(answering(recipe, llm).query.generate, LanguageModel):
        prices()


def answering(recipe: Recipe, llm: str | LanguageModel | None) -> Recipe:
    """The recipe with ``llm`` as its generator, if there is one."""
    from openbook.generate import parse_llm

    if llm is None:
        return recipe
    part = parse_llm(llm) if isinstance(llm, str) else llm
    return recipe.model_copy(update={"query": recipe.query.model_copy(update={"generate": part})})


def _or_error(measured: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What could not be measured says why, and the rest of the report is not lost for it."""
    try:
        return measured()
    except OpenbookError as error:
        return {"error": str(error)}


# --- latency ----------------------------------------------------------------------------------------------------------


def latency(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Warm percentiles in milliseconds of the whole pipeline (``total``) and of each stage.

    The first question pays for what is opened at the first need: it stands apart as ``first``. So do questions that
    failed, which would make a pipeline look quick that refuses at once, or slow that waits for a time limit.
    """
    came = [outcome.ms for outcome in outcomes if outcome.error is None and "total" in outcome.ms]
    failed = [outcome.ms.get("total", 0.0) for outcome in outcomes if outcome.error is not None]
    warm = came[1:] or came
    stages = dict.fromkeys(stage for ms in warm for stage in ms if stage != "total")
    return {
        "n": len(warm),
        "first": dict(came[0]) if came else None,
        "failed": {"n": len(failed), "median": _ms(median(failed)) if failed else None},
        "stages": {
            stage: percentiles([ms[stage] for ms in warm if stage in ms])
            for stage in (["total", *stages] if warm else [])
        },
    }


def percentiles(ms: Sequence[float]) -> dict[str, Any]:
    """p50, p95 and p99 of at least one value with their 95 % intervals, and the mean, the maximum and the number.

    The intervals are those of order statistics (Conover, Practical Nonparametric Statistics, 1999, 3.2), which hold for
    any distribution. A bootstrap cannot draw what lies above the largest value seen, so its interval of a p99 ends too
    early; this one has no end (``None``) below 368 values.
    """
    import numpy as np
    from scipy.stats import quantile_test

    values = np.asarray(ms, dtype=np.float64)
    found: dict[str, Any] = {"n": len(values), "mean": _ms(values.mean()), "max": _ms(values.max())}
    for name, p in QUANTILES.items():
        interval = quantile_test(values, p=p).confidence_interval(0.95)
        value = float(np.quantile(values, p))
        # The value lies between two of those seen, and may so fall short of an interval that begins at the largest.
        low = None if math.isnan(interval.low) else _ms(min(interval.low, value))
        high = None if math.isnan(interval.high) else _ms(max(interval.high, value))
        found[name] = {"value": _ms(value), "low": low, "high": high}
    return found


# --- money and size ---------------------------------------------------------------------------------------------------


def _money(recipe: Recipe, known: Mapping[str, float], *, unknown: int) -> dict[str, Any]:
    """US dollars of the answers; ``None`` where the price of any is unknown. Questions that failed are not in it."""
    from openbook.prices import prices

    part = recipe.query.generate
    total = None if unknown else sum(known.values())
    found: dict[str, Any] = {
        "currency": "USD",
        "total": total,
        "per_question": None if total is None else total / len(known),
        "unknown": unknown,
        "model": f"{part.kind}:{part.model}" if isinstance(part, LanguageModel) else None,
    }
    if isinstance(part, LanguageModel):
        table = prices()
        used = table.of(part.model, urlsplit(part.base_url or "").hostname)
        found["price"] = table.as_json()["models"][used.model] if used else None
        found["notes"] = [note for note in table.notes() if used and str(used.as_of) in note]
    return found


def size(kb: KnowledgeBase) -> dict[str, Any]:
    """Bytes on disk: of this index, of the texts that it was made from, and of tables that knowledge bases share."""
    index = kb.index.bytes_on_disk()
    with kb.database.snapshot(None) as connection:
        row = connection.execute(
            "SELECT (SELECT count(*) FROM openbook.knowledge_base WHERE name NOT LIKE %s),"
            " (SELECT coalesce(sum(octet_length(v.text)), 0) FROM openbook.version v"
            "   JOIN openbook.document d ON d.id = v.document WHERE d.kb = %s),"
            " pg_total_relation_size('openbook.document') + pg_total_relation_size('openbook.version')"
            "   + pg_total_relation_size('openbook.attribute'),"
            " pg_total_relation_size('openbook.vector'), pg_total_relation_size('openbook.trace')",
            [_SCRATCH + "%", kb.kb],
        ).fetchone()
    assert row is not None
    bases, texts, documents, vectors, traces = map(int, row)
    counted = kb.documents.status(None)
    chunks, characters, total = kb.index.count(None), counted["characters"], sum(index.values())
    return {
        "index": {**index, "total": total},
        "texts": texts,
        "shared": {"knowledge_bases": bases, "documents": documents, "vector_cache": vectors, "traces": traces},
        "documents": counted["documents"],
        "chunks": chunks,
        "characters": characters,
        "per_chunk": round(total / chunks, 1) if chunks else None,
        "per_character": round(total / characters, 3) if characters else None,
    }


# --- cold -------------------------------------------------------------------------------------------------------------


def measure_cold(kb: KnowledgeBase, question: str, *, recipe: Recipe | None = None, answer: bool) -> dict[str, Any]:
    """Milliseconds of a question without anything warm.

    ``process``: a new process that opens the knowledge base, loads the model, asks and ends, ``COLD_RUNS`` times, with
    the server already running. ``open``, ``first`` and ``second``: in this process, a knowledge base opened anew and
    its first two questions. Their traces are taken out again.
    """
    from openbook.knowledge_base import open as open_

    recipe = recipe or kb.recipe
    verb = "ask" if answer else "search"
    runs = []
    since = datetime.now(UTC)
    try:
        with tempfile.TemporaryDirectory(prefix="openbook-") as folder:
            file = Path(folder, "recipe.toml")
            file.write_text(recipe.to_toml(), encoding="utf-8")
            command = [sys.executable, "-m", "openbook", verb, "--kb", kb.name, "--recipe", str(file), "--json"]
            for _ in range(COLD_RUNS):
                start = time.perf_counter()
                done = _run([*command, "--", question], kb)
                runs.append(_ms((time.perf_counter() - start) * 1000))
                if done.returncode:
                    said = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
                    raise OpenbookError(said.removeprefix("openbook: "), where=f"openbook {verb} in a new process")
    finally:
        with kb.database.transaction("owner") as connection:
            connection.execute(
                "DELETE FROM openbook.trace WHERE kb = %s AND created >= %s AND question = %s AND principals IS NULL",
                [kb.kb, since, question],
            )
    start = time.perf_counter()
    with open_(kb.database.address, kb.name, recipe=recipe, create=False) as again:
        opened = time.perf_counter()
        asked = []
        for _ in range(2):
            begin = time.perf_counter()
            trace = again.search(question, again.serving.looked_at, record=False)
            if answer:
                again.answer(trace)
            asked.append(_ms((time.perf_counter() - begin) * 1000))
    return {
        "verb": verb,
        "question": question,
        "process": {"ms": runs, "median": median(runs)},
        "open": _ms((opened - start) * 1000),
        "first": asked[0],
        "second": asked[1],
    }


def _run(command: Sequence[str], kb: KnowledgeBase) -> subprocess.CompletedProcess[str]:
    """The database's address goes by the environment: a process's arguments are for everyone to read."""
    env = {name: value for name, value in os.environ.items() if name not in ("OPENBOOK_LLM", "OPENBOOK_LLM_BASE_URL")}
    env |= {"OPENBOOK_DB": kb.database.address, "PYTHONIOENCODING": "utf-8"}
    try:
        return subprocess.run(
            command, env=env, capture_output=True, encoding="utf-8", timeout=_PROCESS_SECONDS, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(list(command), 1, "", f"no answer within {_PROCESS_SECONDS:g} s")


# --- freshness --------------------------------------------------------------------------------------------------------


def measure_freshness(kb: KnowledgeBase) -> dict[str, Any]:
    """Milliseconds from an acknowledged edit until a search finds it by vector and by keyword, here and elsewhere.

    ``FRESH_ROUNDS`` edits are waited for in the process that makes them (``same_process``), as many in another one that
    has the knowledge base open (``other_process``), and as many removals (``removal``: until nothing is found). The
    time includes the search that finds, of which ``search`` is what it takes without an edit; ``searches`` is how many
    it took at most. ``write`` is how long ``add`` took to acknowledge.

    The history of a knowledge base cannot be taken back, so all this happens in a scratch one beside it: same database,
    same recipe, one document. It is dropped afterwards, with the vectors that it left in the cache.
    """
    _drop_left_behind(kb)
    write, plain, here, there, gone = [], [], [], [], []
    with _scratch(kb) as scratch, _watcher(scratch) as other_finds:
        for number in range(2 * FRESH_ROUNDS):
            word = f"zq{uuid.uuid4().hex}"
            start = time.perf_counter()
            scratch.add(Document("openbook:freshness", f"The word of note {number} is {word}.\n"))
            write.append(_ms((time.perf_counter() - start) * 1000))
            if number % 2 == 0:
                here.append(_until_found(scratch, word))
            else:
                there.append(other_finds(word))
            start = time.perf_counter()
            _finds(scratch, word)
            plain.append(_ms((time.perf_counter() - start) * 1000))
            if number % 2:
                scratch.remove("openbook:freshness")
                gone.append(_until_found(scratch, word, gone=True))
    return {
        "where": "a scratch knowledge base in the same database, with the same recipe and one document",
        "rounds": FRESH_ROUNDS,
        "same_process": _waits(here),
        "other_process": _waits(there),
        "removal": _waits(gone),
        "search": {"median": median(plain)},
        "write": {"median": median(write), "max": max(write)},
    }


_Wait = tuple[float | None, int]
"""Milliseconds until it was seen (``None``: it was not) and how many searches that took."""


def _until_found(kb: KnowledgeBase, word: str, *, gone: bool = False) -> _Wait:
    """Search for the word until it is found by vector and by keyword; or, with ``gone``, by neither."""
    start = time.perf_counter()
    searches = 0
    while True:
        searches += 1
        if _finds(kb, word, anywhere=gone) != gone:
            return _ms((time.perf_counter() - start) * 1000), searches
        if time.perf_counter() - start > VISIBLE_SECONDS:
            return None, searches


def _waits(waits: Sequence[_Wait]) -> dict[str, Any]:
    ms = [wait for wait, _ in waits]
    seen = [wait for wait in ms if wait is not None]
    whole = len(seen) == len(ms)
    return {
        "ms": ms,
        "median": median(seen) if whole else None,
        "max": max(seen) if whole else None,
        "searches": max(searches for _, searches in waits),
    }


def _finds(kb: KnowledgeBase, word: str, *, anywhere: bool = False) -> bool:
    """Whether a search for the word finds its chunk by vector and by keyword; with ``anywhere``, by either.

    A side without weight in the recipe is not asked, and need not find it.
    """
    from openbook.retrieve import sides_asked

    read = zip(("dense", "keyword"), sides_asked(kb.recipe.query.fusion), strict=True)
    asked = {stage for stage, counts in read if counts}
    return any(
        word in hit.chunk.text and (anywhere or asked <= hit.stages.keys())
        for hit in kb.search(word, 10, record=False).hits
    )


@contextmanager
def _scratch(kb: KnowledgeBase) -> Iterator[KnowledgeBase]:
    """An empty knowledge base beside ``kb``, dropped with all that it left."""
    from openbook.knowledge_base import KnowledgeBase

    embedder = _Noting(kb.embedder)
    scratch = KnowledgeBase(kb.database, f"{_SCRATCH}{uuid.uuid4().hex}", recipe=kb.recipe)
    scratch.serving.__dict__["embedder"] = embedder  # the one that is open already
    try:
        yield scratch
    finally:
        scratch.traces.close()
        _drop(kb, scratch.kb)
        keys = [hashlib.sha256(text.encode()).digest() for text in embedder.texts]
        with kb.database.transaction("owner") as connection:
            connection.execute(
                "DELETE FROM openbook.vector WHERE embedder = %s AND text = ANY(%s)", [kb.embedder.hash, keys]
            )


class _Noting:
    """An embedder that notes the document texts it is given: their cached vectors are nobody else's."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self.texts: list[str] = []

    def encode(self, texts: Sequence[str], kind: TextKind = "document", **progress: Any) -> FloatArray:
        if kind == "document":
            self.texts += texts
        return self._embedder.encode(texts, kind, **progress)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._embedder, name)


def _drop(kb: KnowledgeBase, id: int) -> None:
    """Drop the knowledge base of this number from the database of ``kb``."""
    with kb.database.transaction("owner") as connection:
        rows = connection.execute("SELECT id FROM openbook.index WHERE kb = %s", [id]).fetchall()
        for (index,) in rows:
            Index.drop(connection, index)
        connection.execute("DELETE FROM openbook.knowledge_base WHERE id = %s", [id])
    for (index,) in rows:
        shutil.rmtree(keyword_folder(kb.database, id, index), ignore_errors=True)


def _drop_left_behind(kb: KnowledgeBase) -> None:
    """Scratch knowledge bases of processes that were killed."""
    with kb.database.snapshot(None) as connection:
        rows = connection.execute(
            "SELECT id FROM openbook.knowledge_base WHERE name LIKE %s AND created < now() - %s::interval",
            [_SCRATCH + "%", _LEFT_BEHIND],
        ).fetchall()
    for (id,) in rows:
        _drop(kb, id)


@contextmanager
def _watcher(kb: KnowledgeBase) -> Iterator[Callable[[str], _Wait]]:
    """Another process that has ``kb`` open and warm; given a word, it searches until it finds it.

    Raises:
        StoreError: that process did not start, or ended.
    """
    command = [sys.executable, "-c", "from openbook.evaluate.measures.operations import watch; watch()"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding="utf-8"
    ) as process:
        limit = threading.Timer(_PROCESS_SECONDS, process.kill)
        limit.start()
        assert process.stdin is not None
        assert process.stdout is not None
        into, out = process.stdin, process.stdout

        def tell(what: object) -> Any:
            try:
                print(json.dumps(what), file=into, flush=True)
                said = json.loads(out.readline() or "{}")
            except (BrokenPipeError, ValueError):
                said = {}
            if "searches" not in said:
                why = said.get("error", "it ended without a word")
                raise StoreError(f"the process that watches: {why}", where=kb.database.where, do="run it again")
            return said["searches"]

        def wait(word: str) -> _Wait:
            start = time.perf_counter()
            searches = tell(word)
            # By this process's clock: from the acknowledgement until the other one has said that it sees it.
            return (_ms((time.perf_counter() - start) * 1000) if searches else None), searches or 0

        try:
            # On standard input, because arguments and environments can be read by others.
            tell({"db": kb.database.address, "name": kb.name})
            yield wait
        finally:
            limit.cancel()
            into.close()
            process.wait()


def watch() -> None:
    """The other process: says in a line, for each word that it is told, how many searches it took to find it."""
    from openbook.knowledge_base import open as open_

    def say(what: object) -> None:
        print(json.dumps(what), flush=True)

    told = json.loads(sys.stdin.readline())
    try:
        with open_(told["db"], told["name"], create=False) as kb:
            _finds(kb, "warm")
            say({"searches": 1})
            for line in sys.stdin:
                waited, searches = _until_found(kb, json.loads(line))
                say({"searches": None if waited is None else searches})
    except OpenbookError as error:
        say({"error": str(error)})


def _ms(value: float) -> float:
    return round(float(value), 3)
