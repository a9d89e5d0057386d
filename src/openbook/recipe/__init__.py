"""How documents become answers: a frozen tree of settings, TOML in and out, named by its content hash.

A recipe has two halves. The ``index`` half (chunker, embedder, keyword analyser) decides what is stored: a change in
it needs a new index. The ``query`` half (candidates, fusion, generator) decides how a question is answered: a change
in it needs none. Parts are named by ``kind``.

``parts``: the settings of both halves, and their hash. ``complaints``: what is wrong with a recipe. Here: reading and
writing one.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from openbook.errors import RecipeError
from openbook.recipe.complaints import complaint
from openbook.recipe.parts import (
    AS_READ,
    ApprovedExamples,
    Assembly,
    BridgeHops,
    Budget,
    ChunkerPart,
    Context,
    CorpusSpelling,
    CrossEncoder,
    Disagreements,
    Diversity,
    EvidenceFusion,
    Extractive,
    FixedExamples,
    Glossary,
    IndexHalf,
    Keyword,
    Language,
    LanguageModel,
    LateInteraction,
    LinearAdapter,
    LocalEmbedder,
    ModelFilters,
    ModelHops,
    ModelTransform,
    NearDuplicates,
    Off,
    OpenAIEmbedder,
    ParentChunker,
    Part,
    QueryHalf,
    Recency,
    ReciprocalRankFusion,
    RecursiveChunker,
    RelevanceFeedback,
    RerankAPI,
    RuleFilters,
    SemanticChunker,
    Served,
    StructureChunker,
    ThemeTree,
    WeightedFusion,
    WindowChunker,
)

__all__ = [
    "AS_READ",
    "ApprovedExamples",
    "Assembly",
    "BridgeHops",
    "Budget",
    "ChunkerPart",
    "Context",
    "CorpusSpelling",
    "CrossEncoder",
    "Disagreements",
    "Diversity",
    "EvidenceFusion",
    "Extractive",
    "FixedExamples",
    "Glossary",
    "IndexHalf",
    "Keyword",
    "Language",
    "LanguageModel",
    "LateInteraction",
    "LinearAdapter",
    "LocalEmbedder",
    "ModelFilters",
    "ModelHops",
    "ModelTransform",
    "NearDuplicates",
    "Off",
    "OpenAIEmbedder",
    "ParentChunker",
    "Part",
    "QueryHalf",
    "Recency",
    "Recipe",
    "ReciprocalRankFusion",
    "RecursiveChunker",
    "RelevanceFeedback",
    "RerankAPI",
    "RuleFilters",
    "SemanticChunker",
    "Served",
    "StructureChunker",
    "ThemeTree",
    "WeightedFusion",
    "WindowChunker",
    "differences",
    "read_examples",
]

P = TypeVar("P", bound=Part)


class Recipe(Part):
    """How documents become answers.

    >>> Recipe().index.chunk.kind
    'structure'
    >>> Recipe.from_toml("[query.fusion]\\nkind = 'rrf'").query.fusion.kind
    'rrf'
    """

    index: IndexHalf = IndexHalf()
    query: QueryHalf = QueryHalf()

    @classmethod
    def from_toml(cls, text: str, *, where: str = "recipe", stored: bool = False) -> Recipe:
        """Read a recipe; what is not said takes its default.

        One that openbook ``stored`` says everything that there was to say then: a setting that it lacks is younger,
        and takes the value by which documents were read before there was a choice.

        Raises:
            RecipeError: not TOML, an unknown key or an impossible value.
        """
        try:
            told = tomllib.loads(text)
            return cls.model_validate(_with_earlier(told) if stored else told, context={"stored": stored})
        except tomllib.TOMLDecodeError as error:
            raise RecipeError(f"not TOML: {error}", where=where, do="mend that line") from None
        except ValidationError as error:
            what, do = complaint(error.errors()[0], cls)
            raise RecipeError(what, where=where, do=do) from None

    @classmethod
    def load(cls, path: str | Path) -> Recipe:
        """Read a recipe file. Raises: RecipeError."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except OSError as error:
            raise RecipeError(f"cannot be read ({error.strerror})", where=str(path), do="check the path") from None
        except UnicodeDecodeError:
            raise RecipeError("not UTF-8", where=str(path), do="save it as UTF-8 text") from None
        return cls.from_toml(text, where=str(path))

    def anchored(self) -> Recipe:
        """The same recipe, with the place of every local model and tokenizer named by its whole path, and with the
        examples of a file in its place: whoever reads it from the database stands elsewhere.

        Raises:
            RecipeError: as ``read_examples``.
        """
        return _anchored(self)

    def to_toml(self) -> str:
        """Every setting, defaults included, as TOML that ``from_toml`` reads back to an equal recipe."""
        lines: list[str] = []
        _write_table(self.model_dump(mode="json", exclude_none=True), (), lines)
        return "\n".join(lines).strip() + "\n"


