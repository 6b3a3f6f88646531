"""Every report is the sum of its rows, to the last digit: random ledgers, groups, choices and calendars, on a real
PostgreSQL, added up a second time here with fractions and Python's own time zones."""

import asyncio
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import psycopg2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.corrections import CorrectableRow, add_correction
from chatgpt_agent.adapters.postgres.legacy_import import ImportedRequest, add_imported_requests
from chatgpt_agent.adapters.postgres.reports import COUNTS, GROUPS, UsageFilter, UsageGroup
from chatgpt_agent.adapters.postgres.settings import set_time_zone
from chatgpt_agent.adapters.postgres.usage import counts_of, ensure_partition, ship
from chatgpt_agent.admin.reports import EXPORT_COLUMNS, Reports
from chatgpt_agent.core.ledger import NOT_DONE, TERMINAL, Intent, Row, State
from chatgpt_agent.core.money.bill import Bill
from chatgpt_agent.core.money.exact import exact_sum
from chatgpt_agent.core.money.kinds import COUNT_COLUMNS, IMAGE_TOOL_KINDS
from chatgpt_agent.core.usage import Usage
from chatgpt_agent.runtime.time_zone import sync_time_zone
from tests.support.database import query
from tests.support.oracle import DAILY_SUMS, SUMS_OF_ROWS
from tests.support.postgres_server import MIGRATED

pytestmark = pytest.mark.slow

# Zones, and moments (UTC) around which their days are strange; every zone is tried around every moment.
ZONES = [
    "UTC", "Europe/Berlin", "America/New_York",
    "America/Sao_Paulo",  # summer time began at midnight: a day without its first hour
    "Asia/Beirut", "Africa/Cairo", "America/Havana",  # so it does there
    "America/St_Johns",  # at one minute past, so that a day came twice
    "Australia/Lord_Howe",  # half an hour of it
    "Asia/Kolkata", "Asia/Kathmandu", "Pacific/Chatham", "Pacific/Marquesas",  # half and quarter hours
    "Pacific/Apia",  # had no 30 December 2011
    "Pacific/Kiritimati", "Etc/GMT+12",  # the first and the last to see a day
]  # fmt: skip
MOMENTS = [
    datetime(2018, 11, 4, 3, tzinfo=UTC),
    datetime(2023, 3, 25, 22, tzinfo=UTC),
    datetime(2023, 4, 27, 22, tzinfo=UTC),
    datetime(2011, 11, 6, 2, 31, tzinfo=UTC),
    datetime(2024, 4, 6, 15, tzinfo=UTC),
    datetime(2024, 10, 27, 1, tzinfo=UTC),
    datetime(2011, 12, 30, 10, tzinfo=UTC),
    datetime(2024, 2, 29, 12, tzinfo=UTC),
    datetime(2026, 1, 1, tzinfo=UTC),  # of the first week of 2026
    datetime(2027, 1, 1, tzinfo=UTC),  # of the last week of 2026
]
NAMES = {1: "alice", 2: "bob", 3: "user 3"}  # the third is gone

moments = st.builds(
    lambda moment, near: moment + near,
    st.sampled_from(MOMENTS),
    st.timedeltas(timedelta(hours=-30), timedelta(hours=30)) | st.just(timedelta(0)),
)
amounts = st.decimals(0, 10**6, allow_nan=False, places=16) | st.sampled_from(
    [Decimal(0), Decimal("0.0000000000000001"), Decimal("12345678901234567890.5")]
)


def usages(counts: st.SearchStrategy[int]) -> st.SearchStrategy[Usage]:
    """Usages with such counts of everything."""
    seconds = st.builds(lambda count: Decimal(count).scaleb(-9), counts)
    names = set(Usage.__struct_fields__) - {"seconds", "image_tool", "uncertain_reason"}
    tokens: dict[str, Any] = dict.fromkeys(names, counts)
    drawn = st.builds(Usage, **{kind.name: counts for kind in IMAGE_TOOL_KINDS})
    return st.builds(Usage, **tokens, seconds=seconds, image_tool=st.none() | drawn)


MODELS = ("gpt-6-sol", "gpt-6-luna", "ft:gpt-6-sol:acme")
models = st.sampled_from(MODELS)


class Line(msgspec.Struct, frozen=True):
    """A row as this proof keeps it. `kind`: shipped, imported, or a correction of a row that was."""

    id: uuid.UUID
    user: int
    token: int
    endpoint: str
    model: str
    state: State
    usage: Usage | None
    cost: Decimal
    uncertain_cost: Decimal
    at: datetime


