"""The format of the outbox file: its records, and files of an earlier version."""

import sqlite3
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_type_hints
from uuid import UUID

import msgspec
import pytest

from chatgpt_agent.adapters.outbox import Outbox
from chatgpt_agent.adapters.outbox_format import FORMAT
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.usage import ensure_partition, ship
from chatgpt_agent.core.errors import SetupError
from chatgpt_agent.core.ledger import Intent, Row, State
from chatgpt_agent.core.usage import Usage
from tests.support.database import query
from tests.support.factories import make_intent, make_row, request_id

INTENT_1 = """{"request_id":"018f4df7-3e01-7000-8000-000000000001","user_id":2,"token_id":11,
"endpoint":"/v1/chat/completions","model":"gpt-6-sol","price_id":7,"streamed":false,"started_at":"2024-05-17T12:00:01Z",
"reserved":"1.25"}"""
ROW_1 = """{"intent":{"request_id":"018f4df7-3e02-7000-8000-000000000002","user_id":3,"token_id":11,
"endpoint":"/v1/chat/completions","model":"gpt-6-luna","price_id":7,"streamed":true,
"started_at":"2024-05-17T12:00:02Z","reserved":"0.5"},"state":"done","price_id":7,"cost":"0.000163350",
"usage":{"input":1002,"output":22,"cached":2,"reasoning":2,"cache_write":0,"audio_input":0,"image_input":0,
"audio_output":0,"image_output":0},"served_model":"gpt-6-luna-2026-09-15","upstream_id":"chatcmpl-2",
"upstream_request_id":"req_2","status":200,"client_closed":false,"error":null,"duration_ms":1202,"first_byte_ms":300,
"service_tier":null,"reserved":"0.25"}"""


@pytest.fixture
def format_1(tmp_path: Path) -> Path:
    """The folder of an outbox in format 1, with one intent and one row."""
    db = sqlite3.connect(tmp_path / "outbox.db")
    db.executescript("""
        CREATE TABLE intents (request_id TEXT PRIMARY KEY, record BLOB NOT NULL) WITHOUT ROWID;
        CREATE TABLE rows (seq INTEGER PRIMARY KEY AUTOINCREMENT, record BLOB NOT NULL);
        CREATE TABLE identity (one INTEGER PRIMARY KEY CHECK (one = 1), id TEXT NOT NULL);
        PRAGMA user_version = 1""")
    db.execute("INSERT INTO intents VALUES (?, ?)", (str(request_id(1)), INTENT_1.encode()))
    db.execute("INSERT INTO rows (record) VALUES (?)", (ROW_1.encode(),))
    db.commit()
    db.close()
    return tmp_path


async def test_records_of_format_1_are_read_in_full(format_1: Path) -> None:
    """An upgraded file returns the intents and rows that the earlier version wrote."""
    outbox = Outbox(format_1)
    await outbox.open()
    expected = msgspec.structs.replace(make_row(2, max_cost=Decimal("0.5")), uncertain_cost=Decimal("0.25"))
    assert await outbox.intents() == [make_intent(1, max_cost=Decimal("1.25"))]
    assert (await outbox.peek_batch(10))[1] == [expected]
    await outbox.close()


async def test_rows_of_format_1_are_shipped(format_1: Path, dsn: str) -> None:
    """A row that waited for PostgreSQL during an upgrade reaches the ledger unchanged."""
    outbox = Outbox(format_1)
    await outbox.open()
    _, rows = await outbox.peek_batch(10)
    async with Store(dsn) as store:
        await ensure_partition(store, rows[0].intent.started_at)
        assert await ship(store, rows) == 1
    sql = "SELECT request_id::text, input_tokens, cost, uncertain_cost FROM usage"
    assert query(dsn, sql) == [(str(request_id(2)), 1002, Decimal("0.000163350"), Decimal("0.25"))]
    await outbox.close()


async def test_an_upgraded_file_keeps_its_format(format_1: Path) -> None:
    """A file is upgraded once, and an earlier version refuses it afterwards."""
    for _ in range(2):
        outbox = Outbox(format_1)
        await outbox.open()
        assert await outbox.depth() == 1
        await outbox.close()
    db = sqlite3.connect(format_1 / "outbox.db")
    assert db.execute("PRAGMA user_version").fetchone() == (FORMAT,)
    db.close()


@pytest.mark.parametrize("number", [4, 99])
async def test_a_file_of_an_unknown_format_is_refused(format_1: Path, number: int) -> None:
    """The error names the file's format and the one that this program knows."""
    _execute(format_1 / "outbox.db", f"PRAGMA user_version = {number}")
    with pytest.raises(SetupError, match=rf"outbox\.db cannot be used: it has format {number}, .* knows format 3"):
        await Outbox(format_1).open()


@pytest.mark.parametrize("record", [Intent, Row, Usage])
def test_a_record_has_no_free_text(record: type[msgspec.Struct]) -> None:
    """The only texts in a record are names, ids and codes of our own."""
    harmless = {int, bool, Decimal, datetime, UUID, State, Intent, Usage, tuple[int, ...], type(None)}
    others = {name for name, kind in get_type_hints(record).items() if not harmless.issuperset(_kinds(kind))}
    names = {"endpoint", "model", "image_model", "served_model", "service_tier", "upstream_id", "upstream_request_id"}
    assert others <= names | {"error", "uncertain_reason"}


def _kinds(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if isinstance(kind, UnionType) else (kind,)


def _execute(path: Path, sql: str) -> None:
    db = sqlite3.connect(path)
    db.execute(sql)
    db.close()
