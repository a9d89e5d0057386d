"""Training data is made of judgements, feedback and documents; what would mislead is dropped and told, or refused."""

from __future__ import annotations

import json
import re
import subprocess
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.embed.loopback import Server
from tests.generate.loopback import ModelServer, Reply, Request, Say

from openbook.errors import DatasetError
from openbook.evaluate.datasets.dataset import Dataset, Evidence, Question, dataset
from openbook.finetune.data import Example, Passage, Rows, Scored, make, read, write
from openbook.finetune.data.making import Made
from openbook.finetune.data.negatives import filled
from openbook.finetune.data.rows import grouped
from openbook.knowledge_base import KnowledgeBase
from openbook.load import markdown
from openbook.recipe import EvidenceFusion, IndexHalf, LanguageModel, OpenAIEmbedder, QueryHalf, Recipe
from openbook.store.database import Database
from openbook.types import Document

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def document(text: str, source: str, **options: Any) -> Document:
    draft = markdown.read(text.encode())
    title = draft.headings[0].title if draft.headings else ""
    return Document(source, draft.text, title, headings=draft.headings, metadata={"lang": "en"}, **options)


THINGS = {
    "kiln": "fires the clay at 1,240 degrees for eleven hours and cools for a whole day before its door is opened",
    "loom": "weaves sails of flax and hemp, four metres wide, for the barges that leave the harbour in spring",
    "press": "prints the almanac of tides on rag paper, two thousand sheets a night, with ink of lamp soot",
    "forge": "bends anchors and hinges out of scrap iron that the ice has broken from the quays in winter",
    "dairy": "makes a hard cheese of sheep's milk, which lies eight months in the cellar below the chapel",
    "mill": "grinds barley and oats by the stream, and stands still whenever the water is below the mark",
    "hives": "give dark honey of heather in August, and light honey of lime trees in the first week of July",
    "tannery": "soaks hides in oak bark for a year and sells the leather to saddlers on the other shore",
    "brewery": "mashes malt with spring water, and lets its ale stand in oak until the herring boats return",
    "ropewalk": "twists hawsers of manila, three hundred metres long, for the ferries and for the lighthouse",
    "glassworks": "blows lamps and floats of green glass out of sand from the dunes behind the old battery",
    "foundry": "casts bells of copper and tin, tunes them on a lathe and hangs them in the yard to be heard",
}


def page(name: str, others: Sequence[str] = ()) -> str:
    links = "".join(f"See [how the {other} is run]({other}.md) as well.\n" for other in others)
    return f"""\
# The {name} of the village

The {name} {THINGS[name]}. Nobody enters it without the warden's leave, for the floor is wet.

## Visiting the {name}

A visit to the {name} begins at the gate and lasts an hour. Children come with an adult. Dogs wait outside, where there
is a bowl of water for each of them. {links}

## Terms

- Warden: The person who keeps the keys of the {name} and its books.
- Round: A walk through all rooms of the {name} before they are locked.
"""


def village() -> list[Document]:
    names = list(THINGS)
    return [document(page(name, [names[n - 1]]), f"{name}.md") for n, name in enumerate(names)]


@pytest.fixture(scope="module")
def town(database: Database) -> Iterator[KnowledgeBase]:
    """A dozen pages, for what only reads."""
    kb = KnowledgeBase(database, "town")
    kb.add(*village())
    yield kb
    kb.traces.close()


def asked(*, split: str = "train", names: Sequence[str] = tuple(THINGS)) -> Dataset:
    """A question about each page, with the sentence that answers it."""
    return dataset(
        "asked",
        [
            Question(
                f"{split}-{name}",
                f"What does the {name} do all year?",
                evidence=(Evidence(f"{name}.md", f"The {name} {THINGS[name]}."),),
                split=split,
            )
            for name in names
        ],
    )


def counted(made: Made, reason: str) -> int:
    return sum(reason in one.reason for one in made.dropped)


# --- a data set's train split -----------------------------------------------------------------------------------------


