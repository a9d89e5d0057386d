"""Data sets as others write them: BEIR, JSON Lines, CSV, ragas, SQuAD, TREC. What is accepted, with an example of each,
stands in docs/reference/datasets.md.

A format is recognised by what a file holds, never by its name. Whatever cannot be understood is told in one line with
its file and line; nothing is skipped in silence.
"""

from __future__ import annotations

import ast
import csv
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from openbook.errors import DatasetError
from openbook.evaluate.dataset import Dataset, Evidence, Question, dataset
from openbook.evaluate.trec import (
    Qrels,
    Run,
    filled,
    is_qrels,
    is_run,
    numbered,
    place,
    read_qrels,
    read_run,
    topics,
    write,
    write_qrels,
    write_run,
)
from openbook.types import Metadata, Scalar

__all__ = ["Run", "read", "read_qrels", "read_run", "write_jsonl", "write_qrels", "write_run"]

Row = Mapping[str, Any]

KINDS = "a BEIR folder (queries.jsonl, qrels/test.tsv), JSONL, CSV, SQuAD JSON, or TREC topics with qrels"

# The names of columns, the first that a row has counts; case, spaces and hyphens do not.
ID = ("_id", "id", "query_id", "question_id", "qid")
TEXT = ("question", "query", "user_input", "text", "input")
REFERENCES = ("reference", "reference_answer", "expected", "expected_answer", "expected_output")
ANSWERS = ("answers", "answer", "ground_truths", "ground_truth", *REFERENCES)
EVIDENCE = ("evidence", "reference_contexts", "quotes", "quote", "contexts", "context", "references", "spans")
SOURCE = ("source", "sources", "document", "doc_id", "document_id", "corpus_id", "contract", "url", "file", "path")
JUDGEMENTS = ("judgements", "qrels")
UNANSWERABLE = ("unanswerable", "is_impossible")

PASSAGE = ("text", "content", "quote", "context", "passage", "evidence")
START = ("start", "start_index", "answer_start")
END = ("end", "end_index", "answer_end")

RESPONSES = ("response", "retrieved_contexts", "retrieved_context_ids")
"""Columns of ragas that tell what a system said and found: nothing that is known of the question."""

TRAIN, DEV, TEST = ("train", "training"), ("dev", "development", "validation", "valid", "val"), ("test",)
SPLIT_NAMES = {name: names[0] for names in (TRAIN, DEV, TEST) for name in names}

LONGEST_SLICE = 100
"""Characters: a longer text in a column of its own is content, and no field to cut a report by."""


def read(path: str | Path, *, qrels: str | Path | None = None, questions: str | Path | None = None) -> Dataset:
    """The data set at ``path``: a BEIR folder, or a file of any kind that docs/reference/datasets.md tells of.

    ``qrels`` adds judgements to a file of questions; of a BEIR folder it names those to read (``"test"`` or a path)
    instead of all. ``questions`` tells the questions of a ``path`` that holds qrels only.

    With qrels, the questions that they judge come first, in the order of their file, then those of which only answers
    are known, or that there is none; so a limit of N takes the first N judged ones. Qrels that come as ``train.tsv``,
    ``dev.tsv`` and ``test.tsv`` say the split; without a ``dev.tsv``, test questions are split by their ids.

    Raises:
        DatasetError: a file is missing, of no known kind, or says something that cannot be understood.
    """
    path = Path(path)
    if path.is_dir():
        return _beir(path, qrels, None if questions is None else Path(questions))
    kind = _kind(path)
    if kind == "run":
        raise DatasetError("a run, which answers questions", where=str(path), do="name the questions and their qrels")
    if kind == "qrels":
        if questions is None:
            raise DatasetError("qrels without their questions", where=str(path), do="name the file of the questions")
        path, qrels = Path(questions), path
    elif questions is not None:
        raise DatasetError("two files of questions", where=str(questions), do="name it alone, or with qrels")
    elif qrels is None and kind in ("queries", "topics"):
        raise DatasetError("questions of which nothing is known", where=str(path), do="name their qrels")
    asked = _questions(path)
    if qrels is not None:
        asked = _judged(asked, [(None, Path(qrels), read_qrels(Path(qrels)))], str(path))
    return _dataset(_stem(path), asked, path)


