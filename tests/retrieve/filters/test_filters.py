"""Questions that narrow themselves, in a knowledge base."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from datetime import date

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openbook.errors import QueryError
from openbook.knowledge_base import KnowledgeBase
from openbook.recipe import EvidenceFusion, QueryHalf, Recipe, RuleFilters, WeightedFusion
from openbook.retrieve import Retriever
from openbook.retrieve.filters import Filters, Vocabulary
from openbook.store.filter import parse
from openbook.types import Document, Trace

RULES = QueryHalf(filters=RuleFilters())
LEAVE = "Everyone may take {days} days of holiday a year. Ask your manager two weeks before."


def policy(country: str, days: int, version: str, **more: object) -> Document:
    fields = {"country": country, "version": version, "effective": f"20{days}-01-01"}
    return Document(f"{country}-{version}", LEAVE.format(days=days), "Leave", {**fields, **more})  # type: ignore[dict-item]


@pytest.fixture
def filled(new_kb: Callable[..., KnowledgeBase]) -> KnowledgeBase:
    kb = new_kb(Recipe(query=RULES))
    kb.add(policy("Germany", 19, "v1.9"), policy("Germany", 22, "v1.10"), policy("France", 25, "v1.9"))
    kb.add(Document("secret", LEAVE.format(days=40), "Leave", {"country": "Utopia", "version": "v7"}), access=["board"])
    return kb


def told(trace: Trace) -> tuple[list[str], list[str]]:
    filters = trace.details["filters"]
    return [one["filter"] for one in filters["applied"]], [one["why"] for one in filters["dropped"]]


def sources(trace: Trace) -> set[str]:
    return {hit.source for hit in trace.hits}


def test_a_question_narrows_itself(filled: KnowledgeBase) -> None:
    trace = filled.search("How many days of holiday for Germany?")
    assert sources(trace) == {"Germany-v1.9", "Germany-v1.10"}
    assert trace.filter == 'country = "Germany"'
    assert told(trace) == (['country = "Germany"'], [])
    trace = filled.search("How many days of holiday, newer than 1.9?")
    assert sources(trace) == {"Germany-v1.10", "secret"}  # by their numbers, and not by their letters
    answer = filled.ask("How many days of holiday for Germany in v1.10?")
    assert "22 days" in answer.text
    assert answer.trace is not None
    assert told(answer.trace)[0] == ['version = "v1.10"', 'country = "Germany"'][::-1]


def test_a_recipe_says_what_sorts_of_fields_narrow(filled: KnowledgeBase) -> None:
    filled.answer_by(RULES.model_copy(update={"filters": RuleFilters(read=("versions",))}))
    assert told(filled.search("How many days of holiday for Germany in v1.9?")) == (['version = "v1.9"'], [])
    filled.answer_by(RULES.model_copy(update={"filters": RuleFilters(read=("values", "dates"))}))
    assert told(filled.search("How many days of holiday for Germany in v1.9?")) == (['country = "Germany"'], [])
    recipe = Recipe(query=filled.recipe.query)
    assert Recipe.from_toml(recipe.to_toml()) == recipe


def test_the_default_reads_no_filters(filled: KnowledgeBase) -> None:
    filled.answer_by(QueryHalf())
    trace = filled.search("How many days of holiday for Germany?")
    assert "filters" not in trace.details
    assert trace.filter is None
    assert len(trace.hits) == 4


def test_the_callers_own_filter_holds_as_well(filled: KnowledgeBase) -> None:
    trace = filled.search("holiday for Germany", filter='version = "v1.9"')
    assert sources(trace) == {"Germany-v1.9"}
    assert parse(str(trace.filter)) == parse('version = "v1.9" and country = "Germany"')
    assert trace.details["filters"]["own"] == 'version = "v1.9"'


def test_where_nothing_would_be_left_the_question_is_asked_without(filled: KnowledgeBase) -> None:
    trace = filled.search("holiday for Germany", filter='country = "France"')
    assert sources(trace) == {"France-v1.9"}
    assert told(trace) == ([], ["nothing here would be left"])
    assert trace.filter == 'country = "France"'
    trace = filled.search("holiday for Germany", filter="no_such_field = 1")
    assert trace.hits == ()
    with pytest.raises(QueryError):
        filled.search("holiday for Germany", filter="country =")


def test_a_field_that_no_document_has_is_told(filled: KnowledgeBase) -> None:
    """It found nothing, or let everything through, in silence."""
    for query in (RULES, QueryHalf(), QueryHalf(fusion=WeightedFusion(dense=1.0))):
        filled.answer_by(query)
        trace = filled.search("holiday", filter='Contry = "France" or not exists(colour) and version = "v1.9"')
        assert trace.details["unknown_fields"] == {"Contry": ["country"], "colour": []}
        assert "unknown_fields" not in filled.search("holiday", filter='country = "Spain" or source = "x"').details
        assert "unknown_fields" not in filled.search("holiday").details
    [note] = filled.themes(filter="contry = 1").notes
    assert note == "no document here has the field “contry” that the filter names: was “country” meant?"


def test_of_fields_that_only_others_documents_have_nothing_is_told(filled: KnowledgeBase) -> None:
    """Neither that there is such a field, nor one that is nearly called so."""
    filled.add(Document("merger", LEAVE.format(days=1), "Leave", {"merger_partner": "Acme"}), access=["board"])
    for field, near in (("merger_partner", []), ("merger_partners", ["merger_partner"])):
        mine = filled.search("holiday", filter=f'{field} = "Acme"', as_=["user:ann"])
        assert mine.hits == ()
        assert mine.details["unknown_fields"] == {field: []}
        theirs = filled.search("holiday", filter=f'{field} = "Acme"', as_=["board"])
        assert theirs.details.get("unknown_fields", {}).get(field, []) == near
    assert "unknown_fields" in filled.trace(theirs.id)["details"]
    filled.edit("merger", access=["ceo"])
    assert "merger_partner'" not in repr(filled.trace(theirs.id, as_=["board"])), "it may be closed by now"


def test_fields_of_other_knowledge_bases_are_not_known_here(new_kb: Callable[..., KnowledgeBase]) -> None:
    mine, other = new_kb(), new_kb()
    mine.add(policy("Germany", 22, "v2"))
    other.add(policy("Germany", 22, "v2", planet="Mars"))
    assert mine.search("holiday", filter='planet = "Mars"').details["unknown_fields"] == {"planet": []}


@pytest.mark.parametrize("question", ["holiday in version 2019", "holiday in v2019?", "holiday of release 2019"])
def test_a_year_that_is_called_a_version_is_one(new_kb: Callable[..., KnowledgeBase], question: str) -> None:
    """It was read as a date: what no document is of was told nowhere, and what one is of was not narrowed to."""
    kb = new_kb()
    kb.add(policy("Germany", 22, "v1.9"))
    assert told(kb.search(question)) == ([], ["no document here is of that version"])
    kb.add(policy("France", 22, "2019"))
    assert told(kb.search(question)) == (['version = "2019"'], [])


def test_what_matches_and_cannot_be_found_is_not_narrowed_to(new_kb: Callable[..., KnowledgeBase]) -> None:
    """By words alone a document that has none of the question's is not found: the others are, as without a filter."""
    kb = new_kb(Recipe(query=QueryHalf(filters=RuleFilters(), fusion=EvidenceFusion(cosine=0.0))))
    kb.add(policy("Germany", 22, "v2"), Document("x", "Unrelated.", "x", {"country": "France"}))
    trace = kb.search("days of holiday for France")
    assert sources(trace) == {"Germany-v2"}
    assert told(trace) == ([], ["nothing here would be left"])
    assert trace.filter is None


