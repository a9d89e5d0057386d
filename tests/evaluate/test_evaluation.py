"""Questions asked of real documents become one report: the families that the data support, failures, traces, verbs."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.generate.loopback import Fail, ModelServer, Reply, Request, Say

from openbook.errors import DatasetError, ModelError, PriceError
from openbook.evaluate import Judge, evaluate, read
from openbook.evaluate.datasets.dataset import Dataset, Evidence, Question, dataset
from openbook.evaluate.kept import read_report
from openbook.evaluate.measures import ranking
from openbook.evaluate.report import Asked, Report, direction
from openbook.knowledge_base import KnowledgeBase
from openbook.recipe import IndexHalf, LanguageModel, QueryHalf, Recipe, RecursiveChunker
from openbook.store.database import Database
from openbook.types import Document

Run = Callable[..., "subprocess.CompletedProcess[str]"]

NOTES = {
    "boats": "# Boats\n\nThe ferry to Gull Island leaves at 9 o'clock from pier 4. Bicycles travel free of charge.\n",
    "greenhouse": "# Greenhouse\n\nThe greenhouse is watered every Tuesday. Orchids are kept at 22 degrees.\n",
    "kiln": "# Kiln\n\nThe kiln reaches 1240 degrees. Error KL-31 means that its door is not closed.\n",
    "library": "# Library\n\nBooks are lent for 21 days. A lost book costs 30 crowns.\n",
    "observatory": "# Observatory\n\nThe telescope is open to visitors on clear Fridays. The dome was built in 1911.\n",
}
DOCUMENTS_ONLY = {*ranking.MEASURES, "ms_total"}
OF_PLACES = {*ranking.CHUNK_MEASURES} | {f"span_{kind}@{k}" for k in (5, 10) for kind in ("recall", "precision", "iou")}


def judged(id: str, text: str, *sources: str, **known: Any) -> Question:
    return Question(id, text, dict.fromkeys(sources, 1), **known)


ISLAND = judged("island", "When does the ferry to Gull Island leave?", "boats")
LENT = judged("lent", "For how many days are books lent?", "library")
DOME = judged("dome", "When was the dome of the observatory built?", "observatory")


def questions(*asked: Question) -> Dataset:
    return dataset("town", asked)


@pytest.fixture(scope="module")
def town(database: Database) -> Iterator[KnowledgeBase]:
    kb = KnowledgeBase(database, "evaluation: a town")
    kb.add(*(Document(name, text) for name, text in NOTES.items()))
    kb.add(Document("safe", "# Safe\n\nThe code of the safe is 4711.\n"), access=["group:office"])
    yield kb
    kb.traces.close()


# --- what is measured -------------------------------------------------------------------------------------------------


def test_judgements_alone_bring_the_measures_of_documents(town: KnowledgeBase) -> None:
    report = evaluate(town, questions(ISLAND, LENT))
    assert report.measures.keys() == DOCUMENTS_ONLY
    assert report.measures["ndcg@10"].value == report.measures["mrr@10"].value == 1.0
    assert report.measures["ndcg@10"].n == 2
    assert report.questions["lent"].found[0] == "library"
    assert report.questions["lent"].answer is None
    assert set(report.details["operations"]) == {"latency", "size"}
    assert report.ms.keys() == {"p50", "p95", "p99"}
    assert not report.failed
    assert not report.unanswered


def test_a_report_remembers_what_came_from_local_only_passages(
    new_kb: Callable[..., KnowledgeBase], tmp_path: Path
) -> None:
    kb = new_kb()
    kb.add(Document("library", NOTES["library"]))
    assert not evaluate(kb, questions(LENT)).questions["lent"].local_only
    kb.add(Document("library", NOTES["library"]), local_only=True)
    report = evaluate(kb, questions(LENT))
    report.write(tmp_path / "report.json")
    assert read_report(tmp_path / "report.json").questions["lent"].local_only


def test_evidence_brings_chunks_and_spans_and_judges_documents(town: KnowledgeBase) -> None:
    lent = Question("lent", LENT.text, evidence=(Evidence("library", "Books are lent for 21 days."),))
    report = evaluate(town, questions(lent))
    assert report.measures.keys() == DOCUMENTS_ONLY | OF_PLACES
    assert report.measures["ndcg@10"].value == report.measures["span_recall@5"].value == 1.0
    assert report.details["evidence"]["exact"] == 1


def test_answers_bring_what_they_say_when_they_are_withheld_and_what_they_obey(town: KnowledgeBase) -> None:
    lent = judged("lent", LENT.text, "library", answers=("21 days",))
    report = evaluate(town, questions(lent))
    right = {"exact_match", "f1", "answer_contained", "citation_document_precision"}
    kept = {"coverage", "false_abstention_rate", "risk", "risk_coverage_area"}
    assert report.measures.keys() == {
        *(DOCUMENTS_ONLY | right | kept),
        *("injection_rate", "injection_quoted_rate", "cost"),
    }
    assert report.measures["answer_contained"].value == report.measures["coverage"].value == 1.0
    assert report.measures["injection_rate"].value == 0.0
    assert report.questions["lent"].answer is not None
    assert {"languages", "safety", "coverage_risk"} <= report.details.keys()
    assert not evaluate(town, questions(lent), attacks=0).measures.keys() & {"injection_rate", "injection_quoted_rate"}
    assert evaluate(town, questions(lent), answered=False).measures.keys() == DOCUMENTS_ONLY


def test_unanswerable_questions_bring_refusals(town: KnowledgeBase) -> None:
    lent = judged("lent", LENT.text, "library", answers=("21 days",))
    zeppelin = Question("zeppelin", "Who was the first to steer a zeppelin over the Alps?", answerable=False)
    report = evaluate(town, questions(lent, zeppelin), attacks=0)
    assert {"false_answer_rate", "refusal_kept", "abstention_auroc"} <= report.measures.keys()
    assert report.measures["false_answer_rate"].value == 0.0
    assert report.measures["refusal_kept"].value == 1.0
    assert report.measures["ndcg@10"].n == 1, "what has no relevant document is not ranked"
    assert report.questions["zeppelin"].abstained


def test_a_schema_brings_the_measures_of_form(town: KnowledgeBase) -> None:
    schema = {"type": "object", "properties": {"days": {"type": "integer"}}, "required": ["days"]}
    form = judged("form", LENT.text, "library", answers=('{"days": 21}',), schema=schema)
    with ModelServer("openai") as server:
        server.will(Say('{"days": 21} [1]'))
        model = LanguageModel(kind="openai", model="m", base_url=server.base_url)
        report = evaluate(town, questions(form), llm=model, attacks=0)
    assert report.failed == (), report.questions["form"].error
    formed = {name: report.measures[name].value for name in ("format_parses", "format_valid", "format_values")}
    assert formed == {"format_parses": 1.0, "format_valid": 1.0, "format_values": 1.0}
    assert {"tokens_input", "tokens_output"} <= report.measures.keys()
    assert report.measures["cost"].value == 0.0, "it runs on this machine"


def test_measures_are_taken_at_the_cuts_that_were_asked_for(town: KnowledgeBase) -> None:
    assert evaluate(town, questions(ISLAND), measures=["recall@3"]).measures.keys() == {"recall@3", "ms_total"}
    with pytest.raises(DatasetError, match="unknown measure 'recall'"):
        evaluate(town, questions(ISLAND), measures=["recall"])


def test_a_judge_that_was_asked_for_has_answers_to_judge(town: KnowledgeBase) -> None:
    """Where the data set knew no answers none was given, and the judge judged nothing without a word."""
    with ModelServer("openai") as server:
        server.will(Say('{"statements": [{"statement": "Books are lent for 21 days.", "passages": [1]}]}'))
        judge = Judge(LanguageModel(kind="openai", model="m", base_url=server.base_url))
        report = evaluate(town, questions(LENT), judge=judge, attacks=0)
    assert report.settings["answered"] is True
    assert report.questions["lent"].answer is not None


# --- what goes wrong --------------------------------------------------------------------------------------------------


def test_a_question_that_fails_counts_as_the_worst_and_is_listed(town: KnowledgeBase) -> None:
    """And in every measure that the same question has when it does not fail: none loses it."""
    asked = questions(
        judged("lent", LENT.text, "library", answers=("21 days",), evidence=(Evidence("library", "lent for 21 days"),)),
        judged(
            "dome", DOME.text, "observatory", answers=("1911",), evidence=(Evidence("observatory", "built in 1911"),)
        ),
        Question("zeppelin", "Who was the first to steer a zeppelin over the Alps?", answerable=False),
    )

    def sound(request: Request) -> Reply:
        return Say(
            "I don't know." if "zeppelin" in request.user else "Books are lent for 21 days [1]; built in 1911 [2]."
        )

    def broken(request: Request) -> Reply:
        return sound(request) if "lent?" in request.user else Fail(400, "the model is on fire")

    with ModelServer("openai") as server:
        model = LanguageModel(kind="openai", model="m", base_url=server.base_url)
        server.will(sound)
        before = evaluate(town, asked, llm=model, attacks=0)
        server.will(broken)
        report = evaluate(town, asked, llm=model, attacks=0)
    assert before.failed == ()
    assert report.failed == ("dome", "zeppelin")
    assert "the model is on fire" in str(report.questions["dome"].error)
    assert "failed, and count 0: 2 questions: dome, zeppelin" in report.text()
    apart = {"ms_total", "tokens_input", "tokens_output", "cost"}
    assert report.per_question.keys() == before.per_question.keys()
    for name, values in report.per_question.items():
        if name not in apart:
            assert values.keys() == before.per_question[name].keys(), name
            for id in {"dome", "zeppelin"} & values.keys():
                assert values[id] == (0.0 if direction(name) > 0 else 1.0), (name, id)
    assert report.per_question["ms_total"].keys() == asked.questions.keys()
    assert report.details["operations"]["latency"]["failed"]["n"] == 2
    assert report.details["operations"]["tokens"]["input"]["total"] == 321, "of the one answer that came"


def test_questions_of_which_nothing_is_known_are_refused(town: KnowledgeBase) -> None:
    """A misspelt column gave a report of a time, and status 0."""
    slip = Dataset("slip", questions(Question("q", "Who?")).questions, unread={"anwsers": "answers", "team": None})
    with pytest.raises(DatasetError, match="nothing is known of any question") as told:
        evaluate(town, slip)
    assert told.value.do == "was 'anwsers' meant to be 'answers'?"
    with pytest.raises(DatasetError, match="nothing is known"):
        evaluate(town, questions(Question("q", "Who?", answers=("HR",))), answered=False)
    assert "coverage" in evaluate(town, questions(Question("q", LENT.text)), answered=True, attacks=0).measures


def test_why_questions_failed_is_told_reason_by_reason() -> None:
    """The terminal told which failed, and the reason stood in the JSON only."""
    errors = {"a": "m: try again in 3 s", "b": "m: no answer", "c": "m: try again in 17 s", "d": None}
    asked = {id: Asked("Why?", error=error) for id, error in errors.items()}
    report = Report("set", "", "all", "", "", {}, questions=asked, failed=("a", "b", "c", "d"))
    assert report.errors() == [
        ("m: try again in 3 s", ["a", "c"]), ("m: no answer", ["b"]), ("it is not told why", ["d"])
    ]  # fmt: skip
    assert "  2 × m: try again in 3 s (such as a)" in report.text().splitlines()


def test_why_evidence_was_not_found_is_told_reason_by_reason(town: KnowledgeBase) -> None:
    lost = "Zeppelins over the Alps carry no more than eleven passengers."
    asked = questions(
        Question("a", "Who?", evidence=(Evidence("library", lost), Evidence("boats", lost))),
        Question("b", "Who?", evidence=(Evidence("", lost),)),
        Question("c", "Who?", evidence=(Evidence("nowhere"),)),
    )
    said = evaluate(town, asked).text()
    reasons = "(does not stand in its document: 2; stands in no document: 1; its source is not there: 1)"
    assert f"evidence not found in the documents for 3 questions: a, b, c {reasons}" in said
    assert (
        "  such as, of a: “Zeppelins over the Alps carry no more than eleven passenger…” does not stand in li" in said
    )


def test_a_language_model_without_its_key_is_refused_before_anything_is_asked(
    town: KnowledgeBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred questions were asked, and failed one by one."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    told: list[tuple[int, int]] = []
    lent = questions(judged("lent", LENT.text, "library", answers=("21 days",)))
    with pytest.raises(ModelError, match="no key"):
        evaluate(town, lent, llm="openai:m", progress=lambda *at: told.append(at))
    assert not told
    assert evaluate(town, lent, llm="openai:m", answered=False).measures["ndcg@10"].value == 1.0, "it is not needed"


def test_the_times_of_a_report_are_those_of_its_page(town: KnowledgeBase) -> None:
    """The first question, and those that failed, were in one and not in the other."""
    report = evaluate(town, questions(ISLAND, LENT, DOME))
    total = report.details["operations"]["latency"]["stages"]["total"]
    assert report.ms == {name: total[name]["value"] for name in ("p50", "p95", "p99")}
    assert total["n"] == 2


def test_a_threshold_is_suggested_where_there_are_questions_of_both_kinds(town: KnowledgeBase) -> None:
    """It read as if it were in force, and was told where there was nothing to refuse."""
    lent = judged("lent", LENT.text, "library", answers=("21 days",), split="dev")
    zeppelin = Question("zeppelin", "Who was the first to steer a zeppelin?", answerable=False, split="dev")
    assert "threshold" not in evaluate(town, questions(lent), attacks=0).details
    assert "threshold" not in evaluate(town, questions(lent, replace(zeppelin, split="test")), attacks=0).details
    said = evaluate(town, questions(lent, zeppelin), attacks=0).text()
    assert "the dev questions suggest query.generate.threshold = " in said
    assert "what was measured is the recipe's own" in said


def test_a_price_file_that_is_broken_is_told_before_a_model_is_asked(
    town: KnowledgeBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each question failed for it, after its answer was paid for."""
    (tmp_path / "prices.toml").write_text("[model.m]\ninput = -1\nas_of = 2026-01-15\n")
    monkeypatch.setenv("OPENBOOK_PRICES", str(tmp_path / "prices.toml"))
    with ModelServer("openai") as server:
        server.will(Say("Books are lent for 21 days [1]."))
        model = LanguageModel(kind="openai", model="m", base_url=server.base_url)
        with pytest.raises(PriceError, match="input"):
            evaluate(town, questions(judged("lent", LENT.text, "library", answers=("21 days",))), llm=model)
        assert not server.requests
    assert evaluate(town, questions(LENT)).measures["ndcg@10"].value == 1.0, "quoting costs nothing: no price is read"


