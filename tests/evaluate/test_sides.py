"""What can be compared becomes reports: recipes on real documents, the live release, kept reports, TREC runs."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.generate.loopback import ModelServer, Request, Say

from openbook.errors import DatasetError, NotFound, OpenbookError, QueryError
from openbook.evaluate import Judge, StyleClassifier, evaluate, read
from openbook.evaluate.comparison import compare
from openbook.evaluate.datasets.dataset import Dataset, Evidence, Question, dataset
from openbook.evaluate.gate import check
from openbook.evaluate.measures.adherence import read_examples
from openbook.evaluate.measures.judge import Budget
from openbook.evaluate.pages import html
from openbook.evaluate.report import Asked, Report
from openbook.evaluate.sides import again, judged_as, measured, of_run, reachable
from openbook.knowledge_base import open as open_
from openbook.recipe import IndexHalf, LanguageModel, Recipe, RecursiveChunker

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


def evaluated(questions: Dataset, **options: Any) -> Report:
    with open_(".openbook", create=False) as kb:
        return evaluate(kb, questions, **options)


def keep(report: Report, path: Path) -> str:
    report.write(path)
    return path.name


def show(report: Report) -> list[Any]:
    """Its traces."""
    with open_(".openbook", create=False) as kb:
        return [kb.trace(str(asked.trace)) for asked in report.questions.values()]


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


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"split": "dev"}, "--split: two kept reports are compared as they are; leave --split away"),
        ({"limit": 3, "cuts": [5]}, "--limit -k: two kept reports are compared as they are; leave --limit and -k away"),
        ({"as_": ["group:hr"]}, "--as: two kept reports are compared as they are; leave --as away"),
    ],
)
def test_options_that_two_kept_reports_would_ignore_are_refused(
    home: Path, questions: Dataset, options: dict[str, Any], line: str
) -> None:
    """They were ignored, and the comparison looked like the one that was asked for."""
    kept = keep(evaluated(questions), home / "kept.json")
    assert len(measured((kept, kept), None)) == 2
    with pytest.raises(QueryError) as caught:
        measured((kept, kept), None, **options)
    assert str(caught.value) == line


def test_options_that_would_not_change_what_was_measured_are_refused(home: Path, questions: Dataset) -> None:
    kept = keep(evaluated(questions), home / "kept.json")
    with pytest.raises(QueryError, match="--as -k: nothing is asked: both sides are measured already"):
        measured((kept, kept), questions, as_=["group:hr"], cuts=[10])
    with pytest.raises(QueryError, match=r"kept\.json: has no measure at 7; leave -k 7 away"):
        measured((kept, "live"), questions, cuts=[7], db="/nowhere/at/all")
    with pytest.raises(QueryError, match="--as: the report was asked as the owner; leave --as away"):
        measured((kept, "live"), questions, as_=["group:hr"], db="/nowhere/at/all")


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("foo", "unknown measure 'foo'; openbook evaluate shows those that there are"),
        ("faithfullness", "unknown measure 'faithfullness'; was faithfulness meant?"),
        ("ndcg@ten", "unknown measure 'ndcg@ten'; choose one of ndcg"),
        ("span_iou@7", "unknown measure 'span_iou@7'; was span_iou@"),
        ("faithfulness", "faithfulness comes from a judge: openbook evaluate --judge"),
        ("style_adherence", "style_adherence comes from a style: openbook evaluate --style"),
        ("risk", "risk is no mean over questions"),
        ("access_leak_rate", "access_leak_rate is measured in a caller's name: give --as"),
        ("f1", "f1 is measured on answers, and the data set holds none"),
    ],
)
def test_a_measure_that_will_not_be_there_is_refused_before_anything_is_asked(
    questions: Dataset, name: str, line: str
) -> None:
    """``--primary foo`` was refused when both sides had been asked, and paid for."""
    for options in ({"measures": [name]}, {"named": [name]}):
        with pytest.raises(QueryError) as caught:
            measured(("live", "rrf.toml"), questions, db="/nowhere/at/all", **options)  # type: ignore[arg-type]
        assert str(caught.value).startswith(line)


def test_a_measure_that_a_kept_report_lacks_is_refused_before_anything_is_asked(home: Path, questions: Dataset) -> None:
    kept = keep(evaluated(questions), home / "kept.json")
    with pytest.raises(QueryError, match=r"kept\.json: has no measure 'f1'; choose one of ndcg@10, "):
        measured(("live", kept), questions, named=["f1"], db="/nowhere/at/all")
    with pytest.raises(NotFound):
        measured(("live", kept), questions, named=["mrr@10", "span_iou@5"], db="/nowhere/at/all")


@pytest.mark.parametrize("text", ["[query.fusion]\nkind = 'rrf'\n", "# By rank\n\nquery.fusion.kind = 'rrf'\n"])
def test_a_recipe_is_known_by_what_it_says_not_by_its_name(home: Path, questions: Dataset, text: str) -> None:
    """``--recipe r.conf`` was taken for a run, and refused as measured already."""
    (home / "r.conf").write_text(text)
    _, rrf = measured(("live", "r.conf"), questions, db=".openbook", limit=1)
    assert rrf.recipe == Recipe.load("rrf.toml").hash
    first = evaluated(questions)
    assert again(first, questions, "r.conf", db=".openbook").recipe == rrf.recipe


@pytest.mark.parametrize(("side", "line"), [("kept.json", "is a report"), ("other.trec", "is no recipe")])
def test_what_cannot_be_asked_says_what_it_is(home: Path, questions: Dataset, side: str, line: str) -> None:
    first = evaluated(questions)
    keep(first, home / "kept.json")
    (home / "other.trec").write_text("q0 Q0 canteen.md 1 9.5 other\n")
    with pytest.raises(QueryError, match=f"{side}: {line}, which cannot be asked; name live, default or a recipe"):
        again(first, questions, side, db=".openbook")


# --- as a report was made ---------------------------------------------------------------------------------------------


def loud(n: int, *, yes: bool) -> str:
    words = [PLACES[(n * step) % len(PLACES)] for step in (1, 3, 5)]
    text = f"The {words[0]} number {n} lies behind the {words[1]}, above the {words[2]}"
    return f"{text.upper()}!!" if yes else f"{text}."


@pytest.fixture(scope="module")
def loopback() -> Iterator[ModelServer]:
    """A model that answers with a citation, and bears out whatever it is asked to judge."""

    def says(request: Request) -> Say:
        if "</statement-" in request.user:
            return Say('{"claims": [{"claim": 1, "passages": [1], "verdict": "supported"}]}')
        return Say("At 8 o'clock [1].")

    with ModelServer("openai") as server:
        server.will(says)
        yield server


@pytest.fixture(scope="module")
def asked(home: Path) -> Dataset:
    """Two questions with answers."""
    two = read(home / "questions.jsonl").select(limit=2).questions.values()
    return dataset("asked", [replace(question, answers=("8 o'clock",)) for question in two])


@pytest.fixture(scope="module")
def judged(home: Path, loopback: ModelServer, asked: Dataset) -> Report:
    """A report that a judge, within a budget, and a style have had a hand in."""
    rows = [{"text": loud(n, yes=yes), "in_style": yes} for n in range(30) for yes in (True, False)]
    (home / "style.jsonl").write_text("\n".join(map(json.dumps, rows)))
    model = LanguageModel(kind="openai", model="m", base_url=loopback.base_url.replace("//", "//ann:secret@"))
    style = StyleClassifier.train(read_examples(home / "style.jsonl"), where="style.jsonl")
    return evaluated(asked, llm=model, attacks=0, judge=Judge(model, budget=Budget(calls=50)), style=style)


def requests(server: ModelServer) -> tuple[int, int]:
    """Of answers and of judgements, since the last time."""
    made = [("</statement-" in request.user) for request in server.requests]
    server.requests.clear()
    return made.count(False), made.count(True)


def test_a_judge_and_a_style_judge_again(judged: Report, asked: Dataset, loopback: ModelServer) -> None:
    """What a judge had measured was refused, or left out of the gate, when everything had been asked."""
    requests(loopback)
    told: list[str] = []
    now = again(judged, asked, db=".openbook", say=told.append)
    assert told == ["answered by openai:m, as the report was", "judged by openai:m, as the report was"]
    assert requests(loopback) == (2 + 1, 2), "two answers, one question whether it is there, two judgements"
    for name in ("faithfulness", "unsupported_rate", "style_adherence"):
        assert now.per_question[name] == judged.per_question[name]
    assert now.settings == judged.settings
    assert now.settings["budget"] == {"calls": 50, "tokens": None, "dollars": None}
    assert check(now, judged, measures=["faithfulness", "style_adherence"]).ok


def test_who_is_not_needed_does_not_judge(judged: Report, asked: Dataset, loopback: ModelServer) -> None:
    requests(loopback)
    now = again(judged, asked, watched=["answer_contained"], db=".openbook")
    assert requests(loopback) == (2, 0)
    assert "faithfulness" not in now.measures
    judge = Judge(LanguageModel(kind="openai", model="m", base_url=loopback.base_url))
    with pytest.raises(QueryError, match="--judge: a judge, and no measure that needs one; leave it away"):
        again(judged, asked, watched=["f1"], judge=judge, db=".openbook")


def test_what_a_measure_was_taken_by_must_be_known_before_anything_is_asked(
    judged: Report, asked: Dataset, loopback: ModelServer, home: Path
) -> None:
    def refused(changed: Report, **options: Any) -> str:
        with pytest.raises(QueryError) as caught:
            again(changed, asked, db=".openbook", **options)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    requests(loopback)
    settings = {name: value for name, value in judged.settings.items() if name != "judge"}
    assert refused(replace(judged, settings=settings)) == (
        "faithfulness was judged, and the report does not tell how its judge is reached; give --judge openai:m, or say"
        " with --measure what else to look at"
    )
    other = Judge(LanguageModel(kind="openai", model="another", base_url=loopback.base_url))
    assert refused(judged, judge=other).startswith(
        "--judge: openai:m judged the former answers, and two judges cannot be compared; give openai:m"
    )
    moved = {**judged.settings, "style": {**judged.settings["style"], "file": "elsewhere.jsonl"}}
    assert refused(replace(judged, settings=moved)).startswith(
        "elsewhere.jsonl: style_adherence was learned from examples that are not here; give --style"
    )
    rows = (home / "style.jsonl").read_text().splitlines()
    (home / "changed.jsonl").write_text("\n".join(rows[2:]))
    changed = {**judged.settings, "style": {**judged.settings["style"], "file": "changed.jsonl"}}
    assert refused(replace(judged, settings=changed)).startswith("changed.jsonl: other examples than those")
    assert requests(loopback) == (0, 0)
    faithfulness = judged.details["faithfulness"]
    older = {**judged.details, "faithfulness": {**faithfulness, "judge": {**faithfulness["judge"], "prompts": 0}}}
    own = Judge(LanguageModel(kind="openai", model="m", base_url=loopback.base_url))
    for options in ({}, {"judge": own}):
        assert refused(replace(judged, details=older), **options).startswith(
            "faithfulness was judged by prompts of version 0, and now they are version 1; make the former report anew"
        )
    assert requests(loopback) == (0, 0)
    style = StyleClassifier.train(read_examples(home / "style.jsonl"), where="style.jsonl")
    assert again(replace(judged, settings=moved), asked, style=style, db=".openbook").measures["style_adherence"]


def test_a_judge_that_is_given_keeps_to_the_budget_of_the_report(judged: Report) -> None:
    """``check --judge`` judged without any limit, whatever the baseline's was."""
    part = LanguageModel(kind="openai", model="m", base_url="http://127.0.0.1:9/v1")
    found = judged_as(judged, ["faithfulness"], judge=Judge(part, seconds=3.0))["judge"]
    assert (found.budget, found.part) == (Budget(calls=50), part)
    own = Judge(part, budget=Budget(calls=7))
    assert judged_as(judged, ["faithfulness"], judge=own)["judge"] is own


