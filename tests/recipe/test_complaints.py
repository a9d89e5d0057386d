"""A recipe that makes no sense is refused in its own words."""

from __future__ import annotations

import re

import pytest

from openbook.errors import RecipeError
from openbook.recipe import Recipe


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("[index.chunk]\nsize = 3", "index.chunk.size: no such key; .* of kind 'structure' there are kind, max_tokens"),
        ("[nonsense]", "nonsense: no such key; remove it; the keys there are index, query"),
        ("[query]\ncandidate = 3", "query.candidate: no such key; was candidates meant"),
        ("[query.fusion]\nkind = 'weighted'\ndense = 1.5", "query.fusion.dense = 1.5 .*; write a number from 0 to 1"),
        ("[query.fusion]\ndense = 0.5", "query.fusion.dense: no such key"),
        ("[query.hops]\nmost = 2", "query.hops.most: no such key; kind = 'bridge' .*has it; the keys of kind 'none'"),
        (
            '[query.filters]\nkind = "rules"\nread = ["version"]',
            "'version' is not allowed; write a list of 'versions', 'd",
        ),
        ('[query.filters]\nkind = "rules"\nread = "versions"', "'versions' is not allowed; write a list of 'versions'"),
        (
            "[query.fusion]\nkind = 'magic'",
            "query.fusion.kind = 'magic' .*; write one of 'evidence', 'weighted', 'rrf'",
        ),
        ("[query.generate]\nkind = 'openai'", "query.generate.model is not said; write a text in quotes"),
        ("[query]\ncandidates = 'many'", "query.candidates = 'many' .*; write a whole number from 1 to 10000"),
        ("[query.fusion]\nfamiliarity = 'perhaps'", "query.fusion.familiarity = 'perhaps' .*; write true or false"),
        (
            "[query.spelling]\nkind = 'corpus'\nwords = 1",
            "query.spelling.words = 1 is not allowed; write true or false",
        ),
        ("[index.chunk]\nmax_tokens = 3", "index.chunk.max_tokens = 3 .*; write a whole number of at least 16"),
        ("query = 3", "query = 3 is not allowed; write a table"),
        (
            "[index.keyword]\nlanguage = 'klingon'",
            "index.keyword.language = 'klingon' is not allowed; write one of 'arabic'",
        ),
        ("[index.chunk]\nkind = 'recursive'\nsize = 10\noverlap = 10", r"index.chunk: overlap \(10\) must be smaller"),
        ("not toml", "not TOML"),
    ],
)
def test_what_makes_no_sense_is_told_in_one_line(toml: str, message: str) -> None:
    """It was told in pydantic's words, with the kind of a part in the path of a key."""
    with pytest.raises(RecipeError) as told:
        Recipe.from_toml(toml, where="recipe.toml")
    assert str(told.value).startswith("recipe.toml: ")
    assert re.search(message, str(told.value)), str(told.value)
    assert "\n" not in str(told.value)
    assert "nput" not in str(told.value)
