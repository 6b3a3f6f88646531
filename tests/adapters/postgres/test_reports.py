"""Reports from a real database."""

from datetime import date, timedelta
from decimal import Decimal

import pytest
from tornado.ioloop import IOLoop

from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.reports import UsageFilter, UsageGroup, usage_report
from chatgpt_agent.adapters.postgres.usage import ensure_partition, ship
from chatgpt_agent.core.ledger import State
from tests.adapters.postgres.records import add_user
from tests.support.factories import NOON, make_row


@pytest.fixture
def used(io_loop: IOLoop, store: Store) -> Store:
    """A database with usage of two days, two users and two models: rows 1 to 12, of users 1 to 3, and an incomplete
    one."""

    async def fill() -> None:
        await add_user(store, "alice", 1)
        await add_user(store, "bob", 2)
        await ensure_partition(store, NOON)
        days = [NOON + timedelta(days=n // 7) for n in range(1, 13)]
        await ship(store, [make_row(n, started_at=day) for n, day in enumerate(days, 1)])
        await ship(store, [make_row(13, state=State.INCOMPLETE, started_at=NOON)])

    io_loop.run_sync(fill)
    return store


def summed(*numbers: int) -> tuple[int, Decimal]:
    """The number and cost of the rows with these numbers."""
    return len(numbers), sum((make_row(n).cost for n in numbers), Decimal(0))


def by_group(lines: list[UsageGroup]) -> dict[tuple[str, ...], tuple[int, Decimal]]:
    """The number and cost of requests in each group."""
    return {line.group: (line.requests, line.cost) for line in lines}


async def test_a_report_by_user(used: Store) -> None:
    """A deleted user is named by id."""
    assert by_group(await usage_report(used, ["user"])) == {
        ("alice",): summed(3, 6, 9, 12),
        ("bob",): summed(1, 4, 7, 10, 13),
        ("user 3",): summed(2, 5, 8, 11),
    }


async def test_a_report_by_model(used: Store) -> None:
    """The groups are the requested models."""
    odd, even = summed(1, 3, 5, 7, 9, 11, 13), summed(2, 4, 6, 8, 10, 12)
    assert by_group(await usage_report(used, ["model"])) == {("gpt-6-sol",): odd, ("gpt-6-luna",): even}


async def test_a_report_by_day_and_month(used: Store) -> None:
    """Days and months are those of the time zone, here UTC."""
    assert list(by_group(await usage_report(used, ["day"]))) == [("2024-05-17",), ("2024-05-18",)]
    assert by_group(await usage_report(used, ["month"])) == {("2024-05",): summed(*range(1, 14))}


async def test_a_report_by_two_groups(used: Store) -> None:
    """The rows are ordered by the groups."""
    lines = by_group(await usage_report(used, ["day", "user"]))
    assert lines[("2024-05-18", "alice")] == summed(9, 12)
    assert list(lines) == sorted(lines)


@pytest.mark.parametrize(
    ("since", "until", "requests"),
    [
        (date(2024, 5, 17), None, 13),
        (date(2024, 5, 18), None, 6),
        (None, date(2024, 5, 17), 7),
        (date(2024, 5, 18), date(2024, 5, 18), 6),
        (date(2024, 5, 19), None, 0),
    ],
)
async def test_a_report_of_some_days(used: Store, since: date | None, until: date | None, requests: int) -> None:
    """The first and last day are included."""
    lines = await usage_report(used, ["month"], UsageFilter(since=since, until=until))
    assert sum(line.requests for line in lines) == requests


async def test_a_report_counts_requests_that_are_not_done(used: Store) -> None:
    """They are part of all requests, and counted separately."""
    [line] = await usage_report(used, ["month"])
    assert (line.requests, line.not_done) == (13, 1)


async def test_a_report_without_usage_is_empty(store: Store) -> None:
    """There is no row of zeros."""
    assert await usage_report(store, ["user"]) == []
