"""Files a line a record: TREC's topics, qrels (BEIR's, too) and runs, read as trec_eval reads them."""

from __future__ import annotations

import gzip
import html
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from openbook.errors import DatasetError

Qrels = dict[str, dict[str, int]]
"""Question → document → grade."""

QRELS_LINE = "write query-id, corpus-id and score with tabs between, or: qid 0 docid grade"
RUN_LINE = "write: qid Q0 docid rank score tag"
HEADERS = ("query-id", "query_id", "question_id", "queryid", "qid", "query", "topic")
INTEGER = re.compile(r"[+-]?[0-9]+")
SPACES = re.compile(r"[ \t\v\f\r\n]+")
"""What separates columns for trec_eval; a no-break space is part of an id."""
NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


# --- lines ------------------------------------------------------------------------------------------------------------


def numbered(path: Path) -> Iterator[tuple[int, str]]:
    """(number, line with its end) of a UTF-8 file, which may be gzipped and may begin with a byte order mark.

    Raises:
        DatasetError: the file is missing, broken or no UTF-8.
    """
    number = 0
    try:
        with path.open("rb") as probe:
            packed = probe.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else path.open("rb") as file:
            for number, line in enumerate(file, 1):
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        where = f"{path}:{number}"
        raise DatasetError(f"not UTF-8 ({error.reason})", where=where, do="save it as UTF-8 text") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DatasetError(f"cannot be unpacked ({error})", where=str(path), do="fetch it again") from None
    except OSError as error:
        raise DatasetError(f"cannot be read ({error.strerror})", where=str(path), do="check the path") from None


def filled(path: Path) -> Iterator[tuple[str, str]]:
    """(``file:line``, line without its end) of the lines that are not blank."""
    for number, line in numbered(path):
        if line.strip():
            yield f"{path}:{number}", line.rstrip("\r\n")


def place(where: str, path: Path) -> str:
    """``where``, to one who has been told the file already."""
    rest = where.removeprefix(str(path)).lstrip(":, ")
    return f"line {rest}" if rest.isdigit() else rest


# --- topics -----------------------------------------------------------------------------------------------------------

_TOPIC = re.compile(r"<(top|topic)(?P<attributes>\s[^>]*)?>(?P<body>.*?)</\1>", re.DOTALL | re.IGNORECASE)
_NUM = re.compile(r"<num>\s*(?:number\s*:)?\s*([^\s<]+)", re.IGNORECASE)
_NUMBER = re.compile(r"\b(?:number|id)\s*=\s*[\"']([^\"']+)[\"']", re.IGNORECASE)
_TITLE = re.compile(r"<(?:title|query)>\s*(?:topic\s*:)?([^<]*)", re.IGNORECASE)
_OPENS = re.compile(r"<top(?:ic)?[\s>]", re.IGNORECASE)


def topics(path: Path) -> Iterator[tuple[str, str, str]]:
    """(``file:line``, number, title) of TREC topics, of the older form (``<top>``) or as XML (``<topic number="1">``).

    Raises:
        DatasetError: there is none, one does not end, or one has no number or title.
    """
    text = "".join(line for _, line in numbered(path))
    end = 0
    for match in _TOPIC.finditer(text):
        opened = _OPENS.search(text, end)
        where = _line_at(path, text, match.start() if opened is None else opened.start())
        # One that is not closed takes in the next.
        if opened is None or opened.start() < match.start() or _OPENS.search(match["body"]):
            raise DatasetError("a topic that does not end", where=where, do="close it: </top>")
        number = _NUM.search(match["body"]) or _NUMBER.search(match["attributes"] or "")
        title = _TITLE.search(match["body"])
        if number is None or title is None or not title[1].strip():
            raise DatasetError("a topic without number or title", where=where, do="give it <num> and <title>")
        yield where, html.unescape(number[1]), " ".join(html.unescape(title[1]).split())
        end = match.end()
    if rest := _OPENS.search(text, end):
        raise DatasetError("a topic that does not end", where=_line_at(path, text, rest.start()), do="close it: </top>")
    if not end:
        raise DatasetError("no TREC topics", where=str(path), do="give <top> with <num> and <title>")


def _line_at(path: Path, text: str, offset: int) -> str:
    number = text.count("\n", 0, offset) + 1
    return f"{path}:{number}"


# --- qrels ------------------------------------------------------------------------------------------------------------


def is_qrels(line: str) -> bool:
    """Whether a file that begins with this line holds qrels."""
    cells = _judgement(line)
    return len(cells) in (3, 4) and (_is_header(cells) or INTEGER.fullmatch(cells[-1]) is not None)


def _judgement(line: str) -> list[str]:
    """The columns of a line of qrels. Between tabs, ids may hold spaces."""
    cells = [cell.strip() for cell in line.split("\t")]
    return cells if len(cells) in (3, 4) else SPACES.split(line.strip())


def _is_header(cells: Sequence[str]) -> bool:
    return cells[0].lower() in HEADERS and not INTEGER.fullmatch(cells[-1])


def read_qrels(path: Path) -> Qrels:
    """Judgements, as BEIR (``query-id``, ``corpus-id``, ``score``, tabs between, a header) or TREC (``qid 0 docid
    grade``) writes them, gzipped or not.

    Raises:
        DatasetError: a line is no judgement, a grade no whole number, or a document has two grades.
    """
    judged: Qrels = {}
    places: dict[tuple[str, str], str] = {}
    for where, question, document, grade in judgements(path):
        first = places.setdefault((question, document), where)
        if judged.setdefault(question, {}).setdefault(document, grade) != grade:
            what = f"document {document!r} has two grades for question {question!r} (the first: {place(first, path)})"
            raise DatasetError(what, where=where, do="keep one")
    return judged


