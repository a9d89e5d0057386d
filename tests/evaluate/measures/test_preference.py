"""People judge two pipelines' answers without knowing whose they are; what they said is kept and counted."""

from __future__ import annotations

import io
import json
import re
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from tests.generate.loopback import ModelServer, Request, Say

from openbook.errors import DatasetError
from openbook.evaluate.measures.preference import (
    NO_ANSWER,
    Judgement,
    Judgements,
    Pair,
    Pairs,
    Verdict,
    agreement,
    cohen_kappa,
    judge_in_terminal,
    judgement,
    krippendorff_alpha,
    of,
    pairs,
    summary,
    wilson,
)
from openbook.evaluate.report import Asked, Report

RATES = {"win_rate", "wins", "ties", "p", "judged", "questions", "agreement", "raters"}


def report(answers: Mapping[str, str | None], abstained: Iterable[str] = (), failed: Iterable[str] = ()) -> Report:
    questions = {
        id: Asked(
            text=f"Question {id}?",
            answer=None if id in failed else text,
            abstained=id in abstained,
            error="the model did not answer" if id in failed else None,
        )
        for id, text in answers.items()
    }
    return Report("handbook", "d4c3", "all", "r1", "1a2b", {}, questions=questions, ms={}, db=None)


def some_pairs(count: int = 8) -> Pairs:
    return Pairs({f"q{i}": Pair(f"q{i}", f"Question {i}?", f"red {i}", f"blue {i}") for i in range(count)})


def said(pairs: Pairs, rater: str, verdicts: Mapping[str, Verdict], *, model: bool = False) -> list[Judgement]:
    return [judgement(pairs.shown[id], verdict, rater, model=model) for id, verdict in verdicts.items()]


def numbered(verdicts: Iterable[Verdict]) -> dict[str, Verdict]:
    return {f"q{i}": verdict for i, verdict in enumerate(verdicts)}


class TestPairs:
    def test_hold_what_a_person_has_to_judge_and_what_is_known_without(self) -> None:
        a = report({"same": "Ten days.", "differ": "Ten.", "a-failed": "", "both": "", "silent": ""}, ["silent"])
        a = replace(
            a, questions=a.questions | report({"a-failed": "", "both": ""}, failed=["a-failed", "both"]).questions
        )
        b = report(
            {"same": "Ten\ndays.", "differ": "Twelve.", "a-failed": "Two.", "both": "", "silent": "Six."}, (), ["both"]
        )
        found = pairs(a, b)
        assert set(found.shown) == {"differ", "silent"}
        assert found.shown["silent"].a == NO_ANSWER
        assert found.identical == ("same",)
        assert found.known == {"a-failed": 1.0, "both": 0.5}

    def test_are_the_same_sample_in_the_same_order_whichever_report_comes_first(self) -> None:
        a = report({f"q{i}": f"red {i}" for i in range(40)})
        b = report({f"q{i}": f"blue {i}" for i in reversed(range(40))})
        assert list(pairs(a, b, 10, seed=3).shown) == list(pairs(b, a, 10, seed=3).shown)
        assert len(pairs(a, b, 10, seed=3)) == 10
        assert list(pairs(a, b, 10, seed=3).shown) != list(pairs(a, b, 10, seed=4).shown)

    def test_of_reports_that_cannot_be_compared_are_refused(self) -> None:
        a, b = report({"q1": "Ten."}), report({"q2": "Ten."})
        with pytest.raises(DatasetError, match="no question in common"):
            pairs(a, b)
        with pytest.raises(DatasetError, match="holds no answers"):
            pairs(a, replace(a, questions={"q1": replace(a.questions["q1"], answer=None)}))
        with pytest.raises(DatasetError, match="reads differently"):
            pairs(a, replace(a, questions={"q1": replace(a.questions["q1"], text="Another?")}))

    def test_show_either_side_first_about_as_often_and_the_same_way_again(self) -> None:
        shown = [pair.first("ann", 7) for pair in some_pairs(200).shown.values()]
        assert 70 < shown.count("a") < 130
        assert shown == [pair.first("ann", 7) for pair in some_pairs(200).shown.values()]
        assert shown != [pair.first("bob", 7) for pair in some_pairs(200).shown.values()]


