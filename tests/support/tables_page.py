"""docs/tables.md: the columns of each table are read from PostgreSQL, their meanings are written in the page."""

import re
from collections import defaultdict
from collections.abc import Iterator

from tests.support.database import query

SHAPE = """
    SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
           coalesce(a.attnum = ANY (k.conkey), false),
           (SELECT confrelid::regclass::text FROM pg_constraint
            WHERE conrelid = c.oid AND contype = 'f' AND a.attnum = ANY (conkey) LIMIT 1)
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_constraint k ON k.conrelid = c.oid AND k.contype = 'p'
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
      AND c.relname !~ 'yoyo'
    ORDER BY c.relname, a.attnum"""
HEAD = "| Column | Type | Meaning |\n|---|---|---|\n"
TABLE = re.compile(rf"{re.escape(HEAD)}((?:\|.*\n)*)")
ROW = re.compile(r"^\| `(\w+)` \| .*? \| (.*) \|$", re.MULTILINE)


def columns(dsn: str) -> dict[str, list[tuple[str, str]]]:
    """Returns name and type of each column, by table. The type says what else the column is: "key", "or null"."""
    tables = defaultdict(list)
    for table, name, kind, not_null, is_key, target in query(dsn, SHAPE):
        short = kind.replace("timestamp with time zone", "timestamptz")
        more = [", key" if is_key else "" if not_null else " or null", f", of [{target}](#{target})" if target else ""]
        tables[table].append((name, f"{short}{''.join(more)}"))
    return dict(tables)


def current(page: str, tables: dict[str, list[tuple[str, str]]]) -> str:
    """Returns the page with the columns of these tables. A new column has no meaning, a new table no description."""
    intro, *sections = re.split(r"^## (?=\w)", page, flags=re.MULTILINE)
    names = [section.partition("\n")[0] for section in sections]
    written = dict(zip(names, sections, strict=True))
    order = [name for name in names if name in tables] + [name for name in tables if name not in names]
    return "## ".join(
        [intro, *(_section(name, written.get(name, f"{name}\n\n{HEAD}"), tables[name]) for name in order)]
    )


def _section(name: str, text: str, rows: list[tuple[str, str]]) -> str:
    meanings = dict(ROW.findall(text))
    lines = "".join(f"| `{column}` | {kind} | {meanings.get(column, '')} |\n" for column, kind in rows)
    return TABLE.sub(lambda _: HEAD + lines, text, count=1)


def without_meaning(page: str) -> Iterator[str]:
    """Yields the columns that the page does not explain."""
    return (name for name, meaning in ROW.findall(page) if not meaning.strip())
