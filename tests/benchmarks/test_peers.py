"""The harness of the peers, run on openbook itself: what it measures of the others cannot be measured here."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent.parent.parent / "benchmarks" / "peers"

CORPUS = [
    {"_id": "tea", "title": "Tea", "text": "Green tea is steeped for two minutes in water that no longer boils."},
    {"_id": "bread", "title": "Bread", "text": "Rye bread keeps for a week when it is wrapped in linen."},
    {"_id": "ferry", "title": "Ferry", "text": "The last ferry to the island leaves at nine in the evening."},
]


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The harness's modules: scripts that find each other beside themselves."""
    monkeypatch.syspath_prepend(str(HERE))
    names = ("protocol", "session", "behaviour", "setup", "report", "run")
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    found = {name: __import__(name) for name in names}
    for name in names:
        monkeypatch.delitem(sys.modules, name)
    return found


@pytest.fixture
def new_session(peers: dict[str, Any], tmp_path: Path) -> Callable[[], Any]:
    return lambda: peers["session"].Session(Path(sys.executable), HERE / "peer_openbook.py", tmp_path / "log.txt")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A BEIR folder."""
    folder = tmp_path / "tiny"
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, CORPUS)) + "\n")
    questions = [
        {"_id": "1", "text": "How long is green tea steeped?"},
        {"_id": "2", "text": "When is the last ferry?"},
    ]
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, questions)) + "\n")
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n1\ttea\t1\n2\tferry\t1\n")
    return folder


def test_openbook_answers_the_protocol(new_session: Callable[[], Any], corpus: Path, tmp_path: Path) -> None:
    with new_session() as session:
        assert session.ask("about")["modes"] == ["dense", "hybrid", "keyword"]
        session.ask("open", folder=str(tmp_path / "db"))
        session.sample_memory()
        assert session.timed("add", corpus=str(corpus / "corpus.jsonl")) > 0
        assert session.acknowledged == session.ask("count") == 3
        for mode in ("dense", "hybrid", "keyword"):
            assert session.ask("search", question="When does the last ferry leave?", k=2, mode=mode)[0][0] == "ferry"
        session.ask("close")
    assert session.peak > 50e6  # the model alone is larger


def test_openbook_shows_every_edit_to_every_process(
    peers: dict[str, Any], new_session: Callable[[], Any], tmp_path: Path
) -> None:
    visible = peers["behaviour"].visibility(new_session, tmp_path)
    everywhere = {who: {"dense": True, "hybrid": True, "keyword": True} for who in ("same", "other", "new")}
    assert visible == {"update": everywhere, "delete": everywhere}


def test_openbook_survives_a_kill(peers: dict[str, Any], new_session: Callable[[], Any], tmp_path: Path) -> None:
    killed = peers["behaviour"].survival(new_session, tmp_path, later=30, shares=(0.5,))
    for state in (killed["after_add"], *killed["during_add"]):
        assert (state["opens"], state["earlier"], state["consistent"]) == (True, True, True)
        assert state["documents"] >= state["acknowledged"]
    assert killed["after_add"]["documents"] == 30


def test_a_question_that_finds_nothing_counts_zero(peers: dict[str, Any], corpus: Path, tmp_path: Path) -> None:
    read = peers["run"].Corpus(corpus, tmp_path, None)
    assert read.judged([["bread", "tea", "tea"], []]) == {"ndcg@10": pytest.approx(0.5 / 1.584963), "recall@100": 0.5}


def test_a_limit_keeps_the_questions_that_can_be_answered(peers: dict[str, Any], corpus: Path, tmp_path: Path) -> None:
    assert list(peers["run"].Corpus(corpus, tmp_path, 2).questions) == ["1"]


def test_one_peers_row_is_renewed_and_the_others_stay(peers: dict[str, Any]) -> None:
    renewed = peers["run"].renewed
    results = renewed({}, "sets", "tiny", "openbook", {"old": 1})
    results = renewed(results, "sets", "tiny", "chroma", {"old": 1})
    results = renewed(results, "sets", "tiny", "openbook", {"new": 1})
    assert results == {"sets": {"tiny": {"openbook": {"new": 1}, "chroma": {"old": 1}}}}


def test_the_report_shows_the_best_and_the_ratio_to_openbook(peers: dict[str, Any]) -> None:
    def row(rate: float, modes: tuple[str, ...]) -> dict[str, Any]:
        figures = {
            "p50": 100 / rate,
            "p95": 200 / rate,
            "encode_p50": 10.0,
            "processor": 0.02,
            "ndcg@10": 0.4,
            "recall@100": 0.8,
        }
        conditions = {"date": "2026-11-21", "processor": "p", "cores": 2, "instructions": "AVX2", "python": "3.11"}
        return {
            "add": {"rate": rate, "encode_rate": 20.0, "processor": 1 / rate, "encode_processor": 0.05},
            "memory_add": 1e9,
            "memory_ask": 1e9,
            "cold": {"seconds": 2.0},
            "conditions": {**conditions, "load_before": 0.1},
            "versions": {"it": "1.0"},
            **dict.fromkeys(modes, figures),
        }

    rows = {"chroma": row(20, ("dense",)), "openbook": row(40, ("hybrid", "dense"))}
    text = peers["report"].markdown({"sets": {"tiny": rows}})
    assert "| openbook | **2.00** | **40** | **0.25** | **2.5** | **5.0** |" in text
    assert "| Chroma | 1.00 (0.50) | 20 (0.50) | – | – | – | 0.50 (2.00) |" in text
