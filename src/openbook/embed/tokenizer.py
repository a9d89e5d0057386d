"""The tokenizer of a model's folder, as sentence-transformers would use it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from openbook.embed.folder import ModelFolder
from openbook.errors import ModelError


def open_tokenizer(folder: ModelFolder) -> Any:
    """A ``tokenizers.Tokenizer`` that neither pads nor cuts. Raises: ModelError."""
    from tokenizers import Tokenizer, normalizers

    try:
        tokenizer = Tokenizer.from_file(str(folder.tokenizer))
    except Exception as error:  # the library raises nothing narrower
        do = "save the model again"
        raise ModelError(f"no readable tokenizer ({error})", where=str(folder.tokenizer), do=do) from None
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if folder.lower_case:
        before = [tokenizer.normalizer] if tokenizer.normalizer is not None else []
        tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *before])
    return tokenizer


def encodable(texts: Sequence[str]) -> list[str]:
    """Lone surrogates, which no UTF-8 can hold, become ``?``: one code point for one, so that offsets stay."""
    return [text if text.isascii() else text.encode("utf-8", "replace").decode() for text in texts]
