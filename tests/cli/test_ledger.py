"""`chatgpt-agent ledger`: what it holds, and the checks that prove it consistent."""

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from chatgpt_agent.adapters.outbox import Outbox
from chatgpt_agent.core.ledger import Row, State, orphan
from tests.support.commands import Cli
from tests.support.database import allow_edits, query
from tests.support.factories import NOON, make_intent, make_row, request_id
from tests.support.ledger_rows import ship_rows

Write = Callable[..., None]


@pytest.fixture
def write(cli: Cli, dsn: str) -> Write:
    """Ships rows, whose price exists, and makes the partitions of this month and the next."""
    query(dsn, "INSERT INTO prices VALUES (7, 'gpt-6-luna', '2024-01-01', 0.15, 0.075, 0.60, now(), 0) RETURNING 1")

    def write(*rows: Row) -> None:
        ship_rows(dsn, rows)
        query(dsn, "SELECT ensure_usage_partition(now()), ensure_usage_partition(now() + interval '1 month')")

    return write


def list_rows(cli: Cli, *options: str) -> list[Any]:
    """The rows of `ledger list --format json`."""
    rows: list[Any] = json.loads(cli.ok("ledger", "list", "--format", "json", *options))
    return rows


def findings(cli: Cli) -> list[tuple[str, str]]:
    """The check and the subject of each finding of `ledger verify`, which exits with 1."""
    result = cli.run("ledger", "verify", "--json")
    assert result.exit_code == 1
    return [(finding["check"], finding["subject"]) for finding in json.loads(result.stdout)]


# Status.


def test_status_counts_rows_by_state(cli: Cli, write: Write) -> None:
    """Each state has its number of rows."""
    write(make_row(1), make_row(2), orphan(make_intent(3)))
    status = json.loads(cli.ok("ledger", "status", "--json"))
    assert [(row["state"], row["rows"]) for row in status["rows"]] == [("done", 2), ("unknown", 1)]


def test_status_shows_uncertain_cost_by_reason(cli: Cli, write: Write) -> None:
    """A row without a reason counts by its state."""
    write(make_row(1), orphan(make_intent(2, max_cost=Decimal("0.5"))), orphan(make_intent(3, max_cost=Decimal(2))))
    expected = [{"reason": "unknown", "rows": 2, "uncertain_cost": "2.5"}]
    assert json.loads(cli.ok("ledger", "status", "--json"))["uncertain"] == expected
    assert cli.ok("ledger", "status").count("at most usd more") == 1
    assert json.loads(cli.ok("ledger", "status", "--json", "--since", "2999-01-01"))["uncertain"] == []


def test_status_shows_the_backlog_of_the_outbox(cli: Cli, write: Write) -> None:
    """The first line has the rows to ship, the requests in progress, and the age of the oldest row."""

    async def fill() -> None:
        outbox = Outbox(Path(cli.settings["DATA_DIR"]))
        await outbox.open()
        for number in (1, 2, 3):
            await outbox.add_intent(make_intent(number))
        await outbox.settle(make_row(1))
        await outbox.close()

    write()
    asyncio.run(fill())
    assert cli.ok("ledger", "status").startswith("Outbox: 1 rows to ship, 2 requests in progress; the oldest began ")


def test_verify_compares_the_ledger_with_the_outbox(cli: Cli, write: Write, dsn: str) -> None:
    """After a fail-over or a restore, the ledger has fewer rows of an agent than that has shipped."""

    async def fill() -> None:
        outbox = Outbox(Path(cli.settings["DATA_DIR"]))
        await outbox.open()
        for number in (1, 2, 3):
            await outbox.add_intent(make_intent(number))
            await outbox.settle(make_row(number))
        await outbox.adopt(query(dsn, "SELECT id FROM ledger")[0][0])
        await outbox.ack(3)
        id_ = str(await outbox.identity())
        await outbox.close()
        query(dsn, "INSERT INTO agents (id, seen_at, backlog, shipped_rows) VALUES (%s, now(), 0, 2)", [id_])

    write(make_row(1), make_row(2))
    asyncio.run(fill())
    [(check, _)] = findings(cli)
    assert check == "shipped rows"
    query(dsn, "UPDATE agents SET shipped_rows = 3, lost_rows = 1")
    [(check, _)] = findings(cli)
    assert check == "lost rows"


# Rows.


