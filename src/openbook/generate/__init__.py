"""Hits become an answer: quoted from the documents, or written by a language model from numbered passages.

Either way every citation is a span of a document version, and weak or missing evidence is an abstention with its
reason. Importing this package imports no client library: each is loaded where it is first needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from openbook import recipe
from openbook.errors import QueryError
from openbook.types import Answer, Hit

if TYPE_CHECKING:
    from openbook.embed import Embedder
    from openbook.generate.examples import Example

__all__ = ["Generator", "open_generator", "parse_llm", "require_key"]


class Generator(Protocol):
    """What every generator does. ``remote``: the question and the passages leave this machine."""

    @property
    def kind(self) -> str: ...
    @property
    def remote(self) -> bool: ...

    def room(self) -> Callable[[Sequence[Hit]], bool]:
        """Tells whether there is room for all of some passages; asked again and again while they are put together.

        Raises:
            ModelError: its tokenizer cannot be read.
        """

    def generate(
        self,
        question: str,
        hits: Sequence[Hit],
        on_text: Callable[[str], None] | None = None,
        examples: Sequence[Example] = (),
    ) -> Answer:
        """Answer ``question`` from ``hits``, best first; with none, abstain. ``examples``: of good answers.

        ``on_text`` hears the raw text while it is being written: unchecked, with the model's own numbers and links,
        to be shown as plain text and replaced by the answer that is returned.

        Raises:
            ModelError: the model is missing, refused or broken; ModelUnavailable where trying again may help.
        """


def open_generator(
    part: recipe.Extractive | recipe.LanguageModel, embedder: Embedder, *, dates: Sequence[str] = ()
) -> Generator:
    """The generator that a recipe names. Nothing is asked of a remote model before the first question.

    ``dates``: metadata fields that a language model is shown, to say where passages disagree.

    Raises:
        RecipeError: the part cannot be run (a ``base_url`` that is none).
    """
    if isinstance(part, recipe.LanguageModel):
        from openbook.generate.language_model import LanguageModel

        return LanguageModel(part, dates=dates)
    from openbook.generate.extractive import Extractive

    return Extractive(part, embedder)


def require_key(part: recipe.Extractive | recipe.LanguageModel) -> None:
    """Before many questions are asked of a language model. Raises: ModelError: it has no key."""
    if isinstance(part, recipe.LanguageModel):
        from openbook.generate.language_model import LanguageModel

        LanguageModel(part).require_key()


def parse_llm(text: str, base_url: str | None = None) -> recipe.LanguageModel:
    """The recipe part for ``PROTOCOL:MODEL``, as it is given on a command line.

    >>> parse_llm("openai:llama3.1:8b", "http://localhost:11434/v1").model
    'llama3.1:8b'

    Raises:
        QueryError: another form, or an unknown protocol.
    """
    kind, _, model = (part.strip() for part in text.partition(":"))
    do = "write openai:MODEL or anthropic:MODEL, for example openai:gpt-5-mini; for another server add its base URL"
    if not model:
        raise QueryError("names no language model", where=text or "llm", do=do)
    if kind == "openai":
        return recipe.LanguageModel(kind="openai", model=model, base_url=base_url)
    if kind == "anthropic":
        return recipe.LanguageModel(kind="anthropic", model=model, base_url=base_url)
    raise QueryError(f"unknown protocol {kind!r}", where=text, do=do)