def test_relative_dates_are_told_from_the_clock(filled: KnowledgeBase) -> None:
    serving = filled.serving
    retriever = Retriever(serving.index, serving.embedder, RULES, today=lambda: date(2023, 5, 5))
    found = retriever.retrieve("policies effective since last year", 10)
    assert str(found.filter) == 'effective >= "2022"'
    assert {hit.source for hit in found.hits} == {"Germany-v1.10", "France-v1.9"}
    assert found.details["filters"]["today"] == "2023-05-05"


def test_nothing_is_proposed_from_what_the_caller_may_not_see(filled: KnowledgeBase) -> None:
    question = "holiday for Utopia in v7"
    trace = filled.search(question, as_=["user:ann"])
    assert trace.filter is None
    assert told(trace) == ([], ["no document here is of that version"])
    assert trace.details["filters"]["dropped"][0]["filter"] is None  # and of the country not even that it is one
    seen = filled.search(question, as_=["board"])
    assert sources(seen) == {"secret"}


def test_an_edit_is_proposed_from_by_the_next_question(filled: KnowledgeBase) -> None:
    assert filled.search("holiday for Spain").filter is None
    filled.add(policy("Spain", 23, "v1.9"))
    assert sources(filled.search("holiday for Spain")) == {"Spain-v1.9"}
    filled.edit("Spain-v1.9", metadata={"country": "Portugal"})
    assert filled.search("holiday for Spain").filter is None
    filled.remove("Spain-v1.9")
    assert filled.search("holiday for Portugal").filter is None


