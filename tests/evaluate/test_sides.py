"""What can be compared becomes reports: recipes on real documents, the live release, kept reports, TREC runs."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.generate.loopback import ModelServer, Say

from openbook.errors import DatasetError, NotFound, OpenbookError, QueryError
from openbook.evaluate import evaluate, read
from openbook.evaluate.comparison import compare
from openbook.evaluate.dataset import Dataset, Evidence, Question, dataset
from openbook.evaluate.report import Report
from openbook.evaluate.sides import _in_turns, again, measured, of_run, open_copy
from openbook.knowledge_base import KnowledgeBase
from openbook.knowledge_base import open as open_
from openbook.recipe import IndexHalf, LanguageModel, Recipe, RecursiveChunker
from openbook.types import Document

Run = Callable[..., "subprocess.CompletedProcess[str]"]

PLACES = ["boiler room", "canteen", "dark room", "library", "rooftop garden", "server room", "sick bay", "workshop"]
TEXTS = {
    f"{place.replace(' ', '-')}.md": f"# The {place}\n\nThe key of the {place} hangs at desk {n + 3}.\n\n"
    f"## Hours\n\nThe {place} opens at {n + 7} o'clock and closes when the last guest has left the {place}.\n"
    for n, place in enumerate(PLACES)
}
SMALL = Recipe(index=IndexHalf(chunk=RecursiveChunker(size=60, overlap=10)))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with documents in .openbook, questions about them, recipes, and a cache of its own."""
    home = tmp_path_factory.mktemp("home")
    (home / "small.toml").write_text(SMALL.to_toml())
    (home / "rrf.toml").write_text('[query.fusion]\nkind = "rrf"\n')
    (home / "broken.toml").write_text("[query]\ncandidates = 0\n")
    (home / "places").mkdir()
    for name, text in TEXTS.items():
        (home / "places" / name).write_text(text)
    rows = [
        {"id": f"q{n}", "question": f"When does the {place} open?", "evidence": [{"source": name, "text": place}]}
        for n, (place, name) in enumerate(zip(PLACES, TEXTS, strict=True))
    ]
    (home / "questions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENBOOK_CACHE", str(home / "cache"))
        patch.chdir(home)
        with open_(home / ".openbook") as kb:
            kb.add(home / "places")
            yield home


@pytest.fixture
def questions(home: Path) -> Dataset:
    return read(home / "questions.jsonl")


# --- recipes ----------------------------------------------------------------------------------------------------------


def test_the_live_release_beside_a_recipe_of_other_chunks(home: Path, questions: Dataset) -> None:
    told: list[tuple[int, int]] = []
    live, small = measured(
        ("live", "small.toml"), questions, db=".openbook", progress=lambda *at: told.append(at), cuts=[5]
    )
    assert live.data == small.data == questions.hash
    assert (live.recipe, small.recipe) == (Recipe().hash, SMALL.hash)
    assert live.measures["ndcg@5"].n == small.measures["ndcg@5"].n == 8
    assert {found for asked in small.questions.values() for found in asked.found} <= {
        (home / "places" / name).as_uri() for name in TEXTS
    }
    found = compare(live, small, names=("live", "small.toml"))
    assert found.verdict in ("ship", "don't ship", "insufficient evidence")
    assert not [note for note in found.notes if "in turns" in note]
    assert told[-16:] == [(done, 16) for done in range(1, 17)], "asked in turns, and told so"

    question, asked = next(iter(small.questions.items()))
    show = found.b.show(question)
    assert show is not None
    assert str(asked.trace) in show
    with open_(str(small.db), create=False) as copy:
        assert copy.trace(str(asked.trace))["details"]["question"] == question


def test_a_recipe_of_the_same_chunks_asks_the_index_that_is_there(questions: Dataset, home: Path) -> None:
    before = sorted((home / "cache" / "evaluate").glob("*")) if (home / "cache").is_dir() else []
    live, rrf = measured(("live", "rrf.toml"), questions, db=".openbook", limit=2)
    assert live.db == rrf.db == ".openbook"
    assert rrf.recipe != live.recipe
    assert sorted((home / "cache" / "evaluate").glob("*")) == before
    with open_(".openbook", create=False) as kb:
        assert kb.recipe == Recipe(), "what is live stays as it is"


