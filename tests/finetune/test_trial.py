"""Folders of models become a verdict: asked what their base is asked, on the test set and on general ones."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.embed.small import tiny_bert, tiny_pairs

from openbook.errors import ModelError, QueryError
from openbook.evaluate import read
from openbook.evaluate.datasets.dataset import Question, dataset
from openbook.finetune.data import Example, Passage, Rows, formats, write
from openbook.finetune.general import REPLAY
from openbook.finetune.replay import STEPS
from openbook.finetune.trial import (
    Asking,
    Model,
    read_models,
    recipe_with,
    rows_of,
    trade_of,
    try_models,
    without_rows,
)
from openbook.recipe import CrossEncoder, IndexHalf, LocalEmbedder, Recipe
from openbook.types import Document

CRAFTS = {
    "kiln": ("fires clay at 1,240 degrees for eleven hours", "How hot must it be for pots?"),
    "loom": ("weaves sails of flax and hemp for the barges", "What drives boats that have cloth up?"),
    "press": ("prints the almanac of tides on rag paper", "Where is the book of high water made?"),
    "forge": ("bends anchors and hinges out of scrap iron", "Who makes things of old metal?"),
    "dairy": ("makes a hard cheese of sheep's milk", "Which food comes of ewes?"),
    "mill": ("grinds barley and oats by the stream", "What turns grain to flour?"),
    "hives": ("give dark honey of heather in August", "What sweet thing is had in late summer?"),
    "tannery": ("soaks hides in oak bark for a year", "How is leather made?"),
}


def beir(folder: Path, *, split: str = "test") -> Path:
    """A data set with documents of its own: eight crafts, a question each."""
    (folder / "qrels").mkdir(parents=True)
    rows = [{"_id": name, "title": "", "text": f"The {name} {said}."} for name, (said, _) in CRAFTS.items()]
    asked = [{"_id": f"q-{name}", "text": question} for name, (_, question) in CRAFTS.items()]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked))
    judged = "".join(f"q-{name}\t{name}\t1\n" for name in CRAFTS)
    (folder / "qrels" / f"{split}.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}")
    return folder


def model(folder: Path, method: str = "full", seed: int = 0, *, rows: Path | None = None, **told: Any) -> Path:
    """As training writes one: a model of random weights, which knows nothing."""
    tiny_bert(folder, seed=seed + 1)
    what = {
        "kind": "embedder",
        "method": method,
        "seed": seed,
        "sources": ["kiln", "loom"],
        "principals": [["public"]],
        **told,
    }
    (folder / "trained.json").write_text(json.dumps(what))
    data = f'\n[data]\n"{rows}" = "ab12"\n' if rows else ""
    (folder / "settings.toml").write_text(f'method = "{method}"\n{data}')
    return folder


ROWS = Rows(tuple(
    Example(f"what does the {name} do", (Passage(f"The {name} {said}.", name),)) for name, (said, _) in CRAFTS.items()
))  # fmt: skip


# --- reading ----------------------------------------------------------------------------------------------------------


def test_a_folder_holds_a_model_or_its_seeds_and_the_cheapest_comes_first(tmp_path: Path) -> None:
    model(tmp_path / "whole")
    for seed in (0, 1, 10):
        model(tmp_path / "many" / f"seed-{seed}", "lora", seed)
    found = read_models([tmp_path / "whole", tmp_path / "many"])
    assert [(one.name, one.method, [told["seed"] for told in one.trained]) for one in found] == [
        ("many", "lora", [0, 1, 10]),
        ("whole", "full", [0]),
    ]


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(QueryError, match=r"trained.json is missing"):
        read_models([tmp_path])
    model(tmp_path / "odd", "magic")
    with pytest.raises(ModelError, match="tells no method that is known"):
        read_models([tmp_path / "odd"])
    model(tmp_path / "mixed" / "seed-0", "lora")
    model(tmp_path / "mixed" / "seed-1", "full")
    with pytest.raises(QueryError, match="several methods"):
        read_models([tmp_path / "mixed"])
    with pytest.raises(QueryError, match="two models are called 'full'"):  # was found when all had been asked
        read_models([model(tmp_path / "one" / "full"), model(tmp_path / "two" / "full", seed=1)])


def test_a_model_stands_in_the_recipe_where_its_kind_stands(tmp_path: Path) -> None:
    tuned = recipe_with(Recipe(), tmp_path, "full")
    assert isinstance(tuned.index.embed, LocalEmbedder)
    assert tuned.index.embed.model == str(tmp_path)
    assert tuned.query == Recipe().query
    assert tuned.index.chunk == Recipe().index.chunk


def test_the_rows_are_those_of_the_settings_unless_one_is_gone(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    write(ROWS, file, "pairs")
    found = read_models([model(tmp_path / "tuned", rows=file)])
    rows = rows_of(found)
    assert rows is not None
    assert {one.query for one in rows.examples} == {one.query for one in ROWS.examples}
    assert found[0].changed() == [file]
    file.unlink()
    assert rows_of(found) is None
    assert found[0].changed() == []
    assert found[0].documents == {"kiln", "loom"}
    assert rows_of([Model("bare", [tmp_path], [{"method": "full"}])]) is None
    assert len(formats.joined([ROWS, ROWS]).examples) == len(ROWS.examples)


def test_what_was_replayed_is_known_by_the_settings(tmp_path: Path) -> None:
    told = f'[replay]\nratio = 0.25\n\n[replay.data]\npath = "{REPLAY}"\n'
    assert Model("lora", [tmp_path], [{"method": "lora"}], told).replayed == REPLAY
    for settings in ("", "replay = 1", "not toml ="):
        assert Model("lora", [tmp_path], [{"method": "lora"}], settings).replayed is None


def test_of_the_seeds_the_best_on_dev_questions_is_served(tmp_path: Path) -> None:
    dev = [[("step", 0), ("ndcg@10", 0.9)], [("step", 5), ("ndcg@10", 0.6)]]
    told = [
        {"method": "full", "best": 5, "dev": [dict(dev[0]), {**dict(dev[1]), "ndcg@10": at}]} for at in (0.6, 0.7, 0.5)
    ]
    folders = [tmp_path / f"seed-{seed}" for seed in range(3)]
    assert Model("full", folders, told).best == folders[1]
    assert Model("full", folders, told).called == ["full, seed 0", "full, seed 1", "full, seed 2"]
    assert Model("full", folders[:1], [{"method": "full"}]).best == folders[0]


# --- asking -----------------------------------------------------------------------------------------------------------


def test_a_model_that_knows_nothing_does_not_ship_and_what_it_forgot_is_told(tmp_path: Path) -> None:
    data = read(beir(tmp_path / "crafts"))
    general = {"other": read(beir(tmp_path / "other"))}
    for seed in range(2):
        model(tmp_path / "full" / f"seed-{seed}", seed=seed, notes=["7 of 8 rows look as if they were drawn"])
    tried = try_models(
        data, read_models([tmp_path / "full"]), general=general, asking=Asking(db=str(tmp_path / "db"), split="all")
    )
    one = tried.trial.candidates[0]
    assert one.primary.paired.runs == 2
    assert one.primary.paired.n == 8
    assert one.primary.gain < -0.1
    assert one.verdict == "don't ship"
    assert one.notes.count("when it was trained: 7 of 8 rows look as if they were drawn") == 1
    assert one.general["other"].gain == pytest.approx(one.primary.gain)
    assert tried.seen == {"q-kiln": "document", "q-loom": "document"}
    assert one.seen is None
    assert one.unseen is not None
    assert one.unseen.paired.n == 6
    assert tried.trainings["full"].settings.startswith('method = "full"')


def test_what_lies_between_base_and_model_is_measured_on_dev_questions(tmp_path: Path) -> None:
    data = read(beir(tmp_path / "crafts"))
    tiny_bert(tmp_path / "base", seed=1)
    tuned = model(tmp_path / "tuned", seed=0, base=str(tmp_path / "base"))
    recipe = Recipe(index=IndexHalf(embed=LocalEmbedder(model=str(tmp_path / "base"))))
    [one] = read_models([tuned])
    general = {"other": read(beir(tmp_path / "other"))}
    found = trade_of(data, one, general=general, recipe=recipe, asking=Asking(db=str(tmp_path / "db")))
    assert [step.share for step in found] == [0.0, *STEPS]
    assert [step.dev for step in found] == pytest.approx([found[0].dev] * 5)  # no other: its weights are as they were
    assert found[0].dev == pytest.approx(found[0].general)
    assert not list(tmp_path.glob("**/between"))


def test_of_the_users_own_documents_the_live_release_is_the_base(tmp_path: Path) -> None:
    from openbook.knowledge_base import open as open_

    place = tmp_path / "db"
    with open_(place) as kb:
        kb.add(*(Document(f"{name}.md", f"The {name} {said}.", name) for name, (said, _) in CRAFTS.items()))
        live = kb.release
    questions = [
        Question(f"q-{name}", question, {f"{name}.md": 1}, split="test") for name, (_, question) in CRAFTS.items()
    ]
    rows = Rows(tuple(
        Example(f"what is a {name} for", (Passage(f"The {name} {CRAFTS[name][0]}.", f"{name}.md"),))
        for name in ("kiln", "loom", "press")
    ))  # fmt: skip
    tried = try_models(
        dataset("mine", questions),
        read_models([model(tmp_path / "full")]),
        general={},
        rows=rows,
        asking=Asking(db=str(place)),
    )
    assert tried.trial.base.release == live
    assert tried.seen == {"q-kiln": "document", "q-loom": "document", "q-press": "document"}
    assert "no general set was measured: nobody knows what was forgotten" in tried.trial.notes


def test_what_is_in_the_rows_themselves_does_not_decide(tmp_path: Path) -> None:
    """A model that had learnt the very test questions shipped."""
    data = read(beir(tmp_path / "crafts"))
    asked = [Example(question, (Passage(f"The {name}.", name),)) for name, (_, question) in CRAFTS.items()]
    with pytest.raises(QueryError, match="8 of 8 test questions are in the rows, and 0 more nearly: it is memory"):
        try_models(
            data,
            read_models([model(tmp_path / "full")]),
            general={},
            rows=Rows(tuple(asked)),
            asking=Asking(split="all"),
        )
    nearly = Example("How is good leather made?", asked[-1].positives)
    left, told = without_rows(data, Rows((*asked[:2], nearly)), "all")
    assert [*left.questions] == [f"q-{name}" for name in CRAFTS if name not in ("kiln", "loom")]
    assert told == (
        "2 of 8 test questions are in the rows themselves, and were not asked",
        "1 of 8 test questions are nearly in the rows: what they gain may be memory",
    )


def test_the_command_prints_the_verdict_and_writes_its_page(
    tmp_path: Path, openbook: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    beir(tmp_path / "crafts")
    beir(tmp_path / "other")
    write(ROWS, tmp_path / "rows.jsonl", "pairs")
    model(tmp_path / "full")
    asked = ["finetune", "compare", "crafts", "full", "--split", "all"]
    asked += ["--general", "other", "--trained-on", "rows.jsonl"]
    done = openbook(*asked, "--html", "verdict.html", "--json")
    assert done.returncode == 0, done.stderr
    turns = [line for line in done.stderr.splitlines() if " of 4: " in line]
    assert turns == [
        "1 of 4: crafts, the base",
        "2 of 4: other, the base",
        "3 of 4: other, full",
        "4 of 4: crafts, full",
    ]
    told = json.loads(done.stdout)
    assert (told["verdict"], told["winner"], told["model"]) == ("don't ship", None, None)
    [one] = told["candidates"]
    assert one["general"]["before"]["other"] > 0.7 > one["general"]["after"]["other"]
    assert one["unseen"] is None
    page = (tmp_path / "verdict.html").read_text()
    assert "don&#39;t ship" in page
    assert "none of 8 queries has a hard negative" in page
    shutil.rmtree(tmp_path / "full")
    done = openbook(*asked)
    assert done.returncode == 2
    assert done.stderr == "openbook: full: no such file or folder; check the path\n"


def test_a_comparison_that_is_interrupted_says_that_nothing_is_lost(tmp_path: Path) -> None:
    beir(tmp_path / "crafts")
    model(tmp_path / "full")
    command = [sys.executable, "-m", "openbook", "finetune", "compare", "crafts", "full", "--split", "all"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        told = []
        while not told or not told[-1].startswith("1 of 4"):
            told.append(process.stderr.readline())
            assert told[-1], told
        process.send_signal(signal.SIGINT)
        said, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said == ""
    assert error.splitlines()[-1] == (
        "openbook: interrupted; nothing is lost, and nothing answers otherwise: run it again, what was indexed is kept"
    )


# --- rerankers --------------------------------------------------------------------------------------------------------


def reranker(folder: Path, *, weight: float | None = 0.6, recipe: Any = None) -> Path:
    """As training writes one: a cross-encoder of random weights, which knows nothing."""
    tiny_pairs(folder, "bert", seed=7)
    what = {
        "kind": "reranker",
        "method": "full",
        "seed": 0,
        "sources": ["kiln"],
        "documents": [],
        "principals": [["public"]],
        "weight": weight,
        "recipe": {"weight": 50.0, "max_tokens": 48, "candidates": 8} if recipe is None else recipe,
    }
    (folder / "trained.json").write_text(json.dumps(what))
    (folder / "settings.toml").write_text('method = "full"\n')
    return folder


def test_a_reranker_stands_in_the_recipe_as_it_says_itself(tmp_path: Path) -> None:
    part = recipe_with(Recipe(), reranker(tmp_path / "rr"), "reranker").query.rerank
    assert part == CrossEncoder(model=str(tmp_path / "rr"), weight=50.0, max_tokens=48, candidates=8)
    assert recipe_with(Recipe(), tmp_path / "rr", "reranker").index == Recipe().index
    for number, recipe in enumerate(([], {"weight": -1.0})):
        with pytest.raises((ModelError, QueryError), match=r"does not tell how it is served|no recipe takes it"):
            recipe_with(Recipe(), reranker(tmp_path / f"odd-{number}", recipe=recipe), "reranker")


def test_of_all_models_a_reranker_is_the_dearest_to_serve(tmp_path: Path) -> None:
    found = read_models([reranker(tmp_path / "rr"), model(tmp_path / "full")])
    assert [one.serves for one in found] == ["full", "reranker"]
    assert found[1].documents == {"kiln"}


def test_what_a_reranker_was_asked_to_learn_may_be_a_data_set_and_no_rows(tmp_path: Path) -> None:
    questions = tmp_path / "asked.jsonl"
    questions.write_text('{"id": "q", "question": "How hot?", "answer": "Very.", "documents": ["kiln"]}\n')
    told = f'method = "full"\n\n[data]\n"{questions}" = "ab12"\n'
    assert rows_of([Model("rr", [tmp_path], [{"kind": "reranker", "method": "full"}], told)]) is None


def test_a_reranker_that_knows_nothing_does_not_ship(
    tmp_path: Path, openbook: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    beir(tmp_path / "crafts")
    beir(tmp_path / "other")
    reranker(tmp_path / "rr", weight=0.0)
    done = openbook("finetune", "compare", "crafts", "rr", "--split", "all", "--general", "other", "--trade", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["verdict"], told["winner"], told["model"], told["trade"]) == ("don't ship", None, None, {})
    [one] = told["candidates"]
    assert one["measures"]["ndcg@10"]["difference"] < -0.1
    assert one["general"]["before"]["other"] > 0.7 > one["general"]["after"]["other"]
    assert any("no weight of it stood above" in note for note in told["notes"])
    assert any("no trade is measured of a reranker" in note for note in told["notes"])
