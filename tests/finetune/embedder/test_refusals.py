"""What cannot be trained is refused before training, with the reason; what was not trained is no model."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.embed import small
from tests.finetune.embedder import jargon

from openbook.errors import DatasetError, ModelError, OpenbookError
from openbook.finetune.data.rows import Example, Passage, Rows, Scored, grouped
from openbook.finetune.embedder import train_embedder
from openbook.finetune.settings import EmbedderSettings

ROOT = Path(__file__).parents[3]


def refused(rows: Rows, out: Path, error: type[OpenbookError], **said: Any) -> str:
    """What is told; no folder is there, and none of the run's own."""
    with pytest.raises(error) as told:
        train_embedder(rows, out, EmbedderSettings.load(None, **{"epochs": 1} | said))
    assert not out.exists()
    assert "\n" not in str(told.value)
    return str(told.value)


def test_ten_rows_are_too_few_and_so_are_duplicates(tmp_path: Path) -> None:
    few = jargon.examples()[:9]
    assert "9 distinct queries" in refused(Rows(few), tmp_path / "m", DatasetError)
    one = [replace(few[0], where=f"a:{n}") for n in range(50)]
    from openbook.finetune.data.rows import merged

    examples, dropped = merged(one)
    said = refused(Rows(examples, dropped=dropped), tmp_path / "m", DatasetError)
    assert "1 distinct queries, in 50 rows" in said
    assert not list(tmp_path.iterdir())


def test_one_label_teaches_nothing(tmp_path: Path, tiny: Path) -> None:
    pairs = tuple(
        Scored(Passage(one.query), one.positives[0], 1.0, is_label=True) for one in jargon.examples()
    )  # fmt: skip
    said = {"method": "lora", "base": str(tiny), "loss": "cosent"}
    assert "one label only (1)" in refused(Rows(scored=pairs), tmp_path / "m", DatasetError, **said)
    # Nor are they taken for pairs that have no label, whatever the loss.
    assert "one label only (1)" in refused(Rows(scored=pairs), tmp_path / "m", DatasetError)
    none = tuple(replace(one, score=0.0) for one in pairs)
    assert "one label only (0)" in refused(Rows(scored=none), tmp_path / "m", DatasetError)
    half = tuple(replace(one, score=0.5, is_label=False) for one in pairs)
    assert "one score only (0.5)" in refused(Rows(scored=half), tmp_path / "m", DatasetError)
    same = tuple(replace(one, positives=(Passage("the same"),)) for one in jargon.examples())
    assert "one and the same positive" in refused(Rows(same), tmp_path / "m", DatasetError)


def test_rows_of_one_group_without_negatives_have_every_label_masked_away(tmp_path: Path) -> None:
    """Each passage answers each query: nothing is left to be told from anything."""
    alone = tuple(replace(one, group="one", negatives=()) for one in jargon.examples())
    assert "all 60 queries are of one group" in refused(Rows(alone), tmp_path / "m", DatasetError)
    assert grouped(alone)[0].group != "one", "the groups of the file count"


def test_rows_that_differ_only_in_what_is_not_read_are_cut_away(tmp_path: Path, tiny: Path) -> None:
    long = "the same words again " * 40
    cut = tuple(
        Example(f"what of {n}?", (Passage(long + f"and so {n}"),), (Passage(long + f"or {n}"),), group=f"g{n}")
        for n in range(20)
    )
    said = refused(Rows(cut), tmp_path / "m", DatasetError, method="lora", base=str(tiny))
    assert "all 20 rows are cut away: its negatives are its positives as far as they are read (46 tokens)" in said
    alone = tuple(replace(one, negatives=()) for one in cut)
    said = refused(Rows(alone), tmp_path / "m", DatasetError, method="lora", base=str(tiny))
    assert "the positives of all 20 queries are the same in the 46 tokens that are read" in said
    # A few are told with their number, and the rest is trained on.
    done = train_embedder(
        Rows((*jargon.examples(), *cut)), tmp_path / "m", EmbedderSettings(method="lora", base=str(tiny), epochs=1)
    )
    assert len(done.dropped) == 20
    assert any(note.startswith("40 of ") and "longer than the model reads" in note for note in done.notes)


def test_scores_that_no_cosine_has_are_refused(tmp_path: Path, tiny: Path) -> None:
    pairs = tuple(Scored(Passage(f"a {n}"), Passage(f"b {n}"), float(n % 5), where=f"s:{n}") for n in range(20))
    said = refused(Rows(scored=pairs), tmp_path / "m", DatasetError, method="lora", base=str(tiny))
    assert said.startswith("s:2: a score of 2, where a cosine has -1 to 1")


