"""Who may see what: nothing of what a caller may not see is told by any verb, count, error or trace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from openbook.errors import NotFound, QueryError, StoreRefused
from openbook.evaluate import Question, evaluate
from openbook.evaluate.datasets import making, writing
from openbook.evaluate.datasets import sheet as sheets
from openbook.evaluate.datasets.dataset import dataset
from openbook.knowledge_base import KnowledgeBase
from openbook.store import database as database_
from openbook.store.filter import parse
from openbook.types import Document

HR, SALES = ["group:hr"], ["group:sales"]


@pytest.fixture
def house(kb: KnowledgeBase) -> KnowledgeBase:
    """One document of each kind, all of them about pay."""
    kb.add(
        Document("open.md", "Pay day is the last Friday of a month.", title="Pay day", metadata={"team": "all"}),
        Document("pay.md", "The pay of Ann is 5000 euros.", title="Pay", metadata={"team": "hr"}, access=("group:hr",)),
        Document("deals.md", "The pay of a deal is ten percent.", title="Deals", access=("group:sales", "user:spy")),
    )
    return kb


def everything_said(kb: KnowledgeBase, as_: list[str]) -> str:
    """What every verb that reads says to this caller, as one text."""
    trace = kb.search("pay of Ann and of a deal", 10, as_=as_)
    answer = kb.ask("What is the pay of Ann?", as_=as_)
    assert answer.trace is not None
    told: list[Any] = [trace, answer, kb.list(as_=as_), kb.status(as_=as_), kb.copies(as_=as_), kb.reviewed(as_=as_)]
    told += [kb.trace(id, as_=as_) for id in (trace.id, answer.trace.id)]
    for row in kb.list(as_=as_):
        told += [kb.show(row["source"], as_=as_), kb.chunks(row["source"], as_=as_)]
    return repr(told)


@pytest.mark.parametrize("as_", [[], ["group:nobody"], SALES, HR])
def test_no_verb_tells_a_word_of_what_is_closed(house: KnowledgeBase, as_: list[str]) -> None:
    """``list`` and ``show`` told who else may read a document that is open to the caller."""
    said = everything_said(house, as_)
    closed = {"pay.md", "5000 euros"} if as_ != HR else set()
    closed |= {"deals.md", "ten percent"} if as_ != SALES else set()
    assert [word for word in ("spy", *closed) if word in said] == []
    assert "open.md" in said
    assert ("5000 euros" in said) == (as_ == HR)


class TestNames:
    """Any text is a name, and no two of them mean the same."""

    ODD = (
        *("a,b", '"', "{x}", "NULL", "null", "\\", "a b", " lead", "it's", "user:%", "_"),
        *("é", "e\u0301", "É", "用户:安", "🙂"),
    )

    def test_odd_names_open_what_is_theirs_and_nothing_else(self, kb: KnowledgeBase) -> None:
        kb.add(*(Document(f"{n}.md", "The same words.", access=(name,)) for n, name in enumerate(self.ODD)))
        for n, name in enumerate(self.ODD):
            assert [row["source"] for row in kb.list(as_=[name])] == [f"{n}.md"], name
            assert [hit.source for hit in kb.search("words", 50, as_=name).hits] == [f"{n}.md"], name
        assert kb.list(as_=["{", "a", "b", "x", "user:", "lead", "USER:%", "e"]) == []
        assert len(kb.list(as_=self.ODD)) == len(self.ODD)

    def test_two_names_that_would_be_kept_as_one_are_refused(self, kb: KnowledgeBase) -> None:
        """Two groups whose names differ in a byte that is no text read each other's documents."""
        for name in ("g\udcfe", "g\udcff", "g\0"):
            with pytest.raises(QueryError, match="half a character"):
                kb.add(Document("a", "text", access=(name,)))
            with pytest.raises(QueryError, match="half a character"):
                kb.search("text", as_=[name])

    @pytest.mark.parametrize("name", ["", "  ", None, 7, b"group:hr"])
    def test_what_is_no_name_is_refused(self, kb: KnowledgeBase, name: Any) -> None:
        for reads in (kb.list, kb.status, kb.copies, kb.reviewed, lambda as_: kb.search("x", as_=as_)):
            with pytest.raises(QueryError, match="a principal"):
                reads(as_=[name])

    def test_one_text_is_one_name_and_no_names_are_the_public(self, house: KnowledgeBase) -> None:
        assert [row["source"] for row in house.list(as_="group:hr")] == ["open.md", "pay.md"]
        assert [row["source"] for row in house.list(as_=())] == ["open.md"]
        assert [row["source"] for row in house.list(as_="public")] == ["open.md"]


