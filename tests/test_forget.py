"""What is forgotten is gone: from every place that openbook writes to, to the byte, and for good."""

from __future__ import annotations

import contextlib
import json
import os
import random
import secrets
import shutil
import signal
import string
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

import openbook
from openbook.errors import NotFound, OpenbookError, QueryError, StoreError
from openbook.evaluate.caches import open_copy
from openbook.forgetting import Receipt
from openbook.indexing import Added
from openbook.knowledge_base import KnowledgeBase
from openbook.recipe import (
    BridgeHops,
    CorpusSpelling,
    IndexHalf,
    QueryHalf,
    Recipe,
    RecursiveChunker,
    RelevanceFeedback,
)
from openbook.store.database import Database
from openbook.store.writing import Writer
from openbook.types import Document

SMALL = Recipe(index=IndexHalf(chunk=RecursiveChunker(size=60, overlap=10)))
SAFE = Document("memo:safe", "The canteen opens at eight in the morning.", title="Canteen", metadata={"team": "food"})


def canary() -> str:
    """A word that is nowhere else and cannot be compressed away."""
    return secrets.choice("XQZ") + "".join(random.SystemRandom().choices(string.ascii_lowercase, k=23))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a database and a cache of its own: everything that openbook writes to."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("OPENBOOK_CACHE", str(folder / "cache"))
    return folder


def held(folder: Path, words: list[str]) -> dict[str, set[str]]:
    """Which of the words stand in which files below ``folder``, and in their names: as they are, in lower case, in
    UTF-16, and their ends, which is what a dictionary of words with shared beginnings holds."""
    found: dict[str, set[str]] = {}
    for path in folder.rglob("*"):
        try:
            data = path.read_bytes() if path.is_file() else b""
        except OSError:  # gone meanwhile
            continue
        data += str(path.relative_to(folder)).encode()
        low = data.lower()
        for word in words:
            forms = (word.lower().encode(), word[8:].encode(), word.encode("utf-16-le").lower())
            if any(form in low for form in forms):
                found.setdefault(word, set()).add(str(path.relative_to(folder)))
    return found


def forgotten(kb: KnowledgeBase, *names: str) -> Receipt:
    receipt = kb.forget(*names)
    assert receipt is not None
    return receipt


def sources(kb: KnowledgeBase, question: str, side: str) -> set[str]:
    return {hit.source for hit in kb.search(question).hits if side in hit.stages}


def test_not_a_byte_is_left_of_what_is_forgotten(home: Path, tmp_path: Path) -> None:
    words = [canary() for _ in range(13)]
    text, title, path, meta, asked, former, removed, better, named, long, source, over, under = words
    files = tmp_path / "files" / path
    files.mkdir(parents=True)
    plan = files / f"{path}.md"
    db = home / "db"
    with openbook.open(db) as kb:
        kb.add(SAFE)
        plan.write_text(f"# Plan {title}\n\nThe code was {former}.\n")
        kb.add(files, metadata={"owner": meta})
        plan.write_text(f"# Plan {title}\n\nThe code is {text}.\n\n" + f"Every clause of {long} counts. " * 400)
        assert kb.add(files, metadata={"owner": meta}).updated == 1
        kb.add(Document("memo:old", f"The old code was {removed}.", title="Old code"))
        trace = kb.ask(f"What does {asked} say of the code?").trace
        assert trace is not None
        kb.feedback(trace.id, f"It says {better}.")
        kb.search("canteen", 1, filter='team = "food"')
        kb.search(f"Is {text} in the canteen?", 1, filter='team = "food"')
        open_copy(kb, SMALL).close()
        kb.remove("memo:old")
        kb.add(Document("memo:named", f"The code of {named} is {text}."))
        kb.add(Document(f"memo:{source}", "It was edited.", title=f"Of {over}", metadata={"owner": under}))
        kb.edit(f"memo:{source}", source="memo:renamed", title="Of nobody", metadata={"owner": "nobody"})
        for word in (source, over, under):
            kb.search(f"Who is {word}?", 1, filter='team = "food"')
        with kb.database.alone() as connection:
            connection.execute("ANALYZE")  # as the server does by itself, in time
        kb.search("canteen")
        segments = set((db / "keyword").rglob("*.term"))
        before = held(home, words)
        assert set(before) == set(words), "all are there, or this test could not fail"
        assert any("cache/" in at for at in before[text])
        kept = kb.search("canteen", 1, filter='team = "food"').id

        receipt = forgotten(kb, plan.name, "memo:old", "memo:named", f"memo:{source}")
        assert receipt.complete
        assert len(receipt.documents) == 4
        assert receipt.erased is not None
        assert {"documents", "versions", "chunks", "vectors", "cached vectors", "traces", "feedback"} <= set(
            receipt.erased
        )
        assert receipt.erased["versions"] == 6
        assert receipt.erased["copies for evaluation"] == 1
        assert [one for one in receipt.pending if one.place == str(plan)], "the file is still there"
        assert [one for one in receipt.pending if one.place == "other running processes"]
        assert held(home, words) == {}
        # A dictionary of words spells them out in a way that no search for bytes tells.
        assert not segments & set((db / "keyword").rglob("*.term"))
        assert kb.trace(kept)["question"] == "canteen", "others' traces stay"
        assert sources(kb, "canteen opens", "dense") == {"memo:safe"} == sources(kb, "canteen opens", "keyword")
    assert held(home, words) == {}, "nor once the server has stopped"
    with openbook.open(db) as kb:
        assert kb.add(replace(SAFE, source="memo:again")).embedded == 0, "what others use stays in the cache"
        assert held(home, words) == {}
        with pytest.raises(NotFound):
            kb.show(plan.name)


