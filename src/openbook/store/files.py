"""Where documents came from: roots, added under which rules, and what each of their files looked like when it was read.

Roots may overlap, and each numbers the files that it holds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from openbook.errors import StoreError
from openbook.store.access import normal
from openbook.store.database import Connection, Database
from openbook.store.locks import share_indexes


@dataclass(frozen=True, slots=True)
class FileState:
    """What a file looked like when it was read; ``options`` hashes what else decided the reading."""

    path: str
    size: int
    mtime_ns: int
    inode: int
    options: str


class Files:
    """The roots and files of one knowledge base."""

    def __init__(self, database: Database, kb: int) -> None:
        self.database = database
        self.kb = kb

    def root(self, path: str, rules: str, access: Sequence[str] | None, local_only: bool | None = None) -> int:
        """The number of a root that is added under these rules; ``access`` and ``local_only``, where they are said, are
        remembered for what will be new in it."""
        with self.database.transaction() as connection:
            connection.execute(
                "INSERT INTO openbook.root (kb, path, rules) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
                [self.kb, path, rules],
            )
            row = connection.execute(
                "SELECT id FROM openbook.root WHERE kb = %s AND path = %s AND rules = %s", [self.kb, path, rules]
            ).fetchone()
            if access is not None:
                # It holds for everything in there: an older rule of a folder inside would go on to open what is new.
                connection.execute(
                    "UPDATE openbook.root SET access = %s WHERE kb = %s"
                    " AND (path = %s OR (access IS NOT NULL AND starts_with(path, %s)))",
                    [list(normal(access)), self.kb, path, path.rstrip("/") + "/"],
                )
            if local_only is not None:
                connection.execute(
                    "UPDATE openbook.root SET local_only = %s WHERE kb = %s"
                    " AND (path = %s OR (local_only IS NOT NULL AND starts_with(path, %s)))",
                    [local_only, self.kb, path, path.rstrip("/") + "/"],
                )
        assert row is not None
        return int(row[0])

    def access_rules(self) -> dict[str, tuple[str, ...]]:
        """URI of a root → the access that was last said for it."""
        with self.database.transaction() as connection:
            rows = connection.execute(
                "SELECT path, access FROM openbook.root WHERE kb = %s AND access IS NOT NULL", [self.kb]
            ).fetchall()
        return {path: tuple(access) for path, access in rows}

    def local_rules(self) -> dict[str, bool]:
        """URI of a root → whether it was last said to be local-only."""
        with self.database.transaction() as connection:
            rows = connection.execute(
                "SELECT path, local_only FROM openbook.root WHERE kb = %s AND local_only IS NOT NULL", [self.kb]
            ).fetchall()
        return dict(rows)

    def known(self, root: int, at: Collection[str] | None = None) -> dict[str, tuple[int, FileState]]:
        """path → (number, state when it was last read whole), of one root: of all, or of those that are, or are below,
        the paths ``at`` which it is looked."""
        some = (
            ""
            if at is None
            # A range for each path, so that each is looked for in the index: a root may hold very many files.
            else " AND id IN (SELECT below.id FROM unnest(%s::text[]) at CROSS JOIN LATERAL ("
            " SELECT id FROM openbook.file WHERE root = %s AND path = at UNION ALL"
            " SELECT id FROM openbook.file WHERE root = %s AND path > at || '/' AND path < at || '0') below)"
        )
        with self.database.transaction() as connection:
            rows = connection.execute(
                "SELECT id, path, size, mtime_ns, inode::text, options FROM openbook.file WHERE root = %s" + some,
                [root] if at is None else [root, list(at), root, root],
            ).fetchall()
        return {
            path: (id, FileState(path, size, mtime, int(inode), options))
            for id, path, size, mtime, inode, options in rows
        }

    def number(self, root: int, path: str) -> int:
        """The number of a file, made if it is new; it counts as unread until ``finish``."""
        with self.database.transaction() as connection:
            share_indexes(connection, self.kb)
            connection.execute(
                "INSERT INTO openbook.file (root, path, size, mtime_ns, inode, options)"
                " SELECT id, %s, -1, 0, 0, '' FROM openbook.root WHERE id = %s ON CONFLICT DO NOTHING",
                [path, root],
            )
            row = connection.execute(
                "SELECT id FROM openbook.file WHERE root = %s AND path = %s", [root, path]
            ).fetchone()
        if row is None:
            raise StoreError("its folder was forgotten while it was being added", where=path, do="run it again")
        return int(row[0])

    def unname(self, files: Iterable[int]) -> None:
        """Keep no path of files that no document came from, nor of a root that is one of them."""
        if not (numbers := sorted(files)):
            return
        with self.database.transaction() as connection:
            share_indexes(connection, self.kb)
            connection.execute(
                "WITH gone AS (DELETE FROM openbook.file f WHERE f.id = ANY(%s)"
                "  AND NOT EXISTS (SELECT FROM openbook.document d WHERE d.file = f.id) RETURNING f.root, f.path)"
                " DELETE FROM openbook.root r USING gone WHERE r.id = gone.root AND r.path = gone.path",
                [numbers],
            )

    def paths(self, files: Iterable[int | None]) -> dict[int | None, str]:
        """The URI of each of these files."""
        numbers = [number for number in files if number is not None]
        if not numbers:
            return {}
        with self.database.transaction() as connection:
            rows = connection.execute("SELECT id, path FROM openbook.file WHERE id = ANY(%s)", [numbers]).fetchall()
        return dict(rows)

    def held(self, files: Sequence[int]) -> dict[str, str]:
        """id → source of the documents that came from these files, by whichever root, and are there."""
        with self.database.transaction() as connection:
            rows = connection.execute(
                "SELECT id::text, source FROM openbook.document WHERE removed IS NULL AND file = ANY(%s)",
                [self.same(connection, files)],
            ).fetchall()
        return dict(rows)

    # --- inside the caller's transaction ------------------------------------------------------------------------------

    def same(self, connection: Connection, files: Sequence[int]) -> list[int]:
        """Every number of these files, in order: roots may overlap, and each numbers what it holds."""
        rows = connection.execute(
            "SELECT DISTINCT other.id FROM openbook.file f JOIN openbook.root r ON r.kb = %s"
            " JOIN openbook.file other ON other.root = r.id AND other.path = f.path WHERE f.id = ANY(%s) ORDER BY 1",
            [self.kb, list(files)],
        ).fetchall()
        return [row[0] for row in rows]

    @staticmethod
    def unread(connection: Connection, files: Sequence[int]) -> None:
        """The next add reads them again."""
        if files:
            connection.execute("UPDATE openbook.file SET size = -1 WHERE id = ANY(%s)", [list(files)])

    @staticmethod
    def finish(connection: Connection, files: Iterable[tuple[int, FileState]]) -> None:
        """They were read whole, in this state."""
        with connection.cursor() as cursor:
            cursor.executemany(
                "UPDATE openbook.file SET size = %s, mtime_ns = %s, inode = %s, options = %s WHERE id = %s",
                [(s.size, s.mtime_ns, s.inode, s.options, id) for id, s in sorted(files, key=lambda file: file[0])],
            )

    @staticmethod
    def gone(connection: Connection, files: Iterable[int | None]) -> set[int]:
        """Those whose only document was forgotten meanwhile: they have no number any more, and the next add gives them
        another. The others keep theirs until this transaction ends."""
        numbers = sorted({number for number in files if number is not None})
        if not numbers:
            return set()
        rows = connection.execute(
            "SELECT id FROM openbook.file WHERE id = ANY(%s) ORDER BY id FOR KEY SHARE", [numbers]
        ).fetchall()
        return {*numbers} - {id for (id,) in rows}
