"""What can go wrong, drawn as a tree.

OpenbookError
├── SourceError        a file, page or row that could not be read      (reported, the rest goes on)
├── RecipeError        a recipe that cannot be run
├── QueryError         a question, filter or option that makes no sense
├── DatasetError       a data set that cannot be evaluated
├── PriceError         a price file that cannot be read
├── ArchiveError       an export that cannot be written, or cannot be read back
├── NotFound           a document, trace or release that does not exist, or that the caller may not see
├── ModelError         an embedding or language model that is missing, refused or broken
│   └── ModelUnavailable   a remote model that did not answer; trying again later may help
└── StoreError         the database
    ├── StoreUnreachable   it does not answer, or does not start
    ├── StoreBusy          others are in the way; trying again helps, and nothing was half-written
    ├── StoreTooNew        written by a newer openbook, or by another PostgreSQL major version
    └── StoreRefused       the server lacks pgvector, or the user lacks a right

Every message is one line: where, what is wrong, what to do next.
"""

from __future__ import annotations


class OpenbookError(Exception):
    """``what`` is wrong, ``where`` (a path, a value, a URL without its password), and what to ``do`` next."""

    def __init__(self, what: str, *, where: str = "", do: str = "") -> None:
        self.what, self.where, self.do = (" ".join(part.split()) for part in (what, where, do))
        super().__init__(what)

    def __str__(self) -> str:
        where = f"{self.where}: " if self.where else ""
        do = f"; {self.do}" if self.do else ""
        return f"{where}{self.what}{do}"


class SourceError(OpenbookError):
    """A source that could not be read."""


class RecipeError(OpenbookError):
    """A recipe that cannot be run."""


class QueryError(OpenbookError):
    """A question, filter or option that makes no sense."""


class DatasetError(OpenbookError):
    """A data set that cannot be evaluated."""


class PriceError(OpenbookError):
    """A price file that cannot be read."""


class ArchiveError(OpenbookError):
    """An export that cannot be written, or cannot be read back."""


class NotFound(OpenbookError):
    """Nothing of that name, or nothing that this caller may see: the two are told apart nowhere."""


class ModelError(OpenbookError):
    """A model that is missing, refused or broken."""


class ModelUnavailable(ModelError):
    """A remote model that did not answer in time or kept refusing for load. ``begun``: it may have begun to, and what
    it has written may have to be paid for."""

    def __init__(self, what: str, *, where: str = "", do: str = "", begun: bool = False) -> None:
        super().__init__(what, where=where, do=do)
        self.begun = begun


class StoreError(OpenbookError):
    """The database."""


class StoreUnreachable(StoreError):
    """The database does not answer, or does not start."""


class StoreBusy(StoreError):
    """Others are in the way (a deadlock, a lock that is not given back in time); trying again helps."""


class StoreTooNew(StoreError):
    """The data were written by a newer openbook, or by another PostgreSQL major version."""


class StoreRefused(StoreError):
    """The server lacks pgvector, or the user lacks a right."""