class TestATrainSplit:
    def test_the_positive_is_the_chunk_that_holds_the_evidence_as_the_index_reads_it(self, town: KnowledgeBase) -> None:
        made = make(town, datasets=[asked()], negatives=2)
        assert len(made.rows.examples) == len(THINGS)
        for example in made.rows.examples:
            (positive,) = example.positives
            name = positive.document.removesuffix(".md")
            assert name in example.query
            assert THINGS[name] in positive.text
            assert positive.principals == ("public",)
            assert len(example.negatives) == 2
            assert all(negative.document != positive.document for negative in example.negatives)
            for negative in example.negatives:
                if negative.by != "random":
                    assert negative.score is not None
                    assert positive.score is not None
                    assert negative.score < 0.95 * positive.score
        assert made.refused["of the same document as a positive"] > 0
        assert made.noise is not None
        assert made.noise["positives"] == len(THINGS)
        assert made.noise["doubtful"] == 0

    def test_a_wider_margin_refuses_more(self, town: KnowledgeBase) -> None:
        def near(margin: float, gap: float = 0.0) -> float:
            made = make(town, datasets=[asked()], margin=margin, gap=gap, negatives=1)
            scores = [(e.positives[0].score or 0, n.score) for e in made.rows.examples for n in e.negatives]
            return max(score / positive for positive, score in scores if score is not None)

        assert near(0.6) < 0.6 < near(0.95) < 0.95
        assert near(1.0, gap=0.3) < near(1.0) <= 1.0

    def test_judged_documents_without_evidence_take_their_nearest_chunk(self, town: KnowledgeBase) -> None:
        questions = [
            Question(f"q{n}", f"When does a visit to the {name} begin?", {f"{name}.md": 1}, split="train")
            for n, name in enumerate(THINGS)
        ]
        made = make(town, datasets=[dataset("judged", questions)], form="pairs")
        assert all("begins at the gate" in example.positives[0].text for example in made.rows.examples)
        assert all(not example.negatives for example in made.rows.examples)

    def test_what_is_judged_not_relevant_is_a_negative(self, town: KnowledgeBase) -> None:
        names = list(THINGS)
        questions = [
            Question(f"q{n}", f"What does the {name} do?", {f"{name}.md": 1, f"{names[n - 1]}.md": 0}, split="train")
            for n, name in enumerate(names)
        ]
        made = make(town, datasets=[dataset("judged", questions)], negatives=2)
        for n, example in enumerate(made.rows.examples):
            assert [negative.document for negative in example.negatives if negative.by == "judged"] == [
                f"{names[n - 1]}.md"
            ]

    def test_what_is_not_to_train_on_is_not_trained_on(self, town: KnowledgeBase) -> None:
        with pytest.raises(DatasetError, match=r"asked: none of its questions is to train on; say which questions are"):
            make(town, datasets=[asked(split="test")])

    def test_of_a_data_set_with_documents_and_no_train_split_the_documents_are_read(
        self, town: KnowledgeBase, tmp_path: Path
    ) -> None:
        tested = replace(asked(split="test"), corpus=tmp_path / "corpus.jsonl")
        made = make(town, datasets=[tested], documents=30, negatives=1, drop_leaks=True)
        assert len(made.rows.examples) >= 20
        assert not {example.query for example in made.rows.examples} & {one.text for one in tested.questions.values()}
        with pytest.raises(DatasetError, match="none of its questions is to train on"):
            make(town, datasets=[tested])

    def test_labels_of_documents_that_are_gone_are_dropped_with_their_line(self, town: KnowledgeBase) -> None:
        gone = Question("lost", "What does the aviary do?", {"aviary.md": 1}, split="train")
        made = make(town, datasets=[dataset("asked", [*asked().questions.values(), gone])])
        assert [(one.line, one.reason) for one in made.dropped] == [("asked: lost", "no document 'aviary.md'")]

    def test_another_corpus_is_refused(self, town: KnowledgeBase) -> None:
        questions = [Question(str(n), f"What is thing {n}?", {f"other/{n}.md": 1}, split="train") for n in range(20)]
        with pytest.raises(DatasetError, match="20 of 20 labels refer to documents that are not there"):
            make(town, datasets=[dataset("other", questions)])

    def test_versions_of_a_page_and_copies_of_a_passage_are_no_negatives(
        self, new_kb: Callable[..., KnowledgeBase]
    ) -> None:
        kb = new_kb()
        kb.add(*village(), document(page("kiln").replace("eleven hours", "twelve hours"), "old/kiln.md"))
        copied = (
            f"# Notes\n\nA visitor wrote: the kiln {THINGS['kiln']}. Nobody enters it without the warden's leave.\n"
        )
        kb.add(document(copied, "notes.md"))
        made = make(kb, datasets=[asked()], negatives=8, margin=1.0)
        example = next(example for example in made.rows.examples if "kiln" in example.query)
        negatives = {negative.document for negative in example.negatives if negative.by != "random"}
        assert negatives
        assert negatives.isdisjoint({"kiln.md", "old/kiln.md", "notes.md"})


