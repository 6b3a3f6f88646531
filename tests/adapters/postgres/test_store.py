"""SQL on a real PostgreSQL: a connection that heals, errors that show nothing, and statements that do what they say."""

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg2.extensions import parse_dsn
from tornado.ioloop import IOLoop

from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.cooperative import BATCH
from chatgpt_agent.adapters.postgres import prices, settings, tokens
from chatgpt_agent.adapters.postgres import users as accounts
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.directory import Changes, read_changes
from chatgpt_agent.adapters.postgres.dsn import dsn_from
from chatgpt_agent.adapters.postgres.reports import UsageFilter, UsageGroup, usage_report
from chatgpt_agent.adapters.postgres.usage import ensure_partition, ship, sql_array
from chatgpt_agent.core.errors import ConfigError, StoreError, StoreRejected, StoreUnavailable
from chatgpt_agent.core.ledger import State
from chatgpt_agent.core.money.kinds import Rates
from chatgpt_agent.core.money.pricing import NewPrice
from tests.support.database import connected, end_connections, query
from tests.support.factories import NOON, make_row

LATER = NOON + timedelta(hours=1)
USAGE = ["requests", "not_done", "input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "cost"]


@pytest.fixture
def store(io_loop: IOLoop, dsn: str) -> Iterator[Store]:
    """A connection to the test's own database."""
    store = Store(dsn)
    yield store
    io_loop.run_sync(store.close)


@pytest.fixture
def plain(io_loop: IOLoop, postgres: str) -> Iterator[Store]:
    """A connection to a database without tables, which all tests share."""
    store = Store(postgres)
    yield store
    io_loop.run_sync(store.close)


@pytest.fixture
def hasty(io_loop: IOLoop, postgres: str) -> Iterator[Store]:
    """One that gives a statement a fifth of a second."""
    io_loop.asyncio_loop.set_exception_handler(lambda *_: None)  # aiopg tells the loop as well
    store = Store(postgres, seconds=0.2)
    yield store
    io_loop.run_sync(store.close)


# The connection.


@given(values=st.lists(st.none() | st.text(st.characters(codec="utf-8", exclude_characters="\0"))))
def test_an_array_says_what_it_was_made_of(postgres: str, values: list[str | None]) -> None:
    """Quotes, backslashes, braces, commas and the word NULL included: PostgreSQL reads them back."""
    assert query(postgres, "SELECT %s::text[]", [sql_array(values)]) == [(values,)]


async def test_rows_of_a_large_answer_come_in_their_order(plain: Store) -> None:
    """All of them, with turns for others in between, and none where there are none."""
    for count in (0, 1, BATCH - 1, BATCH, 2 * BATCH, 2 * BATCH + 1):
        assert await plain.fetch("SELECT generate_series(1, %s)", [count]) == [(n,) for n in range(1, count + 1)]


async def test_a_statement_returns_its_rows(plain: Store) -> None:
    """As tuples."""
    assert await plain.fetch("SELECT 1, %s", ["a"]) == [(1, "a")]


async def test_a_statement_without_rows_returns_none(plain: Store) -> None:
    """It is no fault."""
    assert await plain.fetch("SET work_mem = '8MB'") == []


async def test_numbers_come_as_exact_decimals(plain: Store) -> None:
    """Money is never a float."""
    [(amount,)] = await plain.fetch("SELECT 0.1::numeric + 0.2")
    assert (type(amount), amount) == (Decimal, Decimal("0.3"))


async def test_times_come_in_utc(plain: Store) -> None:
    """Whatever the server's zone is."""
    [(found,)] = await plain.fetch("SELECT %s::timestamptz", [datetime.fromisoformat("2024-05-17T14:00:00+02:00")])
    assert (found, found.utcoffset()) == (NOON, timedelta(0))


async def test_a_statement_commits_by_itself(store: Store, dsn: str) -> None:
    """Others see it when the call returns."""
    await store.fetch("INSERT INTO settings VALUES ('a', 'b')")
    assert query(dsn, "SELECT value FROM settings WHERE name = 'a'") == [("b",)]


async def test_statements_at_once_wait_for_each_other(plain: Store) -> None:
    """The connection carries one at a time."""
    found = await asyncio.gather(*(plain.fetch("SELECT %s::int", [n]) for n in range(20)))
    assert found == [[(n,)] for n in range(20)]


async def test_it_heals_when_its_connection_is_ended(plain: Store, postgres: str) -> None:
    """One statement fails at most, the next has a new connection."""
    await plain.fetch("SELECT 1")
    end_connections(postgres)
    await asyncio.gather(plain.fetch("SELECT 1"), return_exceptions=True)
    assert await plain.fetch("SELECT 2") == [(2,)]


async def test_a_statement_whose_connection_is_ended_can_be_tried_again(plain: Store, postgres: str) -> None:
    """It may have run or not, which the error says by its kind."""
    task = asyncio.create_task(plain.fetch("SELECT pg_sleep(5)"))
    while not await asyncio.to_thread(end_connections, postgres):
        await asyncio.sleep(0.01)
    with pytest.raises(StoreUnavailable):
        await task


async def test_a_statement_that_takes_too_long_can_be_tried_again(hasty: Store) -> None:
    """It is no cancellation, which would silently end the task that asked."""
    with pytest.raises(StoreUnavailable):
        async with asyncio.timeout(5):
            await hasty.fetch("SELECT pg_sleep(5)")
    assert await hasty.fetch("SELECT 1") == [(1,)]


async def test_the_server_stops_a_statement_that_takes_too_long(hasty: Store) -> None:
    """A second after we gave up: else it would go on there, holding what it has locked."""
    assert await hasty.fetch("SHOW statement_timeout") == [("1200ms",)]


async def test_the_servers_own_end_of_a_statement_is_no_cancellation(postgres: str) -> None:
    """aiopg makes one of it, and tells the loop as well."""
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    async with Store(postgres) as store:
        await store.fetch("SET statement_timeout = 50")
        with pytest.raises(StoreUnavailable, match=r"the database took over 10\.0 s for a statement"):
            await store.fetch("SELECT pg_sleep(5)")


async def test_a_cancellation_cancels(plain: Store) -> None:
    """Who closes a service must not wait for its statement."""
    await plain.fetch("SELECT 1")
    task = asyncio.create_task(plain.fetch("SELECT pg_sleep(5)"))
    await asyncio.sleep(0.05)
    task.cancel()
    async with asyncio.timeout(5):
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await plain.fetch("SELECT 1") == [(1,)]


async def test_a_cancellation_that_comes_with_the_answer_is_not_lost(plain: Store) -> None:
    """At whatever moment it comes; a shutdown would wait for ever."""
    for turns in range(100):
        task = asyncio.create_task(plain.fetch("SELECT 1"))
        for _ in range(turns % 20):
            await asyncio.sleep(0)
        asked = task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled() == asked


async def test_a_timeout_of_the_caller_is_a_timeout(plain: Store) -> None:
    """And no error of the database."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await plain.fetch("SELECT pg_sleep(5)")


async def test_a_database_that_is_not_there_can_be_tried_again() -> None:
    """In one line, which shows no password."""
    async with Store("host=/nowhere user=agent password=hunter2 dbname=agent") as store:
        with pytest.raises(StoreUnavailable, match="the database is unavailable") as caught:
            await store.fetch("SELECT 1")
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_closing_what_was_never_opened_is_no_fault(postgres: str) -> None:
    """Nor is closing twice."""
    store = Store(postgres)
    await store.close()
    await store.close()


async def test_a_closed_store_leaves_no_connection(plain: Store, postgres: str) -> None:
    """PostgreSQL has few."""
    [(pid,)] = await plain.fetch("SELECT pg_backend_pid()")
    await plain.close()
    async with asyncio.timeout(5):
        while query(postgres, "SELECT 1 FROM pg_stat_activity WHERE pid = %s", [pid]):
            await asyncio.sleep(0.01)


# What it refuses.


@pytest.mark.parametrize(
    "sql",
    [
        "SELEKT 1",
        "SELECT * FROM nothing",
        "SELECT 1/0",
        "SELECT 'a'::int",
        "CREATE TABLE pg_catalog.mine (a int)",
        "COMMENT ON TABLE pg_class IS 5",
    ],
)
async def test_what_the_database_refuses_is_refused_for_good(plain: Store, sql: str) -> None:
    """Trying again would not help; the connection is kept."""
    with pytest.raises(StoreRejected):
        await plain.fetch(sql)
    assert await plain.fetch("SELECT 1") == [(1,)]


@pytest.mark.parametrize("value", ["a\0b", "a\udcffb"])
async def test_a_text_that_no_database_takes_is_refused_for_good(plain: Store, value: str) -> None:
    """A command's argument can hold any byte."""
    with pytest.raises(StoreRejected, match="the database rejects a value"):
        await plain.fetch("SELECT %s", [value])


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT %s::int",
        "SELECT %s::timestamptz",
        "SELECT %s FROM nothing",
        "SELECT pg_sleep(5), %s",
        "INSERT INTO pairs SELECT %s, 'x' FROM generate_series(1, 2)",
        "INSERT INTO pairs VALUES (%s, NULL)",
        "INSERT INTO pairs VALUES ('x', %s)",
        "INSERT INTO pairs VALUES ('x', %s || chr(0))",
    ],
)
async def test_an_error_shows_no_value(hasty: Store, sql: str) -> None:
    """psycopg2 quotes the statement, and PostgreSQL the value: a key could be in either."""
    await hasty.fetch("CREATE TEMP TABLE pairs (name text PRIMARY KEY, value text NOT NULL CHECK (length(value) < 5))")
    with pytest.raises(StoreError) as caught:
        await hasty.fetch(sql, ["sk-canary"])
    assert "canary" not in str(caught.value)
    assert caught.value.__cause__ is None


