"""What answering takes: read from what happened, with processes and edits of its own only where that is asked for."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.generate.loopback import ModelServer, Say

from openbook.errors import OpenbookError, StoreError
from openbook.evaluate.datasets.dataset import Question
from openbook.evaluate.measures import operations
from openbook.evaluate.report import Outcome, direction
from openbook.knowledge_base import KnowledgeBase
from openbook.recipe import LanguageModel, QueryHalf, Recipe, WeightedFusion
from openbook.types import Answer, Document, Usage

NOTES = {
    "leave": "# Leave\n\nEvery employee gets ten days of paid sick leave a year.\n",
    "vpn": "# VPN\n\nError KX-77 means that the certificate has expired. Run renew-cert to mend it.\n",
    "travel": "# Travel\n\nTravel in second class. Keep every receipt for seven years.\n",
}
QUESTIONS = {
    "q1": Question("q1", "How many sick days do I get?"),
    "q2": Question("q2", "What does KX-77 mean?"),
    "q3": Question("q3", "How long do I keep receipts?"),
}


@pytest.fixture
def filled(kb: KnowledgeBase) -> KnowledgeBase:
    kb.add(*(Document(name, text) for name, text in NOTES.items()))
    return kb


def asked(kb: KnowledgeBase) -> dict[str, Outcome]:
    outcomes = {}
    for id, question in QUESTIONS.items():
        trace = kb.search(question.text, record=False)
        answer = kb.answer(trace)
        assert answer.trace is not None
        outcomes[id] = Outcome(id, trace.hits, answer, answer.trace.ms, trace.id)
    return outcomes


def took(*totals: float, **stages: float) -> list[Outcome]:
    return [Outcome(str(n), ms={**stages, "total": total}) for n, total in enumerate(totals)]


class TestLatency:
    def test_is_told_for_the_whole_and_for_each_stage(self, filled: KnowledgeBase) -> None:
        outcomes = asked(filled)
        found = operations.latency(list(outcomes.values()))
        warm = [outcome.ms for outcome in outcomes.values()][1:]
        filters = found["stages"].pop("filters")  # of the one question that might name a version
        assert filters["n"] == 1
        assert found["stages"].keys() == {"total", "embed", "keyword", "dense", "fuse", "fetch", "generate"}
        for stage, figures in found["stages"].items():
            values = [ms[stage] for ms in warm]
            assert figures["n"] == 2
            assert figures["p50"]["value"] == pytest.approx(np.median(values), abs=0.001)
            assert figures["max"] == max(values)

    def test_counts_the_first_question_apart(self) -> None:
        """It loads what is loaded at the first need: p99 of 100 questions would be that."""
        found = operations.latency(took(900.0, *[10.0] * 99))
        assert found["first"]["total"] == 900.0
        assert found["n"] == 99
        assert found["stages"]["total"]["max"] == 10.0

    def test_counts_failures_apart(self) -> None:
        """One that waits for its time limit is not slow, and one that is refused at once is not quick."""
        slow = Outcome("x", ms={"total": 60_000.0}, error="no whole answer within 60 s")
        found = operations.latency([*took(*[10.0] * 20), slow])
        assert found["failed"] == {"n": 1, "median": 60_000.0}
        assert found["stages"]["total"]["p99"]["value"] == 10.0

    def test_of_nothing_that_came_through_is_nothing(self) -> None:
        found = operations.latency([Outcome("x", ms={"total": 5.0}, error="refused")])
        assert (found["n"], found["first"], found["stages"]) == (0, None, {})

    @settings(max_examples=50, deadline=None)
    @given(st.lists(st.floats(0, 1e6), min_size=1, max_size=60))
    def test_an_interval_holds_its_value(self, ms: list[float]) -> None:
        found = operations.percentiles(ms)
        ends = [found["p50"]["value"], found["p95"]["value"], found["p99"]["value"], found["max"]]
        assert ends == sorted(ends)
        for name in operations.QUANTILES:
            low, high = found[name]["low"], found[name]["high"]
            assert low is None or low <= found[name]["value"] + 0.001
            assert high is None or high >= found[name]["value"] - 0.001

    def test_an_interval_holds_the_truth_as_often_as_it_says(self) -> None:
        """p95 of a skewed distribution, 400 trials: a 95 % interval misses it 20 times, give or take."""
        draws = np.random.default_rng(1).lognormal(3.0, 0.8, size=(400, 200))
        truth = float(np.exp(3.0 + 0.8 * 1.6448536))
        intervals = [operations.percentiles(row)["p95"] for row in draws]
        held = sum(i["low"] <= truth <= i["high"] for i in intervals)
        assert held >= 0.93 * len(draws)

    @pytest.mark.parametrize(("n", "ends"), [(367, False), (368, True)])
    def test_a_p99_has_an_upper_end_when_there_are_values_enough(self, n: int, ends: bool) -> None:
        found = operations.percentiles(list(range(n)))
        assert (found["p99"]["high"] is not None) == ends


class TestMoney:
    def test_quoting_costs_nothing_and_reads_no_tokens(self, filled: KnowledgeBase) -> None:
        measured = operations.measure(filled, QUESTIONS, asked(filled))
        assert measured.per_question["cost"] == dict.fromkeys(QUESTIONS, 0.0)
        assert not [name for name in measured.per_question if name.startswith("tokens")]
        assert measured.details["operations"]["money"]["total"] == 0.0
        assert measured.details["operations"]["money"]["model"] is None

    def test_is_what_the_price_file_makes_of_the_tokens(
        self, filled: KnowledgeBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        own = tmp_path / "prices.toml"
        own.write_text('[model."in-house"]\ninput = 2.0\noutput = 10.0\nas_of = 2026-01-15\nsource = "us"\n')
        monkeypatch.setenv("OPENBOOK_PRICES", str(own))
        with ModelServer("openai") as server:
            server.will(Say("It says so [1].", usage=(1_000, 50)))
            part = LanguageModel(kind="openai", model="in-house", base_url=server.base_url)
            filled.answer_by(QueryHalf(generate=part))
            measured = operations.measure(filled, QUESTIONS, asked(filled))
        each = (1_000 * 2 + 50 * 10) / 1e6
        assert measured.per_question["cost"] == pytest.approx(dict.fromkeys(QUESTIONS, each))
        assert measured.per_question["tokens_input"] == dict.fromkeys(QUESTIONS, 1_000.0)
        found = measured.details["operations"]
        assert found["money"]["total"] == pytest.approx(3 * each)
        assert found["money"]["per_question"] == pytest.approx(each)
        assert (found["money"]["price"]["as_of"], found["money"]["price"]["source"]) == ("2026-01-15", "us")
        assert found["tokens"]["output"] == {"total": 150, "mean": 50.0}

    def test_one_unknown_price_makes_the_total_unknown(self, filled: KnowledgeBase) -> None:
        outcomes = {
            "q1": Outcome("q1", answer=Answer("a", usage=Usage(10, 1, 0.5)), ms={"total": 1.0}),
            "q2": Outcome("q2", answer=Answer("b", usage=Usage(10, 1, None)), ms={"total": 1.0}),
        }
        measured = operations.measure(filled, QUESTIONS, outcomes)
        assert "cost" not in measured.per_question
        money = measured.details["operations"]["money"]
        assert (money["total"], money["per_question"], money["unknown"]) == (None, None, 1)

    def test_without_answers_there_is_none(self, filled: KnowledgeBase) -> None:
        outcomes = {"q1": Outcome("q1", ms={"total": 1.0})}
        measured = operations.measure(filled, QUESTIONS, outcomes)
        assert measured.per_question.keys() == {"ms_total"}
        assert measured.details["operations"].keys() == {"latency", "size"}


def test_every_measure_is_one_of_which_less_is_better(filled: KnowledgeBase) -> None:
    usage = Usage(10, 1, 0.5)
    outcomes = {id: Outcome(id, answer=Answer("a", usage=usage), ms={"total": 3.0}) for id in QUESTIONS}
    measured = operations.measure(filled, QUESTIONS, outcomes)
    assert measured.per_question.keys() == {"ms_total", "cost", "tokens_input", "tokens_output"}
    assert {direction(name) for name in measured.per_question} == {-1}
    assert all(values.keys() == QUESTIONS.keys() for values in measured.per_question.values())


def test_a_question_that_failed_keeps_its_time_so_that_reports_can_be_paired(filled: KnowledgeBase) -> None:
    outcomes = {"q1": Outcome("q1", ms={"total": 7.0}, error="refused"), "q2": Outcome("q2", ms={"total": 2.0})}
    assert operations.measure(filled, QUESTIONS, outcomes).per_question["ms_total"] == {"q1": 7.0, "q2": 2.0}


class TestSize:
    def test_is_what_the_disk_holds(self, filled: KnowledgeBase) -> None:
        filled.search("sick days", record=False)  # makes the keyword view
        found = operations.size(filled)
        with filled.database.snapshot(None) as connection:
            row = connection.execute(
                "SELECT pg_total_relation_size(%s::regclass), pg_total_relation_size('openbook.vector')",
                [filled.index.table.as_string(connection)],
            ).fetchone()
        assert row is not None
        index = found["index"]
        assert index["rows"] + index["hnsw"] + index["btrees"] == row[0]
        assert found["shared"]["vector_cache"] == row[1]
        assert min(index.values()) > 0
        assert index["total"] == sum(bytes for part, bytes in index.items() if part != "total")
        assert (found["documents"], found["chunks"]) == (3, 3)
        assert found["texts"] == sum(len(text.encode()) for text in NOTES.values())
        assert found["per_chunk"] == pytest.approx(index["total"] / 3, abs=0.1)
        assert found["per_character"] == pytest.approx(index["total"] / found["characters"], abs=0.001)

    def test_of_an_empty_knowledge_base_divides_by_nothing(self, kb: KnowledgeBase) -> None:
        found = operations.size(kb)
        assert (found["chunks"], found["per_chunk"], found["per_character"]) == (0, None, None)
        assert found["index"]["keyword"] == 0


@pytest.fixture
def unchanged(filled: KnowledgeBase) -> Iterator[KnowledgeBase]:
    """Whatever is done to it: every table of the database and every file beside it is afterwards as it was."""

    def everything() -> dict[str, Any]:
        filled.traces.close()
        with filled.database.snapshot(None) as connection:
            tables = connection.execute(
                "SELECT relname FROM pg_class WHERE relnamespace = 'openbook'::regnamespace AND relkind = 'r'"
            ).fetchall()
            rows = {
                name: sorted(str(row) for row in connection.execute(f'SELECT * FROM openbook."{name}"').fetchall())
                for (name,) in tables
            }
        keyword = Path(filled.database.cache) / "keyword"
        return {**rows, "files": sorted(path.name for path in keyword.iterdir())}

    filled.search("sick days", record=False)
    before = everything()
    yield filled
    assert everything() == before


class TestCold:
    def test_a_new_process_takes_longer_than_a_warm_one(self, unchanged: KnowledgeBase) -> None:
        found = operations.measure_cold(unchanged, QUESTIONS["q1"].text, answer=True)
        assert found["verb"] == "ask"
        assert len(found["process"]["ms"]) == operations.COLD_RUNS
        assert found["process"]["median"] == sorted(found["process"]["ms"])[1]
        assert min(found["process"]["ms"]) > found["second"] > 0
        assert found["open"] > 0

    def test_what_does_not_answer_is_told(self, unchanged: KnowledgeBase) -> None:
        part = LanguageModel(kind="openai", model="m", base_url="http://127.0.0.1:9/v1")
        unchanged.answer_by(QueryHalf(generate=part))
        with pytest.raises(OpenbookError, match="nothing answers there"):
            operations.measure_cold(unchanged, "-- sick days?", answer=True)


class TestFreshness:
    def test_an_edit_is_seen_by_the_next_search_of_every_process(self, unchanged: KnowledgeBase) -> None:
        found = operations.measure_freshness(unchanged)
        for where in ("same_process", "other_process", "removal"):
            assert found[where]["searches"] == 1, where
            assert len(found[where]["ms"]) == operations.FRESH_ROUNDS
            assert 0 < found[where]["median"] <= found[where]["max"]
        assert "scratch" in found["where"]

    @pytest.mark.parametrize("dense", [0.0, 1.0])
    def test_a_side_that_the_recipe_does_not_read_is_not_waited_for(
        self, new_kb: Callable[..., KnowledgeBase], monkeypatch: pytest.MonkeyPatch, dense: float
    ) -> None:
        """Every edit was waited for half a minute, and told as never seen."""
        monkeypatch.setattr(operations, "VISIBLE_SECONDS", 0.5)
        monkeypatch.setattr(operations, "FRESH_ROUNDS", 1)
        found = operations.measure_freshness(new_kb(Recipe(query=QueryHalf(fusion=WeightedFusion(dense=dense)))))
        assert found["same_process"]["searches"] == found["other_process"]["searches"] == 1

    def test_what_is_never_seen_is_not_told_as_quick(
        self, filled: KnowledgeBase, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(operations, "VISIBLE_SECONDS", 0.05)
        waited, searches = operations._until_found(filled, "zqnowhere")
        assert waited is None
        assert searches >= 1
        waits = operations._waits([(3.0, 1), (waited, searches)])
        assert (waits["median"], waits["max"]) == (None, None)

    def test_a_watcher_that_cannot_open_says_why(self, kb: KnowledgeBase) -> None:
        name, kb.name = kb.name, "nowhere"
        with pytest.raises(StoreError, match="no knowledge base named 'nowhere'"), operations._watcher(kb):
            pass
        kb.name = name

    def test_drops_what_a_killed_process_left(self, kb: KnowledgeBase, new_kb: Callable[..., KnowledgeBase]) -> None:
        old, young = (new_kb(name=f"{operations._SCRATCH}{uuid.uuid4().hex}") for _ in range(2))
        with kb.database.transaction("owner") as connection:
            connection.execute(
                "UPDATE openbook.knowledge_base SET created = now() - interval '2 hours' WHERE id = %s", [old.kb]
            )
        operations._drop_left_behind(kb)
        with kb.database.snapshot(None) as connection:
            [left] = connection.execute(
                "SELECT id FROM openbook.knowledge_base WHERE id = ANY(%s)", [[old.kb, young.kb]]
            ).fetchall()
        assert left == (young.kb,)
        operations._drop(kb, young.kb)


def test_cold_and_freshness_are_measured_only_when_asked_for(
    filled: KnowledgeBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "COLD_RUNS", 1)
    monkeypatch.setattr(operations, "FRESH_ROUNDS", 1)
    outcomes = asked(filled)
    assert not {"cold", "freshness"} & operations.measure(filled, QUESTIONS, outcomes).details["operations"].keys()
    both = operations.measure(filled, QUESTIONS, outcomes, cold=True, freshness=True).details["operations"]
    assert both["cold"]["question"] == QUESTIONS["q1"].text
    assert both["freshness"]["other_process"]["searches"] == 1
    json.dumps(both, allow_nan=False)


def test_what_cannot_be_measured_says_why_and_loses_nothing_else(filled: KnowledgeBase) -> None:
    outcomes = asked(filled)
    part = LanguageModel(kind="openai", model="m", base_url="http://127.0.0.1:9/v1")
    filled.answer_by(QueryHalf(generate=part))
    measured = operations.measure(filled, QUESTIONS, outcomes, cold=True)
    assert "nothing answers there" in measured.details["operations"]["cold"]["error"]
    assert measured.per_question["ms_total"].keys() == QUESTIONS.keys()
