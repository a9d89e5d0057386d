"""What a run trains on, as it stood when the run began: a document may be forgotten before it ends, and what was learnt
of it stays. It is written beside the run's checkpoints, and into what the run makes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from openbook.embed.folder import read_json
from openbook.embed.provenance import FILE, read_provenance

Listing = Sequence[Mapping[str, Any]]
"""The documents of a knowledge base as ``list`` gives them, whoever may see them."""


@dataclass(frozen=True, slots=True)
class TrainedOn:
    """``documents`` by id with the version, or by source where no id is known; ``sources`` of rows; ``principals``:
    who may be answered by what is trained on them, who is among each."""

    documents: Mapping[str, int | None] = field(default_factory=dict)
    sources: frozenset[str] = frozenset()
    principals: frozenset[tuple[str, ...]] = frozenset()

    @classmethod
    def of(
        cls, sources: Iterable[str], principals: Iterable[tuple[str, ...]], listings: Iterable[Listing]
    ) -> TrainedOn:
        """As knowledge bases list these sources: of those that are there, who may read them is as it is there, too."""
        sources = frozenset(sources)
        told, unknown = cls({}, sources, frozenset(principals)), set(sources)
        for listing in listings:
            there = [row for row in listing if row["source"] in sources]
            unknown -= {row["source"] for row in there}
            rules = frozenset(tuple(row["access"]) for row in there)
            told |= cls({row["document"]: row["version"] for row in there}, frozenset(), rules)
        return told | cls(dict.fromkeys(sorted(unknown)))

    @classmethod
    def read(cls, folder: Path) -> TrainedOn:
        """What a folder says: nothing where nobody does, as of models from elsewhere. Raises: ModelError."""
        told = read_provenance(folder)
        if told is None:
            return cls()
        said = read_json(folder / FILE, {})
        versions = {one[0]: one[1] for one in said.get("documents") or () if isinstance(one, list) and len(one) == 2}
        sources = frozenset(name if isinstance(name, str) else name[0] for name in said.get("sources") or ())
        known = [name for name in told.documents if name in versions or name not in sources]
        return cls({name: versions.get(name) for name in known}, sources, frozenset(told.rules))

    def __or__(self, other: TrainedOn) -> TrainedOn:
        """Of both; the versions are those of this one."""
        documents = {**other.documents, **self.documents}
        return TrainedOn(documents, self.sources | other.sources, self.principals | other.principals)

    def with_documents(self, ids: Iterable[str], listing: Listing) -> TrainedOn:
        """And the documents with these ids, which those who may be answered may read anyway."""
        versions = {row["document"]: row["version"] for row in listing}
        return replace(self, documents={**{id: versions.get(id) for id in ids}, **self.documents})

    def as_json(self) -> dict[str, Any]:
        """The keys of ``trained.json`` that say it."""
        return {
            "documents": [list(one) for one in sorted(self.documents.items())],
            "sources": sorted(self.sources),
            "principals": [list(names) for names in sorted(self.principals)],
        }

    def write(self, folder: Path, **more: Any) -> None:
        """Raises: OSError."""
        told = json.dumps({**self.as_json(), **more}, indent=1, ensure_ascii=False)
        (folder / FILE).write_text(told + "\n", encoding="utf-8")