def test_what_was_forgotten_comes_back_only_when_that_is_asked_for(kb: KnowledgeBase, tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text(f"The vault's code is {canary()}.\n")
    (tmp_path / "b.md").write_text("The canteen opens at eight.\n")
    assert kb.add(tmp_path).added == 2
    forgotten(kb, "a.md")
    again = kb.add(tmp_path)
    assert (again.added, again.unchanged, again.embedded) == (0, 1, 0)
    assert [skipped.source for skipped in again.skipped] == [(tmp_path / "a.md").as_uri()]
    assert "was forgotten on" in again.skipped[0].reason
    assert "--again" in again.skipped[0].reason
    with kb.database.transaction("owner") as connection:
        assert not connection.execute("SELECT FROM openbook.file WHERE path LIKE %s", ["%/a.md"]).fetchall()
    # Under another name it is the same text.
    (tmp_path / "a.md").rename(tmp_path / "c.md")
    assert kb.add(tmp_path).added == 0
    assert kb.add(tmp_path, again=True).added == 1
    assert kb.add(tmp_path).skipped == ()
    assert {row["source"].rpartition("/")[2] for row in kb.list()} == {"b.md", "c.md"}


def test_another_text_under_the_same_name_is_welcome(kb: KnowledgeBase) -> None:
    kb.add(Document("memo:1", "Ann earns 9000."))
    forgotten(kb, "memo:1")
    assert kb.add(Document("memo:1", "Salaries are confidential.")).added == 1
    assert kb.list()[0]["version"] == 1


def test_a_text_that_another_document_shares_survives_for_it(kb: KnowledgeBase) -> None:
    kb.add(Document("memo:1", "The same words."), Document("memo:2", "The same words."))
    forgotten(kb, "memo:1")
    assert sources(kb, "same words", "dense") == {"memo:2"} == sources(kb, "same words", "keyword")
    changed = kb.add(Document("memo:2", "The same words.", metadata={"year": 2026}))
    assert (changed.updated, changed.skipped) == (1, ())
    assert kb.add(Document("memo:3", "The same words.")).embedded == 0, "its vector is used by another"
    assert len(kb.add(Document("memo:1", "The same words.")).skipped) == 1, "only the forgotten one is refused"


def test_a_shared_text_is_refused_by_every_name_that_the_forgotten_document_had(kb: KnowledgeBase) -> None:
    kb.add(Document("memo:1", "The same words."), Document("memo:2", "The same words."))
    kb.edit("memo:1", source="memo:renamed")
    forgotten(kb, "memo:renamed")
    assert len(kb.add(Document("memo:1", "The same words.")).skipped) == 1
    assert len(kb.add(Document("memo:renamed", "The same words.")).skipped) == 1
    assert kb.add(Document("memo:3", "The same words.")).added == 1


def test_a_blank_text_is_nobodys(kb: KnowledgeBase) -> None:
    kb.add(Document("memo:1", "  \n"))
    forgotten(kb, "memo:1")
    assert kb.add(Document("memo:2", "  \n")).added == 1


def test_nothing_is_forgotten_where_a_name_means_none_or_several(kb: KnowledgeBase) -> None:
    kb.add(Document("x/plan", "one"), Document("y/plan", "two"), SAFE)
    with pytest.raises(NotFound, match="no such document"):
        kb.forget("memo:safe", "memo:nowhere")
    with pytest.raises(QueryError, match="means 2 documents"):
        kb.forget("memo:safe", "plan")
    assert kb.status()["documents"] == 3
    assert kb.forget("memo:safe", confirm=lambda doomed: False) is None
    assert kb.status()["documents"] == 3


def test_the_receipt_tells_which_text_it_was_to_whoever_has_it(kb: KnowledgeBase) -> None:
    import hashlib

    text = f"The vault's code is {canary()}."
    kb.add(Document("memo:1", text))
    told = []
    receipt = kb.forget("memo:1", confirm=lambda doomed: not told.append(doomed[0]))  # type: ignore[func-returns-value]
    assert receipt is not None
    [one] = receipt.documents
    assert one.source == told[0].source == "memo:1"
    assert one.hash == hashlib.sha256((one.salt + text).encode()).hexdigest()
    assert text not in repr(receipt)


def test_a_question_that_names_what_only_the_forgotten_knew_goes_and_others_stay(kb: KnowledgeBase) -> None:
    name = canary()
    quote = "whoever leaves early turns off the lights in the hall"
    kb.add(SAFE, Document("memo:1", f"{name} pays; {quote}."))
    only = 'team = "food"'
    asked = [f"Who is {name}?", f"Is it so that {quote}?", "When does the canteen open?", "At eight?"]
    traces = [kb.search(question, filter=only).id for question in asked]
    traces.append(kb.search("canteen", filter=f'team = "food" and owner != "{name}"').id)
    kb.trace(traces[-1])
    forgotten(kb, "memo:1")

    def is_there(trace: str) -> bool:
        try:
            return bool(kb.trace(trace))
        except NotFound:
            return False

    assert [is_there(trace) for trace in traces] == [False, False, True, True, False]


def test_what_a_search_made_of_what_it_read_goes_with_it(home: Path) -> None:
    """Documents were read that were no hit: their words stayed, as stems, and so did names whose words others have."""
    author = "Mara Ostrov"
    harbour = Document("Winter Harbour", f"Winter Harbour is a novel about boats by {author}.", "Winter Harbour")
    play = Document("ostrov", "She has written plays about the Zyxfordings, and novels.", author)
    others = [
        Document(f"n{n}", f"{name} wrote of winter, Mara of the harbour, Ostrov of a novel.", name, {"shelf": "b"})
        for n, name in enumerate(("Alder", "Birk", "Corin", "Dorn"))
    ]
    halves = {
        "expansion": QueryHalf(expansion=RelevanceFeedback(chunks=10, terms=50)),
        "hops": QueryHalf(hops=BridgeHops()),
        "spelling": QueryHalf(spelling=CorpusSpelling()),
    }
    with openbook.open(home / "db") as kb:
        kb.add(*others, harbour, play)
        told: dict[str, str] = {}
        for name, half in halves.items():
            kb.answer_by(half)
            if name == "spelling":
                trace = kb.search("A novel of zyxfordinga", 1, filter='shelf = "b"')
            else:
                trace = kb.search("Where was the author of Winter Harbour born?", 1)
            assert trace.hits[0].source != "ostrov"
            told[name] = trace.id
            details = repr(kb.trace(trace.id)["details"][name])
            assert {"expansion": "zyxford", "hops": author, "spelling": "zyxfording"}[name] in details
        kb.answer_by(QueryHalf())
        told["another form of a word"] = kb.search("Who is a Zyxfording?", 1, filter='shelf = "b"').id
        stays = kb.search("Alder on winter", 1).id
        kb.trace(stays)
        forgotten(kb, "ostrov")
        for id in told.values():
            with pytest.raises(NotFound):
                kb.trace(id)
        assert kb.trace(stays)["question"] == "Alder on winter"
        with kb.database.snapshot(None) as connection:
            rows = connection.execute("SELECT question || body::text FROM openbook.trace").fetchall()
        assert not [row for (row,) in rows if "yxford" in row or author in row]


def test_a_document_is_forgotten_by_a_name_that_it_had(kb: KnowledgeBase) -> None:
    kb.add(SAFE, Document("notes/ann", "The vault opens with two keys."), Document("notes/bob", "Bob is away."))
    kb.edit("notes/ann", source="memo:1")
    kb.edit("notes/bob", source="memo:2")
    trace = kb.search("notes/bob", filter='team = "food"').id
    forgotten(kb, "notes/bob")
    with pytest.raises(NotFound):
        kb.trace(trace)
    forgotten(kb, "ann")
    assert [row["source"] for row in kb.list()] == ["memo:safe"]


def test_a_trace_that_waits_to_be_written_does_not_outlive_what_it_found(
    kb: KnowledgeBase, new_kb: Callable[..., KnowledgeBase]
) -> None:
    """A server that had just answered wrote the question, and where its answer stood, after it was forgotten."""
    kb.add(SAFE, Document("memo:1", "The vault opens with two keys."))
    late = kb.search("How many keys has the vault?", record=False)
    other = kb.search("canteen", filter='team = "food"', record=False)
    forgotten(kb, "memo:1")
    waiting = new_kb(name=kb.name)
    waiting.traces.record(late)
    waiting.traces.record(other)
    waiting.traces.close()
    with pytest.raises(NotFound):
        kb.trace(late.id)
    assert kb.trace(other.id)["question"] == "canteen"


def test_an_add_that_was_under_way_does_not_bring_it_back(
    kb: KnowledgeBase, new_kb: Callable[..., KnowledgeBase], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had read and embedded the document before it was forgotten, and wrote it afterwards."""
    secret = Document("memo:1", f"The vault's code is {canary()}.")
    kb.add(secret)
    read, gone = threading.Event(), threading.Event()
    write = Writer.write

    def late(self: Writer, *args: object, **more: object) -> object:
        if threading.current_thread() is thread:
            read.set()
            assert gone.wait(60)
        return write(self, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Writer, "write", late)
    adder = new_kb(name=kb.name)
    done = []
    changed = replace(secret, metadata={"year": 2026}), replace(secret, title="Another title")
    thread = threading.Thread(target=lambda: done.append(adder.add(changed[1], SAFE)))
    thread.start()
    assert read.wait(60)
    forgotten(kb, "memo:1")
    gone.set()
    thread.join(60)
    assert [skipped.source for skipped in done[0].skipped] == ["memo:1"]
    assert done[0].added == 1
    assert [row["source"] for row in kb.list()] == ["memo:safe"]
    assert not unused(kb), "the vector that it had made goes, too"


STOPPED = """
import os, signal, sys
import openbook
from openbook.store.erasure import Erasures
import openbook.forgetting as forgetting

def die(*args, **more):
    os.kill(os.getpid(), signal.SIGKILL)

owner, name = sys.argv[1].split(".")
setattr({"Erasures": Erasures, "forgetting": forgetting}[owner], name, die)
with openbook.open(sys.argv[2]) as kb:
    kb.forget(*sys.argv[3:])
"""


@pytest.mark.parametrize(
    "point",
    ["Erasures.erase", "Erasures._names", "forgetting._views", "forgetting._copies", "Erasures.rewrite",
     "Erasures._statistics", "Erasures.renew_log", "Erasures.finish"],
)  # fmt: skip
def test_what_a_kill_leaves_is_finished_without_a_name(home: Path, point: str) -> None:
    word = canary()
    db = home / "db"
    with openbook.open(db) as kb:
        kb.add(SAFE, Document("memo:1", f"The vault's code is {word}."))
        kb.search("vault code")
    done = subprocess.run([sys.executable, "-c", STOPPED, point, str(db), "memo:1"], capture_output=True, timeout=120)
    assert done.returncode == -9, done.stderr
    begun = point not in ("Erasures.erase", "Erasures._names")
    with openbook.open(db) as kb:
        assert kb.status()["unfinished_erasures"] == int(begun)
        assert {row["source"] for row in kb.list()} == ({"memo:safe"} if begun else {"memo:safe", "memo:1"})
        receipt = forgotten(kb, *([] if begun else ["memo:1"]))
        assert receipt.complete
        assert len(receipt.documents) == 1
        assert (receipt.documents[0].source is None) == begun, "its name was kept nowhere"
        assert held(home, [word]) == {}
        assert kb.status()["unfinished_erasures"] == 0
        assert sources(kb, "canteen", "keyword") == {"memo:safe"}
        assert forgotten(kb).documents == ()


def test_a_transaction_that_still_sees_it_is_waited_for_and_told(
    kb: KnowledgeBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openbook.store.erasure.OLD_SNAPSHOT", 0.2)
    kb.add(SAFE, Document("memo:1", "The vault opens with two keys."))
    with kb.database.snapshot(None) as connection:
        connection.execute("SELECT count(*) FROM openbook.version").fetchone()
        receipt = forgotten(kb, "memo:1")
    assert not receipt.complete
    assert "still sees what was erased" in receipt.pending[0].why
    assert kb.status()["unfinished_erasures"] == 1
    assert forgotten(kb).complete
    assert kb.status()["unfinished_erasures"] == 0


def killed_amid_a_copy(kb: KnowledgeBase, db: Path) -> str:
    """The file that stays when the server is killed before a new table is committed."""
    with contextlib.suppress(StoreError), kb.database.transaction("owner") as connection:
        connection.execute("CREATE TABLE copied AS SELECT text FROM openbook.version, generate_series(1, 100)")
        with kb.database.alone() as other:
            other.execute("CHECKPOINT")
        row = connection.execute("SELECT pg_relation_filepath('copied')").fetchone()
        os.kill(int((db / "postgres" / "postmaster.pid").read_text().split()[0]), signal.SIGQUIT)
        connection.execute("SELECT pg_sleep(60)")
    assert row is not None
    return str(row[0])


def test_one_that_writes_and_says_nothing_is_waited_for_as_well(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two statements it has no snapshot; who begins meanwhile sees what it may see."""
    monkeypatch.setattr("openbook.store.erasure.OLD_SNAPSHOT", 0.2)
    word = canary()
    with openbook.open(home / "db") as kb:
        kb.add(SAFE, Document("memo:1", f"The vault's code is {word}."))
        with kb.database.transaction("owner") as other:
            other.execute("SELECT pg_current_xact_id()")
            receipt = forgotten(kb, "memo:1")
            assert not receipt.complete
            assert "still sees what was erased" in receipt.pending[0].why
        assert forgotten(kb).complete
    assert held(home, [word]) == {}


def test_nor_do_statistics_of_a_table_that_is_empty_now(home: Path) -> None:
    """ANALYZE passes over a table without rows, and leaves those it made when there were some."""
    words = [canary() for _ in range(3)]
    text, title, source = words
    with openbook.open(home / "db") as kb:
        kb.add(*(Document(f"memo:{source}:{n}", f"Code {n} is {text}.", title=f"{title} {n}") for n in range(3)))
        kb.search(f"What is {text}?")
        kb.traces.close()
        with kb.database.alone() as connection:
            connection.execute("ANALYZE")
        assert forgotten(kb, *(row["source"] for row in kb.list())).complete
    assert held(home, words) == {}


def test_what_a_killed_server_left_of_a_table_goes_too(home: Path) -> None:
    """A server that is killed while it writes a table anew leaves the copy, which belongs to nothing, for ever."""
    word = canary()
    db = home / "db"
    with openbook.open(db) as kb:
        kb.add(SAFE, Document("memo:1", f"The vault's code is {word}."))
        copied = db / "postgres" / killed_amid_a_copy(kb, db)
    with openbook.open(db) as kb:
        assert kb.status()["documents"] == 2
        assert word.encode() in copied.read_bytes()
        receipt = forgotten(kb, "memo:1")
        assert receipt.erased is not None
        assert receipt.erased["stray files"] >= 1
        assert held(home, [word]) == {}
        assert sources(kb, "canteen", "keyword") == {"memo:safe"}


def test_a_build_that_was_under_way_does_not_bring_it_back(
    kb: KnowledgeBase, new_kb: Callable[..., KnowledgeBase], monkeypatch: pytest.MonkeyPatch
) -> None:
    kb.add(SAFE, Document("memo:1", f"The vault's code is {canary()}."))
    read, gone = threading.Event(), threading.Event()
    catch_up = Writer.catch_up

    def late(self: Writer, *args: object, **more: object) -> object:
        read.set()
        assert gone.wait(60)
        return catch_up(self, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Writer, "catch_up", late)
    builder = new_kb(name=kb.name)
    built: list[Any] = []
    thread = threading.Thread(target=lambda: built.append(builder.build(SMALL)))
    thread.start()
    assert read.wait(60)
    forgotten(kb, "memo:1")
    gone.set()
    thread.join(120)
    kb.promote(built[0].release)
    assert {hit.source for hit in kb.search("vault code canteen").hits} == {"memo:safe"}
    assert not unused(kb)


def unused(kb: KnowledgeBase) -> list[Any]:
    """Cached vectors that were made for no document."""
    with kb.database.transaction("owner") as connection:
        return connection.execute(
            "SELECT FROM openbook.vector v WHERE NOT EXISTS (SELECT FROM openbook.vector_use u"
            " WHERE u.embedder = v.embedder AND u.text = v.text)"
        ).fetchall()


def test_questions_and_edits_go_on_meanwhile(kb: KnowledgeBase, new_kb: Callable[..., KnowledgeBase]) -> None:
    """They wait for a table that is being rewritten, and none fails or misses what is there."""
    kb.add(SAFE, *(Document(f"memo:{n}", f"Item {n} is {canary()}.") for n in range(30)))
    stop = threading.Event()
    asked: list[set[str]] = []
    wrong: list[BaseException] = []

    def ask(other: KnowledgeBase) -> None:
        try:
            while not stop.is_set():
                asked.append(sources(other, "canteen opens", "keyword"))
                other.add(Document("memo:edited", f"Edit {len(asked)}."))
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=ask, args=[new_kb(name=kb.name)]) for _ in range(2)]
    for thread in threads:
        thread.start()
    for n in range(0, 30, 10):
        assert forgotten(kb, *(f"memo:{n + m}" for m in range(10))).complete
    stop.set()
    for thread in threads:
        thread.join(120)
    assert not wrong
    assert asked
    assert all("memo:safe" in found for found in asked)
    assert {row["source"] for row in kb.list()} == {"memo:safe", "memo:edited"}