def test_an_ordinary_word_is_no_filter(new_kb: Callable[..., KnowledgeBase]) -> None:
    kb = new_kb(Recipe(query=RULES))
    kb.add(*(Document(f"d{n}", f"Terms of business, part {n}.", f"d{n}", {"section": "legal"}) for n in range(5)))
    kb.add(Document("b", "Opening hours.", "b", {"section": "business"}))
    trace = kb.search("terms used in business")
    assert told(trace) == ([], ["an ordinary word here"])
    assert trace.filter is None
    assert kb.search("terms of the business section").filter == 'section = "business"'


def test_a_name_may_stand_in_pages_of_others(new_kb: Callable[..., KnowledgeBase]) -> None:
    kb = new_kb(Recipe(query=RULES))
    kb.add(policy("Germany", 22, "v1"), policy("Spain", 23, "v1"), policy("Malta", 24, "v1"))
    kb.add(Document("fr", "In France 25 days, unlike Germany.", "fr", {"country": "France"}))
    assert kb.search("holiday for Germany").filter == 'country = "Germany"'
    assert kb.search("holiday for germany").filter is None  # written as a word like others, and one in three have it


def test_a_recorded_trace_tells_what_was_narrowed_to_as_long_as_its_hits_are_open(filled: KnowledgeBase) -> None:
    trace = filled.search("holiday for Germany", filter='version = "v1.9"', as_=["user:ann"])
    kept = filled.trace(trace.id, as_=["user:ann"])
    assert kept["filter"] == trace.filter
    assert kept["details"]["filters"]["applied"][0]["filter"] == 'country = "Germany"'
    filled.edit("Germany-v1.9", access=["board"])
    closed = filled.trace(trace.id, as_=["user:ann"])
    assert closed["filter"] == 'version = "v1.9"'
    assert "filters" not in closed["details"]


def test_feedback_is_of_the_question_and_the_filter_that_were_asked(filled: KnowledgeBase) -> None:
    trace = filled.search("holiday for Germany", filter='version = "v1.9"')
    filled.feedback(trace.id, "up")
    assert [one.filter for one in filled.reviewed()] == ['version = "v1.9"']


@pytest.mark.parametrize("question", ["😀", "für Германия 日本の規則は v3", "since before not in " * 5_000])
def test_any_question_is_answered(filled: KnowledgeBase, question: str) -> None:
    assert filled.search(question).hits
    with pytest.raises(QueryError, match="empty"):
        filled.search("")


WORDS = "for|in|not|since|Germany|France|Utopia|v1.9|v7|1.10|2022|last year|docs|newer than|and"
words = st.sampled_from(WORDS.split("|"))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(words, min_size=1, max_size=8), st.sampled_from([None, ["user:ann"], ["board"]]))
def test_no_proposal_excludes_everything(filled: KnowledgeBase, question: list[str], as_: list[str] | None) -> None:
    trace = filled.search(" ".join(question), as_=as_)
    assert trace.hits
    if as_ == ["user:ann"]:
        said = json.dumps([one["filter"] for one in trace.details["filters"]["applied"]])
        assert "Utopia" not in said
        assert "v7" not in said