# Notices.


@pytest.mark.parametrize(
    "change",
    [
        "INSERT INTO users (id, name, upstream_key, created_at) VALUES (2, 'bob', '', now())",
        "UPDATE users SET disabled_at = now()",
        "UPDATE tokens SET revoked_at = now()",
        "INSERT INTO tokens (user_id, digest, token_prefix, created_at)"
        " VALUES (1, decode(repeat('b', 64), 'hex'), '', now())",
        "INSERT INTO prices (model, effective_at, input, output, created_at) VALUES ('m', now(), 1, 1, now())",
        "DELETE FROM tokens",
        "TRUNCATE users CASCADE",
    ],
)
async def test_a_notice_tells_of_every_change(store: Store, dsn: str, change: str) -> None:
    """Of users, tokens and prices, by whoever makes it."""
    await add_user(store)
    await store.wait_for_notice(0)
    waiting = asyncio.create_task(store.wait_for_notice(30))
    await asyncio.sleep(0)
    query(dsn, change)
    async with asyncio.timeout(5):
        await waiting


async def test_waiting_for_a_notice_ends_after_its_timeout(plain: Store) -> None:
    """A listening store returns an empty list if no notice arrives in time."""
    await plain.wait_for_notice(0)  # the first call only starts to listen
    async with asyncio.timeout(5):
        assert await plain.wait_for_notice(0.01) == []