def test_where_a_style_or_a_judge_is_not_to_be_had_the_other_one_judges(
    judged: Report, asked: Dataset, loopback: ModelServer, home: Path
) -> None:
    """Both were dropped; and a broken file of examples refused every comparison."""
    (home / "broken.jsonl").write_text("no JSON\n")
    without = {name: value for name, value in judged.settings.items() if name != "judge"}
    unjudged = keep(replace(judged, settings=without), home / "unjudged.json")
    measures = measured((unjudged, "live"), asked, db=".openbook")[1].measures
    assert ("faithfulness" in measures, "style_adherence" in measures) == (False, True)
    for file in ("elsewhere.jsonl", "broken.jsonl"):
        moved = {**judged.settings, "style": {**judged.settings["style"], "file": file}}
        unstyled = keep(replace(judged, settings=moved), home / "unstyled.json")
        measures = measured((unstyled, "live"), asked, db=".openbook", named=["faithfulness"])[1].measures
        assert ("faithfulness" in measures, "style_adherence" in measures) == (True, False)
        with pytest.raises(QueryError) as caught:
            measured((unstyled, "live"), asked, db="/nowhere/at/all", measures=["style_adherence"])
        assert str(caught.value).startswith(file)
        do = "; compare two reports of openbook evaluate --style … --out FILE, or name another measure"
        assert str(caught.value).endswith(do), "compare has no --style"


