"""What a reranker learns from is what the live first stage finds, and stops by what the whole pipeline answers."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from tests.finetune.embedder import jargon

from openbook.errors import DatasetError
from openbook.evaluate.datasets.dataset import Dataset
from openbook.finetune import rails
from openbook.finetune.data.rows import Example, Passage, Rows
from openbook.finetune.embedder import Dev
from openbook.finetune.reranker import Taught, Trained, as_rows, of_dataset, of_rows, taught, train_reranker
from openbook.finetune.reranker.dev import WEIGHTS, Rerankings
from openbook.finetune.reranker.questions import apart, once
from openbook.finetune.settings import RerankerSettings
from openbook.knowledge_base import KnowledgeBase
from openbook.store.database import Database
from openbook.types import Document

SETTINGS = RerankerSettings()


@pytest.fixture(scope="module")
def firm(database: Database) -> Iterator[KnowledgeBase]:
    kb = KnowledgeBase(database, "reranked")
    kb.add(*jargon.documents(), access=["public"])
    yield kb
    kb.traces.close()


@pytest.fixture
def dev(firm: KnowledgeBase) -> Dev:
    return Dev(firm, tuple(jargon.questions().questions.values()))


def test_candidates_are_those_of_the_live_search(dev: Dev) -> None:
    made, questions = taught(dev, of_rows(jargon.rows()), SETTINGS)
    assert questions == dev.questions
    assert made.questions == 60
    assert len(made.lists.lists) + len(made.dropped) == 60
    for one in made.lists.lists:
        assert one.teaches
        right = {source for source, grade in zip(one.sources, one.grades, strict=True) if grade}
        assert right == {jargon.SOURCES[next(name for name in jargon.THINGS if name in one.question)]}
    assert made.access == (("public",),)


def test_rows_that_name_no_document_are_known_by_their_text(dev: Dev) -> None:
    def nameless(rows: Rows) -> Rows:
        return Rows(
            tuple(
                replace(one, positives=tuple(replace(passage, document="") for passage in one.positives))
                for one in rows.examples
            )
        )

    by_text, _ = taught(dev, of_rows(nameless(jargon.rows())), SETTINGS)
    by_name, _ = taught(dev, of_rows(jargon.rows()), SETTINGS)
    assert by_text.lists == by_name.lists


def test_the_train_split_of_a_data_set_is_what_it_teaches(dev: Dev) -> None:
    asked = jargon.questions()
    with pytest.raises(DatasetError, match="none of its questions is to train on"):
        of_dataset(dev.kb, asked)
    split = {id: replace(question, split="train") for id, question in asked.questions.items()}
    first = next(iter(split.values()))
    split["lost"] = replace(first, id="lost", judgements={"nowhere.md": 1})
    judged, dropped = of_dataset(dev.kb, Dataset("jargon", split))
    assert len(judged) >= len(asked.questions)
    made, _ = taught(dev, judged, SETTINGS, dropped)
    assert made.questions == len(asked.questions), "each question once"


def test_what_the_test_set_asks_is_refused_and_no_rail_speaks_of_an_index(firm: KnowledgeBase) -> None:
    judged = of_rows(jargon.rows())
    asked = {id: replace(one, split="test") for id, one in jargon.questions().questions.items()}
    known = rails.Known.of(firm, "reranker", as_rows(judged), test=Dataset("jargon", asked))
    assert {told.name for told in rails.look(known)} == {"baseline", "few rows", "cheaper fixes"}
    same = Dataset("same", {"same": replace(judged[0].question, id="same", split="test")})
    with pytest.raises(DatasetError, match="1 rows ask what the test set asks"):
        rails.look(replace(known, test=same))


def test_questions_that_are_left_out_are_told_by_their_place(dev: Dev) -> None:
    """Their words are not everybody's, and what is told stands in the model's folder."""
    odd = Passage("Nothing of the kind is said in any page of the firm.", "", ("public",))
    placed = [Example("why is the sky over gate four green", (odd,), where="asked.jsonl:7")]
    more = [Example("why is the sea beside gate four red", (odd,))]
    made, _ = taught(dev, of_rows(Rows((*jargon.examples(), *placed, *more))), SETTINGS)
    told = [one.line for one in made.dropped]
    assert "asked.jsonl:7" in told
    assert any(line.startswith("row ") for line in told)
    assert not [line for line in told if "gate four" in line]


def test_few_questions_are_refused(dev: Dev) -> None:
    few = Rows(jargon.examples()[:9])
    with pytest.raises(DatasetError, match="9 distinct questions"):
        taught(dev, of_rows(few), SETTINGS)


def test_questions_that_are_held_out_share_no_answer_with_the_others(firm: KnowledgeBase) -> None:
    judged = once(of_rows(jargon.rows()))
    there = {row["source"]: row["document"] for row in firm.list()}
    kept, asked = apart(judged, 0.4, there)
    assert len(kept) + len(asked) == 60
    assert len(asked) >= 10
    trained = {source for one in kept for source in one.question.judgements}
    assert not trained & {source for question in asked for source in question.judgements}
    assert apart(judged, 0.0, there)[1] == []


def test_dev_questions_choose_checkpoint_and_weight(dev: Dev, tiny: Path, tmp_path: Path) -> None:
    """Of the real pipeline, with the reranker in it."""
    settings = RerankerSettings(base=str(tiny), epochs=2, max_tokens=48, rate=1e-3, candidates=10)
    made, questions = taught(dev, of_rows(jargon.rows()), settings)
    done = train_reranker(made, tmp_path / "m", settings, dev=dev, questions=questions)
    scores = {step.at: step.ndcg for step in done.dev if step.at}
    assert len(scores) == 2
    assert done.best in scores
    by = dict(done.weights)
    assert list(by) == [0.0, *WEIGHTS]
    assert by[0.0] == done.before
    best = max(WEIGHTS, key=lambda weight: by[weight])
    assert done.recipe["weight"] == best
    assert done.after == by[best]
    assert done.weight == (best if by[best] > by[0.0] else 0.0)
    assert done.asked == 24
    assert len(done.documents) == len({id for id, _ in done.documents}) > 12
    assert all(version for _, version in done.documents)
    assert done.principals == (("public",),)
    assert Trained.load(tmp_path / "m") == done


def test_a_reranker_reads_a_text_once_whatever_its_weight(dev: Dev) -> None:
    settings = RerankerSettings(candidates=10).resolved()
    asking = Rerankings(dev, dev.questions, settings)
    shorter = Shorter()
    first = asking.scores(shorter)
    assert len(set(shorter.read)) == len(shorter.read) == asking.asked * 10
    assert asking.scores(shorter) == first, "asked anew, it says the same"
    assert len(shorter.read) == 2 * asking.asked * 10, "but it is asked anew"
    assert list(first) == [0.3, 0.6, 1.2, 2.5]
    assert len({tuple(by.values()) for by in first.values()}) > 1, "the weight changes what is found"
    pointwise = Rerankings(dev, dev.questions, RerankerSettings(candidates=10, loss="pointwise").resolved())
    assert list(pointwise.scores(shorter)) == [0.3, 0.6, 1.2, 2.5, None]


class Shorter:
    """A reranker to which the shorter text is the better one."""

    kind = "cross-encoder"
    remote = False

    def __init__(self) -> None:
        self.read: list[tuple[str, str]] = []

    def ready(self, texts: int) -> None:
        """It is."""

    def score(self, question: str, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        self.read += [(question, text) for text in texts]
        return np.array([1 / (1 + len(text)) for text in texts], np.float32)


def test_who_may_not_read_all_that_it_was_trained_on_is_told(database: Database, tiny: Path, tmp_path: Path) -> None:
    kb = KnowledgeBase(database, "closed")
    first, *others = jargon.documents()
    kb.add(first, access=["board"])
    kb.add(*others, access=["public"])
    kb.add(Document("more.md", "Soup is served at noon."), access=["public"])
    made, _ = taught(Dev(kb, (), ["board", "public"]), of_rows(jargon.rows()), SETTINGS)
    some = replace(made.lists, lists=tuple(one for one in made.lists.lists if first.source in one.sources)[:2])
    settings = RerankerSettings(base=str(tiny), epochs=1, max_tokens=32, rate=1e-3)
    done = train_reranker(Taught(some, 2), tmp_path / "m", settings, dev=Dev(kb, (), ["board", "public"]), questions=())
    assert ("board",) in done.principals
    assert "It may answer only who is among each of: board." in (tmp_path / "m" / "README.md").read_text()
    kb.traces.close()


Run = Callable[..., "subprocess.CompletedProcess[str]"]


class TestTheCommandLine:
    @pytest.mark.training
    def test_a_model_is_trained_told_and_opened(self, openbook: Run, tiny: Path, tmp_path: Path) -> None:
        jargon.written(tmp_path)
        assert openbook("add", "firm").returncode == 0
        (tmp_path / "short.toml").write_text(f'base = "{tiny}"\nmax_tokens = 48\nepochs = 1.0\n')
        done = openbook(
            *("finetune", "reranker", "rr", "rows.jsonl", "--dev", "dev.jsonl", "--settings", "short.toml", "--json")
        )
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert told["kind"] == "reranker"
        assert told["model"] == str(tmp_path / "rr")
        assert told["measures"].keys() == {"base", "tuned"}
        assert told["rows"]["used"] > 10
        assert told["trainable_tokens"] > 0
        recipe = ["[query.rerank]", 'kind = "cross-encoder"', 'model = "rr"']
        recipe += [f"{key} = {value}" for key, value in told["recipe"].items()]
        (tmp_path / "rr.toml").write_text("\n".join(recipe) + "\n")
        found = openbook("search", "Where is the QBX?", "--recipe", "rr.toml", "--json")
        assert found.returncode == 0, found.stderr
        assert "rerank" in json.loads(found.stdout)["hits"][0]["stages"]

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["m"], "nothing to train on"),
            (["m", "nowhere.jsonl"], "nowhere.jsonl: no such file or folder"),
            (["m", "rows.jsonl", "--loss", "cosine"], 'loss = "cosine" is not allowed'),
            (["m", "rows.jsonl", "--method", "adapter"], 'method = "adapter" is not allowed'),
            (["m", "rows.jsonl"], "no knowledge base here"),
        ],
    )
    def test_what_makes_no_sense_is_one_line(
        self, arguments: list[str], said: str, openbook: Run, tmp_path: Path
    ) -> None:
        jargon.written(tmp_path)
        done = openbook("finetune", "reranker", *arguments)
        assert done.returncode in (1, 2)
        assert said in done.stderr
        assert "Traceback" not in done.stderr
        assert not (tmp_path / "m").exists()