def read_examples(file: str) -> tuple[tuple[str, str], ...]:
    """(question, answer) of every line. Raises: RecipeError: the file cannot be read, or a line is none."""
    do = 'write a line {"question": "…", "answer": "…"} for each example'
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"examples cannot be read ({error})", where=file, do=do) from None
    found = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                told = json.loads(line)
                question, answer = told["question"], told["answer"]
            except (ValueError, TypeError, KeyError):
                question = answer = None
            if not isinstance(question, str) or not isinstance(answer, str):
                raise RecipeError("no example", where=f"{file}, line {number}", do=do)
            found.append((question, answer))
    return tuple(found)


def _anchored(part: P) -> P:
    """The same part, and the parts in it: a language model may stand in any stage."""
    told: dict[str, Any] = {
        name: anchored
        for name, inner in part
        if isinstance(inner, Part) and (anchored := _anchored(inner)) is not inner
    }
    if isinstance(part, LocalEmbedder | CrossEncoder) and (place := _whole_path(part.model)):
        told["model"] = place
    if isinstance(part, LinearAdapter):
        told["path"] = str(Path(part.path).expanduser().absolute())
    if isinstance(part, LanguageModel) and part.tokenizer and Path(part.tokenizer).exists():
        told["tokenizer"] = str(Path(part.tokenizer).absolute())
    if isinstance(part, FixedExamples) and part.file:
        told |= {"shown": (*part.shown, *read_examples(part.file)), "file": None}
    return part.model_copy(update=told) if told else part


def _whole_path(model: str) -> str | None:
    """That of a folder; of the packaged model or a hub id none."""
    return str(Path(model).absolute()) if model != "default" and Path(model).is_dir() else None


# --- TOML -------------------------------------------------------------------------------------------------------------


def _with_earlier(told: dict[str, Any]) -> dict[str, Any]:
    index, query = told["index"], told["query"]
    for name in ("spelling", "glossary", "adapter", "expansion"):
        query.setdefault(name, {"kind": "none"})
    index.setdefault("neighbours", 0.0)
    if index["chunk"]["kind"] == "structure":
        index["chunk"].setdefault("target_tokens", index["chunk"].get("max_tokens", AS_READ))
    query.setdefault("filters", {"kind": "none"})
    query.setdefault("merge", 0)
    if query["fusion"]["kind"] == "evidence":
        query["fusion"].setdefault("neighbours", 0.0)
    return told


def differences(a: Part, b: Part) -> list[tuple[str, Any, Any]]:
    """Where two parts of a recipe differ, as (path of the setting, in ``a``, in ``b``); ``None`` where one has none.

    >>> differences(QueryHalf(), QueryHalf(context=5))
    [('context', 10, 5)]
    """
    mine, its = (dict(_leaves(part.model_dump(mode="json"))) for part in (a, b))
    paths = dict.fromkeys([*mine, *its])
    return [(path, mine.get(path), its.get(path)) for path in paths if mine.get(path) != its.get(path)]


def _leaves(table: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        name = f"{path}.{key}" if path else key
        if isinstance(value, dict):
            yield from _leaves(value, name)
        else:
            yield name, value


def _write_table(table: dict[str, Any], path: tuple[str, ...], lines: list[str]) -> None:
    values = {key: value for key, value in table.items() if not isinstance(value, dict)}
    if values and path:
        lines += ["", f"[{'.'.join(path)}]"]
    lines += [f"{key} = {_scalar(value)}" for key, value in values.items()]
    for key, value in table.items():
        if isinstance(value, dict):
            _write_table(value, (*path, key), lines)


def _scalar(value: Any) -> str:
    # JSON's scalars are TOML's, but for the DEL character, which JSON leaves bare.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