async def test_notices_that_came_together_are_one(plain: Store, postgres: str) -> None:
    """They all say the same: look."""
    await plain.wait_for_notice(0)
    query(postgres, "SELECT pg_notify('chatgpt_agent', number::text) FROM generate_series(1, 5) AS number")
    await plain.wait_for_notice(30)
    task = asyncio.create_task(plain.wait_for_notice(30))
    done, _ = await asyncio.wait({task}, timeout=0.1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert not done


async def test_a_connection_that_ends_while_it_waits_is_told(plain: Store, postgres: str) -> None:
    """And the next wait listens on a new one."""
    await plain.wait_for_notice(0)
    waiting = asyncio.create_task(plain.wait_for_notice(30))
    await asyncio.sleep(0)
    await asyncio.to_thread(end_connections, postgres)
    with pytest.raises(StoreUnavailable):
        await waiting
    await plain.wait_for_notice(0)
    waiting = asyncio.create_task(plain.wait_for_notice(30))
    await asyncio.sleep(0)
    query(postgres, "SELECT pg_notify('chatgpt_agent', '')")
    async with asyncio.timeout(5):
        await waiting


# Where it is.


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        ("db:5433", "db", "5433"),
        ("db", "db", "5432"),
        ("10.0.0.1:6000", "10.0.0.1", "6000"),
        ("[::1]:6000", "::1", "6000"),
        ("[::1]", "::1", "5432"),
        ("::1", "::1", "5432"),
        ("2001:db8::7", "2001:db8::7", "5432"),
        ("/run/postgresql", "/run/postgresql", "5432"),
        ("/run/odd:5433", "/run/odd:5433", "5432"),
    ],
)
def test_an_address_is_host_and_port(address: str, host: str, port: str) -> None:
    """Or a socket's folder, or an IPv6 address with or without brackets."""
    words = parse_dsn(dsn_from(Config(database_address=address)))
    assert (words["host"], words["port"]) == (host, port)