def test_a_file_and_its_root_go_with_what_they_held_and_an_access_rule_stays(kb: KnowledgeBase, tmp_path: Path) -> None:
    hr, it = tmp_path / "hr", tmp_path / "it"
    for folder in (hr, it):
        folder.mkdir()
        (folder / "one.md").write_text(f"{folder.name}: {canary()}\n")
    kb.add(hr, access=["group:hr"])
    kb.add(it)
    receipt = forgotten(kb, "hr/one.md", "it/one.md")
    with kb.database.transaction("owner") as connection:
        roots = connection.execute("SELECT path FROM openbook.root WHERE kb = %s", [kb.kb]).fetchall()
    assert roots == [(hr.as_uri(),)]
    assert [one.place for one in receipt.pending if "access rule" in one.why] == [str(hr)]
    (hr / "two.md").write_text("Salaries are confidential.\n")
    kb.add(hr)
    assert kb.list()[0]["access"] == ["group:hr"]
    forgotten(kb, "two.md")
    shutil.rmtree(hr)
    assert not [one for one in forgotten(kb).pending if "access rule" in one.why]
    with kb.database.transaction("owner") as connection:
        assert not connection.execute("SELECT path FROM openbook.root WHERE kb = %s", [kb.kb]).fetchall()


def names(kb: KnowledgeBase, table: str) -> list[str]:
    """The paths of files or roots that the database holds."""
    of = {"file": "openbook.file f JOIN openbook.root r ON r.id = f.root", "root": "openbook.root r"}[table]
    with kb.database.transaction("owner") as connection:
        rows = connection.execute(
            f"SELECT {table[0]}.path FROM {of} WHERE r.kb = %s ORDER BY 1",  # type: ignore[arg-type]
            [kb.kb],
        ).fetchall()
    return [path for (path,) in rows]


