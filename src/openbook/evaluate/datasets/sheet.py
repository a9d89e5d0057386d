"""Work sheets: passages sampled from the documents, to which people write questions and answers.

A sheet is a file of JSON lines, a row a passage (or several, of a question that has no answer yet). It is filled in the
terminal (``annotate``) or in any editor; what is filled becomes a data set.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openbook.errors import DatasetError, QueryError
from openbook.evaluate.datasets.dataset import Dataset, Evidence, Question, dataset
from openbook.evaluate.datasets.leakage import near
from openbook.sentences import sentences
from openbook.types import Chunk, Metadata

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from openbook.evaluate.datasets.making import Corpus
    from openbook.knowledge_base import KnowledgeBase


@dataclass(frozen=True, slots=True)
class Row:
    """What one is shown (``passages``, where they stand, a ``note``) and what one writes: a ``question``, its
    ``answers``, or that the documents do not answer it (``answerable`` is false). ``skipped``: nothing to ask here.
    ``splits`` are those of the passages' documents, by source."""

    id: str
    passages: tuple[Evidence, ...]
    question: str = ""
    answers: tuple[str, ...] = ()
    answerable: bool | None = None
    skipped: bool = False
    note: str = ""
    splits: Mapping[str, str] = field(default_factory=dict)
    metadata: Metadata = field(default_factory=dict)

    @property
    def is_done(self) -> bool:
        return self.skipped or bool(self.question.strip() and (self.answers or self.answerable is False))

    def as_question(self) -> Question | None:
        """The question, if it is one by now; its evidence the sentences that hold an answer, else the passage."""
        if self.skipped or not self.is_done:
            return None
        metadata = dict(self.metadata)
        evidence: list[Evidence] = []
        if self.answerable is False:
            metadata["reason"] = "annotated"
        else:
            for passage in self.passages:
                evidence += [narrowed(passage, found) for a in self.answers if (found := standing(passage.text, a))]
            if not evidence and len(self.passages) == 1:
                evidence = [*self.passages]
        about = [item.source for item in (*evidence, *self.passages)]
        return Question(
            id=self.id,
            text=" ".join(self.question.split()),
            answers=() if self.answerable is False else self.answers,
            answerable=self.answerable is not False,
            evidence=tuple(dict.fromkeys(evidence)),
            split=next((self.splits[source] for source in about if source in self.splits), None),
            metadata=metadata,
        )


# --- where an answer stands -------------------------------------------------------------------------------------------


def standing(text: str, part: str) -> tuple[int, int] | None:
    """Where the words of ``part`` stand in ``text``, in order and side by side, whatever their case and punctuation.

    >>> text = "You get *12* Recharge days."
    >>> text[slice(*standing(text, "12 recharge days"))]
    '12* Recharge days'
    """
    found = re.findall(r"\w+", part)
    if not found:
        return None
    pattern = r"\W*".join(map(re.escape, found))
    at = re.search(rf"(?<!\w){pattern}(?!\w)", text, re.IGNORECASE)
    if at is None and not part.isascii():  # scripts that set no blanks
        at = re.search(pattern, text, re.IGNORECASE)
    return at.span() if at else None


def sentence_around(text: str, start: int, end: int) -> tuple[int, int]:
    """The sentences of ``text`` that ``start:end`` touches."""
    touched = [span for span in sentences(text) if span[0] < end and start < span[1]]
    return (touched[0][0], touched[-1][1]) if touched else (start, end)


def narrowed(passage: Evidence, found: tuple[int, int]) -> Evidence:
    """The sentences of the passage that hold what was found in it."""
    start, end = sentence_around(passage.text, *found)
    first = passage.start
    return Evidence(
        passage.source,
        passage.text[start:end],
        None if first is None else first + start,
        None if first is None else first + end,
    )


# --- sampling ---------------------------------------------------------------------------------------------------------

LEAST_PASSAGE = 200
"""Characters: a shorter passage is seldom worth a question."""