def judgements(path: Path) -> Iterator[tuple[str, str, str, int]]:
    """(``file:line``, question, document, grade) of each line of qrels. Raises: DatasetError: as ``read_qrels``."""
    for number, (where, line) in enumerate(filled(path)):
        cells = _judgement(line)
        if number == 0 and len(cells) in (3, 4) and _is_header(cells):
            continue
        if len(cells) not in (3, 4) or not cells[0] or not cells[-2]:
            raise DatasetError("no judgement", where=where, do=QRELS_LINE)
        if not INTEGER.fullmatch(cells[-1]):
            raise DatasetError(f"the grade {cells[-1]!r} is no whole number", where=where, do="write 0, 1, 2, …")
        yield where, cells[0], cells[-2], int(cells[-1])


def write_qrels(judgements: Mapping[str, Mapping[str, int]], path: Path) -> None:
    """Judgements: as BEIR has them where the file's name ends in ``.tsv``, else as TREC has them.

    Raises:
        DatasetError: an id is empty or holds what separates columns, or the file cannot be written.
    """
    rows = [(q, d, grade) for q, grades in judgements.items() for d, grade in grades.items()]
    if path.suffix == ".tsv":
        write(path, ["query-id\tcorpus-id\tscore", *(f"{_untabbed(q)}\t{_untabbed(d)}\t{g}" for q, d, g in rows)])
    else:
        write(path, [f"{_unspaced(q)} 0 {_unspaced(d)} {g}" for q, d, g in rows])


# --- runs -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Run:
    """What a system found. ``scores[question][document]``, in the order in which trec_eval reads a run."""

    name: str
    scores: Mapping[str, Mapping[str, float]]

    @property
    def rankings(self) -> dict[str, tuple[str, ...]]:
        """Documents of each question, best first."""
        return {question: tuple(scores) for question, scores in self.scores.items()}


def is_run(line: str) -> bool:
    """Whether a file that begins with this line holds a run."""
    cells = SPACES.split(line.strip())
    return len(cells) == 6 and NUMBER.fullmatch(cells[4]) is not None


def read_run(path: Path) -> Run:
    """A TREC run: ``qid Q0 docid rank score tag`` a line, gzipped or not.

    The order is trec_eval's: scores as 32-bit floats, falling; equal ones by document id, falling by bytes. What the
    file says of ranks, and the order of its lines, does not count.

    Raises:
        DatasetError: a line is none of a run, a score no finite number, or a document stands twice for a question.
    """
    import numpy as np

    name = ""
    found: dict[str, dict[str, float]] = {}
    places: dict[tuple[str, str], str] = {}
    for where, line in filled(path):
        cells = SPACES.split(line.strip())
        if len(cells) != 6 or not all(cells):
            raise DatasetError("no line of a run", where=where, do=RUN_LINE)
        question, _, document, _, score, name = cells
        if not NUMBER.fullmatch(score) or float(score) in (float("inf"), float("-inf")):
            raise DatasetError(f"the score {score!r} is no finite number", where=where, do="write a number")
        if (first := places.setdefault((question, document), where)) != where:
            what = f"document {document!r} stands twice for question {question!r} (the first: {place(first, path)})"
            raise DatasetError(what, where=where, do="keep one")
        found.setdefault(question, {})[document] = float(score)
    if not found:
        raise DatasetError("empty", where=str(path), do=RUN_LINE)
    scores: dict[str, dict[str, float]] = {}
    for question, documents in found.items():
        with np.errstate(over="ignore"):
            single = dict(zip(documents, np.array(list(documents.values())).astype(np.float32).tolist(), strict=True))
        # Code points sort as their UTF-8 bytes do.
        falling = sorted(documents, key=lambda document: (single[document], document), reverse=True)
        scores[question] = {document: documents[document] for document in falling}
    return Run(name, scores)


def write_run(rankings: Mapping[str, Sequence[str]], path: Path, *, name: str = "openbook") -> None:
    """Rankings (documents of each question, best first, each once) as a TREC run, with scores that strictly fall, so
    that every tool reads the same order.

    Raises:
        DatasetError: an id is empty or holds a space, a document stands twice, or the file cannot be written.
    """
    rows = []
    for question, documents in rankings.items():
        if len(set(documents)) < len(documents):
            raise DatasetError("a ranking holds a document twice", where=question, do="rank each document once")
        for rank, document in enumerate(documents, 1):
            ids = f"{_unspaced(question)} Q0 {_unspaced(document)}"
            rows.append(f"{ids} {rank} {len(documents) - rank + 1} {_unspaced(name)}")
    write(path, rows)


# --- writing ----------------------------------------------------------------------------------------------------------


def write(path: Path, lines: Sequence[str]) -> None:
    """Raises: DatasetError: the file cannot be written."""
    try:
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")
    except (OSError, UnicodeEncodeError) as error:
        why = error.strerror if isinstance(error, OSError) else error.reason
        raise DatasetError(f"cannot be written ({why})", where=str(path), do="name another file") from None


def _unspaced(id: str) -> str:
    if id.split() != [id]:
        raise DatasetError("an id that is empty or holds a space", where=repr(id), do="TREC's files cannot say it")
    return id


def _untabbed(id: str) -> str:
    if not id or id != id.strip() or any(mark in id for mark in "\t\r\n"):
        raise DatasetError("an id that is empty or holds a tab or line end", where=repr(id), do="rename it")
    return id
