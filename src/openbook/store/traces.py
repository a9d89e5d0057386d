"""Traces: what happened to each question. They hold ids and spans; text is read through row-level security.

They are kept for as many days as the knowledge base says. Those that are older go as new ones are written, a few with
each batch; one that somebody gave feedback on stays.
"""

from __future__ import annotations

import atexit
import json
import queue
import threading
import time
import uuid
from collections.abc import Sequence
from typing import Any

from openbook.errors import OpenbookError
from openbook.store.access import ranked
from openbook.store.database import Database
from openbook.store.locks import share_indexes
from openbook.types import Answer, Citation, Hit, Trace

WAITING = 10_000
"""Traces that wait to be written, at most: where the database takes none, later ones are dropped, not the questions."""

DAYS = 90
"""For how long a new knowledge base keeps them; migration 0008 says it."""

EXPIRED = 1_000
"""Old traces that are deleted together: in some milliseconds."""

_LOOKED = 3600.0
"""Seconds between two looks for old traces, when the last one found few."""


class Traces:
    """Records traces off the answer's path, in batches, and reads them back."""

    def __init__(self, database: Database, kb: int) -> None:
        self.database = database
        self.kb = kb
        self._queue: queue.SimpleQueue[tuple[Any, ...] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._look = 0.0  # when old traces are next looked for, on the monotonic clock

    def record(self, trace: Trace, answer: Answer | None = None) -> None:
        body: dict[str, Any] = {
            "release": trace.release,
            "ms": dict(trace.ms),
            "filter": trace.filter,
            "details": dict(trace.details),
            "hits": [_span(hit) for hit in trace.hits],
        }
        if answer is not None:
            apart = [
                {**_cited(place), "date": date}
                for one in answer.disagreements
                for place, date in zip((one.older, one.newer), one.dates, strict=True)
            ]
            others = [call["usage"]["output_tokens"] for call in trace.details.get("calls", ()) if "usage" in call]
            body["answer"] = {
                "abstained": answer.abstained,
                "written": answer.usage.output_tokens > sum(others),  # by a model, and not only helped by one
                "reason": answer.reason,
                "confidence": answer.confidence,
                "citations": [_cited(c) for c in answer.citations],
                **({"disagreements": apart} if apart else {}),  # the older and the newer place of each, by turns
                "usage": {
                    "input_tokens": answer.usage.input_tokens,
                    "output_tokens": answer.usage.output_tokens,
                    "cost": answer.usage.cost,
                },
            }
        principals = None if trace.principals is None else list(trace.principals)
        with self._lock:
            if self._queue.qsize() < WAITING:
                self._queue.put((trace.id, self.kb, trace.created, principals, trace.question, json.dumps(body)))
            if self._thread is None:
                self._thread = threading.Thread(target=self._write, name="traces", daemon=True)
                self._thread.start()
                atexit.register(self.close)  # a script that never closes keeps its traces, too

    def close(self) -> None:
        """Write what is waiting."""
        with self._lock:  # one thread at a time takes from the queue, or it would take the other's stop
            if self._thread is not None:
                self._queue.put(None)
                self._thread.join()
                self._thread = None
                atexit.unregister(self.close)

    def days(self) -> int | None:
        """For how many days traces are kept; ``None``: for ever."""
        with self.database.snapshot(None) as connection:
            row = connection.execute(
                "SELECT trace_days FROM openbook.knowledge_base WHERE id = %s", [self.kb]
            ).fetchone()
        return None if row is None else row[0]

    def keep(self, days: int | None) -> int:
        """Keep traces for so many days (``None``: for ever); returns how many were older, and are gone."""
        with self.database.transaction("owner") as connection:
            connection.execute("UPDATE openbook.knowledge_base SET trace_days = %s WHERE id = %s", [days, self.kb])
        gone = some = self._expire()
        while some == EXPIRED:
            gone += (some := self._expire())
        return gone

    def are_of_evaluation(self) -> bool:
        """Whether an evaluation asked any of the questions that are kept."""
        with self.database.snapshot(None) as connection:
            row = connection.execute(
                "SELECT EXISTS (SELECT FROM openbook.trace t"
                "  WHERE t.kb = %s AND t.body #> '{details,dataset}' IS NOT NULL)",
                [self.kb],
            ).fetchone()
        return bool(row and row[0])

    def _expire(self) -> int:
        """Delete some of the traces that are older than they are kept; how many."""
        without_feedback = "NOT EXISTS (SELECT FROM openbook.feedback f WHERE f.trace = t.id)"
        with self.database.transaction() as connection:
            share_indexes(connection, self.kb)  # an erasure counts on nobody writing beside it
            old = connection.execute(
                "SELECT t.id FROM openbook.trace t WHERE t.kb = %s AND t.created < now() - make_interval(days =>"
                "  (SELECT k.trace_days FROM openbook.knowledge_base k WHERE k.id = %s))"
                f" AND {without_feedback} ORDER BY t.created LIMIT %s FOR UPDATE SKIP LOCKED",
                [self.kb, self.kb, EXPIRED],
            ).fetchall()
            # Who gave feedback on one in between has committed by now, and whoever comes later waits and finds none.
            return connection.execute(
                f"DELETE FROM openbook.trace t WHERE t.id = ANY(%s) AND {without_feedback}", [[id for (id,) in old]]
            ).rowcount

    def get(self, id: str, principals: Sequence[str] | None) -> dict[str, Any] | None:
        """A recorded trace with the text of its hits that the principals may see; ``None`` where there is none.

        Of what is not for this caller (any more) nothing is told but that the hit of this rank is closed: its fields
        are ``None``, and the reason of an abstention or a failure, which may quote it, is left out. Raw scores are the
        owner's.
        """
        try:
            number = uuid.UUID(id)
        except ValueError:
            return None
        with self.database.snapshot(principals) as connection:
            row = connection.execute(
                "SELECT question, created, principals, body FROM openbook.trace WHERE kb = %s AND id = %s",
                [self.kb, number],
            ).fetchone()
            if row is None:
                return None
            question, created, asked_by, body = row
            told = body.get("answer", {})
            spans = body["hits"] + told.get("citations", []) + told.get("disagreements", [])
            for span in spans:
                text = connection.execute(
                    "SELECT d.source, v.title, substr(v.text, %s + 1, %s - %s) FROM openbook.version v"
                    " JOIN openbook.document d ON d.id = v.document WHERE v.document = %s AND v.version = %s",
                    [span["start"], span["end"], span["start"], span["document"], span["version"]],
                ).fetchone()
                # Gone: the owner is told where it was.
                span["source"], span["title"], span["text"] = text or (None, None, None)
                if text is None and principals is not None:
                    span.update(dict.fromkeys(span))
            if principals is not None:
                # Words of documents that the asker saw then, of whichever: they may be closed to this caller, or now.
                # What was read need not be among the hits, so that these do not tell.
                mended = body["details"].get("spelling", {}).get("changed")
                words = ("spelling", "glossary", "expansion", "hops", "unknown_fields", "read")
                for name in (*words, *(["queries"] if mended else [])):
                    body["details"].pop(name, None)
                if apart := told.pop("disagreements", []):  # that something closed says otherwise is not told either
                    pairs = zip(apart[::2], apart[1::2], strict=True)
                    open_ = [span for pair in pairs if all(one["text"] is not None for one in pair) for span in pair]
                    told.update({"disagreements": open_} if open_ else {})
                for rank, span in enumerate(body["hits"], 1):
                    if span["text"] is not None:
                        span["score"] = ranked("fused", span["score"], rank)
                        for name, of in span["stages"].items():
                            of["score"] = ranked(name, of["score"], of["rank"])
                if asked_by != list(principals):  # what was said before is the asker's, and may quote what they read
                    _forget_conversation(body["details"])
                if any(span["text"] is None for span in spans):  # what was said of it may quote it
                    body["details"].pop("error", None)
                    _forget_conversation(body["details"])
                    # What was read out of the question is made of what the asker saw then.
                    if filters := body["details"].pop("filters", None):
                        body["filter"] = filters["own"]
                    body["details"].pop("themes", None)  # and so are its numbers
                    if "answer" in body:
                        body["answer"]["reason"] = None
        return {"trace": id, "question": question, "created": created.isoformat(), "principals": asked_by, **body}

    def _write(self) -> None:
        stop = False
        while not stop:
            batch = [self._queue.get()]
            while not self._queue.empty() and len(batch) < 256:
                batch.append(self._queue.get())
            stop = None in batch
            rows = [row for row in batch if row is not None]
            if not rows:
                continue
            try:
                with self.database.transaction() as connection, connection.cursor() as cursor:
                    share_indexes(connection, self.kb)
                    # One that found a document which was forgotten meanwhile is not written.
                    cursor.executemany(
                        "INSERT INTO openbook.trace (id, kb, created, principals, question, body)"
                        " SELECT t.* FROM (VALUES (%s::uuid, %s::int, %s::timestamptz, %s::text[], %s::text,"
                        "   %s::jsonb)) AS t (id, kb, created, principals, question, body)"
                        " WHERE NOT EXISTS (SELECT FROM jsonb_array_elements("
                        "   t.body -> 'hits' || coalesce(t.body #> '{answer,citations}', '[]')"
                        "   || coalesce(t.body #> '{answer,disagreements}', '[]')"
                        "   || coalesce(t.body #> '{details,read}', '[]')) AS span"
                        "   WHERE NOT EXISTS ("
                        "     SELECT FROM openbook.document d WHERE d.id = (span ->> 'document')::uuid))"
                        " ON CONFLICT DO NOTHING",
                        rows,
                    )
                if time.monotonic() >= self._look:
                    some = self._expire()
                    self._look = time.monotonic() + (0.0 if some == EXPIRED else _LOOKED)
            except OpenbookError:
                continue  # a question that was answered is not failed for its trace


def _cited(c: Citation) -> dict[str, Any]:
    return {"document": c.document, "version": c.version, "start": c.start, "end": c.end}


def _forget_conversation(details: dict[str, Any]) -> None:
    """Leaves out what was made of the question, and what it was made of."""
    for key in ("standalone", "queries", "clarification"):
        details.pop(key, None)
    for call in details.get("calls", ()):
        call.pop("skipped", None)


def _span(hit: Hit) -> dict[str, Any]:
    return {
        "document": hit.document,
        "version": hit.version,
        "start": hit.chunk.start,
        "end": hit.chunk.end,
        "page": hit.chunk.page,
        "score": hit.score,
        "stages": {name: {"rank": stage.rank, "score": stage.score} for name, stage in hit.stages.items()},
    }
