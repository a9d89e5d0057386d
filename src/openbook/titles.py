"""How texts call documents: by their titles."""

from __future__ import annotations

import re

_WORD = re.compile(r"[^\W_]+")
_BRACKETED = re.compile(r"\s*[(（][^)）]*[)）]")


def bare(title: str) -> str:
    """A title as texts call it, in lower case.

    >>> bare("Wale (rapper)")
    'wale'
    """
    return " ".join(_WORD.findall(_BRACKETED.sub("", title).lower()))


def in_pieces(title: str) -> str:
    """``bare``, but for the commas: what follows one says which of that name is meant.

    >>> in_pieces("Springfield, Illinois (film)")
    'springfield, illinois'
    """
    return ", ".join(filter(None, (bare(piece) for piece in _BRACKETED.sub("", title).split(", "))))


def padded(text: str) -> str:
    """The words of a text, in lower case, with a space on either side of each: a bare title is in it as whole words."""
    return f" {' '.join(_WORD.findall(text.lower()))} "


def calls(text: str, title: str) -> bool:
    """Whether a text calls a document by its title. A title of one word has to be written as it is there, for "Pay" is
    the name of a page and "pay" is not.

    >>> calls("A novel by Mara Ostrov about a village.", "Mara Ostrov (writer)"), calls("they pay late", "Pay")
    (True, False)
    """
    name = bare(title)
    if len(name) < 3:
        return False
    if " " in name:
        return f" {name} " in padded(text)
    return re.search(rf"(?<!\w){re.escape(_BRACKETED.sub('', title).strip())}(?!\w)", text) is not None
