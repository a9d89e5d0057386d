"""A linear map of queries learns a firm's words in seconds, is served as trained, and goes on where it stopped."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.finetune.embedder import jargon

from openbook.embed import Embedder
from openbook.errors import DatasetError, ModelError, QueryError
from openbook.finetune.data.rows import Example, Passage, Rows, Scored
from openbook.finetune.embedder import PARITY, Dev, Step, Trained, adapter, train_embedder, train_seeds
from openbook.finetune.embedder.vectors import of_index
from openbook.finetune.settings import EmbedderSettings
from openbook.knowledge_base import KnowledgeBase
from openbook.types import Document

QUICK = EmbedderSettings(epochs=6, batch=12, pull=1.0)


def test_the_firms_words_are_learnt(dev: Dev, tmp_path: Path) -> None:
    """Dev nDCG@10 of words that the base does not know: .32 before, .9 and more after."""
    steps: list[Step] = []
    done = train_embedder(jargon.rows(), tmp_path / "turned", QUICK, dev=dev, progress=steps.append)
    assert done.before is not None
    assert done.after is not None
    assert done.before < 0.6
    assert done.after > done.before + 0.25
    assert done.asked == len(jargon.THINGS) * len(jargon.HELD)
    assert done.loss[-1].loss < done.loss[0].loss / 2  # type: ignore[operator]
    assert [step for step in steps if step.loss is None] == list(done.dev)
    assert done.parity < PARITY
    assert done.used == len(jargon.THINGS) * len(jargon.ASKED)


def fitted(told: Sequence[Sequence[float]], folder: Path, patience: int = 3) -> adapter.State:
    """A map of two dimensions after a step for each of the dev ``told``, of which the first is the base's."""
    import torch

    asked = iter(told)
    settings = EmbedderSettings(epochs=len(told) - 1, batch=1, dev={"patience": patience}).resolved()  # type: ignore[arg-type]
    return adapter.fit(
        1, lambda change, batch: (change.sum() - 1.0) ** 2, [], settings,
        score=lambda _: {str(number): score for number, score in enumerate(next(asked))},
        checkpoint=folder / "state", state=adapter.State.new(2, torch.zeros(2, 2)), progress=lambda _: None,
    )  # fmt: skip


BASE, HIGH, NEAR, LOW = [0.1] * 4, [0.4, 0.6, 0.8, 0.9], [0.6, 0.4, 0.8, 0.8], [0.3, 0.5, 0.7, 0.8]


def test_the_latest_step_is_kept_that_does_not_fall(tmp_path: Path) -> None:
    assert fitted([BASE, HIGH, NEAR], tmp_path).best_at == 2
    assert fitted([BASE, HIGH, LOW, NEAR, LOW], tmp_path).best_at == 3
    assert fitted([BASE, LOW, HIGH, LOW, LOW], tmp_path).best_at == 2
    assert fitted([HIGH, LOW], tmp_path).best_at == 1, "the base is no map that was trained"
    ended = fitted([BASE, HIGH, LOW, LOW, NEAR, NEAR], tmp_path, patience=2)
    assert (ended.best_at, ended.at) == (1, 3), "it waits for so many that fell, and no more"


def test_where_all_is_found_there_is_nothing_left_to_learn_by(tmp_path: Path) -> None:
    assert fitted([BASE, NEAR, [1.0] * 4, [1.0] * 4], tmp_path).at == 2


def test_the_folder_is_a_dense_module_of_sentence_transformers(dev: Dev, embedder: Embedder, tmp_path: Path) -> None:
    import torch
    from sentence_transformers.sentence_transformer.modules import Dense

    train_embedder(jargon.rows(), tmp_path / "turned", QUICK.model_copy(update={"epochs": 1}), dev=dev)
    assert {file.name for file in (tmp_path / "turned").iterdir()} == {
        *("config.json", "model.safetensors", "trained.json", "settings.toml", "README.md")
    }
    dense = Dense.load(str(tmp_path / "turned"))
    vectors = embedder.encode(["What is the rule for QBX?"], "query")
    theirs = dense({"sentence_embedding": torch.from_numpy(vectors)})["sentence_embedding"].detach().numpy()
    ours = adapter.turned(vectors, adapter.read(tmp_path / "turned"))
    assert np.allclose(theirs / np.linalg.norm(theirs), ours, atol=1e-6)
    assert not np.allclose(vectors, ours, atol=1e-3)


