"""From documents to what a generator is handed, through a whole knowledge base: assembly, disagreement, examples."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.generate.loopback import ModelServer, Say

from openbook.errors import NotFound
from openbook.knowledge_base import KnowledgeBase
from openbook.recipe import (
    ApprovedExamples,
    Assembly,
    Disagreements,
    LanguageModel,
    ModelTransform,
    QueryHalf,
    Recipe,
    StructureChunker,
)
from openbook.recipe import IndexHalf as Index
from openbook.types import Document

SICK = "How many paid sick days do I get a year?"
OLD = Document("2021/leave.md", "You get ten paid sick days a year.", "Leave", {"effective": "2021-01-01"})
NEW = Document("2024/leave.md", "You get 14 paid sick days a year.", "Leave", {"effective": "2024-04-01"})
OTHERS = [Document(f"other{n}.md", f"Note {n} is about travel and hotels.", f"Note {n}") for n in range(4)]


@pytest.fixture
def llm() -> Iterator[ModelServer]:
    with ModelServer("openai") as server:
        server.will(Say("Ten [1]."))
        yield server


def writer(llm: ModelServer, **more: Any) -> LanguageModel:
    return LanguageModel(kind="openai", model="m", base_url=llm.base_url, **more)


class TestAssembly:
    TEXT = "".join(
        f"# Part {n}\n\nThe lizard of part {n} eats {n + 3} crickets a day. " + "It naps. " * 12 for n in range(6)
    )

    def test_chunks_are_stitched_and_cited_to_the_letter(
        self, new_kb: Callable[..., KnowledgeBase], llm: ModelServer
    ) -> None:
        index = Index(chunk=StructureChunker(target_tokens=24, max_tokens=40))
        kb = new_kb(Recipe(index=index, query=QueryHalf(context=3, merge=0)))
        kb.add(Document("lizards.md", self.TEXT, "Lizards"), *OTHERS)
        before = kb.ask("How many crickets does the lizard of part 4 eat?").trace
        assert before is not None
        assert len(before.hits) == 3
        assert "assemble" not in before.details
        kb.answer_by(QueryHalf(context=3, merge=0, assemble=Assembly(stitch=40)))
        llm.will(Say("Seven crickets a day [1]. It naps [1][2]."))
        answer = kb.ask("How many crickets does the lizard of part 4 eat?", llm=writer(llm))
        assert answer.trace is not None
        told = answer.trace.details["assemble"]
        assert told["hits"] == len(answer.trace.hits) > 3
        assert told["passages"] <= 3
        assert len(re.findall(r"(?m)^<passage-", llm.requests[-1].user)) == told["passages"] == len(answer.passages)
        assert answer.citations
        for cited in answer.citations:
            assert self.TEXT[cited.start : cited.end] == cited.quote or cited.source != "lizards.md"

    def test_of_a_document_so_many_passages_are_handed_over(
        self, new_kb: Callable[..., KnowledgeBase], llm: ModelServer
    ) -> None:
        index = Index(chunk=StructureChunker(target_tokens=24, max_tokens=40))
        kb = new_kb(Recipe(index=index, query=QueryHalf(context=4, assemble=Assembly(per_document=1))))
        kb.add(Document("lizards.md", self.TEXT, "Lizards"), *OTHERS)
        kb.ask("Which notes tell of lizards, crickets and hotels?", llm=writer(llm))
        titles = re.findall(r"(?m)^Document: (.*)$", llm.requests[-1].user)
        assert titles.count("Lizards") == 1
        assert len(titles) == 4


class TestDisagreement:
    def test_is_told_with_both_sources_and_dates_and_kept(self, new_kb: Callable[..., KnowledgeBase]) -> None:
        kb = new_kb(Recipe(query=QueryHalf(disagreements=Disagreements())))
        kb.add(OLD, NEW, *OTHERS)
        answer = kb.ask(SICK)
        (one,) = answer.disagreements
        assert (one.older.source, one.newer.source) == ("2021/leave.md", "2024/leave.md")
        assert one.dates == ("2021-01-01", "2024-04-01")
        assert (one.older.quote, one.newer.quote) == (OLD.text, NEW.text)
        assert answer.trace is not None
        kept = kb.trace(answer.trace.id)["answer"]["disagreements"]
        assert [(span["text"], span["date"]) for span in kept] == [
            (OLD.text, "2021-01-01"),
            (NEW.text, "2024-04-01"),
        ]

    def test_is_not_looked_for_by_default(self, kb: KnowledgeBase) -> None:
        kb.add(OLD, NEW)
        answer = kb.ask(SICK)
        assert answer.disagreements == ()
        assert answer.trace is not None
        assert "disagreements" not in kb.trace(answer.trace.id)["answer"]

    def test_is_not_told_where_a_side_was_closed_meanwhile(self, new_kb: Callable[..., KnowledgeBase]) -> None:
        kb = new_kb(Recipe(query=QueryHalf(disagreements=Disagreements())))
        kb.add(OLD, NEW)
        answer = kb.ask(SICK, as_=["staff"])
        assert answer.trace is not None
        assert len(answer.disagreements) == 1
        assert answer.passages == tuple(answer.trace.hits), "raw scores are the owner's"
        kb.edit("2021/leave.md", access=["hr"])
        assert "disagreements" not in kb.trace(answer.trace.id, as_=["staff"])["answer"]
        assert kb.ask(SICK, as_=["staff"]).disagreements == ()
        kb.forget("2021/leave.md")
        with pytest.raises(NotFound):
            kb.trace(answer.trace.id)

    def test_a_model_is_shown_the_dates_and_the_flag_is_made_by_rules(
        self, new_kb: Callable[..., KnowledgeBase], llm: ModelServer
    ) -> None:
        kb = new_kb(Recipe(query=QueryHalf(disagreements=Disagreements())))
        kb.add(OLD, NEW)
        llm.will(Say("You get 14 days, ten before April 2024 [1][2]."))
        answer = kb.ask(SICK, llm=writer(llm))
        assert "effective 2021-01-01" in llm.requests[0].user
        assert "say what the other one says" in llm.requests[0].system
        assert len(answer.disagreements) == 1
        kb.answer_by(QueryHalf())
        kb.ask(SICK, llm=writer(llm))
        assert "2021-01-01" not in llm.requests[1].user

    def test_the_command_line_tells_it(
        self, openbook: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
    ) -> None:
        for year, days in (("2021", "ten"), ("2024", "14")):
            (tmp_path / "policies" / year).mkdir(parents=True)
            text = f"---\neffective: {year}-01-01\n---\n# Leave\n\nYou get {days} paid sick days a year.\n"
            (tmp_path / "policies" / year / "leave.md").write_text(text)
        (tmp_path / "recipe.toml").write_text("[query.disagreements]\nkind = 'rules'\n")
        assert openbook("add", "policies").returncode == 0
        said = openbook("ask", SICK, "--recipe", "recipe.toml")
        assert (
            "these disagree:\n    2021-01-01: “You get ten paid sick days a year.” (leave.md › Leave)\n" in said.stdout
        )
        told = json.loads(openbook("ask", SICK, "--recipe", "recipe.toml", "--json").stdout)
        (one,) = told["disagreements"]
        assert one["dates"] == ["2021-01-01", "2024-01-01"]
        assert one["newer"]["quote"] == "You get 14 paid sick days a year."


class TestApprovedExamples:
    """A caller is shown an example only if they may see everything that it was answered from."""

    @pytest.fixture
    def kb(self, new_kb: Callable[..., KnowledgeBase]) -> KnowledgeBase:
        kb = new_kb()
        kb.add(OLD, *OTHERS)
        kb.add(Document("board.md", "The board meets on the 5th of May.", "Board"), access=["board"])
        return kb

    def approve(self, kb: KnowledgeBase, question: str, verdict: str = "up", **who: Any) -> None:
        trace = kb.ask(question, **who).trace
        assert trace is not None
        kb.feedback(trace.id, verdict, **who)

    def shown(self, kb: KnowledgeBase, llm: ModelServer, question: str = SICK, local: bool = False, **who: Any) -> str:
        kb.ask(question, llm=writer(llm, examples=ApprovedExamples(), local=local), **who)
        user = llm.requests[-1].user
        return user[: user.index("The passages, each")]

    def test_are_quotes_that_were_called_good_and_better_answers(self, kb: KnowledgeBase, llm: ModelServer) -> None:
        assert self.shown(kb, llm) == ""
        self.approve(kb, SICK)
        self.approve(kb, "What is note 2 about?", "Travel, and hotels [1].")
        self.approve(kb, "What is note 3 about?", "down")
        text = self.shown(kb, llm)
        assert f"Question: {SICK}\nAnswer: You get ten paid sick days a year. [n]\n" in text
        assert "Answer: Travel, and hotels [n]." in text
        assert "note 3" not in text

    def test_a_quote_is_one_though_a_model_helped_to_look_for_it(self, kb: KnowledgeBase, llm: ModelServer) -> None:
        kb.answer_by(QueryHalf(transform=ModelTransform(model=writer(llm))))
        self.approve(kb, SICK)
        assert "Answer: You get ten paid sick days a year. [n]" in self.shown(kb, llm)

    def test_of_others_principals_or_the_owner_are_not_shown(self, kb: KnowledgeBase, llm: ModelServer) -> None:
        self.approve(kb, "What is note 1 about?", "Owner's words.")
        self.approve(kb, "When does the board meet?", "On the 5th.", as_=["board"])
        self.approve(kb, "What is note 2 about?", "Staff's words.", as_=["staff"])
        text = self.shown(kb, llm, as_=["staff"])
        assert "Staff's words." in text
        assert "Owner" not in text
        assert "board" not in text
        assert "Staff" not in self.shown(kb, llm, as_=["guest"])
        assert "5th" in self.shown(kb, llm, as_=["board", "staff"])

    def test_of_what_was_closed_or_removed_since_are_not_shown(self, kb: KnowledgeBase, llm: ModelServer) -> None:
        self.approve(kb, SICK, as_=["staff"])
        assert "ten paid" in self.shown(kb, llm, as_=["staff"])
        kb.edit("2021/leave.md", access=["hr"])
        assert self.shown(kb, llm, as_=["staff"]) == ""
        kb.edit("2021/leave.md", access=["public"])
        assert "ten paid" in self.shown(kb, llm, as_=["staff"])
        kb.edit("2021/leave.md", text="You get 14 paid sick days a year.")
        assert self.shown(kb, llm, as_=["staff"]) == "", "what was quoted is no longer so"

    def test_of_local_only_documents_go_to_no_remote_model(self, kb: KnowledgeBase, llm: ModelServer) -> None:
        self.approve(kb, "What is note 2 about?", "In my own words: Zyxcorp.")
        self.approve(kb, SICK)
        assert "Zyxcorp" in self.shown(kb, llm)
        kb.add(Document("secret.md", "The merger with Zyxcorp is signed in May.", "Merger", local_only=True))
        self.approve(kb, "When is the merger signed?")
        text = self.shown(kb, llm, "When are sick days signed?")
        assert "Zyxcorp" not in text, "words of a person may come from anywhere"
        assert "merger" not in text
        assert "ten paid" in text
        assert "Zyxcorp" in self.shown(kb, llm, "When is the merger signed?", local=True)
