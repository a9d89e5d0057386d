"""What stands in two splits is found: the same question, a lightly edited one, its passage, its document."""

from __future__ import annotations

import json
import random
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openbook.errors import QueryError
from openbook.evaluate.datasets import leakage
from openbook.evaluate.datasets.checking import check
from openbook.evaluate.datasets.dataset import Evidence, Question, dataset
from openbook.evaluate.datasets.formats import read, write_jsonl
from openbook.evaluate.datasets.leakage import Groups, Leak, Sketches, find, near, normalised

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Edit = Callable[[str, random.Random], "str | None"]

# --- questions, and what becomes of them on their way into training data ----------------------------------------------

OPENINGS = [
    "How many {} does {} need",
    "Which {} are given to {}",
    "Where does {1} keep the {0}",
    "When must the {} be returned by {}",
    "Who pays for the {} that {} ordered",
    "Why were the {} taken from {}",
    "What happens to {} after they reach {}",
    "How long may the {} stay with {}",
    "Is there a limit on {} for {}",
    "Can {1} lend the {0} to a visitor",
]
THINGS = [
    "badges", "lanterns", "headsets", "parcels", "lockers", "bicycles", "umbrellas", "notebooks", "samples", "helmets",
    "permits", "invoices", "kayaks", "microscopes", "vouchers", "blankets", "tripods", "ladders", "fuses", "antennas",
]  # fmt: skip
PEOPLE = [
    "the night porter", "a new apprentice", "the harbour office", "each regional director", "the canteen staff",
    "an external auditor", "the choir", "every second shift", "the laboratory", "the translation bureau",
    "a retired colleague", "the fire brigade",
]  # fmt: skip


def some_questions(seed: int = 0, n: int = 200) -> list[str]:
    rng = random.Random(seed)
    every = [f"{o.format(t, p)}?" for o in OPENINGS for t in THINGS for p in PEOPLE]
    return rng.sample(every, n)


def repunctuated(text: str, rng: random.Random) -> str:
    marked = [word.upper() if rng.random() < 0.2 else word for word in text.rstrip("?").split()]
    return f"  {rng.choice([' ', '  ', ', '])}".join(marked) + rng.choice(["", " ?", "??", "!", "."])


def misspelt(text: str, rng: random.Random) -> str | None:
    parts = text.split()
    long = [n for n, word in enumerate(parts) if len(word) >= 6 and word.isalpha()]
    if not long:
        return None
    n = rng.choice(long)
    word = parts[n]
    at = rng.randrange(1, len(word) - 2)
    parts[n] = rng.choice([word[:at] + word[at + 1] + word[at] + word[at + 2 :], word[:at] + word[at + 1 :]])
    return " ".join(parts)


def without_a_word(text: str, rng: random.Random) -> str | None:
    parts = text.split()
    small = [n for n, word in enumerate(parts) if word.lower() in ("the", "a", "an", "does", "of", "is", "to", "for")]
    if not small:
        return None
    del parts[rng.choice(small)]
    return " ".join(parts)


def with_a_word(text: str, rng: random.Random) -> str:
    parts = text.split()
    parts.insert(rng.randrange(1, len(parts)), rng.choice(["really", "exactly", "usually", "now"]))
    return " ".join(parts)


def politely(text: str, rng: random.Random) -> str:
    return rng.choice(["Please, ", "Hi! ", "Could you tell me: ", "I'd like to know "]) + text[0].lower() + text[1:]


def swapped(text: str, rng: random.Random) -> str:
    parts = text.split()
    at = rng.randrange(len(parts) - 1)
    parts[at], parts[at + 1] = parts[at + 1], parts[at]
    return " ".join(parts)


LIGHT: list[Edit] = [misspelt, without_a_word, with_a_word, politely, swapped]


def asked(texts: Sequence[str], prefix: str = "q") -> list[Question]:
    return [Question(f"{prefix}{n}", text) for n, text in enumerate(texts)]