class TestABaseThatCannotBeUsed:
    def refused(self, base: Path, out: Path) -> str:
        return refused(jargon.rows(), out, ModelError, method="lora", base=str(base))

    @pytest.fixture
    def base(self, tiny: Path, tmp_path: Path) -> Path:
        return Path(shutil.copytree(tiny, tmp_path / "base"))

    def test_with_pickles_alone(self, base: Path, tmp_path: Path) -> None:
        (base / "model.safetensors").rename(base / "pytorch_model.bin")
        assert "pickled weights are not opened" in self.refused(base, tmp_path / "m")

    def test_without_a_tokenizer(self, base: Path, tmp_path: Path) -> None:
        (base / "tokenizer.json").unlink()
        assert "tokenizer.json is missing" in self.refused(base, tmp_path / "m")

    def test_that_is_a_cross_encoder(self, tmp_path: Path) -> None:
        base = small.tiny_pairs(tmp_path / "pairs", "bert")
        assert "no embedding model, but a BertForSequenceClassification" in self.refused(base, tmp_path / "m")

    def test_that_has_no_transformer(self, base: Path, tmp_path: Path) -> None:
        (base / "modules.json").write_text(json.dumps([{"type": "sentence_transformers.models.BoW", "path": ""}]))
        assert "no transformer in it (BoW)" in self.refused(base, tmp_path / "m")

    def test_whose_licence_allows_no_change(self, base: Path, tmp_path: Path) -> None:
        (base / "README.md").write_text("---\nlicense: cc-by-nc-nd-4.0\n---\n# A model\n")
        assert "its licence (cc-by-nc-nd-4.0) allows no changed copy" in self.refused(base, tmp_path / "m")

    def test_that_is_not_there(self, tmp_path: Path) -> None:
        assert "no such folder" in self.refused(tmp_path / "nowhere", tmp_path / "m")


@pytest.mark.parametrize("method", ["adapter", "lora", "full"])
def test_weights_that_did_not_move_are_no_model(method: str, tiny: Path, tmp_path: Path) -> None:
    said = {"method": method, "rate": 0.0, "base": "default" if method == "adapter" else str(tiny)}
    assert "training moved no weight" in refused(jargon.rows(), tmp_path / "m", ModelError, **said)


@pytest.mark.parametrize("method", ["adapter", "lora"])
def test_a_loss_that_is_no_number_ends_it(method: str, tiny: Path, tmp_path: Path) -> None:
    """A rate beyond all measure blows up the weights, and then the loss."""
    said = {"method": method, "rate": 1e38, "epochs": 5, "base": "default" if method == "adapter" else str(tiny)}
    assert "the loss is no number at step " in refused(jargon.rows(), tmp_path / "m", ModelError, **said)


FULL = """
import resource, sys
from pathlib import Path
from tests.finetune.embedder import jargon
from openbook.errors import ModelError
from openbook.finetune.embedder import train_embedder
from openbook.finetune.settings import EmbedderSettings

method, base, out, room = sys.argv[1:]

def told(step):  # begun: from here on no file may grow beyond this
    if step.loss is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(room), int(room)))

try:
    train_embedder(jargon.rows(), Path(out), EmbedderSettings(method=method, base=base, epochs=3), progress=told)
except ModelError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("method", "room"), [("adapter", 100_000), pytest.param("lora", 5_000, marks=pytest.mark.training)]
)
def test_a_checkpoint_for_which_there_is_no_room_is_one_line(
    method: str, room: int, tiny: Path, tmp_path: Path
) -> None:
    """The limit on a file's size stands for a full disk: the write fails halfway."""
    base = "default" if method == "adapter" else str(tiny)
    command = [sys.executable, "-c", FULL, method, base, str(tmp_path / "m"), str(room)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=ROOT)
    assert "cannot be written" in done.stdout, done.stdout + done.stderr
    assert "look for room on the disk" in done.stdout
    assert done.stdout.count("\n") == 1
    assert not (tmp_path / "m").exists()
    assert not list((tmp_path / ".m.training").glob("*.new"))
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_a_folder_that_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    with pytest.raises(ModelError, match="is there already"):
        train_embedder(jargon.rows(), tmp_path / "m", EmbedderSettings())
    assert not list((tmp_path / "m").iterdir())


Run = Callable[..., "subprocess.CompletedProcess[str]"]


