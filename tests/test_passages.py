"""Small to be found, large to be read: chunks with passages and contexts, through the whole of a knowledge base."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

import openbook
from openbook.errors import ModelError
from openbook.knowledge_base import KnowledgeBase
from openbook.recipe import (
    ChunkerPart,
    Context,
    IndexHalf,
    LanguageModel,
    NearDuplicates,
    ParentChunker,
    QueryHalf,
    Recipe,
    SemanticChunker,
    WindowChunker,
)
from openbook.types import Document, Heading, Hit

LAMPS = (
    "The lighthouse has two lamps. The first was lit in 1871 by the harbour master. Its lens came from a workshop in "
    "the old town. The second lamp is a spare. It burns paraffin in winter and nothing in summer. Keepers trim its "
    "wick on Mondays. "
)
CATS = (
    "Four cats live in the boat shed. The grey one catches eels. Nobody feeds the others, who live on what the crews "
    "leave behind. A fifth cat was seen in March. It had one white paw and slept on the winch. "
)
TEXT = f"# Lamps\n\n{LAMPS}\n\n# Cats\n\n{CATS}\n"
HARBOUR = Document(
    "harbour",
    TEXT,
    "Harbour",
    headings=(Heading(0, 7, 1, "Lamps"), Heading(TEXT.index("# Cats"), TEXT.index("# Cats") + 6, 1, "Cats")),
)
RATES = Document(
    "rates",
    "Rates of the quay.\n\n| berth | mooring fee in crowns |\n|---|---|\n"
    + "".join(f"| place {n} | {100 + n} |\n" for n in range(90)),
    "Rates",
)


def recipe(chunk: ChunkerPart, **query: int) -> Recipe:
    return Recipe(index=IndexHalf(chunk=chunk, context=Context(tables=True)), query=QueryHalf(**query))


def sound(kb: KnowledgeBase, hits: Sequence[Hit]) -> None:
    """Every hit slices its text, lies over what was found, and no two show the same."""
    for at, hit in enumerate(hits):
        text = kb.show(hit.source).text
        assert text[hit.chunk.start : hit.chunk.end] == hit.chunk.text
        if hit.found is not None:
            assert hit.chunk.start <= hit.found[0] < hit.found[1] <= hit.chunk.end
        for other in hits[:at]:
            held = (other.chunk.start, other.chunk.end)
            assert other.source != hit.source or not (held[0] <= hit.chunk.start and hit.chunk.end <= held[1])


def test_a_sentence_is_found_and_its_window_is_shown(new_kb: Callable[..., KnowledgeBase]) -> None:
    kb = new_kb(recipe(WindowChunker(window=1, least_tokens=4), merge=0))
    kb.add(HARBOUR)
    hits = kb.search("Which cat catches eels?", 3).hits
    sound(kb, hits)
    best = hits[0]
    assert best.found is not None
    assert TEXT[slice(*best.found)] == "The grey one catches eels."
    assert best.chunk.text.startswith("# Cats\n\nFour cats live")
    assert best.chunk.text.endswith("leave behind.")
    assert "lamp" not in best.chunk.text
    answer = kb.ask("Which cat catches eels?")
    for citation in answer.citations:
        assert TEXT[citation.start : citation.end] == citation.quote


def test_children_are_found_and_their_parent_is_shown_once(new_kb: Callable[..., KnowledgeBase]) -> None:
    kb = new_kb(recipe(ParentChunker(target_tokens=16, parent_tokens=100)))
    kb.add(HARBOUR)
    assert len(kb.chunks("harbour")) > 4
    hits = kb.search("paraffin lamp in winter", 10).hits
    sound(kb, hits)
    assert [hit.chunk.headings for hit in hits] == [("Lamps",), ("Cats",)]
    assert hits[0].chunk.text == f"# Lamps\n\n{LAMPS}".strip()


def test_as_many_passages_are_found_as_are_asked_for(new_kb: Callable[..., KnowledgeBase]) -> None:
    kb = new_kb(recipe(ParentChunker(target_tokens=16, parent_tokens=100), candidates=5))
    kb.add(*(Document(f"d{n}", f"Crew {n}. {LAMPS}") for n in range(6)))
    assert len({hit.source for hit in kb.search("the second lamp", 6).hits}) == 6


def test_rows_are_found_by_the_header_of_their_table(new_kb: Callable[..., KnowledgeBase]) -> None:
    bare, headed = new_kb(Recipe()), new_kb(Recipe(index=IndexHalf(context=Context(tables=True))))
    for kb in (bare, headed):
        kb.add(RATES)
    context = "| berth | mooring fee in crowns |"
    assert [chunk.context for chunk in headed.chunks("rates")][:2] == ["", context]
    assert not any(chunk.context for chunk in bare.chunks("rates"))
    for kb, words_found in ((bare, False), (headed, True)):
        [hit] = [hit for hit in kb.search("mooring fee", 20).hits if "| place 77 |" in hit.chunk.text]
        assert "mooring" not in hit.chunk.text, "the span is the rows"
        assert ("keyword" in hit.stages) == words_found
    assert not any(looked.flags for looked in headed.boundaries("rates").chunks)
    assert any("mid-table" in looked.flags for looked in bare.boundaries("rates").chunks)


@pytest.mark.parametrize("chunk", [WindowChunker(), ParentChunker(target_tokens=16), SemanticChunker(least_tokens=8)])
def test_what_is_stored_is_verified_and_survives_export_and_edit(
    new_kb: Callable[..., KnowledgeBase], tmp_path: Path, chunk: ChunkerPart
) -> None:
    kb = new_kb(recipe(chunk))
    kb.add(HARBOUR, RATES)
    assert kb.verify().ok
    kb.export(tmp_path / "kb.openbook")
    openbook.import_(tmp_path / "kb.openbook", tmp_path / "db", "copy")
    with openbook.open(tmp_path / "db", "copy") as copy:
        for name in ("harbour", "rates"):
            assert copy.chunks(name) == kb.chunks(name)
        assert copy.verify().ok
    kb.edit("harbour", text=f"# Lamps\n\n{LAMPS}\n")
    sound(kb, kb.search("lamp", 5).hits)
    assert kb.verify().ok


COLLAPSE = Recipe(query=QueryHalf(duplicates=NearDuplicates()))


def test_near_duplicates_are_one_hit_that_tells_them_all(new_kb: Callable[..., KnowledgeBase]) -> None:
    copy = LAMPS.replace("Mondays", "Tuesdays")
    documents = [Document("first", LAMPS), Document("second", copy), Document("other", CATS)]
    apart, kb = new_kb(), new_kb(COLLAPSE)
    for base in (apart, kb):
        base.add(*documents)
    question = "When do keepers trim the wick of the lamp? On Mondays?"
    assert [hit.source for hit in apart.search(question, 3).hits][:2] == ["first", "second"]
    hits = kb.search(question, 3).hits
    assert [hit.source for hit in hits] == ["first", "other"]
    [also] = hits[0].also
    assert (also.source, also.chunk.text) == ("second", copy.strip())
    answer = kb.ask("What does the second lamp burn in winter?")
    assert answer.citations
    for citation in answer.citations:
        assert {citation.source, *(other.source for other in citation.also)} == {"first", "second"}
        for cited in (citation, *citation.also):
            assert kb.show(cited.source).text[cited.start : cited.end] == cited.quote


def test_a_duplicate_that_the_caller_may_not_see_is_not_told(new_kb: Callable[..., KnowledgeBase]) -> None:
    kb = new_kb(COLLAPSE)
    kb.add(Document("open", LAMPS), Document("closed", LAMPS + "x", access=("board",)))
    [hit] = kb.search("the second lamp", 3, as_=["staff"]).hits
    assert (hit.source, hit.also) == ("open", ())
    [hit] = kb.search("the second lamp", 3, as_=["board"]).hits
    [also] = hit.also
    assert {hit.source, also.source} == {"open", "closed"}
    for one in (hit, also):
        assert one.stages["keyword"].score == 1 / one.stages["keyword"].rank, "what words count is the owner's"


def test_of_two_that_say_the_same_a_remote_model_is_sent_the_one_that_it_may_read(
    new_kb: Callable[..., KnowledgeBase],
) -> None:
    kb = new_kb(COLLAPSE)
    kb.add(Document("kept", LAMPS, local_only=True), Document("shared", LAMPS + "It is known.", local_only=False))
    [hit] = kb.search("the second lamp", 3).hits
    assert {hit.source, hit.also[0].source} == {"kept", "shared"}
    trace = replace(kb.search("the second lamp", 3, record=False), hits=(hit if hit.local_only else hit.also[0],))
    kept = replace(trace.hits[0], also=(hit.also[0] if hit.local_only else replace(hit, also=()),))
    remote = LanguageModel(kind="openai", model="m", base_url="http://127.0.0.1:1/v1", local=False)
    with pytest.raises(ModelError):  # it is asked, and does not answer
        kb.answer(replace(trace, hits=(kept,)), llm=remote)
    alone = kb.answer(replace(trace, hits=(replace(kept, also=()),)), llm=remote)
    assert alone.abstained
    assert "local-only" in str(alone.reason)


def test_recipes_from_before_there_was_a_context_keep_their_hash() -> None:
    assert Recipe().index.hash == "338afda84240"
    assert Recipe(index=IndexHalf(context=Context(tables=True))).index.hash != Recipe().index.hash
    for part in (WindowChunker(), ParentChunker(), SemanticChunker()):
        told = recipe(part)
        assert Recipe.from_toml(told.to_toml(), stored=True) == told


def test_hits_far_below_the_best_are_left_out(new_kb: Callable[..., KnowledgeBase]) -> None:
    kb = new_kb()
    kb.add(HARBOUR, RATES, *(Document(f"d{n}", f"Note {n} says nothing of harbours.") for n in range(5)))
    question = "Which cat catches eels?"
    every = kb.search(question, 8).hits
    kb.answer_by(QueryHalf(within=6.0))
    some = kb.search(question, 8).hits
    assert 1 <= len(some) < len(every)
    assert [hit.chunk for hit in some] == [hit.chunk for hit in every if hit.score >= every[0].score - 6.0]
    assert kb.search(question, 1).hits[0].chunk == some[0].chunk
