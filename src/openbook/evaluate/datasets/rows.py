"""A row of a data set: what its columns are called, and the question that it tells.

What cannot be understood is told in one line with its file and line; a column that nothing reads is noted, so that a
misspelt one is not silent.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from openbook.errors import DatasetError
from openbook.evaluate.datasets.dataset import Evidence, Question
from openbook.types import Metadata, Scalar

Row = Mapping[str, Any]

# The names of columns, the first that a row has counts; case, spaces and hyphens do not.
ID = ("_id", "id", "query_id", "question_id", "qid")
TEXT = ("question", "query", "user_input", "text", "input")
REFERENCES = ("reference", "reference_answer", "expected", "expected_answer", "expected_output")
ANSWERS = ("answers", "answer", "ground_truths", "ground_truth", *REFERENCES)
EVIDENCE = ("evidence", "reference_contexts", "quotes", "quote", "contexts", "context", "references", "spans")
SOURCE = ("source", "sources", "document", "doc_id", "document_id", "corpus_id", "contract", "url", "file", "path")
JUDGEMENTS = ("judgements", "judgments", "qrels")
UNANSWERABLE = ("unanswerable", "is_impossible")

PASSAGE = ("text", "content", "quote", "context", "passage", "evidence")
START = ("start", "start_index", "answer_start")
END = ("end", "end_index", "answer_end")

REST = ("split", "schema", "metadata", "answerable", *UNANSWERABLE)

RESPONSES = ("response", "retrieved_contexts", "retrieved_context_ids")
"""Columns of ragas that tell what a system said and found: nothing that is known of the question."""

TRAIN, DEV, TEST = ("train", "training"), ("dev", "development", "validation", "valid", "val"), ("test",)
SPLIT_NAMES = {name: names[0] for names in (TRAIN, DEV, TEST) for name in names}

KNOWN = (*TEXT, *ID, *ANSWERS, *EVIDENCE, *SOURCE, *JUDGEMENTS, *REST, *RESPONSES)
"""Every column that means something."""

LIKE = 0.83
"""Least likeness (difflib's ratio) of a misspelt name to the one meant: "anwser" has .833, "context_id" .824."""

LONGEST_SLICE = 100
"""Characters: a longer text in a column of its own is content, and no field to cut a report by."""


def named(column: str) -> str:
    """The name of a column as it is compared.

    >>> named("Expected Output")
    'expected_output'
    """
    return re.sub(r"[\s\-]+", "_", column.strip().lower())


def unread(columns: Iterable[str]) -> dict[str, str | None]:
    """Of the columns, by ``named``, those that mean nothing here, each with the known one that it resembles.

    >>> unread(["question", "anwsers", "team"])
    {'anwsers': 'answers', 'team': None}
    """
    others = dict.fromkeys(name for name in columns if name not in KNOWN)
    long = [name for name in KNOWN if len(name) > 4]  # of a shorter one, every other word is a misspelling
    return {name: next(iter(difflib.get_close_matches(name, long, n=1, cutoff=LIKE)), None) for name in others}


# --- the question of a row --------------------------------------------------------------------------------------------


MADE = "q-"
"""How the id begins that a question without one is given."""


NAME_THE_QUESTION = f"name one of them {', '.join(TEXT[:-1])} or {TEXT[-1]}"


def nothing_asked(columns: Iterable[str]) -> str:
    """What to say of a row or table without a column of questions."""
    shown = [name if len(name) <= 40 else f"{name[:39]}…" for name in columns]
    more = f" and {len(shown) - 20} more" if len(shown) > 20 else ""
    return f"no question among its columns ({', '.join(shown[:20]) or 'none'}{more})"


def question_of(row: Row, where: str) -> Question:
    """A row of any of the kinds that have a column a thing."""
    there = [name for name in TEXT if name in row]
    if not there:
        raise DatasetError(nothing_asked(row), where=where, do=NAME_THE_QUESTION)
    key = next((name for name in there if row[name]), there[0])
    text = row[key]
    if not isinstance(text, str) or not text.strip():
        raise DatasetError("a question without text", where=where, do=f"fill its column {key}")
    ignored = {*RESPONSES, *REST}
    if "ground_truth" in row or "ground_truths" in row:  # ragas before 0.2: these are what a system found and said
        ignored |= {"answer", "contexts"}
    names = {
        part: next((name for name in known if name in row and name not in ignored), None)
        for part, known in (("answers", ANSWERS), ("evidence", EVIDENCE), ("judgements", JUDGEMENTS))
    }
    answers = row.get(names["answers"] or "")
    answerable = answerable_of(row, where)
    if isinstance(answers, dict) and isinstance(answers.get("text"), list):  # SQuAD as Hugging Face has it
        answers = answers["text"]
        answerable = bool(answers) if answerable is None else answerable
    evidence, sources = row.get(names["evidence"] or ""), _sources(row, where)
    if answerable is False and names["evidence"] in (None, "context", "contexts"):
        evidence, sources = None, ()  # the context of such a question only looks as if it bore an answer
    others = {name: value for name, value in row.items() if name not in KNOWN and _is_slice(value)}
    return Question(
        id=identifier(row, where) or MADE + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12],
        text=text,
        judgements=_grades(row.get(names["judgements"] or ""), where),
        answers=texts_of(answers, names["answers"] or "answers", where),
        answerable=answerable,
        evidence=evidence_of(evidence, sources, where),
        schema=schema_of(row.get("schema"), where),
        split=split_of(row.get("split"), where),
        metadata={**others, **_metadata(row.get("metadata"), where)},
    )


# --- the parts of a row -----------------------------------------------------------------------------------------------