def test_the_vocabulary_is_read_once_as_long_as_nothing_changes(filled: KnowledgeBase) -> None:
    stage = Filters(RuleFilters(), filled.index, date.today)

    def read(principals: list[str] | None, local: bool = True) -> Vocabulary:
        with filled.database.snapshot(principals) as connection:
            return stage.vocabulary(filled.index.view(connection, principals, None), local=local)

    assert read(None) is read(None)
    assert read(["public"]) is read(["public", "user:ann"])  # who see the same
    assert "v7" in read(None).fields["version"].texts
    assert "v7" not in read(["public"]).fields["version"].texts
    before = read(None)
    filled.add(policy("Spain", 23, "v2", tag=("a", "b"), level=3))
    assert read(None) is not before
    assert read(None).fields["tag"].texts == ("a", "b")
    assert read(None).fields["level"].numbers == (3.0,)
    filled.add(policy("Malta", 24, "v9"), local_only=True)
    assert "v9" in read(None).fields["version"].texts
    assert "v9" not in read(None, local=False).fields["version"].texts


def test_other_knowledge_bases_of_the_database_have_no_say(new_kb: Callable[..., KnowledgeBase]) -> None:
    mine, other = new_kb(Recipe(query=RULES)), new_kb(Recipe(query=RULES))
    mine.add(policy("Germany", 22, "v2"))
    other.add(policy("Atlantis", 22, "v8"))
    stage = Filters(RuleFilters(), mine.index, date.today)
    with mine.database.snapshot(None) as connection:
        assert stage.vocabulary(mine.index.view(connection, None, None)).fields["country"].texts == ("Germany",)


def test_the_terminal_shows_it(openbook: Callable[..., subprocess.CompletedProcess[str]], tmp_path: object) -> None:
    from pathlib import Path

    folder = Path(str(tmp_path))
    (folder / "docs").mkdir()
    for country, days in (("Germany", 30), ("France", 25)):
        text = f"---\ncountry: {country}\n---\n# Leave\n\nEveryone may take {days} days of holiday a year.\n"
        (folder / "docs" / f"{country}.md").write_text(text)
    (folder / "rules.toml").write_text("[query.filters]\nkind = 'rules'\n")
    assert openbook("add", "docs", "--meta", "version=v1").returncode == 0
    shown = openbook("ask", "How many days of holiday for Germany?", "--recipe", "rules.toml")
    assert "30 days" in shown.stdout
    assert 'narrowed to country = "Germany"' in shown.stderr
    # What is only mentioned is no news to whoever asked; it was a line each.
    mentioned = openbook("search", "Is Germany colder than France?", "--recipe", "rules.toml")
    assert mentioned.returncode == 0
    assert "narrowed" not in mentioned.stderr
    trace = mentioned.stderr.rpartition("trace ")[2].split(",")[0]
    assert "mentioned, but nothing says that it narrows" in openbook("show", "--trace", trace).stdout
    assert "no document here is of that version" in openbook("ask", "holiday in v9?", "--recipe", "rules.toml").stderr
    assert "no document here is of that version" in openbook("search", "holiday in version 2019?").stderr
    told = json.loads(openbook("search", "holiday in version 2019?", "--json").stdout)["filters"]["dropped"]
    assert [one["why"] for one in told] == ["no document here is of that version"]
    for verb in ("search", "ask"):
        line = "no document here has the field “contry” that the filter names: was “country” meant?\n"
        assert line in openbook(verb, "holiday?", "--filter", 'contry = "Germany"').stderr
        found = json.loads(openbook(verb, "holiday?", "--filter", 'contry = "Germany"', "--json").stdout)
        assert found["unknown_fields"] == {"contry": ["country"]}
        assert line in openbook("show", "--trace", found["trace"]).stdout
    asked = openbook("search", "holiday for Germany since v2", "--recipe", "rules.toml", "--json")
    found = json.loads(asked.stdout)
    assert found["filter"] == 'country = "Germany"'
    assert [hit["metadata"]["country"] for hit in found["hits"]] == ["Germany"]
    assert "narrowed to country" in openbook("show", "--trace", found["trace"]).stdout