def _dataset(name: str, questions: Mapping[str, Question], path: Path, corpus: Path | None = None) -> Dataset:
    if not questions:
        raise DatasetError("no question in it of which anything is known", where=str(path), do=f"give {KINDS}")
    return dataset(name, questions.values(), corpus)


# --- which format -----------------------------------------------------------------------------------------------------


def _json(text: str, where: str, first: int | None = None) -> Any:
    """``first``: the number of the text's first line, where it has several."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = where if first is None else f"{where}:{first + error.lineno - 1}"
        what = f"not JSON ({error.msg} at column {error.colno})"
        raise DatasetError(what, where=where, do="mend that place") from None
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"not JSON ({error})", where=where, do="mend that place") from None


def _stem(path: Path) -> str:
    """The name of a file without what tells its format."""
    return re.sub(r"(\.(jsonl?|ndjson|csv|tsv|txt|xml|qrels|gz))+$", "", path.resolve().name, flags=re.IGNORECASE)


def _kind(path: Path) -> str:
    """``json``, ``topics``, ``table``, ``queries`` (id, tab, text), ``qrels`` or ``run``, by the first filled line."""
    where, first = next(filled(path), ("", ""))
    start = first.lstrip()[:1]
    if start and start in "{[":
        return "json"
    if start == "<":
        return "topics"
    if _delimiter(first) is not None:
        return "table"
    if first.count("\t") == 1:
        return "queries"
    if is_qrels(first):
        return "qrels"
    if is_run(first):
        return "run"
    raise DatasetError("empty" if not where else "no data set of a known kind", where=str(path), do=f"give {KINDS}")


def _name(column: str) -> str:
    return re.sub(r"[\s\-]+", "_", column.strip().lower())


def _delimiter(header: str) -> str | None:
    """What cuts a table's header into the most columns, one of which is that of the questions."""
    best = None
    most = 0
    for delimiter in ",\t;|":
        columns = {_name(column) for column in next(csv.reader([header], delimiter=delimiter), [])}
        if len(columns) > most and not columns.isdisjoint(TEXT):
            best, most = delimiter, len(columns)
    return best


def _questions(path: Path) -> dict[str, Question]:
    """The questions of a file, by id."""
    kind = _kind(path)
    if kind == "queries":
        read = _query_table(path)
    elif kind == "topics":
        read = ((where, _question({"id": id, "question": title}, where)) for where, id, title in topics(path))
    elif kind == "table":
        read = _rows(_table(path))
    elif kind == "json":
        read = _json_questions(path)
    else:
        raise DatasetError(f"a file of {kind}, not of questions", where=str(path), do="name the file of the questions")
    questions: dict[str, Question] = {}
    places: dict[str, str] = {}
    for where, question in read:
        if question.id in questions:
            given = "give each its own" if not question.id.startswith(_MADE) else "drop one, or give each an id"
            same = f"two questions have the id {question.id!r} (the first: {place(places[question.id], path)})"
            raise DatasetError(same, where=where, do=given)
        questions[question.id] = question
        places[question.id] = where
    return questions


# --- BEIR -------------------------------------------------------------------------------------------------------------


def _beir(folder: Path, qrels: str | Path | None, questions: Path | None) -> Dataset:
    """``queries.jsonl``, ``qrels/*.tsv`` and, where they are, ``answers.jsonl`` and ``corpus.jsonl``."""
    path = questions or folder / "queries.jsonl"
    if not path.is_file():
        raise DatasetError(f"holds no {path.name}", where=str(folder), do=f"give {KINDS}")
    # Of a query, what it says besides its text cuts the report; what is known of it stands in the other files.
    asked = {id: Question(id, q.text, metadata=q.metadata) for id, q in _questions(path).items()}
    corpus = folder / "corpus.jsonl" if (folder / "corpus.jsonl").is_file() else None
    answers = folder / "answers.jsonl"
    if answers.is_file():
        asked = _answered(asked, answers, corpus)
    elif corpus is not None:
        _corpus_texts(corpus, set())
    files = _qrels_files(folder)
    if not files and not answers.is_file() and qrels is None:
        raise DatasetError("holds neither qrels nor answers", where=str(folder), do="add qrels/test.tsv")
    judgements = [(split, file, read_qrels(file)) for split, file in files]
    # What answers.jsonl says of splits counts where no qrels say it. As there, "test" says nothing without a "dev".
    elsewhere = {id for _, _, judged in judgements for id in judged}
    said = {id: question.split for id, question in asked.items() if id not in elsewhere}
    has_dev = "dev" in said.values() or any(split == "dev" for split, _, _ in judgements)
    for id, question in asked.items():
        split = said.get(id)
        asked[id] = replace(question, split=None if split == "test" and not has_dev else split)
    if qrels is not None:
        named = _named_qrels(folder, qrels)
        judgements = [(None, named, read_qrels(named))]
        asked = {id: question for id, question in asked.items() if id not in elsewhere or id in judgements[0][2]}
    return _dataset(folder.resolve().name, _judged(asked, judgements, str(folder)), folder, corpus)