def test_it_tells_what_it_was_trained_on(dev: Dev, firm: KnowledgeBase, tmp_path: Path) -> None:
    done = train_embedder(jargon.rows(), tmp_path / "turned", QUICK.model_copy(update={"epochs": 1}), dev=dev)
    told = json.loads((tmp_path / "turned" / "trained.json").read_text())
    assert told["kind"] == "embedder"
    assert told["method"] == "adapter"
    assert told["fits"] == told["base_hash"] == firm.embedder.hash
    assert told["hash"] not in (told["fits"], "")
    assert {id for id, _ in told["documents"]} == {row["document"] for row in firm.list()}
    assert told["principals"] == [["public"]]
    assert Trained.load(tmp_path / "turned") == done
    card = (tmp_path / "turned" / "README.md").read_text()
    assert told["hash"] in card
    assert "nDCG@10" in card


def test_its_settings_repeat_it(dev: Dev, tmp_path: Path) -> None:
    once = QUICK.model_copy(update={"epochs": 2.0, "seed": 3})
    train_embedder(jargon.rows(), tmp_path / "a", once, dev=dev)
    again = EmbedderSettings.load(tmp_path / "a" / "settings.toml")
    train_embedder(jargon.rows(), tmp_path / "b", again, dev=dev)
    train_embedder(jargon.rows(), tmp_path / "c", again.model_copy(update={"seed": 4}), dev=dev)
    first, second, third = ((tmp_path / name / "model.safetensors").read_bytes() for name in "abc")
    assert first == second != third


KILLED = """
import os, signal, sys
from pathlib import Path
import openbook
from tests.finetune.embedder import jargon
from openbook.finetune.embedder import Dev, train_embedder
from openbook.finetune.settings import EmbedderSettings

method, base, out, at, resume = sys.argv[1:]
how = {"adapter": {"batch": 12}, "lora": {"batch": 8, "rate": 1e-2, "max_tokens": 40}}[method]

def told(step):
    if at != "never" and step.at >= int(at):
        os.kill(os.getpid(), signal.SIGKILL)

settings = EmbedderSettings(method=method, base=base, epochs=3.0, **how)
with openbook.open(Path(out).parent / "db") as kb:
    if not kb.list():
        kb.add(*jargon.documents(), access=["public"])
    dev = Dev(kb, tuple(jargon.questions().questions.values()))
    train_embedder(jargon.rows(), Path(out), settings, dev=dev, resume=resume == "resume", progress=told)
"""


def killed_and_resumed(folder: Path, method: str, base: str, at: int) -> tuple[Path, Path]:
    """A run that was never stopped, and one that was killed at a step and went on."""

    def run(out: str, *arguments: str) -> int:
        command = [sys.executable, "-c", KILLED, method, base, str(folder / out), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=Path(__file__).parents[3])
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        return done.returncode

    assert run("whole", "never", "anew") == 0
    assert run("parts", str(at), "anew") == -signal.SIGKILL
    assert not (folder / "parts").exists()
    assert (folder / ".parts.training").is_dir()
    assert run("parts", "never", "resume") == 0
    assert not (folder / ".parts.training").exists()
    return folder / "whole", folder / "parts"


def test_a_run_that_was_killed_gives_the_weights_of_one_that_was_not(tmp_path: Path) -> None:
    whole, parts = killed_and_resumed(tmp_path, "adapter", "default", 8)
    assert (whole / "model.safetensors").read_bytes() == (parts / "model.safetensors").read_bytes()
    one, other = (Trained.load(folder) for folder in (whole, parts))
    assert (one.loss, one.best, one.hash) == (other.loss, other.best, other.hash)
    assert one.dev == other.dev
    assert len(one.dev) == 3, "asked before it was killed, and after"


