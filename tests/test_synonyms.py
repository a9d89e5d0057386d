"""Lines of a glossary."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbook.errors import RecipeError
from openbook.recipe import Glossary, Off, QueryHalf, Recipe
from openbook.synonyms import rules, sides


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("pto, paid time off,sick days", "pto, paid time off, sick days"),
        ("pto\tpaid time off", "pto, paid time off"),
        (" laptop =>  notebook , computer ", "laptop => notebook, computer"),
        ('"Smith, John", boss', '"Smith, John", boss'),
        ("Smith\\, John, boss", '"Smith, John", boss'),
        ("a => a, b", "a => a, b"),
    ],
)
def test_a_line_says_what_means_what(line: str, rule: str) -> None:
    assert rules([line], "here") == [rule]


@pytest.mark.parametrize(
    "line", ["", "   ", "# a comment", "alone", ",,,", "a, a", "PTO, pto", "a => A", "\x00", "\ufeff"]
)
def test_a_line_that_says_nothing_is_left_out(line: str) -> None:
    assert rules([line, "b, c"], "here") == ["b, c"]
    with pytest.raises(RecipeError, match="here: no synonyms in it; write a line such as"):
        rules([line], "here")


@pytest.mark.parametrize(
    ("line", "what"),
    [("a =>", "nothing on one side"), ("=> a", "nothing on one side"), ("a => b => c", "two arrows"),
     ("x" * 300 + ", y", "a synonym of 300 characters")],
)  # fmt: skip
def test_a_line_that_cannot_be_meant_is_told(line: str, what: str) -> None:
    with pytest.raises(RecipeError, match=f"here, line 1: .*{what}"):
        rules([line], "here")


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=30), max_size=5))
def test_rules_are_what_their_rules_are(lines: list[str]) -> None:
    found: list[str] = []
    with contextlib.suppress(RecipeError):
        found = rules(lines, "here")
    assert not found or rules(found, "here") == found
    assert all(any(sides(rule)) for rule in found)


class TestInARecipe:
    def test_a_file_travels_by_what_it_says(self, tmp_path: Path) -> None:
        file = tmp_path / "terms.txt"
        file.write_text("# ours\npto, paid time off\n\nlaptop => notebook\n")
        recipe = Recipe.from_toml(f'[query.glossary]\nkind = "synonyms"\npath = "{file}"')
        own = Recipe(query=QueryHalf(glossary=Glossary(rules=("pto,paid time off", "laptop => notebook"))))
        assert recipe == own
        assert recipe.hash == own.hash
        stored = recipe.to_toml()
        file.unlink()
        assert Recipe.from_toml(stored, stored=True) == recipe, "where it is read there need not be such a file"

    def test_another_glossary_is_another_recipe(self, tmp_path: Path) -> None:
        file = tmp_path / "terms.csv"
        hashes = []
        for text in ("a,b", "a,b\n", "a,c"):
            file.write_text(text)
            hashes.append(QueryHalf(glossary=Glossary.model_validate({"path": file})).hash)
        assert hashes[0] == hashes[1] != hashes[2]

    @pytest.mark.parametrize("content", ["ä, ö".encode("utf-16"), "ä, ö".encode("utf-8-sig"), "ä, ö\r\n".encode()])
    def test_unicode_is_read(self, content: bytes, tmp_path: Path) -> None:
        (tmp_path / "t").write_bytes(content)
        assert Glossary.model_validate({"path": str(tmp_path / "t")}).rules == ("ä, ö",)

    @pytest.mark.parametrize(
        ("content", "what"),
        [
            (b"\xe4, \xf6", "not UTF-8"),
            (b"", "no synonyms"),
            (b"# only\n", "no synonyms"),
            (b"pto => PTO\na, A\n", "no synonyms"),
            (None, "cannot be read"),
        ],
    )
    def test_what_is_wrong_with_a_file_is_told_in_a_line(
        self, content: bytes | None, what: str, tmp_path: Path
    ) -> None:
        file = tmp_path / "terms.txt"
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(RecipeError, match=what) as told:
            Recipe.from_toml(f'[query.glossary]\nkind = "synonyms"\npath = "{file}"')
        assert str(file) in str(told.value)
        assert "\n" not in str(told.value)

    @pytest.mark.parametrize(
        ("toml", "what"),
        [
            ("path = 3", "query.glossary.path is no text"),
            ('path = "/"', "cannot be read"),
            ("rules = 3", "query.glossary.rules = 3 is not allowed"),
            ('rules = ["a => b => c"]', "query.glossary.rules, line 1: two arrows"),
            ('rules = ["alone", "a => a"]', "query.glossary.rules: no synonyms in it; write a line such as"),
            ("weight = 2.0", "query.glossary.weight = 2.0 .*; write a number from 0 to 1"),
        ],
    )
    def test_what_makes_no_sense_is_told_in_a_line(self, toml: str, what: str) -> None:
        with pytest.raises(RecipeError, match=what):
            Recipe.from_toml(f'[query.glossary]\nkind = "synonyms"\n{toml}')

    def test_a_glossary_that_was_stored_is_read_as_it_is(self) -> None:
        """A release that answers is not failed for what is refused today."""
        stored = Recipe(query=QueryHalf(glossary=Glossary(rules=("a, b",)))).to_toml().replace("a, b", "a => a")
        assert Recipe.from_toml(stored, stored=True).to_toml() == stored

    def test_a_hundred_thousand_entries_are_read_in_seconds(self, tmp_path: Path) -> None:
        file = tmp_path / "terms.tsv"
        file.write_text("".join(f"abbr{n}\tlong form number {n}\n" for n in range(100_000)))
        begun = time.process_time()
        part = Glossary.model_validate({"path": file})
        again = Recipe.from_toml(Recipe(query=QueryHalf(glossary=part)).to_toml(), stored=True)
        assert again.query.glossary == part
        assert time.process_time() - begun < 30

    def test_recipes_without_are_what_they_were(self) -> None:
        assert "glossary" not in Recipe().to_toml()
        assert "spelling" not in Recipe().query.model_dump()
        old = Recipe.from_toml(Recipe().to_toml(), stored=True).query
        assert [old.spelling, old.glossary, old.expansion] == [Off()] * 3