def test_nothing_is_trained_or_announced_where_nothing_is_asked(judged: Report, asked: Dataset, home: Path) -> None:
    """Two kept reports were told to be judged again, and refused where the examples had moved."""
    moved = {**judged.settings, "style": {**judged.settings["style"], "file": "elsewhere.jsonl"}}
    kept = keep(replace(judged, settings=moved), home / "kept.json")
    told: list[str] = []
    measured((kept, kept), asked, named=["style_adherence"], say=told.append)
    assert told == []


def test_callers_are_kept_each_once(asked: Dataset, home: Path) -> None:
    """A caller named twice was another caller than the same one named once."""
    twice = evaluated(asked, as_=["team:x", "team:x"])
    assert twice.settings["as"] == ["team:x"]
    old = keep(replace(twice, settings={**twice.settings, "as": ["team:x", "team:x"]}), home / "twice.json")
    assert measured((old, "live"), asked, as_=["team:x"], db=".openbook")[1].settings["as"] == ["team:x"]


def test_the_live_side_answers_and_is_judged_as_a_kept_report_was(
    judged: Report, asked: Dataset, loopback: ModelServer, home: Path
) -> None:
    """The live side answered by the recipe's own generator, and its quotes were held against a model's answers."""
    kept = keep(judged, home / "judged.json")
    requests(loopback)
    a, live = measured((kept, "live"), asked, named=["faithfulness"], db=".openbook")
    assert requests(loopback) == (3, 2)
    assert live.settings["llm"] == a.settings["llm"] is not None
    assert compare(a, live, primary="faithfulness").primary.paired.difference == 0.0
    measured((kept, "rrf.toml"), asked, measures=["f1"], db=".openbook")
    assert requests(loopback) == (0, 0), "a recipe answers by its own generator"