def test_there_must_be_a_run_to_go_on_with_and_the_same(tmp_path: Path) -> None:
    with pytest.raises(QueryError, match="no run that was cut off"):
        train_embedder(jargon.rows(), tmp_path / "turned", QUICK, resume=True)
    place = tmp_path / ".turned.training"
    place.mkdir()
    (place / "settings.toml").write_text(QUICK.resolved().model_copy(update={"batch": 7}).to_toml())
    with pytest.raises(QueryError, match=r"begun with other settings \(batch = 7\)"):
        train_embedder(jargon.rows(), tmp_path / "turned", QUICK, resume=True)


def test_without_a_knowledge_base_the_passages_of_the_rows_are_all_there_is(tmp_path: Path) -> None:
    for loss in ("softmax", "in-batch"):
        settings = QUICK.model_copy(update={"loss": loss, "epochs": 3})
        done = train_embedder(jargon.rows(), tmp_path / loss, settings)
        assert done.loss[-1].loss < done.loss[0].loss  # type: ignore[operator]
        assert done.dev == ()
        assert "no dev questions" in done.notes[0]
        assert {version for _, version in done.documents} == {None}  # named as the rows name them


def test_scored_pairs_have_a_loss_of_their_own(tmp_path: Path) -> None:
    pairs = [
        Scored(Passage(one.query), one.positives[0] if number % 2 else one.negatives[0], 0.9 if number % 2 else 0.1)
        for number, one in enumerate(jargon.examples())
    ]
    done = train_embedder(Rows(scored=tuple(pairs)), tmp_path / "turned", QUICK)
    assert 'loss = "cosine"' in (tmp_path / "turned" / "settings.toml").read_text()
    assert done.loss[-1].loss < done.loss[0].loss  # type: ignore[operator]


def test_a_part_of_what_was_learnt_can_be_kept(tmp_path: Path) -> None:
    whole = train_embedder(jargon.rows(), tmp_path / "whole", QUICK)
    half = train_embedder(jargon.rows(), tmp_path / "half", QUICK.model_copy(update={"interpolate": 0.5}))
    a, b = (adapter.read(one.folder) - np.eye(384, dtype=np.float32) for one in (whole, half))
    assert np.allclose(a / 2, b, atol=1e-6)


def test_a_pull_keeps_general_directions_as_they_are(embedder: Embedder, tmp_path: Path) -> None:
    """Of questions about anything else, replayed or not, the vectors stay nearer to the base's."""
    general = ["how tall is the eiffel tower", "symptoms of the flu", "capital of peru", "history of the violin"]
    replay = Rows(tuple(Example(text, (Passage(f"about {text}"),)) for text in general[:2]))
    cosines = {}
    for pull in (0.0, 30.0):
        done = train_embedder(
            jargon.rows(), tmp_path / str(pull), QUICK.model_copy(update={"pull": pull}), replay=replay
        )
        vectors = embedder.encode(general, "query")
        cosines[pull] = (adapter.turned(vectors, adapter.read(done.folder)) * vectors).sum(1).mean()
    assert cosines[30.0] > cosines[0.0]


def test_only_what_its_callers_may_read_is_a_negative(kb: KnowledgeBase) -> None:
    """A softmax over all chunks would have an adapter of public rows know of what is not public."""
    kb.add(*jargon.documents()[:14], access=["public"])
    kb.add(*jargon.documents()[14:], access=["board"])
    hidden = {row["document"] for row in kb.list() if "public" not in row["access"]}
    targets = of_index(jargon.examples(), kb.embedder, Dev(kb), [("public",)])
    named = {row["document"] for row in kb.list() if row["source"] in {f"other-{n}.md" for n in range(6)}}
    assert hidden <= named, "the rows name them: then they are trained on"
    public = tuple(
        Example(one.query, one.positives, (), group=one.group) for one in jargon.examples()
    )  # fmt: skip
    targets = of_index(public, kb.embedder, Dev(kb), [("public",)])
    assert not hidden & set(targets.documents)
    assert len(targets.documents) == 14
    targets = of_index(public, kb.embedder, Dev(kb), [("board",)])
    assert hidden <= set(targets.documents)


