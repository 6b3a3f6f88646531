"""Corrections and sums for reconciliation in a real database."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from tornado.ioloop import IOLoop

from chatgpt_agent.adapters.postgres import reconcile
from chatgpt_agent.adapters.postgres.checks import run_checks
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.corrections import add_correction, read_correctable_row
from chatgpt_agent.adapters.postgres.prices import add_prices
from chatgpt_agent.adapters.postgres.usage import ensure_partition, ship
from chatgpt_agent.admin.corrections import Corrections
from chatgpt_agent.core.audit import Actor, Via
from chatgpt_agent.core.errors import Conflict, InvalidValue, NotFound
from chatgpt_agent.core.ledger import Outcome, Row, State, orphan, settle
from chatgpt_agent.core.money.bill import Bill
from chatgpt_agent.core.money.kinds import RightCounts
from chatgpt_agent.core.money.pricing import NewPrice
from chatgpt_agent.core.openai_usage import Counts
from chatgpt_agent.core.reconcile.lines import Candidates, LedgerSum
from chatgpt_agent.core.usage import Answer, Usage
from tests.support.database import query
from tests.support.factories import BOOK, NOON, PRICE, make_intent, make_row, request_id, this_month_and_next

DAY = NOON.date()
SNAPSHOT = "gpt-6-luna-2026-09-15"
DAILY = "SELECT requests, not_done, input_tokens, cached_tokens, output_tokens, reasoning_tokens, cost FROM usage_daily"


@pytest.fixture
def store(io_loop: IOLoop, dsn: str) -> Iterator[Store]:
    """A store with the price of the rows, and the partitions of this month and the next."""
    store = Store(dsn)
    io_loop.run_sync(lambda: _fill(store))
    yield store
    io_loop.run_sync(store.close)


async def _fill(store: Store) -> None:
    for month in (NOON, NOON + timedelta(days=31), *this_month_and_next()):
        await ensure_partition(store, month)
    await store.fetch("SELECT setval(pg_get_serial_sequence('prices', 'id'), 6)")
    await add_prices(store, [NewPrice(PRICE.model, PRICE.rates, effective_at=PRICE.effective_at)], now=NOON)


@pytest.fixture
def corrections(store: Store) -> Corrections:
    """The use case on this database."""
    return Corrections(store)


def row(number: int, state: State, usage: Usage | None = None, *, served: str | None = SNAPSHOT) -> Row:
    """A row of user 1 with this state and these tokens."""
    intent = make_intent(number, user_id=1, model="gpt-6-luna")
    return settle(intent, Outcome(state=state, status=200, answer=Answer(usage=usage, model=served)), PRICE, BOOK)


def corrections_of(dsn: str, columns: str) -> list[tuple[object, ...]]:
    """These columns of all corrections."""
    return query(dsn, f"SELECT {columns} FROM usage WHERE state = 'correction'")


# Sums.


async def test_sums_are_by_day_model_and_user(store: Store) -> None:
    """The model is the one that answered."""
    rows = [
        row(1, State.DONE, Usage(input=10, output=3, cached=2, reasoning=1)),
        row(2, State.DONE, Usage(input=5, output=4)),
    ]
    await ship(store, rows)
    cost = rows[0].cost + rows[1].cost
    assert await reconcile.ledger_sums(store, DAY, DAY) == [
        LedgerSum(day=DAY, model=SNAPSHOT, user="user 1", served=True, counts=Counts(2, 15, 2, 7), cost=cost)
    ]


async def test_a_row_without_an_answer_is_summed_by_the_requested_model(store: Store) -> None:
    """The sum says that no model answered."""
    await ship(store, [row(1, State.USAGE_UNKNOWN, served=None)])
    [line] = await reconcile.ledger_sums(store, DAY, DAY)
    assert (line.model, line.served, line.counts) == ("gpt-6-luna", False, Counts(1, 0, 0, 0))


async def test_sums_have_the_names_of_users(store: Store) -> None:
    """A user is named as in the option --key."""
    await store.fetch("INSERT INTO users (id, name, upstream_key, created_at) VALUES (1, 'alice', 'x', %s)", [NOON])
    await ship(store, [row(1, State.DONE, Usage(input=1, output=1))])
    assert [line.user for line in await reconcile.ledger_sums(store, DAY, DAY)] == ["alice"]


@pytest.mark.parametrize(
    ("state", "usage", "requests"),
    [
        (State.DONE, Usage(input=1, output=1), 1),
        (State.USAGE_UNKNOWN, None, 1),
        (State.INCOMPLETE, None, 1),
        (State.UPSTREAM_ERROR, None, 0),
        (State.UPSTREAM_ERROR, Usage(input=1, output=0), 1),
        (State.NOT_SENT, None, 0),
        (State.UNKNOWN, None, 0),
    ],
)
async def test_requests_are_those_that_openai_counts(
    store: Store, state: State, usage: Usage | None, requests: int
) -> None:
    """A row counts as a request if it was answered or has tokens."""
    await ship(store, [row(1, state, usage)])
    assert [line.counts.requests for line in await reconcile.ledger_sums(store, DAY, DAY)] == [requests]


async def test_a_correction_is_in_the_sums(store: Store, corrections: Corrections) -> None:
    """Tokens and cost of a correction are added, and the corrected row counts as a request."""
    await ship(store, [row(1, State.UNKNOWN)])
    await corrections.correct(request_id(1), RightCounts(input=10, output=2, cached=4), "reason")
    [line] = await reconcile.ledger_sums(store, DAY, DAY)
    assert (line.counts, line.cost) == (Counts(1, 10, 4, 2), PRICE.cost(Usage(input=10, output=2, cached=4)))


async def test_sums_include_the_first_and_last_day_of_utc(store: Store) -> None:
    """Rows from the first moment of the first day to the last moment of the last day are summed."""
    midnight = datetime(2024, 5, 17, tzinfo=UTC)
    moments = [midnight - timedelta(microseconds=1), midnight, midnight + timedelta(days=2, microseconds=-1)]
    moments.append(midnight + timedelta(days=2))
    await ship(store, [make_row(number, started_at=moment) for number, moment in enumerate(moments)])
    sums = await reconcile.ledger_sums(store, DAY, DAY + timedelta(days=1))
    assert {line.day for line in sums} == {date(2024, 5, 17), date(2024, 5, 18)}


# Rows that may explain a difference.


async def test_candidates_are_rows_with_uncertain_tokens(store: Store) -> None:
    """A complete answer with counts and a request that was not sent are no candidates."""
    states = [State.DONE, State.USAGE_UNKNOWN, State.UPSTREAM_ERROR, State.INCOMPLETE, State.NOT_SENT, State.UNKNOWN]
    await ship(store, [row(number, state) for number, state in enumerate(states)])
    [line] = await reconcile.candidate_rows(store, DAY, DAY)
    ids = sorted(str(request_id(number)) for number in (1, 3, 5))
    assert line == Candidates(day=DAY, model=SNAPSHOT, user="user 1", served=True, has_tokens=False, count=3, ids=ids)


async def test_an_upstream_error_with_tokens_is_a_candidate(store: Store) -> None:
    """OpenAI may not have billed such a request."""
    await ship(store, [row(1, State.UPSTREAM_ERROR, Usage(input=1, output=1))])
    assert [line.has_tokens for line in await reconcile.candidate_rows(store, DAY, DAY)] == [True]


async def test_five_candidates_are_named(store: Store) -> None:
    """All candidates are counted, the first five are named."""
    await ship(store, [row(number, State.UNKNOWN) for number in range(8)])
    [line] = await reconcile.candidate_rows(store, DAY, DAY)
    assert (line.count, line.ids) == (8, [str(request_id(number)) for number in range(5)])


async def test_a_corrected_row_is_not_a_candidate(store: Store, corrections: Corrections) -> None:
    """A correction settles the row."""
    await ship(store, [row(1, State.UNKNOWN)])
    await corrections.correct(request_id(1), RightCounts(input=0, output=0), "it never ran")
    assert await reconcile.candidate_rows(store, DAY, DAY) == []


# Corrections.


async def test_a_correction_is_a_row_of_differences(store: Store, corrections: Corrections, dsn: str) -> None:
    """The differences may be negative."""
    await ship(store, [row(1, State.DONE, Usage(input=100, output=10, cached=50, reasoning=5))])
    done = await corrections.correct(request_id(1), RightCounts(input=90, output=12, cached=60), " OpenAI says so ")
    columns = "request_id::text, corrects::text, reason, input_tokens, cached_tokens, output_tokens, reasoning_tokens"
    assert corrections_of(dsn, columns) == [
        (str(done.request_id), str(request_id(1)), "OpenAI says so", -10, 10, 2, 0),
    ]


async def test_a_correction_costs_the_difference_at_the_rows_price(
    store: Store, corrections: Corrections, dsn: str
) -> None:
    """The cost is exact."""
    await ship(store, [row(1, State.DONE, Usage(input=100, output=10, cached=50, reasoning=5))])
    await corrections.correct(request_id(1), RightCounts(input=90, output=12, cached=60), "why")
    expected = PRICE.cost(Usage(input=90, output=12, cached=60)) - PRICE.cost(Usage(input=100, output=10, cached=50))
    assert corrections_of(dsn, "cost, price_id") == [(expected, PRICE.id)]


async def test_a_correction_has_the_keys_of_its_row(store: Store, corrections: Corrections, dsn: str) -> None:
    """User, token, endpoint, models and start are those of the row, so that every report groups them together."""
    await ship(store, [row(1, State.DONE, Usage(input=1, output=1))])
    await corrections.correct(request_id(1), RightCounts(input=2, output=2), "why")
    same = "user_id, token_id, endpoint, model, served_model, price_id, started_at, streamed"
    assert corrections_of(dsn, same) == query(dsn, f"SELECT {same} FROM usage WHERE state = 'done'")


async def test_a_correction_has_its_own_request_id(store: Store, corrections: Corrections) -> None:
    """The id is a UUIDv7 of the time of the correction."""
    await ship(store, [row(1, State.DONE, Usage(input=1, output=1))])
    done = await corrections.correct(request_id(1), RightCounts(input=2, output=2), "why")
    assert done.request_id.version == 7
    assert abs((done.request_id.int >> 80) / 1000 - datetime.now(UTC).timestamp()) < 60


async def test_a_corrected_row_is_unchanged(store: Store, corrections: Corrections, dsn: str) -> None:
    """A correction does not update the row."""
    uncorrected = "SELECT * FROM usage WHERE state <> 'correction'"
    await ship(store, [row(1, State.INCOMPLETE)])
    before = query(dsn, uncorrected)
    await corrections.correct(request_id(1), RightCounts(input=2, output=2), "why")
    assert query(dsn, uncorrected) == before


async def test_daily_sums_contain_the_correction(store: Store, corrections: Corrections, dsn: str) -> None:
    """Tokens and cost are those of the corrected row; the number of requests is the same."""
    await ship(store, [row(1, State.INCOMPLETE)])
    await corrections.correct(request_id(1), RightCounts(input=20, output=3, cached=10), "why")
    assert query(dsn, DAILY) == [(1, 1, 20, 10, 3, 0, PRICE.cost(Usage(input=20, output=3, cached=10)))]


async def test_a_corrected_ledger_is_consistent(store: Store, corrections: Corrections) -> None:
    """The checks of the ledger find nothing."""
    await ship(store, [row(1, State.UNKNOWN), row(2, State.DONE, Usage(input=100, output=9, cached=20, reasoning=8))])
    await corrections.correct(request_id(1), RightCounts(input=20, output=3, cached=10), "why")
    await corrections.correct(request_id(2), RightCounts(input=10, output=1), "why")
    assert await run_checks(store, 100) == []


async def test_reasoning_is_never_more_than_output(store: Store, corrections: Corrections, dsn: str) -> None:
    """A lower output reduces the reasoning tokens, too."""
    await ship(store, [row(1, State.DONE, Usage(input=1, output=10, cached=0, reasoning=8))])
    await corrections.correct(request_id(1), RightCounts(input=1, output=5), "why")
    assert corrections_of(dsn, "output_tokens, reasoning_tokens") == [(-5, -3)]


async def test_a_row_is_corrected_once(store: Store, corrections: Corrections) -> None:
    """The error of a second correction names the first one."""
    await ship(store, [row(1, State.UNKNOWN)])
    first = await corrections.correct(request_id(1), RightCounts(input=1, output=1), "why")
    with pytest.raises(Conflict, match=f"is corrected already, by {first.request_id}"):
        await corrections.correct(request_id(1), RightCounts(input=2, output=2), "why not")


async def test_one_of_two_concurrent_corrections_is_added(store: Store, corrections: Corrections, dsn: str) -> None:
    """The second one of two callers that read the same row adds nothing."""
    await ship(store, [row(1, State.UNKNOWN)])
    current = await read_correctable_row(store, request_id(1))
    assert current is not None
    added = [
        await add_correction(
            store,
            current,
            request_id=request_id(number),
            usage=Usage(input=number, output=0),
            bill=Bill(cost=Decimal(number)),
            reason="why",
        )
        for number in (5, 6)
    ]
    assert (added, query(dsn, "SELECT input_tokens, cost FROM usage_daily")) == ([True, False], [(5, Decimal(5))])


async def test_a_correction_is_in_the_audit_log(store: Store, dsn: str) -> None:
    """The log has the actor and the reason; other rows of usage are not logged."""
    await ship(store, [row(1, State.UNKNOWN)])
    correction = await Corrections(store.with_actor(Actor("boss", Via.COMMAND, "here"))).correct(
        request_id(1), RightCounts(input=1, output=1), "the invoice"
    )
    rows = query(dsn, "SELECT actor, action, object, after FROM audit_log WHERE object = 'usage'")
    assert [line[:3] for line in rows] == [("boss", "insert", "usage")]
    after = rows[0][3]
    assert (after["request_id"], after["corrects"], after["reason"]) == (
        str(correction.request_id), str(request_id(1)), "the invoice"
    )  # fmt: skip


async def test_a_correction_removes_the_uncertain_cost(store: Store, corrections: Corrections) -> None:
    """Row and daily sums have the corrected cost and no uncertain cost."""
    unknown = orphan(make_intent(1, user_id=1, model="gpt-6-luna", max_cost=Decimal(5)))
    await ship(store, [unknown])
    correction = await corrections.correct(request_id(1), RightCounts(input=1000, output=0), "the invoice")
    sums = "SELECT sum(cost), sum(uncertain_cost) FROM "
    assert await store.fetch(sums + "usage") == await store.fetch(sums + "usage_daily") == [(correction.cost_after, 0)]


async def test_a_correction_is_not_corrected(store: Store, corrections: Corrections) -> None:
    """A correction cannot be corrected itself."""
    await ship(store, [row(1, State.UNKNOWN)])
    first = await corrections.correct(request_id(1), RightCounts(input=1, output=1), "why")
    with pytest.raises(InvalidValue, match="is a correction, which cannot be corrected"):
        await corrections.correct(first.request_id, RightCounts(input=2, output=2), "why not")


async def test_an_unknown_row_is_not_corrected(corrections: Corrections) -> None:
    """The error contains the request id."""
    with pytest.raises(NotFound, match=str(UUID(int=1))):
        await corrections.correct(UUID(int=1), RightCounts(input=1, output=1), "why")


async def test_a_row_without_a_price_is_not_corrected(store: Store, corrections: Corrections) -> None:
    """The cost of the correction could not be computed."""
    await ship(store, [orphan(make_intent(1, price_id=99))])
    with pytest.raises(InvalidValue, match=f"{request_id(1)} has no price"):
        await corrections.correct(request_id(1), RightCounts(input=1, output=1), "why")


async def test_a_correction_that_changes_nothing_is_refused(store: Store, corrections: Corrections, dsn: str) -> None:
    """The row could not be corrected again."""
    await ship(store, [row(1, State.DONE, Usage(input=3, output=2, cached=1))])
    with pytest.raises(InvalidValue, match="has these counts already"):
        await corrections.correct(request_id(1), RightCounts(input=3, output=2, cached=1), "why")
    assert corrections_of(dsn, "*") == []


@pytest.mark.parametrize(
    ("right", "reason"),
    [
        (RightCounts(input=1, output=1, cached=2), "why"),
        (RightCounts(input=-1, output=1), "why"),
        (RightCounts(input=1, output=10**12 + 1), "why"),
        (RightCounts(input=1, output=1), ""),
        (RightCounts(input=1, output=1), "   "),
        (RightCounts(input=1, output=1), "two\nlines"),
        (RightCounts(input=1, output=1), "x" * 501),
        (RightCounts(input=1, output=1), "\x00"),
    ],
)
async def test_an_invalid_correction_is_refused(
    store: Store, corrections: Corrections, right: RightCounts, reason: str
) -> None:
    """Token counts and reason are checked before anything is written."""
    await ship(store, [row(1, State.UNKNOWN)])
    with pytest.raises(InvalidValue):
        await corrections.correct(request_id(1), right, reason)
