"""The example handbook is what its build script writes, and its questions point at sentences that stand in it."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from openbook.load import load
from openbook.types import Document

EXAMPLES = Path(__file__).parents[1] / "examples"
HANDBOOK = EXAMPLES / "handbook"
QUESTIONS: list[dict[str, Any]] = [
    json.loads(line) for line in (EXAMPLES / "questions.jsonl").read_text("utf-8").splitlines()
]
EVIDENCE = [(q["id"], evidence) for q in QUESTIONS for evidence in q["evidence"]]
BUILT = sorted(
    p.relative_to(HANDBOOK).as_posix() for p in HANDBOOK.rglob("*") if p.suffix in (".docx", ".pdf", ".xlsx")
)
WORDS_A_PAGE = 400

# Whole words that would stand near the answer to an unanswerable question, were there one.
NOWHERE = {
    "hb-031": r"dress|clothes|clothing|attire|suits?|ties?|jeans|shirts?|wears?",
    "hb-032": r"dogs?|pets?|animals?|cats?",
    "hb-033": r"401\(?k\)?|pensions?|retire\w*",
    "hb-034": r"referr\w*|bonus(es)?|recruit\w*",
    "hb-035": r"sabbaticals?|career breaks?",
    "hb-036": r"wi-?fi|wlan|wireless|ssid",
    "hb-037": r"vest(s|ed|ing)?|equity|shares|stock",
    "hb-038": r"SEV-5",
    "hb-039": r"HB-4077",
    "hb-040": r"wedding\w*|marr(y|ied|iage)|spouse",
}


def one_line(text: str) -> str:
    return " ".join(text.split())


def read(path: Path) -> Document:
    (document,) = load(path)
    assert isinstance(document, Document), document
    return document


@cache
def handbook() -> dict[str, Document]:
    paths = [path for path in sorted(HANDBOOK.rglob("*")) if path.is_file()]
    return {path.relative_to(HANDBOOK).as_posix(): read(path) for path in paths}


@cache
def script(name: str = "build_handbook") -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def built() -> dict[str, bytes]:
    content: dict[str, bytes] = script().build()
    return content


def test_the_script_builds_every_binary_file() -> None:
    assert sorted(built()) == BUILT


@pytest.mark.parametrize("name", BUILT)
def test_the_script_reproduces_the_committed_text(name: str, tmp_path: Path) -> None:
    # Not the bytes: another version of python-docx, reportlab, openpyxl or zlib may pack the same text otherwise.
    path = tmp_path / Path(name).name
    path.write_bytes(built()[name])
    fresh, committed = read(path), handbook()[name]
    assert fresh.text == committed.text
    assert fresh.pages == committed.pages


def test_the_demo_edits_a_policy_and_the_next_answer_says_so() -> None:
    done = subprocess.run([sys.executable, EXAMPLES / "live.py"], capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    before, after = (line for line in done.stdout.splitlines() if line.startswith("You may carry up to"))
    assert ("up to 5 unused" in before, "up to 8 unused" in after) == (True, True)
    assert "[1] time-off.md, version 2" in done.stdout


def test_two_builds_are_equal_byte_for_byte() -> None:
    assert script().build() == built()


def test_the_handbook_is_a_mix_of_formats_and_small() -> None:
    suffixes = [Path(name).suffix for name in handbook()]
    least = {".md": 8, ".html": 3, ".docx": 3, ".pdf": 3, ".xlsx": 1, ".csv": 1, ".rst": 1, ".txt": 1}
    assert {s: suffixes.count(s) >= n for s, n in least.items()} == dict.fromkeys(least, True)
    assert sum(len(handbook()[name].pages) for name in BUILT if name.endswith(".pdf")) >= 8
    assert sum((HANDBOOK / name).stat().st_size for name in BUILT) < 300_000


def test_the_handbook_has_25_pages() -> None:
    """A page is 400 words, a word a run of letters or digits: table rules and Markdown marks do not count."""
    words = sum(len(re.findall(r"\w+(?:['’.,-]\w+)*", document.text)) for document in handbook().values())
    assert words / WORDS_A_PAGE >= 25


def test_every_document_has_a_title() -> None:
    assert [name for name, document in handbook().items() if not document.title] == []


def test_questions() -> None:
    assert [q["id"] for q in QUESTIONS] == [f"hb-{n:03}" for n in range(1, 41)]
    assert len({q["question"] for q in QUESTIONS}) == 40
    assert sum(q["answerable"] for q in QUESTIONS) == 30
    for q in QUESTIONS:
        assert set(q) == {"id", "question", "answerable", "answers", "evidence", "tags"}
        assert bool(q["answers"]) == bool(q["evidence"]) == q["answerable"], q["id"]
    tags = [tag for q in QUESTIONS for tag in q["tags"]]
    least = {"paraphrase": 15, "pdf": 4, "docx": 3, "html": 3, "superseded": 3, "jargon": 5, "table": 5, "multi": 2}
    assert {tag: tags.count(tag) >= n for tag, n in least.items()} == dict.fromkeys(least, True)
    assert tags.count("csv") + tags.count("xlsx") >= 2


def test_jargon_is_what_its_script_writes() -> None:
    assert "".join(script("build_jargon").lines()) == (EXAMPLES / "jargon.jsonl").read_text("utf-8")


def test_jargon_stands_nowhere_in_the_handbook() -> None:
    every = "\n".join(document.text for document in handbook().values())
    for name, (source, words) in script("build_jargon").NAMES.items():
        assert re.findall(rf"\b{name.removeprefix('the ')}\b", every, re.IGNORECASE) == []
        assert one_line(words) in one_line(handbook()[source].text), name


def test_no_wording_of_jargon_is_in_two_splits() -> None:
    splits = [set(wordings) for wordings in script("build_jargon").ASKED.values()]
    assert len(set.union(*splits)) == sum(map(len, splits))


@pytest.mark.parametrize(("question", "evidence"), EVIDENCE)
def test_evidence_stands_in_its_document(question: str, evidence: dict[str, Any]) -> None:
    document = handbook()[evidence["source"]]
    assert one_line(evidence["text"]) in one_line(document.text), question


@pytest.mark.parametrize(("question", "evidence"), [(q, e) for q, e in EVIDENCE if e["source"].endswith(".pdf")])
def test_evidence_in_a_pdf_names_its_page(question: str, evidence: dict[str, Any]) -> None:
    document = handbook()[evidence["source"]]
    ends = [*document.pages[1:], len(document.text)]
    pages = [one_line(document.text[start:end]) for start, end in zip(document.pages, ends, strict=True)]
    assert [n for n, page in enumerate(pages, 1) if one_line(evidence["text"]) in page] == [evidence["page"]], question


def test_only_pdf_evidence_has_a_page() -> None:
    assert [q for q, e in EVIDENCE if ("page" in e) != e["source"].endswith(".pdf")] == []


def test_every_unanswerable_question_is_guarded() -> None:
    assert [q["id"] for q in QUESTIONS if not q["answerable"]] == list(NOWHERE)


@pytest.mark.parametrize(("question", "words"), NOWHERE.items())
def test_unanswerable_means_that_no_document_speaks_of_it(question: str, words: str) -> None:
    pattern = re.compile(rf"(?<!\w)(?:{words})(?!\w)", re.IGNORECASE)
    found = {name: match[0] for name, document in handbook().items() if (match := pattern.search(document.text))}
    assert found == {}
