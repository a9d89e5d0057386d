"""What is wrong with a recipe: the key, its value, and what may stand there."""

from __future__ import annotations

import difflib
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

from openbook.recipe.parts import Part

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo


def complaint(error: Any, root: type[Part]) -> tuple[str, str]:
    """What pydantic found in a ``root``, in a recipe's own words: the path of the key, its value, and what is allowed
    there."""
    parts: list[type[Part]] = [root]
    field: FieldInfo | None = None
    steps: list[str] = []
    kind = ""
    siblings: list[type[Part]] = []  # the parts of every kind, where the last step may be a key of another one
    for step in map(str, error["loc"]):
        if len(parts) > 1:  # among several parts pydantic names the kind, which is no key
            kind = f" of kind {step!r}"
            siblings = parts
            parts = [part for part in parts if step in get_args(part.model_fields["kind"].annotation)]
            continue
        if not parts:  # within a list
            break
        steps.append(step)
        owners, siblings = siblings, []
        there = parts[0].model_fields
        field = there.get(step)
        parts = [] if field is None else [p for p in _choices(field) if isinstance(p, type) and issubclass(p, Part)]
    path = ".".join(steps)
    if error["type"] == "extra_forbidden":
        like = difflib.get_close_matches(steps[-1], there, n=1)
        keys = f"the keys{kind} there are {', '.join(there)}"
        having = [
            get_args(part.model_fields["kind"].annotation)[0] for part in owners if steps[-1] in part.model_fields
        ]
        if having:
            return f"{path}: no such key", f"kind = {' or '.join(map(repr, having))} has it; {keys}"
        return f"{path}: no such key", f"was {like[0]} meant? {keys}" if like else f"remove it; {keys}"
    if error["type"] == "union_tag_invalid":
        return (
            f"{path}.kind = {_shown(error['ctx']['tag'])} is not allowed",
            f"write one of {error['ctx']['expected_tags']}",
        )
    if error["type"] == "value_error":
        return f"{path}: {error['ctx']['error']}", "mend one of them"
    if field is None or error["type"] == "missing":
        return f"{path} is not said", f"write {_allowed(field)}" if field else "add it"
    return f"{path} = {_shown(error['input'])} is not allowed", f"write {_allowed(field)}"


def _choices(field: FieldInfo) -> tuple[Any, ...]:
    """The types that a field may be of, without ``None``, which TOML does not know."""
    is_union = get_origin(field.annotation) in (Union, UnionType)
    choices = get_args(field.annotation) if is_union else (field.annotation,)
    return tuple(choice for choice in choices if choice is not NoneType)


def _allowed(field: FieldInfo) -> str:
    choice = _choices(field)[0]
    if get_origin(choice) is Literal:
        return f"one of {', '.join(map(repr, get_args(choice)))}"
    if get_origin(choice) is tuple:
        member = get_args(choice)[0]
        return f"a list of {', '.join(map(repr, get_args(member)))}" if get_origin(member) is Literal else "a list"
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "a text in quotes"}
    bounds = {name: getattr(limit, name) for limit in field.metadata for name in ("ge", "le") if hasattr(limit, name)}
    least, most = (f"{bounds[name]:g}" if name in bounds else None for name in ("ge", "le"))
    between = f" from {least} to {most}" if least and most else f" of at least {least}" if least else ""
    return names.get(choice, "a table") + between


def _shown(value: Any) -> str:
    text = "a table" if isinstance(value, dict) else repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
