"""Does the answer keep the form that was asked for? A JSON schema's, and a style's that examples show.

Three numbers tell of the form, because each breaks apart from the others: the answer parses as JSON, it is valid
against the question's schema, its values are right. Style is judged by a classifier trained on examples apart from the
questions; it is refused where the examples do not tell the styles apart.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openbook.errors import DatasetError
from openbook.evaluate.datasets.dataset import Question
from openbook.evaluate.measures import answers
from openbook.evaluate.report import Measured, Outcome

if TYPE_CHECKING:
    from jsonschema.protocols import Validator
    from referencing import Resource

LEAST_AUROC = 0.8
"""Below it the examples do not define a style: one answer in five or more would be judged by nothing but chance."""

LEAST_EXAMPLES = 20
"""Of each class. With a dozen, order is learned sooner than where to draw the line between the classes."""

FOLDS = 5


def measure(
    questions: Mapping[str, Question], outcomes: Mapping[str, Outcome], style: StyleClassifier | None = None
) -> Measured:
    """The form of the answers, each in [0, 1]; an abstention and a failure count 0.

    =============== ==================================== ===================================================
    measure         asked of questions with              is, for one question
    =============== ==================================== ===================================================
    format_parses   a schema                             whether the answer is JSON, bare or in one fence
    format_valid    a schema                             whether it is valid against the schema
    format_values   a schema and accepted answers        the share of expected values that stand in it
    style_adherence that can be answered, with ``style`` whether ``style`` finds it more likely in style than not
    =============== ==================================== ===================================================

    A value is what stands at the end of a path of keys and places; it is right where type and content are, strings
    being compared in NFKC and with single blanks. Of several accepted answers the best fitting one counts.
    ``details["format"]`` counts what the three do not say: answers in a fence, and values that nobody expected.

    Raises:
        DatasetError: as ``check``.
    """
    values: dict[str, dict[str, float]] = {
        name: {} for name in ("format_parses", "format_valid", "format_values", "style_adherence")
    }
    details: dict[str, Any] = {}
    expected = check(questions, style)
    validators = _Validators()
    fenced = unexpected = 0
    for id, question in questions.items():
        if question.schema is None:
            continue
        given = _given(outcomes.get(id))
        values["format_parses"][id] = float(given is not None)
        values["format_valid"][id] = float(given is not None and validators.is_valid(question, given.value))
        fenced += given is not None and given.fenced
        if expected[id]:
            right, extra = max(
                (_compared(wanted, given) for wanted in expected[id]), key=lambda both: (both[0], -both[1])
            )
            values["format_values"][id] = right
            unexpected += extra
    if values["format_parses"]:
        details["format"] = {"fenced": fenced, "unexpected_values": unexpected}
    if style is not None:
        asked = [id for id, question in questions.items() if answers.is_answerable(question) is not False]
        texts = {id: text for id in asked if (text := answers.said(outcomes.get(id))) is not None}
        likely = dict(zip(texts, style.probabilities(list(texts.values())), strict=True))
        values["style_adherence"] = {id: float(likely.get(id, 0.0) > 0.5) for id in asked}
        details["style"] = {"auroc": style.auroc, "accuracy": style.accuracy, "examples": dict(style.counts)}
    return Measured({name: found for name, found in values.items() if found}, details=details)


def check(questions: Mapping[str, Question], style: StyleClassifier | None = None) -> dict[str, list[Any]]:
    """The accepted answers of each question with a schema, parsed. Call it before thousands of questions are asked.

    Raises:
        DatasetError: a schema is none or refers to something that it does not hold, an accepted answer to a question
            with a schema is no JSON or not valid, or a question's text or accepted answer is among the examples that
            ``style`` was trained on.
    """
    validators = _Validators()
    expected: dict[str, list[Any]] = {}
    for id, question in questions.items():
        if question.schema is None:
            continue
        validators.of(question)
        expected[id] = []
        for answer in question.answers:
            try:
                expected[id].append(_json(answer))
            except ValueError:
                raise DatasetError("an accepted answer is no JSON", where=f"question {id}", do="mend it") from None
            if not validators.is_valid(question, expected[id][-1]):
                what = "an accepted answer is not valid against the schema"
                raise DatasetError(what, where=f"question {id}", do="mend one of them")
    if style is not None:
        for id, question in questions.items():
            if any(_fingerprint(text) in style.seen for text in (question.text, *question.answers)):
                raise DatasetError(
                    "the style was learned from this text", where=f"question {id}", do="take it out of the examples"
                )
    return expected


# --- format -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Given:
    """What an answer says as JSON; ``citations``: how many marks its strings may hold."""

    value: Any
    fenced: bool
    citations: int


def _given(outcome: Outcome | None) -> _Given | None:
    """The answer as JSON: all of it, or all that one Markdown fence holds; marks of citations may follow."""
    if outcome is None or outcome.error is not None or outcome.answer is None or outcome.answer.abstained:
        return None
    citations = len(outcome.answer.citations)
    bare = outcome.answer.text.strip().removeprefix("\ufeff")
    for text in (bare, _MARKS.sub("", bare) if citations else bare):
        fence = _FENCE.fullmatch(text)
        try:
            return _Given(_json(fence[1] if fence else text), fence is not None, citations)
        except ValueError:
            continue
    return None


_FENCE = re.compile(r"```[ \t]*(?:json)?[ \t]*\n(.*?)\n?[ \t]*```", re.DOTALL | re.IGNORECASE)
_MARKS = re.compile(r"(?:\s*\[[0-9]{1,4}\])+\s*\Z")


def _json(text: str) -> Any:
    """Raises: ValueError: not JSON (RFC 8259 knows no NaN), or nested beyond reading."""
    try:
        return json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


class _Validators:
    """One validator for each schema, by the draft that ``$schema`` names, else 2020-12. Nothing is ever fetched."""

    def __init__(self) -> None:
        self._made: dict[str, Validator] = {}

    def of(self, question: Question) -> Validator:
        """Raises: DatasetError: the schema is none, or refers to something that it does not hold."""
        from jsonschema import Draft202012Validator
        from jsonschema.exceptions import SchemaError
        from jsonschema.validators import validator_for
        from referencing import Registry
        from referencing.exceptions import Unresolvable
        from referencing.jsonschema import DRAFT202012, specification_with

        schema = dict(question.schema or {})
        key = json.dumps(schema, sort_keys=True)
        if key not in self._made:
            where = f"question {question.id}"
            kind = validator_for(schema, default=Draft202012Validator)
            try:
                kind.check_schema(schema)
                draft = specification_with(str(schema.get("$schema", "")), default=DRAFT202012)
                resource = draft.create_resource(schema)
                _look_up_references(resource, Registry().resolver_with_root(resource))
            except SchemaError as error:
                raise DatasetError(f"no JSON schema: {error.message}", where=where, do="mend the schema") from None
            except Unresolvable as error:
                what = f"the schema refers to {error.ref}, which it does not hold"
                raise DatasetError(what, where=where, do="put it under $defs") from None
            self._made[key] = kind(schema, registry=Registry())
        return self._made[key]

    def is_valid(self, question: Question, value: Any) -> bool:
        try:
            return bool(self.of(question).is_valid(value))
        except RecursionError:  # a value, or a schema that refers to itself, without end
            return False


def _look_up_references(resource: Resource[Any], resolver: Any) -> None:
    """Raises: Unresolvable: one leads nowhere. A validator would find out only when some answer takes it there."""
    if isinstance(resource.contents, Mapping) and isinstance(ref := resource.contents.get("$ref"), str):
        resolver.lookup(ref)
    for inner in resource.subresources():
        _look_up_references(inner, resolver.in_subresource(inner))


Place = tuple[str | int, ...]


def _compared(expected: Any, given: _Given | None) -> tuple[float, int]:
    """The share of expected values that are right, and how many values were not expected."""
    wanted = dict(_leaves(expected))
    if given is None:
        return 0.0, 0
    found = dict(_leaves(given.value))
    right = sum(path in found and _same(value, found[path], given.citations) for path, value in wanted.items())
    return right / len(wanted), len(found.keys() - wanted.keys())


def _leaves(value: Any) -> Iterator[tuple[Place, Any]]:
    """Every value that holds no other, with its path; an empty object or array is one."""
    waiting: list[tuple[Place, Any]] = [((), value)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, dict) and value:
            waiting += [((*path, key), inner) for key, inner in value.items()]
        elif isinstance(value, list) and value:
            waiting += [((*path, place), inner) for place, inner in enumerate(value)]
        else:
            yield path, value


def _same(expected: Any, given: Any, citations: int = 0) -> bool:
    """Whether type and content are equal; 1 and 1.0 are, 1 and true and "1" are not."""
    if isinstance(expected, bool) or isinstance(given, bool):
        return expected is given
    if isinstance(expected, int | float) and isinstance(given, int | float):
        if isinstance(expected, int) and isinstance(given, int):
            return expected == given
        try:
            return math.isclose(expected, given, rel_tol=1e-9)
        except OverflowError:  # an integer beyond all floats
            return False
    if isinstance(expected, str) and isinstance(given, str):
        return _plain(expected) in (_plain(given), _plain(answers.without_marks(given, citations)))
    return type(expected) is type(given) and bool(expected == given)


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).split())


# --- style ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Example:
    """A text that is, or is not, in the style."""

    text: str
    in_style: bool


def read_examples(path: Path) -> list[Example]:
    """Examples of a style, one JSON object a line: ``{"text": "Ahoy, matey!", "in_style": true}``.

    Raises:
        DatasetError: the file, or a line of it, cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise DatasetError(f"cannot be read ({error.strerror})", where=str(path), do="check the path") from None
    except UnicodeDecodeError:
        raise DatasetError("no UTF-8 text", where=str(path), do="save it as UTF-8") from None
    examples = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                row = json.loads(line)
                text, in_style = row["text"], row["in_style"]
            except (ValueError, KeyError, TypeError):
                text = in_style = None
            if not isinstance(text, str) or not isinstance(in_style, bool):
                do = 'write {"text": "…", "in_style": true or false}'
                raise DatasetError("not an example of a style", where=f"{path}:{number}", do=do)
            examples.append(Example(text, in_style))
    return examples