def test_a_path_that_documents_came_from_before_goes_with_them(kb: KnowledgeBase, tmp_path: Path) -> None:
    former, present, other = (tmp_path / name for name in ("anns-dismissal.jsonl", "rows.jsonl", "other.md"))
    former.write_text(json.dumps({"_id": "a", "text": f"Item a is {canary()}."}) + "\n")
    other.write_text("The canteen opens at eight.\n")
    kb.add(tmp_path)
    kb.add(other)
    former.rename(present)
    assert kb.add(tmp_path).updated == 1
    forgotten(kb, "a")
    assert set(names(kb, "file")) == {other.as_uri()}
    assert set(names(kb, "root")) == {tmp_path.as_uri(), other.as_uri()}
    again = kb.add(tmp_path)
    assert (again.unchanged, again.removed, len(again.skipped)) == (1, 0, 1), "all other files are still known"


@pytest.mark.parametrize("access", [None, ["group:hr"]])
def test_a_root_whose_files_were_dropped_before_goes_or_is_told(
    kb: KnowledgeBase, tmp_path: Path, access: list[str] | None
) -> None:
    folder = tmp_path / "anns-dismissal"
    folder.mkdir()
    (folder / "one.md").write_text(f"One: {canary()}.\n")
    kb.add(folder, access=access)
    (folder / "one.md").unlink()
    assert kb.add(folder, yes=True).removed == 1
    receipt = forgotten(kb, "one.md")
    assert names(kb, "root") == ([] if access is None else [folder.as_uri()])
    told = [one.place for one in receipt.pending if "access rule" in one.why]
    assert told == ([] if access is None else [str(folder)])


