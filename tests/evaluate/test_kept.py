"""Reports in files: read back as they were, and whatever somebody made of the file, refused in one line."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.generate.loopback import ModelServer, Request, Say

from openbook.errors import DatasetError, OpenbookError, QueryError
from openbook.evaluate import Judge, evaluate, read_report
from openbook.evaluate.comparison import compare
from openbook.evaluate.datasets.dataset import Evidence, Question, dataset
from openbook.evaluate.gate import check
from openbook.evaluate.pages import html
from openbook.knowledge_base import KnowledgeBase
from openbook.recipe import LanguageModel
from openbook.store.database import Database
from openbook.types import Document

T = TypeVar("T")

ORCHARD = {
    "cider": "# Cider\n\nThe cider is pressed in October. A bottle costs 6 crowns.\n",
    "hives": "# Hives\n\nEleven hives stand behind the barn. Honey is drawn in July.\n",
    "paths": "# Paths\n\nThe path to the mill is closed from December to March.\n",
}
LIBRARY_WORDS = re.compile(r"\b[A-Z]\w*Error|[Ii]nput should|[Uu]nable to|pydantic|type=|NoneType|object has no|\n")


@pytest.fixture(scope="module")
def kept(database: Database) -> dict[str, Any]:
    """A real report with all that a report can hold, as JSON."""
    kb = KnowledgeBase(database, "kept: an orchard")
    kb.add(*(Document(name, text) for name, text in ORCHARD.items()))

    def answers(request: Request) -> Say:
        if "number=" in request.user and "statement" in request.user:
            return Say('{"claims": [{"claim": 1, "passages": [1], "verdict": "supported"}]}')
        return Say("It is pressed in October [1].")

    asked = [
        Question(
            "cider",
            "When is the cider pressed?",
            {"cider": 1},
            ("October",),
            evidence=(Evidence("cider", "pressed in October"),),
        ),
        Question("hives", "How many hives are there?", {"hives": 1}, ("eleven", "11"), metadata={"team": "bees"}),
        Question("mill", "Who is the miller?", answerable=False),
        Question("lost", "What is lost?", answers=("a key",), evidence=(Evidence("cider", "Zeppelins carry eleven"),)),
    ]
    with ModelServer("openai") as server:
        server.will(answers)
        model = LanguageModel(kind="openai", model="m", base_url=server.base_url)
        report = evaluate(
            kb, dataset("orchard", asked), llm=model, judge=Judge(model), attacks=2, freshness=True, as_=["group:farm"]
        )
        extractive = evaluate(kb, dataset("orchard", asked), attacks=0)
    details = {name: extractive.details[name] for name in ("coverage_risk",)}
    kb.traces.close()
    return {**report.as_json(), "details": {**report.as_json()["details"], **details}}


def written(value: Any, path: Path) -> Path:
    path.write_text(json.dumps(value))
    return path


def test_a_report_is_read_back_as_it_was(kept: dict[str, Any], tmp_path: Path) -> None:
    report = read_report(written(kept, tmp_path / "kept.json"))
    assert report.as_json() == json.loads(json.dumps(kept))
    report.write(tmp_path / "again.json")
    assert read_report(tmp_path / "again.json") == report
    assert report.measures["faithfulness"].n == 4


def test_numbers_that_were_typed_as_text_are_numbers(kept: dict[str, Any], tmp_path: Path) -> None:
    edited = copy.deepcopy(kept)
    edited["per_question"]["ndcg@10"]["cider"] = "0.5"
    edited["settings"]["limit"] = "3"
    report = read_report(written(edited, tmp_path / "kept.json"))
    assert report.per_question["ndcg@10"]["cider"] == 0.5
    assert report.settings["limit"] == 3


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda r: r.pop("per_question"), "kept.json: not a report: it lacks per_question; make one: openbook"),
        (lambda r: r["measures"]["f1"].pop("low"), "measures.f1 lacks low"),
        (lambda r: r["per_question"]["f1"].update(cider="much"), "per_question.f1.cider is no number"),
        (lambda r: r["per_question"]["f1"].update(cider=float("nan")), "per_question.f1.cider is no number"),
        (lambda r: r["per_question"]["f1"].update(cider=1e300), "per_question.f1.cider is too large"),
        (lambda r: r["per_question"]["f1"].update(plum=1.0), "per_question.f1 has the question 'plum', which was not"),
        (lambda r: r["asked"].pop("mill"), "has the question 'mill', which was not asked"),
        (lambda r: r["asked"].update(mill="Who?"), "asked.mill is no object"),
        (lambda r: r.update(failed="cider"), "failed is no list"),
        (lambda r: r.update(failed=["plum"]), "failed has the question 'plum', which was not asked"),
        (lambda r: r.update(split="train"), "split is none of those that may be"),
        (lambda r: r.update(ms={"p50": 1.0}), "ms has not all of p50, p95 and p99"),
        (lambda r: r["settings"].update(limit=0), "settings.limit is too small"),
        (lambda r: r["settings"].update(llm={"kind": "openai"}), "settings.llm lacks model"),
        (lambda r: r["details"].update(evidence=[]), "details.evidence is no object"),
        (lambda r: r["details"]["operations"]["latency"].update(n=None), "details.operations.latency.n is no whole"),
    ],
)
def test_what_was_edited_is_told_by_its_key(kept: dict[str, Any], tmp_path: Path, change: Any, line: str) -> None:
    """It was told as KeyError: 'per_question', or later, by whatever met it first."""
    edited = copy.deepcopy(kept)
    change(edited)
    with pytest.raises(DatasetError) as told:
        read_report(written(edited, tmp_path / "kept.json"))
    assert line in str(told.value)
    assert told.value.where == str(tmp_path / "kept.json")


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", "line 1 is no JSON"),
        (b'{"dataset": "x"}\n{"dataset": "y"}\n', "line 2 is no JSON"),
        (b"[]", "it is no object"),
        (b"\xff\xfe\x00", "no UTF-8 text"),
        (b"[" * 100_000, "nested"),
        (b'{"dataset": ' + b"[" * 300 + b"]" * 300 + b"}", "nested"),
        (b'{"dataset": ' + b"9" * 5000 + b"}", "a number beyond reading"),
    ],
    ids=["empty", "lines", "list", "bytes", "deep", "nested", "number"],
)
def test_what_is_no_report_at_all_is_told(tmp_path: Path, content: bytes, line: str) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(DatasetError) as told:
        read_report(tmp_path / "x.json")
    assert f"not a report: {line}" in str(told.value) or line in str(told.value)
    assert not LIBRARY_WORDS.search(told.value.what)


def test_a_file_that_is_not_there_is_misuse(tmp_path: Path) -> None:
    with pytest.raises(QueryError, match=r"none\.json: no such file; name a report"):
        read_report(tmp_path / "none.json")
    with pytest.raises(DatasetError, match="cannot be read"):
        read_report(tmp_path)


def test_half_a_surrogate_pair_does_not_make_a_report_unreadable(kept: dict[str, Any], tmp_path: Path) -> None:
    edited = copy.deepcopy(kept)
    edited["asked"]["cider"]["found"] = ["file:///\udcff.md"]
    report = read_report(written(edited, tmp_path / "kept.json"))
    assert report.questions["cider"].found == ["file:///?.md"]


def test_a_password_in_an_address_is_not_read(kept: dict[str, Any], tmp_path: Path) -> None:
    edited = copy.deepcopy(kept)
    for model in ("llm", "judge"):
        edited["settings"][model]["base_url"] = "http://ann:secret@127.0.0.1:9/v1"
    report = read_report(written(edited, tmp_path / "kept.json"))
    assert report.settings["llm"]["base_url"] == report.settings["judge"]["base_url"] == "http://127.0.0.1:9/v1"


# --- whatever somebody makes of the file ------------------------------------------------------------------------------

SCALARS = [None, True, False, 0, -1, 3, 0.5, -0.5, 1e300, float("nan"), float("inf"), "", "x", "0.5", "\ud800", "\x00"]
KEYS = st.sampled_from(["p50", "value", "cider", ""])
odd = st.recursive(
    st.sampled_from(SCALARS),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=2),
    max_leaves=4,
)


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from paths(inner, (*path, key))


def mutilated(report: dict[str, Any], data: st.DataObject) -> dict[str, Any]:
    edited = copy.deepcopy(report)
    for _ in range(data.draw(st.integers(1, 3))):
        # By depth first: most keys are values of questions.
        depth = data.draw(st.integers(1, 7))
        known = [path for path in paths(edited) if len(path) == depth] or list(paths(edited))
        *above, last = data.draw(st.sampled_from(known))
        there = edited
        for key in above:
            there = there[key]
        if data.draw(st.booleans()):
            del there[last]
        else:
            there[last] = data.draw(odd)
    return edited


def whole_or_refused(make: Callable[[], T]) -> T | None:
    """What is made, or ``None`` where it was refused in one line, in openbook's own words, with what to do."""
    try:
        return make()
    except OpenbookError as error:
        refused = error
    assert not LIBRARY_WORDS.search(refused.what), refused.what
    assert refused.do
    return None


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_mutilated_report_is_whole_or_refused(
    kept: dict[str, Any], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = written(mutilated(kept, data), tmp_path_factory.getbasetemp() / "mutilated.json")
    report = whole_or_refused(lambda: read_report(path))
    if report is not None:
        assert report.text()
        json.dumps(report.as_json())


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_a_mutilated_report_is_compared_and_shown_or_refused(
    kept: dict[str, Any], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.getbasetemp()
    path = written(mutilated(kept, data), folder / "mutilated.json")
    report = whole_or_refused(lambda: read_report(path))
    if report is None:
        return
    whole = read_report(written(kept, folder / "whole.json"))
    for a, b in ((report, whole), (whole, report)):
        for ask in (compare, check):
            found = whole_or_refused(lambda ask=ask, a=a, b=b: ask(a, b, resamples=49))  # type: ignore[misc]
            if found is not None:
                assert found.text()
                json.dumps(found.as_json(), allow_nan=False)
    if data.draw(st.booleans()):
        assert html.report_page(report).startswith("<!doctype html>")