class TestPlantedTestQuestions:
    """Test questions are put among the training questions; each must be found, and no other."""

    def test_verbatim_and_repunctuated_are_all_found_as_the_same(self) -> None:
        rng = random.Random(1)
        texts = some_questions()
        test, train = texts[:100], texts[100:]
        planted = test[:20] + [repunctuated(text, rng) for text in test[20:40]]
        found = find(asked([*train, *planted], "train"), asked(test, "test"), ["question"])
        assert [leak.b for leak in found] == [f"test{n}" for n in range(40)]
        assert {leak.kind for leak in found} == {"question"}
        assert [leak.a for leak in found] == [f"train{100 + n}" for n in range(40)]

    @pytest.mark.parametrize("edit", LIGHT, ids=lambda edit: edit.__name__)
    def test_lightly_edited_are_found(self, edit: Edit) -> None:
        rng = random.Random(2)
        test = some_questions(n=150)
        planted = [edited for text in test[:60] if (edited := edit(text, rng)) is not None]
        assert len(planted) > 30
        originals = [text for text in test[:60] if edit(text, random.Random(2)) is not None]
        found = {leak.b for leak in find(asked(planted, "train"), asked(test, "test"))}
        wanted = {f"test{test.index(text)}" for text in originals}
        assert len(wanted - found) <= 0.05 * len(wanted)

    def test_unrelated_questions_are_not(self) -> None:
        """The same openings about other things and people, and other questions about the same things and people."""
        rng = random.Random(4)
        here = [o.format(t, p) for o in OPENINGS for t in THINGS[:10] for p in PEOPLE[:6]]
        there = [o.format(t, p) for o in OPENINGS for t in THINGS[10:] for p in PEOPLE[6:]]
        assert find(asked(rng.sample(here, 300)), asked(rng.sample(there, 300))) == []
        here = [o.format(t, p) for o in OPENINGS[:5] for t in THINGS for p in PEOPLE]
        there = [o.format(t, p) for o in OPENINGS[5:] for t in THINGS for p in PEOPLE]
        assert len(find(asked(rng.sample(here, 300)), asked(rng.sample(there, 300)))) <= 3

    def test_planted_with_their_passage_are_found_by_it_however_the_question_is_worded(self) -> None:
        passage = "The night porter keeps the spare badges in the grey cabinet behind the reception desk."
        train = [Question("t", "Tell me about badges", evidence=(Evidence("porter.md", passage),))]
        test = [Question("q", "Where could one get access?", evidence=(Evidence("copy-of-porter.md", passage + " "),))]
        assert find(train, test) == [Leak("passage", "t", "q", 1.0, passage)]


class TestSameOrNearly:
    @given(st.lists(st.text("abcdefgéüñ0123456789", min_size=1, max_size=8), min_size=1, max_size=8), st.randoms())
    def test_case_punctuation_and_blanks_make_no_difference(self, parts: list[str], rng: random.Random) -> None:
        marks = [" ", "  ", ", ", " - ", "; ", "\n", "/", " … "]
        other = "".join(
            (part.upper() if rng.random() < 0.5 and part.upper().lower() == part else part) + rng.choice(marks)
            for part in parts
        )
        assert normalised(other) == normalised(" ".join(parts))

    @pytest.mark.parametrize(
        ("a", "b"),
        [
            ("How many sick days do I get?", "how many sick-days do i get"),
            ("What’s the café’s policy?", "Whats the cafes policy"),
            ("كَمْ يَوْمًا؟", "كم يوما"),
            ("東京 の 天気は？", "東京の天気は"),
        ],
    )
    def test_what_is_the_same_question(self, a: str, b: str) -> None:
        assert [leak.kind for leak in find(asked([a]), asked([b]))] == ["question"]

    @pytest.mark.parametrize(
        ("a", "b"),
        [
            ("What is C?", "What is C++?"),
            ("What was the revenue of the group in 2023?", "What was the revenue of the group in 2024?"),
            ("What does error HB-4012 mean on my laptop?", "What does error HB-4013 mean on my laptop?"),
            (
                "How long is the notice period in the Berlin office?",
                "How long is the notice period in the Oslo office?",
            ),
            ("Which drugs may be carried on board?", "Which drugs may not be carried on board?"),
            ("Why isn't the heating working?", "Why is the heating working?"),
        ],
    )
    def test_what_is_another_question_however_alike(self, a: str, b: str) -> None:
        assert find(asked([a]), asked([b])) == []

    @settings(deadline=None)
    @given(
        st.lists(st.lists(st.sampled_from("abcdefghij"), min_size=1, max_size=6).map(" ".join), max_size=12),
        st.lists(st.lists(st.sampled_from("abcdefghij"), min_size=1, max_size=6).map(" ".join), max_size=12),
    )
    def test_neither_side_is_the_first(self, a: list[str], b: list[str]) -> None:
        there = {(i, j): score for i, j, score in near(a, b)}
        assert {(j, i): score for i, j, score in near(b, a)} == pytest.approx(there)
        same = {(i, j) for i, x in enumerate(a) for j, y in enumerate(b) if set(x.split()) == set(y.split())}
        assert same <= there.keys()

    @settings(deadline=None)
    @given(
        st.lists(st.frozensets(st.integers(0, 30), min_size=1, max_size=7), min_size=1, max_size=15),
        st.integers(0, 2**32),
        st.floats(0.3, 0.95),
    )
    def test_no_pair_above_the_threshold_is_passed_over(
        self, rows: list[frozenset[int]], seed: int, threshold: float
    ) -> None:
        """What is compared by its rarest terms only is what comparing each with each finds."""
        weights = np.sort(np.random.default_rng(seed).uniform(0.1, 1.0, 31))[::-1].copy()
        vocabulary = {str(n): n for n in range(31)}
        sets = leakage._Rows.of([frozenset(map(str, row)) for row in rows], vocabulary, weights)
        found = {(i, j): s for i, j, s in leakage._candidates(sets, sets, threshold, within=False)}
        wanted = {}
        for i, x in enumerate(rows):
            for j, y in enumerate(rows):
                score = weights[sorted(x & y)].sum() / weights[sorted(x | y)].sum()
                if score >= threshold + 1e-9:
                    wanted[i, j] = score
        assert wanted.items() <= {key: pytest.approx(score) for key, score in found.items()}.items()

    def test_within_one_list_each_pair_is_told_once(self) -> None:
        assert [(i, j) for i, j, _ in near(["Who pays?", "who pays", "Where is it?", "WHO PAYS"])] == [
            (0, 1), (0, 3), (1, 3),
        ]  # fmt: skip

    def test_nothing_is_like_nothing(self) -> None:
        assert near([]) == near([], ["a b"]) == near(["a b"], []) == []
        assert find([], []) == []


