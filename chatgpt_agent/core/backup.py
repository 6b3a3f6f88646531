"""What a backup says about itself, and when it may be restored.

A backup is a tar file: members with these names, and a manifest behind them.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal

import msgspec

FORMAT = 1
DATABASE = "database.dump"  # pg_dump's custom format
OUTBOX = "outbox.db"
SETTINGS = "configuration.json"
MASTER_KEY = "master-key.json"  # encrypted
MANIFEST = "manifest.json"
MANIFEST_SUM = "manifest.sha256"
MEMBERS = (DATABASE, OUTBOX, SETTINGS, MASTER_KEY)


class TableSum(msgspec.Struct, frozen=True):
    """The rows of a table: how many they are, and the sum of their MD5 digests, shortened to 60 bits."""

    rows: int
    checksum: str


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """What a database holds, at one moment. `server`: the major version of PostgreSQL; `schema`: the schema of the
    tables; `migrations`: those that are applied; `ledger_id`: the id that copies of a database share; `cost`: of all
    rows of the ledger, in USD. `ledger_id`, `cost`: None for a schema that has none."""

    server: int
    schema: str
    migrations: list[str]
    ledger_id: str | None
    tables: dict[str, TableSum]
    cost: Decimal | None

    @property
    def requests(self) -> int:
        """The number of rows of the ledger."""
        usage = self.tables.get("usage")
        return usage.rows if usage else 0

    @property
    def archives(self) -> int:
        """The number of archived months, whose rows are in files outside of the database."""
        archives = self.tables.get("archived_months")
        return archives.rows if archives else 0


class OutboxSums(msgspec.Struct, frozen=True, kw_only=True):
    """An outbox: requests in progress, rows to be shipped, the id of its agent."""

    intents: int
    rows: int
    agent_id: str | None


class Member(msgspec.Struct, frozen=True):
    """A member of the file: its size in bytes, and its SHA-256 in hexadecimal digits."""

    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The manifest. `at`: what was in the ledger or in the outbox before this moment is in the backup; `program`: the
    version of chatgpt-agent, `pg_dump`: that of the program which wrote the dump."""

    format: int
    program: str
    pg_dump: str
    host: str
    at: datetime
    contents: Contents
    outbox: OutboxSums | None
    members: dict[str, Member]

    @property
    def with_key(self) -> bool:
        """Whether the backup has the master key."""
        return MASTER_KEY in self.members


def newer_migrations(manifest: Manifest, own: Sequence[str]) -> list[str]:
    """Returns the migrations of a backup that are not among this program's own."""
    return sorted(set(manifest.contents.migrations) - set(own))


def differences(expected: Mapping[str, TableSum], actual: Mapping[str, TableSum]) -> list[str]:
    """Returns how tables differ from those that are expected, one sentence for each."""
    return [
        _difference(name, expected.get(name), actual.get(name))
        for name in sorted({*expected, *actual})
        if expected.get(name) != actual.get(name)
    ]


def _difference(name: str, expected: TableSum | None, actual: TableSum | None) -> str:
    if expected is None or actual is None:
        return f"the table {name} is {'unexpected' if expected is None else 'missing'}"
    if expected.rows != actual.rows:
        return f"the table {name} has {actual.rows} rows instead of {expected.rows}"
    return f"the rows of the table {name} differ"