def passages(
    kb: KnowledgeBase,
    corpus: Corpus,
    n: int,
    *,
    seed: int = 0,
    by: str | None = None,
    as_: Sequence[str] | None = None,
) -> list[tuple[Mapping[str, Any], Chunk]]:
    """``n`` chunks of substance with the rows of their documents: in each folder (or value of the metadata field
    ``by``) as many as its share of the text, at least one; each of another document as long as there are.

    Of documents that are versions of each other, one is drawn. The same seed draws the same.

    Raises:
        QueryError: no document has the field.
    """
    rng = random.Random(seed)
    documents: dict[str, Mapping[str, Any]] = {}
    for row in sorted(corpus.listing, key=lambda row: str(row["source"])):
        documents[corpus.versions.of(row["source"])] = row  # the last by name, which most often is the newest
    strata: dict[str, list[Mapping[str, Any]]] = {}
    for row in documents.values():
        strata.setdefault(_stratum(row, by), []).append(row)
    if by is not None and strata.keys() == {""}:
        raise QueryError(f"no document has the field {by!r}", where="--by", do="openbook list --json shows the fields")
    sizes = {name: sum(row["characters"] for row in rows) for name, rows in strata.items()}
    sources = {}
    for name, rows in strata.items():
        rng.shuffle(rows)
        sources[name] = _drawing(kb, rows, random.Random(rng.random()), as_)
    drawn = [pick for name, wanted in _shared(n, sizes).items() for pick in islice(sources[name], wanted)]
    left = [*sources.values()]
    while len(drawn) < n and left:  # what one stratum cannot give, the others give
        for source in [*left]:
            pick = next(source, None)
            if pick is None:
                left.remove(source)
            elif len(drawn) < n:
                drawn.append(pick)
    rng.shuffle(drawn)
    return drawn


def _stratum(row: Mapping[str, Any], by: str | None) -> str:
    if by is not None:
        value = row["metadata"].get(by, "")
        return str(value[0] if isinstance(value, tuple) and value else value or "")
    return str(row["metadata"].get("path") or row["source"]).rpartition("/")[0]


def _shared(n: int, sizes: Mapping[str, int]) -> dict[str, int]:
    """``n`` shared out by size: one for each as far as they reach, the largest first, the rest by largest remainder."""
    names = sorted(sizes, key=lambda name: (-sizes[name], name))
    if n <= len(names):
        return dict.fromkeys(names[:n], 1)
    total = sum(sizes.values()) or 1
    exact = {name: (n - len(names)) * sizes[name] / total for name in names}
    shares = {name: 1 + int(exact[name]) for name in names}
    by_remainder = sorted(names, key=lambda name: int(exact[name]) - exact[name])
    for name in by_remainder[: n - sum(shares.values())]:
        shares[name] += 1
    return shares


def _drawing(
    kb: KnowledgeBase, rows: Sequence[Mapping[str, Any]], rng: random.Random, as_: Sequence[str] | None
) -> Iterator[tuple[Mapping[str, Any], Chunk]]:
    """A chunk of each document in turn, then another of each, until there are none."""
    left: list[tuple[Mapping[str, Any], list[Chunk]]] = []
    for row in rows:
        chunks = [chunk for chunk in kb.chunks(row["document"], as_=as_) if has_substance(chunk.text)]
        rng.shuffle(chunks)
        if chunks:
            yield row, chunks.pop()
            left.append((row, chunks))
    while left:
        left = [(row, chunks) for row, chunks in left if chunks]
        for row, chunks in left:
            yield row, chunks.pop()


def has_substance(text: str) -> bool:
    """Whether there is something to ask: sentences or rows with words, no list of links, contents or code."""
    bare = re.sub(r"https?://\S+|\]\([^)]*\)|[#*_`|>\[\]-]", " ", text)
    bare = " ".join(bare.split())
    if len(bare) < LEAST_PASSAGE:
        return False
    letters = sum(c.isalpha() for c in bare)
    links = len(re.findall(r"\]\(|https?://", text))
    lines = [line for line in text.split("\n") if line.strip()]
    dotted = sum(bool(re.search(r"\.{4,}|(?:\. ){3,}", line)) for line in lines)
    return letters > 0.6 * len(bare) and links * 80 < len(bare) and 3 * dotted < len(lines)


