"""`chatgpt-agent ledger`: what it holds, and the proof that it is right."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chatgpt_agent.adapters.outbox import Outbox
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.usage import ensure_partition, ship
from chatgpt_agent.core.ledger import Row, State, orphan
from tests.cli.commands import Cli
from tests.support.database import query
from tests.support.factories import make_intent, make_row, request_id


@pytest.fixture
def write(cli: Cli, dsn: str) -> Callable[..., None]:
    """Ships rows, whose price is there."""
    query(dsn, "INSERT INTO prices VALUES (7, 'gpt-4o-mini', '2024-01-01', 0.15, 0.075, 0.60, now(), 0) RETURNING 1")

    def write(*rows: Row) -> None:
        async def work() -> None:
            async with Store(dsn) as store:
                for row in rows:
                    await ensure_partition(store, row.intent.started_at)
                if rows:
                    await ship(store, rows)

        asyncio.run(work())
        asyncio.run(_this_month(dsn))

    return write


async def _this_month(dsn: str) -> None:
    async with Store(dsn) as store:
        await store.fetch("SELECT ensure_usage_partition(now()), ensure_usage_partition(now() + interval '1 month')")


def listed(cli: Cli, *words: str) -> list[Any]:
    """`ledger list` as JSON."""
    found: list[Any] = json.loads(cli.ok("ledger", "list", "--format", "json", *words))
    return found


def found(cli: Cli) -> list[tuple[str, str]]:
    """What `ledger verify` finds: check and subject."""
    result = cli.run("ledger", "verify", "--json")
    assert result.exit_code == 1
    return [(line["check"], line["subject"]) for line in json.loads(result.stdout)]


def test_status_counts_rows_by_state(cli: Cli, write: Callable[..., None]) -> None:
    """With what each state has cost."""
    write(make_row(1), make_row(2), orphan(make_intent(3)))
    status = json.loads(cli.ok("ledger", "status", "--json"))
    assert [(line["state"], line["rows"]) for line in status["rows"]] == [("done", 2), ("unknown", 1)]


def test_status_shows_what_waits_in_the_outbox(cli: Cli, write: Callable[..., None]) -> None:
    """Rows and requests under way, and the age of the oldest."""

    async def fill() -> None:
        outbox = Outbox(Path(cli.settings["DATA_DIR"]))
        await outbox.open()
        for number in (1, 2, 3):
            await outbox.add_intent(make_intent(number))
        await outbox.settle(make_row(1))
        await outbox.close()

    write()
    asyncio.run(fill())
    assert cli.ok("ledger", "status").startswith("Outbox: 1 rows to ship, 2 requests in flight; the oldest began ")


def test_list_shows_the_newest_first(cli: Cli, write: Callable[..., None]) -> None:
    """By the id that the client has."""
    write(make_row(1), make_row(2), make_row(3))
    assert [row["request_id"] for row in listed(cli, "--limit", "2")] == [str(request_id(3)), str(request_id(2))]


def test_list_can_be_narrowed_to_states(cli: Cli, write: Callable[..., None]) -> None:
    """To any of those that are named."""
    write(make_row(1), make_row(2, state=State.INCOMPLETE), orphan(make_intent(3)))
    rows = listed(cli, "--state", "unknown", "--state", "incomplete")
    assert [row["state"] for row in rows] == ["unknown", "incomplete"]


def test_list_can_begin_at_a_moment(cli: Cli, write: Callable[..., None]) -> None:
    """In UTC."""
    write(make_row(1), make_row(100))
    rows = listed(cli, "--since", "2024-05-17T12:01:00")
    assert [row["request_id"] for row in rows] == [str(request_id(100))]


def test_list_has_a_csv(cli: Cli, write: Callable[..., None]) -> None:
    """With every column."""
    write(make_row(1))
    head, line = cli.ok("ledger", "list", "--format", "csv").splitlines()
    assert head.startswith("request_id,started_at,user,")
    assert line.startswith(f"{request_id(1)},2024-05-17 12:00:01,user 2,")


def test_verify_finds_nothing_in_books_that_are_right(cli: Cli, write: Callable[..., None]) -> None:
    """Exit code 0."""
    write(make_row(1), make_row(2), orphan(make_intent(3)))
    assert cli.ok("ledger", "verify") == "The ledger is consistent.\n"


DAMAGES = {
    "roll-up": "UPDATE usage_daily SET cost = cost + 0.0000000001",
    "price": "DELETE FROM prices",
    "cost": "UPDATE usage SET cost = cost + 0.0000000001",
    "tokens": "UPDATE usage SET output_tokens = NULL, cost = 0",
    "dead letter": f"INSERT INTO dead_letters VALUES ('{request_id(1)}', '{{}}', 'refused', now())",
    "outbox": "INSERT INTO agents VALUES (gen_random_uuid(), now(), NULL, 5, now() - interval '1 hour')",
}


@pytest.mark.parametrize("check", DAMAGES)
def test_verify_finds_damage(cli: Cli, write: Callable[..., None], dsn: str, check: str) -> None:
    """Each kind by its own check, to the last digit."""
    write(make_row(1))
    query(dsn, "ALTER TABLE usage DISABLE TRIGGER usage_is_final; SELECT 1")
    query(dsn, f"{DAMAGES[check]} RETURNING 1")
    assert check in [name for name, _ in found(cli)]


def test_verify_names_the_request(cli: Cli, write: Callable[..., None], dsn: str) -> None:
    """By its id, where it is about one."""
    write(make_row(1), make_row(2))
    query(dsn, "ALTER TABLE usage DISABLE TRIGGER usage_is_final; SELECT 1")
    query(dsn, f"UPDATE usage SET cost = cost + 1 WHERE request_id = '{request_id(2)}' RETURNING 1")
    assert ("cost", str(request_id(2))) in found(cli)


def test_verify_finds_a_month_without_a_partition(cli: Cli) -> None:
    """Of now and of next month."""
    assert [name for name, _ in found(cli)] == ["partition", "partition"]


def test_a_row_cannot_be_changed(write: Callable[..., None], dsn: str) -> None:
    """Not even by who writes SQL: the database refuses."""
    write(make_row(1))
    with pytest.raises(Exception, match="rows of usage are immutable"):
        query(dsn, "UPDATE usage SET cost = 0 RETURNING 1")