def test_a_question_that_finds_nothing_counts_0_and_is_listed(kb: KnowledgeBase) -> None:
    report = evaluate(kb, questions(ISLAND))
    assert report.unanswered == ("island",)
    assert {report.measures[name].value for name in ranking.MEASURES} == {0.0}
    assert report.details["evidence"]["unknown_documents"].keys() == {"island"}
    assert "found nothing, and count 0: 1 question: island" in report.text()


# --- which questions, and whose ---------------------------------------------------------------------------------------


def test_the_split_and_the_limit_choose_the_questions(town: KnowledgeBase) -> None:
    asked = questions(
        *(judged(f"q{n}", LENT.text, "library", split=s) for n, s in enumerate(("dev", "test", "test", "train")))
    )
    told: list[tuple[int, int]] = []
    report = evaluate(town, asked, split="test", progress=lambda *at: told.append(at))
    assert [*report.questions] == ["q1", "q2"]
    assert told == [(1, 2), (2, 2)]
    assert report.split == "test"
    assert [*evaluate(town, asked).questions] == ["q0", "q1", "q2"], "never those to train on"
    first = evaluate(town, asked, limit=1)
    assert [*first.questions] == ["q0"]
    assert first.settings["limit"] == 1
    assert first.data != report.data
    with pytest.raises(DatasetError, match="no question is left"):
        evaluate(town, questions(judged("q", LENT.text, "library", split="dev")), split="test")


