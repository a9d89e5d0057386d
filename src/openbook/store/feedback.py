"""Feedback: what people said of an answer or a passage, bound to its trace and seen under the same rule."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from openbook.store.database import Connection, Database

APPROVED = 200
"""So many of the newest approved answers are looked at for examples."""

_LAST = (
    # A better answer and a verdict on the answer are one word on the same thing, wherever it stands.
    "SELECT DISTINCT ON (trace, principals, CASE WHEN verdict <> 'better' THEN hit END) *"
    " FROM openbook.feedback WHERE %(trace)s::uuid IS NULL OR trace = %(trace)s::uuid"
    " ORDER BY trace, principals, CASE WHEN verdict <> 'better' THEN hit END, id DESC"
)
"""What counts of all that was said: the last word of each caller on the same thing."""

Verdict = Literal["up", "down", "better"]


@dataclass(frozen=True, slots=True)
class Feedback:
    """One person's word. ``hit`` (a rank, from 1): of that passage; a ``better`` answer stands in it.

    ``principals`` are those of the one who said it (``None``: the owner), ``created`` is ISO 8601.
    """

    trace: str
    verdict: Verdict
    answer: str | None = None
    hit: int | None = None
    principals: tuple[str, ...] | None = None
    created: str = ""


@dataclass(frozen=True, slots=True)
class Passage:
    """What stands at ``start:end`` of a document's version."""

    source: str
    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Reviewed:
    """A trace that somebody said something of: what was asked, found and cited, and what they said, oldest first.

    A passage is ``None`` where its document is gone, or is not for the caller. ``answered``: an answer was asked for,
    not hits alone; ``abstained``: and refused. ``written``: by a language model, in words of its own.
    """

    trace: str
    question: str
    filter: str | None
    hits: Sequence[Passage | None]
    cited: Sequence[Passage | None]
    answered: bool
    abstained: bool
    written: bool
    feedback: Sequence[Feedback]