def _qrels_files(folder: Path) -> list[tuple[str | None, Path]]:
    """(split, file) of the qrels that a folder has."""
    files = sorted((folder / "qrels").glob("*.tsv"))
    splits = [SPLIT_NAMES.get(path.stem.lower()) for path in files]
    return [
        (None if split == "test" and "dev" not in splits else split, file)
        for split, file in zip(splits, files, strict=True)
    ]


def _named_qrels(folder: Path, name: str | Path) -> Path:
    for path in (folder / "qrels" / f"{name}.tsv", Path(name)):
        if path.is_file():
            return path
    there = ", ".join(sorted(path.stem for path in (folder / "qrels").glob("*.tsv"))) or "none"
    raise DatasetError(f"holds no qrels/{name}.tsv", where=str(folder), do=f"choose of those there: {there}")


def _judged(
    questions: Mapping[str, Question], qrels: Sequence[tuple[str | None, Path, Qrels]], where: str
) -> dict[str, Question]:
    """The questions with their judgements: judged ones first, then those of which something else is known."""
    judgements: Qrels = {}
    splits: dict[str, tuple[str | None, Path]] = {}
    for split, path, judged in qrels:
        for id, grades in judged.items():
            known_split, other = splits.setdefault(id, (split, path))
            if known_split != split:
                what = f"question {id!r} is judged in {other.name} and in {path.name}"
                raise DatasetError(what, where=where, do="a question belongs to one split: remove it from one")
            judgements.setdefault(id, {}).update(grades)
    missing = judgements.keys() - questions.keys()
    if missing:
        count = "1 judged question is" if len(missing) == 1 else f"{len(missing)} judged questions are"
        raise DatasetError(f"{count} not among the questions", where=where, do=f"add {min(missing)}, or drop its qrels")
    first: dict[str, Question] = {}
    rest: dict[str, Question] = {}
    for id, question in questions.items():
        split = splits[id][0] if id in splits else None
        grades = {**question.judgements, **judgements.get(id, {})}
        question = replace(question, split=split or question.split, judgements=grades)
        if grades:
            first[id] = question
        elif question.answers or question.evidence or question.answerable is not None:
            rest[id] = question
    return {**first, **rest}


def _answered(questions: Mapping[str, Question], path: Path, corpus: Path | None) -> dict[str, Question]:
    """The questions with what ``answers.jsonl`` knows of them."""
    rows: dict[str, tuple[str, Row]] = {}
    for where, line in filled(path):
        row = _object(_json(line, where), where)
        id = _identifier(row, where)
        if id is None:
            raise DatasetError("an answer without query_id", where=where, do="name its question")
        if id not in questions:
            raise DatasetError(f"no question has the id {id!r}", where=where, do="add it to queries.jsonl")
        if id in rows:
            raise DatasetError(
                f"a second answer to {id!r} (the first: {place(rows[id][0], path)})", where=where, do="keep one"
            )
        rows[id] = where, row
    spans = {id: _evidence(row.get("spans"), (), where) for id, (where, row) in rows.items()}
    texts = _corpus_texts(corpus, {s.source for of in spans.values() for s in of}) if corpus is not None else {}
    found = dict(questions)
    for id, (where, row) in rows.items():
        answers = _texts(row.get("answers", row.get("answer")), "answers", where)
        found[id] = replace(
            questions[id],
            answers=answers,
            answerable=_answerable(row, where),
            evidence=(*_evidence(row.get("evidence"), (), where), *_filled_in(spans[id], answers, texts)),
            schema=_schema(row.get("schema"), where),
            split=_split(row.get("split"), where),
        )
    return found


