"""The settings of a session. They are set after connecting, because PgBouncer refuses the startup parameter `options`.

Behind a pooler a session may have another server connection for each transaction, and other sessions have it in
between. So there each statement gets the settings with it, for its transaction alone. libpq knows the process number of
its server; a pooler invents one.
"""

import re
from typing import Any

import aiopg
from psycopg2.extensions import QuotedString, make_dsn, parse_dsn

PROBES = 3  # transactions of each of two connections, to find a pooler that shares sessions

_OPTION = re.compile(r"(?:-c\s*|--)([A-Za-z_][\w.-]*)=((?:\\.|[^\s\\])*)(?:\s+|$)")


def split_options(dsn: str) -> tuple[str, dict[str, str]]:
    """Returns a connection string without `options`, and the settings that stood there (`-c name=value`). Options of
    another form stay."""
    parsed = parse_dsn(dsn)
    rest = parsed.pop("options", "").strip()
    settings: dict[str, str] = {}
    while match := _OPTION.match(rest):
        settings[match[1].replace("-", "_")] = re.sub(r"\\(.)", r"\1", match[2])
        rest = rest[match.end() :]
    return (dsn, {}) if rest else (str(make_dsn(**parsed)), settings)


def session_settings(dsn: str, *, seconds: float, parallel: bool = True) -> dict[str, str]:
    """Returns the settings of a session: those of the connection string, then ours. `synchronous_commit` overrides the
    server's default: the outbox deletes its copy once a commit returns, so it must be on the server's disk. `jit`
    may be set otherwise: to compile the SQL of costs took ten seconds for a few rows, on a coordinator of Citus.
    `parallel`: whether the server may use several processes for a statement."""
    _, settings = split_options(dsn)
    limit = str(int(seconds * 1000))
    ours = {"jit": "off"} if parallel else {"jit": "off", "max_parallel_workers_per_gather": "0"}
    return {**ours, **settings, "statement_timeout": limit, "timezone": "UTC", "synchronous_commit": "on"}


async def apply_settings(connection: aiopg.Connection, settings: dict[str, str], *, seconds: float) -> str:
    """Sets the settings of a new session, and returns what each statement must begin with: nothing, or behind a pooler
    the settings of its transaction. `seconds` limits the wait."""
    async with connection.cursor(timeout=seconds) as cursor:
        if await _server_process(cursor) != connection.raw.info.backend_pid:
            return f"{_set_sql(settings, connection.raw, local=True)}; "
        await cursor.execute(_set_sql(settings, connection.raw, local=False))
    return ""


async def share_sessions(first: aiopg.Connection, second: aiopg.Connection, *, seconds: float) -> bool:
    """Whether a pooler gives two connections sessions of the server for a transaction only (PgBouncer's `pool_mode =
    transaction`): then both get the same one in turn, or one gets several. With `session` each keeps its own.
    `seconds` limits each wait."""
    processes: tuple[set[int], set[int]] = (set(), set())
    async with first.cursor(timeout=seconds) as of_first, second.cursor(timeout=seconds) as of_second:
        for _ in range(PROBES):
            for cursor, own in zip((of_first, of_second), processes, strict=True):
                own.add(await _server_process(cursor))
    return bool(processes[0] & processes[1]) or max(map(len, processes)) > 1


async def _server_process(cursor: aiopg.Cursor) -> int:
    await cursor.execute("SELECT pg_backend_pid()")
    [(process,)] = await cursor.fetchall()
    return int(process)


def _set_sql(settings: dict[str, str], connection: Any, *, local: bool) -> str:
    scope = "true" if local else "false"
    return "SELECT " + ", ".join(
        f"set_config({_quoted(name, connection)}, {_quoted(value, connection)}, {scope})"
        for name, value in settings.items()
    )


def _quoted(text: str, connection: Any) -> str:
    """Returns a constant of SQL without percent signs, which psycopg2 reads as placeholders."""
    if "%" in text:
        return f"convert_from(decode('{text.encode().hex()}', 'hex'), 'UTF8')"
    literal = QuotedString(text)
    literal.prepare(connection)
    return str(literal.getquoted().decode())