def test_the_four_keys_make_a_connection_string() -> None:
    """Whatever signs are in them."""
    config = Config(database_username="a b", database_password="it's \\ 1=2", database_name="é")
    words = {"host": "127.0.0.1", "port": "5432", "user": "a b", "password": "it's \\ 1=2", "dbname": "é"}
    assert parse_dsn(dsn_from(config)) == words


def test_a_url_wins_over_the_four_keys() -> None:
    """As it is."""
    config = Config(database_url="postgresql://u:p%40@db:5433/agent?sslmode=require", database_name="other")
    words = {"host": "db", "port": "5433", "user": "u", "password": "p@", "dbname": "agent", "sslmode": "require"}
    assert parse_dsn(dsn_from(config)) == words


def test_a_libpq_string_is_taken_too() -> None:
    """It can say more than a URL."""
    assert parse_dsn(dsn_from(Config(database_url="service=agent"))) == {"service": "agent"}


@pytest.mark.parametrize(
    "url", ["hunter2", "mysql://u:hunter2@db/x", "postgresql://u:hunter2@[::1/x", "password=hunter2 x"]
)
def test_a_url_that_is_none_is_a_fault_without_the_url(url: str) -> None:
    """It has the password in it."""
    with pytest.raises(ConfigError, match=r"database_url: found \(not shown\); allowed: embedded,") as caught:
        dsn_from(Config(database_url=url))
    assert "hunter2" not in str(caught.value)


# Accounts.


async def add_user(store: Store, name: str = "alice", id: int = 1) -> int | None:
    """A user with a token."""
    digest = name.encode().ljust(32, b"-")
    return await accounts.add_user(
        store, id=id, name=name, upstream_key=b"sealed", digest=digest, token_prefix="cga_abcd", settings={}, now=NOON
    )


async def add_price(store: Store, model: str = "m", input: str | None = "1", since: datetime = NOON) -> None:
    """A price."""
    amount = None if input is None else Decimal(input)
    rates = Rates(input=amount, cached_input=amount, output=amount)
    await prices.add_prices(store, [NewPrice(model, rates, effective_at=since)], now=NOON)


async def test_the_first_check_value_stays(store: Store) -> None:
    """Of two first starts at once one wins, and both are told which."""
    assert await settings.master_key_check(store) is None
    assert await settings.master_key_check(store, "a") == "a"
    assert await settings.master_key_check(store, "b") == "a"


async def test_no_two_users_get_one_id(store: Store) -> None:
    """Their sealed keys hold it."""
    ids = await asyncio.gather(*(accounts.next_user_ids(store, 3) for _ in range(10)))
    assert len({id_ for some in ids for id_ in some}) == 30


async def test_a_user_is_added_with_a_token(store: Store) -> None:
    """Both or neither, in one statement."""
    added = await add_user(store)
    [user], [token] = await accounts.list_users(store), await tokens.list_tokens(store)
    assert (user.id, user.name, user.created_at, user.disabled_at, user.tokens) == (1, "alice", NOON, None, 1)
    assert (token.id, token.user, token.token_prefix, token.label) == (added, "alice", "cga_abcd", "")


async def test_a_user_whose_name_is_taken_is_not_added(store: Store) -> None:
    """Nor is the token."""
    await add_user(store)
    assert not await add_user(store, id=2)
    assert len(await tokens.list_tokens(store)) == 1


async def test_users_are_listed_by_name(store: Store) -> None:
    """Or the one that was asked for."""
    await add_user(store, "bob", 1)
    await add_user(store, "alice", 2)
    assert [user.name for user in await accounts.list_users(store)] == ["alice", "bob"]
    assert [user.name for user in await accounts.list_users(store, "bob")] == ["bob"]


async def test_only_tokens_in_force_are_counted(store: Store) -> None:
    """A revoked one is still in the list of tokens."""
    await add_user(store)
    await tokens.revoke_token(store, 1, LATER)
    assert [user.tokens for user in await accounts.list_users(store)] == [0]