def elsewhere(folder: Path) -> Path:
    """A data set with documents of its own: what is asked of it is no document of the firm."""
    (folder / "qrels").mkdir(parents=True)
    texts = {f"d{number}": f"Village {number}: {said}" for number, said in enumerate((*jargon.OTHERS, *jargon.OTHERS))}
    corpus = [{"_id": id, "title": "", "text": text} for id, text in texts.items()]
    asked = [{"_id": f"q-{id}", "text": f"What of {' '.join(text.split()[:6])}?"} for id, text in texts.items()]
    for name, rows in (("corpus", corpus), ("queries", asked)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    judged = "".join(f"q-{id}\t{id}\t1\n" for id in texts)
    (folder / "qrels" / "dev.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}")
    return folder


class TestTheCommandLine:
    def test_a_model_is_trained_and_told(self, openbook: Run, tmp_path: Path) -> None:
        jargon.written(tmp_path)
        assert openbook("add", "firm").returncode == 0
        done = openbook("finetune", "embedder", "turned", "rows.jsonl", "--dev", "dev.jsonl", "--epochs", "3", "--json")
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert told["kind"] == "embedder"
        assert told["method"] == "adapter"
        assert told["rows"]["used"] == 60
        assert told["measures"]["tuned"]["ndcg@10"]["value"] > told["measures"]["base"]["ndcg@10"]["value"]
        assert told["loss"][-1]["loss"] < told["loss"][0]["loss"]
        assert told["general"]["before"]["default"] == pytest.approx(0.763, abs=0.01)
        assert 0 < abs(told["general"]["after"]["default"] - told["general"]["before"]["default"]) < 0.2
        assert told["verdict"] is None
        assert (tmp_path / "turned" / "model.safetensors").is_file()
        again = openbook("finetune", "embedder", "again", "--settings", "turned/settings.toml", "--train-only")
        assert again.returncode == 0, again.stderr
        assert again.stdout.splitlines()[-1] == "again"
        assert "dev nDCG@10" in again.stdout
        weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("turned", "again")]
        assert weights[0] == weights[1]

    def test_what_is_doubtful_is_told_before_it_begins(self, openbook: Run, tmp_path: Path) -> None:
        jargon.written(tmp_path)
        lines = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
        few = [{"anchor": one["anchor"], "positive": one["positive"]} for one in lines[::6]]
        deal = [few[(7 * n + 3) % 10]["positive"] for n in range(10)]
        told = [{**one, "positive": positive} for one, positive in zip(few, deal, strict=True)]
        (tmp_path / "ten.jsonl").write_text("".join(json.dumps(one) + "\n" for one in told))
        done = openbook("finetune", "embedder", "m", "ten.jsonl", "--epochs", "1", "--train-only")
        assert done.returncode == 0, done.stderr
        notes = [line for line in done.stderr.splitlines() if line.startswith("note: ")]
        assert "note: 10 distinct queries: below 500 training seldom helps" in notes
        assert any("of 10 rows look as if their labels were drawn by chance, such as" in line for line in notes)
        assert any("no dev questions" in line and "name one (--db, --kb)" in line for line in notes)
        assert "note: " not in done.stdout

    @pytest.mark.parametrize(
        ("rows", "said"),
        [
            ([{"anchor": f"q {n}", "positive": f"p {n}"} for n in range(9)], "9 distinct queries; training needs 10"),
            ([{"anchor": "q", "positive": "p"}] * 50, "1 distinct queries, in 50 rows"),
            ([{"anchor": f"q {n}", "positive": "p"} for n in range(50)], "one and the same positive for 50 queries"),
            (
                [{"sentence1": f"q {n}", "sentence2": f"p {n}", "label": 1} for n in range(50)],
                "one label only (1) in 50 pairs",
            ),
            (
                [{"sentence1": f"q {n}", "sentence2": f"p {n}", "score": 0.5} for n in range(50)],
                "one score only (0.5) in 50 pairs",
            ),
            (
                [{"anchor": f"q {n}", "positive": "the same words again " * 200 + f"p {n}"} for n in range(50)],
                "the positives of all 50 queries are the same in the 254 tokens that are read",
            ),
        ],
    )
    def test_rows_that_teach_nothing_are_refused_in_one_line(
        self, rows: list[dict[str, Any]], said: str, openbook: Run, tmp_path: Path
    ) -> None:
        (tmp_path / "rows.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
        done = openbook("finetune", "embedder", "m", "rows.jsonl", "--train-only")
        assert done.returncode == 1
        assert said in done.stderr.splitlines()[-1]
        assert done.stderr.splitlines()[-1].startswith("openbook: ")
        assert "Traceback" not in done.stderr
        assert [path.name for path in tmp_path.iterdir() if path.name != ".openbook"] == ["rows.jsonl"]

    def test_a_base_or_a_rate_that_cannot_be_used_is_one_line(self, openbook: Run, tiny: Path, tmp_path: Path) -> None:
        jargon.written(tmp_path)
        base = Path(shutil.copytree(tiny, tmp_path / "base"))
        (base / "README.md").write_text("---\nlicense: cc-by-nc-nd-4.0\n---\n")
        for arguments, said in (
            (("--method", "lora", "--base", "base"), "its licence (cc-by-nc-nd-4.0) allows no changed copy"),
            (("--method", "lora", "--base", "firm"), "no model folder: config.json is missing"),
            (("--rate", "1e38"), "the loss is no number at step "),
        ):
            done = openbook("finetune", "embedder", "m", "rows.jsonl", "--train-only", *arguments)
            assert done.returncode == 1
            assert said in done.stderr.splitlines()[-1]
            assert "Traceback" not in done.stderr
            assert not (tmp_path / "m").exists()

    def test_a_model_is_known_to_the_users_documents_whatever_its_dev_questions_are_asked_of(
        self, openbook: Run, tmp_path: Path
    ) -> None:
        """It was known to nobody: a text that it had learnt was forgotten, and the model stayed."""
        firm = jargon.written(tmp_path)
        assert openbook("add", "firm").returncode == 0
        rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
        for row, one in zip(rows, jargon.examples(), strict=True):
            row["metadata"]["documents"] = [(firm / passage.document).as_uri() for passage in one.passages]
        (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        other = elsewhere(tmp_path / "other")
        done = openbook("finetune", "embedder", "m", "rows.jsonl", "--dev", str(other), "--epochs", "1", "--train-only")
        assert done.returncode == 0, done.stderr
        assert "12 dev questions" in done.stdout
        assert "no release to go back to" not in done.stderr
        forgotten = openbook("forget", "firm/page-0.md", "--yes", "--json")
        assert forgotten.returncode == 0, forgotten.stderr
        [model] = json.loads(forgotten.stdout)["models"]
        assert model["kind"] == "adapter"

    def test_several_seeds_are_several_models(self, openbook: Run, tmp_path: Path) -> None:
        jargon.written(tmp_path)
        asked = ("--epochs", "1", "--seeds", "2", "--train-only", "--json")
        done = openbook("finetune", "embedder", "m", "rows.jsonl", *asked)
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert told["general"] is None
        assert [one["seed"] for one in told["seeds"]] == [0, 1]
        assert {folder.name for folder in (tmp_path / "m").iterdir()} == {"seed-0", "seed-1"}
        again = openbook("finetune", "embedder", "m", "rows.jsonl", *asked)
        assert again.returncode == 1
        assert again.stderr.splitlines() == [
            "openbook: m: is there already, with 2 seeds of a model; name a new folder, or remove that one; --seeds"
            " N --resume trains those that are missing"
        ]
        again = openbook("finetune", "embedder", "m", "rows.jsonl", *asked[:-1], "--resume")
        assert again.returncode == 0, again.stderr
        assert "note: m is finished: nothing is left to train" in again.stderr
        assert again.stdout.splitlines()[-2:] == [
            "of 2 seeds seed-0 would be served: no dev questions were asked, and it is the first",
            "m/seed-0",
        ]

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["m"], "nothing to train on"),
            (["m", "nowhere.jsonl"], "nowhere.jsonl: no such file or folder"),
            (["m", "rows.jsonl", "--method", "qlora"], 'method = "qlora" is not allowed'),
            (["m", "rows.jsonl", "--loss", "cached"], "method 'adapter' has no loss 'cached'"),
            (["m", "rows.jsonl", "--resume"], "no run that was cut off"),
            (["m", "rows.jsonl", "--db", "nowhere"], "nowhere: no knowledge base here"),
        ],
    )
    def test_what_makes_no_sense_is_one_line(
        self, arguments: list[str], said: str, openbook: Run, tmp_path: Path
    ) -> None:
        jargon.written(tmp_path)
        done = openbook("finetune", "embedder", *arguments)
        assert done.returncode == 2 or "no knowledge base" in said
        assert said in done.stderr
        assert "Traceback" not in done.stderr
        assert not (tmp_path / "m").exists()
