"""What stands when a document was edited here and its source goes on speaking."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from openbook.store.edits import NOTHING_HELD, Content, Edit, Held
from openbook.types import Document

values = st.one_of(st.sampled_from(["a", "b"]), st.integers(0, 2), st.booleans(), st.just(("a", "b")))
metadata = st.dictionaries(st.sampled_from(["x", "y", "z"]), values, max_size=3)
words = st.sampled_from(["one", "two", "three"])
readers = st.sampled_from([("public",), ("group:hr",), ("group:hr", "group:it")])
documents = st.builds(Document, source=st.just("s"), text=words, title=words, metadata=metadata, access=readers)
edits = st.builds(
    Edit,
    document=st.just("id"),
    title=st.none() | words,
    content=st.none() | st.builds(Content, words),
    metadata=st.dictionaries(st.sampled_from(["x", "y", "z"]), st.none() | values, max_size=2),
    access=st.none() | readers,
)


def edited(document: Document, held: Held, edit: Edit) -> tuple[Document, Held]:
    now = edit.applied(document)
    return now, held.after(edit, document, now)


def said(source: Document, now: Document, held: Held) -> tuple[Document, Held]:
    return held.over(source, now.metadata, now.title, Content.of(now), now.access)


@given(documents, st.lists(edits, max_size=4))
def test_a_source_that_repeats_itself_undoes_nothing(source: Document, changes: list[Edit]) -> None:
    now, held = source, NOTHING_HELD
    for change in changes:
        now, held = edited(now, held, change)
    again, still = said(source, now, held)
    assert (again, still) == (now, held)


@given(documents, st.lists(edits, max_size=3), documents)
def test_of_each_thing_the_last_word_counts(source: Document, changes: list[Edit], later: Document) -> None:
    now, held = source, NOTHING_HELD
    for change in changes:
        now, held = edited(now, held, change)
    then, still = said(later, now, held)
    assert then.title == (now.title if later.title == source.title else later.title)
    assert then.text == (now.text if later.text == source.text else later.text)
    assert then.access == (now.access if later.access == source.access else later.access)
    for key in {*source.metadata, *now.metadata, *later.metadata}:
        repeats = later.metadata.get(key) == source.metadata.get(key)
        assert then.metadata.get(key) == (now if repeats else later).metadata.get(key)
    assert said(later, then, still) == (then, still)


@given(documents, edits)
def test_what_is_held_comes_back_from_its_row(source: Document, change: Edit) -> None:
    _, held = edited(source, NOTHING_HELD, change)
    assert Held.read(held.row()) == held


@given(documents, edits)
def test_an_edit_that_is_taken_back_holds_nothing(source: Document, change: Edit) -> None:
    now, held = edited(source, NOTHING_HELD, change)
    back = Edit(
        "id",
        title=source.title,
        content=Content.of(source),
        access=source.access,
        metadata={key: source.metadata.get(key) for key in {*now.metadata, *source.metadata}},
    )
    assert edited(now, held, back) == (replace(source), NOTHING_HELD)