@dataclass(frozen=True, slots=True)
class StyleClassifier:
    """Tells one style from all others by the characters that it is written with; made by ``train``.

    TF-IDF of one to four neighbouring characters, case kept, and a logistic regression with both classes of equal
    weight. ``auroc`` and ``accuracy`` (both classes weighing the same) are cross-validated, ``counts`` tells the
    examples of each class, ``seen`` the fingerprints of their texts; ``where`` they came from, and their ``hash``. It
    knows nothing of what a text says: where examples in style speak of other things than those out of style, it learns
    the subject.
    """

    auroc: float
    accuracy: float
    counts: Mapping[str, int]
    where: str
    hash: str
    seen: frozenset[str] = field(repr=False)
    _model: Any = field(repr=False)

    @classmethod
    def train(cls, examples: Sequence[Example], *, where: str = "the examples", seed: int = 0) -> StyleClassifier:
        """Learn a style from examples; those with the same text (but for case and blanks) count once.

        Raises:
            DatasetError: there are fewer than ``LEAST_EXAMPLES`` of a class, a text is in both, or a classifier
                trained on some does not tell the others apart (``LEAST_AUROC``).
        """
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.metrics import balanced_accuracy_score, roc_auc_score
        from sklearn.model_selection import StratifiedKFold, cross_val_predict
        from sklearn.pipeline import make_pipeline

        distinct: dict[str, Example] = {}
        for example in examples:
            if not example.text.strip():
                continue
            if distinct.setdefault(_fingerprint(example.text), example).in_style != example.in_style:
                beginning = " ".join(example.text.split())[:40]
                raise DatasetError(f"“{beginning}” is in style and out of it", where=where, do="decide which")
        texts = [example.text for example in distinct.values()]
        labels = [int(example.in_style) for example in distinct.values()]
        counts = {"in_style": sum(labels), "out_of_style": len(labels) - sum(labels)}
        if min(counts.values()) < LEAST_EXAMPLES:
            what = f"{counts['in_style']} different texts in style and {counts['out_of_style']} out of it are too few"
            raise DatasetError(what, where=where, do=f"give {LEAST_EXAMPLES} of each, better 100")
        model = make_pipeline(
            TfidfVectorizer(analyzer="char", ngram_range=(1, 4), lowercase=False, sublinear_tf=True),
            LogisticRegression(C=10, class_weight="balanced", max_iter=1000),
        )
        folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
        held_out = cross_val_predict(model, texts, labels, cv=folds, method="predict_proba")[:, 1]
        auroc = float(roc_auc_score(labels, held_out))
        if auroc < LEAST_AUROC:
            raise DatasetError(
                f"the examples do not define a style: trained on four fifths of them, a classifier tells the others "
                f"apart with AUROC {auroc:.2f}, and {LEAST_AUROC} is needed",
                where=where,
                do="give more, and clearer, examples of both",
            )
        accuracy = float(balanced_accuracy_score(labels, held_out > 0.5))
        told = sorted((fingerprint, example.in_style) for fingerprint, example in distinct.items())
        hash = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:12]
        return cls(auroc, accuracy, counts, where, hash, frozenset(distinct), model.fit(texts, labels))

    def probabilities(self, texts: Sequence[str]) -> list[float]:
        """How likely each text is in style."""
        return [float(p) for p in self._model.predict_proba(texts)[:, 1]] if texts else []


def _fingerprint(text: str) -> str:
    return hashlib.sha256(_plain(text).casefold().encode("utf-8", "surrogatepass")).hexdigest()
