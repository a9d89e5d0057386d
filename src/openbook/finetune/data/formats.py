"""Training data as others write them, in and out: docs/guides/training-data.md has an example of each.

A format is recognised by its columns, never by a file's name. sentence-transformers takes columns in their order, so
what is written has them in that order, and one more, ``metadata``, which it must not be handed: it says which rows
belong together and who may read the texts.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Literal, get_args

from openbook.errors import DatasetError, QueryError
from openbook.evaluate.datasets.formats import table, widest
from openbook.evaluate.datasets.rows import Row, as_object, named, parsed
from openbook.evaluate.datasets.trec import filled, judgements, numbered, write_qrels
from openbook.evaluate.datasets.trec import write as write_lines
from openbook.finetune.data import rows
from openbook.finetune.data.rows import Dropped, Example, Passage, Rows, Scored, digest, merged
from openbook.types import storable

Format = Literal["pairs", "triplets", "tuples", "scored", "labelled", "beir", "tevatron"]
FORMATS: tuple[Format, ...] = get_args(Format)

QUERY = ("anchor", "query", "question", "sentence")
POSITIVE = ("positive", "positives", "pos")
NEGATIVE = ("negative", "negatives", "neg")
FIRST = ("sentence1", "sentence_1", "sentence_a")
SECOND = ("sentence2", "sentence_2", "sentence_b")
SCORE = ("score", "scores", "similarity", "similarity_score")
LABEL = ("label", "labels")

_NUMBERED = re.compile(rf"(?:{'|'.join(NEGATIVE)})_?(\d+)")

ASKED = ("question", "query", "user_input")
"""Columns by which questions to evaluate with are known, where there is no positive."""

KNOWN = (
    "anchor and positive (and negative, negative_1, …), sentence1 and sentence2 with score or label, or"
    " Tevatron's query and positive_passages"
)


def is_training_data(path: Path) -> bool:
    """Whether a file holds rows to train on, and not questions to evaluate with. A folder is BEIR's, and both."""
    return path.is_file() and _columns_kind(_columns(path)) is not None


def read(path: str | Path) -> Rows:
    """Training data of any of ``FORMATS``: JSON Lines, a JSON list, CSV, or a BEIR folder with ``qrels/train.tsv``.

    Rows of one query become one example. What a file says twice is dropped, and so is, in a BEIR folder, a judgement of
    a text that is not there; each with its line.

    Raises:
        DatasetError: a file is missing or of no known format, or a row of it cannot be understood.
    """
    path = Path(path)
    if path.is_dir():
        return _beir(path)
    kind = _columns_kind(_columns(path))
    if kind is None:
        columns = _columns(path)
        do = f"name its columns {KNOWN}"
        if not {*columns}.isdisjoint(ASKED):
            do = f"make rows of what it has to train on: openbook finetune data ROWS.jsonl {path}; or {do}"
        raise DatasetError(f"no training data ({', '.join(columns[:20]) or 'none'})", where=str(path), do=do)
    found = list(_objects(path))
    if kind == "scored":
        pairs, dropped = _once([_scored(row, where) for where, row in found])
        return Rows(scored=pairs, dropped=dropped)
    reader = _tevatron if kind == "tevatron" else _example
    examples, dropped = merged(reader(row, where) for where, row in found)
    return Rows(examples, dropped=dropped)


def write(data: Rows, path: Path, form: Format) -> None:
    """Write them so that ``read`` gives the same. The file's ending decides: ``.csv``, ``.tsv``, else JSON Lines; BEIR
    is a folder.

    Examples make scored pairs of 1 (a positive) and 0 (a negative), and pairs labelled 1 and 0 make examples.

    Raises:
        DatasetError: they cannot be said in that format, or not be written.
        QueryError: no such format, or a file's ending that does not belong to it.
    """
    require_format(path, form)
    if form == "beir":
        _write_beir(examples_of(data), path)
        return
    if form == "tevatron":
        written = [_as_tevatron(example) for example in examples_of(data)]
    elif form in ("scored", "labelled"):
        written = [_as_scored(one, form) for one in scored_of(data)]
    else:
        written = [row for example in _with_negatives(examples_of(data), form) for row in _as_rows(example, form)]
    if path.suffix.lower() in TABLES:
        _write_table(written, path, "\t" if path.suffix.lower() == ".tsv" else ",")
    else:
        write_lines(path, [json.dumps(row, ensure_ascii=False) for row in written])


