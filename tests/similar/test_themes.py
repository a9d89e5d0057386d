"""Themes of a knowledge base: what they hold, who sees them, how long they live."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from openbook.errors import QueryError
from openbook.knowledge_base import KnowledgeBase
from openbook.recipe import QueryHalf, Recipe, ThemeTree
from openbook.similar.themes import Theme
from openbook.types import Document

from .conftest import EACH, SUBJECTS, documents

GLOBAL = "What are the main themes in these documents?"


def every(themes: tuple[Theme, ...]) -> Iterator[Theme]:
    for theme in themes:
        yield theme
        yield from every(theme.children)


def subjects(theme: Theme) -> set[str]:
    return {source.partition("-")[0] for source in theme.sources}


def test_themes_are_the_subjects_and_named_by_their_words(filled: KnowledgeBase) -> None:
    found = filled.themes()
    assert sorted(map(sorted, map(subjects, found.themes))) == [["boats"], ["bread"], ["taxes"]]
    assert {theme.documents for theme in found.themes} == {EACH}
    assert found.documents == EACH * len(SUBJECTS)
    named = {next(iter(subjects(theme))): " ".join(theme.terms).lower() for theme in found.themes}
    assert "bread" in named["bread"]
    assert "harbour" in named["boats"]
    assert "tax" in named["taxes"]


def test_every_citation_is_the_exact_text_of_a_document_of_its_theme(filled: KnowledgeBase) -> None:
    found = filled.themes(depth=3)
    for theme in every(found.themes):
        assert theme.citations
        for number, cited in enumerate(theme.citations, 1):
            assert cited.source in theme.sources
            assert filled.show(cited.source).text[cited.start : cited.end] == cited.quote
            assert f"[{number}]" in theme.summary


def test_a_theme_of_the_same_documents_has_the_same_id(
    filled: KnowledgeBase, new_kb: Callable[..., KnowledgeBase]
) -> None:
    """Scripts had its label to go by, and its place."""
    ids = {theme.id: sorted(theme.sources) for theme in every(filled.themes().themes)}
    assert len(set(map(tuple, ids.values()))) == len(ids), "other documents, another id"
    again = new_kb()
    again.add(*reversed(documents()))
    assert {theme.id: sorted(theme.sources) for theme in every(again.themes().themes)} == ids
    [one, *others] = filled.themes().themes
    filled.remove(one.sources[0])
    now = [theme.id for theme in filled.themes().themes]
    assert one.id not in now
    assert {other.id for other in others} <= set(now)


def test_children_hold_what_their_theme_holds(filled: KnowledgeBase) -> None:
    for theme in filled.themes(number=2, depth=3).themes:
        for parent in every((theme,)):
            if parent.children:
                held = [source for child in parent.children for source in child.sources]
                assert sorted(held) == sorted(parent.sources)
    assert not any(theme.children for theme in filled.themes(depth=1).themes)


@pytest.mark.parametrize("number", [1, 2, 7, 24, 200])
def test_as_many_themes_as_were_asked_for(filled: KnowledgeBase, number: int) -> None:
    found = filled.themes(number=number)
    assert len(found.themes) == min(number, EACH * len(SUBJECTS))
    assert sum(theme.documents for theme in found.themes) == EACH * len(SUBJECTS)


def test_a_caller_sees_themes_of_what_they_may_see_alone(new_kb: Callable[..., KnowledgeBase]) -> None:
    kb = new_kb()
    for document in documents():
        kb.add(document, access=["group:tax"] if document.source.startswith("taxes") else None)
    assert len(kb.themes().themes) == 3
    public, tax = kb.themes(as_=[]), kb.themes(as_=["group:tax"])
    assert public.documents == 2 * EACH
    assert tax.documents == 3 * EACH
    told = str(public)
    assert "tax" not in told.lower()
    assert "euros" not in told
    assert kb.themes(as_=[]).cached
    assert "tax" not in str(kb.themes(as_=[])).lower()
    kb.edit("bread-0.md", access=["group:tax"])
    assert kb.themes(as_=[]).documents == 2 * EACH - 1


def test_a_filter_narrows_them(new_kb: Callable[..., KnowledgeBase]) -> None:
    kb = new_kb()
    for document in documents():
        kb.add(document, metadata={"kind": document.source.partition("-")[0]})
    found = kb.themes(filter='kind in ("bread", "boats")')
    assert found.documents == 2 * EACH
    assert all(subjects(theme) <= {"bread", "boats"} for theme in found.themes)
    assert kb.themes(filter='kind = "nothing"').themes == ()


def test_a_tree_is_made_once_and_anew_after_a_change(filled: KnowledgeBase) -> None:
    first = filled.themes()
    again = filled.themes()
    assert not first.cached
    assert again.cached
    assert again.themes == first.themes
    filled.remove("bread-0.md")
    after = filled.themes()
    assert not after.cached
    assert "bread-0.md" not in str(after)


def test_what_was_forgotten_is_in_no_tree(filled: KnowledgeBase) -> None:
    filled.themes()
    filled.themes(as_=[])
    filled.forget("bread-0.md")
    assert not filled.trees.trees
    assert "bread-0.md" not in str(filled.themes())


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5])
def test_a_handful_of_documents(new_kb: Callable[..., KnowledgeBase], count: int) -> None:
    kb = new_kb()
    if count:
        kb.add(*documents()[:: EACH * 3 // count][:count])
    found = kb.themes()
    assert sum(theme.documents for theme in found.themes) == found.documents == count
    assert all(theme.label and theme.citations for theme in found.themes)


def test_documents_that_are_all_the_same_are_one_theme(new_kb: Callable[..., KnowledgeBase]) -> None:
    kb = new_kb()
    kb.add(*(Document(f"{number}.md", "Closed on Mondays.", "Hours") for number in range(20)))
    (theme,) = kb.themes().themes
    assert theme.documents == 20
    assert len(theme.citations) == 1


def test_a_document_without_text_is_told_apart(new_kb: Callable[..., KnowledgeBase]) -> None:
    kb = new_kb()
    kb.add(*documents(), Document("empty.md", ""), Document("blank.md", " \n "))
    found = kb.themes()
    assert found.documents + found.apart == EACH * len(SUBJECTS) + 2
    assert bool(found.apart) == any("no vector" in note for note in found.notes)


def test_a_script_that_the_model_does_not_know_is_told(new_kb: Callable[..., KnowledgeBase]) -> None:
    kb = new_kb()
    kb.add(
        *(Document(f"{n}.md", "تدور الأرض حول الشمس في سنة واحدة، والقمر حول الأرض. " * 3 + str(n)) for n in range(8))
    )
    found = kb.themes()
    assert found.themes
    assert any("does not know (Arabic)" in note for note in found.notes)


@pytest.mark.parametrize("asked", [{"number": 0}, {"number": 201}, {"depth": 0}, {"depth": 4}])
def test_impossible_numbers_are_refused(kb: KnowledgeBase, asked: dict[str, int]) -> None:
    with pytest.raises(QueryError, match="ask for 1 to"):
        kb.themes(**asked)  # type: ignore[arg-type]


# --- questions that ask for the whole ---------------------------------------------------------------------------------


def test_by_default_such_a_question_is_one_like_any_other(filled: KnowledgeBase) -> None:
    assert "themes" not in filled.search(GLOBAL).details


def test_such_a_question_is_answered_from_all_documents(filled: KnowledgeBase) -> None:
    filled.answer_by(QueryHalf(themes=ThemeTree()))
    answer = filled.ask(GLOBAL)
    assert answer.trace is not None
    assert answer.trace.details["themes"]["documents"] == EACH * len(SUBJECTS)
    assert {cited.source.partition("-")[0] for cited in answer.citations} == set(SUBJECTS)
    for number, cited in enumerate(answer.citations, 1):
        assert f"{cited.quote} [{number}]" in answer.text
        assert filled.show(cited.source).text[cited.start : cited.end] == cited.quote
    kept = filled.trace(answer.trace.id)
    assert kept["details"]["themes"]["themes"] == 3
    assert len(kept["answer"]["citations"]) == 3
    assert "themes" not in filled.ask("When is income tax refunded?").trace.details  # type: ignore[union-attr]


def test_its_hits_are_of_every_theme_first(filled: KnowledgeBase) -> None:
    filled.answer_by(QueryHalf(themes=ThemeTree()))
    hits = filled.search(GLOBAL, 7).hits
    assert len(hits) == 7
    assert {hit.source.partition("-")[0] for hit in hits[:3]} == set(SUBJECTS)
    assert [hit.score for hit in filled.search(GLOBAL, 3, as_=[]).hits] == [1.0, 1 / 2, 1 / 3]
    with pytest.raises(QueryError, match="k is 0"):
        filled.search(GLOBAL, 0)


def test_of_nothing_there_is_nothing_to_tell(kb: KnowledgeBase) -> None:
    kb.answer_by(QueryHalf(themes=ThemeTree()))
    assert kb.ask(GLOBAL).abstained
    assert not kb.search(GLOBAL).hits


def test_a_trace_of_themes_goes_with_the_documents_that_it_found(filled: KnowledgeBase) -> None:
    filled.answer_by(QueryHalf(themes=ThemeTree()))
    answer = filled.ask(GLOBAL)
    assert answer.trace is not None
    filled.trace(answer.trace.id)
    receipt = filled.forget(answer.citations[0].source)
    assert receipt is not None
    assert receipt.erased["traces"] == 1
    assert filled.verify().ok


def test_recipes_without_themes_keep_their_hash() -> None:
    plain = Recipe()
    assert "themes" not in plain.to_toml()
    assert Recipe.from_toml(plain.to_toml(), stored=True).hash == plain.hash
    themed = Recipe.from_toml("[query.themes]\nkind = 'tree'\nnumber = 5")
    assert themed.query.themes == ThemeTree(number=5)
    assert themed.hash != plain.hash
    assert Recipe.from_toml(themed.to_toml()) == themed