def test_a_data_set_with_a_corpus_brings_its_own_documents(home: Path) -> None:
    folder = home / "beir"
    (folder / "qrels").mkdir(parents=True)
    rows = [{"_id": name, "title": "", "text": text} for name, text in TEXTS.items()]
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, rows)))
    rows = [{"_id": f"q{n}", "text": f"When does the {place} open?"} for n, place in enumerate(PLACES)]
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, rows)))
    lines = [f"q{n}\t{name}\t1" for n, name in enumerate(TEXTS)]
    (folder / "qrels" / "test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *lines]))
    data = read(folder)
    default, live = measured(("default", "live"), data, db=".openbook")
    assert default.db == live.db != ".openbook"
    assert set(next(iter(default.questions.values())).found) <= TEXTS.keys()
    assert compare(default, live).reasons[0] == "ndcg@10 is the same for every question"
    assert again(default, data).per_question["ndcg@10"] == default.per_question["ndcg@10"]


def test_a_report_is_asked_again_as_it_was_made(questions: Dataset) -> None:
    (first, _) = measured(("live", "live"), questions, split="dev", limit=3, cuts=[3], as_=["team:x"], db=".openbook")
    now = again(first, questions, db=".openbook")
    assert list(now.questions) == list(first.questions)
    assert len(now.questions) <= 3
    assert now.settings["as"] == ["team:x"]
    assert "ndcg@3" in now.measures
    assert {**now.settings, "in_turns": True} == first.settings
    changed = dataset("questions", [Question("q0", "When does the canteen open?", evidence=(Evidence("canteen.md"),))])
    with pytest.raises(QueryError, match="other questions than questions holds now"):
        again(first, changed, db=".openbook")


def test_what_a_language_model_answered_it_answers_again(questions: Dataset) -> None:
    """The gate had the recipe's own generator answer, and held that against the model's answers."""
    asked = dataset("asked", [replace(q, answers=("8 o'clock",)) for q in questions.select(limit=1).questions.values()])
    with ModelServer("openai") as server:
        server.will(Say("At 8 o'clock [1]."))
        model = LanguageModel(kind="openai", model="m", base_url=server.base_url)
        with open_(".openbook", create=False) as kb:
            first = evaluate(kb, asked, llm=model, attacks=0)
        now = again(first, asked, db=".openbook")
        assert len(server.requests) == 2, "nor are orders planted that were not"
        other = again(first, asked, "rrf.toml", db=".openbook")
        assert len(server.requests) == 2, "a recipe answers by its own generator"
    assert now.recipe == first.recipe != Recipe().hash
    assert now.per_question["answer_contained"] == first.per_question["answer_contained"]
    assert other.recipe == Recipe.load("rrf.toml").hash


@pytest.mark.parametrize(
    ("sides", "line"),
    [
        (("live", "nowhere.json"), "nowhere.json: cannot be read"),
        (("live", "broken.toml"), "broken.toml: query.candidates"),
        (("live", "questions.jsonl"), "questions.jsonl: not a report"),
        (("live", "places/canteen.md"), "places/canteen.md:1: no line of a run"),
    ],
)
def test_what_is_no_side_is_refused_before_anything_is_asked(
    sides: tuple[str, str], line: str, questions: Dataset
) -> None:
    with pytest.raises(OpenbookError, match=line) as caught:
        measured(sides, questions, db="/nowhere/at/all")
    assert "\n" not in str(caught.value)


def test_an_unknown_split_and_a_missing_data_set_are_refused(questions: Dataset) -> None:
    with pytest.raises(QueryError, match="choose dev, test or all"):
        measured(("live", "live"), questions, split="train", db=".openbook")  # type: ignore[arg-type]
    with pytest.raises(QueryError, match="no data set"):
        measured(("live", "live"), None, db=".openbook")


# --- copies -----------------------------------------------------------------------------------------------------------


def test_a_copy_follows_the_documents_and_keeps_who_may_see_them(
    kb: KnowledgeBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENBOOK_CACHE", str(tmp_path))
    kb.add(
        Document("memo:1", "The canteen opens at eight.", title="Canteen", metadata={"year": 2025, "tag": ("a", "b")})
    )
    kb.add(Document("memo:2", "The vault opens with two keys.", access=("group:hr",)))
    kb.add(Document("memo:3", "The old printer is gone."))
    with open_copy(kb, SMALL) as copy:
        assert {row["source"] for row in copy.list()} == {"memo:1", "memo:2", "memo:3"}
        assert copy.show("memo:1") == kb.show("memo:1")
        assert {hit.source for hit in copy.search("vault keys", as_=["group:it"]).hits} == {"memo:1", "memo:3"}
        assert copy.search("vault keys", as_=["group:hr"]).hits[0].source == "memo:2"

    kb.add(Document("memo:1", "The canteen opens at nine.", title="Canteen"))
    kb.add(Document("memo:2", "The vault opens with two keys.", access=("group:board",)))
    kb.remove("memo:3")
    told: list[tuple[int, int]] = []
    with open_copy(kb, SMALL, progress=lambda *at: told.append(at)) as copy:
        assert {row["source"]: tuple(row["access"]) for row in copy.list()} == {
            "memo:1": ("public",), "memo:2": ("group:board",),
        }  # fmt: skip
        assert copy.show("memo:1").text == "The canteen opens at nine."
        assert not [hit for hit in copy.search("vault", as_=["group:hr"]).hits if hit.source == "memo:2"]
        changed = {row["source"]: row["changed"] for row in copy.list()}
    assert told == [(2, 2)]
    with open_copy(kb, SMALL) as copy:
        assert {row["source"]: row["changed"] for row in copy.list()} == changed, "nothing was written again"
    assert len(list((tmp_path / "evaluate").iterdir())) == 1


def test_nothing_is_not_copied(kb: KnowledgeBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBOOK_CACHE", str(tmp_path))
    with pytest.raises(NotFound, match="no document to ask"):
        open_copy(kb, SMALL)


# --- runs -------------------------------------------------------------------------------------------------------------

JUDGED = dataset("support", [Question(f"q{n}", f"question {n}", {f"d{n}": 1}) for n in range(4)])


def run_file(tmp_path: Path, rankings: dict[str, list[str]]) -> Path:
    lines = [f"{q} Q0 {d} {rank} {100 - rank} other" for q, of in rankings.items() for rank, d in enumerate(of, 1)]
    (tmp_path / "other.trec").write_text("\n".join(lines) + "\n")
    return tmp_path / "other.trec"


def test_a_run_is_measured_and_what_it_lacks_counts_0(tmp_path: Path) -> None:
    ten = [f"x{n}" for n in range(9)]
    path = run_file(tmp_path, {"q0": ["d0", *ten], "q1": ["x", "d1", *ten[:8]], "elsewhere": ["d0"]})
    found = of_run(path, JUDGED, ("ndcg@10", "recall@100", "success@1"))
    assert found.per_question["success@1"] == {"q0": 1.0, "q1": 0.0, "q2": 0.0, "q3": 0.0}
    assert found.unanswered == ("q2", "q3")
    assert "recall@100" not in found.per_question, "it would count what was cut off as not found"
    assert found.questions["q1"].found[:2] == ("x", "d1")
    other = of_run(path, JUDGED, ("ndcg@10",))
    assert "note: A: 2 questions found nothing and count 0: q2, q3" in compare(found, other).text()
    assert compare(found, other).a.show("q0") is None


def test_a_measure_deeper_than_the_run_is_refused(tmp_path: Path) -> None:
    path = run_file(tmp_path, {"q0": ["d0", "x", "y", "z", "v"]})
    with pytest.raises(QueryError, match="the run holds at most 5 documents for a question; measure at 5 or less"):
        of_run(path, JUDGED, ("ndcg@10", "recall@5"))
    with pytest.raises(QueryError, match="measure at 5 or less"):
        of_run(path, JUDGED, ("ndcg@5", "recall@20"), asked=["recall@20"])
    kept = of_run(path, JUDGED, ("ndcg@5", "ndcg@10"), asked=["ndcg@5"])
    assert list(kept.per_question) == ["ndcg@5"]


def test_a_run_of_other_questions_or_with_a_document_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(QueryError, match="answers no judged question of support"):
        of_run(run_file(tmp_path, {"other": ["d0"]}), JUDGED, ("ndcg@10",))
    with pytest.raises(DatasetError, match="twice"):
        of_run(run_file(tmp_path, {"q0": ["d0", "x", "d0"]}), JUDGED, ("ndcg@10",))


# --- taking turns -----------------------------------------------------------------------------------------------------

NOTHING = Report("support", "0", "all", "r1", "", {})


def asker(name: str, log: list[str], questions: int = 4, *, fails_at: int = 0) -> Callable[..., Report]:
    def ask(progress: Callable[[int, int], None]) -> Report:
        for number in range(1, questions + 1):
            if number == fails_at:
                raise DatasetError("it broke", where=name, do="mend it")
            log.append(f"{name}{number}")
            progress(number, questions)
        progress(questions, questions)  # an evaluation may say so once more
        return NOTHING

    return ask


def test_two_evaluations_ask_in_turns() -> None:
    log: list[str] = []
    told: list[int] = []
    asks = {0: asker("a", log), 1: asker("b", log)}
    assert _in_turns(asks, lambda done, of: told.append(done)) == [NOTHING, NOTHING]
    assert log == ["a1", "b1", "a2", "b2", "a3", "b3", "a4", "b4"]
    assert told[:8] == list(range(1, 9))


@pytest.mark.parametrize(("broken", "at"), [(0, 1), (0, 3), (1, 1), (1, 4)])
def test_where_one_breaks_the_other_stops_and_the_reason_is_told(broken: int, at: int) -> None:
    log: list[str] = []
    asks = {n: asker("ab"[n], log, 50, fails_at=at if n == broken else 0) for n in (0, 1)}
    with pytest.raises(DatasetError, match="it broke"):
        _in_turns(asks, lambda done, of: None)
    assert len(log) <= 2 * at
    assert not [thread for thread in threading.enumerate() if thread.name == "candidate"]


def test_one_that_asks_less_does_not_hold_up_the_other() -> None:
    log: list[str] = []
    _in_turns({0: asker("a", log, 1), 1: asker("b", log, 4)}, lambda done, of: None)
    assert log == ["a1", "b1", "b2", "b3", "b4"]


# --- the command line -------------------------------------------------------------------------------------------------


def test_compare_and_check_in_a_terminal(openbook: Run, home: Path, tmp_path: Path) -> None:
    env = {"OPENBOOK_DB": str(home / ".openbook"), "OPENBOOK_CACHE": str(home / "cache")}
    questions = str(home / "questions.jsonl")
    with open_(home / ".openbook") as kb:
        evaluate(kb, read(home / "questions.jsonl")).write(tmp_path / "baseline.json")

    done = openbook(
        "compare", "baseline.json", str(home / "rrf.toml"), questions, "--html", "page.html", "--json", env=env
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.keys() >= {"dataset", "measures", "flips", "verdict"}
    assert found["measures"]["ndcg@10"].keys() >= {"a", "b", "difference", "low", "high", "p", "p_holm", "detectable"}
    assert found["verdict"] in ("ship", "don't ship", "insufficient evidence")
    assert "<html" in (tmp_path / "page.html").read_text()

    done = openbook("check", questions, "--baseline", "baseline.json", "--out", "now.json", env=env)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("nothing became worse")
    said = openbook("compare", "baseline.json", "now.json").stdout
    assert said.splitlines()[-1].startswith("insufficient evidence: ndcg@10 is the same for every question")

    kept = json.loads((tmp_path / "baseline.json").read_text())
    kept["per_question"]["mrr@10"] = dict.fromkeys(kept["per_question"]["mrr@10"], 3.0)  # as no pipeline is
    (tmp_path / "better.json").write_text(json.dumps(kept))
    done = openbook("check", questions, "--baseline", "better.json", "--measure", "mrr@10", "--json", env=env)
    assert done.returncode == 1
    assert [worse["what"] for worse in json.loads(done.stdout)["worse"]] == ["mrr@10"]

    (tmp_path / "other.jsonl").write_text('{"id": "q0", "question": "Who?", "evidence": [{"source": "canteen.md"}]}\n')
    done = openbook("check", "other.jsonl", "--baseline", "baseline.json", env=env)
    assert (done.returncode, done.stdout) == (2, "")
    assert "the baseline was measured on other questions than other holds now" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