def test_questions_are_asked_in_the_callers_name(town: KnowledgeBase) -> None:
    safe = questions(judged("safe", "What is the code of the safe?", "safe"))
    assert evaluate(town, safe).measures["mrr@10"].value == 1.0
    assert evaluate(town, safe, as_=["group:office"]).measures["mrr@10"].value == 1.0
    public = evaluate(town, safe, as_=["public"])
    assert public.measures["recall@100"].value == 0.0
    assert "safe" not in public.questions["safe"].found
    assert public.settings["as"] == ["public"]
    answered = evaluate(town, safe, as_=["public"], answered=True, attacks=0)
    assert answered.measures["access_leak_rate"].value == 0.0


# --- depth ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("candidates", [1, 300])
def test_a_long_document_does_not_crowd_out_the_others(new_kb: Callable[..., KnowledgeBase], candidates: int) -> None:
    """Of a list of 10 chunks, and then of 300, most were the long document's: ``recall@100`` lost what stood below.
    Where a recipe had no more candidates than its context, nothing was looked for beyond that."""
    recipe = Recipe(
        index=IndexHalf(chunk=RecursiveChunker(size=70, overlap=0)), query=QueryHalf(candidates=candidates, context=10)
    )
    kb = new_kb(recipe)
    lines = [f"Lamp number {n} of the harbour light is trimmed by the keeper." for n in range(400)]
    kb.add(Document("log", "\n\n".join(lines)))
    kb.add(*(Document(f"note {n}", f"Pears and plums of garden {n} are harvested.") for n in range(20)))
    wanted = questions(judged("q", "Who trims the lamp of the harbour light?", "log", "note 3", "note 17"))
    report = evaluate(kb, wanted, measures=["recall@100", "ndcg@10"])
    assert report.measures["recall@100"].value == 1.0
    assert report.questions["q"].found[0] == "log"


