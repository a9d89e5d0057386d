"""CSV, JSON and JSON lines."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openbook.load import load
from openbook.types import Document, Skipped

One = Callable[..., Document]


class TestTables:
    @pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
    def test_the_delimiter_is_found(self, tmp_path: Path, one: One, delimiter: str) -> None:
        rows = [["name", "note", "n"], ["Ann", "a, b; c", "1"], ["Bob", "x|y", "2,5"]]
        with open(tmp_path / "a.csv", "w", newline="") as file:
            csv.writer(file, delimiter=delimiter).writerows(rows)
        assert one(tmp_path).text == (
            "| name | note | n |\n| --- | --- | --- |\n| Ann | a, b; c | 1 |\n| Bob | x\\|y | 2,5 |"
        )

    def test_cells_of_several_lines_and_rows_of_several_lengths(self, tmp_path: Path, one: One) -> None:
        (tmp_path / "a.csv").write_bytes(b'a,b,,\r\n"1\r\n2",,\r\n,,,\r\nx,y,z\r\n')
        assert one(tmp_path).text == "| a | b |  |\n| --- | --- | --- |\n| 1 2 |  |  |\n| x | y | z |"

    def test_one_column_is_a_table_too(self, tmp_path: Path, one: One) -> None:
        (tmp_path / "a.csv").write_text("word\nhello\n")
        assert one(tmp_path).text == "| word |\n| --- |\n| hello |"


class TestJson:
    def test_an_object_reads_as_lines(self, tmp_path: Path, one: One) -> None:
        content = {
            "name": "Leave",
            "days": {"sick": 10, "paid": True, "note": "a\nb"},
            "who": ["all", {"x": 1, "y": [2]}],
        }
        (tmp_path / "a.json").write_text(json.dumps({**content, "none": None}))
        document = one(tmp_path)
        assert document.text == (
            "name: Leave\ndays:\n  sick: 10\n  paid: yes\n  note: a\n    b\n"
            "who:\n  - all\n  - x: 1\n    y:\n      - 2\nnone:"
        )
        assert document.title == "Leave"

    def test_a_list_of_texts_is_a_document_each(self, tmp_path: Path) -> None:
        rows = [
            {"id": 7, "title": "A", "text": "one", "year": 2024, "metadata": {"tags": ["x"]}},
            {"_id": "b", "text": "two"},
            {"text": "three"},
        ]
        path = tmp_path / "a.json"
        path.write_text(json.dumps(rows))
        a, b, c = load(path)
        assert isinstance(a, Document)
        assert (a.source, a.title, a.text) == (f"{path.as_uri()}#7", "A", "one")
        assert (a.metadata["year"], a.metadata["tags"]) == (2024, ("x",))
        assert (b.source, c.source) == ("b", f"{path.as_uri()}#3")

    def test_a_single_text_is_its_file(self, tmp_path: Path, one: One) -> None:
        (tmp_path / "a.json").write_text(json.dumps({"title": "T", "text": "words", "url": "u"}))
        document = one(tmp_path)
        assert (document.source, document.title, document.text) == ((tmp_path / "a.json").as_uri(), "T", "words")
        assert document.metadata["url"] == "u"

    @pytest.mark.parametrize("text", ['{"a": ', "[1] [2]", "words", "[" * 100_000, "1" * 5000, '{"a": "\n"}'])
    def test_what_is_not_json_is_refused(self, tmp_path: Path, refused: Callable[..., Skipped], text: str) -> None:
        (tmp_path / "a.json").write_text(text)
        reason = refused(tmp_path).reason
        assert reason.startswith(("not JSON: ", "nested too deeply; "))

    def test_surrogates_and_nul_are_replaced(self, tmp_path: Path, one: One) -> None:
        (tmp_path / "a.json").write_text('{"a\\u0000": "x\\ud800y", "b": "\\ud83d\\ude00"}')
        assert one(tmp_path).text == "a\ufffd: x\ufffdy\nb: 😀"


class TestJsonLines:
    def test_beir(self, tmp_path: Path) -> None:
        path = tmp_path / "corpus.jsonl"
        rows = [
            {"_id": "d1", "title": "A title", "text": "Some text.", "metadata": {"version": "v1", "path": "docs/a.md"}},
            {"_id": "d2", "title": "", "text": "## Part\n\nMore.", "metadata": {}},
        ]
        path.write_text("\n".join(map(json.dumps, rows)))
        first, second = load(path)
        assert isinstance(first, Document)
        assert isinstance(second, Document)
        assert (first.source, first.title, first.text) == ("d1", "A title", "Some text.")
        assert (first.metadata["version"], first.metadata["path"], first.metadata["type"]) == (
            "v1",
            "docs/a.md",
            "jsonl",
        )
        assert (second.source, second.title, second.headings[0].title) == ("d2", "", "Part")
        assert second.metadata["path"] == "corpus.jsonl"

    def test_a_bad_line_is_named_and_the_rest_goes_on(self, tmp_path: Path) -> None:
        path = tmp_path / "a.jsonl"
        path.write_bytes(
            b'{"_id": "a", "text": "one"}\n{"_id": "b", \n\n{"_id": "a", "text": "again"}\n{"_id": "c", "text": " "}\n'
            b'{"_id": "d", "text": "two"}\n\xff\x00\x01\x02\x03\x04\x05\xff\n' + b"[" * 100_000 + b"\n" + b"1" * 5000
        )
        items = list(load(path))
        assert [item.source for item in items if isinstance(item, Document)] == ["a", "d"]
        skipped = {item.source: item.reason for item in items if isinstance(item, Skipped)}
        assert list(skipped) == [f"{path}:{line}" for line in (2, 4, 5, 7, 8, 9)]
        assert skipped[f"{path}:2"].startswith("not JSON: ")
        assert skipped[f"{path}:4"] == "the id a stands further up already; give it an id of its own"
        assert skipped[f"{path}:5"] == "empty; give it a text or remove it"
        assert not any("\n" in reason for reason in skipped.values())

    def test_other_lines_read_as_json(self, tmp_path: Path) -> None:
        path = tmp_path / "a.jsonl"
        path.write_text('{"question": "How?", "n": 1}\n{"content": "words", "id": "x y"}\n')
        first, second = load(path)
        assert isinstance(first, Document)
        assert (first.source, first.text) == (f"{path.as_uri()}#1", "question: How?\nn: 1")
        assert second.source == f"{path.as_uri()}#x%20y"

    def test_the_limit_counts_for_a_line_not_for_the_file(self, tmp_path: Path) -> None:
        path = tmp_path / "a.jsonl"
        lines = [json.dumps({"_id": str(i), "text": "word " * (400 if i == 5 else 10)}) for i in range(50)]
        path.write_text("\n".join(lines))
        items = list(load(path, max_bytes=1000))
        assert [item.source for item in items if isinstance(item, Skipped)] == [f"{path}:6"]
        assert len(items) == 50

    @pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
    def test_other_encodings(self, tmp_path: Path, encoding: str) -> None:
        (tmp_path / "a.jsonl").write_text('{"_id": "ä", "text": "Größe"}\n{"_id": "b", "text": "x"}', encoding=encoding)
        assert [item.source for item in load(tmp_path)] == ["ä", "b"]


# --- arbitrary text ---------------------------------------------------------------------------------------------------

any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


def words(text: str) -> str:
    return "".join(c for c in text if c.isalnum())


def loaded(suffix: str, content: bytes) -> list[Document | Skipped]:
    with TemporaryDirectory() as folder:
        path = Path(folder, f"a{suffix}")
        path.write_bytes(content)
        return list(load(path))


@settings(deadline=None, max_examples=60)
@given(any_text, st.sampled_from([".txt", ".md"]), st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]))
def test_words_of_any_text_are_found(text: str, suffix: str, encoding: str) -> None:
    marked = f"[{text}] and so on"  # no front matter; enough that NULs do not make it binary
    [item] = loaded(suffix, (marked + "." * 11 * text.count("\0")).encode(encoding))
    assert isinstance(item, Document)
    assert words(text) in words(item.text)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(any_text, min_size=2, max_size=3), min_size=1, max_size=4))
def test_words_of_any_csv_are_found(rows: list[list[str]]) -> None:
    file = io.StringIO(newline="")
    csv.writer(file).writerows([["one", "two", "three"], *([c.replace("\0", "") for c in row] for row in rows)])
    [item] = loaded(".csv", file.getvalue().encode())
    assert isinstance(item, Document)
    for row in rows:
        for cell in row:
            assert words(cell) in words(item.text)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | any_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_text, inner, max_size=3),
    max_leaves=10,
)


@settings(deadline=None, max_examples=60)
@given(json_values, any_text)
def test_words_of_any_json_are_found(value: object, text: str) -> None:
    [item] = loaded(".json", json.dumps({"value": value, "last": text}).encode())
    assert isinstance(item, Document)
    assert words(text) in words(item.text)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.text(max_size=40), min_size=1, max_size=5), any_text)
def test_any_records_come_back(texts: list[str], title: str) -> None:
    rows = [{"_id": f"d{i}", "text": text, "title": title, "extra": title} for i, text in enumerate(texts)]
    items = loaded(".jsonl", "\n".join(map(json.dumps, rows)).encode())
    assert len(items) == len(rows)
    for row, item in zip(rows, items, strict=True):
        if isinstance(item, Document):
            assert words(row["text"]) in words(item.text)
            (item.text + item.title + str(item.metadata)).encode()
        else:
            assert not row["text"].strip()