class TestTheFile:
    def test_gives_back_what_was_written_the_later_judgement_holding(self, tmp_path: Path) -> None:
        these, file = some_pairs(), Judgements(tmp_path / "said.jsonl")
        assert file.read() == []
        for made in said(these, "ann", {"q0": "a", "q1": "tie"}) + said(these, "ann", {"q0": "b"}):
            file.append(made)
        assert [(j.question, j.verdict) for j in of(these, file.read())] == [("q0", "b"), ("q1", "tie")]
        assert file.read()[0] == replace(judgement(these.shown["q0"], "a", "ann"), at=file.read()[0].at)

    @settings(deadline=None, max_examples=40)  # the disk is waited for
    @given(cut=st.integers(1, 300))
    def test_survives_a_line_that_a_crash_cut_short(self, tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
        these, path = some_pairs(), tmp_path_factory.mktemp("cut") / "said.jsonl"
        first, second, third = said(these, "ann", {"q0": "a", "q1": "b", "q2": "tie"})
        for made in (first, second):
            Judgements(path).append(made)
        whole = path.read_bytes()
        line = len(whole.splitlines()[1])
        path.write_bytes(whole[: -min(cut, line)])
        Judgements(path).append(third)
        kept = [first, second, third] if cut == 1 else [first, third]
        assert Judgements(path).read() == kept

    @pytest.mark.parametrize("line", ["question,verdict", '{"question": "q1"}', "[]", '{"question": 1}'])
    def test_that_is_something_else_is_told_with_its_line(self, tmp_path: Path, line: str) -> None:
        path = tmp_path / "said.jsonl"
        Judgements(path).append(said(some_pairs(), "ann", {"q0": "a"})[0])
        path.write_text(path.read_text() + line + "\n")
        with pytest.raises(DatasetError) as told:
            Judgements(path).read()
        assert told.value.where == f"{path}:2"

    def test_with_an_unknown_verdict_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "said.jsonl"
        row = asdict(said(some_pairs(), "ann", {"q0": "a"})[0]) | {"verdict": "best"}
        path.write_text(json.dumps(row) + "\n")
        with pytest.raises(DatasetError, match="not a judgement"):
            Judgements(path).read()

    def test_counts_for_the_answers_that_were_seen_and_no_others(self) -> None:
        these = some_pairs()
        changed = Pairs({"q0": replace(these.shown["q0"], b="green"), "q1": these.shown["q1"]})
        done = summary(changed, said(these, "ann", {"q0": "b", "q1": "b"}))
        assert (done.judged, done.elsewhere) == (1, 1)

    def test_holds_for_the_two_reports_in_either_order(self) -> None:
        these = some_pairs()
        turned = Pairs({id: replace(pair, a=pair.b, b=pair.a) for id, pair in these.shown.items()})
        made = said(these, "ann", {"q0": "a", "q1": "b", "q2": "tie"})
        assert summary(these, made).wins == {"a": 1, "b": 1}
        assert [(j.question, j.verdict) for j in of(turned, made)] == [("q0", "b"), ("q1", "a"), ("q2", "tie")]
        assert of(these, of(turned, made)) == made


class TestInTheTerminal:
    def sit(self, these: Pairs, path: Path, typed: str, rater: str = "ann", width: int = 120) -> tuple[int, str]:
        screen = io.StringIO()
        console = Console(file=screen, width=width)
        left = judge_in_terminal(these, Judgements(path), rater, lines=io.StringIO(typed), console=console)
        return left, screen.getvalue()

    def test_keys_mean_the_answer_that_stands_there(self, tmp_path: Path) -> None:
        these = some_pairs(6)
        left, _ = self.sit(these, tmp_path / "f", "1\n2\nt\nb\ns\nq\n")
        assert left == 1
        made = Judgements(tmp_path / "f").read()
        firsts = [pair.first("ann") for pair in these.shown.values()]
        other = {"a": "b", "b": "a"}
        assert [j.verdict for j in made] == [firsts[0], other[firsts[1]], "tie", "bad", "skip"]
        assert [j.first for j in made] == firsts[:5]

    def test_goes_on_where_it_stopped_for_each_judge(self, tmp_path: Path) -> None:
        these = some_pairs(4)
        assert self.sit(these, tmp_path / "f", "1\n1\n")[0] == 2
        assert self.sit(these, tmp_path / "f", "", "bob")[0] == 4
        left, screen = self.sit(these, tmp_path / "f", "2\n2\n")
        assert left == 0
        assert "Question 0?" not in screen
        assert len(Judgements(tmp_path / "f").read()) == 4

    def test_a_slip_is_asked_again_and_a_judgement_can_be_taken_back(self, tmp_path: Path) -> None:
        these = some_pairs(2)
        left, screen = self.sit(these, tmp_path / "f", "x\n1\nu\nt\n2\n")
        assert left == 0
        assert screen.count("'x' is none of the keys:\n1 the first is better") == 1, "it was asked again without a word"
        held = of(these, Judgements(tmp_path / "f").read())
        assert held[0].verdict == "tie"
        assert [j.question for j in held] == ["q0", "q1"]

    def test_stands_side_by_side_where_there_is_room_and_else_one_above_the_other(self, tmp_path: Path) -> None:
        these = some_pairs(1)
        wide = self.sit(these, tmp_path / "f", "", width=120)[1]
        assert any("red 0" in line and "blue 0" in line for line in wide.splitlines())
        narrow = self.sit(these, tmp_path / "f", "", width=40)[1]
        assert "red 0" in narrow
        assert "blue 0" in narrow
        assert not any("red 0" in line and "blue 0" in line for line in narrow.splitlines())
        assert max(map(len, narrow.splitlines())) <= 40

    def test_obeys_nothing_that_stands_in_an_answer(self, tmp_path: Path) -> None:
        these = Pairs({"q": Pair("q", "Which?", "[bold]red[/bold] \x1b[2J\x9b5n", "blue\x07")})
        screen = self.sit(these, tmp_path / "f", "1\n")[1]
        assert "[bold]red[/bold]" in screen
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", screen)


class TestTheSummary:
    def test_counts_ties_half_and_each_question_once(self) -> None:
        these = some_pairs(8)
        made = said(these, "ann", numbered(["b", "b", "b", "a", "tie", "bad"]))
        made += said(these, "bob", numbered(["b", "a", "skip", "a"]))
        done = summary(these, made)
        assert done.win_rate is not None
        assert done.judged == 6
        assert done.win_rate.value == pytest.approx((1 + 0.5 + 1 + 0 + 0.5 + 0.5) / 6)
        assert (done.win_rate.low, done.win_rate.high) == pytest.approx(wilson(3.5 / 6, 6))
        assert (done.wins, done.ties) == ({"a": 1, "b": 2}, 3)
        assert done.p == 1.0
        assert set(done.disagreements) == {"q1"}
        assert done.raters["bob"] == {"a": 2, "b": 1, "tie": 0, "bad": 0, "skip": 1}

    def test_knows_chance_from_preference(self) -> None:
        these = some_pairs(12)
        assert summary(these, said(these, "ann", numbered(["b"] * 10 + ["a"] * 2))).p == pytest.approx(
            0.03857, abs=1e-5
        )

    def test_what_is_known_without_a_judge_counts_by_its_share_however_few_were_judged(self) -> None:
        shown = some_pairs(10).shown
        these = Pairs(shown, tuple(f"same{i}" for i in range(80)), {f"fail{i}": 1.0 for i in range(10)})
        done = summary(these, said(these, "ann", {"q0": "a", "q1": "a"}))
        assert done.win_rate is not None
        assert done.win_rate.value == pytest.approx((80 * 0.5 + 10 * 1.0 + 10 * 0.0) / 100)
        low, high = wilson(0.0, 2)
        assert done.win_rate.low == pytest.approx(0.5 + 0.1 * low)
        assert done.win_rate.high == pytest.approx(0.5 + 0.1 * high)

    def test_before_the_first_judgement_claims_nothing(self) -> None:
        done = summary(some_pairs(), [])
        assert (done.win_rate, done.p, done.agreement) == (None, None, None)
        assert done.lines() == ["0 of 8 questions judged by people"]

    def test_holds_a_judge_model_against_people_and_counts_it_apart(self) -> None:
        these = some_pairs(8)
        people = said(these, "ann", numbered(["a", "a", "b", "b", "tie", "bad", "a", "b"]))
        model = said(these, "openai:m", numbered(["a", "a", "b", "b", "tie", "tie", "b", "b"]), model=True)
        done = summary(these, people + model)
        assert done.win_rate == summary(these, people).win_rate
        found = done.models["openai:m"]
        assert found.questions == 8
        assert found.raw.value == pytest.approx(7 / 8)
        assert found.kappa is not None
        assert 0.5 < found.kappa.value < 1

    @given(st.lists(st.sampled_from(["a", "b", "tie", "bad"]), min_size=1, max_size=8))
    def test_turned_round_says_the_opposite(self, verdicts: list[Verdict]) -> None:
        these = some_pairs(8)
        turned = Pairs({id: replace(pair, a=pair.b, b=pair.a) for id, pair in these.shown.items()})
        made = said(these, "ann", numbered(verdicts))
        one, other = summary(these, made), summary(turned, made)
        assert one.win_rate is not None
        assert other.win_rate is not None
        assert one.win_rate.value == pytest.approx(1 - other.win_rate.value)
        assert one.win_rate.low == pytest.approx(1 - other.win_rate.high)
        assert one.p == other.p


class TestAgreement:
    def test_is_what_krippendorff_published(self) -> None:
        """Computing Krippendorff's Alpha-Reliability (2011), sections A to C."""
        two = [("0100000010", "1110010000", 0.095), ("aabbdcccedda", "babbbcccEddd".lower(), 0.692)]
        for first, second, alpha in two:
            found = agreement({"one": dict(enumerate_(first)), "two": dict(enumerate_(second))})
            assert found is not None
            assert found.alpha is not None
            assert found.alpha.value == pytest.approx(alpha, abs=5e-4)
        four = ["123321412...", "1233224125.3", ".333234225 1.".replace(" ", ""), "12332441251."]
        found = agreement({str(i): {q: v for q, v in enumerate_(row) if v != "."} for i, row in enumerate(four)})
        assert found is not None
        assert found.alpha is not None
        assert found.alpha.value == pytest.approx(0.743, abs=5e-4)
        assert found.kappa is None
        assert found.questions == 11

    @settings(deadline=None)  # the first example imports scikit-learn
    @given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=40))
    def test_of_two_is_the_kappa_of_scikit_learn(self, rated: list[tuple[int, int]]) -> None:
        from sklearn.metrics import cohen_kappa_score

        codes = np.array(rated, dtype=np.float64)
        if len(np.unique(codes)) > 1:
            assert cohen_kappa(codes) == pytest.approx(cohen_kappa_score(codes[:, 0], codes[:, 1]), nan_ok=True)
        else:
            assert np.isnan(cohen_kappa(codes))

    @given(st.lists(st.lists(st.integers(0, 3), min_size=3, max_size=3), min_size=2, max_size=30))
    def test_is_one_for_those_who_agree_and_not_for_others(self, counts: list[list[int]]) -> None:
        array = np.array(counts, dtype=np.float64)
        alpha = krippendorff_alpha(array)
        agreed = all((row > 0).sum() <= 1 for row in array if row.sum() > 1)
        assert np.isnan(alpha) or (alpha == pytest.approx(1.0)) == agreed

    def test_of_nobody_who_judged_the_same_is_none(self) -> None:
        assert agreement({"ann": {"q1": "a"}, "bob": {"q2": "a"}}) is None
        assert agreement({"ann": {"q1": "a"}}) is None

    def test_where_nothing_varies_has_no_coefficient(self) -> None:
        found = agreement({"ann": {"q1": "a", "q2": "a"}, "bob": {"q1": "a", "q2": "a"}})
        assert found is not None
        assert (found.raw.value, found.alpha, found.kappa) == (1.0, None, None)


