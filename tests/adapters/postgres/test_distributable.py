"""What a distributed ledger needs of schema and SQL, as far as one PostgreSQL can tell. tests/support/citus.py runs the
tests of the ledger on a cluster."""

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from chatgpt_agent.adapters import postgres
from chatgpt_agent.adapters.distribution import DISTRIBUTED
from tests.support import citus
from tests.support.database import query

_NAMES = (module.name for module in pkgutil.iter_modules(postgres.__path__))
MODULES = [importlib.import_module(f"{postgres.__name__}.{name}") for name in _NAMES]
ON = re.compile(r"JOIN usage (\w+)\s+ON (.*?)(?=\bJOIN\b|\bLEFT\b|\bWHERE\b|\bORDER BY\b|\Z)", re.DOTALL)


def _texts(module: ModuleType) -> Iterator[str]:
    """The strings of a module. In f-strings, names of the module have their values, other expressions are left out."""
    assert module.__file__
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    nodes = list(ast.walk(tree))
    parts = {id(value) for node in nodes if isinstance(node, ast.JoinedStr) for value in node.values}
    for node in nodes:
        if isinstance(node, ast.JoinedStr):
            yield "".join(_part(value, module) for value in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            yield node.value


def _part(node: ast.expr, module: ModuleType) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    name = node.value.id if isinstance(node, ast.FormattedValue) and isinstance(node.value, ast.Name) else ""
    return str(getattr(module, name, "…"))


def _returning(text: str) -> Iterator[str]:
    """What stands behind RETURNING of rows of a distributed table, to the end of its statement."""
    for match in re.finditer(rf"INSERT INTO ({'|'.join(DISTRIBUTED)})\b[^;]*?\bRETURNING\b", text):
        depth, end = 0, match.end()
        while end < len(text) and depth >= 0:
            depth += {"(": 1, ")": -1}.get(text[end], 0)
            end += 1
        yield text[match.end() : end]


SQL = sorted({text for module in MODULES for text in _texts(module) if re.search(r"\b(SELECT|RETURNING|JOIN)\b", text)})


def test_statements_are_read() -> None:
    """The statement that ships rows is among them, with the columns that it returns."""
    assert any("INSERT INTO usage" in text and "RETURNING started_at, user_id" in text for text in SQL)
    assert sum(len(ON.findall(text)) for text in SQL) > 3


def test_unique_indexes_of_distributed_tables_have_the_user(dsn: str) -> None:
    """A server can only refuse what it would see twice itself."""
    sql = """
        SELECT i.indexrelid::regclass::text FROM pg_index i
        WHERE i.indrelid = ANY(%s::text[]::regclass[]) AND i.indisunique AND NOT EXISTS (
            SELECT FROM pg_attribute a
            WHERE a.attrelid = i.indrelid AND a.attname = 'user_id' AND a.attnum = ANY(i.indkey))"""
    assert query(dsn, sql, [list(DISTRIBUTED)]) == []


def test_distributed_tables_have_no_foreign_keys(dsn: str) -> None:
    """The tables of the coordinator are not on the other servers."""
    sql = "SELECT conname FROM pg_constraint WHERE contype = 'f' AND (conrelid = ANY(%s) OR confrelid = ANY(%s))"
    tables = [list(DISTRIBUTED)] * 2
    assert query(dsn, sql.replace("%s", "%s::text[]::regclass[]"), tables) == []


def test_returned_columns_need_no_other_table() -> None:
    """RETURNING is computed on the server of a row, which has no settings, prices or users."""
    assert [text for statement in SQL for text in _returning(statement) if re.search(r"\bSELECT\b", text)] == []


def test_joined_rows_of_the_ledger_have_one_user() -> None:
    """A row and its correction are on one server: the join says so."""
    conditions = [condition for text in SQL for _, condition in ON.findall(text)]
    assert [condition for condition in conditions if "user_id" not in condition] == []


@pytest.mark.skipif(citus.URL is not None, reason="a distributed ledger has no such trigger")
def test_a_correction_by_hand_is_audited(dsn: str) -> None:
    """On one PostgreSQL by a trigger, which the program's own corrections do not need."""
    query(dsn, "SELECT ensure_usage_partition(now())")
    sql = """
        INSERT INTO usage (request_id, user_id, token_id, endpoint, model, cost, state, client_closed, streamed,
                           started_at, corrects, reason)
        VALUES (gen_random_uuid(), 1, 1, '', 'm', 1, 'correction', false, false, now(), gen_random_uuid(), 'by hand')"""
    query(dsn, sql)
    assert query(dsn, "SELECT via, object, after ->> 'reason' FROM audit_log") == [("sql", "usage", "by hand")]
