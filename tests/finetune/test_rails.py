"""What is usually done wrong before training is told in one line, and nothing is told where nothing is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from openbook.errors import DatasetError
from openbook.evaluate import evaluate
from openbook.evaluate.datasets.dataset import Dataset, Question, dataset
from openbook.evaluate.report import Asked, Report
from openbook.finetune.data.rows import Example, Passage, Rows, Scored
from openbook.finetune.rails import RAILS, Known, look
from openbook.knowledge_base import KnowledgeBase
from openbook.recipe import QueryHalf, Recipe, WeightedFusion
from openbook.types import Document

TEST = dataset(
    "village",
    [Question(f"q{n}", f"Where is craft number {n} at home?", {"kiln.md": 1}, split="test") for n in range(3)],
)
BASELINE = Report("village", TEST.hash, "all", "r1", "", {}, questions={id: Asked("") for id in TEST.questions})


def example(n: int, negatives: int = 1) -> Example:
    wrong = tuple(Passage(f"The loom of {n} weaves sails.", "loom.md") for _ in range(negatives))
    return Example(f"who fires the clay of {n}", (Passage(f"The kiln fires clay {n}.", "kiln.md"),), wrong)


GOOD = Known(
    "adapter",
    Rows(tuple(example(n) for n in range(500))),
    TEST,
    BASELINE,
    recipe=Recipe(),
    asked=True,
    chunks=1200,
    missing=(0, 10),
    edited=(1, 10),
)


def said(known: Known) -> Mapping[str, str]:
    return {one.name: one.line for one in look(known)}


def test_nothing_is_told_where_nothing_is_wrong() -> None:
    assert said(GOOD) == {}


def test_no_baseline_and_one_of_other_questions() -> None:
    assert "openbook evaluate DATA --out" in said(replace(GOOD, baseline=None))["baseline"]
    other = replace(BASELINE, dataset="town", questions={"t1": Asked("")})
    line = said(replace(GOOD, baseline=other))["baseline"]
    assert line == "the baseline (town) holds no question of the test set village"


def test_no_test_set_and_one_that_is_all_to_train_on() -> None:
    assert "apart from training" in said(replace(GOOD, test=None))["test set"]
    all_train = Dataset("village", {id: replace(one, split="train") for id, one in TEST.questions.items()})
    assert said(replace(GOOD, test=all_train))["test set"].startswith("village has no question to test with")


def test_rows_that_ask_what_is_tested_are_refused() -> None:
    asked = replace(example(0), query="where is craft number 1 at home", where="rows.jsonl, line 7")
    with pytest.raises(DatasetError, match="1 rows ask what the test set asks") as raised:
        look(replace(GOOD, rows=Rows((example(1), asked))))
    assert raised.value.where == "rows.jsonl, line 7"
    assert raised.value.do.endswith("--drop-leaks")
    with pytest.raises(DatasetError) as raised:
        look(replace(GOOD, rows=Rows((replace(asked, negatives=()),))))
    assert raised.value.do.endswith("--drop-leaks --to pairs"), "they have no negatives, which tuples need"
    pairs = (Scored(Passage("Where is craft number 2 at home?"), Passage("By the stream."), 0.9),)
    with pytest.raises(DatasetError, match="1 rows ask"):
        look(replace(GOOD, rows=Rows(scored=pairs)))


def test_dev_questions_are_no_test() -> None:
    """A row that asks what one of them asks was refused, as if it were measured on."""
    dev = Dataset("village", {id: replace(one, split="dev") for id, one in TEST.questions.items()})
    asked = replace(example(0), query="where is craft number 1 at home")
    told = said(replace(GOOD, rows=Rows((example(1), asked)), test=dev))
    assert told["test set"] == "village has no question to test with: all are to train on, or say when to stop"


def test_how_many_rows_ask_nearly_the_same_is_told_with_the_first() -> None:
    near = replace(example(0), query="Please, where is craft number 1 at home?")
    same = replace(example(0), query="Where is craft number 2 at home?")
    with pytest.raises(DatasetError, match=r"2 rows ask .* such as village: q1 \(.*\); 1 of them ask nearly the same"):
        look(replace(GOOD, rows=Rows((example(1), near, same))))


def test_few_rows() -> None:
    few = Rows(tuple(example(n) for n in range(10)))
    assert said(replace(GOOD, rows=few)) == {"few rows": "10 distinct queries: below 500 training seldom helps"}


def test_documents_that_are_not_there() -> None:
    line = said(replace(GOOD, missing=(3, 10)))["missing documents"]
    assert line.startswith("3 of 10 documents that the rows name are not in the knowledge base")
    assert said(replace(GOOD, missing=None)) == {}


def test_no_negatives_matter_where_the_loss_does_not_see_every_chunk() -> None:
    bare = Rows(tuple(example(n, negatives=0) for n in range(500)))
    assert said(replace(GOOD, rows=bare)) == {}
    assert said(replace(GOOD, rows=bare, method="full"))["negatives"].startswith("none of 500 queries")
    assert "negatives" not in said(replace(GOOD, method="full"))
    pairs = Rows(scored=(Scored(Passage("a kiln"), Passage("an oven"), 0.9),))
    assert "negatives" not in said(replace(GOOD, rows=pairs, method="full"))


def test_documents_that_change() -> None:
    assert said(replace(GOOD, edited=(5, 10)))["changing facts"].startswith("5 of 10 documents in the rows were edited")
    assert said(replace(GOOD, edited=None)) == {}


def test_cheaper_fixes_that_nobody_looked_at() -> None:
    assert "openbook chunks" in said(replace(GOOD, asked=False))["cheaper fixes"]
    dense = Recipe(query=QueryHalf(fusion=WeightedFusion(dense=1.0)))
    assert said(replace(GOOD, recipe=dense))["cheaper fixes"].startswith("keyword search counts nothing")


def test_a_model_of_documents_needs_the_index_anew_and_an_adapter_does_not() -> None:
    assert "re-index" not in said(GOOD)
    assert "1,200 chunks must be embedded anew" in said(replace(GOOD, method="lora"))["re-index"]
    assert "every chunk" in said(replace(GOOD, method="full", chunks=None))["re-index"]


def test_no_way_back() -> None:
    assert said(replace(GOOD, recipe=None))["rollback"].startswith("no knowledge base is named")


def test_all_are_told_at_once_in_the_order_of_the_list() -> None:
    bare = Known("full", Rows(tuple(example(n, negatives=0) for n in range(4))), edited=(3, 3))
    names = [one.name for one in look(bare)]
    assert names == ["baseline", "test set", "few rows", "negatives", "changing facts", "re-index", "rollback"]
    assert {*names, "missing documents", "cheaper fixes"} == {rail.name for rail in RAILS}


def test_a_knowledge_base_tells_what_is_known_of_it(kb: KnowledgeBase) -> None:
    kb.add(
        Document("kiln.md", "# Kiln\n\nThe kiln fires clay.\n", "Kiln"),
        Document("loom.md", "# Loom\n\nThe loom weaves sails.\n", "Loom"),
    )
    known = Known.of(kb, "adapter", GOOD.rows, test=TEST, baseline=BASELINE)
    assert (known.asked, known.missing, known.edited, known.recipe) == (False, (0, 2), (0, 2), kb.recipe)
    strange = (example(1), replace(example(2), negatives=(Passage("Nowhere.", "gone.md"),)))
    assert Known.of(kb, "adapter", Rows(strange)).missing == (1, 3)
    assert known.chunks == 2
    kb.add(Document("kiln.md", "# Kiln\n\nThe kiln fires clay for eleven hours.\n", "Kiln"))
    evaluate(kb, TEST)
    kb.traces.close()
    known = Known.of(kb, "adapter", GOOD.rows, test=TEST, baseline=BASELINE)
    assert (known.asked, known.edited) == (True, (1, 2))
    assert Known.of(None, "lora", GOOD.rows).recipe is None
