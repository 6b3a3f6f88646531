"""Rows that agents cannot read, as an edit in SQL can store them without the constraints of the schema."""

import psycopg2
import pytest

from chatgpt_agent.adapters.migrate import known_migrations, migrate, rollback
from chatgpt_agent.adapters.postgres.directory import unreadable_rows
from chatgpt_agent.admin.administration import Administration
from chatgpt_agent.core.access.settings import NewUser
from chatgpt_agent.core.budget.period import Period
from chatgpt_agent.core.errors import StoreRejected
from chatgpt_agent.core.money.exact import ZERO
from chatgpt_agent.core.money.kinds import Rates
from chatgpt_agent.runtime.directory import Directory
from tests.support.database import query, without_checks
from tests.support.directories import KEYRING, works
from tests.support.waiting import until

BAD_ROWS = [
    ("users", "allowed_models = '{NULL}'"),
    ("users", "allowed_models = '{{a,b},{c,d}}'"),
    ("tokens", "expires_at = 'infinity'"),
    ("tokens", "expires_at = '-infinity'"),
    ("tokens", "expires_at = '9999-12-31T23:59:59-05:00'"),
    ("tokens", "expires_at = '0001-01-01T00:00:00+01:00'"),
    ("tokens", "expires_at = '0044-03-15 12:00+00 BC'"),
    ("tokens", "allowed_models = '{NULL}'"),
    ("prices", "effective_at = '0001-01-01T00:00:00+01:00'"),
    ("prices", "effective_at = '294276-01-01'"),
    ("prices", "input = 'NaN'"),
    ("prices", "output = 'Infinity'"),
    ("prices", "cached_input = -1"),
    ("prices", "tiers = '{}'"),
    ("prices", "tiers = '[1]'"),
    ("prices", """tiers = '[{"above": "many"}]'"""),
    ("prices", """tiers = '[{"service_tier": "flex", "multiplier": "NaN"}]'"""),
    ("prices", """tiers = '[{"service_tier": "flex", "input": "1"}]'"""),
    ("budgets", "amount = 'NaN'"),
    ("budgets", "amount = 'Infinity'"),
    ("budgets", "amount = -1"),
    ("budgets", "raised_amount = 'NaN', raised_until = '2026-01-01Z'"),
    ("budgets", "raised_amount = 1, raised_until = 'infinity'"),
    ("budgets", "raised_amount = 1"),
    ("budgets", "period = 'year'"),
]


async def add_rows(administration: Administration, count: int) -> None:
    """Adds a user with a token, a price and a budget, several times."""
    for number in range(count):
        name = f"user {number}"
        await administration.users.add(NewUser(name=name, openai_key="sk-other"))
        await administration.prices.set(name, Rates(input=ZERO, output=ZERO))
        await administration.budgets.set(user=name, period=Period.DAY, amount=ZERO)


