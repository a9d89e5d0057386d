"""What the verbs of finetune say before they begin, and where they are cut off."""

from __future__ import annotations

from pathlib import Path

import pytest

from openbook.cli.finetuning.training import if_cut_off, tell_place
from openbook.cli.printing import Interrupted, interruptible
from openbook.finetune.running import place_of
from openbook.finetune.settings import EmbedderSettings


def test_a_run_that_was_cut_off_is_not_begun_anew_in_silence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Hours of checkpoints went where --resume was forgotten, and nothing said so."""
    out = tmp_path / "m"
    tell_place(out, EmbedderSettings(), resume=False)
    place_of(out).mkdir()
    tell_place(out, EmbedderSettings(), resume=True)
    assert capsys.readouterr().err == ""
    tell_place(out, EmbedderSettings(), resume=False)
    assert capsys.readouterr().err == (
        f"note: a run to {out} was cut off and is begun anew (--resume would have gone on with it)\n"
    )


def test_an_interrupted_training_says_whether_there_is_something_to_go_on_with(tmp_path: Path) -> None:
    out = tmp_path / "m"

    def interrupted() -> str:
        with pytest.raises(Interrupted) as told, interruptible(if_cut_off(out)):
            raise KeyboardInterrupt
        return str(told.value)

    assert interrupted() == "interrupted; nothing was trained yet: run it again"
    place_of(out).mkdir()
    assert interrupted().endswith("the same command with --resume goes on from there")