def test_what_is_closed_and_what_is_not_there_are_one_answer(house: KnowledgeBase) -> None:
    id = house.list(as_=HR)[1]["document"]
    for verb in (house.show, house.chunks):
        for hidden in ("pay.md", id, "PAY.md"):
            with pytest.raises(NotFound) as found:
                verb(hidden, as_=SALES)
            assert str(found.value) == f"{hidden}: no such document; openbook list shows the sources"
    with pytest.raises(NotFound, match="no such document"):
        house.show("pay.md", version=7, as_=SALES)
    assert house.texts([id, "nonsense"], as_=SALES) == {}


def test_a_name_that_means_several_counts_only_what_may_be_seen(kb: KnowledgeBase) -> None:
    kb.add(*(Document(f"{team}/plan.md", "A plan.", access=(f"group:{team}",)) for team in ("hr", "sales", "it")))
    assert kb.show("plan.md", as_=HR).source == "hr/plan.md"
    with pytest.raises(QueryError, match=r"means 2 documents.*hr/plan\.md"):
        kb.show("plan.md", as_=[*HR, *SALES])


def test_not_allowed_takes_the_same_way_as_not_there(house: KnowledgeBase, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same statements with as many round trips: no clock tells one from the other."""
    statements: list[str] = []
    plain = database_.Connection.execute

    def noting(self: Any, query: Any, *args: Any, **kwargs: Any) -> Any:
        statements.append(query if isinstance(query, str) else query.as_string(self))
        return plain(self, query, *args, **kwargs)

    trace = house.search("pay", as_=HR).id
    house.traces.close()
    monkeypatch.setattr("psycopg.Connection.execute", noting)

    def way(act: Callable[[], Any]) -> list[str]:
        statements.clear()
        with pytest.raises(NotFound):
            act()
        return list(statements)

    id, nowhere = house.list()[2]["document"], "00000000-0000-4000-8000-000000000000"
    for name, absent in (("pay.md", "say.md"), (id, nowhere)):
        for verb in (house.show, house.chunks):
            assert way(lambda v=verb, n=name: v(n, as_=SALES)) == way(lambda v=verb, n=absent: v(n, as_=SALES))  # type: ignore[misc]
    assert way(lambda: house.trace(trace, as_=SALES)) == way(lambda: house.trace(nowhere, as_=SALES))
    assert way(lambda: house.feedback(trace, "up", as_=SALES)) == way(lambda: house.feedback(nowhere, "up", as_=SALES))


def test_a_filter_is_read_alike_whatever_the_documents_have(house: KnowledgeBase) -> None:
    """A field or value that only closed documents have is as one that none has."""
    for known, unknown in (('team = "hr"', 'team = "qx"'), ('title = "Deals"', 'title = "Dxals"'), ("exists(x)",) * 2):
        a, b = (house.search("pay", filter=one, as_=["group:it"]) for one in (known, unknown))
        assert (a.hits, a.ms.keys()) == (b.hits, b.ms.keys()) == ((), b.ms.keys())
    everything_but = house.search("pay", 10, filter='team != "hr"', as_=["group:it"]).hits
    assert [hit.source for hit in everything_but] == ["open.md"]


def test_counts_are_of_what_may_be_seen(house: KnowledgeBase) -> None:
    """Documents that are open to the public among others were not counted as public."""
    house.add(Document("both.md", "Pay for both.", access=("public", "group:hr")))
    told = house.status(as_=["group:it"])
    assert (told["documents"], told["public"], told["chunks"]) == (2, 2, 2)
    assert told["characters"] == sum(row["characters"] for row in house.list(as_=[]))
    assert house.status()["public"] == 2


def test_documents_of_another_knowledge_base_are_not_there(
    house: KnowledgeBase, new_kb: Callable[..., KnowledgeBase]
) -> None:
    other = new_kb()
    id, trace = house.list(as_=HR)[1]["document"], house.search("pay", as_=HR).id
    house.traces.close()
    assert other.list(as_=HR) == []
    assert other.status(as_=HR)["documents"] == other.status(as_=HR)["chunks"] == 0
    assert other.texts([id], as_=HR) == {}
    assert other.search("pay", as_=HR).hits == ()
    for act in (lambda: other.show(id, as_=HR), lambda: other.trace(trace, as_=HR)):
        with pytest.raises(NotFound):
            act()


class TestNarrowed:
    """A document that was open and is so no more, with all its versions."""

    @pytest.fixture
    def traces(self, kb: KnowledgeBase) -> list[str]:
        kb.add(Document("a.md", "Lunch is at noon.", title="Lunch"), Document("b.md", "Lunch at one.", title="Meals"))
        answered, abstained = (kb.ask(q, as_=[]) for q in ("When is lunch?", "Who invented the radio?"))
        assert answered.citations
        assert abstained.abstained
        kb.feedback(answered.trace.id, "up", hit=1, as_=[])  # type: ignore[union-attr]
        kb.add(Document("a.md", "Lunch is at half past eleven.", title="Lunch"))
        kb.add(Document("a.md", "Lunch is at half past eleven.", title="Lunch"), access=HR)
        return [answered.trace.id, abstained.trace.id]  # type: ignore[union-attr]

    def test_old_versions_are_open_to_whom_the_document_is_now(self, kb: KnowledgeBase, traces: list[str]) -> None:
        for version in (1, 2, None):
            with pytest.raises(NotFound, match="no such document"):
                kb.show("a.md", version=version, as_=[])
        assert kb.show("a.md", version=1, as_=HR).text == "Lunch is at noon."
        assert [hit.source for hit in kb.search("lunch", as_=[]).hits] == ["b.md"]

    def test_its_history_and_its_former_name_are_closed_with_it(self, kb: KnowledgeBase, traces: list[str]) -> None:
        assert kb.history("b.md", as_=[])
        kb.edit("a.md", source="renamed.md")
        for name in ("a.md", "renamed.md", "nowhere.md"):
            for verb in (kb.history, kb.show, kb.chunks):
                with pytest.raises(NotFound) as found:
                    verb(name, as_=[])
                assert str(found.value) == f"{name}: no such document; openbook list shows the sources"
        assert kb.show("a.md", as_=HR).source == "renamed.md"

    def test_a_trace_tells_no_id_place_or_title_of_it(self, kb: KnowledgeBase, traces: list[str]) -> None:
        """The ids and spans stayed in a trace, and its title in the reason of an abstention."""
        id = next(row["document"] for row in kb.list() if row["source"] == "a.md")
        for trace in traces:
            told = kb.trace(trace, as_=[])
            assert id not in repr(told)
            assert "“Lunch”" not in repr(told)
            assert "noon" not in repr(told)
            closed = [hit for hit in told["hits"] if hit["text"] is None]
            assert len(told["hits"]) == 2
            assert len(closed) == 1
            assert {*closed[0].values()} == {None}
        assert "Lunch" in repr(kb.trace(traces[1])), "the owner is told"
        assert "noon" in repr(kb.trace(traces[0], as_=HR)), "and so is who may read it"

    def test_what_was_said_of_it_names_it_no_more(self, kb: KnowledgeBase, traces: list[str]) -> None:
        [said] = kb.reviewed(as_=[])
        assert "a.md" not in repr(said)
        assert "noon" not in repr(said)
        assert said.feedback[0].verdict == "up"

    def test_the_error_of_an_answer_that_failed_is_told_no_more(self, kb: KnowledgeBase, traces: list[str]) -> None:
        trace = kb.search("lunch", as_=HR)
        failed = replace(trace, id="00000000-0000-4000-8000-00000000000a", details={"error": "refused: Lunch is at …"})
        kb.traces.record(failed)
        assert kb.trace(failed.id, as_=HR)["details"] == failed.details
        kb.add(Document("a.md", "Lunch is at half past eleven."), access=["user:boss"])
        assert kb.trace(failed.id, as_=HR)["details"] == {}

    def test_removed_documents_are_as_those_that_never_were(self, kb: KnowledgeBase, traces: list[str]) -> None:
        kb.remove("a.md")
        with pytest.raises(NotFound, match="no such document"):
            kb.show("a.md", version=1, as_=HR)
        assert "noon" not in repr(kb.trace(traces[0], as_=HR))
        assert kb.list(as_=HR)[0]["source"] == "b.md"


class TestTracesOfOthers:
    def test_a_trace_is_for_who_has_every_principal_of_the_one_who_asked(self, house: KnowledgeBase) -> None:
        mine = house.search("pay", as_=[*HR, "user:ann"]).id
        owners = house.search("pay").id
        for trace in (mine, owners):
            for caller in ([], HR, ["user:ann"], [*SALES, "user:ann"]):
                with pytest.raises(NotFound, match="no such trace"):
                    house.trace(trace, as_=caller)
                with pytest.raises(NotFound, match="no such trace"):
                    house.feedback(trace, "up", as_=caller)
        assert house.trace(mine, as_=["user:ann", *HR, "more"])["question"] == "pay"
        assert house.reviewed(as_=HR) == [] == house.reviewed()

    def test_feedback_is_told_to_who_might_have_given_it(self, house: KnowledgeBase) -> None:
        trace = house.search("pay", as_=[]).id
        house.feedback(trace, "Ann of HR says it is 5000", as_=HR)
        house.feedback(trace, "the owner's own word")
        assert house.trace(trace, as_=[])["feedback"] == [] == house.trace(trace, as_=SALES)["feedback"]
        assert [said["answer"] for said in house.trace(trace, as_=HR)["feedback"]] == ["Ann of HR says it is 5000"]
        assert len(house.trace(trace)["feedback"]) == 2


def test_what_others_wrote_decides_nothing_that_a_question_mentions(house: KnowledgeBase) -> None:
    """A title of closed documents never reads as mentioned, nor does it change how common an open one's words are."""
    with house.database.snapshot([*SALES, "public"]) as connection:
        view = house.index.view(connection, SALES, parse("exists(title)"))
        before = house.index.read(view, "the pay day of deals")
    house.add(*(Document(f"x{n}", f"A pay day of {n} deals.", title="pay day deals", access=("x",)) for n in range(40)))
    with house.database.snapshot([*SALES, "public"]) as connection:
        view = house.index.view(connection, SALES, parse("exists(title)"))
        assert house.index.read(view, "the pay day of deals") == before


def test_a_score_tells_nothing_of_how_common_a_word_is_elsewhere(house: KnowledgeBase) -> None:
    """A caller read off the scores of a document of their own how many closed ones have its words."""

    def told() -> list[Any]:
        answer, trace = house.ask("pay day", as_=[]), house.search("pay day", as_=[])
        assert answer.trace is not None
        kept = house.trace(trace.id, as_=[])["hits"]
        scores = [(span["score"], span["stages"]) for span in kept]
        return [[(hit.score, hit.stages) for hit in (*answer.trace.hits, *trace.hits)], scores]

    before, raw = told(), house.search("pay day", as_=[], raw=True).hits[0].score
    house.add(*(Document(f"x{n}", f"{n} more on pay, day by day.", access=("x",)) for n in range(40)))
    assert told() == before
    assert house.search("pay day", as_=[], raw=True).hits[0].score != raw, "the owner, who measures, is told"


def test_what_is_measured_or_made_in_somebodys_name_is_of_what_they_may_see(house: KnowledgeBase) -> None:
    asked = Question("q", "What is the pay of Ann?", answers=("5000 euros",), judgements={"pay.md": 1, "open.md": 1})
    report = evaluate(house, dataset("d", [asked]), as_=["group:it"])
    assert [*report.questions["q"].found] == ["open.md"]
    assert "deals.md" not in repr(report)
    long = " ".join(f"The allowance of clerk {n} is {n} euros a month." for n in range(1, 30))
    house.add(
        Document("long.md", long, title="Allowances"),
        Document("closed.md", long.replace("clerk", "spy"), access=("x",)),
    )
    trace = house.search("allowance of the spy", as_=[])
    house.feedback(trace.id, "The allowance is small.", as_=[])
    sheet = sheets.sample(house, 5, as_=[])
    made = [making.from_feedback(house, as_=[]), writing.write(house, 5, as_=[])]
    for told in (repr(sheet), repr(made)):
        assert "spy " not in told.replace("allowance of the spy", "")
        assert "closed.md" not in told


def test_the_command_line_prints_a_trace_with_what_was_closed(openbook: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "lunch.md").write_text("# Lunch\n\nLunch is served at noon in the canteen.\n")
    openbook("add", "lunch.md")
    trace = openbook("ask", "When is lunch served?", "--as", "user:ann").stderr.split("trace ")[1].split(",")[0]
    assert "noon" in openbook("show", "--trace", trace, "--as", "user:ann").stdout
    openbook("add", "lunch.md", "--access", "group:hr")
    shown = openbook("show", "--trace", trace, "--as", "user:ann")
    assert shown.returncode == 0, shown.stderr
    assert " 1. (closed)\n" in shown.stdout
    assert "  cited   (closed)\n" in shown.stdout
    assert "noon" not in shown.stdout
    assert "lunch.md" not in shown.stdout
    assert "noon" in openbook("show", "--trace", trace).stdout


class TestFolders:
    """Rules by path: what is said for a folder holds for everything in it."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        for name in ("people/pay.md", "people/leave.md", "travel/trains.md", "readme.md"):
            path = tmp_path / "handbook" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"About {name}.")
        return tmp_path / "handbook"

    @staticmethod
    def seen(kb: KnowledgeBase, as_: list[str]) -> set[str]:
        return {row["source"].split("/handbook/")[1] for row in kb.list(as_=as_)}

    def test_the_nearest_folder_rules_what_is_new(self, kb: KnowledgeBase, folder: Path) -> None:
        kb.add(folder, access=["group:all"])
        kb.add(folder / "people", access=HR)
        for place in ("people/new.md", "people/deep/new.md", "travel/new.md"):
            path = folder / place
            path.parent.mkdir(exist_ok=True)
            path.write_text(f"New in {place}.")
        kb.add(folder)
        assert self.seen(kb, HR) == {"people/pay.md", "people/leave.md", "people/new.md", "people/deep/new.md"}
        assert self.seen(kb, ["group:all"]) == {"travel/trains.md", "travel/new.md", "readme.md"}

    def test_a_file_that_moves_is_ruled_by_where_it_goes(self, kb: KnowledgeBase, folder: Path) -> None:
        kb.add(folder / "people", access=HR)
        kb.add(folder, yes=True)
        (folder / "readme.md").rename(folder / "people/readme.md")
        (folder / "people/leave.md").rename(folder / "travel/leave.md")
        kb.add(folder, yes=True)
        assert self.seen(kb, []) == {"travel/leave.md", "travel/trains.md"}
        assert self.seen(kb, HR) == {*self.seen(kb, []), "people/pay.md", "people/readme.md"}

    def test_what_is_said_for_a_folder_overrules_what_was_said_inside_it(self, kb: KnowledgeBase, folder: Path) -> None:
        """An older, wider rule of a folder inside went on to open what was new there."""
        kb.add(folder / "people", access=["public"])
        kb.add(folder, access=HR)
        assert self.seen(kb, []) == set()
        (folder / "people/new.md").write_text("New, and not public.")
        kb.add(folder / "people")
        assert self.seen(kb, []) == set()
        assert "people/new.md" in self.seen(kb, HR)

    def test_a_folder_whose_name_only_begins_alike_is_another(self, kb: KnowledgeBase, folder: Path) -> None:
        (folder / "people-open").mkdir()
        (folder / "people-open/hello.md").write_text("Hello to everybody.")
        kb.add(folder / "people-open", access=["public"])
        kb.add(folder / "people", access=HR)
        (folder / "people-open/new.md").write_text("New to everybody.")
        kb.add(folder / "people-open")
        assert self.seen(kb, []) == {"people-open/hello.md", "people-open/new.md"}


def test_reports_of_releases_are_the_owners(kb: KnowledgeBase, tmp_path: Path) -> None:
    """The reader could select the report of every release, which may quote what an evaluation was allowed to see."""
    kb.add(Document("open.md", "Pay day is Friday."))
    kb.keep_report(kb.release, {"question": "What is the pay of Ann?"})
    with kb.database.snapshot(HR) as connection:
        assert connection.execute("SELECT name FROM openbook.release WHERE kb = %s", [kb.kb]).fetchall() == [("r1",)]
    for select in ("report", "*", "to_jsonb(release)"):
        with pytest.raises(StoreRefused, match="permission denied"), kb.database.snapshot(HR) as connection:
            connection.execute(f"SELECT {select} FROM openbook.release")
    assert kb.export(tmp_path / "theirs", as_=HR).releases == 1
    assert kb.search("pay day", as_=HR).hits
    assert kb.show_release("r1").report == {"question": "What is the pay of Ann?"}


def test_the_access_sets_of_a_caller_are_not_compared_one_with_all(kb: KnowledgeBase) -> None:
    """Each ticket open to one user more makes a set of its own: a list walked for each of them is quadratic."""
    with kb.database.snapshot(["group:support"]) as connection:
        plan = connection.execute("EXPLAIN SELECT id FROM openbook.access_set").fetchall()
    assert any("hashed SubPlan" in line for (line,) in plan), plan