def _filled_in(spans: Sequence[Evidence], answers: Sequence[str], texts: Mapping[str, str]) -> tuple[Evidence, ...]:
    """``spans`` are offsets; what stands there is told by the corpus, else by the answers where there are as many."""
    found = []
    for number, span in enumerate(spans):
        text = span.text or texts.get(span.source, "")[span.start : span.end]
        if not text and len(answers) == len(spans):
            text = answers[number]
        found.append(replace(span, text=text))
    return tuple(found)


_CORPUS_ID = re.compile(r'\s*\{\s*"_id"\s*:\s*("[^"\\]*")')


def _corpus_texts(corpus: Path, wanted: set[str]) -> dict[str, str]:
    """The texts of the ``wanted`` documents. A line that cannot be read is told when the corpus is indexed.

    Raises:
        DatasetError: two documents share an id: one of them would be found and judged as the other.
    """
    texts: dict[str, str] = {}
    lines: dict[str, int] = {}
    for number, line in numbered(corpus):
        match = _CORPUS_ID.match(line)  # a corpus may be large, and few texts are wanted
        id = json.loads(match[1]) if match else None
        if id is None or id in wanted:
            try:
                row = json.loads(line)
                id, text = str(row["_id"]), row["text"]
            except (ValueError, KeyError, TypeError, RecursionError):
                continue
            if id in wanted and isinstance(text, str):
                texts[id] = text
        if id in lines:
            what = f"two documents have the id {id!r} (the first: line {lines[id]})"
            raise DatasetError(what, where=f"{corpus}:{number}", do="give each its own, or remove one")
        lines[id] = number
    return texts


# --- JSON and tables: a row a question --------------------------------------------------------------------------------


def _json_questions(path: Path) -> Iterator[tuple[str, Question]]:
    """JSON Lines; else one JSON text: SQuAD, a list of rows, columns of equal length, or a single row."""
    lines = [line for _, line in zip(range(2), filled(path), strict=False)]
    try:
        several = len(lines) == 2 and isinstance(json.loads(lines[0][1]), dict)
    except (ValueError, RecursionError):
        several = False
    if several:
        yield from _rows((where, _object(_json(line, where), where)) for where, line in filled(path))
        return
    content = _json("".join(line for _, line in numbered(path)), str(path), 1)
    if isinstance(content, dict) and _is_squad(content):
        yield from _squad(content, path)
        return
    if isinstance(content, dict):
        listed = [content[name] for name in ("data", "questions", "samples", "examples") if name in content]
        if not listed and not (columns := _columns(content)):
            yield from _rows([(f"{path}:1", content)])
            return
        content = listed[0] if listed else columns
    if not isinstance(content, list):
        raise DatasetError("neither questions nor SQuAD", where=str(path), do="give a list of objects with a question")
    yield from _rows((f"{path}, row {n}", _object(row, f"{path}, row {n}")) for n, row in enumerate(content, 1))


def _columns(content: Any) -> list[Row] | None:
    """``{"question": […], "answer": […]}`` as rows; ``None`` for anything else."""
    if not isinstance(content, dict) or not any(isinstance(content.get(name), list) for name in TEXT):
        return None
    if not all(isinstance(v, list) for v in content.values()) or len({len(v) for v in content.values()}) > 1:
        return None
    return [dict(zip(content, values, strict=True)) for values in zip(*content.values(), strict=True)]


def _table(path: Path) -> Iterator[tuple[str, Row]]:
    """The rows of a CSV or TSV file; a cell may hold a JSON list. Empty cells say nothing."""
    csv.field_size_limit(1 << 30)
    _, first = next(filled(path))
    reader = csv.reader((line for _, line in numbered(path)), delimiter=_delimiter(first) or ",", strict=True)
    header: list[str] = []
    start = 1
    try:
        for cells in reader:
            where, start = f"{path}:{start}", reader.line_num + 1
            if not any(cell.strip() for cell in cells):
                continue
            if not header:
                header = [_name(cell) for cell in cells]
                twice = [name for name in header if name and header.count(name) > 1]
                if twice:
                    raise DatasetError(f"two columns named {twice[0]}", where=where, do="rename one")
                continue
            if len(cells) > len(header):
                what = f"{len(cells)} cells under {len(header)} columns"
                raise DatasetError(what, where=where, do="put cells that hold the delimiter in quotes")
            row = {name: cell for name, cell in zip(header, cells, strict=False) if name and cell.strip()}
            yield where, {name: _cell(name, cell) for name, cell in row.items()}
    except csv.Error as error:
        where = f"{path}:{reader.line_num}"
        raise DatasetError(f"not a table ({error})", where=where, do="mend its quotes") from None


