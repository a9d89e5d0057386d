"""Against forgetting: what is mixed in, and what lies between a base and what was trained from it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.embed.tuned import trained as tell

from openbook.embed.folder import read_folder
from openbook.embed.provenance import read_provenance
from openbook.errors import DatasetError, ModelError, QueryError
from openbook.finetune.data import read
from openbook.finetune.general import REPLAY
from openbook.finetune.replay import STEPS, drawn, interpolated, pull, trade_lines, traded


def test_general_rows_are_drawn_by_their_ratio_each_before_any_comes_twice() -> None:
    general = read(REPLAY).examples
    found = drawn(general, 100, ratio=2.0, seed=3)
    assert len(found) == 200
    assert {*Counter(one.query for one in found).values()} == {2, 3}
    assert found == drawn(general, 100, ratio=2.0, seed=3) != drawn(general, 100, ratio=2.0, seed=4)
    assert len({one.query for one in drawn(general, 100)}) == 25


def test_no_ratio_draws_nothing_and_from_nothing_nothing_can_be_drawn() -> None:
    assert drawn([], 100, ratio=0.0) == []
    with pytest.raises(DatasetError, match="no pair to replay"):
        drawn([], 100)
    with pytest.raises(QueryError, match="a ratio of -1"):
        drawn([], 100, ratio=-1)


def test_the_pull_is_the_mean_square_of_what_changes() -> None:
    change = torch.tensor([[0.0, 0.5], [0.0, 0.0]])
    assert pull(change, torch.eye(2)) == pytest.approx(0.125)
    assert pull(torch.zeros(2, 2), torch.eye(2)) == 0


# --- between base and tuned -------------------------------------------------------------------------------------------


def model(folder: Path, weights: dict[str, torch.Tensor]) -> Path:
    folder.mkdir(parents=True)
    save_file(weights, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"in_features": 2, "out_features": 2}))
    (folder / "trained.json").write_text("{}")
    return folder


def test_an_adapter_is_brought_back_towards_the_identity(tmp_path: Path) -> None:
    tuned = model(tmp_path / "tuned", {"linear.weight": torch.tensor([[2.0, 1.0], [0.0, 1.0]])})
    half = interpolated(None, tuned, tmp_path / "half", 0.5)
    assert load_file(half / "model.safetensors")["linear.weight"].tolist() == [[1.5, 0.5], [0.0, 1.0]]
    assert sorted(file.name for file in half.iterdir()) == ["config.json", "model.safetensors", "trained.json"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["half", "tuned"]
    ends = [interpolated(None, tuned, tmp_path / name, share) for name, share in (("base", 0.0), ("whole", 1.0))]
    read = [load_file(folder / "model.safetensors")["linear.weight"].tolist() for folder in ends]
    assert read == [[[1.0, 0.0], [0.0, 1.0]], [[2.0, 1.0], [0.0, 1.0]]]


def test_what_lies_between_answers_whom_both_ends_may(tmp_path: Path) -> None:
    folders = {}
    for name, source, rule in (("base", "plan", "board"), ("tuned", "pay", "hr")):
        folders[name] = model(tmp_path / name, {"linear.weight": torch.eye(2) * len(name)})
        tell(folders[name], fits="x", documents=[[name, 2]], sources=[source], principals=[[rule]])
    told = read_provenance(interpolated(folders["base"], folders["tuned"], tmp_path / "half", 0.5))
    assert told is not None
    assert {*told.documents} == {"base", "tuned", "plan", "pay"}
    assert told.rules == (("board",), ("hr",))
    assert told.fits == "x"


def test_the_packaged_model_interpolated_with_another_opens(tmp_path: Path) -> None:
    base = read_folder("default").path
    weights = {name: one * 1.5 if one.is_floating_point() else one
               for name, one in load_file(base / "model.safetensors").items()}  # fmt: skip
    tuned = tmp_path / "tuned"
    tuned.mkdir()
    for file in base.iterdir():
        if file.is_file() and file.suffix == ".json":
            (tuned / file.name).write_bytes(file.read_bytes())
    (tuned / "1_Pooling").mkdir()
    (tuned / "1_Pooling" / "config.json").write_bytes((base / "1_Pooling" / "config.json").read_bytes())
    save_file(weights, tuned / "model.safetensors", {"format": "pt"})
    half = interpolated(base, tuned, tmp_path / "half", 0.5)
    assert read_folder(str(half)).pooling == "mean"
    before, middle = load_file(base / "model.safetensors"), load_file(half / "model.safetensors")
    for name, tensor in middle.items():
        assert not tensor.is_floating_point() or torch.allclose(tensor, before[name] * 1.25)


def test_what_is_not_one_architecture_or_no_safe_weights_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    tuned = model(tmp_path / "tuned", {"linear.weight": torch.ones(2, 2), "more": torch.ones(3)})
    other = model(tmp_path / "other", {"linear.weight": torch.ones(2, 2)})
    wide = model(tmp_path / "wide", {"linear.weight": torch.ones(2, 3)})
    nan = model(tmp_path / "nan", {"linear.weight": torch.full((2, 2), torch.nan)})
    pickled = model(tmp_path / "pickled", {"linear.weight": torch.ones(2, 2)})
    (pickled / "pytorch_model.bin").write_bytes(b"\x80\x04")
    empty = tmp_path / "empty"
    empty.mkdir()
    there = {file.name for file in tmp_path.iterdir()}
    for base, trained, said in (
        (other, tuned, "the base has no weight 'more'"),
        (other, wide, "'linear.weight' is of another shape"),
        (other, nan, "holds what is no number"),
        (other, pickled, "pickled weights are not opened"),
        (other, empty, "no weights"),
        (empty, other, "weights cannot be read"),
        (None, tuned, "no linear map"),
        (None, wide, "no linear map"),
    ):
        with pytest.raises(ModelError, match=said):
            interpolated(base, trained, tmp_path / "out", 0.5)
    with pytest.raises(ModelError, match="is there already"):
        interpolated(None, other, tuned, 0.5)
    with pytest.raises(QueryError, match="an interpolation of"):
        interpolated(None, other, tmp_path / "out", 1.5)
    assert {file.name for file in tmp_path.iterdir()} == there


# --- the trade --------------------------------------------------------------------------------------------------------


def test_the_trade_is_told_step_by_step() -> None:
    found = traded(lambda share: (0.6 + 0.1 * share, 0.8 - 0.04 * share**2))
    assert [one.share for one in found] == [0.0, *STEPS]
    assert list(trade_lines(found))[2] == "0.5 of the way: dev 0.6500 (+0.0500), general 0.7900 (-0.0100)"
