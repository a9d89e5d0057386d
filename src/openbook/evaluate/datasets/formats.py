"""Data sets as others write them: BEIR, JSON Lines, CSV, ragas, SQuAD, TREC. What is accepted, with an example of each,
stands in docs/reference/datasets.md.

A format is recognised by what a file holds, never by its name. Whatever cannot be understood is told in one line with
its file and line; nothing is skipped in silence.
"""

from __future__ import annotations

import ast
import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from openbook.errors import DatasetError
from openbook.evaluate.datasets.dataset import Dataset, Evidence, Question, dataset
from openbook.evaluate.datasets.rows import (
    ANSWERS,
    EVIDENCE,
    JUDGEMENTS,
    MADE,
    NAME_THE_QUESTION,
    SOURCE,
    SPLIT_NAMES,
    TEXT,
    Row,
    answerable_of,
    as_object,
    evidence_of,
    identifier,
    named,
    nothing_asked,
    parsed,
    question_of,
    schema_of,
    split_of,
    texts_of,
    truth,
    unread,
)
from openbook.evaluate.datasets.trec import (
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

__all__ = ["Run", "read", "read_qrels", "read_run", "write_jsonl", "write_qrels", "write_run"]

KINDS = "a BEIR folder (queries.jsonl, qrels/test.tsv), JSONL, CSV, SQuAD JSON, or TREC topics with qrels"


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
        do = "name their qrels, or the columns in the first line: question, answers, evidence, …"
        raise DatasetError("questions of which nothing is known", where=str(path), do=do)
    columns: dict[str, None] = {}
    asked = _questions(path, columns)
    if qrels is not None:
        asked = _judged(asked, [(None, Path(qrels), read_qrels(Path(qrels)))], str(path))
    return _dataset(_stem(path), asked, path, columns)


def _dataset(
    name: str, questions: Mapping[str, Question], path: Path, columns: Iterable[str], corpus: Path | None = None
) -> Dataset:
    if not questions:
        raise DatasetError("no question in it of which anything is known", where=str(path), do=f"give {KINDS}")
    return dataset(name, questions.values(), corpus, unread(columns))


# --- which format -----------------------------------------------------------------------------------------------------


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
    columns = widest(first)
    if len(columns) > 1:
        raise DatasetError(nothing_asked(columns), where=where, do=NAME_THE_QUESTION)
    raise DatasetError("empty" if not where else "no data set of a known kind", where=str(path), do=f"give {KINDS}")


DELIMITERS = ",\t;|"


def columns_of(header: str, delimiter: str) -> list[str]:
    csv.field_size_limit(1 << 30)
    return [named(column) for column in next(csv.reader([header], delimiter=delimiter), [])]


def widest(header: str) -> list[str]:
    """The columns of a table's header, by what cuts it into the most."""
    return max((columns_of(header, delimiter) for delimiter in DELIMITERS), key=len)


def _delimiter(header: str) -> str | None:
    """What cuts a table's header into the most columns, one of which is that of the questions."""
    best = None
    most = 0
    for delimiter in DELIMITERS:
        columns = set(columns_of(header, delimiter))
        if len(columns) > most and not columns.isdisjoint(TEXT):
            best, most = delimiter, len(columns)
    return best


def _questions(path: Path, columns: dict[str, None]) -> dict[str, Question]:
    """The questions of a file, by id; the names of its columns are added to ``columns``."""
    kind = _kind(path)
    if kind == "queries":
        read = _query_table(path)
    elif kind == "topics":
        read = ((where, question_of({"id": id, "question": title}, where)) for where, id, title in topics(path))
    elif kind == "table":
        read = _rows(_table(path), columns)
    elif kind == "json":
        read = _json_questions(path, columns)
    else:
        raise DatasetError(f"a file of {kind}, not of questions", where=str(path), do="name the file of the questions")
    questions: dict[str, Question] = {}
    places: dict[str, str] = {}
    for where, question in read:
        if question.id in questions:
            given = "give each its own" if not question.id.startswith(MADE) else "drop one, or give each an id"
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
    columns: dict[str, None] = {}
    asked = {id: Question(id, q.text, metadata=q.metadata) for id, q in _questions(path, columns).items()}
    corpus = folder / "corpus.jsonl" if (folder / "corpus.jsonl").is_file() else None
    answers = folder / "answers.jsonl"
    if answers.is_file():
        asked = _answered(asked, answers, corpus, columns)
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
        chosen = _named_qrels(folder, qrels)
        judgements = [(None, chosen, read_qrels(chosen))]
        asked = {id: question for id, question in asked.items() if id not in elsewhere or id in judgements[0][2]}
    return _dataset(folder.resolve().name, _judged(asked, judgements, str(folder)), folder, columns, corpus)


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


def _answered(
    questions: Mapping[str, Question], path: Path, corpus: Path | None, columns: dict[str, None]
) -> dict[str, Question]:
    """The questions with what ``answers.jsonl`` knows of them; the names of its columns are added to ``columns``."""
    rows: dict[str, tuple[str, Row]] = {}
    for where, line in filled(path):
        row = as_object(parsed(line, where), where)
        columns.update(dict.fromkeys(row))
        id = identifier(row, where)
        if id is None:
            raise DatasetError("an answer without query_id", where=where, do="name its question")
        if id not in questions:
            raise DatasetError(f"no question has the id {id!r}", where=where, do="add it to queries.jsonl")
        if id in rows:
            raise DatasetError(
                f"a second answer to {id!r} (the first: {place(rows[id][0], path)})", where=where, do="keep one"
            )
        rows[id] = where, row
    spans = {id: evidence_of(row.get("spans"), (), where) for id, (where, row) in rows.items()}
    texts = _corpus_texts(corpus, {s.source for of in spans.values() for s in of}) if corpus is not None else {}
    found = dict(questions)
    for id, (where, row) in rows.items():
        answers = texts_of(next((row[name] for name in ANSWERS if name in row), None), "answers", where)
        found[id] = replace(
            questions[id],
            answers=answers,
            answerable=answerable_of(row, where),
            evidence=(*evidence_of(row.get("evidence"), (), where), *_filled_in(spans[id], answers, texts)),
            schema=schema_of(row.get("schema"), where),
            split=split_of(row.get("split"), where),
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


def _json_questions(path: Path, names: dict[str, None]) -> Iterator[tuple[str, Question]]:
    """JSON Lines; else one JSON text: SQuAD, a list of rows, columns of equal length, or a single row."""
    lines = [line for _, line in zip(range(2), filled(path), strict=False)]
    try:
        several = len(lines) == 2 and isinstance(json.loads(lines[0][1]), dict)
    except (ValueError, RecursionError):
        several = False
    if several:
        lined = ((where, as_object(parsed(line, where), where)) for where, line in filled(path))
        yield from _rows(lined, names)
        return
    content = _whole(path)
    if isinstance(content, dict) and _is_squad(content):
        yield from _squad(content, path)
        return
    if isinstance(content, dict):
        listed = [content[name] for name in ("data", "questions", "samples", "examples") if name in content]
        if not listed and not (columns := _columns(content)):
            yield from _rows([(f"{path}:1", content)], names)
            return
        content = listed[0] if listed else columns
    if not isinstance(content, list):
        raise DatasetError("neither questions nor SQuAD", where=str(path), do="give a list of objects with a question")
    listing = ((f"{path}, row {n}", as_object(row, f"{path}, row {n}")) for n, row in enumerate(content, 1))
    yield from _rows(listing, names)


def _whole(path: Path) -> Any:
    """The one JSON text of a file. Where it is none, but lines are objects, the first line that is none is told."""
    try:
        return parsed("".join(line for _, line in numbered(path)), str(path), 1)
    except DatasetError:
        _, first = next(filled(path))
        if first.lstrip().startswith("{") and not first.rstrip().endswith(("{", "[", ",", ":")):
            for where, line in filled(path):
                parsed(line, where)
        raise


def _columns(content: Any) -> list[Row] | None:
    """``{"question": […], "answer": […]}`` as rows; ``None`` for anything else."""
    if not isinstance(content, dict) or not any(isinstance(content.get(name), list) for name in TEXT):
        return None
    if not all(isinstance(v, list) for v in content.values()) or len({len(v) for v in content.values()}) > 1:
        return None
    return [dict(zip(content, values, strict=True)) for values in zip(*content.values(), strict=True)]


def _table(path: Path) -> Iterator[tuple[str, Row]]:
    """The rows of a CSV or TSV file; a cell may hold a JSON list. Empty cells say nothing."""
    _, first = next(filled(path))
    for where, cells in table(path, _delimiter(first) or ","):
        row = {name: cell for name, cell in cells.items() if cell.strip() or name in TEXT}
        yield where, {name: _cell(name, cell) for name, cell in row.items()}


def table(path: Path, delimiter: str) -> Iterator[tuple[str, dict[str, str]]]:
    """(``file:line``, cell by column) of the rows of a table that are not blank.

    Raises:
        DatasetError: two columns have one name, a row has more cells than there are columns, or its quotes are broken.
    """
    reader = csv.reader((line for _, line in numbered(path)), delimiter=delimiter, strict=True)
    header: list[str] = []
    start = 1
    try:
        for cells in reader:
            where, start = f"{path}:{start}", reader.line_num + 1
            if not any(cell.strip() for cell in cells):
                continue
            if not header:
                header = [named(cell) for cell in cells]
                twice = [name for name in header if name and header.count(name) > 1]
                if twice:
                    raise DatasetError(f"two columns named {twice[0]}", where=where, do="rename one")
                continue
            if len(cells) > len(header):
                what = f"{len(cells)} cells under {len(header)} columns"
                raise DatasetError(what, where=where, do="put cells that hold the delimiter in quotes")
            yield where, dict(zip(header, cells, strict=False))
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


def _rows(rows: Iterable[tuple[str, Row]], columns: dict[str, None]) -> Iterator[tuple[str, Question]]:
    """The questions of rows; the names of their columns are added to ``columns``."""
    for where, row in rows:
        given = {named(column): value for column, value in row.items()}
        columns.update(dict.fromkeys(given))
        # pandas writes what is missing as null or NaN
        kept = {name: v for name, v in given.items() if (v is not None and v == v) or name in TEXT}
        yield where, question_of(kept, where)


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
    base = question_of({"id": row["id"], "question": row["question"]}, where)
    return replace(
        base,
        answers=tuple(dict.fromkeys(text for text, _ in answers if text.strip())),
        answerable=None if impossible is None else not truth(impossible, "is_impossible", where),
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
        yield where, question_of({"id": id.strip(), "question": text.strip()}, where)


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