TABLES = (".csv", ".tsv")


def require_format(path: Path, name: str) -> Format:
    """The format of that name. Raises: QueryError: there is none, or a file so called is of another."""
    form = next((form for form in FORMATS if form == name), None)
    if form is None:
        raise QueryError(f"no format {name!r}", where="--to", do=f"choose of {', '.join(FORMATS)}")
    if path.suffix.lower() in TABLES and form in ("beir", "tevatron"):
        do = "name a folder" if form == "beir" else "name a file that ends in .jsonl"
        raise QueryError(f"no table is {form}", where=str(path), do=do)
    if path.suffix.lower() in (".jsonl", *TABLES) and form == "beir":
        raise QueryError("a BEIR folder that is called as a file", where=str(path), do="name a folder")
    return form


# --- one kind as another ----------------------------------------------------------------------------------------------


def examples_of(data: Rows) -> tuple[Example, ...]:
    """The examples, or those that pairs labelled (or scored) 0 and 1 make: the first text is the query.

    Raises:
        DatasetError: a score between says neither that it is a positive nor that it is none.
    """
    if not data.scored:
        return data.examples
    found: dict[str, tuple[tuple[list[Passage], list[Passage]], Scored]] = {}
    for one in data.scored:
        if one.score not in (0.0, 1.0):
            what = f"a score of {one.score:g} says neither that it is a positive nor that it is none"
            raise DatasetError(what, where=one.where, do="write scored pairs (--to scored), or label them 1 and 0")
        (right, wrong), _ = found.setdefault(one.first.text, (([], []), one))
        (right if one.score else wrong).append(one.second)
    made = [
        Example(query, tuple(right), tuple(wrong), kind=one.kind, where=one.where)
        for query, ((right, wrong), one) in found.items()
        if right
    ]
    return merged(made)[0]


def scored_of(data: Rows) -> tuple[Scored, ...]:
    """The scored pairs, or those that examples make."""
    if data.scored:
        return data.scored
    return tuple(
        Scored(Passage(example.query), passage, score, kind=example.kind, where=example.where)
        for example in data.examples
        for passages, score in ((example.positives, 1.0), (example.negatives, 0.0))
        for passage in passages
    )


def _with_negatives(examples: Sequence[Example], form: Format) -> Sequence[Example]:
    if form == "pairs":
        return examples
    numbers = {len(example.negatives) for example in examples}
    lacks = next((example for example in examples if not example.negatives), None)
    if lacks is not None:
        where = lacks.where or rows.named(lacks.query)
        raise DatasetError(f"no negative for {form}", where=where, do="mine some (--negatives), or write pairs")
    if form == "tuples" and len(numbers) > 1:
        what = f"n-tuples of {min(numbers)} and of {max(numbers)} negatives"
        raise DatasetError(what, do="give each query as many (--negatives), or write triplets")
    return examples


# --- rows of sentence-transformers ------------------------------------------------------------------------------------


def _columns(path: Path) -> list[str]:
    """The names of a file's columns, by its first filled line."""
    where, first = next(filled(path), ("", ""))
    if not where:
        raise DatasetError("empty", where=str(path), do=f"give rows with {KNOWN}")
    if first.lstrip()[:1] in ("{", "["):
        _, row = next(_json_rows(path))
        return [named(column) for column in row]
    return widest(first)


def _columns_kind(columns: Sequence[str]) -> str | None:
    """``tevatron``, ``scored`` or ``examples``; ``None``: no training data."""
    there = set(columns)
    has_score = not there.isdisjoint((*SCORE, *LABEL))
    if "positive_passages" in there:
        return "tevatron"
    if not there.isdisjoint(FIRST) and not there.isdisjoint(SECOND):
        return "scored"
    if not there.isdisjoint(QUERY) and not there.isdisjoint(POSITIVE):
        return "scored" if has_score and not _negative_columns(columns) else "examples"
    return None