async def test_unreadable_rows_stop_nothing(
    directory: Directory, administration: Administration, dsn: str, token: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Each row is named in the log, and changes of other rows are still read, also by an agent that starts then."""
    await add_rows(administration, len(BAD_ROWS) + 1)
    without_checks(dsn)
    named = []
    for number, (table, edit) in enumerate(BAD_ROWS, 2):
        [(id_,)] = query(dsn, f"UPDATE {table} SET {edit} WHERE id = %s RETURNING id", [number])
        named.append((table, id_))
    carl = await administration.users.add(NewUser(name="carl", openai_key="sk-carl"))
    await until(lambda: works(directory, carl.token))
    assert works(directory, token)
    for table, id_ in named:
        assert f"{table}: the row with id {id_} cannot be read" in caplog.text
    unreadable = await unreadable_rows(administration.stores.proofs)
    assert sorted((row.table, row.id) for row in unreadable) == sorted(named)
    assert len(await administration.users.list()) == len(await administration.tokens.list()) == len(BAD_ROWS) + 3
    assert await administration.prices.history()
    assert await administration.budgets.list()
    directory.version = -1  # as at a start
    dora = await administration.users.add(NewUser(name="dora", openai_key="sk-dora"))
    await until(lambda: works(directory, dora.token) and works(directory, token))


@pytest.mark.parametrize("edit", ["users SET allowed_models = '{NULL}'", "tokens SET expires_at = 'infinity'"])
async def test_row_that_becomes_unreadable_gives_no_access(
    directory: Directory, dsn: str, token: str, edit: str
) -> None:
    """The copy of a row does not outlive it: the edit may have taken rights away."""
    without_checks(dsn)
    query(dsn, f"UPDATE {edit}")
    await until(lambda: not works(directory, token))


async def test_unreadable_budget_denies(directory: Directory, administration: Administration, dsn: str) -> None:
    """Without its budget, a user could spend without a limit."""
    await administration.budgets.set(user="alice", period=Period.DAY, amount=ZERO + 5)
    without_checks(dsn)
    query(dsn, "UPDATE budgets SET amount = 'NaN'")
    await until(lambda: [budget.amount for budget in directory.budgets.values()] == [ZERO])


async def test_unknown_time_zone_stops_nothing(
    directory: Directory, administration: Administration, dsn: str, token: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Budgets keep the time zone that they had."""
    query(dsn, "ALTER TABLE settings DISABLE TRIGGER ALL")
    query(dsn, "UPDATE settings SET value = 'Mars/Olympus' WHERE name = 'time_zone'")
    bob = await administration.users.add(NewUser(name="bob", openai_key="sk-bob"))
    await until(lambda: works(directory, bob.token))
    assert directory.time_zone == "UTC"
    assert "time zone 'Mars/Olympus' does not exist" in caplog.text


async def test_missing_version_is_an_error_of_the_database(administration: Administration, dsn: str) -> None:
    """A table that was emptied by hand is named, and the copy in memory goes on until it is stale."""
    query(dsn, "DELETE FROM directory_version")
    directory = Directory(administration.stores.changes, on_budgets=lambda *_: None, stale_after=1, clock=lambda: 0.0)
    with pytest.raises(StoreRejected, match="directory_version has 0 rows"):
        await directory.start(KEYRING)


def test_database_refuses_a_time_zone_that_it_does_not_know(dsn: str) -> None:
    """With such a zone it would refuse every row of usage."""
    with pytest.raises(Exception, match="Mars/Olympus"):
        query(dsn, "UPDATE settings SET value = 'Mars/Olympus' WHERE name = 'time_zone'")


async def test_database_refuses_unreadable_values(administration: Administration, dsn: str) -> None:
    """The schema has a constraint for every value that no reader could read, but for what a tier contains."""
    await add_rows(administration, 1)
    accepted = []
    for table, edit in BAD_ROWS:
        try:
            query(dsn, f"UPDATE {table} SET {edit}")
        except psycopg2.errors.CheckViolation:
            continue
        accepted.append(edit)
    assert all(edit.startswith("tiers = '[") for edit in accepted)


def test_migration_moves_times_inside(dsn: str) -> None:
    """What earlier versions accepted keeps its meaning: tokens stay expired or valid, and of several prices before the
    beginning the last one stays in force."""
    rollback(dsn, len(known_migrations()) - known_migrations().index("0009.readable-values"))
    query(dsn, "INSERT INTO users (name, upstream_key, created_at) VALUES ('alice', '', now())")
    for number, moment in enumerate(["9999-12-31T23:59:59-05:00", "infinity", "0001-01-01T00:00:00+01:00"]):
        query(dsn, "INSERT INTO tokens (user_id, digest, token_prefix, created_at, expires_at)"
                   " VALUES (1, %s, '', now(), %s)", [bytes([number]) * 32, moment])  # fmt: skip
    for moment in ("0001-01-01T00:00:00+01:00", "-infinity", "1999-01-01Z", "2026-01-01Z", "infinity"):
        query(dsn, "INSERT INTO prices (model, effective_at, input, output, created_at) VALUES ('m', %s, 1, 1, now())",
              [moment])  # fmt: skip
    query(dsn, "INSERT INTO budgets (user_id, period, amount, created_at) VALUES (1, 'day', 'NaN', now())")
    migrate(dsn)
    tokens = query(dsn, "SELECT expires_at > now() FROM tokens ORDER BY id")
    assert tokens == [(True,), (True,), (False,)]
    assert query(dsn, "SELECT id FROM prices ORDER BY effective_at, id") == [(2,), (1,), (3,), (4,), (5,)]
    assert query(dsn, "SELECT amount::text FROM budgets") == [("NaN",)]


async def test_verify_reports_what_cannot_be_read(administration: Administration, dsn: str, token: str) -> None:
    """Rows that agents leave out, and OpenAI keys that cannot be decrypted, each with its table and id."""
    await administration.users.add(NewUser(name="bob", openai_key="sk-bob"))
    without_checks(dsn)
    query(dsn, "UPDATE tokens SET expires_at = 'infinity' WHERE id = 1")
    query(dsn, "UPDATE users SET upstream_key = 'garbage' WHERE id = 2")
    query(dsn, "UPDATE tokens SET allowed_networks = '{10.0.0.0/8,office}' WHERE id = 2")
    findings = await administration.ledger.verify(keyring=KEYRING)
    assert [(finding.check, finding.subject) for finding in findings if finding.check != "partition"] == [
        ("unreadable", "tokens 1"),
        ("network", "tokens 2"),
        ("openai key", "users 2"),
    ]