def test_what_a_user_sees_first_stays_first_when_more_is_looked_for(town: KnowledgeBase) -> None:
    shown = ranking.documents(town.search(LENT.text, town.recipe.query.context).hits)
    report = evaluate(town, questions(LENT), measures=["recall@100"])
    assert list(report.questions["lent"].found)[: len(shown)] == shown


# --- what is kept -----------------------------------------------------------------------------------------------------


def test_every_question_leaves_a_trace_that_says_whose_it_is(town: KnowledgeBase) -> None:
    report = evaluate(town, questions(judged("lent", LENT.text, "library", answers=("21 days",)), ISLAND), attacks=0)
    for id, asked in report.questions.items():
        trace = town.trace(str(asked.trace))
        assert trace["details"] == {"dataset": "town", "question": id}
        assert trace["question"] == asked.text
        assert trace["hits"][0]["source"] == asked.found[0]
        assert "answer" in trace


def test_documents_that_stand_twice_and_are_not_judged_alike_are_told(kb: KnowledgeBase) -> None:
    kb.add(*(Document(name, text) for name, text in NOTES.items()), Document("library again", NOTES["library"]))
    report = evaluate(kb, questions(LENT, ISLAND))
    assert report.details["copies"] == {"lent": [("library", "library again")]}
    assert "documents that are there twice, but not judged alike, for 1 question: lent" in report.text()
    both = judged("lent", LENT.text, "library", "library again")
    assert "copies" not in evaluate(kb, questions(both)).details
    kb.remove("library again")
    assert "copies" not in evaluate(kb, questions(LENT)).details


