"""Which files a folder holds, and what happens to those that cannot be read."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from openbook.errors import SourceError
from openbook.load import SourceFile, load, read, scan
from openbook.types import Document, Skipped


def tree(root: Path, *places: str, text: str = "some words") -> None:
    for place in places:
        path = root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def names(root: Path, **options: list[str]) -> list[str]:
    found = []
    for file in scan(root, **options):
        assert isinstance(file, SourceFile), file
        found.append(file.name.removeprefix(f"{root.name}/"))
    return found


class TestWhatIsFound:
    def test_files_come_sorted_and_unknown_types_not_at_all(self, tmp_path: Path) -> None:
        tree(tmp_path, "b.md", "a/z.txt", "a/y.md", "c.png", "Makefile", "a.md")
        assert names(tmp_path) == ["a/y.md", "a/z.txt", "a.md", "b.md"]

    def test_hidden_files_and_office_locks_are_passed_over(self, tmp_path: Path) -> None:
        tree(tmp_path, ".git/a.md", ".hidden.md", "~$report.docx", "seen.md")
        assert names(tmp_path) == ["seen.md"]

    def test_gitignore_counts_at_every_level(self, tmp_path: Path) -> None:
        tree(tmp_path, "draft.md", "a/draft.md", "a/keep.md", "build/out.md", "a/b/x.txt", "a/b/y.txt", "c/x.txt")
        (tmp_path / ".gitignore").write_text("draft.md\n/build/\n# remark\n\n")
        (tmp_path / "a" / ".gitignore").write_text("!draft.md\n/b/x.txt\n")
        assert names(tmp_path) == ["a/b/y.txt", "a/draft.md", "a/keep.md", "c/x.txt"]

    def test_gitignore_above_the_root_is_not_asked(self, tmp_path: Path) -> None:
        tree(tmp_path, "data/a.md")
        (tmp_path / ".gitignore").write_text("data/\n")
        assert names(tmp_path / "data") == ["a.md"]

    def test_a_broken_gitignore_line_costs_only_itself(self, tmp_path: Path) -> None:
        tree(tmp_path, "a.md", "b.md")
        (tmp_path / ".gitignore").write_bytes(b"!\n\xff\xfe\nb.md\n")
        assert names(tmp_path) == ["a.md"]

    def test_include_and_exclude_are_patterns_relative_to_the_root(self, tmp_path: Path) -> None:
        tree(tmp_path, "a.md", "a.txt", "sub/b.md", "sub/old/c.md")
        assert names(tmp_path, include=["*.md"]) == ["a.md", "sub/b.md", "sub/old/c.md"]
        assert names(tmp_path, include=["/*.md"]) == ["a.md"]
        assert names(tmp_path, include=["*.md"], exclude=["old/"]) == ["a.md", "sub/b.md"]

    def test_only_what_is_named_is_looked_at_by_the_same_rules(self, tmp_path: Path) -> None:
        tree(tmp_path, "a.md", "a/b.md", "a/c.md", "a/d/e.md", "a/d/f/g.md", "a/d/f/no.md", "h/i.md", "h/.j.md")
        (tmp_path / "a" / "d" / ".gitignore").write_text("no.md\n")
        (tmp_path / "h" / "locked").mkdir(mode=0)
        assert names(tmp_path, only=["a/b.md"]) == ["a/b.md"]
        assert names(tmp_path, only=["a/d", "a/b.md", "gone.md"]) == ["a/b.md", "a/d/e.md", "a/d/f/g.md"]
        assert names(tmp_path, only=["a/d/f/no.md", "h/.j.md", "h/x/y.md"]) == []
        assert names(tmp_path, only=["a/d"], exclude=["f"]) == ["a/d/e.md"]
        assert names(tmp_path, only=[]) == []

    def test_a_named_file_is_read_even_if_hidden(self, tmp_path: Path) -> None:
        tree(tmp_path, ".notes.md")
        assert [file.name for file in scan(tmp_path / ".notes.md") if isinstance(file, SourceFile)] == [".notes.md"]

    def test_a_link_does_not_double_what_it_leads_to(self, tmp_path: Path) -> None:
        tree(tmp_path, "z/a.md")
        (tmp_path / "again").symlink_to(tmp_path / "z")
        (tmp_path / "a-link.md").symlink_to(tmp_path / "z" / "a.md")
        assert names(tmp_path) == ["z/a.md"]

    def test_a_link_out_of_the_root_is_followed(self, tmp_path: Path) -> None:
        tree(tmp_path, "other/a.md", "root/b.md")
        (tmp_path / "root" / "more").symlink_to(tmp_path / "other")
        assert names(tmp_path / "root") == ["b.md", "more/a.md"]

    def test_a_file_tells_whether_it_changed(self, tmp_path: Path) -> None:
        tree(tmp_path, "a.md", text="twelve bytes")
        [file] = scan(tmp_path)
        assert isinstance(file, SourceFile)
        found = (tmp_path / "a.md").stat()
        assert (file.size, file.mtime_ns, file.inode) == (12, found.st_mtime_ns, found.st_ino)
        assert file.path == (tmp_path / "a.md").resolve()

    def test_listing_opens_no_file(self, tmp_path: Path) -> None:
        """Adding an unchanged folder again must cost next to nothing."""
        tree(tmp_path, *(f"{i // 50}/{i}.html" for i in range(400)), text="<h1>Title</h1><p>Some words.</p>" * 20)
        begin = time.perf_counter()
        assert len(list(scan(tmp_path))) == 400
        listed = time.perf_counter() - begin
        begin = time.perf_counter()
        assert len(list(load(tmp_path))) == 400
        assert time.perf_counter() - begin > 10 * listed


class TestTitlesOfFiles:
    @pytest.mark.parametrize(
        ("place", "title"),
        [
            ("leave_policy-2024.txt", "leave policy 2024"),
            ("benefits/README.txt", "benefits"),
            ("a_b/_index.txt", "a b"),
        ],
    )
    def test_a_name_becomes_readable(self, tmp_path: Path, place: str, title: str) -> None:
        tree(tmp_path, place)
        [document] = load(tmp_path)
        assert isinstance(document, Document)
        assert document.title == title


class TestWhatCannotBeRead:
    def test_a_root_that_does_not_exist_is_an_error_at_once(self, tmp_path: Path) -> None:
        with pytest.raises(SourceError, match="nowhere: does not exist; check the path"):
            load(tmp_path / "nowhere")

    def test_an_impossible_pattern_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(SourceError, match="exclude: a pattern makes no sense"):
            load(tmp_path, exclude=["!"])

    def test_an_unknown_type_is_reported_when_named(self, tmp_path: Path, refused: Callable[..., Skipped]) -> None:
        tree(tmp_path, "photo.png")
        assert refused(tmp_path / "photo.png").reason.startswith("unknown type .png; convert it to one of: csv docx")

    def test_a_loop_of_links_is_reported(self, tmp_path: Path) -> None:
        tree(tmp_path, "a/b/x.md")
        (tmp_path / "a" / "b" / "up").symlink_to(tmp_path / "a")
        (tmp_path / "a" / "self").symlink_to("self")
        items = list(scan(tmp_path))
        skipped = [item.source for item in items if isinstance(item, Skipped)]
        assert skipped == [str(tmp_path / place) for place in ("a/b/up", "a/self")]
        assert sum(isinstance(item, SourceFile) for item in items) == 1

    def test_a_broken_link_is_reported(self, tmp_path: Path, refused: Callable[..., Skipped]) -> None:
        (tmp_path / "gone.md").symlink_to(tmp_path / "nowhere.md")
        (tmp_path / "self.md").symlink_to("self.md")
        assert [item.source for item in load(tmp_path)] == [str(tmp_path / name) for name in ("gone.md", "self.md")]

    def test_a_pipe_does_not_hang(self, tmp_path: Path, refused: Callable[..., Skipped]) -> None:
        os.mkfifo(tmp_path / "pipe.md")
        assert refused(tmp_path).reason == "not a regular file; exclude it"
        assert refused(tmp_path / "pipe.md").reason.startswith("not a regular file")

    def test_a_file_that_vanishes_is_reported(self, tmp_path: Path) -> None:
        tree(tmp_path, "a.md", "b.md")
        items = load(tmp_path)
        first = next(items)
        (tmp_path / "b.md").unlink()
        assert isinstance(first, Document)
        assert list(items) == [Skipped(str(tmp_path / "b.md"), "no longer there; add again if it was moved")]

    def test_a_name_of_several_lines_stays_on_one(self, tmp_path: Path) -> None:
        tree(tmp_path, "two\nlines.md")
        (tmp_path / "no\rthing.md").touch()
        skipped, document = load(tmp_path)
        assert isinstance(document, Document)
        assert skipped.source == f"{tmp_path}/no\\rthing.md"
        assert document.source.endswith("/two%0Alines.md")
        assert document.metadata["path"] == f"{tmp_path.name}/two\\nlines.md"

    def test_a_name_that_is_not_utf8_can_be_read(self, tmp_path: Path, one: Callable[..., Document]) -> None:
        path = os.path.join(os.fsencode(tmp_path), b"caf\xe9.txt")
        with open(path, "w") as file:
            file.write("words")
        document = one(tmp_path)
        assert document.source.endswith("caf%E9.txt")
        (document.title + str(document.metadata["path"])).encode()

    def test_one_bad_file_does_not_end_the_rest(self, tmp_path: Path, make: Callable[[str], Path]) -> None:
        tree(tmp_path, "b.docx", "c.pdf", "d.xlsx", "e.pptx", "f.json", text="not what it says")
        make("a.md"), make("g.md")
        items = list(load(tmp_path))
        assert [isinstance(item, Document) for item in items] == [True, *[False] * 5, True]

    def test_a_clock_gone_wrong_does_not_matter(self, tmp_path: Path, one: Callable[..., Document]) -> None:
        tree(tmp_path, "a.md")
        os.utime(tmp_path / "a.md", (-5_000_000_000, -5_000_000_000))
        assert str(one(tmp_path).metadata["modified"]).endswith("Z")


@pytest.fixture
def without_rights() -> Iterator[Path]:
    """A folder whose files this process may not read, even when it is root."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        tree(folder, "closed.md", "open.md", "shut/a.md")
        (folder / "closed.md").chmod(0)
        (folder / "shut").chmod(0)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)
        try:
            yield folder
        finally:
            os.seteuid(user)
            (folder / "shut").chmod(0o755)


def test_what_may_not_be_read_is_reported(without_rights: Path) -> None:
    closed, opened, shut = load(without_rights)
    assert closed == Skipped(str(without_rights / "closed.md"), "permission denied; check its rights")
    assert isinstance(opened, Document)
    assert shut == Skipped(
        str(without_rights / "shut"), "the folder cannot be read (Permission denied); check its rights"
    )


def test_reading_a_path_that_is_not_there_is_reported(tmp_path: Path) -> None:
    [skipped] = read(tmp_path / "no.md")
    assert skipped == Skipped(str(tmp_path / "no.md"), "no longer there; add again if it was moved")


def test_importing_is_light() -> None:
    heavy = ["numpy", "docutils", "mammoth", "pptx", "openpyxl", "pypdfium2", "selectolax", "charset_normalizer"]
    heavy += ["markdown_it", "yaml"]
    code = f"import sys, openbook.load; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_the_example_in_the_docstring_runs() -> None:
    import doctest

    import openbook.load

    failed, attempted = doctest.testmod(openbook.load)
    assert (failed, attempted > 0) == (0, True)
