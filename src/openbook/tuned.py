"""Models that were trained on documents, where a release uses them: made known to its knowledge base when they are
opened, and their files erased when they are withdrawn."""

from __future__ import annotations

import os
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path

from openbook.embed import Embedder
from openbook.embed.cache import cache_folder
from openbook.embed.folder import read_folder
from openbook.embed.linear import LinearMap, open_adapter, read_linear
from openbook.embed.provenance import FILE, read_provenance
from openbook.errors import ModelError
from openbook.recipe import LinearAdapter, LocalEmbedder, Recipe
from openbook.store.database import Database
from openbook.store.models import Kind, Model, Models

WEIGHTS = frozenset({".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".onnx", ".npz", ".npy"})
"""Files of a model's folder, those of its checkpoints included, that hold what was trained."""

NAMES: dict[Kind, str] = {"adapter": "query adapter", "embedder": "embedding model"}


@dataclass(frozen=True, slots=True)
class Restricted:
    """A model of a recipe that does not answer everybody: only who is among each of ``rules``."""

    kind: Kind
    model: str
    rules: tuple[tuple[str, ...], ...]

    def __str__(self) -> str:
        whom = "; ".join(" or ".join(rule) for rule in self.rules)
        others = "others' questions go without it" if self.kind == "adapter" else "the release answers nobody else"
        return f"its {NAMES[self.kind]} was trained on closed texts: it answers callers who are {whom}; {others}"


def known_adapter(part: LinearAdapter, embedder: Embedder, database: Database, kb: int) -> LinearMap:
    """The adapter of a query half, registered.

    Raises:
        ModelError: as ``open_adapter``; or it was trained on a text that is forgotten.
    """
    adapter = open_adapter(part, embedder)
    told = adapter.provenance
    model = Model(adapter.hash, "adapter", adapter.hash, told.documents, told.rules)
    Models(database, kb).register(model, host(), str(adapter.path.absolute()))
    return adapter


def make_known(part: object, embedder: Embedder, database: Database, kb: int) -> None:
    """Register the embedder of an index half, if it was trained on documents.

    Raises:
        ModelError: its ``trained.json`` cannot be read; or it was trained on a text that is forgotten.
    """
    if not isinstance(part, LocalEmbedder) or part.model == "default":
        return
    found = read_folder(part.model)
    folder = found.path
    told = read_provenance(folder)
    if told is None:
        return
    weights = found.digest(cache_folder(None))
    model = Model(embedder.hash, "embedder", weights, told.documents, told.rules)
    Models(database, kb).register(model, host(), str(folder.absolute()))


def require_lasting(recipe: Recipe, embedder: Embedder, database: Database, kb: int) -> list[Restricted]:
    """Registers the trained models of a recipe that is to become a release, or to answer; as ``restricted``.

    Raises:
        ModelError: one of them is missing, does not fit, or was trained on a text that is forgotten.
    """
    models = Models(database, kb)
    make_known(recipe.index.embed, embedder, database, kb)
    adapter = recipe.query.adapter
    if isinstance(adapter, LinearAdapter):
        try:
            known_adapter(adapter, embedder, database, kb)
        except ModelError:
            # One that is withdrawn may be gone: that it was is what there is to tell.
            if adapter.content is None or not models.is_withdrawn(adapter.content):
                raise
    for kind, hash in _used(recipe, embedder.hash):
        if models.is_withdrawn(hash):
            what, do = "was trained on a text that is forgotten", "train it again without that text, or leave it out"
            raise ModelError(what, where=f"{NAMES[kind]} {hash}", do=do)
    return restricted(recipe, embedder.hash, database, kb)


def restricted(recipe: Recipe, embedder: str, database: Database, kb: int) -> list[Restricted]:
    """The models of a recipe, and of an index by this ``embedder``, that do not answer everybody. They are known."""
    models = Models(database, kb)
    found = [Restricted(kind, hash, tuple(models.rules(hash))) for kind, hash in _used(recipe, embedder)]
    return [one for one in found if one.rules]


def _used(recipe: Recipe, embedder: str) -> list[tuple[Kind, str]]:
    used: list[tuple[Kind, str]] = [("embedder", embedder)]
    if isinstance(recipe.query.adapter, LinearAdapter) and recipe.query.adapter.content:
        used.append(("adapter", recipe.query.adapter.content))
    return used


def host() -> str:
    """By what name this machine is told from others."""
    return socket.gethostname()


# --- files ----------------------------------------------------------------------------------------------------------


def lies_in(kind: Kind, weights: str, folder: Path) -> bool:
    """Whether the files of that model are in a folder, unchanged."""
    try:
        found = read_linear(folder).hash if kind == "adapter" else read_folder(str(folder)).digest(None)
    except ModelError:
        return False
    return found == weights


def erase_files(kind: Kind, weights: str, folder: Path) -> int:
    """Delete the weights below a folder, its checkpoints' as well, and what says what they were trained on; so many
    files. What was converted from them goes, too.

    Raises:
        OSError: one cannot be deleted.
    """
    gone = 0
    for place, _, names in os.walk(folder):  # without following links
        for name in names:
            if Path(name).suffix in WEIGHTS or name == FILE:
                Path(place, name).unlink()
                gone += 1
    if kind == "embedder" and (cache := cache_folder(None)) is not None:
        for converted in (cache / "models").glob(f"{weights[:32]}-*"):
            shutil.rmtree(converted)
    return gone
