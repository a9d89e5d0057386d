"""One TOML file says how a run is done; what it cannot say is refused in a line."""

from __future__ import annotations

from pathlib import Path

import pytest

from openbook.errors import DatasetError, QueryError
from openbook.finetune.settings import EmbedderSettings, hash_of, read_now


def test_settings_read_back_as_they_were_written(tmp_path: Path) -> None:
    (tmp_path / 'odd "name".jsonl').write_text("{}\n")
    data = {str(tmp_path / 'odd "name".jsonl'): ""}
    before = EmbedderSettings.load(None, method="lora", data=data, dev={"patience": 2}, matryoshka=[16, 32])
    before, changed = read_now(before.resolved())
    assert not changed
    assert EmbedderSettings.from_toml(before.to_toml()) == before
    assert before.rate == 5e-4
    assert before.dev.patience == 2


def test_what_is_said_stands_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('method = "lora"\nepochs = 4\n[dev]\nshare = 0.2\npatience = 7\n[dev.data]\npath = "a.jsonl"\n')
    read = EmbedderSettings.load(file, epochs=2, dev={"patience": 1, "data": None})
    assert (read.method, read.epochs, read.dev.share, read.dev.patience) == ("lora", 2, 0.2, 1)
    assert read.dev.data is not None
    assert read.dev.data.path == "a.jsonl"


def test_a_file_that_changed_is_told(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("one\n")
    before, _ = read_now(EmbedderSettings(data={str(file): ""}))
    file.write_text("two\n")
    after, changed = read_now(before)
    [line] = changed
    assert line.startswith(f"{file} has changed: it was ")
    assert after.data != before.data


def test_the_hash_of_a_folder_is_of_what_is_in_it(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "queries.jsonl").write_text("same")
    assert hash_of(tmp_path / "a") == hash_of(tmp_path / "b")
    (tmp_path / "b" / "queries.jsonl").write_text("other")
    assert hash_of(tmp_path / "a") != hash_of(tmp_path / "b")
    with pytest.raises(DatasetError, match="cannot be read"):
        hash_of(tmp_path / "c")


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("epoch = 3", "epoch: no such key; was epochs meant?"),
        ("[lora]\nrang = 3", "lora.rang: no such key; was rank meant?"),
        ("[dev.data]\nfile = 'x'", "dev.data.file: no such key"),
        ("epochs = -1", "epochs = -1 is not allowed"),
        ('method = "qlora"', "method = \"qlora\" is not allowed; write 'adapter', 'lora' or 'full'"),
        ('loss = "cached"', "method 'adapter' has no loss 'cached'"),
        ("matryoshka = [64]", "an adapter leaves documents' vectors as they are"),
        ("epochs = ", "not TOML"),
    ],
)
def test_what_cannot_be_is_one_line(toml: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text(toml)
    with pytest.raises(QueryError) as told:
        EmbedderSettings.load(tmp_path / "settings.toml")
    assert said in str(told.value)
    assert str(tmp_path / "settings.toml") in str(told.value)
    assert "\n" not in str(told.value)