def _negative_columns(columns: Sequence[str]) -> list[str]:
    """The columns of negatives: ``negative``, then ``negative_1``, ``negative_2``, … by their numbers."""
    plain = [name for name in columns if name in NEGATIVE]
    counted = [(int(match[1]), name) for name in columns if (match := _NUMBERED.fullmatch(name))]
    return [*plain, *(name for _, name in sorted(counted))]


def _objects(path: Path) -> Iterator[tuple[str, Row]]:
    """The rows of a file, columns by their names; the metadata of a table is read as JSON."""
    _, first = next(filled(path))
    if first.lstrip()[:1] in ("{", "["):
        for where, row in _json_rows(path):
            yield where, {named(column): value for column, value in row.items()}
        return
    delimiter = max(",\t;|", key=lambda mark: len(next(csv.reader([first], delimiter=mark), [])))
    for where, cells in table(path, delimiter):
        said = cells.get("metadata", "").strip()
        yield where, {**cells, "metadata": parsed(said, where) if said else None}


def _json_rows(path: Path) -> Iterator[tuple[str, Row]]:
    _, first = next(filled(path))
    if first.lstrip().startswith("["):
        content = parsed("".join(line for _, line in numbered(path)), str(path), 1)
        listed = ((f"{path}, row {number}", row) for number, row in enumerate(content, 1))
    else:
        listed = ((where, parsed(line, where)) for where, line in filled(path))
    empty = True
    for where, row in listed:
        empty = False
        if not isinstance(row, dict):
            raise DatasetError("not an object", where=where, do='write {"anchor": "…", "positive": "…"}')
        yield where, row
    if empty:
        raise DatasetError("empty", where=str(path), do=f"give rows with {KNOWN}")