def _cell(name: str, cell: str) -> Any:
    """The list or object in a cell that may hold one: as JSON, or as Python writes it (pandas, ragas)."""
    if name not in (*ANSWERS, *EVIDENCE, *SOURCE, *JUDGEMENTS, "metadata", "schema") or cell.strip()[0] not in "[{":
        return cell
    for parse in (json.loads, ast.literal_eval):
        try:
            value = parse(cell.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        return value if isinstance(value, list | dict) else cell
    return cell


def _rows(rows: Iterable[tuple[str, Row]]) -> Iterator[tuple[str, Question]]:
    for where, row in rows:
        # pandas writes what is missing as null or NaN
        yield where, _question({_name(k): v for k, v in row.items() if v is not None and v == v}, where)


_MADE = "q-"


def _question(row: Row, where: str) -> Question:
    """A row of any of the kinds that have a column a thing."""
    key = next((name for name in TEXT if name in row), None)
    text = row.get(key or "")
    if not isinstance(text, str) or not text.strip():
        raise DatasetError("a question without text", where=where, do=f"fill its column {key or 'question'}")
    ignored = {*RESPONSES, "split", "schema", "metadata", "answerable", *UNANSWERABLE}
    if "ground_truth" in row or "ground_truths" in row:  # ragas before 0.2: these are what a system found and said
        ignored |= {"answer", "contexts"}
    names = {
        part: next((name for name in known if name in row and name not in ignored), None)
        for part, known in (("answers", ANSWERS), ("evidence", EVIDENCE), ("judgements", JUDGEMENTS))
    }
    answers = row.get(names["answers"] or "")
    answerable = _answerable(row, where)
    if isinstance(answers, dict) and isinstance(answers.get("text"), list):  # SQuAD as Hugging Face has it
        answers = answers["text"]
        answerable = bool(answers) if answerable is None else answerable
    evidence, sources = row.get(names["evidence"] or ""), _sources(row, where)
    if answerable is False and names["evidence"] in (None, "context", "contexts"):
        evidence, sources = None, ()  # the context of such a question only looks as if it bore an answer
    used = {*ID, *TEXT, *ANSWERS, *EVIDENCE, *SOURCE, *JUDGEMENTS, *ignored}
    others = {name: value for name, value in row.items() if name not in used and _is_slice(value)}
    return Question(
        id=_identifier(row, where) or _MADE + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12],
        text=text,
        judgements=_grades(row.get(names["judgements"] or ""), where),
        answers=_texts(answers, names["answers"] or "answers", where),
        answerable=answerable,
        evidence=_evidence(evidence, sources, where),
        schema=_schema(row.get("schema"), where),
        split=_split(row.get("split"), where),
        metadata={**others, **_metadata(row.get("metadata"), where)},
    )


# --- the parts of a row -----------------------------------------------------------------------------------------------


def _object(value: Any, where: str) -> Row:
    if not isinstance(value, dict):
        raise DatasetError("not an object", where=where, do='write {"question": "…", …}')
    return value


def _identifier(row: Row, where: str) -> str | None:
    name = next((name for name in ID if row.get(name) not in (None, "")), None)
    if name is None:
        return None
    value = row[name]
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise DatasetError(f"{name} is neither a text nor a whole number", where=where, do="mend it")
    return str(value)


def _texts(value: object, name: str, where: str) -> tuple[str, ...]:
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
    return () if name is None else _texts(row[name], name, where)


def _evidence(value: object, sources: Sequence[str], where: str) -> tuple[Evidence, ...]:
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


def _truth(value: object, name: str, where: str) -> bool:
    said = str(value).strip().lower()
    if said in ("true", "yes", "1"):
        return True
    if said in ("false", "no", "0"):
        return False
    raise DatasetError(f"{name} is {value!r}", where=where, do="write true or false")


def _answerable(row: Row, where: str) -> bool | None:
    if row.get("answerable") is not None:
        return _truth(row["answerable"], "answerable", where)
    name = next((name for name in UNANSWERABLE if row.get(name) is not None), None)
    return None if name is None else not _truth(row[name], name, where)


def _split(value: object, where: str) -> str | None:
    if value is None:
        return None
    split = SPLIT_NAMES.get(str(value).strip().lower())
    if split is None:
        raise DatasetError(f"unknown split {value!r}", where=where, do="write train, dev or test")
    return split


