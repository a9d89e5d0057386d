"""Models that were trained on documents, where a release uses them: made known to its knowledge base when they are
opened, asked whom they may answer, and their files erased when they are withdrawn."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from openbook.embed import Embedder, open_embedder
from openbook.embed.adapter import has_adapter
from openbook.embed.cache import cache_folder
from openbook.embed.folder import read_folder, read_json
from openbook.embed.linear import LinearMap, open_adapter, read_linear
from openbook.embed.provenance import FILE, content_of, read_provenance
from openbook.errors import ModelError
from openbook.recipe import CrossEncoder, LinearAdapter, LocalEmbedder, Recipe
from openbook.store.database import Database
from openbook.store.models import Kind, Model, Models, Standing

WEIGHTS = frozenset({".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".onnx", ".npz", ".npy"})
"""Files of a model's folder, those of its checkpoints included, that hold what was trained."""

NAMES: dict[Kind, str] = {"adapter": "query adapter", "embedder": "embedding model", "reranker": "reranker"}

OTHERS: dict[Kind, str] = {
    "adapter": "others' questions go without it",
    "embedder": "the release answers nobody else",
    "reranker": "what others find is not reranked",
}

CLOSED = "it was trained on texts that are not all open to this caller"
WITHDRAWN = "it was withdrawn: a text that it was trained on is forgotten"


@dataclass(frozen=True, slots=True)
class Restricted:
    """A model of a recipe that does not answer everybody: only who is among each of ``rules``."""

    kind: Kind
    model: str
    rules: tuple[tuple[str, ...], ...]

    def __str__(self) -> str:
        whom = "; ".join(" or ".join(rule) for rule in self.rules)
        return (
            f"its {NAMES[self.kind]} was trained on closed texts: it answers callers who are {whom};"
            f" {OTHERS[self.kind]}"
        )


class Gate:
    """Asked for each question whether a trained model may answer its caller: a text may be forgotten, or closed to
    somebody, between two of them."""

    def __init__(self, hash: str, database: Database, kb: int) -> None:
        self._models = Models(database, kb)
        self._hash = hash

    def closed(self, principals: Sequence[str] | None) -> str | None:
        """Why it may not, in words that tell nothing of the texts."""
        why: dict[Standing, str | None] = {"open": None, "closed": CLOSED, "withdrawn": WITHDRAWN}
        return why[self._models.standing(self._hash, principals)]


def taken(recipe: Recipe) -> Recipe:
    """A recipe as a knowledge base takes it: whoever reads it stands elsewhere, and what is in the folders of its query
    half's trained models is named, so that one that is changed later is refused.

    Raises:
        RecipeError: as ``Recipe.anchored``.
        ModelError: the folder of one cannot be read.
    """
    recipe = recipe.anchored()
    adapter, rerank = recipe.query.adapter, recipe.query.rerank
    named: dict[str, object] = {}
    if isinstance(adapter, LinearAdapter) and adapter.content is None:
        named["adapter"] = adapter.model_copy(update={"content": read_linear(adapter.path).hash})
    if isinstance(rerank, CrossEncoder) and rerank.content is None:
        folder = Path(rerank.model).expanduser()
        if folder.is_dir() and read_provenance(folder) is not None:
            named["rerank"] = rerank.model_copy(update={"content": content_of(folder)})
    if not named:
        return recipe  # one that says nothing of questions goes on saying nothing of them
    return recipe.model_copy(update={"query": recipe.query.model_copy(update=named)})


# --- registered where they are opened ---------------------------------------------------------------------------------


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


def known_reranker(part: CrossEncoder, database: Database, kb: int) -> str | None:
    """The hash of a reranker that was trained on documents, registered; ``None``: it was not, as far as is said.

    Raises:
        ModelError: it is not the one that the recipe was stored with, or was trained on a text that is forgotten.
    """
    folder = Path(part.model).expanduser()
    told = read_provenance(folder) if folder.is_dir() else None
    if told is None and part.content is None:
        return None
    found = content_of(folder) if folder.is_dir() else "gone"
    if part.content is not None and found != part.content:
        what = f"is another one than the recipe was stored with (then {part.content}, now {found})"
        raise ModelError(what, where=str(folder), do="put the former one back, or build a release by it")
    if told is not None:
        model = Model(found, "reranker", found, told.documents, told.rules)
        Models(database, kb).register(model, host(), str(folder.absolute()))
    return found


def make_known(part: object, embedder: Embedder, database: Database, kb: int) -> None:
    """Register the embedder of an index half, if it was trained on documents.

    Raises:
        ModelError: its ``trained.json`` cannot be read; or it was trained on a text that is forgotten.
    """
    if not isinstance(part, LocalEmbedder) or part.model == "default":
        return
    found = read_folder(part.model)
    told = read_provenance(found.path)
    if told is None:
        return
    weights = found.digest(cache_folder(None))
    model = Model(embedder.hash, "embedder", weights, told.documents, told.rules)
    Models(database, kb).register(model, host(), str(found.path.absolute()))


