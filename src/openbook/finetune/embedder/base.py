"""Which models can be trained: what their files and their licence say, before anything is loaded."""

from __future__ import annotations

from pathlib import Path

from openbook.embed.folder import ModelFolder, read_folder
from openbook.errors import ModelError

NO_CHANGES = ("-nd",)
"""Parts of licences' names that allow no changed copies: of Creative Commons' those without derivatives."""

HEADS = ("ForSequenceClassification", "ForCausalLM", "ForTokenClassification", "ForQuestionAnswering")
"""Endings of architectures that make no vector of a text."""


def require_trainable(base: str) -> ModelFolder:
    """Its folder. Raises: ModelError."""
    folder = read_folder(base)
    where = str(folder.path)
    do = "name a sentence-transformers model"
    if "Transformer" not in folder.modules:
        raise ModelError(f"no transformer in it ({', '.join(folder.modules)})", where=where, do=do)
    head = next((one for one in folder.config.get("architectures") or () if one.endswith(HEADS)), None)
    if head is not None and not (folder.path / "modules.json").is_file():
        raise ModelError(f"no embedding model, but a {head}", where=where, do=do)
    licence = licence_of(folder.path)
    if any(part in licence for part in NO_CHANGES):
        what = f"its licence ({licence}) allows no changed copy"
        raise ModelError(what, where=where, do="name another base, or train an adapter beside it (--method adapter)")
    return folder


def licence_of(folder: Path) -> str:
    """What its model card says, lower case; "" where it says nothing."""
    try:
        text = (folder / "README.md").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
    _, _, head = text.partition("---\n")
    head, _, _ = head.partition("\n---")
    found = [line.partition(":")[2] for line in head.splitlines() if line.startswith("license:")]
    return found[0].strip().strip("\"'").lower() if found else ""