# --- groups -----------------------------------------------------------------------------------------------------------


def test_queries_that_share_a_positive_or_are_nearly_one_are_of_one_group() -> None:
    text = "The kiln fires the clay at 1,240 degrees for eleven hours and cools for a whole day."
    rows = grouped(
        [
            Example("How hot is the kiln?", (Passage(text),)),
            Example("Which oven bakes pots?", (Passage("Title\n" + text),)),
            Example("Who weaves sails?", (Passage("The loom weaves sails of flax and hemp for barges."),)),
            Example("Who weaves the sails?", (Passage("Weavers work upstairs, above the harbour office."),)),
            Example("Where is honey sold?", (Passage("Honey is sold at the gate in the first week of July."),)),
        ]
    )
    groups = [example.group for example in rows]
    assert groups[0] == groups[1]
    assert groups[2] == groups[3]
    assert len(set(groups)) == 3


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 5), st.integers(0, 1000))
def test_tuples_are_filled_with_passages_of_other_groups(n: int, seed: int) -> None:
    examples = grouped(
        [
            Example(f"What does the {name} do?", (Passage(f"The {name} {said}.", f"{name}.md"),))
            for name, said in THINGS.items()
        ]
    )
    found, drawn = filled(examples, n, seed)
    assert drawn == n * len(examples)
    assert found == filled(examples, n, seed)[0]
    for example in found:
        assert len({negative.text for negative in example.negatives}) == n
        assert example.positives[0].text not in {negative.text for negative in example.negatives}


def test_tuples_for_which_there_are_too_few_passages_are_refused() -> None:
    examples = grouped([Example(f"What does the {name} do?", (Passage(said),)) for name, said in THINGS.items()])
    with pytest.raises(DatasetError, match="only 11 passages do not answer 'What does the kiln do"):
        filled(examples, 12, 0)


# --- feedback ---------------------------------------------------------------------------------------------------------


class TestFeedback:
    def test_clicks_are_positives_and_dislikes_negatives(self, new_kb: Callable[..., KnowledgeBase]) -> None:
        kb = new_kb()
        kb.add(*village())
        for name in THINGS:
            trace = kb.search(f"What about the {name}?", 5)
            own = next(rank for rank, hit in enumerate(trace.hits, 1) if hit.source == f"{name}.md")
            other = next(rank for rank, hit in enumerate(trace.hits, 1) if hit.source != f"{name}.md")
            kb.feedback(trace.id, "up", hit=own)
            kb.feedback(trace.id, "down", hit=other)
        kb.feedback(kb.search("Who feeds the dogs?", 5).id, "down", hit=1)
        made = make(kb, feedback=True, negatives=2)
        assert len(made.rows.examples) == len(THINGS)
        for example in made.rows.examples:
            assert example.kind == "feedback"
            assert example.positives[0].document.removesuffix(".md") in example.query
            assert [negative.by for negative in example.negatives].count("judged") == 1
        assert counted(made, "thumbs down, and no better answer") == 1

    def test_only_what_the_caller_may_see_is_learned_and_who_may_use_it_is_told(
        self, new_kb: Callable[..., KnowledgeBase]
    ) -> None:
        kb = new_kb()
        secret = [name for name in THINGS if name in ("kiln", "loom")]
        for each in village():
            closed = each.source.removesuffix(".md") in secret
            kb.add(each, access=["group:craft"] if closed else ["public"])
        for name in THINGS:
            as_ = ["user:ann", "group:craft"] if name in secret else None
            trace = kb.search(f"What about the {name}?", 5, as_=as_)
            own = next(rank for rank, hit in enumerate(trace.hits, 1) if hit.source == f"{name}.md")
            kb.feedback(trace.id, "up", hit=own, as_=as_)
        made = make(kb, feedback=True, negatives=1)
        assert made.rows.access == (("group:craft",), ("public",), ("user:ann",))
        kiln = next(example for example in made.rows.examples if "kiln" in example.query)
        assert kiln.asked_by == ("group:craft", "user:ann")
        assert kiln.positives[0].principals == ("group:craft",)
        public = make(kb, [rows_of_things()], feedback=False, negatives=2, as_=[])
        assert {passage.document for passage in public.rows.passages}.isdisjoint(f"{name}.md" for name in secret)
        with pytest.raises(DatasetError, match="no feedback that could be seen"):
            make(kb, feedback=True, as_=[])


