"""Data sets as others write them."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from openbook.errors import DatasetError
from openbook.evaluate.dataset import Dataset, Question, dataset


def read(path: Path) -> Dataset:
    """A data set from a BEIR folder.

    Raises:
        DatasetError: a file is missing or a line of it cannot be read.
    """
    return read_beir(path)


def read_beir(folder: Path, qrels: str = "test") -> Dataset:
    """A BEIR folder: ``queries.jsonl``, ``qrels/NAME.tsv`` and, unless documents are the user's own, ``corpus.jsonl``.

    Raises:
        DatasetError: a file is missing or a line of it cannot be read.
    """
    judgements: dict[str, dict[str, int]] = {}
    path = folder / "qrels" / f"{qrels}.tsv"
    with _opened(path) as lines:
        for number, row in enumerate(csv.reader(lines, delimiter="\t"), 1):
            if not row:
                continue
            try:
                question, document, grade = row
                if number > 1 or grade.lstrip("-").isdigit():
                    judgements.setdefault(question, {})[document] = int(grade)
            except ValueError:
                raise DatasetError(
                    "not three columns: query-id, corpus-id, score", where=f"{path}:{number}", do="mend that line"
                ) from None
    questions = {}
    path = folder / "queries.jsonl"
    with _opened(path) as lines:
        for number, line in enumerate(lines, 1):
            try:
                if line.strip():
                    row_ = json.loads(line)
                    questions[str(row_["_id"])] = str(row_["text"])
            except (ValueError, KeyError, TypeError):
                raise DatasetError(
                    "not a query with _id and text", where=f"{path}:{number}", do="mend that line"
                ) from None
    missing = judgements.keys() - questions.keys()
    if missing:
        raise DatasetError(
            f"{len(missing)} judged questions are not in queries.jsonl",
            where=str(folder),
            do=f"add {min(missing)} and the others",
        )
    corpus = folder / "corpus.jsonl"
    judged = [Question(id, text, judgements[id]) for id, text in questions.items() if id in judgements]
    return dataset(folder.resolve().name, judged, corpus if corpus.is_file() else None)


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    """A data set's file as text; one that is not there, or no text, is a DatasetError."""
    try:
        file = path.open(encoding="utf-8", newline="")
    except OSError as error:
        do = "a BEIR folder has queries.jsonl and qrels/test.tsv"
        raise DatasetError(f"cannot be read ({error.strerror})", where=str(path), do=do) from None
    with file:
        try:
            yield file
        except (UnicodeDecodeError, csv.Error) as error:
            raise DatasetError(f"cannot be read ({error})", where=str(path), do="save it as UTF-8 text") from None
