"""Whether answers keep a form: JSON that parses, is valid and says what is expected; a style that examples show."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbook.errors import DatasetError
from openbook.evaluate.datasets.dataset import Question
from openbook.evaluate.measures import adherence
from openbook.evaluate.measures.adherence import Example, StyleClassifier
from openbook.evaluate.report import Measured, Outcome
from openbook.types import Answer, Citation

SCHEMA = {
    "type": "object",
    "required": ["name", "lit"],
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string"},
        "lit": {"type": "boolean"},
        "height": {"type": "number"},
        "keepers": {"type": "array", "items": {"$ref": "#/$defs/keeper"}},
    },
    "$defs": {"keeper": {"type": "object", "properties": {"name": {"type": "string"}}}},
}
WANTED = {"name": "Pine Point", "lit": True, "height": 21.5, "keepers": [{"name": "Ida"}, {"name": "Ole"}]}


def measured(
    text: str | None,
    accepted: tuple[object, ...] = (WANTED,),
    schema: dict[str, Any] | None = SCHEMA,
    citations: int = 0,
) -> Measured:
    question = Question("q", "Which lamp?", answers=tuple(map(json.dumps, accepted)), schema=schema)
    cited = tuple(Citation("d", 1, "d.md", "", n, n + 1, "x") for n in range(citations))
    answer = Answer("", abstained=True) if text is None else Answer(text, cited)
    return adherence.measure({"q": question}, {"q": Outcome("q", answer=answer)})


def numbers(text: str | None, *accepted: object, **options: Any) -> tuple[float, ...]:
    found = measured(text, accepted or (WANTED,), **options).per_question
    return tuple(found[f"format_{name}"]["q"] for name in ("parses", "valid", "values"))


# --- format -----------------------------------------------------------------------------------------------------------


def changed(**values: object) -> str:
    return json.dumps({**WANTED, **values})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (json.dumps(WANTED), (1, 1, 1)),
        (f"\n```json\n{json.dumps(WANTED, indent=2)}\n```\n", (1, 1, 1)),
        (f"```\n{json.dumps(WANTED)}\n```", (1, 1, 1)),
        (json.dumps(dict(reversed(WANTED.items()))), (1, 1, 1)),  # keys have no order
        (changed(name="  Pine\nPoint"), (1, 1, 1)),
        (changed(height=21.50), (1, 1, 1)),
        (changed(name="pine point"), (1, 1, 4 / 5)),  # a program tells cases apart
        (changed(lit=False), (1, 1, 4 / 5)),
        (changed(lit=1), (1, 0, 4 / 5)),
        (changed(lit="true"), (1, 0, 4 / 5)),
        (changed(height="21.5"), (1, 0, 4 / 5)),
        (changed(keepers=[{"name": "Ole"}, {"name": "Ida"}]), (1, 1, 3 / 5)),  # an array has one
        (changed(keepers=[]), (1, 1, 3 / 5)),
        (changed(colour="red"), (1, 0, 1)),
        ("{}", (1, 0, 0)),
        ("[]", (1, 0, 0)),
        ("null", (1, 0, 0)),
        (f"Here it is: {json.dumps(WANTED)}", (0, 0, 0)),
        (f"```json\n{json.dumps(WANTED)}\n```\nAnything else?", (0, 0, 0)),
        (json.dumps(WANTED)[:-1], (0, 0, 0)),
        (str(WANTED), (0, 0, 0)),  # Python's, with single quotes
        ('{"name": NaN, "lit": true}', (0, 0, 0)),
        ("[" * 100_000, (0, 0, 0)),
        ("", (0, 0, 0)),
        (None, (0, 0, 0)),  # an abstention
    ],
)
def test_three_numbers_tell_apart_what_is_wrong(text: str | None, expected: tuple[float, ...]) -> None:
    assert numbers(text) == pytest.approx(expected)


def test_a_failure_counts_zero() -> None:
    question = Question("q", "Which?", answers=(json.dumps(WANTED),), schema=SCHEMA)
    for outcomes in ({}, {"q": Outcome("q", error="it broke")}):
        values = adherence.measure({"q": question}, outcomes).per_question
        assert [found["q"] for found in values.values()] == [0, 0, 0]


def test_marks_of_citations_do_not_break_the_form() -> None:
    text = json.dumps(WANTED)
    assert numbers(f"{text} [1] [2]", citations=2) == (1, 1, 1)
    assert numbers(f"{text} [1]", citations=0) == (0, 0, 0)
    assert numbers(changed(name="Pine Point [1]"), citations=1) == (1, 1, 1)
    assert numbers(changed(name="Pine Point [1]"), citations=0) == (1, 1, 4 / 5)
    assert numbers("[1]", [1], schema={"type": "array"}, citations=1) == (1, 1, 1)


def test_the_best_fitting_accepted_answer_counts() -> None:
    assert numbers('{"name": "B", "lit": false}', {"name": "A", "lit": True}, {"name": "B", "lit": True})[2] == 0.5


def test_values_that_nobody_expected_are_counted_apart() -> None:
    found = measured(
        f"```json\n{changed(colour='red', keepers=[{'name': 'Ida'}, {'name': 'Ole'}, {'name': 'Per'}])}\n```"
    )
    assert found.per_question["format_values"] == {"q": 1.0}
    assert found.details == {"format": {"fenced": 1, "unexpected_values": 2}}


def test_only_questions_with_a_schema_are_asked_for_a_form() -> None:
    assert measured(json.dumps(WANTED), schema=None) == Measured()
    assert set(measured("{}", accepted=()).per_question) == {"format_parses", "format_valid"}


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(values)
def test_every_value_is_its_own_best_answer(value: object) -> None:
    assert numbers(json.dumps(value), value, schema={}) == (1, 1, 1)


@given(values, values)
def test_the_share_of_right_values_stays_in_bounds(value: object, other: object) -> None:
    parses, valid, right = numbers(json.dumps(other), value, schema={})
    assert (parses, valid) == (1, 1)
    assert 0 <= right <= 1


def test_integers_beyond_all_floats_are_compared() -> None:
    assert numbers("1" + "0" * 400, 10**400, schema={}) == (1, 1, 1)
    assert numbers("1" + "0" * 400, 1.5, schema={}) == (1, 1, 0)


def test_the_draft_that_a_schema_names_is_followed() -> None:
    """Draft 7 knows ``dependencies``; 2020-12 does not."""
    needs = {"dependencies": {"a": ["b"]}}
    assert numbers('{"a": 1}', {}, schema=needs)[1] == 1
    assert numbers('{"a": 1}', {}, schema={"$schema": "http://json-schema.org/draft-07/schema#", **needs})[1] == 0


def test_a_schema_may_refer_to_itself() -> None:
    tree = {"type": "object", "properties": {"left": {"$ref": "#"}}, "additionalProperties": False}
    deep: dict[str, Any] = {"left": {"left": {"left": {}}}}
    assert numbers(json.dumps(deep), deep, schema=tree) == (1, 1, 1)
    assert numbers('{"left": {"right": {}}}', deep, schema=tree) == (1, 0, 0)


@pytest.mark.parametrize(
    ("schema", "accepted", "message"),
    [
        ({"type": "strin"}, "{}", "no JSON schema"),
        ({"type": "object"}, "{'a': 1}", "an accepted answer is no JSON"),
        ({"type": "object"}, "[]", "not valid against the schema"),
        ({"$ref": "#"}, "{}", "not valid against the schema"),
        (
            {"anyOf": [{"type": "object"}, {"items": {"$ref": "#/$defs/no"}}]},
            "{}",
            r"/\$defs/no, which it does not hold",
        ),
        ({"not": {"$ref": "http://127.0.0.1:9/schema.json"}}, "{}", "which it does not hold"),  # nothing is fetched
    ],
)
def test_a_data_set_that_cannot_be_measured_is_told_before_it_is_asked(
    schema: dict[str, Any], accepted: str, message: str
) -> None:
    with pytest.raises(DatasetError, match=message) as error:
        adherence.check({"q7": Question("q7", "?", answers=(accepted,), schema=schema)})
    assert error.value.where == "question q7"


def test_real_slots_against_themselves_and_with_one_value_changed(data: Path) -> None:
    """snips-slots: 700 utterances with an intent and slots."""
    slots = json.loads((data / "snips-slots" / "schema.json").read_text())
    item = {"properties": {"slot": {"enum": sorted({s for names in slots.values() for s in names})}}}
    schema = {"properties": {"intent": {"enum": list(slots)}, "slots": {"type": "array", "items": item}}}
    wanted: dict[str, Any] = {}
    for line in (data / "snips-slots" / "test.jsonl").read_text().splitlines():
        row = json.loads(line)
        pairs = [{"slot": slot["slot"], "value": slot["value"]} for slot in row["slots"]]
        wanted[row["_id"]] = {"intent": row["intent"], "slots": pairs}
    questions = {id: Question(id, id, answers=(json.dumps(w),), schema=schema) for id, w in wanted.items()}

    def means(given: dict[str, Any]) -> list[float]:
        outcomes = {id: Outcome(id, answer=Answer(json.dumps(value))) for id, value in given.items()}
        found = adherence.measure(questions, outcomes).per_question
        return [sum(of.values()) / len(wanted) for of in found.values()]

    assert means(wanted) == [1, 1, 1]
    mutated = copy.deepcopy(wanted)
    rng = random.Random(0)
    for value in mutated.values():
        rng.choice(value["slots"] or [{}])["value"] = "another"
    values = 1 + sum(2 * len(value["slots"]) for value in wanted.values()) / len(wanted)
    parses, valid, right = means(mutated)
    assert (parses, valid) == (1, 1)
    assert 1 - 2 / values < right < 1 - 0.5 / values
    for value in mutated.values():
        value["intent"] = "Another"
    assert means(mutated)[1] == 0


# --- style ------------------------------------------------------------------------------------------------------------

THINGS = ["lamp", "log", "keeper", "harbour", "rope", "bell", "boat", "lens", "stair", "window"]
THINGS += ["oil", "fog", "horn", "tide", "gull", "wick", "mast", "anchor", "chart", "buoy"]
DEEDS = ["broke", "rang", "fell", "rose", "turned", "shone", "burned", "drifted", "sank", "opened"]


def sentence(n: int) -> str:
    """One of 200 different ones."""
    return f"The {THINGS[n % 20]} {DEEDS[n // 20]} in the night."


def loud(text: str) -> str:
    return text.upper().replace(".", "!!!")


def examples(count: int) -> list[Example]:
    """``count`` of each class, of different sentences."""
    return [Example(loud(sentence(n)), True) for n in range(count)] + [
        Example(sentence(n), False) for n in range(100, 100 + count)
    ]


@pytest.fixture(scope="module")
def shouting() -> StyleClassifier:
    return StyleClassifier.train(examples(40))


def test_a_style_is_told_from_others_in_answers_it_has_not_seen(shouting: StyleClassifier) -> None:
    assert shouting.auroc > 0.95
    assert shouting.accuracy > 0.9
    questions = {f"q{n}": Question(f"q{n}", "What happened?", answerable=n != 5) for n in range(6)}
    given = {
        "q0": Answer(loud(sentence(60))),
        "q1": Answer(sentence(61)),
        "q2": Answer(loud(sentence(62))),
        "q3": Answer("", abstained=True),
        "q5": Answer(loud(sentence(63))),
    }
    outcomes = {id: Outcome(id, answer=answer) for id, answer in given.items()} | {"q4": Outcome("q4", error="broke")}
    found = adherence.measure(questions, outcomes, shouting)
    # What cannot be answered has no style to keep; silence and failure keep none.
    assert found.per_question == {"style_adherence": {"q0": 1, "q1": 0, "q2": 1, "q3": 0, "q4": 0}}
    assert found.details["style"] == {
        "auroc": shouting.auroc,
        "accuracy": shouting.accuracy,
        "examples": {"in_style": 40, "out_of_style": 40},
    }


def test_no_answers_at_all_are_in_no_style(shouting: StyleClassifier) -> None:
    question = Question("q", "What happened?")
    assert adherence.measure({"q": question}, {}, shouting).per_question == {"style_adherence": {"q": 0.0}}


def test_examples_that_do_not_define_a_style_are_refused() -> None:
    """Half of the same sentences are called in style: there is nothing to learn."""
    rng = random.Random(3)
    labels = [n < 50 for n in range(100)]
    rng.shuffle(labels)
    with pytest.raises(DatasetError, match="the examples do not define a style") as error:
        StyleClassifier.train([Example(sentence(n), label) for n, label in enumerate(labels)], where="style.jsonl")
    assert error.value.where == "style.jsonl"


def test_too_few_different_examples_are_refused() -> None:
    with pytest.raises(DatasetError, match="19 different texts in style and 20 out of it"):
        StyleClassifier.train([*examples(20)[1:], *[Example(f" {loud(sentence(5))}\n", True)] * 30])


def test_a_text_cannot_be_in_style_and_out_of_it() -> None:
    with pytest.raises(DatasetError, match="in style and out of it"):
        StyleClassifier.train([*examples(20), Example(loud(sentence(3)), False)])


@pytest.mark.parametrize("where", ["text", "answer"])
def test_a_style_learned_from_the_evaluated_questions_is_refused(where: str, shouting: StyleClassifier) -> None:
    seen = f"  {loud(sentence(7)).lower()}"
    question = Question("q9", seen) if where == "text" else Question("q9", "What?", answers=("x", seen))
    with pytest.raises(DatasetError, match="learned from this text") as error:
        adherence.measure({"q9": question}, {}, shouting)
    assert error.value.where == "question q9"


def test_examples_are_read_from_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "style.jsonl"
    rows = [Example("Ahoy\u2028there", True), Example("Good day", False)]
    text = "\n\n".join(json.dumps({"text": e.text, "in_style": e.in_style}, ensure_ascii=False) for e in rows)
    path.write_text(f"\ufeff{text}\n", encoding="utf-8")
    assert adherence.read_examples(path) == rows


@pytest.mark.parametrize(
    "line", ['{"text": "Ahoy"}', '{"text": 5, "in_style": true}', '{"text": "Ahoy", "in_style": 1}', "[]", "Ahoy"]
)
def test_a_line_that_is_no_example_is_named(line: str, tmp_path: Path) -> None:
    path = tmp_path / "style.jsonl"
    path.write_text('{"text": "Ahoy", "in_style": true}\n' + line)
    with pytest.raises(DatasetError, match="not an example") as error:
        adherence.read_examples(path)
    assert error.value.where == f"{path}:2"


def test_files_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="No such file"):
        adherence.read_examples(tmp_path / "none.jsonl")
    (tmp_path / "latin").write_bytes(b'{"text": "\xff"}')
    with pytest.raises(DatasetError, match="no UTF-8"):
        adherence.read_examples(tmp_path / "latin")