def enumerate_(row: str) -> list[tuple[str, str]]:
    return [(f"q{i:02}", value) for i, value in enumerate(row)]


@given(st.floats(0, 1), st.integers(1, 1000))
def test_wilson_holds_the_value_and_mirrors(value: float, n: int) -> None:
    low, high = wilson(value, n)
    assert 0 <= low <= value + 1e-12
    assert value - 1e-12 <= high <= 1
    assert (low, high) == pytest.approx(tuple(1 - bound for bound in reversed(wilson(1 - value, n))))


@pytest.mark.parametrize(("won", "n"), [(0, 5), (3, 10), (10, 10), (80, 81)])
def test_wilson_is_the_usual_one(won: int, n: int) -> None:
    from scipy.stats import binomtest

    usual = binomtest(won, n).proportion_ci(method="wilson")
    assert wilson(won / n, n) == pytest.approx((usual.low, usual.high), abs=1e-6)


class TestTheVerb:
    @pytest.fixture
    def reports(self, tmp_path: Path) -> Path:
        for name, colour in (("old", "red"), ("new", "blue")):
            made = report({f"q{i}": f"{colour} {i}" for i in range(4)})
            (tmp_path / f"{name}.json").write_text(json.dumps(made.as_json()))
        return tmp_path

    def test_judges_keeps_and_counts(
        self, reports: Path, openbook: Callable[..., subprocess.CompletedProcess[str]]
    ) -> None:
        done = openbook("prefer", "old.json", "new.json", "--judge-name", "ann", "--json", typed="1\nt\nq\n")
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert told.keys() >= RATES
        assert (told["questions"], told["judged"]) == (4, 2)
        assert "old.json" not in done.stderr  # the judge is not told
        assert "2 left" in done.stderr
        done = openbook("prefer", "old.json", "new.json", "--judge-name", "ann", typed="2\n2\n")
        assert "4 of 4 questions judged" in done.stdout
        assert len((reports / "preferences.jsonl").read_text().splitlines()) == 4

    def test_counts_the_files_of_others(
        self, reports: Path, openbook: Callable[..., subprocess.CompletedProcess[str]]
    ) -> None:
        these = pairs(*(report({f"q{i}": f"{colour} {i}" for i in range(4)}) for colour in ("red", "blue")))
        for name, verdicts in {"ann": ["a", "b", "b", "tie"], "bob": ["a", "b", "tie", "a"]}.items():
            for made in said(these, name, numbered(verdicts)):  # type: ignore[arg-type]
                Judgements(reports / f"{name}.jsonl").append(made)
        done = openbook("prefer", "old.json", "new.json", "--out", "ann.jsonl", "--with", "bob.jsonl", "--json")
        told = json.loads(done.stdout)
        assert set(told["raters"]) == {"ann", "bob"}
        assert told["agreement"]["questions"] == 4
        assert told["agreement"]["alpha"].keys() == {"value", "low", "high", "n"}

    def test_has_a_model_judge_and_holds_it_against_people(
        self, reports: Path, openbook: Callable[..., subprocess.CompletedProcess[str]]
    ) -> None:
        """A judge that likes blue, whichever comes first; a person who does, too, but once."""

        def likes_blue(request: Request) -> Say:
            first = request.user.find("blue") < request.user.find("red")
            return Say(json.dumps({"better": 1 if first else 2}))

        these = pairs(*(report({f"q{i}": f"{colour} {i}" for i in range(4)}) for colour in ("red", "blue")))
        file = Judgements(reports / "preferences.jsonl")
        for made in said(these, "ann", {"q0": "b", "q1": "b", "q2": "b", "q3": "a"}):
            file.append(made)
        with ModelServer("openai") as server:
            server.will(likes_blue)
            arguments = ("old.json", "new.json", "--judge", "openai:m", "--judge-url", server.base_url)
            done = openbook("prefer", *arguments, "--json")
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert told["judge"]["wins"] == {"a": 0, "b": 4}
        assert told["judge"]["flip_rate"]["value"] == 0
        assert told["models"]["openai:m"]["raw"]["value"] == 0.75
        assert told["wins"] == {"a": 1, "b": 3}

    def test_says_in_a_line_what_is_wrong(
        self, reports: Path, openbook: Callable[..., subprocess.CompletedProcess[str]]
    ) -> None:
        done = openbook("prefer", "old.json", "new.json", "--with", "bbo.jsonl", typed="q\n")
        assert (done.returncode, done.stderr.splitlines()[-1].startswith("openbook: bbo.jsonl: no such file")) == (
            2,
            True,
        )
        done = openbook("prefer", "old.json", "no.json")
        assert done.returncode == 2
        assert done.stderr.startswith("openbook: no.json: no such file")
        assert len(done.stderr.splitlines()) == 1