@st.composite
def lines(draw: Any) -> Line:
    """A row of one of the states."""
    state = draw(st.sampled_from([*TERMINAL, State.IMPORTED]))
    imported = state is State.IMPORTED
    usage = draw(st.none() | usages(st.integers(0, 10**12)))
    return Line(
        draw(st.uuids()),
        draw(st.sampled_from(list(NAMES))),
        draw(st.integers(0, 3)),
        "/v1/chat/completions" if imported else draw(st.sampled_from(["/v1/chat/completions", "/v1/embeddings"])),
        draw(models),
        state,
        Usage(input=usage.input, output=usage.output) if imported and usage else usage,
        draw(amounts),
        Decimal(0) if imported else draw(amounts),
        draw(moments),
    )


choices = st.just(UsageFilter()) | st.builds(
    UsageFilter,
    user=st.none() | st.sampled_from(["alice", "bob"]),
    token_id=st.none() | st.integers(0, 2),
    model=st.none() | models,
)


class LedgerOfTest:
    """A database of this module, and an event loop for queries."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.runner = asyncio.Runner()
        self.store = Store(dsn)

    def run(self, work: Any) -> Any:
        """Runs something to its end."""
        return self.runner.run(work)

    async def write(self, rows: Sequence[Line], corrections: Sequence[Line]) -> None:
        """Rows on the ways that rows come."""
        for row in rows:
            await ensure_partition(self.store, row.at)
        if shipped := [_shipped(row) for row in rows if row.state is not State.IMPORTED]:
            await ship(self.store, shipped)
        await add_imported_requests(self.store, [_imported(row) for row in rows if row.state is State.IMPORTED])
        for row, correction in zip(rows, corrections, strict=False):
            written = CorrectableRow(
                request_id=row.id,
                started_at=row.at,
                state=row.state,
                usage=row.usage,
                cost=row.cost,
                uncertain_cost=row.uncertain_cost,
                service_tier=None,
                price=None,
                corrected_by=None,
            )
            assert correction.usage is not None
            assert await add_correction(
                self.store,
                written,
                request_id=correction.id,
                usage=correction.usage,
                bill=Bill(cost=exact_sum([row.cost, correction.cost])),
                reason="as OpenAI has it",
            )


@pytest.fixture(scope="module")
def books(postgres: str) -> Iterator[LedgerOfTest]:
    """A ledger with two users, two tokens with the same prefix and label, and prices, so that reports know the models;
    without partitions."""
    name = f"reports_{uuid.uuid4().hex[:12]}"
    admin = psycopg2.connect(postgres)
    admin.autocommit = True
    with admin.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name} TEMPLATE {MIGRATED}")
        books = LedgerOfTest(postgres.replace("dbname=postgres", f"dbname={name}"))
        query(
            books.dsn,
            """INSERT INTO users (id, name, upstream_key, created_at)
               VALUES (1, 'alice', '', now()), (2, 'bob', '', now());
               INSERT INTO tokens (id, user_id, digest, token_prefix, label, created_at)
               SELECT n, 1, decode(repeat('0' || n, 32), 'hex'), 'cga_0000', 'laptop', now()
               FROM generate_series(1, 2) n""",
        )
        for model in MODELS:
            query(books.dsn, f"INSERT INTO prices (model, effective_at, created_at) VALUES ('{model}', now(), now())")
        yield books
        books.run(books.store.close())
        books.runner.close()
        cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")
    admin.close()


def _shipped(row: Line) -> Row:
    intent = Intent(
        request_id=row.id,
        user_id=row.user,
        token_id=row.token,
        endpoint=row.endpoint,
        model=row.model,
        price_id=1,
        streamed=False,
        started_at=row.at,
    )
    return Row(
        intent=intent, state=row.state, price_id=1, cost=row.cost, usage=row.usage, uncertain_cost=row.uncertain_cost
    )


def _imported(row: Line) -> ImportedRequest:
    usage = row.usage
    counts = (usage.input, usage.output) if usage else (None, None)
    return ImportedRequest(
        request_id=row.id,
        user_id=row.user,
        token_id=row.token,
        model=row.model,
        upstream_id=None,
        input_tokens=counts[0],
        output_tokens=counts[1],
        cost=row.cost,
        started_at=row.at,
    )


def _correction(row: Line, usage: Usage, cost: Decimal) -> Line:
    return msgspec.structs.replace(
        row,
        id=uuid.uuid5(row.id, "corrected"),
        state=State.CORRECTION,
        usage=usage,
        cost=cost,
        uncertain_cost=-row.uncertain_cost,
    )


def _day(row: Line, zone: str) -> date:
    return row.at.astimezone(ZoneInfo(zone)).date()


def _group(row: Line, by: Sequence[str], zone: str) -> tuple[object, ...]:
    day = _day(row, zone)
    year, week, _ = day.isocalendar()
    values = {
        "user": NAMES[row.user],
        "token": row.token,
        "model": row.model,
        "endpoint": row.endpoint,
        "day": str(day),
        "week": f"{year}-W{week:02}",
        "month": f"{day:%Y-%m}",
    }
    return tuple(values[name] for name in by)


def _sums(rows: Sequence[Line]) -> tuple[Fraction, ...]:
    usages = [row.usage for row in rows if row.usage is not None]
    columns = list(zip(*map(counts_of, usages), strict=True)) or [()] * len(COUNT_COLUMNS)
    counts: list[Any] = [sum(map(Fraction, column), Fraction(0)) for column in columns]
    requests = sum(row.state is not State.CORRECTION for row in rows)
    not_done = sum(row.state in NOT_DONE for row in rows)
    named = {"requests": requests, "not_done": not_done, **dict(zip(COUNT_COLUMNS, counts, strict=True))}
    money = [sum((Fraction(getattr(row, name)) for row in rows), Fraction(0)) for name in ("cost", "uncertain_cost")]
    return (*(Fraction(named[name]) for name in COUNTS), *money)


def _sums_of(line: Any) -> tuple[Fraction, ...]:
    return tuple(Fraction(getattr(line, name)) for name in (*COUNTS, "cost", "uncertain_cost"))


def _key(line: UsageGroup, by: Sequence[str]) -> tuple[object, ...]:
    return tuple(line.token_id if name == "token" else text for name, text in zip(by, line.group, strict=True))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(lines(), min_size=2, max_size=12, unique_by=lambda row: row.id),
    corrected=st.lists(
        st.tuples(
            usages(st.integers(-(10**9), 10**9)),
            amounts.map(lambda x: x - 5),
        ),
        max_size=3,
    ),
    zones=st.tuples(st.sampled_from(ZONES), st.sampled_from(ZONES)),
    by=st.lists(st.sampled_from(GROUPS), min_size=1, unique=True),
    choice=choices,
    ends=st.just((None, None)) | st.tuples(st.none() | moments, st.none() | moments),
)
def test_every_report_is_the_sum_of_its_rows(
    books: LedgerOfTest,
    rows: list[Line],
    corrected: list[tuple[Usage, Decimal]],
    zones: tuple[str, str],
    by: list[str],
    choice: UsageFilter,
    ends: tuple[datetime | None, datetime | None],
) -> None:
    """Each group is the sum of its rows, by the day in the local time zone, and single rows are the same rows. The zone
    changes in the middle: earlier rows are counted again in the new zone."""
    before, zone = zones
    query(books.dsn, "TRUNCATE usage, usage_daily")
    books.run(set_time_zone(books.store, before))
    middle = len(rows) // 2
    correctable = [row for row in rows[:middle] if row.state is not State.IMPORTED]
    corrections = [_correction(row, *change) for row, change in zip(correctable, corrected, strict=False)]
    books.run(books.write(correctable, corrections))
    books.run(books.write([row for row in rows[:middle] if row.state is State.IMPORTED], []))
    books.run(sync_time_zone(books.store, zone))
    books.run(books.write(rows[middle:], []))

    days = sorted(moment.astimezone(ZoneInfo(zone)).date() for moment in ends if moment)
    since = days[0] if ends[0] else None
    until = days[-1] if ends[1] else None
    filter_ = msgspec.structs.replace(choice, since=since, until=until)
    matching = [
        row
        for row in [*rows, *corrections]
        if (since is None or _day(row, zone) >= since)
        and (until is None or _day(row, zone) <= until)
        and filter_.user in (None, NAMES[row.user])
        and filter_.token_id in (None, row.token)
        and filter_.model in (None, row.model)
    ]
    for groups in (by, *([name] for name in GROUPS)):
        expected: dict[tuple[object, ...], list[Line]] = {}
        for row in matching:
            expected.setdefault(_group(row, groups, zone), []).append(row)
        report = books.run(
            Reports(books.store).report(
                groups,
                UsageFilter(
                    since=since,
                    until=until,
                    user=filter_.user,
                    token_id=filter_.token_id,
                    model=filter_.model,
                ),
            )
        )
        assert len(report.rows) == len(expected)
        assert {_key(line, groups): _sums_of(line) for line in report.rows} == {
            group: _sums(rows) for group, rows in expected.items()
        }
        assert _sums_of(report.total) == _sums(matching)
    assert query(books.dsn, DAILY_SUMS) == query(books.dsn, SUMS_OF_ROWS)
    assert books.run(_exported(books.store, filter_)) == {
        str(row.id): (row.cost, str(_day(row, zone))) for row in matching
    }


async def _exported(store: Store, choice: UsageFilter) -> dict[str, tuple[Decimal, str]]:
    pages = [page async for page in Reports(store).export(choice)]
    records = [dict(zip(EXPORT_COLUMNS, line, strict=True)) for page in pages for line in page]
    assert len({record["request_id"] for record in records}) == len(records)
    return {record["request_id"]: (record["cost"], record["day"]) for record in records}