async def test_a_user_is_disabled_and_enabled(store: Store) -> None:
    """The first date is kept."""
    await add_user(store)
    assert await accounts.change_user(store, "alice", {}, disabled=True, now=NOON)
    assert await accounts.change_user(store, "alice", {}, disabled=True, now=LATER)
    assert [user.disabled_at for user in await accounts.list_users(store)] == [NOON]
    assert await accounts.change_user(store, "alice", {}, disabled=False, now=LATER)
    assert [user.disabled_at for user in await accounts.list_users(store)] == [None]


async def test_a_token_is_added_to_a_user(store: Store) -> None:
    """And its id returned."""
    await add_user(store)
    added = await tokens.add_token(
        store, user="alice", digest=b"x" * 32, token_prefix="cga_x", settings={"label": "laptop"}, now=LATER
    )
    assert [(token.id, token.label) for token in await tokens.list_tokens(store, "alice")] == [
        (1, ""),
        (added, "laptop"),
    ]


async def test_tokens_of_one_user_are_theirs(store: Store) -> None:
    """And nobody else's."""
    await add_user(store, "alice", 1)
    await add_user(store, "bob", 2)
    assert [token.user for token in await tokens.list_tokens(store, "bob")] == ["bob"]


async def test_a_token_is_revoked_once(store: Store) -> None:
    """The first date is kept."""
    await add_user(store)
    assert await tokens.revoke_token(store, 1, NOON)
    assert await tokens.revoke_token(store, 1, LATER)
    assert [token.revoked_at for token in await tokens.list_tokens(store)] == [NOON]


async def test_what_is_not_there_is_not_changed(store: Store) -> None:
    """And that is told."""
    assert await accounts.change_user(store, "nobody", {}, disabled=True, now=NOON) is None
    assert not await tokens.revoke_token(store, 99, NOON)
    assert (
        await tokens.add_token(store, user="nobody", digest=b"x" * 32, token_prefix="", settings={}, now=NOON) is None
    )


async def test_two_users_cannot_have_one_digest(store: Store) -> None:
    """A token is one user's."""
    await add_user(store, "alice", 1)
    await add_user(store, "bob", 2)
    with pytest.raises(StoreRejected):
        await store.fetch("UPDATE tokens SET digest = (SELECT digest FROM tokens WHERE id = 1)")


async def test_prices_keep_their_history(store: Store) -> None:
    """By model and date, to the last digit."""
    await add_price(store, "m", "0.1234567890", LATER)
    await add_price(store, "m", None, LATER + timedelta(days=1))
    await add_price(store, "a", "2")
    found = await prices.list_prices(store)
    assert [(price.model, str(price.rates.input)) for price in found] == [
        ("a", "2"),
        ("m", "0.1234567890"),
        ("m", "None"),
    ]


@pytest.mark.parametrize("amounts", [("-1", "1"), ("1", "-1"), (None, "1"), ("1", None)])
async def test_a_price_that_is_none_is_refused_by_the_database(store: Store, amounts: tuple[str | None, ...]) -> None:
    """Whoever writes it."""
    with pytest.raises(StoreRejected):
        await store.fetch(
            "INSERT INTO prices (model, effective_at, input, output, created_at) VALUES ('m', now(), %s, %s, now())",
            amounts,
        )


# What agents keep in memory.


async def changes(store: Store, since: int) -> Changes:
    """What has changed, where something has."""
    found = await read_changes(store, since)
    assert found is not None
    return found


async def test_the_first_reading_is_whole(store: Store) -> None:
    """Everything, and the version it is of."""
    await add_user(store)
    await add_price(store)
    found = await changes(store, -1)
    assert (found.whole, len(found.users), len(found.tokens), len(found.prices)) == (True, 1, 1, 1)


async def test_without_a_change_nothing_is_read(store: Store) -> None:
    """One short statement tells."""
    await add_user(store)
    found = await changes(store, -1)
    assert await read_changes(store, found.version) is None


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("UPDATE users SET disabled_at = now() WHERE id = 2", (1, 0, 0)),
        ("UPDATE tokens SET revoked_at = now() WHERE id = 2", (0, 1, 0)),
        ("INSERT INTO prices (model, effective_at, created_at) VALUES ('m', now(), now())", (0, 0, 1)),
    ],
)
async def test_only_what_has_changed_is_read(store: Store, change: str, expected: tuple[int, int, int]) -> None:
    """A thousand users are not read again for one."""
    await add_user(store, "alice", 1)
    await add_user(store, "bob", 2)
    before = await changes(store, -1)
    await store.fetch(change)
    found = await changes(store, before.version)
    assert (found.whole, (len(found.users), len(found.tokens), len(found.prices))) == (False, expected)
    assert found.version > before.version