class Feedbacks:
    """The feedback on one knowledge base's traces."""

    def __init__(self, database: Database, kb: int) -> None:
        self.database = database
        self.kb = kb

    def record(self, feedback: Feedback) -> Feedback:
        """Keep it; returned with the time. Whether the caller may see the trace was asked before."""
        principals = None if feedback.principals is None else list(feedback.principals)
        with self.database.transaction() as connection:
            row = connection.execute(
                "INSERT INTO openbook.feedback (trace, principals, verdict, answer, hit) VALUES (%s, %s, %s, %s, %s)"
                " RETURNING created",
                [feedback.trace, principals, feedback.verdict, feedback.answer, feedback.hit],
            ).fetchone()
        assert row is not None
        return replace(feedback, created=row[0].isoformat())

    def of(self, trace: str, principals: Sequence[str] | None) -> list[Feedback]:
        """What counts of what was said of one trace, as the principals may see it, oldest first."""
        with self.database.snapshot(principals) as connection:
            return [said for _, _, said in self._read(connection, trace)]

    def all(self, principals: Sequence[str] | None) -> list[Reviewed]:
        """Every trace with feedback that the principals may see, oldest first."""
        with self.database.snapshot(principals) as connection:
            rows = self._read(connection, None)
            spans = [span for _, body, _ in rows for span in _spans(body)]
            passages = self._passages(connection, spans)
            asked_by = self._askers(connection, {feedback.trace for _, _, feedback in rows})
        said: dict[str, list[Feedback]] = {}
        traces: dict[str, tuple[str, Mapping[str, Any]]] = {}
        for question, body, feedback in rows:
            traces[feedback.trace] = question, body
            said.setdefault(feedback.trace, []).append(feedback)
        found = []
        for id, (question, body) in traces.items():
            answer = body.get("answer") or {}
            # What was said before it is the asker's, and may quote what they read: as ``Traces.get`` has it.
            own = asked_by[id] == list(principals or ()) and all(_place(span) in passages for span in _spans(body))
            meant = body["details"].get("standalone", {}).get("question") if principals is None or own else None
            found.append(
                Reviewed(
                    trace=id,
                    # A follow-up as it was meant: nobody asks it again after the same words.
                    question=meant or question,
                    # What the question proposes itself it proposes again, when it is asked again.
                    filter=body["details"]["filters"]["own"] if "filters" in body["details"] else body.get("filter"),
                    hits=[passages.get(_place(span)) for span in body["hits"]],
                    cited=[passages.get(_place(span)) for span in answer.get("citations", ())],
                    answered=bool(answer) and "clarification" not in body["details"],
                    abstained=bool(answer.get("abstained")),
                    written=bool(answer.get("written", (answer.get("usage") or {}).get("output_tokens"))),
                    feedback=said[id],
                )
            )
        return found

    def approved(self, principals: Sequence[str] | None, *, local_only: bool) -> list[tuple[str, str]]:
        """(question, answer) of the newest answers that somebody called good and nobody bad, or that somebody wrote in
        place of one, newest first.

        Only what the principals may know anyhow: the question was asked, and the answer approved, by callers that had
        no principal besides theirs (row-level security says so); every passage that it was found in is there and open
        to them still, and every quote stands in the current version. What a language model wrote is not kept, and not
        shown. Unless ``local_only``, nothing that was found in a local-only document, and where there are any, only
        quotes: what a person wrote may come from one.
        """
        with self.database.snapshot(principals) as connection:
            traces = self._good(connection)
            good = list(traces)
            spans = {id: _spans(body) for id, (_, body, _) in traces.items()}
            known = self._documents(connection, {span["document"] for id in good for span in spans[id]})
            secret = not local_only and self._has_local_only(connection)
            cited = {id: (traces[id][1].get("answer") or {}).get("citations", []) for id in good}
            passages = self._passages(connection, [span for id in good for span in cited[id]])
        found = []
        for id in good:
            question, body, better = traces[id]
            documents = [known.get(span["document"]) for span in spans[id]]
            if not documents or any(one is None or (one[1] and not local_only) for one in documents):
                continue
            if better is not None:
                if not secret:
                    found.append((question, better))
                continue
            answer = body.get("answer") or {}
            written = bool(answer.get("written", (answer.get("usage") or {}).get("output_tokens")))
            quotes = [passages.get(_place(span)) for span in cited[id]]
            current = all(known[span["document"]][0] == span["version"] for span in cited[id])
            if quotes and all(quotes) and current and not written and not answer.get("abstained"):
                found.append((question, " ".join(f"{quote.text.strip()} [n]" for quote in quotes if quote)))
        return found

    def _good(self, connection: Connection) -> dict[str, tuple[str, Mapping[str, Any], str | None]]:
        """Trace → (question, what was found and answered, the last better answer), of the newest ``APPROVED`` traces
        that somebody said good of and nobody bad, newest first. Every question waits for it: of all other traces
        nothing is read but what was said of them."""
        rows = connection.execute(
            f"WITH said AS ({_LAST}), good AS ("
            " SELECT t.id, t.created,"
            "  (array_agg(f.answer ORDER BY f.id DESC) FILTER (WHERE f.answer <> ''))[1] AS better FROM said f"
            "  JOIN openbook.trace t ON t.id = f.trace"
            "  WHERE t.kb = %(kb)s AND (f.hit IS NULL OR f.verdict = 'better')"
            "  GROUP BY t.id HAVING NOT bool_or(f.verdict = 'down') ORDER BY t.created DESC, t.id DESC LIMIT %(most)s)"
            " SELECT g.id::text, t.question, t.body -> 'hits', t.body -> 'answer', g.better"
            " FROM good g JOIN openbook.trace t ON t.id = g.id ORDER BY g.created DESC, g.id DESC",
            {"trace": None, "kb": self.kb, "most": APPROVED},
        ).fetchall()
        return {id: (question, {"hits": hits, "answer": answer}, better) for id, question, hits, answer, better in rows}

    def _documents(self, connection: Connection, ids: Iterable[str]) -> dict[str, tuple[int, bool]]:
        """id → (version, whether it is local-only), of the documents that are there and that the caller may see."""
        rows = connection.execute(
            "SELECT id::text, version, local_only FROM openbook.document"
            " WHERE kb = %s AND removed IS NULL AND id = ANY(%s::uuid[])",
            [self.kb, sorted(ids)],
        ).fetchall()
        return {id: (version, local_only) for id, version, local_only in rows}

    def _askers(self, connection: Connection, traces: Iterable[str]) -> dict[str, list[str] | None]:
        rows = connection.execute(
            "SELECT id::text, principals FROM openbook.trace WHERE id = ANY(%s::uuid[])", [sorted(traces)]
        ).fetchall()
        return dict(rows)

    def _has_local_only(self, connection: Connection) -> bool:
        row = connection.execute(
            "SELECT EXISTS (SELECT FROM openbook.document WHERE kb = %s AND local_only)", [self.kb]
        ).fetchone()
        return bool(row and row[0])

    def _read(self, connection: Connection, trace: str | None) -> list[tuple[str, Mapping[str, Any], Feedback]]:
        """(question, body of the trace, feedback) that counts, in the order of the traces."""
        rows = connection.execute(
            "SELECT t.question, t.body, t.id::text, f.verdict, f.answer, f.hit, f.principals, f.created"
            f" FROM ({_LAST}) f JOIN openbook.trace t ON t.id = f.trace"
            " WHERE t.kb = %(kb)s ORDER BY t.created, t.id, f.id",
            {"trace": trace, "kb": self.kb},
        ).fetchall()
        return [
            (question, body, Feedback(id, verdict, answer, hit, None if by is None else tuple(by), created.isoformat()))
            for question, body, id, verdict, answer, hit, by, created in rows
        ]

    def _passages(self, connection: Connection, spans: Iterable[Mapping[str, Any]]) -> dict[_Place, Passage]:
        """What stands at these places, of the documents that are there and that the caller may see."""
        wanted = sorted({_place(span) for span in spans})
        if not wanted:
            return {}
        rows = connection.execute(
            'SELECT p.document::text, p.version, p.start, p."end", d.source,'
            ' substr(v.text, p.start + 1, p."end" - p.start)'
            ' FROM unnest(%s::uuid[], %s::int[], %s::int[], %s::int[]) AS p (document, version, start, "end")'
            " JOIN openbook.version v ON v.document = p.document AND v.version = p.version"
            " JOIN openbook.document d ON d.id = p.document WHERE d.kb = %s AND d.removed IS NULL",
            [*([*column] for column in zip(*wanted, strict=True)), self.kb],
        ).fetchall()
        return {
            (document, version, start, end): Passage(source, start, end, text)
            for document, version, start, end, source, text in rows
        }


_Place = tuple[str, int, int, int]


def _spans(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [*body["hits"], *(body.get("answer") or {}).get("citations", ())]


def _place(span: Mapping[str, Any]) -> _Place:
    return span["document"], span["version"], span["start"], span["end"]