# --- the command line -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of questions, beside documents that lie in the database of the whole run."""
    home = tmp_path_factory.mktemp("home")
    rows = [
        {"id": "lent", "question": LENT.text, "judgements": {"library": 1}, "answers": ["21 days"], "split": "dev"},
        {
            "id": "island",
            "question": ISLAND.text,
            "judgements": {"boats": 1},
            "answers": ["9 o'clock"],
            "split": "test",
        },
    ]
    (home / "questions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (home / "other.run").write_text("lent Q0 library 1 2.5 other\nlent Q0 boats 2 1.5 other\n")
    return home


@pytest.fixture
def here(openbook: Run, home: Path, town: KnowledgeBase) -> Run:
    """``openbook VERB QUESTIONS …`` on the town's documents."""

    def run(verb: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        where = ["--db", town.database.where, "--kb", town.name]
        return openbook(verb, str(home / "questions.jsonl"), *arguments, *where)

    return run


def test_evaluate_prints_keeps_and_shows_one_report(here: Run, home: Path, tmp_path: Path) -> None:
    done = here("evaluate", "--json", "--attacks", "0", "-k", "3", "--html", "report.html", "--out", "report.json")
    assert done.returncode == 0, done.stderr
    [line] = done.stdout.splitlines()
    printed = json.loads(line)
    assert printed["questions"] == 2
    assert printed["failed"] == []
    assert {"ndcg@10", "recall@100", "ndcg@3", "success@3", "answer_contained", "coverage"} <= printed[
        "measures"
    ].keys()
    assert not {"ndcg@5", "recall@10", "injection_rate"} & printed["measures"].keys()
    assert printed["measures"]["ndcg@3"].keys() == {"value", "low", "high", "n"}
    assert printed["ms"].keys() == {"p50", "p95", "p99"}
    assert json.loads((tmp_path / "report.json").read_text()) == printed
    page = (tmp_path / "report.html").read_text()
    assert page.startswith("<!doctype html>")
    assert LENT.text in page


def test_evaluate_prints_a_table(here: Run) -> None:
    done = here("evaluate", "--attacks", "0", "--split", "dev")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("questions, split dev, 1 question, release r1 (recipe ")
    assert any(line.split()[:2] == ["ndcg@10", "1.0000"] for line in done.stdout.splitlines())


def test_evaluate_measures_a_run_without_asking(openbook: Run, home: Path) -> None:
    data, run = str(home / "questions.jsonl"), str(home / "other.run")
    found = json.loads(openbook("evaluate", data, "--run", run, "-k", "1", "-k", "2", "--json").stdout)
    assert found["error"]["what"] == "the run holds at most 2 documents for a question", "-k never means another k"
    done = openbook("evaluate", data, "--run", run, "--json")
    assert "at most 2" in json.loads(done.stdout)["error"]["what"]


def test_a_failure_is_in_the_report_and_in_the_status(here: Run) -> None:
    done = here(
        "evaluate",
        "--llm",
        "openai:m",
        "--base-url",
        "http://127.0.0.1:9/v1",
        "--attacks",
        "0",
        "--limit",
        "1",
        "--json",
    )
    assert done.returncode == 1
    [line] = done.stdout.splitlines()
    printed = json.loads(line)
    assert printed["failed"] == ["lent"]
    assert printed["measures"]["answer_contained"] == {"value": 0.0, "low": 0.0, "high": 0.0, "n": 1}


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--split", "train"], 2, "choose dev, test or all"),
        (["--limit", "0"], 2, "limit"),
        (["-k", "0"], 2, "-k"),
        (["--release", "r9"], 1, "no such release"),
        (["--html", "nowhere/report.html"], 2, "no such folder"),
        (["--out", "nowhere/report.json"], 2, "no such folder"),
        (["--run", "none.run"], 2, "none.run"),
        (["--run", "none.run", "--operations"], 2, "leave out --run"),
        (["--release", "live", "--recipe", "none.toml"], 2, "name one of them"),
        (["--qrels", "none.qrels"], 2, "none.qrels"),
        (["--style", "none.jsonl"], 2, "none.jsonl"),
        (["--llm", "gpt"], 2, "openai:"),
        (["--recipe", "none.toml"], 2, "none.toml"),
        (["--as", ""], 2, "principal without a name"),
        (["--judge", "openai:m", "--judge-url", "http://127.0.0.1:9/v1"], 1, "nothing answers there"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_goes_wrong_is_one_line(here: Run, arguments: list[str], status: int, message: str) -> None:
    done = here("evaluate", *arguments, "--json")
    [told] = done.stderr.strip().splitlines()
    assert (done.returncode, message in told) == (status, True), told
    assert json.loads(done.stdout)["error"].keys() == {"what", "where", "do"}


def test_a_column_that_is_misspelt_is_told(openbook: Run, town: KnowledgeBase, tmp_path: Path) -> None:
    row = {"question": LENT.text, "judgements": {"library": 1}, "anwsers": ["21 days"]}
    (tmp_path / "slip.jsonl").write_text(json.dumps(row))
    done = openbook("evaluate", "slip.jsonl", "--db", town.database.where, "--kb", town.name)
    assert (done.returncode, done.stderr) == (
        0, "note: slip: the column 'anwsers' is none that is read; was 'answers' meant?\n"
    )  # fmt: skip


def test_the_questions_that_are_read_are_those_that_are_measured(home: Path, town: KnowledgeBase) -> None:
    asked = read(home / "questions.jsonl")
    report = evaluate(town, asked, split="dev", attacks=0)
    assert report.data == asked.select("dev").hash
    assert report.dataset == "questions"
    assert report.measures["answer_contained"].value == 1.0


@pytest.fixture
def unanswered(tmp_path: Path) -> str:
    """A data set that knows documents, and no answers."""
    (tmp_path / "unanswered.jsonl").write_text(json.dumps({"question": LENT.text, "judgements": {"library": 1}}))
    return "unanswered.jsonl"


def test_a_model_that_is_not_asked_is_not_recorded(town: KnowledgeBase) -> None:
    """A report of retrieval named a model, and a recipe with it, that had answered nothing."""
    model = LanguageModel(kind="openai", model="m", base_url="http://127.0.0.1:9/v1")
    report = evaluate(town, questions(judged("lent", LENT.text, "library")), llm=model)
    assert (report.settings["answered"], report.settings["llm"]) == (False, None)
    assert report.recipe == town.recipe.hash


def test_who_types_a_model_or_attacks_means_answers(openbook: Run, town: KnowledgeBase, unanswered: str) -> None:
    """Both were passed over in silence where the data set knows no answers."""
    town_ = ["--db", town.database.where, "--kb", town.name, "--json"]
    with ModelServer("openai") as server:
        server.will(Say("Books are lent for 21 days [1]."))
        at = ["--base-url", server.base_url, "--attacks", "0"]
        said = json.loads(openbook("evaluate", unanswered, "--llm", "openai:m", *at, *town_).stdout)
        assert (len(server.requests), said["settings"]["llm"]["model"]) == (1, "m")
        env = {"OPENBOOK_LLM": "openai:m", "OPENBOOK_LLM_BASE_URL": server.base_url}
        said = json.loads(openbook("evaluate", unanswered, *town_, env=env).stdout)
        assert (len(server.requests), said["settings"]["llm"]) == (1, None), "the environment is for every command"
    said = json.loads(openbook("evaluate", unanswered, "--attacks", "2", *town_).stdout)
    assert "injection_rate" in said["measures"]


def test_a_judge_that_cannot_be_is_refused_before_a_corpus_is_indexed(openbook: Run, tmp_path: Path) -> None:
    (tmp_path / "set" / "qrels").mkdir(parents=True)
    (tmp_path / "set" / "corpus.jsonl").write_text('{"_id": "d", "text": "Books are lent for 21 days."}\n')
    (tmp_path / "set" / "queries.jsonl").write_text('{"_id": "q", "text": "How long?"}\n')
    (tmp_path / "set" / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\td\t1\n")
    done = openbook("evaluate", "set", "--judge", "gpt", env={"OPENBOOK_CACHE": str(tmp_path / "cache")})
    [told] = done.stderr.strip().splitlines()
    assert (done.returncode, "openai:" in told) == (2, True), told
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("option", ["--out", "--html"])
def test_a_data_set_is_not_overwritten_by_its_report(here: Run, home: Path, option: str) -> None:
    """``--out`` with the name of the data set used to replace it, silently."""
    before = (home / "questions.jsonl").read_bytes()
    done = here("evaluate", option, str(home / "questions.jsonl"))
    assert (done.returncode, "exists already" in done.stderr) == (2, True), done.stderr
    assert (home / "questions.jsonl").read_bytes() == before