def sample(
    kb: KnowledgeBase,
    n: int = 50,
    *,
    seed: int = 0,
    by: str | None = None,
    as_: Sequence[str] | None = None,
    shares: Mapping[str, float] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Row]:
    """Rows of a sheet, split by document; see ``passages`` for what is drawn.

    Raises:
        DatasetError: there are no documents, or none of substance.
        QueryError: no document has the field ``by``.
    """
    from openbook.evaluate.datasets.making import SHARES, Corpus

    corpus = Corpus.of(kb, as_, progress)
    rows = []
    for row, chunk in passages(kb, corpus, n, seed=seed, by=by, as_=as_):
        passage = corpus.named(Evidence(row["source"], chunk.text, chunk.start, chunk.end))
        digest = hashlib.sha256(f"{passage.source}\0{chunk.start}\0{chunk.text}".encode()).hexdigest()[:12]
        rows.append(
            Row(
                id=f"s-{digest}",
                passages=(passage,),
                note=" › ".join([*dict.fromkeys([row["title"], *chunk.headings])]),
                splits={passage.source: corpus.split_of(row["source"], shares or SHARES)},
                metadata={"kind": "annotated", **({"stratum": s} if (s := _stratum(row, by)) else {})},
            )
        )
    if not rows:
        do = "add documents with sentences"
        raise DatasetError("no passage worth a question", where=f"knowledge base {kb.name}", do=do)
    return rows


# --- the file ---------------------------------------------------------------------------------------------------------