def test_list_shows_the_newest_first(cli: Cli, write: Write) -> None:
    """Rows have the request id that the client got."""
    write(make_row(1), make_row(2), make_row(3))
    assert [row["request_id"] for row in list_rows(cli, "--limit", "2")] == [str(request_id(3)), str(request_id(2))]


def test_list_can_be_limited_to_states(cli: Cli, write: Write) -> None:
    """Repeated, `--state` chooses the rows in any of the states."""
    write(make_row(1), make_row(2, state=State.INCOMPLETE), orphan(make_intent(3)))
    rows = list_rows(cli, "--state", "unknown", "--state", "incomplete")
    assert [row["state"] for row in rows] == ["unknown", "incomplete"]


@pytest.mark.parametrize(("option", "number"), [("--since", 100), ("--until", 1)])
def test_list_can_be_limited_to_a_time(cli: Cli, write: Write, option: str, number: int) -> None:
    """The times are in UTC."""
    write(make_row(1), make_row(100))
    rows = list_rows(cli, option, f"{NOON + timedelta(minutes=1):%Y-%m-%dT%H:%M:%S}")
    assert [row["request_id"] for row in rows] == [str(request_id(number))]


def test_list_can_be_limited_to_a_user(cli: Cli, write: Write) -> None:
    """Rows of other users are left out."""
    cli.add_user("alice")
    write(make_row(1, user_id=1), make_row(2, user_id=2))
    assert [row["user"] for row in list_rows(cli, "--user", "alice")] == ["alice"]


def test_list_as_json_has_exact_values(cli: Cli, write: Write) -> None:
    """Times are RFC 3339 in UTC, amounts text in plain notation."""
    write(make_row(1))
    [row] = list_rows(cli)
    assert (row["started_at"], row["cost"], row["uncertain_cost"]) == ("2024-05-17T12:00:01Z", "0.000162675", "0")


def test_list_as_csv_has_every_column(cli: Cli, write: Write) -> None:
    """The headings are the names of the fields."""
    write(make_row(1))
    headers, line = cli.ok("ledger", "list", "--format", "csv").splitlines()
    assert headers.startswith("request_id,started_at,user,")
    assert line.startswith(f"{request_id(1)},2024-05-17 12:00:01,user 2,")


# Checks.


def test_verify_of_a_consistent_ledger_finds_nothing(cli: Cli, write: Write) -> None:
    """It prints one line and exits with 0."""
    write(make_row(1), make_row(2), orphan(make_intent(3)))
    assert cli.ok("ledger", "verify") == "The ledger is consistent.\n"


DAMAGES = {
    "daily sums": "UPDATE usage_daily SET cost = cost + 0.0000000001",
    "price": "DELETE FROM prices",
    "cost": "UPDATE usage SET cost = cost + 0.0000000001",
    "tokens": "UPDATE usage SET output_tokens = NULL, cost = 0",
    "dead letter": f"INSERT INTO dead_letters VALUES ('{request_id(1)}', '{{}}', 'refused', now())",
    "outbox": "INSERT INTO agents VALUES (gen_random_uuid(), now(), NULL, 5, now() - interval '1 hour')",
}


@pytest.mark.parametrize("check", DAMAGES)
def test_verify_finds_damage(cli: Cli, write: Write, dsn: str, check: str) -> None:
    """Each kind of damage is found by its own check, to the last digit."""
    write(make_row(1))
    allow_edits(dsn)
    query(dsn, f"{DAMAGES[check]} RETURNING 1")
    assert check in [name for name, _ in findings(cli)]


def test_verify_names_the_request(cli: Cli, write: Write, dsn: str) -> None:
    """The subject of a finding about a row is its request id."""
    write(make_row(1), make_row(2))
    allow_edits(dsn)
    query(dsn, f"UPDATE usage SET cost = cost + 1 WHERE request_id = '{request_id(2)}' RETURNING 1")
    assert ("cost", str(request_id(2))) in findings(cli)


def test_verify_finds_a_month_without_a_partition(cli: Cli) -> None:
    """This month and the next one need a partition."""
    assert [name for name, _ in findings(cli)] == ["partition", "partition"]


def test_database_refuses_to_change_a_row(write: Write, dsn: str) -> None:
    """SQL that updates a row of usage fails."""
    write(make_row(1))
    with pytest.raises(Exception, match="rows of usage are immutable"):
        query(dsn, "UPDATE usage SET cost = 0 RETURNING 1")
