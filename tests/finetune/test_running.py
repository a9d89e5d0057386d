"""What is there already, and which of several seeds is served."""

from __future__ import annotations

from pathlib import Path

import pytest

from openbook.errors import ModelError
from openbook.finetune.running import TOLD, is_finished, require_new, served
from openbook.finetune.settings import EmbedderSettings


def test_the_seed_that_stood_highest_is_served_and_the_first_of_equals() -> None:
    assert served([0.8, 0.9, None]).line("seed-1") == (
        "of 3 seeds seed-1 would be served: it stood highest on the dev questions (nDCG@10 0.9000)"
    )
    equal = served([0.8, 0.9, 0.9])
    assert equal.at == 1
    assert equal.why == "2 stood highest on the dev questions (nDCG@10 0.9000), and it is the first of them"


def test_where_nothing_was_asked_it_is_the_first_and_of_one_nothing_is_said() -> None:
    assert served([None, None]).line("seed-0").endswith("no dev questions were asked, and it is the first")
    assert served([0.5]).line("m") == ""


def test_a_folder_that_is_there_says_what_it_holds(tmp_path: Path) -> None:
    require_new(tmp_path / "m")
    for made, said in (
        ("m/note.txt", "is there already; name a new folder, or remove that one"),
        ("m/seed-1/trained.json", "is there already, with 1 seed of a model; .*--resume trains those that are missing"),
        ("m/trained.json", "is there already, a model that is trained; name a new folder, or remove that one"),
    ):
        (tmp_path / made).parent.mkdir(exist_ok=True)
        (tmp_path / made).touch()
        with pytest.raises(ModelError, match=f"m: {said}$"):
            require_new(tmp_path / "m")


def test_it_is_finished_where_the_seeds_that_are_asked_for_are_there(tmp_path: Path) -> None:
    for seed in (0, 1):
        (tmp_path / f"seed-{seed}").mkdir()
        (tmp_path / f"seed-{seed}" / TOLD).write_text("{}")
    assert is_finished(tmp_path, EmbedderSettings(seeds=2))
    assert not is_finished(tmp_path, EmbedderSettings(seeds=3))
    assert not is_finished(tmp_path, EmbedderSettings(seed=5, seeds=2)), "others are"
