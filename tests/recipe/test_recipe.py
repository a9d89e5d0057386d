"""Recipes: TOML in and out, named by their content."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbook.recipe import (
    ApprovedExamples,
    Assembly,
    Context,
    CorpusSpelling,
    Disagreements,
    EvidenceFusion,
    Extractive,
    FixedExamples,
    Glossary,
    IndexHalf,
    Keyword,
    Language,
    LanguageModel,
    LinearAdapter,
    LocalEmbedder,
    NearDuplicates,
    Off,
    OpenAIEmbedder,
    ParentChunker,
    QueryHalf,
    Recipe,
    ReciprocalRankFusion,
    RecursiveChunker,
    RelevanceFeedback,
    RuleFilters,
    SemanticChunker,
    StructureChunker,
    WeightedFusion,
    WindowChunker,
)

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
recipes = st.builds(
    Recipe,
    index=st.builds(
        IndexHalf,
        chunk=st.builds(
            StructureChunker, max_tokens=st.none() | st.integers(16, 999), target_tokens=st.integers(16, 999)
        )
        | st.builds(RecursiveChunker, size=st.integers(300, 999), overlap=st.integers(0, 299))
        | st.builds(WindowChunker, window=st.integers(0, 9))
        | st.builds(ParentChunker, target_tokens=st.integers(16, 99), parent_tokens=st.integers(99, 300))
        | st.builds(SemanticChunker, percentile=st.floats(0, 100)),
        context=st.builds(Context, tables=st.booleans()),
        embed=st.builds(LocalEmbedder, model=text, query_prefix=text) | st.builds(OpenAIEmbedder, model=text),
        keyword=st.builds(Keyword, language=st.sampled_from(get_args(Language))),
    ),
    query=st.builds(
        QueryHalf,
        spelling=st.builds(Off) | st.builds(CorpusSpelling, words=st.booleans(), identifiers=st.booleans()),
        glossary=st.builds(Off)
        | st.builds(Glossary, rules=st.sampled_from([(), ("pto, paid time off",), ('"a, b", c', "d => e, f")])),
        adapter=st.builds(Off) | st.builds(LinearAdapter, path=text, content=st.none() | text),
        expansion=st.builds(Off) | st.builds(RelevanceFeedback, weight=st.floats(0, 1)),
        within=st.none() | st.floats(0, 9),
        assemble=st.builds(
            Assembly, stitch=st.none() | st.integers(0, 999), per_document=st.none() | st.integers(1, 9)
        ),
        disagreements=st.builds(Off) | st.builds(Disagreements, dates=st.lists(text, max_size=3)),
        duplicates=st.builds(Off) | st.builds(NearDuplicates, similarity=st.floats(0.1, 1)),
        fusion=st.builds(EvidenceFusion, cosine=st.floats(0, 99), familiarity=st.booleans())
        | st.builds(WeightedFusion, dense=st.floats(0, 1))
        | st.builds(ReciprocalRankFusion),
        generate=st.builds(Extractive, threshold=st.none() | st.floats(0, 1))
        | st.builds(
            LanguageModel,
            kind=st.sampled_from(["openai", "anthropic"]),
            model=text,
            instructions=text,
            tokenizer=st.none() | text,
            order=st.sampled_from(["rank", "ends"]),
            examples=st.builds(Off)
            | st.builds(FixedExamples, shown=st.lists(st.tuples(text, text), max_size=3), file=st.none() | text)
            | st.builds(ApprovedExamples, count=st.integers(1, 9)),
        ),
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


def test_a_stored_recipe_means_what_it_meant_when_it_was_stored() -> None:
    """Settings that came later are off in it, and so is what they do."""
    later = {"neighbours", "target_tokens", "merge"}
    old = "\n".join(line for line in Recipe().to_toml().splitlines() if line.split(" ")[0] not in later)
    recipe = Recipe.from_toml(old, stored=True)
    assert (recipe.index.neighbours, recipe.query.merge) == (0.0, 0)
    assert isinstance(recipe.query.fusion, EvidenceFusion)
    assert recipe.query.fusion.neighbours == 0.0
    assert isinstance(recipe.index.chunk, StructureChunker)
    assert recipe.index.chunk.target_tokens > 100_000  # as much as the model reads
    assert Recipe.from_toml(old) == Recipe()


@given(recipes)
def test_a_recipe_that_was_stored_today_is_read_as_it_is(recipe: Recipe) -> None:
    assert Recipe.from_toml(recipe.to_toml(), stored=True) == recipe


def test_settings_that_came_later_are_not_told_where_a_recipe_does_not_use_them() -> None:
    """A recipe that was stored before there were any keeps its hash."""
    recipe = Recipe(query=QueryHalf(generate=LanguageModel(kind="openai", model="m")))
    told = recipe.to_toml()
    for later in ("local =", "tokenizer", "order", "examples", "assemble", "disagreements", "adapter", "context]"):
        assert later not in told
    assert Recipe.from_toml(told, stored=True).hash == recipe.hash
    assert Recipe(query=QueryHalf(assemble=Assembly(stitch=0))).hash != Recipe().hash
    assert Recipe(query=QueryHalf(filters=RuleFilters())).hash == "c5df3ed99b75", "as before it could say what is read"


def test_the_index_half_does_not_know_the_query_half() -> None:
    assert Recipe(query=QueryHalf(candidates=7)).index.hash == Recipe().index.hash


def test_whoever_reads_a_recipe_elsewhere_finds_the_tokenizer_of_every_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only that of the model that writes the answer was named by its whole path."""
    monkeypatch.chdir(tmp_path)
    Path("own.json").write_text("{}")
    model = 'model = { kind = "openai", model = "m", tokenizer = "own.json" }'
    stages = "\n".join(f'[query.{stage}]\nkind = "model"\n{model}' for stage in ("filters", "transform", "hops"))
    inline = '{ kind = "openai", model = "m", tokenizer = "own.json" }'
    recipe = Recipe.from_toml(
        f'[index.chunk]\nkind = "semantic"\nchoose = {inline}\n[index.context]\nsituate = {inline}\n{stages}\n'
        f'[query.generate]\nkind = "openai"\nmodel = "m"\ntokenizer = "own.json"'
    )
    told = recipe.anchored().to_toml()
    assert recipe.to_toml().count('tokenizer = "own.json"') == 6
    assert told.count(f'tokenizer = "{tmp_path / "own.json"}"') == 6
    assert Recipe.from_toml(told).anchored() == recipe.anchored()
    assert Recipe().anchored() == Recipe()