def write_sheet(rows: Sequence[Row], path: Path) -> None:
    """Write a sheet; a crash leaves the former one or this one, whole.

    Raises:
        DatasetError: it cannot be written.
    """
    text = "".join(json.dumps(_as_json(row), ensure_ascii=False) + "\n" for row in rows)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("w", encoding="utf-8", errors="replace", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise DatasetError(f"cannot be written ({error.strerror})", where=str(path), do="name another file") from None


def _as_json(row: Row) -> dict[str, Any]:
    """What is to be filled comes first, and the passage last."""
    value = asdict(row)
    value["passages"] = [asdict(passage) for passage in row.passages]
    order = ("id", "note", "question", "answers", "answerable", "skipped", "splits", "metadata", "passages")
    return {name: value[name] for name in order}


def read_sheet(path: Path) -> list[Row]:
    """A sheet that ``sample`` or ``from_feedback`` made, filled as far as it is.

    Raises:
        DatasetError: it cannot be read, or a line of it is no row.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise DatasetError(f"cannot be read ({error.strerror})", where=str(path), do="check the path") from None
    except UnicodeDecodeError:
        raise DatasetError("not UTF-8", where=str(path), do="save it as UTF-8 text") from None
    rows = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                rows.append(_row(json.loads(line)))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                what = f"not a row of a sheet ({type(error).__name__}: {error})"
                do = "mend that line, or make a new sheet: openbook dataset sample"
                raise DatasetError(what, where=f"{path}:{number}", do=do) from None
    if not rows:
        raise DatasetError("an empty sheet", where=str(path), do="make one: openbook dataset sample")
    twice = [id for id, count in Counter(row.id for row in rows).items() if count > 1]
    if twice:
        raise DatasetError(f"two rows have the id {twice[0]!r}", where=str(path), do="give each its own")
    return rows


def _row(value: Mapping[str, Any]) -> Row:
    answers = value["answers"]
    answers = [answers] if isinstance(answers, str) else answers
    if not isinstance(value["question"], str) or not all(isinstance(answer, str) for answer in answers):
        raise TypeError("question and answers must be texts")
    return Row(
        id=str(value["id"]),
        passages=tuple(Evidence(**passage) for passage in value["passages"]),
        question=value["question"],
        answers=tuple(answer.strip() for answer in answers if answer.strip()),
        answerable=value.get("answerable"),
        skipped=bool(value.get("skipped")),
        note=str(value.get("note", "")),
        splits=dict(value.get("splits", {})),
        metadata={key: tuple(v) if isinstance(v, list) else v for key, v in value.get("metadata", {}).items()},
    )


def questions_of(rows: Iterable[Row], name: str) -> Dataset:
    """The data set of the rows that are filled. A question that was nearly asked before goes where that one went."""
    questions = [question for row in rows if (question := row.as_question()) is not None]
    for i, j, _ in near([question.text for question in questions]):
        questions[j] = replace(questions[j], split=questions[i].split)
    return dataset(name, questions)


# --- the terminal -----------------------------------------------------------------------------------------------------

_KEYS = "empty: skip · u: back · q: stop"


def annotate(path: Path, *, lines: Iterable[str], console: Console | None = None) -> list[Row]:
    """Show what is not filled yet, passage by passage, ask for a question and its answers, and save each at once.

    ``lines`` are what is typed (``sys.stdin``); their end is a stop. The screen is standard error, if no other
    ``console`` is given. Returns the rows as they are then; the same call goes on where it stopped.

    Raises:
        DatasetError: as ``read_sheet`` and ``write_sheet``.
    """
    from rich.console import Console as Console_

    console = console or Console_(stderr=True, highlight=False)
    rows = read_sheet(path)
    typing = iter(lines)
    former = [*rows]
    left = [number for number, row in enumerate(rows) if not row.is_done]
    fixed = {number for number in left if rows[number].question.strip()}  # it was asked; only the answer is wanted
    at = 0
    while at < len(left):
        number = left[at]
        row = rows[number]
        console.print(_page(row, f"{at + 1} of {len(left)}"))
        filled = _filled(row, typing, console, ask=number not in fixed)
        if filled is None:
            return rows
        if filled == "back":
            at = max(0, at - 1)
            rows[left[at]] = former[left[at]]
            continue
        assert isinstance(filled, Row)
        rows[number] = filled
        write_sheet(rows, path)
        at += 1
    return rows


def _filled(row: Row, typing: Iterable[str], console: Console, *, ask: bool) -> Row | str | None:
    """The row as one filled it; ``"back"``, or ``None`` for stop."""
    typing = iter(typing)

    def typed(prompt: str, keys: str) -> str:
        console.print(f"{prompt} ", style="bold", markup=False, end="")
        console.print(f"({keys})", style="dim", markup=False)
        return next(typing, "q\n").strip()

    question = row.question
    if ask:
        question = typed("Question", _KEYS)
        if question.casefold() in ("q", "u", ""):
            return _key(question, row)
    answer = typed("Answer", f"several: a | b · -: the documents do not answer it · {_KEYS}")
    if answer.casefold() in ("q", "u", ""):
        return _key(answer, row)
    if answer == "-":
        return replace(row, question=question, answers=(), answerable=False)
    answers = tuple(dict.fromkeys(part.strip() for part in answer.split("|") if part.strip()))
    filled = replace(row, question=question, answers=answers, answerable=True)
    if not any(standing(passage.text, one) for passage in row.passages for one in answers):
        if len(row.passages) <= 1:
            console.print("It does not stand there word for word: the whole passage counts as evidence.", style="dim")
        else:
            numbers = {str(number): (passage,) for number, passage in enumerate(row.passages, 1)}
            said = {**numbers, "": ()}
            keys = f"1 to {len(numbers)} · empty: none of them · u: back · q: stop"
            while (chosen := typed("Which passage says so", keys)) not in said:
                if chosen.casefold() in ("q", "u"):
                    return _key(chosen, row)
                console.print(f"{chosen[:20]!r} is none of the keys.", markup=False)
            filled = replace(filled, passages=said[chosen])
    return filled


def _key(typed: str, row: Row) -> Row | str | None:
    return {"q": None, "u": "back", "": replace(row, skipped=True)}[typed.casefold()]


def _page(row: Row, place: str) -> RenderableType:
    from rich.console import Group
    from rich.panel import Panel
    from rich.rule import Rule
    from rich.text import Text

    def plain(text: str) -> Text:
        return Text("".join(c if c.isprintable() or c in "\n\t" else "�" for c in text).strip())

    panels = [
        Panel(plain(passage.text), title=plain(f"{number} {passage.source}"), title_align="left")
        for number, passage in enumerate(row.passages, 1)
    ]
    about = [plain(row.note)] if row.note else []
    return Group(Rule(place), *about, *panels, *([plain(row.question)] if row.question else []))