def test_other_chunks_of_a_document_that_answers_are_no_negatives(kb: KnowledgeBase) -> None:
    long = "\n\n".join(f"{word} " * 60 + "." for word in ("kiln", "loom", "press", "forge"))
    kb.add(Document("long.md", long), *jargon.documents())
    with kb.index.database.snapshot(None) as connection:
        view = kb.index.view(connection, None, None)
        id = next(row["document"] for row in kb.list() if row["source"] == "long.md")
        chunks = kb.index.places(view, [id])[id]
    assert len(chunks) > 1
    passage = kb.chunks("long.md")[0].text
    targets = of_index([Example("kiln?", (Passage(passage, "long.md"),), group="g")], kb.embedder, Dev(kb), [])
    assert len(targets.right[0]) == 1
    assert len(targets.left[0]) == len(chunks) - 1


def test_a_checkpoint_that_is_none_is_told(tmp_path: Path) -> None:
    place = tmp_path / ".turned.training"
    place.mkdir()
    (place / "settings.toml").write_text(QUICK.resolved().to_toml())
    (place / "state.safetensors").write_bytes(os.urandom(99))
    with pytest.raises(ModelError, match="no checkpoint that can be read"):
        train_embedder(jargon.rows(), tmp_path / "turned", QUICK, resume=True)


def test_it_takes_seconds(dev: Dev, tmp_path: Path) -> None:
    """Of the processor: the wall clock says how busy the machine is."""
    begun = time.process_time()
    train_embedder(jargon.rows(), tmp_path / "turned", QUICK, dev=dev)
    assert time.process_time() - begun < 60


def test_copies_and_versions_of_what_answers_are_no_negatives(new_kb: Callable[..., KnowledgeBase]) -> None:
    kb = new_kb()
    text = "The kiln fires clay at 1,240 degrees for eleven hours and cools for a day with its door shut."
    others = [Document(f"{n}.md", other) for n, other in enumerate(jargon.OTHERS)]
    kb.add(
        Document("a.md", text), Document("copy.md", text), Document("old.md", text.replace("eleven", "ten")), *others
    )
    asked = [Example("How hot is the kiln?", (Passage(text, "a.md"),), group="g")]
    targets = of_index(asked, kb.embedder, Dev(kb), [("public",)])
    assert len(targets.passages) == 9
    assert len(targets.right[0]) == 1
    assert len(targets.left[0]) == 2


def unasked(rows: Rows, out: Path, of: Dev | None, **how: Any) -> str:
    """What is told, before it begins and afterwards, where no dev questions are asked."""
    said: list[str] = []
    done = train_embedder(rows, out, QUICK.model_copy(update={"epochs": 1.0, **how}), dev=of, say=said.append)
    assert done.asked == 0
    assert list(done.notes) == said
    assert said[0].startswith("no dev questions, and so it is trained to the end of its epochs: ")
    return said[0].partition("epochs: ")[2]


def test_where_nothing_says_when_to_stop_it_is_told_why_and_what_to_do(firm: KnowledgeBase, tmp_path: Path) -> None:
    assert unasked(jargon.rows(), tmp_path / "1", None) == "no knowledge base answers them; name one (--db, --kb)"
    bare = tuple(replace(one, positives=(Passage(one.positives[0].text),)) for one in jargon.examples())
    told = unasked(Rows(bare), tmp_path / "2", Dev(firm))
    assert told.startswith("none of the 60 queries names a document of knowledge base firm; name a data set")
    told = unasked(jargon.rows(), tmp_path / "3", Dev(firm))
    assert "of 60 queries fall into the share that is held out (0.1); 10 are needed: name a data set" in told
    told = unasked(jargon.rows(), tmp_path / "4", Dev(firm), dev=QUICK.dev.model_copy(update={"share": 0.999}))
    assert told.startswith("without the 60 that would be held out so little is left that nothing could be learnt")
    pairs = tuple(Scored(Passage(f"one {n}"), Passage(f"two {n}"), n % 2 / 2) for n in range(20))
    told = unasked(Rows(scored=pairs), tmp_path / "5", Dev(firm), loss="cosine")
    assert told == "scored pairs are not asked; name a data set (--dev DATA)"