class TestLeaks:
    def test_each_question_is_told_once_with_the_worst(self) -> None:
        evidence = (Evidence("a.md", "The lanterns are kept in the tower."),)
        train = [
            Question("t1", "Where are the lanterns now kept?", evidence=evidence),
            Question("t2", "Where are the lanterns kept", evidence=evidence),
        ]
        test = [Question("q", "Where are the lanterns kept?", evidence=evidence)]
        assert [(leak.kind, leak.a, leak.b) for leak in find(train, test)] == [("question", "t2", "q")]
        assert [(leak.kind, leak.a) for leak in find(train, test, ["near question"])] == [("near question", "t2")]
        assert [leak.kind for leak in find(train, test, ["document"])] == ["document"]
        assert find(train, test, []) == []

    @pytest.mark.parametrize(
        ("ours", "theirs", "kind"),
        [
            (Evidence("a.md", "", 10, 40), Evidence("a.md", "", 39, 60), "passage"),
            (Evidence("a.md", "", 10, 40), Evidence("a.md", "", 40, 60), "document"),
            (Evidence("a.md", "", 10, 40), Evidence("b.md", "", 10, 40), None),
            (
                Evidence("a.md", "Each shift has two lanterns, one of them spare, and returns both at dawn."),
                Evidence("", "He said: each shift has two lanterns, one of them spare, and returns both at dawn. Yes."),
                "passage",
            ),
            (
                Evidence("", "Each shift has two lanterns, one of them spare, and returns both at dawn."),
                Evidence("", "The choir sings on Fridays, in the yard behind the mill, whatever the weather."),
                None,
            ),
        ],
    )
    def test_the_evidence_gives_it_away(self, ours: Evidence, theirs: Evidence, kind: str | None) -> None:
        found = find([Question("t", "Alpha beta?", evidence=(ours,))], [Question("q", "Gamma?", evidence=(theirs,))])
        assert [leak.kind for leak in found] == ([kind] if kind else [])

    def test_a_judged_document_counts_if_it_is_relevant(self) -> None:
        train = [Question("t", "Alpha?", judgements={"a": 1, "b": 0})]
        test = [Question("q", "Beta?", judgements={"b": 2}), Question("r", "Gamma?", judgements={"a": 1})]
        assert [(leak.b, leak.what) for leak in find(train, test)] == [("r", "a")]