def as_object(value: Any, where: str) -> Row:
    if not isinstance(value, dict):
        raise DatasetError("not an object", where=where, do='write {"question": "…", …}')
    return value


def identifier(row: Row, where: str) -> str | None:
    name = next((name for name in ID if row.get(name) not in (None, "")), None)
    if name is None:
        return None
    value = row[name]
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise DatasetError(f"{name} is neither a text nor a whole number", where=where, do="mend it")
    return str(value)


def texts_of(value: object, name: str, where: str) -> tuple[str, ...]:
    """One text or several, the blank ones left out."""
    values = value if isinstance(value, list | tuple) else [] if value is None else [value]
    found = []
    for text in values:
        if isinstance(text, bool):
            text = "yes" if text else "no"
        if not isinstance(text, str | int | float):
            raise DatasetError(f"{name}: neither a text nor a list of texts", where=where, do="mend it")
        if str(text).strip():
            found.append(str(text))
    return tuple(found)


def _sources(row: Row, where: str) -> tuple[str, ...]:
    name = next((name for name in SOURCE if name in row), None)
    return () if name is None else texts_of(row[name], name, where)


def evidence_of(value: object, sources: Sequence[str], where: str) -> tuple[Evidence, ...]:
    """Passages with their ``sources``: one for all, or one for each. Without passages, the sources are the evidence."""
    values = value if isinstance(value, list | tuple) else [] if value is None else [value]
    found = [_passage(item, where) for item in values]
    found = [passage for passage in found if passage.text.strip() or passage.source or passage.start is not None]
    if not found:
        return tuple(Evidence(source) for source in sources)
    if len(sources) not in (0, 1, len(found)):
        what = f"{len(sources)} sources for {len(found)} passages of evidence"
        raise DatasetError(what, where=where, do="name one source for all, or one for each")
    one_each = list(sources) if len(sources) == len(found) else [*sources, ""][:1] * len(found)
    return tuple(
        passage if passage.source else replace(passage, source=source)
        for passage, source in zip(found, one_each, strict=True)
    )


def _passage(item: object, where: str) -> Evidence:
    if isinstance(item, str):
        return Evidence("", item)
    if not isinstance(item, dict):
        raise DatasetError("evidence is neither a text nor an object with one", where=where, do="mend it")
    text, source, start, end = (
        next((item[name] for name in names if item.get(name) is not None), None)
        for names in (PASSAGE, SOURCE, START, END)
    )
    if not isinstance(text, str | None) or not isinstance(source, str | int | None):
        raise DatasetError("text and source of evidence must be texts", where=where, do="mend them")
    if start is None and end is None:
        if text is None and source is None:
            raise DatasetError("evidence has neither a text nor a source", where=where, do="give it a text")
        return Evidence("" if source is None else str(source), text or "")
    if end is None and isinstance(start, int) and text:
        end = start + len(text)
    if type(start) is not int or type(end) is not int or not 0 <= start < end:
        raise DatasetError(f"evidence from {start} to {end}", where=where, do="offsets count characters from 0")
    return Evidence("" if source is None else str(source), text or "", start, end)


def truth(value: object, name: str, where: str) -> bool:
    said = str(value).strip().lower()
    if said in ("true", "yes", "1"):
        return True
    if said in ("false", "no", "0"):
        return False
    raise DatasetError(f"{name} is {value!r}", where=where, do="write true or false")


def answerable_of(row: Row, where: str) -> bool | None:
    if row.get("answerable") is not None:
        return truth(row["answerable"], "answerable", where)
    name = next((name for name in UNANSWERABLE if row.get(name) is not None), None)
    return None if name is None else not truth(row[name], name, where)


def split_of(value: object, where: str) -> str | None:
    if value is None:
        return None
    split = SPLIT_NAMES.get(str(value).strip().lower())
    if split is None:
        raise DatasetError(f"unknown split {value!r}", where=where, do="write train, dev or test")
    return split


def schema_of(value: object, where: str) -> Mapping[str, object] | None:
    if isinstance(value, str):
        value = parsed(value, where)
    if value is not None and not isinstance(value, dict):
        raise DatasetError("schema is no JSON schema", where=where, do="write an object")
    return value


def _grades(value: object, where: str) -> dict[str, int]:
    """``{"document": grade}``, or a list of the relevant documents."""
    if isinstance(value, list | tuple | str):
        return dict.fromkeys(texts_of(value, "judgements", where), 1)
    if value is None:
        return {}
    if not isinstance(value, dict) or any(type(grade) is not int for grade in value.values()):
        raise DatasetError("judgements are not documents with whole grades", where=where, do='write {"leave.md": 1}')
    return dict(value)


def _metadata(value: object, where: str) -> Metadata:
    """What is scalar, or a list of scalars, of the metadata; nothing else cuts a report."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise DatasetError("metadata is no object", where=where, do='write {"language": "en"}')
    found: dict[str, Scalar | tuple[Scalar, ...]] = {}
    for key, item in value.items():
        if isinstance(item, Scalar):
            found[key] = item
        elif isinstance(item, list) and all(isinstance(part, Scalar) for part in item):
            found[key] = tuple(item)
    return found


def _is_slice(value: object) -> bool:
    return isinstance(value, Scalar) and len(str(value)) <= LONGEST_SLICE


def parsed(text: str, where: str, first: int | None = None) -> Any:
    """``first``: the number of the text's first line, where it has several."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = where if first is None else f"{where}:{first + error.lineno - 1}"
        what = f"not JSON ({error.msg} at column {error.colno})"
        raise DatasetError(what, where=where, do="mend that place") from None
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"not JSON ({error})", where=where, do="mend that place") from None
