"""The table of parts, on a set of three documents: what is known is not asked again, and the table is what is known."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent.parent.parent / "benchmarks"

CORPUS = [
    {"_id": "tea", "title": "Tea", "text": "Green tea is steeped for two minutes.", "metadata": {"version": "v1"}},
    {"_id": "old", "title": "Ferry", "text": "The last ferry leaves at eight.", "metadata": {"version": "v1"}},
    {"_id": "new", "title": "Ferry", "text": "The last ferry leaves at nine.", "metadata": {"version": "v2"}},
]
QUESTIONS = {"q1": ("When does the last ferry leave in v2?", "new"), "q3": ("How long is green tea steeped?", "tea")}


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The script as a module, its sets indexed in a cache of their own."""
    monkeypatch.setenv("OPENBOOK_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(str(HERE))
    found = {name: __import__(name) for name in ("retrieval", "parts")}
    for name in found:
        monkeypatch.delitem(sys.modules, name)
    return found["parts"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "scifact"
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, CORPUS)) + "\n")
    rows = [{"_id": id, "text": text} for id, (text, _) in QUESTIONS.items()]
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    judged = "".join(f"{id}\t{document}\t1\n" for id, (_, document) in QUESTIONS.items())
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged)
    return folder.parent


def test_what_is_known_is_not_asked_again_and_is_what_the_table_says(parts: Any, data: Path, tmp_path: Path) -> None:
    [dataset] = parts.chosen(data, ["scifact"], "all")
    assert [*dataset.questions] == ["q1", "q3"]
    rules = next(part for part in parts.PARTS if part.change == "query.filters = {kind = 'rules'}")
    window = next(part for part in parts.PARTS if "'window'" in part.change)
    results = parts.Results(tmp_path / "results.json")
    parts.measure(dataset, [rules, window], results)
    again = parts.Results(tmp_path / "results.json")
    assert again.found == results.found
    known = again.found["scifact"]
    assert known["plain"].ndcg[1] == known[rules.name].ndcg[1] == 1.0
    assert known[rules.name].ndcg[0] == 1.0, "narrowed to the version that it names"
    assert len(known[window.name].ms) == 2
    assert known[window.name].index[2] == 3

    killed = again.of("scifact", rules)  # after the first question
    killed.ndcg[1:], killed.complete[1:], killed.ms[1:] = [], [], []
    known["plain"].ndcg[0] = 0.25
    parts.measure(dataset, [rules, window], again)
    assert known[rules.name].ndcg == [1.0, 1.0]
    assert known["plain"].ndcg == [0.25, 1.0]
    assert again.of("scifact", parts.Part(rules.name, "another recipe")).ndcg == []
    again = parts.Results(tmp_path / "results.json")

    guide = tmp_path / "guide.md"
    guide.write_text("before\n<!-- parts: begin -->\nold\n<!-- parts: end -->\nafter\n")
    parts.render(parts.tables(again), guide)
    text = guide.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "| **plain** | .625 | .625 |" in text
    assert f"| {rules.name} | +.375 | +.375 |" in text


def test_the_guide_has_the_table_of_the_results(parts: Any) -> None:
    """It is written by the script, not by hand."""
    text = parts.GUIDE.read_text(encoding="utf-8")
    assert parts.tables(parts.Results(HERE / "parts-dev.json")) in text


def test_every_part_is_a_recipe_of_its_own(parts: Any) -> None:
    recipes = [part.recipe for part in parts.PARTS]
    assert len({recipe.hash for recipe in recipes} | {parts.PLAIN.recipe.hash}) == len(recipes) + 1
    assert len({part.name for part in parts.PARTS}) == len(parts.PARTS)