# --- documents --------------------------------------------------------------------------------------------------------


def page(seed: int, n: int = 400) -> list[str]:
    rng = random.Random(seed)
    return [f"w{rng.randrange(2000)}" for _ in range(n)]


def versions(texts: Iterable[tuple[Any, str]]) -> Groups[Any]:
    sketches: Sketches[Any] = Sketches()
    for key, text in texts:
        sketches.add(key, text)
    return sketches.versions()


class TestDocuments:
    @pytest.mark.parametrize("n", [60, 400, 6000])
    def test_versions_are_one_group_and_other_pages_are_not(self, n: int) -> None:
        first = page(1, n)
        second = [*first[: n // 2], "edited", *first[n // 2 + 3 :]]
        third = [*second, *page(2, n // 5)]
        texts = {"v1": first, "v2": second, "v3": third, "other": page(3, n), "another": page(4, n)}
        groups = versions((name, " ".join(text)) for name, text in texts.items())
        assert [groups.of(name) for name in texts] == ["v1", "v1", "v1", "other", "another"]

    @settings(deadline=None, max_examples=30)
    @given(st.integers(300, 4000), st.floats(0.0, 1.0), st.integers(0, 1000))
    def test_a_sketch_tells_how_much_two_long_texts_share(self, n: int, share: float, seed: int) -> None:
        kept = int(n * share)
        a = page(seed, n)
        b = a[:kept] + page(seed + 5000, n - kept)
        true = max(0, kept - 4) / (2 * n - max(0, kept - 4))
        sketches: Sketches[str] = Sketches()
        sketches.add("a", " ".join(a))
        sketches.add("b", " ".join(b))
        [(_, _, score)] = [*sketches.alike(0.0)] or [("", "", 0.0)]
        assert score == pytest.approx(true, abs=0.13), "four standard errors of 256 draws"

    def test_a_part_is_found_in_the_whole(self) -> None:
        sketches: Sketches[str] = Sketches()
        whole = page(7, 200)
        sketches.add("whole", " ".join(whole))
        sketches.add("part", " ".join(whole[50:80]))
        assert [*sketches.alike(0.6)] == []
        [(_, _, score)] = sketches.alike(0.6, 0.8)
        assert score == 1.0

    def test_a_run_that_a_hundred_pages_share_does_not_hide_that_they_are_versions(self) -> None:
        """Runs in many texts are not compared pair by pair; pages that share nothing else were lost with them."""
        body = page(9, 100)
        texts = [(n, " ".join([*body, f"copy {n}"])) for n in range(120)]
        groups = versions(texts)
        assert len({groups.of(n) for n, _ in texts}) == 1

    def test_a_common_footer_makes_no_versions(self) -> None:
        footer = page(11, 40)
        texts = [(n, " ".join([*page(100 + n, 200), *footer])) for n in range(80)]
        assert len({versions(texts).of(n) for n, _ in texts}) == 80

    @given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=40))
    def test_groups_are_what_is_joined_by_any_path(self, pairs: list[tuple[int, int]]) -> None:
        groups: Groups[int] = Groups()
        reach = {n: {n} for n in range(21)}
        for a, b in pairs:
            groups.join(a, b)
            merged = reach[a] | reach[b]
            for n in merged:
                reach[n] = merged
        assert all((groups.of(a) == groups.of(b)) == (b in reach[a]) for a in range(21) for b in range(21))


def test_it_is_quick_enough_to_be_run_every_time() -> None:
    """10,000 questions against 10,000, and 10,000 passages: 100,000 take half a minute on two cores."""
    rng = random.Random(5)
    parts = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in ("", "n", "lim", "sto", "rk", "ven")]
    vocabulary = [first + second for first in parts for second in parts[:14]]
    weights = [1 / (n + 3) for n in range(len(vocabulary))]  # as words of a language are (Zipf, 1949)
    texts = [" ".join(rng.choices(vocabulary, weights, k=12)) for _ in range(20_000)]
    start = time.process_time()
    near(texts[:10_000], texts[10_000:])
    sketches: Sketches[int] = Sketches()
    for number, text in enumerate(texts[:10_000]):
        sketches.add(number, text * 5)
    list(sketches.alike(0.5))
    assert time.process_time() - start < 15


# --- a data set is checked --------------------------------------------------------------------------------------------


def made(*questions: Question) -> Any:
    return dataset("made", questions)


class TestCheck:
    def test_splits_of_one_file_are_held_against_each_other(self) -> None:
        checked = check(
            [
                made(
                    Question("a", "Who pays for lost badges?", split="train"),
                    Question("b", "Who pays for the lost badges", split="test"),
                    Question("c", "Where does the choir sing?", split="dev"),
                    Question("d", "Where does the choir sing?", split="test"),
                    Question("e", "When is the canteen closed?", split="test"),
                )
            ]
        )
        assert [(leak.a, leak.b) for leak in checked.leaks] == [("a", "b"), ("c", "d")]
        assert not checked.ok
        assert checked.duplicates == (), "what stands in two splits is a leak, not a duplicate"
        assert checked.splits == {"train": 1, "dev": 1, "test": 3}

    def test_what_something_was_trained_on_is_held_against_all_but_its_training_questions(self) -> None:
        file = made(Question("a", "Who pays?", split="train"), Question("b", "Who sings?"))
        trained = made(Question("t", "who pays"), Question("u", "who sings"))
        checked = check([file], [trained])
        assert [(leak.a, leak.b) for leak in checked.leaks] == [("made:u", "made:b")]

    def test_kinds_may_be_allowed(self) -> None:
        one = replace(Question("a", "Who pays?", evidence=(Evidence("x.md"),)), split="dev")
        two = replace(Question("b", "Where is the choir?", evidence=(Evidence("x.md"),)), split="test")
        assert not check([made(one, two)]).ok
        assert check([made(one, two)], allow=["document"]).ok
        with pytest.raises(QueryError, match="no kind of leak 'page'"):
            check([made(one, two)], allow=["page"])

    def test_duplicates_and_contradictions_are_told(self) -> None:
        checked = check(
            [
                made(
                    Question("a", "How many badges are there?", answers=("12",)),
                    Question("b", "how many badges are there", answers=("twelve", "12.")),
                    Question("c", "How many badges are there?!", answers=("14",)),
                    Question("d", "Is there a choir?", answerable=False, metadata={"reason": "nobody sings"}),
                    Question("e", "Is there a choir", answers=("yes",)),
                )
            ]
        )
        assert checked.duplicates == (("a", "b", "c"), ("d", "e"))
        assert {(one["a"], one["b"]) for one in checked.contradictions} == {("a", "c"), ("b", "c"), ("d", "e")}
        assert checked.ok, "bad, but nothing leaks"

    def test_labels_contradict_where_the_question_is_nearly_the_same(self) -> None:
        labelled = [
            Question("a", "Please block my lost card", metadata={"label": "block"}),
            Question("b", "Block my lost card", metadata={"label": "report"}),
            Question("c", "Block my lost card!", metadata={"label": "block"}),
        ]
        checked = check([made(*labelled)])
        assert {(one["a"], one["b"]) for one in checked.contradictions} == {("a", "b"), ("b", "c")}
        assert checked.classes["counts"] == {"block": 2, "report": 1}

    def test_what_is_not_said_is_told(self) -> None:
        checked = check(
            [
                made(
                    Question("a", "Alpha beta gamma?"),
                    Question("b", "Delta epsilon zeta?", answerable=False),
                    Question("c", "Eta theta iota?", answerable=False, answers=("yes",), metadata={"why": "…"}),
                    Question("d", "Kappa lambda my?", judgements={"x": 1}),
                )
            ]
        )
        assert (checked.unknown, checked.unexplained, checked.inconsistent) == (("a",), ("b",), ("c",))
        assert checked.unanswerable == 2

    def test_classes_that_are_small_or_missing_are_told(self) -> None:
        rows = [Question(f"q{n}", f"Alpha{n} beta{n}?", metadata={"label": "common"}, split="train") for n in range(20)]
        rows += [Question("r", "Gamma delta?", metadata={"label": "rare"}, split="test")]
        classes = check([made(*rows)]).classes
        assert (classes["count"], classes["few"]) == (2, ["rare"])
        assert classes["missing"] == {"train": ["rare"], "test": ["common"]}
        assert classes["largest"] == {"name": "common", "n": 20}

    def test_answers_that_come_again_and_again_are_classes(self) -> None:
        rows = [Question(f"q{n}", f"Alpha{n} beta{n}?", answers=("yes" if n % 3 else "no",)) for n in range(30)]
        assert check([made(*rows)]).classes["counts"] == {"yes": 20, "no": 10}
        assert check([made(*(replace(q, answers=(q.id,)) for q in rows))]).classes == {}

    def test_from_the_command_line_it_fails_where_something_leaks(self, openbook: Run, tmp_path: Path) -> None:
        train, test = tmp_path / "train.jsonl", tmp_path / "test.jsonl"
        texts = some_questions(n=60)
        write_jsonl(dataset("train", asked(texts[:30], "t")), train)
        write_jsonl(dataset("test", asked([*texts[30:], texts[3].upper()], "q")), test)
        command = ("dataset", "check", "test.jsonl", "--against", "train.jsonl", "--allow", "near question")
        done = openbook(*command, "--json")
        assert done.returncode == 1
        told = json.loads(done.stdout)
        assert [(leak["kind"], leak["a"], leak["b"]) for leak in told["leaks"]] == [
            ("question", "train:t3", "test:q30")
        ]
        assert told["leaked"]["question"] == 1
        assert told["ok"] is False
        shown = openbook(*command)
        assert "question 1.00  test:q30 ← train:t3" in shown.stdout
        assert openbook("dataset", "check", "test.jsonl").returncode == 0
        (tmp_path / "slip.jsonl").write_text('{"question": "Who pays?", "anwser": "HR"}')
        assert "was 'answer' meant?" in openbook("dataset", "check", "slip.jsonl").stderr
        failed = openbook("dataset", "check", "missing.jsonl")
        assert (failed.returncode, failed.stderr.count("\n")) == (2, 1)


# --- public data, where it is -----------------------------------------------------------------------------------------


def test_edits_planted_in_public_questions_are_found_and_questions_on_other_subjects_are_not(data: Path) -> None:
    texts = [json.loads(line)["text"] for line in (data / "squad2-a" / "queries.jsonl").open()]
    rng = random.Random(3)
    for edit in LIGHT:
        chosen = [(n, edited) for n in rng.sample(range(len(texts)), 300) if (edited := edit(texts[n], rng))]
        pairs = {(i, j) for i, j, _ in near(texts, [edited for _, edited in chosen])}
        caught = sum((n, j) in pairs for j, (n, _) in enumerate(chosen)) / len(chosen)
        assert caught >= 0.96, f"{edit.__name__}: {caught:.3f}"
    others = [
        json.loads(line)["text"]
        for name in ("covid-faq", "hotpotqa-300")
        for line in (data / name / "queries.jsonl").open()
    ]
    others += [json.loads(line)["text"] for line in (data / "banking77" / "test.jsonl").open()]
    assert len(texts) * len(others) > 10_000_000
    assert near(texts, others) == []


def test_what_is_found_between_the_splits_of_a_public_set_are_real_near_duplicates(data: Path) -> None:
    """banking77: 26 of 3,080 test questions stand in train in the same words, 870 nearly so. That they are no
    false alarms shows in their labels, of which there are 77."""
    train, test = (read(data / "banking77" / f"{split}.jsonl").questions for split in ("train", "test"))
    found = find(train.values(), test.values())
    same = [leak for leak in found if leak.kind == "question"]
    assert 20 <= len(same) <= 30
    assert 700 <= len(found) - len(same) <= 1000
    agree = sum(train[leak.a].metadata["label"] == test[leak.b].metadata["label"] for leak in found) / len(found)
    assert agree >= 0.9


def test_a_few_words_quoted_from_a_passage_of_the_same_document_are_found() -> None:
    """Evidence is often short, and a sketch of one run of words tells nothing."""
    page = "The HR system: contracts, leave, payslips and tide checks. The tool that pages people. Its volume is fixed."
    trained = [Question("a", "Who pages me?", evidence=(Evidence("glossary.html", page),))]

    def kind(source: str, text: str) -> list[str]:
        tested = [Question("b", "What wakes us?", evidence=(Evidence(source, text),))]
        return [leak.kind for leak in leakage.find(trained, tested)]

    assert kind("glossary.html", "the tool that pages people") == ["passage"]
    assert kind("other.html", "the tool that pages people") == []
    assert kind("glossary.html", "that people") == ["document"]
    assert kind("glossary.html", "The tool that wakes people") == ["document"]