def _schema(value: object, where: str) -> Mapping[str, object] | None:
    if isinstance(value, str):
        value = _json(value, where)
    if value is not None and not isinstance(value, dict):
        raise DatasetError("schema is no JSON schema", where=where, do="write an object")
    return value


def _grades(value: object, where: str) -> dict[str, int]:
    """``{"document": grade}``, or a list of the relevant documents."""
    if isinstance(value, list | tuple | str):
        return dict.fromkeys(_texts(value, "judgements", where), 1)
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


# --- SQuAD ------------------------------------------------------------------------------------------------------------


def _is_squad(content: Row) -> bool:
    data = content.get("data")
    return isinstance(data, list) and any(isinstance(article, dict) and "paragraphs" in article for article in data)


def _squad(content: Row, path: Path) -> Iterator[tuple[str, Question]]:
    """SQuAD 1.1 and 2.0 (Rajpurkar et al., 2016, 2018). Evidence is the sentences that hold an annotated answer: an
    answer alone ("1754") stands in too many places to be looked for."""
    for number, article in enumerate(content["data"], 1):
        try:
            title = str(article.get("title") or "")
            for paragraph in article["paragraphs"]:
                for row in paragraph["qas"]:
                    where = f"{path}, question {row.get('id')}"
                    yield where, _squad_question(row, str(paragraph["context"]), title, where)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            where = f"{path}, article {number}"
            what = f"not as SQuAD has it ({type(error).__name__}: {error})"
            raise DatasetError(what, where=where, do="give paragraphs with context and qas") from None


def _squad_question(row: Row, context: str, title: str, where: str) -> Question:
    from openbook.sentences import sentences

    impossible = row.get("is_impossible")
    answers = [] if impossible else [(str(a["text"]), int(a["answer_start"])) for a in row["answers"]]
    evidence: dict[tuple[int, int], Evidence] = {}
    units = sentences(context) if answers else []
    for text, start in answers:
        if context[start : start + len(text)] != text:
            what = f"the answer {text[:40]!r} does not stand at {start}"
            raise DatasetError(what, where=where, do="mend its answer_start")
        around = [unit for unit in units if unit[0] < start + len(text) and start < unit[1]]
        span = (around[0][0], around[-1][1]) if around else (start, start + len(text))
        evidence[span] = Evidence(title, context[span[0] : span[1]], *span)
    base = _question({"id": row["id"], "question": row["question"]}, where)
    return replace(
        base,
        answers=tuple(dict.fromkeys(text for text, _ in answers if text.strip())),
        answerable=None if impossible is None else not _truth(impossible, "is_impossible", where),
        evidence=tuple(evidence.values()),
        metadata={"title": title} if title else {},
    )


# --- writing ----------------------------------------------------------------------------------------------------------


def _query_table(path: Path) -> Iterator[tuple[str, Question]]:
    """``id``, a tab, the text of the question."""
    for where, line in filled(path):
        id, tab, text = line.partition("\t")
        if not tab or not id.strip():
            raise DatasetError("not a question's id, a tab and its text", where=where, do="mend that line")
        yield where, _question({"id": id.strip(), "question": text.strip()}, where)


def write_jsonl(dataset: Dataset, path: Path) -> None:
    """The questions, a line each, with all that is known of them: ``read`` gives them back as they are.

    Raises:
        DatasetError: the file cannot be written.
    """
    write(path, [_line(question) for question in dataset.questions.values()])


def _line(question: Question) -> str:
    row: dict[str, object] = {"id": question.id, "question": question.text}
    if question.answers:
        row["answers"] = question.answers
    if question.answerable is not None:
        row["answerable"] = question.answerable
    if question.evidence:
        row["evidence"] = [
            {key: value for key, value in asdict(evidence).items() if value not in (None, "")}
            for evidence in question.evidence
        ]
    if question.judgements:
        row["judgements"] = dict(question.judgements)
    if question.schema is not None:
        row["schema"] = question.schema
    if question.split is not None:
        row["split"] = question.split
    if question.metadata:
        row["metadata"] = dict(question.metadata)
    line = json.dumps(row, ensure_ascii=False)
    return json.dumps(row) if _SURROGATE.search(line) else line  # UTF-8 has no lone surrogates


_SURROGATE = re.compile("[\ud800-\udfff]")