def register(folder: str | Path, database: Database, kb: int) -> None:
    """Have a knowledge base know a model of whatever kind that was trained on its documents, before any release names
    it: so that forgetting one of them finds it.

    Raises:
        ModelError: it cannot be read, does not say what it was trained on, or that is forgotten.
    """
    path = Path(folder).expanduser()
    told, config = read_provenance(path), read_json(path / "config.json", {})
    if told is None:
        raise ModelError(f"{FILE} is missing", where=str(path), do="name the folder that a training has written")
    kinds = [str(name) for name in config.get("architectures") or ()]
    if "in_features" in config:
        found = read_linear(path)
        model = Model(found.hash, "adapter", found.hash, told.documents, told.rules)
        Models(database, kb).register(model, host(), str(path.absolute()))
    elif has_adapter(str(path)) or any(name.endswith("ForSequenceClassification") for name in kinds):
        known_reranker(CrossEncoder(model=str(path)), database, kb)
    else:
        part = LocalEmbedder(model=str(path))
        make_known(part, open_embedder(part), database, kb)


def require_lasting(recipe: Recipe, embedder: Embedder, database: Database, kb: int) -> list[Restricted]:
    """Registers the trained models of a recipe that is to become a release, or to answer; as ``restricted``.

    Raises:
        ModelError: one of them is missing, does not fit, or was trained on a text that is forgotten.
    """
    models = Models(database, kb)
    adapter, rerank = recipe.query.adapter, recipe.query.rerank
    make_known(recipe.index.embed, embedder, database, kb)
    broken: ModelError | None = None
    try:
        if isinstance(adapter, LinearAdapter):
            known_adapter(adapter, embedder, database, kb)
        if isinstance(rerank, CrossEncoder):
            known_reranker(rerank, database, kb)
    except ModelError as error:
        broken = error
    for kind, hash in _used(recipe, embedder.hash):
        # One that is withdrawn may be gone: that it was is what there is to tell.
        if models.is_withdrawn(hash):
            what, do = "was trained on a text that is forgotten", "train it again without that text, or leave it out"
            raise ModelError(what, where=f"{NAMES[kind]} {hash}", do=do)
    if broken is not None:
        raise broken
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
    if isinstance(recipe.query.rerank, CrossEncoder) and recipe.query.rerank.content:
        used.append(("reranker", recipe.query.rerank.content))
    return used


def host() -> str:
    """By what name this machine is told from others."""
    return socket.gethostname()


# --- files ------------------------------------------------------------------------------------------------------------


def lies_in(kind: Kind, weights: str, folder: Path) -> bool | None:
    """Whether the files of that model are in a folder, unchanged; ``None``: weights are, and nobody can tell whose."""
    try:
        if not os.path.lexists(folder) or not any(file.suffix in WEIGHTS for file in _own_files(folder)):
            return False
        found = {
            "adapter": lambda: read_linear(folder).hash,
            "embedder": lambda: read_folder(str(folder)).digest(None),
            "reranker": lambda: content_of(folder),
        }[kind]()
    except (ModelError, OSError):
        return None
    return found == weights


def _own_files(folder: Path) -> Iterator[Path]:
    """Those below a folder that are of no other model: one in a folder below says itself what it was trained on, or is
    in training. Raises: OSError."""
    for place, below, names in os.walk(folder, onerror=_raise):  # without following links
        below[:] = [name for name in below if not Path(place, name, FILE).is_file() and not _is_run(name)]
        yield from (Path(place, name) for name in names)


def erase_files(kind: Kind, folder: Path) -> int:
    """Delete the weights below a folder and what says what they were trained on; so many files. All that a training
    left beside it goes, too, and what was converted from the weights. A folder below it that says itself what it was
    trained on is another model's.

    Raises:
        OSError: one cannot be deleted.
    """
    cache = cache_folder(None)
    if kind != "adapter" and cache is not None and (folder / "model.safetensors").is_file():
        for converted in (cache / "models").glob(f"{read_folder(str(folder)).digest(None)[:32]}-*"):
            shutil.rmtree(converted)
    gone = 0
    for file in list(_own_files(folder)):
        if file.suffix in WEIGHTS or file.name == FILE:
            file.unlink()
            gone += 1
    run = folder.parent / f".{folder.name}.training"
    if run.is_dir() and not run.is_symlink():
        weights = [name for _, _, names in os.walk(run) for name in names if Path(name).suffix in WEIGHTS]
        shutil.rmtree(run)
        gone += len(weights)
    return gone


def _is_run(name: str) -> bool:
    """Whether a folder has the files of a training that made, or is to make, another one beside it."""
    return name.startswith(".") and name.endswith(".training")


def _raise(error: OSError) -> None:
    raise error
