"""Tokens as a language model counts them, where its tokenizer is at hand; else as an estimate that errs high."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

from openbook.errors import ModelError
from openbook.generate.prompt import estimate_tokens


def counting(tokenizer: str | None) -> Callable[[str], int]:
    """Counts by a ``tokenizer.json``, or by the one in a model's folder; ``None``: estimates.

    Raises:
        ModelError: there is none, or it cannot be read.
    """
    if tokenizer is None:
        return estimate_tokens
    file = Path(tokenizer).expanduser()
    return _counter(str(file / "tokenizer.json" if file.is_dir() else file))


@cache
def _counter(file: str) -> Callable[[str], int]:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(file)
    except Exception as error:  # the library raises nothing narrower
        do = "name the model's tokenizer.json, or its folder, in query.generate.tokenizer; or leave it out"
        raise ModelError(f"no readable tokenizer ({error})", where=file, do=do) from None
    tokenizer.no_padding()
    tokenizer.no_truncation()

    def count(text: str) -> int:
        # Half a surrogate pair cannot be handed over.
        text = text if text.isascii() else text.encode("utf-8", "replace").decode()
        return len(tokenizer.encode(text, add_special_tokens=False).ids)

    return count
