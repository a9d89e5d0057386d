"""The text of a local-only document is sent to no remote model, whatever the recipe says. Servers on loopback stand
for remote ones, and what they were sent is read."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.embed.loopback import Server
from tests.generate.loopback import ModelServer, Say

from openbook.errors import DatasetError
from openbook.evaluate import Judge, Question
from openbook.evaluate.datasets import writing
from openbook.evaluate.measures import faithfulness
from openbook.evaluate.report import Outcome
from openbook.knowledge_base import KnowledgeBase
from openbook.recipe import (
    EvidenceFusion,
    IndexHalf,
    LanguageModel,
    OpenAIEmbedder,
    QueryHalf,
    Recipe,
    ReciprocalRankFusion,
    WeightedFusion,
)
from openbook.store.writing import Write
from openbook.types import Answer, Chunk, Document, Hit

SECRET = Document("secret.md", "The merger with Zyxcorp is signed in May.", title="Merger", local_only=True)
OPEN = Document("open.md", "The canteen serves lunch at noon.", title="Canteen")
OTHERS = [Document(f"other{n}.md", f"Note {n} is about travel and hotels.", title=f"Note {n}") for n in range(6)]


@pytest.fixture
def llm() -> Iterator[ModelServer]:
    with ModelServer("openai") as server:
        yield server


def remote(server: Server, fusion: Any = None, **more: Any) -> Recipe:
    """A model of its own for each, so that nothing is cached of it; its vectors are chance, and count for little."""
    part = OpenAIEmbedder(model=uuid.uuid4().hex, base_url=server.url, dimensions=16, **more)
    return Recipe(index=IndexHalf(embed=part), query=QueryHalf(fusion=fusion or EvidenceFusion(cosine=0.5)))


def writer(llm: ModelServer, **more: Any) -> LanguageModel:
    return LanguageModel(kind="openai", model="m", base_url=llm.base_url, **more)


def sent(server: Server | ModelServer) -> str:
    """Everything that a server was sent."""
    return repr(server.asked if isinstance(server, Server) else [request.body for request in server.requests])


def vectors(kb: KnowledgeBase, source: str) -> list[bool]:
    """Of each chunk of a document in the live index, whether it has a vector."""
    with kb.database.snapshot(None) as connection:
        rows = connection.execute(
            f"SELECT c.vector IS NOT NULL FROM openbook.chunk_{kb.index.id} c"
            " JOIN openbook.document d ON d.id = c.document WHERE d.source = %s AND d.kb = %s",
            [source, kb.kb],
        ).fetchall()
    return [has for (has,) in rows]


class TestRemoteEmbedders:
    @pytest.mark.parametrize(
        "fusion", [EvidenceFusion(), WeightedFusion(dense=0.1), ReciprocalRankFusion()], ids=lambda f: f.kind
    )
    def test_its_text_is_not_embedded_and_its_words_find_it(
        self, new_kb: Callable[..., KnowledgeBase], server: Server, fusion: Any
    ) -> None:
        kb = new_kb(remote(server, fusion))
        kb.add(SECRET, OPEN, *OTHERS)
        assert "canteen" in sent(server)
        assert "Zyxcorp" not in sent(server)
        assert "Merger" not in sent(server)
        assert vectors(kb, "secret.md") == [False]
        hit = next(hit for hit in kb.search("merger in May", 8).hits if hit.source == "secret.md")
        assert (hit.local_only, [*hit.stages]) == (True, ["keyword", "fused"])
        assert len(kb.search("lunch", 50).hits) == 7, "what has no vector is near to nothing"

    def test_the_sentences_of_an_answer_are_embedded_as_little(
        self, new_kb: Callable[..., KnowledgeBase], server: Server
    ) -> None:
        """The extractive generator sent the sentences of its hits to the embedder."""
        kb = new_kb(remote(server))
        kb.add(SECRET)
        answer = kb.ask("When is the merger with whom signed?")
        assert answer.abstained
        assert answer.reason == "1 of 1 passage is local-only and was not sent to the model, which is remote"
        assert answer.trace is not None
        assert answer.trace.details == {"withheld": {"generate": [1]}}
        kb.add(OPEN)
        kb.ask("When is the merger signed, and when is lunch?")
        assert "Zyxcorp" not in sent(server)

    def test_one_that_the_recipe_calls_local_embeds_it(
        self, new_kb: Callable[..., KnowledgeBase], server: Server
    ) -> None:
        kb = new_kb(remote(server, local=True))
        kb.add(SECRET)
        assert "Zyxcorp" in sent(server)
        assert vectors(kb, "secret.md") == [True]

    def test_a_release_with_a_remote_model_is_built_without_it(self, kb: KnowledgeBase, server: Server) -> None:
        kb.add(SECRET, OPEN, *OTHERS)
        assert vectors(kb, "secret.md") == [True], "the packaged model runs here"
        recipe = remote(server)
        plan = kb.plan(recipe)
        assert (plan.documents, plan.chunks, plan.texts) == (8, 8, 7)
        kb.promote(kb.build(recipe).release)
        assert "Zyxcorp" not in sent(server)
        assert vectors(kb, "secret.md") == [False]
        assert kb.search("merger").hits[0].source == "secret.md"
        kb.add(replace(SECRET, text="The merger with Zyxcorp is off."))
        assert "Zyxcorp" not in sent(server), "nor is an edit sent, which reaches both indexes"
        kb.rollback()
        assert vectors(kb, "secret.md") == [True]


class TestTheRule:
    def test_what_becomes_local_only_loses_its_vectors(
        self, new_kb: Callable[..., KnowledgeBase], server: Server
    ) -> None:
        kb = new_kb(remote(server))
        kb.add(replace(SECRET, local_only=False, text="An earlier Zyxcorp text."), OPEN)
        kb.add(replace(SECRET, local_only=False))
        assert vectors(kb, "secret.md") == [True]
        done = kb.add(replace(SECRET, local_only=False), local_only=True)
        assert (done.updated, done.embedded) == (1, 0)
        assert vectors(kb, "secret.md") == [False]
        with kb.database.snapshot(None) as connection:
            cached = connection.execute(
                "SELECT count(*) FROM openbook.vector WHERE embedder = %s", [kb.index.embedder]
            ).fetchone()
        assert cached == (1,), "the cached vectors are gone as well, those of earlier versions, too"
        assert kb.show("secret.md").local_only
        assert kb.list()[1]["version"] == 2, "its text is the same"

    def test_it_may_be_sent_again_when_that_is_said(self, new_kb: Callable[..., KnowledgeBase], server: Server) -> None:
        kb = new_kb(remote(server))
        kb.add(SECRET)
        kb.add(replace(SECRET, local_only=False))
        assert kb.show("secret.md").local_only, "a document whose maker said nothing opens nothing"
        assert "Zyxcorp" not in sent(server)
        kb.add(replace(SECRET, local_only=False), local_only=False)
        assert not kb.show("secret.md").local_only
        assert vectors(kb, "secret.md") == [True]

    def test_it_is_kept_by_every_other_change(self, kb: KnowledgeBase) -> None:
        kb.add(SECRET)
        for change in ({"text": "Another text."}, {"title": "T"}, {"metadata": {"a": 1}}, {"access": ("group:hr",)}):
            kb.add(replace(SECRET, local_only=False, **change))
            assert kb.show("secret.md").local_only, change
        kb.remove("secret.md")
        kb.add(replace(SECRET, local_only=False))
        assert kb.show("secret.md").local_only, "and by coming back"
        assert (kb.status()["local_only"], kb.list()[0]["local_only"]) == (1, True)
        assert kb.status(as_=[])["local_only"] == 0

    def test_an_edit_keeps_it_and_sends_nothing(self, new_kb: Callable[..., KnowledgeBase], server: Server) -> None:
        kb = new_kb(remote(server))
        kb.add(SECRET)
        kb.edit("secret.md", text="The Zyxcorp merger is off.")
        kb.edit("secret.md", title="Zyxcorp", metadata={"team": "board"}, access=["group:board"])
        kb.edit("secret.md", source="renamed.md")
        kb.restore("renamed.md", 1)
        kb.remove("renamed.md")
        kb.restore("renamed.md")
        assert kb.show("renamed.md").local_only
        assert vectors(kb, "renamed.md") == [False]
        assert "Zyxcorp" not in sent(server)

    def test_a_folder_remembers_it_for_what_is_new(self, kb: KnowledgeBase, tmp_path: Path) -> None:
        for name in ("house/board/plan.md", "house/menu.md"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(f"What {name} says.")
            os.utime(tmp_path / name, (1e9, 1e9))  # a file that was just written is read again in any case
        kb.add(tmp_path / "house/board", local_only=True)
        kb.add(tmp_path / "house")
        (tmp_path / "house/board/new.md").write_text("New for the board.")
        kb.add(tmp_path / "house")

        def local() -> list[str]:
            return [row["source"].rpartition("/")[2] for row in kb.list() if row["local_only"]]

        assert local() == ["new.md", "plan.md"]
        kb.add(tmp_path / "house", local_only=False)
        assert local() == [], "what is said for a folder holds for all of it"
        (tmp_path / "house/board/newer.md").write_text("Newer.")
        kb.add(tmp_path / "house/board", local_only=True)
        assert local() == ["new.md", "newer.md", "plan.md"]

    def test_a_rule_made_while_an_add_was_under_way_is_not_lost(self, kb: KnowledgeBase) -> None:
        """An add that had looked before wrote back who might read it then: what was closed meanwhile was open again."""
        kb.add(replace(SECRET, local_only=False))
        late = replace(SECRET, local_only=False, metadata={"late": True})
        kb.add(replace(SECRET, local_only=True), access=["group:board"])
        kb.writer.write([Write(late, keeps=frozenset({"access", "local_only"}))])
        now = kb.show("secret.md")
        assert (now.access, now.local_only, now.metadata) == (("group:board",), True, {"late": True})
        [again] = kb.writer.write(
            [Write(replace(late, text="new"), readings={}, keeps=frozenset({"access", "local_only"}))]
        ).again
        assert (again.document.access, again.document.local_only) == (("group:board",), True)

    def test_a_reading_of_before_is_not_given_to_an_index(
        self, new_kb: Callable[..., KnowledgeBase], server: Server
    ) -> None:
        """A build that had read a document before it became local-only."""
        kb = new_kb(remote(server))
        kb.add(replace(SECRET, local_only=False))
        (reader,) = kb.live.readers()
        [(id, version, document)] = kb.writer.behind(0)
        [reading], _ = reader.read(reader.cut([document]))
        kb.add(SECRET)
        assert kb.writer.catch_up(kb.index, [(id, version, reading)]) == 0
        assert vectors(kb, "secret.md") == [False]


class TestLanguageModels:
    @pytest.fixture
    def filled(self, kb: KnowledgeBase) -> KnowledgeBase:
        kb.add(SECRET, replace(OPEN, text="The merger party is in the canteen, in May."))
        return kb

    def test_a_remote_one_is_given_the_other_passages_alone(self, filled: KnowledgeBase, llm: ModelServer) -> None:
        llm.will(Say("The party is in the canteen [1]."))
        answer = filled.ask("What of the merger in May?", llm=writer(llm), as_=[])
        assert "canteen" in sent(llm)
        assert "Zyxcorp" not in sent(llm)
        assert [citation.source for citation in answer.citations] == ["open.md"]
        assert answer.trace is not None
        ranks = answer.trace.details["withheld"]["generate"]
        assert [answer.trace.hits[rank - 1].source for rank in ranks] == ["secret.md"]
        kept = filled.trace(answer.trace.id, as_=[])
        assert kept["details"] == {"withheld": {"generate": ranks}}
        filled.add(SECRET, access=["group:board"])
        assert filled.list()[1]["document"] not in repr(filled.trace(answer.trace.id, as_=[]))

    def test_with_nothing_else_it_is_not_asked(self, kb: KnowledgeBase, llm: ModelServer) -> None:
        kb.add(SECRET)
        answer = kb.ask("What of the merger in May?", llm=writer(llm))
        assert answer.abstained
        assert answer.reason == "1 of 1 passage is local-only and was not sent to the model, which is remote"
        assert llm.requests == []
        assert "Zyxcorp" in kb.ask("When is the merger with Zyxcorp signed?").text, "quoted here, it is told"

    def test_an_abstention_says_what_it_had_not_read(self, filled: KnowledgeBase, llm: ModelServer) -> None:
        llm.will(Say("I don't know."))
        answer = filled.ask("Who signs the merger in May?", llm=writer(llm))
        assert answer.reason is not None
        assert answer.reason.endswith("; 1 of 2 passages is local-only and was not sent to the model, which is remote")

    def test_one_that_the_recipe_calls_local_reads_everything(self, filled: KnowledgeBase, llm: ModelServer) -> None:
        llm.will(Say("In May [1]."))
        answer = filled.ask("When is the merger?", llm=writer(llm, local=True))
        assert "Zyxcorp" in sent(llm)
        assert answer.trace is not None
        assert answer.trace.details == {}

    def test_no_question_is_written_from_it_by_a_remote_one(self, kb: KnowledgeBase, llm: ModelServer) -> None:
        kb.add(SECRET)
        llm.will(Say("yes"))
        with pytest.raises(DatasetError, match="every document is local-only"):
            writing.write(kb, 3, llm=writer(llm))
        assert "Zyxcorp" not in sent(llm)

    def test_no_answer_from_it_is_sent_to_a_remote_judge(self, llm: ModelServer) -> None:
        hit = Hit("d", 1, "secret.md", "Merger", Chunk(0, len(SECRET.text), SECRET.text), 1.0, local_only=True)
        answer = Answer(SECRET.text, (hit.cite(0, len(SECRET.text)),))
        outcomes = {"q": Outcome("q", [hit], answer, {}, "t")}
        measured = faithfulness.measure({"q": Question("q", "When?")}, outcomes, Judge(writer(llm)))
        assert llm.requests == []
        assert measured.details["faithfulness"]["failures"] == {
            "q": "local-only passages are not sent to a remote judge"
        }


def test_recipes_that_say_nothing_of_it_are_the_same_as_before() -> None:
    part = OpenAIEmbedder(model="m")
    assert "local" not in part.model_dump()
    assert part.hash != replace_local(part).hash
    stated = Recipe(index=IndexHalf(embed=replace_local(part)))
    assert Recipe.from_toml(stated.to_toml()) == stated


def replace_local(part: OpenAIEmbedder) -> OpenAIEmbedder:
    return part.model_copy(update={"local": True})


def test_the_command_line_says_it(openbook: Callable[..., Any], tmp_path: Path, llm: ModelServer) -> None:
    (tmp_path / "board").mkdir()
    (tmp_path / "board/plan.md").write_text("# Merger\n\nThe merger with Zyxcorp is signed in May.\n")
    openbook("add", "board", "--local-only")
    assert "local-only" in openbook("list").stdout
    assert "1 documents: their text is sent to no remote model" in openbook("status").stdout
    assert "sent to no remote model" in openbook("show", "plan.md").stdout
    asked = openbook("ask", "When is the merger signed?", "--llm", "openai:m", "--base-url", llm.base_url)
    assert asked.stdout.startswith("I don't know: 1 of 1 passage is local-only")
    assert "not sent to the model, which is remote: 1 local-only passage\n" in asked.stderr
    trace = asked.stderr.split("trace ")[1].split(",")[0]
    assert "withheld  hits 1: local-only" in openbook("show", "--trace", trace).stdout