def test_dev_questions_of_other_documents_are_refused_and_a_few_of_them_told(
    firm: KnowledgeBase, tmp_path: Path
) -> None:
    """They counted as never answered: 0 before, 0 after, and nothing said why."""
    asked = tuple(jargon.questions().questions.values())

    def gone(most: int) -> Dev:
        lost = tuple(replace(one, judgements={f"gone-{n}.md": 1}) for n, one in enumerate(asked[:most]))
        return Dev(firm, (*lost, *asked[most:]))

    quick = QUICK.model_copy(update={"epochs": 1.0})
    with pytest.raises(DatasetError, match=r"13 of 24 dev questions refer .* such as gone-0.md"):
        train_embedder(jargon.rows(), tmp_path / "m", quick, dev=gone(13))
    with pytest.raises(DatasetError, match="no dev question is answered by a document that is there"):
        train_embedder(jargon.rows(), tmp_path / "m", quick, dev=gone(24))
    assert not (tmp_path / "m").exists()
    done = train_embedder(jargon.rows(), tmp_path / "m", quick, dev=gone(4))
    assert done.asked == 20
    assert "4 dev questions refer to documents that are not there, and are not asked" in done.notes


def test_dev_questions_that_are_trained_on_are_told(firm: KnowledgeBase, tmp_path: Path) -> None:
    asked = tuple(jargon.questions().questions.values())
    known = tuple(replace(one, text=jargon.ASKED[0].format("zorvel")) for one in asked[:1])
    done = train_embedder(
        jargon.rows(), tmp_path / "m", QUICK.model_copy(update={"epochs": 1.0}), dev=Dev(firm, (*known, *asked[1:]))
    )
    assert any(note.startswith("1 rows ask what 1 dev questions ask, such as rows.jsonl:0") for note in done.notes)


def test_nothing_is_held_out_where_too_little_would_be_left(firm: KnowledgeBase, tmp_path: Path) -> None:
    """A group that fell into the tenth took all rows with it."""
    examples = tuple(replace(one, group="g-1") for one in jargon.examples()[:20])
    share = {"dev": EmbedderSettings().dev.model_copy(update={"share": 0.999})}
    done = train_embedder(Rows(examples), tmp_path / "m", QUICK.model_copy(update=share), dev=Dev(firm))
    assert done.used == 20
    assert done.asked == 0


def test_a_run_that_is_finished_is_told_again_and_not_trained(tmp_path: Path) -> None:
    """It was "is there already": whoever was interrupted while it was measured could not go on."""
    short = QUICK.model_copy(update={"epochs": 1.0})
    [done] = train_seeds(jargon.rows(), tmp_path / "m", short)
    told: list[Step] = []
    [again] = train_seeds(jargon.rows(), tmp_path / "m", short, resume=True, progress=told.append)
    assert (again.hash, again.loss, again.seconds, told) == (done.hash, done.loss, done.seconds, [])
    with pytest.raises(QueryError, match=r"its rate is 0.001, and not 0.05"):
        train_seeds(jargon.rows(), tmp_path / "m", short.model_copy(update={"rate": 0.05}), resume=True)
    with pytest.raises(QueryError, match=r"m: is one model that is trained, and no folder of seeds"):
        train_seeds(jargon.rows(), tmp_path / "m", short.model_copy(update={"seeds": 2}), resume=True)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"empty: is there already; name a new folder"):
        train_seeds(jargon.rows(), tmp_path / "empty", short, resume=True)


def test_seeds_that_are_there_must_be_of_the_same_settings(tmp_path: Path) -> None:
    two = QUICK.model_copy(update={"seeds": 2, "epochs": 1.0})
    train_seeds(jargon.rows(), tmp_path / "m", two)
    shutil.rmtree(tmp_path / "m" / "seed-1")
    with pytest.raises(QueryError, match=r"seed-0: its rate is 0.001, and not 0.05"):
        train_seeds(jargon.rows(), tmp_path / "m", two.model_copy(update={"rate": 0.05}), resume=True)
    assert len(train_seeds(jargon.rows(), tmp_path / "m", two, resume=True)) == 2
