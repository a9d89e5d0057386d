"""The command line, run as a user runs it: one process a command, JSON shapes, exit statuses, one-line errors."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openbook.knowledge_base import open as open_

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def handbook(tmp_path: Path) -> Path:
    folder = tmp_path / "handbook"
    folder.mkdir()
    (folder / "leave.md").write_text(
        "---\nyear: 2025\n---\n# Leave\n\n## Sick leave\n\nEvery employee gets 10 days of paid sick leave a year.\n\n"
        "## Holiday\n\nEvery employee gets 28 days of paid holiday. Up to 5 unused days carry over to the next year.\n"
    )
    (folder / "vpn.txt").write_text(
        "Error HB-4012 means that the certificate has expired. Run renew-cert to mend it.\n"
    )
    return folder


def parsed(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.stdout.count("\n") == 1, "one JSON object and nothing else"
    return json.loads(done.stdout)


def test_from_a_folder_to_a_cited_answer(openbook: Run, handbook: Path) -> None:
    done = openbook("add", "handbook", "--json")
    assert done.returncode == 0, done.stderr
    added = parsed(done)
    assert {key: added[key] for key in ("added", "updated", "unchanged", "removed", "skipped")} == {
        "added": 2, "updated": 0, "unchanged": 0, "removed": 0, "skipped": [],
    }  # fmt: skip
    assert added["chunks"] == added["embedded"] >= 2
    assert added["seconds"] > 0

    found = parsed(openbook("search", "carry over unused leave", "-k", "2", "--json"))
    assert found.keys() >= {"release", "trace", "ms", "hits"}
    assert found["ms"]["total"] > 0
    best = found["hits"][0]
    keys = {"document", "version", "source", "title", "heading", "page", "start", "end", "text", "score", "stages"}
    assert best.keys() >= keys
    assert best["heading"] == ["Leave"], "one chunk holds both sections: it names what stands above both"
    assert {"rank", "score"} == best["stages"]["dense"].keys() == best["stages"]["keyword"].keys()

    answer = parsed(openbook("ask", "How many sick days do I get?", "--json"))
    assert answer.keys() >= {"release", "trace", "ms", "answer", "abstained", "reason", "citations", "usage"}
    assert not answer["abstained"]
    assert "10 days of paid sick leave" in answer["answer"]
    assert answer["usage"].keys() == {"input_tokens", "output_tokens", "cost"}
    document = parsed(openbook("show", "leave.md", "--json"))
    assert answer["citations"][0]["heading"] == ["Leave", "Sick leave"]
    for citation in answer["citations"]:
        assert citation.keys() >= {"document", "version", "source", "title", "page", "start", "end", "quote"}
        assert document["text"][citation["start"] : citation["end"]] == citation["quote"]

    trace = parsed(openbook("show", "--trace", answer["trace"], "--json"))
    assert trace["question"] == "How many sick days do I get?"
    assert trace["answer"]["citations"][0]["text"] == answer["citations"][0]["quote"]

    assert [d["title"] for d in parsed(openbook("list", "--json"))["documents"]] == ["Leave", "vpn"]
    assert parsed(openbook("remove", "vpn.txt", "--json")) == {"removed": 1}
    assert parsed(openbook("status", "--json"))["documents"] == 1
    assert "HB-4012" not in openbook("search", "HB-4012").stdout


def test_what_people_read(openbook: Run, handbook: Path) -> None:
    assert "2 added, 0 updated, 0 unchanged, 0 removed, 0 skipped" in openbook("add", "handbook").stdout
    said = openbook("ask", "How many sick days do I get?").stdout
    assert "10 days of paid sick leave a year. [1]" in said
    assert "[1] leave.md › Leave › Sick leave, characters" in said
    assert openbook("ask", "Who won the chess championship in 1972?").stdout.startswith("I don't know")


def test_db_and_kb_stand_before_or_after_the_verb(openbook: Run, handbook: Path) -> None:
    assert openbook("--db", "here", "--kb", "a", "add", "handbook").returncode == 0
    assert parsed(openbook("status", "--db", "here", "--kb", "a", "--json"))["documents"] == 2
    assert parsed(openbook("status", "--kb", "a", "--json", env={"OPENBOOK_DB": "here"}))["documents"] == 2
    missing = openbook("status", "--db", "here", "--kb", "b", "--json")
    assert missing.returncode == 1
    assert "no knowledge base named 'b'" in parsed(missing)["error"]["what"]


def test_a_skipped_file_is_told_and_fails_the_command(openbook: Run, handbook: Path) -> None:
    (handbook / "broken\nname.pdf").write_bytes(b"%PDF-1.4 truncated")
    done = openbook("add", "handbook")
    assert done.returncode == 1
    assert "2 added" in done.stdout
    assert len([line for line in done.stderr.splitlines() if line.startswith("skipped ")]) == 1
    again = openbook("add", "handbook", "--json")
    assert again.returncode == 1
    assert parsed(again)["skipped"][0].keys() == {"source", "reason"}


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["ask", "anything"], 1, "add documents first"),
        (["add", "nowhere"], 2, "no such file or folder"),
        (["add"], 2, "SOURCE"),
        (["search", "x", "-k", "0"], 2, "-k"),
        (["add", ".", "--meta", "nonsense"], 2, "key=value"),
        (["evaluate", "."], 1, "qrels"),
        (["evaluate", ".", "--split", "train"], 2, "dev, test or all"),
        (["nonsense"], 2, "nonsense"),
        (["add", ".", "--recipe", "none.toml"], 2, "none.toml"),
        (["evaluate", "none.jsonl"], 2, "none.jsonl: no such file"),
        (["compare", "live", "default", "none.jsonl"], 2, "none.jsonl: no such file"),
        (["check", ".", "--baseline", "none.json"], 2, "none.json: no such file"),
        (["prefer", "none.json", "none.json"], 2, "none.json: no such file"),
        (["dataset", "check", "none.jsonl"], 2, "none.jsonl: no such file"),
        (["dataset", "annotate", "none.jsonl"], 2, "none.jsonl: no such file"),
        (["add", "\udcff"], 2, "no such file or folder"),  # a byte that is no UTF-8
        (["ask", "x", "--llm", "gpt"], 2, "openai:"),
        (["status", "--db", "http://elsewhere"], 2, "postgresql://"),
    ],
)
def test_what_goes_wrong_is_one_line(openbook: Run, arguments: list[str], status: int, message: str) -> None:
    done = openbook(*arguments)
    assert done.returncode == status
    assert done.stdout == ""
    last = done.stderr.strip().splitlines()
    assert len(last) == 1, done.stderr
    assert message in last[0]
    as_json = openbook(*arguments, "--json")
    assert as_json.returncode == status
    assert parsed(as_json)["error"].keys() == {"what", "where", "do"}


def test_what_a_terminal_would_obey_is_not_printed(openbook: Run, tmp_path: Path) -> None:
    """``show`` printed documents as they are."""
    text = "# Red\n\n\x1b[31mred\x1b[0m \x9b31m\tx\n"
    (tmp_path / "red.md").write_text(text)
    openbook("add", "red.md", "--access", "a\x1b", "--meta", "k\x1b=v\x1b")
    shown = openbook("show", "red.md").stdout
    assert not set(shown) & {"\x1b", "\x9b"}
    assert shown.endswith("# Red\n\n\ufffd[31mred\ufffd[0m \ufffd31m\tx\n\n")
    assert parsed(openbook("show", "red.md", "--json"))["text"] == text
    assert "\x1b" not in openbook("list").stdout


def test_a_document_is_named_by_the_end_of_its_path(openbook: Run, handbook: Path) -> None:
    """A name with a space was not found: its source is percent-encoded."""
    (handbook / "my page.md").write_text("# Page\n\nText.\n")
    openbook("add", "handbook")
    assert openbook("show", "my page.md").returncode == 0
    assert openbook("show", "handbook/my page.md").returncode == 0
    assert "no such document" in openbook("show", "page.md").stderr


def test_output_that_is_not_utf8_is_escaped(openbook: Run, handbook: Path) -> None:
    """It was a traceback."""
    openbook("add", "handbook")
    ascii = {"PYTHONIOENCODING": "ascii"}
    assert "leave.md" in openbook("search", "sick leave", env=ascii).stdout
    assert parsed(openbook("search", "sick leave", "--json", env=ascii))["hits"]


def test_words_that_python_takes_for_numbers_stay_words(openbook: Run, handbook: Path) -> None:
    """The database refused them."""
    assert openbook("add", "handbook", "--meta", "team=nan", "--meta", "n=1e999", "--meta", "year=2025").returncode == 0
    metadata = parsed(openbook("show", "vpn.txt", "--json"))["metadata"]
    assert (metadata["team"], metadata["n"], metadata["year"]) == ("nan", "1e999", 2025)


def test_the_verbs_are_listed_and_the_version_told(openbook: Run) -> None:
    """The list was one line of an error; version had no --json."""
    nothing = openbook()
    assert nothing.returncode == 2
    assert "\n  ask " in nothing.stdout
    assert parsed(openbook("version", "--json")).keys() == {"version"}


def test_a_recipe_decides_how_a_new_knowledge_base_reads(openbook: Run, handbook: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text("[index.chunk]\nkind = 'recursive'\nsize = 60\noverlap = 10\n")
    assert parsed(openbook("add", "handbook", "--recipe", "recipe.toml", "--json"))["chunks"] > 4
    (tmp_path / "recipe.toml").write_text("[index.chunk]\nkind = 'recursive'\nsize = 80\n")
    refused = openbook("add", "handbook", "--recipe", "recipe.toml")
    assert refused.returncode == 2
    assert "overlap" in refused.stderr
    (tmp_path / "recipe.toml").write_text("[index.chunk]\nkind = 'recursive'\nsize = 80\noverlap = 5\n")
    assert "reads documents differently" in openbook("add", "handbook", "--recipe", "recipe.toml").stderr
    (tmp_path / "recipe.toml").write_text("[index.chunks]\nkind = 'recursive'\n")
    assert "index.chunks" in openbook("add", "handbook", "--recipe", "recipe.toml").stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "kill"])
def test_a_stopped_add_keeps_what_it_wrote_and_the_next_one_carries_on(
    openbook: Run, tmp_path: Path, number: signal.Signals
) -> None:
    rows = [{"_id": f"d{n}", "text": f"Paragraph {n} of a long report."} for n in range(6000)]
    (tmp_path / "corpus.jsonl").write_text("\n".join(map(json.dumps, rows)))
    db = tmp_path / "db"
    environment = {**os.environ, "OPENBOOK_DB": str(db)}
    command = [sys.executable, "-m", "openbook", "add", "corpus.jsonl", "--json"]

    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with open_(db) as kb:
        while process.poll() is None and not kb.status()["documents"]:
            pass
        process.send_signal(number)
        out, error = process.communicate(timeout=60)
        kept = kb.status()
    assert process.returncode == (130 if number == signal.SIGINT else -number), error.decode()
    assert b"Traceback" not in error
    if number == signal.SIGINT:
        assert json.loads(out)["error"]["what"] == "interrupted"
    assert 0 < kept["documents"] == kept["chunks"] < 6000
    done = parsed(openbook("add", "corpus.jsonl", "--json", env={"OPENBOOK_DB": str(db)}))
    assert (done["added"], done["unchanged"]) == (6000 - kept["documents"], kept["documents"])


def test_two_commands_at_once_share_the_server(openbook: Run, handbook: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "openbook", "add", "handbook", "--json"]
    environment = {**os.environ, "OPENBOOK_DB": str(tmp_path / "db")}
    processes = [
        subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    results = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], results
    total = [json.loads(out) for out, _ in results]
    assert sum(one["added"] for one in total) == 2
    assert parsed(openbook("status", "--json", env={"OPENBOOK_DB": str(tmp_path / "db")}))["documents"] == 2


def test_asking_imports_no_training_library(handbook: Path, tmp_path: Path) -> None:
    script = (
        "import sys, openbook\n"
        "assert not [m for m in ('numpy', 'psycopg', 'pydantic', 'openvino') if m in sys.modules]\n"
        "kb = openbook.open('db'); kb.add('handbook'); kb.ask('How many sick days?'); kb.close()\n"
        "heavy = ('torch', 'transformers', 'sentence_transformers', 'scipy', 'openai', 'anthropic')\n"
        "print([m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_a_question_can_bring_its_own_query_half(openbook: Run, handbook: Path, tmp_path: Path) -> None:
    openbook("add", "handbook")
    (tmp_path / "sure.toml").write_text("[query.generate]\nthreshold = 1.0\n")
    assert parsed(openbook("ask", "How many sick days do I get?", "--recipe", "sure.toml", "--json"))["abstained"]
    assert not parsed(openbook("ask", "How many sick days do I get?", "--json"))["abstained"]


def test_chunks_of_a_folder_are_shown_without_adding_it(openbook: Run, handbook: Path, tmp_path: Path) -> None:
    table = "| town | rate |\n|---|---|\n" + "".join(f"| town number {n} | {n} euros |\n" for n in range(80))
    (handbook / "rates.md").write_text(f"# Rates\n\n{table}")
    (tmp_path / "small.toml").write_text("[index.chunk]\ntarget_tokens = 32\n")
    shown = parsed(openbook("chunks", "handbook", "--json"))
    assert shown["skipped"] == []
    assert shown["flags"].keys() == {"mid-table"}
    by_title = {document["title"]: document for document in shown["documents"]}
    for chunk in by_title["Rates"]["chunks"][1:]:
        assert chunk["flags"] == ["mid-table"]
        assert chunk["text"].startswith("| town number")
    smaller = parsed(openbook("chunks", "handbook/rates.md", "--recipe", "small.toml", "--json"))
    assert smaller["chunks"] > len(by_title["Rates"]["chunks"])
    assert not (tmp_path / ".openbook").exists()

    people = openbook("chunks", "handbook", "--flagged")
    assert "[mid-table]" in people.stdout
    assert "certificate" not in people.stdout, "nothing is wrong with that document"

    missing = openbook("chunks", "nowhere.md")
    assert missing.returncode == 1
    assert "nowhere.md: neither a file nor a document" in missing.stderr, "that there is no knowledge base is no news"


def test_chunks_of_a_document_are_those_that_are_searched(openbook: Run, handbook: Path) -> None:
    openbook("add", "handbook")
    [document] = parsed(openbook("chunks", "handbook/vpn.txt", "--json"))["documents"]
    [chunk] = document["chunks"]
    assert document["source"].endswith("handbook/vpn.txt")
    assert chunk["text"].startswith("Error HB-4012")
    (handbook / "new.md").write_text("Not added yet.")
    assert parsed(openbook("chunks", "handbook/new.md", "--json"))["chunks"] == 1
    missing = openbook("chunks", "nowhere.md")
    assert missing.returncode == 1
    assert "nowhere.md: no such document" in missing.stderr


def test_themes_are_told_with_sources_and_exact_quotes(openbook: Run, handbook: Path) -> None:
    openbook("add", "handbook")
    found = parsed(openbook("themes", "--json"))
    assert found.keys() >= {"release", "documents", "apart", "themes", "areas", "ms", "usage", "cached", "notes"}
    keys = {"label", "terms", "documents", "share", "sources", "summary", "citations", "children", "written"}
    assert all(theme.keys() >= keys for theme in found["themes"])
    assert sum(len(theme["sources"]) for theme in found["themes"]) == found["documents"] == 2
    for theme in found["themes"]:
        for cited in theme["citations"]:
            text = parsed(openbook("show", cited["document"], "--json"))["text"]
            assert text[cited["start"] : cited["end"]] == cited["quote"]
    assert "2 documents, " in openbook("themes", "--number", "2").stdout
    asked = openbook("ask", "What are the main themes?")
    assert asked.stdout.startswith("I don't know")  # by default no question is answered from the themes
    assert "this asks for all documents: see openbook themes" in asked.stderr
    for wrong, message in (("--number=0", "0 themes; ask for 1 to 200"), ("--dry-run", "give --llm, too")):
        done = openbook("themes", wrong)
        assert done.returncode == 2
        assert message in done.stderr
        assert done.stderr.count("\n") == 1