def _text(value: object, column: str, where: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise DatasetError(f"no text in its column {column}", where=where, do="fill it, or take the row out")
    return storable(value)


def _texts(row: Row, column: str, where: str) -> list[str]:
    """One text, or a list of them."""
    value = row.get(column)
    return [_text(one, column, where) for one in (value if isinstance(value, list) else [value])]


def _column(row: Row, names: Sequence[str], where: str) -> str:
    found = next((name for name in names if name in row), None)
    if found is None:
        raise DatasetError(f"no column {names[0]}", where=where, do="give each row the columns of the first")
    return found


def _example(row: Row, where: str) -> Example:
    query = _column(row, QUERY, where)
    right = _texts(row, _column(row, POSITIVE, where), where)
    wrong = [
        text
        for column in _negative_columns(list(row))
        if row[column] not in (None, "", [])  # a row of fewer negatives than others
        for text in _texts(row, column, where)
    ]
    return _told(_text(row[query], query, where), [*right, *wrong], len(right), row.get("metadata"), where)


def _told(query: str, texts: Sequence[str], positives: int, metadata: object, where: str) -> Example:
    """The example of these texts, the positives first, with what the metadata tell of each."""
    told = _metadata(metadata, where)
    passages = _passages(texts, told, where)
    return Example(
        query,
        tuple(passages[:positives]),
        tuple(passages[positives:]),
        kind=str(told.get("kind", "")),
        group=str(told.get("group", "")),
        asked_by=tuple(map(str, told.get("asked_by", ()))),
        where=where,
    )


def _scored(row: Row, where: str) -> Scored:
    first = _column(row, (*FIRST, *QUERY), where)
    second = _column(row, (*SECOND, *POSITIVE), where)
    column = _column(row, (*SCORE, *LABEL), where)
    told = _metadata(row.get("metadata"), where)
    passages = _passages([_text(row[first], first, where), _text(row[second], second, where)], told, where)
    score = _number(row[column], column, where)
    return Scored(passages[0], passages[1], score, column in LABEL, str(told.get("kind", "")), where=where)


def _number(value: object, column: str, where: str) -> float:
    """Raises: DatasetError: no finite number."""
    try:
        found = float(value) if isinstance(value, str | int | float) else math.nan
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise DatasetError(f"its {column} is {value!r}", where=where, do="write a number")
    return found


def _once(pairs: Sequence[Scored]) -> tuple[tuple[Scored, ...], tuple[Dropped, ...]]:
    """Each pair of texts once.

    Raises:
        DatasetError: a pair has two scores.
    """
    found: dict[tuple[str, str], Scored] = {}
    dropped = []
    for one in pairs:
        known = found.setdefault((one.first.text, one.second.text), one)
        if known.score != one.score:
            what = f"a pair with two scores, {known.score:g} ({known.where}) and {one.score:g}"
            raise DatasetError(what, where=one.where, do="keep one")
        if known is not one:
            dropped.append(Dropped(one.where, "said twice"))
    return tuple(found.values()), tuple(dropped)


# --- metadata: what each text of a row is from ------------------------------------------------------------------------


def _metadata(value: object, where: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise DatasetError("metadata is no object", where=where, do='write {"documents": ["leave.md"]}')
    return value


_FIELDS: tuple[tuple[str, str, Callable[[Any], Any], Any], ...] = (
    ("documents", "document", str, ""),
    ("principals", "principals", lambda names: tuple(map(str, names)), ()),
    ("local_only", "local_only", bool, False),
    ("scores", "score", lambda score: None if score is None else float(score), None),
    ("by", "by", str, ""),
)
"""Of each text in its turn: the key in the metadata, the field of the passage, how it is read, what says nothing."""


def _passages(texts: Sequence[str], told: Mapping[str, Any], where: str) -> list[Passage]:
    """The passages of a row, by the columns of its texts."""
    fields: list[dict[str, Any]] = [{} for _ in texts]
    for key, name, reads, _ in _FIELDS:
        if told.get(key) is None:
            continue
        values = told[key]
        if not isinstance(values, list) or len(values) != len(texts):
            raise DatasetError(f"its metadata has not one of {key} for each text", where=where, do="mend or remove it")
        try:
            for of, value in zip(fields, values, strict=True):
                of[name] = reads(value)
        except (TypeError, ValueError):
            raise DatasetError(f"its metadata has {key} of another kind", where=where, do="mend or remove it") from None
    return [Passage(text, **of) for text, of in zip(texts, fields, strict=True)]


def _about(passages: Sequence[Passage], **others: Any) -> dict[str, Any]:
    """The metadata of a row; what nothing is known of is left out."""
    told = {key: value for key, value in others.items() if value}
    for key, name, _, nothing in _FIELDS:
        values = [getattr(passage, name) for passage in passages]
        if any(value != nothing for value in values):
            told[key] = [list(value) if isinstance(value, tuple) else value for value in values]
    return told


def _as_rows(example: Example, form: Format) -> Iterator[Row]:
    """A row for each positive; of triplets, for each positive and negative."""
    about = {"kind": example.kind, "group": example.group, "asked_by": list(example.asked_by)}
    for positive in example.positives:
        if form == "triplets":
            turns: list[list[Passage]] = [[negative] for negative in example.negatives]
        else:
            turns = [list(example.negatives) if form == "tuples" else []]
        for negatives in turns:
            row: dict[str, Any] = {"anchor": example.query, "positive": positive.text}
            if form == "triplets":
                row["negative"] = negatives[0].text
            else:
                row |= {f"negative_{number}": negative.text for number, negative in enumerate(negatives, 1)}
            metadata = _about([positive, *negatives], **about)
            yield {**row, **({"metadata": metadata} if metadata else {})}


def _as_scored(one: Scored, form: Format) -> Row:
    """Raises: DatasetError: a label that is no whole number."""
    row: dict[str, Any] = {"sentence1": one.first.text, "sentence2": one.second.text}
    if form == "labelled":
        if one.score != int(one.score):
            do = "write scored pairs: --to scored"
            raise DatasetError(f"a score of {one.score:g} is no label", where=one.where, do=do)
        row["label"] = int(one.score)
    else:
        row["score"] = one.score
    metadata = _about([one.first, one.second], kind=one.kind)
    return {**row, **({"metadata": metadata} if metadata else {})}


def _write_table(written: Sequence[Row], path: Path, delimiter: str) -> None:
    columns = dict.fromkeys(column for row in written for column in row if column != "metadata")
    names = [*columns, *(["metadata"] if any("metadata" in row for row in written) else [])]
    text = io.StringIO()
    table = csv.writer(text, delimiter=delimiter, lineterminator="\n", quoting=csv.QUOTE_ALL)
    table.writerow(names)
    for row in written:
        cells = {**row, **({"metadata": json.dumps(row["metadata"], ensure_ascii=False)} if "metadata" in row else {})}
        table.writerow([cells.get(name, "") for name in names])
    write_lines(path, [text.getvalue().removesuffix("\n")])


# --- Tevatron ---------------------------------------------------------------------------------------------------------


def _tevatron(row: Row, where: str) -> Example:
    """``{"query_id", "query", "positive_passages": [{"docid", "title", "text"}], "negative_passages": […]}``."""
    lists = []
    for column in ("positive_passages", "negative_passages"):
        value = row.get(column) or []
        if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
            raise DatasetError(f"{column} is no list of passages", where=where, do='write [{"docid", "title", "text"}]')
        lists.append(value)
    right, wrong = lists
    if not right:
        raise DatasetError("no positive passage", where=where, do="give one, or take the row out")
    texts = [_titled(one, where) for one in (*right, *wrong)]
    metadata = row.get("metadata")
    if metadata is None:
        metadata = {"documents": [str(one.get("docid") or "") for one in (*right, *wrong)]}
    return _told(_text(row.get("query"), "query", where), texts, len(right), metadata, where)


def _titled(row: Mapping[str, Any], where: str) -> str:
    """The text of a passage below its title."""
    text = _text(row.get("text"), "text", where)
    title = storable(str(row.get("title") or "")).strip()
    return text if not title or text.startswith(title) else f"{title}\n{text}"


def _as_tevatron(example: Example) -> Row:
    passages = [
        [
            {"docid": passage.document or f"p-{digest(passage.text)}", "title": "", "text": passage.text}
            for passage in of
        ]
        for of in (example.positives, example.negatives)
    ]
    about = {"kind": example.kind, "group": example.group, "asked_by": list(example.asked_by)}
    return {
        "query_id": f"q-{digest(example.query)}",
        "query": example.query,
        "positive_passages": passages[0],
        "negative_passages": passages[1],
        "metadata": _about(example.passages, **about),
    }


# --- BEIR -------------------------------------------------------------------------------------------------------------

TRAIN = "qrels/train.tsv"

MOST_MISSING = 0.5
"""Where more of the labels than this name documents that are not there, they are those of another corpus."""


def _beir(folder: Path) -> Rows:
    """``queries.jsonl``, ``corpus.jsonl`` and ``qrels/train.tsv``; a text that is judged 0 is a negative."""
    qrels = folder / TRAIN
    for path in (folder / "queries.jsonl", folder / "corpus.jsonl", qrels):
        if not path.is_file():
            do = "only what is to be trained on is read: put its judgements there"
            if path != qrels:
                do = "name rows or a BEIR folder; documents make rows by openbook finetune data --from-documents N"
            raise DatasetError(f"holds no {path.relative_to(folder)}", where=str(folder), do=do)
    judged = list(judgements(qrels))
    wanted = {document for _, _, document, _ in judged}
    texts = _identified(folder / "corpus.jsonl", wanted)
    queries = _identified(folder / "queries.jsonl", {query for _, query, _, _ in judged})
    asked: dict[str, list[tuple[int, str]]] = {}
    dropped = []
    for where, query, document, grade in judged:
        if query not in queries:
            dropped.append(Dropped(where, f"no query {query!r}"))
            continue
        if document not in texts:
            dropped.append(Dropped(where, f"no document {document!r}"))
        asked.setdefault(query, []).append((grade, document))
    if dropped and len(dropped) > MOST_MISSING * len(judged):
        what = f"{len(dropped)} of {len(judged)} labels refer to what is not there, such as {dropped[0].reason}"
        raise DatasetError(what, where=str(qrels), do="name the folder that they belong to")
    examples = []
    for query, grades in asked.items():
        where, text, metadata = queries[query]
        told = _metadata(metadata, where)
        # Positives first, as they were written: what the query's metadata tell of each is in that order.
        order = [document for wanted in (True, False) for grade, document in grades if (grade > 0) is wanted]
        there = [number for number, document in enumerate(order) if document in texts]
        positives = sum(grade > 0 and document in texts for grade, document in grades)
        if not positives:
            dropped.append(Dropped(where, "no positive"))
            continue
        about = {key: told[key] for key in ("kind", "group", "asked_by") if key in told}
        about |= {key: [told[key][number] for number in there] for key in ("scores", "by") if key in told}
        of_texts = [_metadata(texts[order[number]][2], texts[order[number]][0]) for number in there]
        about["documents"] = [of.get("document", order[number]) for of, number in zip(of_texts, there, strict=True)]
        about["principals"] = [of.get("principals", ()) for of in of_texts]
        about["local_only"] = [of.get("local_only", False) for of in of_texts]
        examples.append(_told(text, [texts[order[number]][1] for number in there], positives, about, where))
    unique, twice = merged(examples)
    return Rows(unique, dropped=(*dropped, *twice))


def _identified(path: Path, wanted: set[str]) -> dict[str, tuple[str, str, object]]:
    """id → (``file:line``, text, metadata) of the rows that are wanted."""
    found: dict[str, tuple[str, str, object]] = {}
    for where, line in filled(path):
        row = as_object(parsed(line, where), where)
        id = row.get("_id")
        if not isinstance(id, str | int) or id == "":
            raise DatasetError("no _id", where=where, do="give it one")
        if str(id) in found:
            raise DatasetError(f"two rows have the id {id!r}", where=where, do="give each its own, or remove one")
        if str(id) in wanted:
            found[str(id)] = where, _titled(row, where), row.get("metadata")
    return found


def _write_beir(examples: Sequence[Example], folder: Path) -> None:
    try:
        (folder / "qrels").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatasetError(f"cannot be made ({error.strerror})", where=str(folder), do="name another") from None
    corpus: dict[str, Row] = {}
    queries: list[Row] = []
    qrels: dict[str, dict[str, int]] = {}
    for example in examples:
        id = f"q-{digest(example.query)}"
        judged = qrels.setdefault(id, {})
        for grade, of in ((1, example.positives), (0, example.negatives)):
            for passage in of:
                about = {
                    "document": passage.document,
                    **({"principals": list(passage.principals)} if passage.principals else {}),
                    **({"local_only": True} if passage.local_only else {}),
                }
                number = f"p-{digest(json.dumps([passage.text, about], sort_keys=True))}"
                corpus[number] = {"_id": number, "title": "", "text": passage.text, "metadata": about}
                judged[number] = grade
        about = _about(example.passages, kind=example.kind, group=example.group, asked_by=list(example.asked_by))
        kept = {key: about[key] for key in ("kind", "group", "asked_by", "scores", "by") if key in about}
        queries.append({"_id": id, "text": example.query, "metadata": kept})
    for name, listed in (("corpus.jsonl", corpus.values()), ("queries.jsonl", queries)):
        write_lines(folder / name, [json.dumps(row, ensure_ascii=False) for row in listed])
    write_qrels(qrels, folder / TRAIN)


def joined(files: Sequence[Rows]) -> Rows:
    """Several files as one, each row once. Scored pairs stay so where all files have them.

    Raises:
        DatasetError: some have others, or a pair has two scores.
    """
    dropped = tuple(chain.from_iterable(one.dropped for one in files))
    if files and all(one.scored for one in files):
        pairs, twice = _once([pair for one in files for pair in one.scored])
        return Rows(scored=pairs, dropped=(*dropped, *twice))
    examples, twice = merged(chain.from_iterable(map(examples_of, files)))
    return Rows(examples, dropped=(*dropped, *twice))