def test_a_file_that_is_on_its_way_in_keeps_its_place(
    kb: KnowledgeBase, new_kb: Callable[..., KnowledgeBase], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its document belonged to no file, and stayed when that was deleted."""
    kb.add(SAFE, Document("memo:1", "The vault opens with two keys."))
    (tmp_path / "note.md").write_text("The heron is blue.\n")
    numbered, gone = threading.Event(), threading.Event()
    write = Writer.write

    def late(self: Writer, *args: Any, **more: Any) -> Any:
        numbered.set()
        assert gone.wait(60)
        return write(self, *args, **more)

    monkeypatch.setattr(Writer, "write", late)
    adder = new_kb(name=kb.name)
    thread = threading.Thread(target=lambda: adder.add(tmp_path))
    thread.start()
    assert numbered.wait(60)
    forgotten(kb, "memo:1")
    gone.set()
    thread.join(60)
    (tmp_path / "note.md").unlink()
    assert kb.add(tmp_path, yes=True).removed == 1


def test_a_file_that_is_forgotten_while_its_new_text_is_read_is_added_all_the_same(
    kb: KnowledgeBase, new_kb: Callable[..., KnowledgeBase], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its number was gone, and the add failed."""
    path = tmp_path / "note.md"
    path.write_text("The vault opens with two keys.\n")
    kb.add(tmp_path)
    path.write_text("The heron is blue.\n")
    read, gone = threading.Event(), threading.Event()
    write = Writer.write

    def late(self: Writer, *args: Any, **more: Any) -> Any:
        read.set()
        assert gone.wait(60)
        return write(self, *args, **more)

    monkeypatch.setattr(Writer, "write", late)
    adder = new_kb(name=kb.name)
    done: list[Added | OpenbookError] = []

    def add() -> None:
        try:
            done.append(adder.add(tmp_path))
        except OpenbookError as error:
            done.append(error)

    thread = threading.Thread(target=add)
    thread.start()
    assert read.wait(60)
    forgotten(kb, "note.md")
    gone.set()
    thread.join(60)
    assert isinstance(done[0], Added), done[0]
    assert [row["title"] for row in kb.list()] == ["note"]
    monkeypatch.undo()
    kb.add(tmp_path)  # which gives it another number
    path.unlink()
    assert kb.add(tmp_path, yes=True).removed == 1


def test_of_a_file_of_many_documents_the_others_stay(kb: KnowledgeBase, tmp_path: Path) -> None:
    rows = [{"_id": f"d{n}", "text": f"Item {n} costs {n} euros."} for n in range(3)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    kb.add(tmp_path)
    forgotten(kb, "d1")
    assert kb.add(tmp_path).unchanged == 2
    assert {row["source"] for row in kb.list()} == {"d0", "d2"}


def test_a_report_of_a_release_keeps_its_figures_and_not_the_words(kb: KnowledgeBase) -> None:
    name = canary()
    kb.add(SAFE, Document("memo:1", f"{name} pays."))
    report = {
        "verdict": "ship",
        "questions": {"q1": {"text": f"Who is {name}?", "f1": 0.5}, f"of {name}": {"f1": 1.0}},
        "found": ["memo:1", "memo:safe"],
    }
    with kb.database.transaction("owner") as connection:
        connection.execute("UPDATE openbook.release SET report = %s WHERE kb = %s", [json.dumps(report), kb.kb])
    forgotten(kb, "memo:1")
    with kb.database.transaction("owner") as connection:
        row = connection.execute("SELECT report FROM openbook.release WHERE kb = %s", [kb.kb]).fetchone()
    assert row is not None
    assert row[0]["verdict"] == "ship"
    assert row[0]["questions"]["q1"] == {"text": "(forgotten)", "f1": 0.5}
    assert row[0]["found"] == ["(forgotten)", "memo:safe"]
    assert name not in json.dumps(row[0])


def test_two_at_once_forget_each_thing_once(kb: KnowledgeBase, new_kb: Callable[..., KnowledgeBase]) -> None:
    kb.add(*(Document(f"memo:{n}", f"Item {n} is {uuid.uuid4()}.") for n in range(6)), SAFE)
    receipts: list[Receipt] = []
    others = [new_kb(name=kb.name) for _ in range(3)]
    threads = [
        threading.Thread(
            target=lambda other=other, n=n: receipts.append(forgotten(other, f"memo:{n}", f"memo:{n + 1}"))
        )
        for n, other in enumerate(others)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert forgotten(kb).complete
    assert {row["source"] for row in kb.list()} == {"memo:safe", "memo:4", "memo:5"}
    assert kb.status()["unfinished_erasures"] == 0


def of_another_user(database: Database) -> tuple[str, str]:
    """A user who is no superuser, and the URL of that user's own database."""
    assert database.server is not None
    socket = conninfo_to_dict(database.server.conninfo("postgres"))["host"]
    user = f"owner_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(database.server.conninfo("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {user} LOGIN CREATEROLE")
        connection.execute(f"CREATE DATABASE {user} OWNER {user}")
    with psycopg.connect(database.server.conninfo("postgres", user), autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vector")
    return user, f"postgresql://{user}@/{user}?host={socket}"


def test_on_a_server_of_others_the_receipt_tells_what_its_user_may_not_do(database: Database, home: Path) -> None:
    assert database.server is not None
    _, url = of_another_user(database)
    word = canary()
    with openbook.open(url) as kb:
        kb.add(SAFE, Document("memo:1", f"The vault's code is {word}."))
        assert kb.search(f"code {word}").hits[0].source == "memo:1"
        receipt = forgotten(kb, "memo:1")
        assert receipt.complete
        assert kb.status()["unfinished_erasures"] == 0
        places = {one.place for one in receipt.pending}
        assert {"PostgreSQL's write-ahead log", "PostgreSQL's tables", "other hosts", "the server's log"} <= places
        assert held(home, [word]) == {}
        with kb.database.transaction("owner") as connection:
            row = connection.execute("SELECT oid FROM pg_database WHERE datname = current_database()").fetchone()
        assert row is not None
        assert sources(kb, "canteen", "keyword") == {"memo:safe"}
    with psycopg.connect(database.server.conninfo("postgres"), autocommit=True) as connection:
        connection.execute("CHECKPOINT")
    assert held(database.server.folder / "postgres" / "base" / str(row[0]), [word]) == {}, "the tables are rewritten"


def test_who_does_not_own_the_tables_is_told_so(database: Database, home: Path) -> None:
    assert database.server is not None
    user, url = of_another_user(database)
    superuser = psycopg.connect(database.server.conninfo("postgres", user), autocommit=True)
    with superuser, openbook.open(url) as kb:
        kb.add(SAFE, Document("memo:1", "The vault opens with two keys."))
        superuser.execute(f"ALTER DATABASE {user} OWNER TO postgres")  # its owner may rewrite any table
        superuser.execute("ALTER TABLE openbook.vector OWNER TO postgres")
        superuser.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON openbook.vector TO {user}")
        receipt = forgotten(kb, "memo:1")
        assert not receipt.complete
        assert ('table "openbook"."vector"', True) in {
            (one.place, "run openbook forget again as its owner" in one.why) for one in receipt.pending
        }
        superuser.execute(f"ALTER TABLE openbook.vector OWNER TO {user}")
        assert forgotten(kb).complete


# --- the command line -------------------------------------------------------------------------------------------------


def test_the_command_asks_first_and_prints_a_receipt(
    openbook: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    (tmp_path / "note.md").write_text("The vault opens with two keys.\n")
    assert openbook("add", "note.md").returncode == 0
    refused = openbook("forget", "note.md", "--json")
    assert refused.returncode == 2
    assert json.loads(refused.stdout)["error"]["do"] == "give --yes, too; nothing was forgotten"
    no = openbook("forget", "note.md", typed="n\n")
    assert (no.returncode, no.stdout) == (1, "")
    assert "note.md" in no.stderr
    assert openbook("forget", "note.md").returncode == 1, "an answer is not made up"
    yes = openbook("forget", "note.md", typed="yes\n")
    assert yes.returncode == 0, yes.stderr
    assert "forgotten  " in yes.stdout
    assert "pending    " in yes.stdout
    assert openbook("forget").stdout.startswith("nothing to finish")
    assert openbook("forget", "note.md", "--yes", "--json").returncode == 1
    again = openbook("add", "note.md", "--json")
    assert again.returncode == 1
    assert "was forgotten" in json.loads(again.stdout)["skipped"][0]["reason"]
    assert json.loads(openbook("add", "note.md", "--again", "--json").stdout)["added"] == 1
    receipt = json.loads(openbook("forget", "note.md", "--yes", "--json").stdout)
    assert {"documents", "erased", "models", "pending", "complete", "receipt"} <= receipt.keys()
    assert receipt["complete"] is True