@pytest.mark.parametrize(
    "sql", ["DELETE FROM tokens WHERE user_id = 2", "TRUNCATE tokens, budgets", "DELETE FROM prices"]
)
async def test_after_a_deletion_everything_is_read(store: Store, sql: str) -> None:
    """What is gone has no row that could say so."""
    await add_user(store, "alice", 1)
    await add_user(store, "bob", 2)
    await add_price(store)
    before = await changes(store, -1)
    await store.fetch(sql)
    assert (await changes(store, before.version)).whole


async def test_a_restored_backup_is_read_whole(store: Store) -> None:
    """Its version is older than what the agent has seen, and its rows are others."""
    await add_user(store)
    before = await changes(store, -1)
    await store.fetch("UPDATE directory_version SET version = version - 1")
    assert (await changes(store, before.version)).whole


async def test_a_change_that_is_not_committed_is_not_seen(store: Store, dsn: str) -> None:
    """And is seen when it is, though others were committed since."""
    await add_user(store)
    before = await changes(store, -1)
    with connected(dsn) as other:
        other.execute("BEGIN")
        other.execute("UPDATE users SET disabled_at = now()")
        assert await read_changes(store, before.version) is None
        other.execute("COMMIT")
    assert [user.disabled for user in (await changes(store, before.version)).users] == [True]


# Usage.


async def test_a_partition_is_made_once(store: Store) -> None:
    """Asking again, at once too, is no fault."""
    await ensure_partition(store, NOON)
    await ensure_partition(store, NOON)
    assert await store.fetch("SELECT 1 FROM pg_class WHERE relname = 'usage_2024_05'") == [(1,)]


async def test_agents_that_make_a_partition_at_once_make_one(dsn: str) -> None:
    """Every one of them does so at the turn of the month."""
    stores = [Store(dsn) for _ in range(4)]
    await asyncio.gather(*(ensure_partition(store, NOON) for store in stores))
    assert query(dsn, "SELECT count(*) FROM pg_inherits WHERE inhparent = 'usage'::regclass") == [(1,)]
    await asyncio.gather(*(store.close() for store in stores))


@pytest.mark.parametrize(
    ("moment", "partition"),
    [
        ("2024-05-01T00:00:00+00:00", "usage_2024_05"),
        ("2024-05-31T23:59:59.999999+00:00", "usage_2024_05"),
        ("2024-06-01T01:30:00+02:00", "usage_2024_05"),
        ("2024-04-30T23:30:00-02:00", "usage_2024_05"),
        ("2024-12-31T23:59:59+00:00", "usage_2024_12"),
    ],
)
async def test_a_month_is_one_of_utc(store: Store, moment: str, partition: str) -> None:
    """From its first moment to its last, whatever zone a session has."""
    when = datetime.fromisoformat(moment)
    await store.fetch("SET timezone = 'Asia/Tokyo'")
    await ensure_partition(store, when)
    await ship(store, [make_row(1, started_at=when.astimezone(UTC))])
    assert await store.fetch("SELECT tableoid::regclass::text FROM usage") == [(partition,)]


async def test_months_beside_each_other_do_not_overlap(store: Store) -> None:
    """Nor leave a gap."""
    for month in range(1, 13):
        await ensure_partition(store, NOON.replace(month=month))
    await ensure_partition(store, NOON.replace(year=2025, month=1))
    assert await store.fetch("SELECT count(*) FROM pg_inherits WHERE inhparent = 'usage'::regclass") == [(13,)]


async def test_a_row_is_written_with_all_it_says(store: Store) -> None:
    """Column by column; what belongs to corrections and the like stays empty."""
    await ensure_partition(store, NOON)
    row = make_row(2)
    assert await ship(store, [row]) == 1
    [(line,)] = await store.fetch("SELECT to_jsonb(usage)::text FROM usage")
    found = json.loads(line, parse_float=Decimal)
    assert datetime.fromisoformat(found.pop("started_at")) == row.intent.started_at
    expected = {
        "request_id": str(row.intent.request_id), "user_id": 3, "token_id": 11, "endpoint": "/v1/chat/completions",
        "model": "gpt-4o-mini", "served_model": "gpt-4o-mini-2024-07-18", "upstream_id": "chatcmpl-2",
        "upstream_request_id": "req_2", "input_tokens": 1002, "cached_tokens": 2, "output_tokens": 22,
        "reasoning_tokens": 2, "price_id": 7, "cost": Decimal("0.00016335"), "state": "done", "status": 200,
        "client_closed": False, "streamed": True, "error": None, "duration_ms": 1202, "first_byte_ms": 300,
        "cache_write_tokens": 0, "audio_input_tokens": 0, "image_input_tokens": 0, "audio_output_tokens": 0,
        "image_output_tokens": 0, "uncertain_cost": 0,
    }  # fmt: skip
    assert found == expected | dict.fromkeys(found.keys() - expected.keys())


