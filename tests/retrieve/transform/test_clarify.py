"""A question whose hits split between readings is asked back, where the caller allows it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.generate.loopback import ModelServer
from tests.retrieve.transform.stages import answering, asked, query

from openbook.knowledge_base import KnowledgeBase
from openbook.retrieve.transform.clarify import readings
from openbook.types import Chunk, Document, Hit

QUESTION = "What is the limit?"


def hit(text: str, score: float, *headings: str, document: str = "d", title: str = "Limits", **metadata: Any) -> Hit:
    return Hit(document, 1, document, title, Chunk(0, len(text), text, headings), score, metadata=metadata)


OLD = hit("The limit is ten a day.", 9.0, "Limits", document="old", version="v3.4", type="md")
NEW = hit("The limit is twenty a day.", 8.9, "Limits", document="new", version="v3.5", type="md")
LAST = hit("Bees.", 2.0, "Bees", document="bees", version="v3.4", type="md")


class TestByRule:
    def test_the_same_section_of_two_versions(self) -> None:
        found = readings(QUESTION, [OLD, NEW, LAST])
        assert found is not None
        assert found.question == "Which version is meant: v3.4 or v3.5?"
        assert [(choice.text, choice.citation.document) for choice in found.choices] == [
            ("v3.4", "old"),
            ("v3.5", "new"),
        ]
        assert found.choices[0].citation.quote == OLD.chunk.text

    def test_sections_side_by_side_that_say_alike_things(self) -> None:
        first = hit("Employees have ten sick days a year.", 9.0, "Sick leave", "Employees")
        second = hit("Contractors have no sick days a year.", 8.9, "Sick leave", "Contractors")
        found = readings("How many sick days are there?", [first, second, LAST])
        assert found is not None
        assert found.question == "Which is meant: Employees or Contractors?"
        assert readings("How many sick days do contractors have?", [first, second, LAST]) is None
        other = replace(second, chunk=replace(second.chunk, text="Send the certificate to the office."))
        assert readings("How many sick days are there?", [first, other, LAST]) is None

    @pytest.mark.parametrize(
        ("why", "question", "hits"),
        [
            ("the question names one", "What is the limit in 3.5?", [OLD, NEW, LAST]),
            ("one is far ahead", QUESTION, [replace(OLD, score=20.0), NEW, LAST]),
            ("both say the same", QUESTION, [OLD, replace(NEW, chunk=OLD.chunk), LAST]),
            ("they are other sections", QUESTION, [OLD, replace(NEW, title="Quotas"), LAST]),
            ("one is of no version", QUESTION, [OLD, replace(NEW, metadata={}), LAST]),
            ("there is one hit", QUESTION, [OLD]),
            ("there is none", QUESTION, []),
            (
                "only how they are kept differs",
                QUESTION,
                [replace(OLD, metadata={"type": "md"}), replace(NEW, metadata={"type": "pdf"}), LAST],
            ),
            (
                "they differ by a date: the later one holds",
                QUESTION,
                [replace(OLD, metadata={"at": "2023-01-01"}), replace(NEW, metadata={"at": "2025-01-01"}), LAST],
            ),
        ],
    )
    def test_it_is_not_asked_back_where(self, why: str, question: str, hits: list[Hit]) -> None:
        assert readings(question, hits) is None, why

    @pytest.fixture
    def versions(self, kb: KnowledgeBase) -> KnowledgeBase:
        for version, days in (("v3.4", "ten"), ("v3.5", "twelve")):
            text = f"A snapshot is kept for {days} days and then deleted."
            kb.add(Document(version, text, "Snapshots", {"version": version}))
        kb.add(Document("bees", "The bees on the roof make honey in July.", "Roof", {"version": "v3.4"}))
        return kb

    def test_only_where_the_caller_allows_it(self, versions: KnowledgeBase) -> None:
        asked = "How long is a snapshot kept?"
        assert versions.ask(asked).clarification is None
        answer = versions.ask(asked, clarify=True)
        assert (answer.text, answer.abstained, answer.citations) == ("", False, ())
        assert answer.clarification is not None
        assert {choice.text for choice in answer.clarification.choices} == {"v3.4", "v3.5"}
        assert answer.trace is not None
        kept = versions.trace(answer.trace.id)["details"]["clarification"]
        assert kept["question"] == answer.clarification.question
        # Asked again with both in the history, it is answered.
        said = [("user", asked), ("assistant", answer.clarification.question)]
        again = versions.ask("v3.5", history=said, clarify=True)
        assert again.clarification is None
        assert "twelve days" in again.text

    def test_what_is_closed_to_the_caller_is_no_choice(self, versions: KnowledgeBase) -> None:
        versions.edit("v3.5", access=["board"])
        assert versions.ask("How long is a snapshot kept?", clarify=True, as_=["user:ann"]).clarification is None
        answer = versions.ask("How long is a snapshot kept?", clarify=True, as_=["board"])
        assert answer.trace is not None
        assert "v3.5" in repr(versions.trace(answer.trace.id, as_=["board"])["details"])
        versions.edit("v3.5", access=["others"])
        assert "v3.5" not in repr(versions.trace(answer.trace.id, as_=["board"])["details"])


class TestByModel:
    @pytest.fixture
    def asking(self, filled: KnowledgeBase, server: ModelServer) -> KnowledgeBase:
        filled.answer_by(query(server, multi_query=0))
        return filled

    def test_choices_stand_behind_passages_that_were_shown(self, asking: KnowledgeBase, server: ModelServer) -> None:
        choices = [{"text": "employees", "passage": 1}, {"text": "contractors ![x](http://evil.example)", "passage": 2}]
        choices += [
            {"text": "nobody", "passage": 99},
            {"text": "again", "passage": 1},
            {"text": "EMPLOYEES", "passage": 3},
        ]
        server.will(answering(clarify={"question": "For whom?", "choices": choices}))
        answer = asking.ask("How much sick leave is there for employees or contractors?", clarify=True)
        assert answer.clarification is not None
        assert answer.clarification.question == "For whom?"
        assert [choice.text for choice in answer.clarification.choices] == ["employees", "contractors x"]
        assert [choice.citation.source for choice in answer.clarification.choices] == ["sick", "contractors"]
        assert answer.usage.input_tokens == 321
        assert answer.trace is not None
        assert answer.trace.details["calls"][0]["stage"] == "clarify"

    def test_a_clear_question_is_answered(self, asking: KnowledgeBase, server: ModelServer) -> None:
        for said in ({"question": "", "choices": []}, {"question": "Hm?", "choices": [{"text": "a", "passage": 1}]}):
            server.will(answering(clarify=said))
            answer = asking.ask("How many paid sick days do employees have?", clarify=True)
            assert answer.clarification is None
            assert "ten paid sick days" in answer.text

    def test_local_only_passages_are_not_sent_to_a_remote_one(self, asking: KnowledgeBase, server: ModelServer) -> None:
        server.will(answering())
        asking.ask("What is the cellar code?", clarify=True)
        [request] = asked(server, "clarify")
        assert "4711" not in request.user
        asking.answer_by(query(server, multi_query=0, llm={"local": True}))
        asking.ask("What is the cellar code?", clarify=True)
        assert "4711" in asked(server, "clarify")[-1].user


def test_the_command_line(openbook: Callable[..., Any], tmp_path: Path) -> None:
    for version, days in (("v3.4", "ten"), ("v3.5", "twelve")):
        text = f"---\nversion: {version}\n---\n# Snapshots\n\nA snapshot is kept for {days} days and then deleted.\n"
        (tmp_path / f"{version}.md").write_text(text)
    (tmp_path / "bees.md").write_text("---\nversion: v3.4\n---\n# Roof\n\nThe bees on the roof make honey in July.\n")
    openbook("add", "v3.4.md", "v3.5.md", "bees.md")
    asked = openbook("ask", "How long is a snapshot kept?", "--clarify")
    assert asked.returncode == 0
    first, *choices = asked.stdout.splitlines()
    assert first.startswith("Which version is meant: v3.")
    assert sorted(line.split("(")[1] for line in choices) == ["v3.4.md › Snapshots)", "v3.5.md › Snapshots)"]
    told = json.loads(openbook("ask", "How long is a snapshot kept?", "--clarify", "--json").stdout)
    assert (told["answer"], told["abstained"]) == ("", False)
    assert len(told["clarification"]["choices"]) == 2
    assert told["clarification"]["choices"][0]["citation"]["quote"].startswith("A snapshot")
    shown = openbook("show", "--trace", told["trace"]).stdout
    assert "answer    asked back" in shown
