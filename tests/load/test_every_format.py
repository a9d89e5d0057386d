"""What holds for every format, whatever reads it."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from openbook.load import SUFFIXES, load, read, scan
from openbook.types import Document, Skipped


def test_every_known_suffix_is_covered_here(kind: str) -> None:
    assert f".{kind}" in SUFFIXES


class TestEveryFormat:
    def test_the_words_written_are_found(self, sample: Path) -> None:
        [document] = load(sample)
        assert isinstance(document, Document)
        assert "ten paid sick days a year" in document.text

    def test_text_is_normalised(self, sample: Path) -> None:
        [document] = load(sample)
        assert isinstance(document, Document)
        assert not re.search("[\r\0\ud800-\udfff]", document.text + document.title)

    def test_headings_slice_to_their_titles(self, sample: Path, kind: str) -> None:
        [document] = load(sample)
        assert isinstance(document, Document)
        for heading in document.headings:
            assert 0 <= heading.start < heading.end <= len(document.text)
            words = re.sub(r"[*`#=_-]", "", document.text[heading.start : heading.end]).split()
            assert words == heading.title.split()
            assert not document.text[: heading.start].strip() or document.text[heading.start - 1] == "\n"
            assert document.text[heading.end : heading.end + 1] in ("", "\n")
        starts = [heading.start for heading in document.headings]
        assert starts == sorted(starts)
        structured = kind not in ("txt", "csv", "tsv", "json")
        assert ("Sick leave" in [heading.title for heading in document.headings]) == structured

    def test_pages_start_at_zero_and_never_go_back(self, sample: Path, kind: str) -> None:
        [document] = load(sample)
        assert isinstance(document, Document)
        assert list(document.pages) == sorted(document.pages)
        assert len(document.pages) == (2 if kind in ("pdf", "pptx") else 0)
        if document.pages:
            assert document.pages[0] == 0
            assert document.pages[-1] <= len(document.text)
            assert document.page_at(document.text.index("Sick leave")) == 2

    def test_metadata_say_where_it_came_from(self, sample: Path, kind: str) -> None:
        os.utime(sample, (1_700_000_000, 1_700_000_000))
        [document] = load(sample.parent)
        assert isinstance(document, Document)
        assert document.metadata["path"] == f"{sample.parent.name}/sick_leave-policy.{kind}"
        assert document.metadata["type"] == kind
        assert document.metadata["modified"] == "2023-11-14T22:13:20Z"
        assert "encoding" not in document.metadata

    def test_source_does_not_depend_on_the_way_there(
        self, sample: Path, kind: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(sample.parent)
        (sample.parent / "link").symlink_to(sample.parent)
        [named], [found], [linked] = load(sample.name), load(".", exclude=["link"]), load(f"link/{sample.name}")
        assert named.source == found.source == linked.source
        assert named.source == ("handbook-1" if kind == "jsonl" else sample.resolve().as_uri())

    def test_the_caller_has_the_last_word(self, sample: Path) -> None:
        [document] = load(sample, metadata={"team": "hr", "type": "policy"}, access=["hr", "ceo"])
        assert isinstance(document, Document)
        assert (document.metadata["team"], document.metadata["type"]) == ("hr", "policy")
        assert document.access == ("hr", "ceo")

    def test_it_has_a_title(self, sample: Path, kind: str) -> None:
        [document] = load(sample)
        assert isinstance(document, Document)
        named_by_file = kind in ("txt", "csv", "tsv", "xlsx")
        assert document.title == ("sick leave policy" if named_by_file else "Handbook")

    def test_reading_twice_gives_the_same(self, sample: Path) -> None:
        [file] = scan(sample)
        assert not isinstance(file, Skipped)
        assert list(read(file)) == list(load(sample))

    def test_suffix_may_be_in_capitals(self, sample: Path, kind: str) -> None:
        loud = sample.rename(sample.with_suffix(f".{kind.upper()}"))
        [document] = load(loud)
        assert isinstance(document, Document)
        assert document.metadata["type"] == kind

    def test_an_empty_file_is_skipped(self, kind: str, tmp_path: Path) -> None:
        path = tmp_path / f"nothing.{kind}"
        path.touch()
        [skipped] = load(path)
        assert skipped == Skipped(str(path), "empty; write something into it, or remove it")

    def test_random_bytes_are_skipped(self, kind: str, tmp_path: Path) -> None:
        path = tmp_path / f"noise.{kind}"
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40)
        items = list(load(path))
        assert items
        for skipped in items:
            assert isinstance(skipped, Skipped), skipped
            assert skipped.source.startswith(str(path))
            assert "\n" not in skipped.reason
            assert "; " in skipped.reason  # what is wrong; what to do

    def test_a_truncated_file_never_raises(self, sample: Path) -> None:
        whole = sample.read_bytes()
        for share in (0.05, 0.5, 0.95):
            sample.write_bytes(whole[: int(len(whole) * share)])
            for item in load(sample):
                assert isinstance(item, Document) or "\n" not in item.reason

    def test_too_large_a_file_is_skipped(self, sample: Path) -> None:
        [skipped] = load(sample, max_bytes=20)
        assert isinstance(skipped, Skipped)
        assert "over the limit of 0.0 MiB; split it or add it with a larger --max-bytes" in skipped.reason