def test_no_password_is_kept(
    judged: Report, asked: Dataset, loopback: ModelServer, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address of a model's server went into reports with the user and password in it."""
    kept = Path(keep(judged, home / "judged.json"))
    trace = json.dumps(show(judged), default=str)
    for text in (kept.read_text(), html.report_page(judged), judged.text(), trace):
        assert "secret" not in text
    assert judged.settings["llm"]["base_url"] == judged.settings["judge"]["base_url"] == loopback.base_url
    assert reachable(judged.settings["llm"]).base_url == loopback.base_url
    address = loopback.base_url.replace("//", "//ann:secret@")
    monkeypatch.setenv("OPENBOOK_LLM_BASE_URL", address)
    assert reachable(judged.settings["llm"]).base_url == address, "the same address, as the environment tells it"
    monkeypatch.setenv("OPENBOOK_LLM_BASE_URL", "http://ann:secret@elsewhere.example/v1")
    assert reachable(judged.settings["llm"]).base_url == loopback.base_url


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


NONE = ["evaluate", "questions.jsonl"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([*NONE, "--base-url", "http://x"], "--base-url: an address, and no model; give --llm, too"),
        ([*NONE, "--judge-url", "http://x"], "--judge-url: an address, and no model; give --judge, too"),
        ([*NONE, "--no-answers", "--attacks", "3"], "--attacks: nothing is answered; leave --no-answers away"),
        ([*NONE, "--no-answers", "--judge", "openai:m"], "--judge: nothing is answered; leave --no-answers away"),
        ([*NONE, "--run", "a.trec", "--attacks", "3"], "--attacks: a run is measured as it is, nothing is answered"),
        (["compare", "a", "b", "--qrels", "q.tsv"], "--qrels: judgements, and no data set that they judge"),
        (["compare", "kept.json", "kept.json", "--split", "dev"], "--split: two kept reports are compared as they are"),
        (["compare", "live", "nowhere.json", "questions.jsonl"], "nowhere.json: cannot be read"),
        (["check", "questions.jsonl", "--baseline", "nowhere.json"], "nowhere.json: no such file"),
        (
            ["check", "questions.jsonl", "--baseline", "kept.json", "--judge-url", "x"],
            "--judge-url: an address, and no",
        ),
        (["check", "questions.jsonl", "--baseline", "kept.json", "--judge", "openai:m"], "--judge: a judge, and no"),
        (["prefer", "kept.json", "kept.json", "--judge-url", "x"], "--judge-url: an address, and no model"),
        (
            ["prefer", "kept.json", "kept.json", "--judge", "openai:m", "--judge-name", "ann"],
            "--judge-name: a model judges, by its own name; leave it or --judge away",
        ),
        ([*NONE, "--run", "a.trec", "--db", "x"], "--db: a run is measured as it is, nothing is asked"),
        ([*NONE, "--run", "a.trec", "--kb", "x"], "--kb: a run is measured as it is, nothing is asked"),
        ([*NONE, "--out", "x", "--html", "./x"], "--html x --out x: a page and a report in one file; name two files"),
        (["ask", "When?", "--base-url", "http://x"], "--base-url: an address, and no model; give --llm, too"),
        (
            ["dataset", "write", "new.jsonl", "--base-url", "http://x", "--budget", "1", "--calls", "3"],
            "--base-url --budget --calls: rules write, and no model; give --llm, too",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_option_that_would_change_nothing_is_misuse(
    openbook: Run, home: Path, questions: Dataset, tmp_path: Path, arguments: list[str], line: str
) -> None:
    """Such options were ignored, without a word."""
    (tmp_path / "questions.jsonl").write_bytes((home / "questions.jsonl").read_bytes())
    (tmp_path / "a.trec").touch()
    Report(
        "questions", questions.hash, "all", "r1", "", {}, {"ndcg@10": dict.fromkeys(questions.questions, 1.0)},
        {id: Asked(question.text) for id, question in questions.questions.items()},
    ).write(tmp_path / "kept.json")  # fmt: skip
    done = openbook(*arguments, env={"OPENBOOK_LLM_BASE_URL": "http://127.0.0.1:9/v1"})
    [told] = done.stderr.strip().splitlines()
    assert (done.returncode, told.removeprefix("openbook: ").startswith(line)) == (2, True), told
