"""Recipes: TOML in and out, named by their content, refused where they make no sense."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbook.errors import RecipeError
from openbook.recipe import (
    EvidenceFusion,
    Extractive,
    IndexHalf,
    Keyword,
    LanguageModel,
    LocalEmbedder,
    OpenAIEmbedder,
    QueryHalf,
    Recipe,
    ReciprocalRankFusion,
    RecursiveChunker,
    StructureChunker,
    WeightedFusion,
)

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
recipes = st.builds(
    Recipe,
    index=st.builds(
        IndexHalf,
        chunk=st.builds(StructureChunker, max_tokens=st.none() | st.integers(16, 999))
        | st.builds(RecursiveChunker, size=st.integers(300, 999), overlap=st.integers(0, 299)),
        embed=st.builds(LocalEmbedder, model=text, query_prefix=text) | st.builds(OpenAIEmbedder, model=text),
        keyword=st.builds(Keyword, language=text),
    ),
    query=st.builds(
        QueryHalf,
        fusion=st.builds(EvidenceFusion, cosine=st.floats(0, 99), familiarity=st.booleans())
        | st.builds(WeightedFusion, dense=st.floats(0, 1))
        | st.builds(ReciprocalRankFusion),
        generate=st.builds(Extractive, threshold=st.none() | st.floats(0, 1))
        | st.builds(LanguageModel, kind=st.sampled_from(["openai", "anthropic"]), model=text, instructions=text),
    ),
)


@given(recipes)
def test_a_recipe_survives_toml(recipe: Recipe) -> None:
    again = Recipe.from_toml(recipe.to_toml())
    assert again == recipe
    assert again.hash == recipe.hash


@given(recipes, recipes)
def test_the_hash_is_the_content(a: Recipe, b: Recipe) -> None:
    assert (a.hash == b.hash) == (a == b)
    assert (a.index.hash == b.index.hash) == (a.index == b.index)


def test_the_index_half_does_not_know_the_query_half() -> None:
    assert Recipe(query=QueryHalf(candidates=7)).index.hash == Recipe().index.hash


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("[index.chunk]\nsize = 3", "index.chunk.structure.size"),
        ("[nonsense]", "nonsense"),
        ("[query.fusion]\nkind = 'weighted'\ndense = 1.5", "query.fusion.weighted.dense"),
        ("[query.fusion]\ndense = 0.5", "query.fusion.evidence.dense"),
        ("[query.fusion]\nkind = 'magic'", "query.fusion"),
        ("[index.chunk]\nkind = 'recursive'\nsize = 10\noverlap = 10", "overlap"),
        ("not toml", "not TOML"),
    ],
)
def test_what_makes_no_sense_is_told_in_one_line(toml: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message) as told:
        Recipe.from_toml(toml, where="recipe.toml")
    assert str(told.value).startswith("recipe.toml: ")
    assert "\n" not in str(told.value)