def rows_of_things(n: int = len(THINGS)) -> Rows:
    return Rows(
        tuple(
            Example(f"Who has to do with {said.split(',')[0]}?", (Passage(f"It is the {name} that {said}."),))
            for name, said in list(THINGS.items())[:n]
        )
    )


# --- documents --------------------------------------------------------------------------------------------------------


class TestDocuments:
    def test_headings_terms_links_and_sentences_ask_for_their_passages(self, town: KnowledgeBase) -> None:
        made = make(town, documents=200, negatives=1)
        kinds = {example.kind for example in made.rows.examples}
        assert {"heading", "list", "title", "link", "sentence"} <= kinds
        by_kind = {kind: [e for e in made.rows.examples if e.kind == kind] for kind in kinds}
        for example in by_kind["link"]:
            name = re.search(r"how the (\w+) is run", example.query)
            assert name
            assert example.positives[0].document == f"{name[1]}.md"
        for kind in ("sentence", "title"):
            left_out = [e for e in by_kind[kind] if e.query.rstrip(".") not in e.positives[0].text]
            assert len(left_out) > len(by_kind[kind]) / 2
        assert made.dropped
        assert all(one.line and one.reason for one in made.dropped)

    def test_a_query_that_does_not_find_its_own_passage_is_dropped(self, town: KnowledgeBase) -> None:
        strict = make(town, documents=200, within=1, form="pairs")
        wide = make(town, documents=200, within=50, form="pairs")
        assert counted(strict, "search does not find its passage among 1 hits") > counted(wide, "search does not find")
        assert len(strict.rows.examples) < len(wide.rows.examples)

    def test_what_several_documents_answer_asks_for_none(self, town: KnowledgeBase) -> None:
        made = make(town, documents=200, form="pairs")
        assert not [example for example in made.rows.examples if "“Warden”" in example.query]
        assert counted(made, "asked of several documents") >= len(THINGS)

    def test_the_same_seed_makes_the_same(self, town: KnowledgeBase) -> None:
        a, b, c = (make(town, documents=30, seed=seed).rows for seed in (1, 1, 2))
        assert a == b
        assert a != c

    def test_a_language_model_writes_and_local_only_documents_are_not_sent(
        self, new_kb: Callable[..., KnowledgeBase], server: ModelServer
    ) -> None:
        def reply(request: Request) -> Reply:
            found = re.search(r"The (\w+) (?!of the)([a-z]+ [^,.]*)", request.user)
            if "You answer a question" in request.system:
                return Say(json.dumps({"answer": found[2]}) if found else '{"answer": null}')
            if not found or found[1] not in THINGS:
                return Say('{"question": null}')
            question = f"Which business does the {found[1]} carry on?"
            return Say(json.dumps({"question": question, "answer": found[2], "quote": found[0]}))

        kb = new_kb()
        for each in village():
            kb.add(each, local_only=each.source == "kiln.md")
        server.will(reply)
        llm = LanguageModel(kind="openai", model="m", base_url=server.base_url)
        made = make(kb, documents=12, llm=llm, negatives=1)
        assert {example.kind for example in made.rows.examples} == {"llm"}
        assert len(made.rows.examples) >= 10
        assert not [request for request in server.requests if THINGS["kiln"] in request.user]

    def test_local_only_texts_are_told(self, new_kb: Callable[..., KnowledgeBase]) -> None:
        kb = new_kb()
        kb.add(*village(), local_only=True)
        made = make(kb, documents=20, negatives=1)
        assert made.as_json()["local_only"] == len(made.rows.passages)
        assert any("local-only: train on this machine" in line for line in made.lines())