async def test_a_row_twice_in_a_batch_is_written_once(store: Store) -> None:
    """And counted once."""
    await ensure_partition(store, NOON)
    assert await ship(store, [make_row(1), make_row(1)]) == 1
    assert await store.fetch("SELECT sum(requests) FROM usage_daily") == [(1,)]


async def test_a_row_without_a_partition_leaves_no_trace(store: Store) -> None:
    """Neither it nor its share of the roll-up, nor the rest of its batch."""
    await ensure_partition(store, NOON)
    with pytest.raises(StoreRejected):
        await ship(store, [make_row(1), make_row(2, started_at=NOON - timedelta(days=365))])
    assert await store.fetch("SELECT (SELECT count(*) FROM usage), (SELECT count(*) FROM usage_daily)") == [(0, 0)]


# Reports.


@pytest.fixture
def used(io_loop: IOLoop, store: Store) -> Store:
    """A database with usage of two days, two users and two models: rows 1 to 12, of user 1 to 3."""

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
    """Requests and cost of the rows with these numbers."""
    return len(numbers), sum((make_row(n).cost for n in numbers), Decimal(0))


def shown(lines: list[UsageGroup]) -> dict[tuple[str, ...], tuple[int, Decimal]]:
    """Requests and cost by group."""
    return {line.group: (line.requests, line.cost) for line in lines}


async def test_a_report_by_user(used: Store) -> None:
    """With the name, or the number of one who was deleted."""
    assert shown(await usage_report(used, ["user"])) == {
        ("alice",): summed(3, 6, 9, 12),
        ("bob",): summed(1, 4, 7, 10, 13),
        ("user 3",): summed(2, 5, 8, 11),
    }


async def test_a_report_by_model(used: Store) -> None:
    """The one that was asked for."""
    odd, even = summed(1, 3, 5, 7, 9, 11, 13), summed(2, 4, 6, 8, 10, 12)
    assert shown(await usage_report(used, ["model"])) == {("gpt-4o",): odd, ("gpt-4o-mini",): even}


async def test_a_report_by_day_and_month(used: Store) -> None:
    """In UTC."""
    assert list(shown(await usage_report(used, ["day"]))) == [("2024-05-17",), ("2024-05-18",)]
    assert shown(await usage_report(used, ["month"])) == {("2024-05",): summed(*range(1, 14))}


async def test_a_report_by_two_things(used: Store) -> None:
    """In the order that was asked."""
    lines = shown(await usage_report(used, ["day", "user"]))
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
    """Both are included."""
    lines = await usage_report(used, ["month"], UsageFilter(since, until))
    assert sum(line.requests for line in lines) == requests


async def test_a_report_counts_what_was_not_done(used: Store) -> None:
    """It is in the sum, and told apart."""
    [line] = await usage_report(used, ["month"])
    assert (line.requests, line.not_done) == (13, 1)


async def test_a_report_of_nothing_is_empty(store: Store) -> None:
    """And not a line of zeros."""
    assert await usage_report(store, ["user"]) == []


async def test_a_cancellation_is_not_lost_to_an_error(dsn: str) -> None:
    """Whenever it comes while a connection fails: who closes a service would else wait for its task for ever."""
    async with Store(dsn.replace("dbname=", "dbname=no_")) as store:
        for step in range(150):
            task = asyncio.create_task(store.fetch("SELECT 1"))
            for _ in range(step % 50):
                await asyncio.sleep(0)
            await asyncio.sleep((step // 50) * 0.001)
            was_running = task.cancel()
            [result] = await asyncio.gather(task, return_exceptions=True)
            assert isinstance(result, asyncio.CancelledError if was_running else StoreUnavailable)