def test_a_remote_embedding_model_is_sent_no_local_only_text(
    new_kb: Callable[..., KnowledgeBase], running: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    part = OpenAIEmbedder(model=uuid.uuid4().hex, base_url=running.url, dimensions=16)
    kb = new_kb(Recipe(index=IndexHalf(embed=part), query=QueryHalf(fusion=EvidenceFusion(cosine=0.5))))
    for each in village():
        kb.add(each, local_only=each.source == "kiln.md")
    running.asked.clear()
    secret = Example("Who has clay?", (Passage("Clay lies in Zyxford.", "zyxford.md", local_only=True),))
    made = make(kb, [Rows((secret,))], documents=40, negatives=1)
    assert secret.query in {example.query for example in made.rows.examples}
    assert made.refused["to look for: local-only, and the embedding model is remote"] == 1
    assert "kiln.md" not in {positive.document for example in made.rows.examples for positive in example.positives}
    sent = repr(running.asked)
    assert "loom" in sent
    assert not any(text in sent for text in ("Zyxford", "Who has clay", "1,240 degrees"))


# --- what is refused --------------------------------------------------------------------------------------------------


class TestRefused:
    def test_fewer_than_ten_queries(self) -> None:
        with pytest.raises(DatasetError, match="9 distinct queries; training needs 10 at least, and 500"):
            make(None, [rows_of_things(9)], form="pairs")

    def test_all_duplicates(self, tmp_path: Path) -> None:
        path = tmp_path / "rows.jsonl"
        path.write_text('{"anchor": "Who?", "positive": "Ann."}\n' * 600)
        with pytest.raises(DatasetError, match="1 distinct queries, in 600 rows"):
            make(None, [read(path)], form="pairs")

    def test_one_positive_for_all(self) -> None:
        rows = Rows(tuple(Example(f"What about {name}?", (Passage("Everything."),)) for name in THINGS))
        with pytest.raises(DatasetError, match="one and the same positive for 12 queries"):
            make(None, [rows], form="pairs")

    @pytest.mark.parametrize(("is_label", "what"), [(True, "one label only"), (False, "one score only")])
    def test_one_label(self, is_label: bool, what: str) -> None:
        pairs = tuple(Scored(Passage(name), Passage(said), 1.0, is_label) for name, said in THINGS.items())
        with pytest.raises(DatasetError, match=what):
            make(None, [Rows(scored=pairs)], form="scored")

    def test_positives_alone_are_one_label(self) -> None:
        with pytest.raises(DatasetError, match=r"one score only \(1\) in 12 pairs; add pairs that are not alike"):
            make(None, [rows_of_things()], form="labelled")

    def test_scored_pairs_beside_queries_without_scores(self, town: KnowledgeBase) -> None:
        pairs = tuple(Scored(Passage(name), Passage(said), 0.5) for name, said in THINGS.items())
        with pytest.raises(DatasetError, match="scored pairs, and queries that have no scores"):
            make(town, [Rows(scored=pairs)], documents=20, form="scored")

    @pytest.mark.parametrize("change", [str, str.upper, lambda text: text.replace("Who has", "Who hass")])
    def test_what_the_test_set_asks(self, change: Callable[[str], str]) -> None:
        rows = rows_of_things()
        test = dataset("held", [Question("t1", change(rows.examples[3].query), answers=("x",), split="test")])
        with pytest.raises(
            DatasetError, match=r"1 rows ask what the test set asks \(1 of its questions\), such as held: t1"
        ):
            make(None, [rows], form="pairs", test=[test])
        made = make(None, [rows], form="pairs", test=[test], drop_leaks=True)
        assert len(made.rows.examples) == len(THINGS) - 1
        assert counted(made, "asked in the test set: held: t1") == 1
        assert made.overlap == {"tested": 1, "question": 0, "near question": 0, "passage": 0, "document": 0}

    def test_the_test_questions_of_a_data_set_are_its_test(self, town: KnowledgeBase) -> None:
        both = [*asked().questions.values(), *asked(split="test", names=["kiln"]).questions.values()]
        with pytest.raises(DatasetError, match="1 rows ask what the test set asks"):
            make(town, datasets=[dataset("both", both)])

    def test_dev_questions_are_told_and_are_no_test(self) -> None:
        rows = rows_of_things()
        asked = [
            Question("d1", rows.examples[3].query, answers=("x",), split="dev"),
            Question("t1", "What is for lunch on Fridays?", answers=("x",), split="test"),
        ]
        held = dataset("held", asked)
        made = make(None, [rows], form="pairs", test=[held])
        assert len(made.rows.examples) == len(THINGS)
        assert made.overlap is not None
        assert made.overlap["tested"] == 1
        assert sum("1 rows ask what 1 dev questions ask, such as " in line for line in made.warnings) == 1
        dropped = make(None, [rows], form="pairs", test=[held], drop_leaks=True)
        assert counted(dropped, "asked in dev questions: held: d1") == 1
        assert not any("dev questions" in line for line in dropped.warnings)
        with pytest.raises(DatasetError, match="no question of it is to test with"):
            make(None, [rows], form="pairs", test=[dataset("dev", asked[:1])])

    def test_one_label_is_not_written_as_if_there_were_none(self) -> None:
        pairs = tuple(Scored(Passage(name), Passage(said), 1.0, True) for name, said in THINGS.items())
        with pytest.raises(DatasetError, match=r"one label only \(1\) .* or say that all are positives: .* --to pairs"):
            make(None, [Rows(scored=pairs)])
        assert len(make(None, [Rows(scored=pairs)], form="pairs").rows.examples) == len(THINGS)

    def test_labels_of_several_files_are_looked_at_together(self) -> None:
        names = list(THINGS)
        right = tuple(Scored(Passage(name), Passage(said), 1.0, True) for name, said in THINGS.items())
        wrong = tuple(Scored(Passage(name), Passage(THINGS[names[at - 1]]), 0.0, True) for at, name in enumerate(names))
        made = make(None, [Rows(scored=right), Rows(scored=wrong)])
        assert len(made.rows.examples) == len(THINGS)
        assert all(example.negatives for example in made.rows.examples)

    def test_documents_may_be_shared_with_the_test_and_are_told(self, town: KnowledgeBase) -> None:
        held = Question("t1", "Who may go into the hot room alone?", {"kiln.md": 1}, split="test")
        made = make(town, datasets=[asked()], test=[dataset("held", [held])], negatives=1)
        assert made.overlap is not None
        assert made.overlap["document"] == 1


# --- what is told -----------------------------------------------------------------------------------------------------


def test_texts_longer_than_the_model_reads_are_told() -> None:
    rows = Rows(tuple(Example(f"What about {name}?", (Passage(f"{said} " * 60),)) for name, said in THINGS.items()))
    made = make(None, [rows], form="pairs")
    assert made.lengths["positives"]["truncated"] == len(THINGS)
    assert any("positives are longer than the 254 tokens" in line for line in made.warnings)
    assert any("below 500" in line for line in made.warnings)
    assert any("no test set was named" in line for line in made.warnings)


def test_labels_that_the_search_doubts_are_told(town: KnowledgeBase) -> None:
    """Every question is given the evidence of another page."""
    names = list(THINGS)
    wrong = [
        Question(f"q{n}", f"What does the {name} do all year?", {f"{names[(n + 5) % len(names)]}.md": 1}, split="train")
        for n, name in enumerate(names)
    ]
    right, shuffled = (make(town, datasets=[d], negatives=1).noise for d in (asked(), dataset("wrong", wrong)))
    assert right is not None
    assert shuffled is not None
    assert right["above_positive"] < shuffled["above_positive"] or right["doubtful"] < shuffled["doubtful"]


def test_from_the_command_line(openbook: Run, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    for each in village():
        (tmp_path / "docs" / each.source).write_text(each.text)
    assert openbook("add", "docs").returncode == 0
    done = openbook("finetune", "data", "rows.jsonl", "--from-documents", "24", "--negatives", "2", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["rows"] == len((tmp_path / "rows.jsonl").read_text().splitlines()) == told["queries"] == 24
    assert {"line", "reason"} == {key for one in told["dropped"] for key in one}
    assert told["negatives"]["count"] == 48
    # Rows are written in another format as they stand, without the documents.
    done = openbook("finetune", "data", "triplets.csv", "rows.jsonl", "--to", "triplets", "--json", "--db", "nowhere")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"] == 48
    done = openbook("finetune", "data", "folder", "triplets.csv", "--to", "beir", "--json", "--db", "nowhere")
    assert done.returncode == 0, done.stderr
    assert read(tmp_path / "folder").examples == read(tmp_path / "rows.jsonl").examples
    for arguments, what in {
        ("rows.jsonl", "--from-documents", "9"): "rows.jsonl: exists already",
        ("new.jsonl",): "nothing to train on",
        ("new.jsonl", "rows.jsonl", "--to", "squad"): "no format 'squad'",
        ("new.csv", "rows.jsonl", "--to", "beir"): "no table is beir",
        ("new.jsonl", "rows.jsonl", "--within", "3"): "no query is made of the documents",
        ("new.jsonl", "gone.jsonl"): "gone.jsonl: no such file or folder",
    }.items():
        done = openbook("finetune", "data", *arguments)
        assert done.returncode == 2, done.stdout
        assert what in done.stderr.strip().splitlines()[-1]
        assert not (tmp_path / "new.jsonl").exists()


def test_what_was_made_is_written_in_any_format(town: KnowledgeBase, tmp_path: Path) -> None:
    made = make(town, datasets=[asked()], negatives=2)
    for form in ("triplets", "tuples", "beir", "tevatron"):
        path = tmp_path / (form if form == "beir" else f"{form}.jsonl")
        write(made.rows, path, form)  # type: ignore[arg-type]
        assert read(path).examples == made.rows.examples
