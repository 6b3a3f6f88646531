"""Every released schema with data goes up to the newest and back: what its version stored is as it was.

The schema of 0.1.0 is that of migration 0003; each migration since counts as released. One database goes up a step at a
time, and each version stores something of every kind that is new in it, with its own columns. At the newest the ledger
is verified; then the steps are undone, and at each version everything is there that it has had on the way up.
"""

import asyncio
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from chatgpt_agent.adapters.keyring import Keyring
from chatgpt_agent.adapters.migrate import known_migrations, yoyo_backend
from chatgpt_agent.adapters.postgres.checks import Finding, run_checks
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.admin.stored_values import check_values
from tests.support.database import connected
from tests.support.postgres_server import EMPTY, temporary_database

NAMES = known_migrations()
RELEASED = NAMES[NAMES.index("0003.money-and-people") :]
KEYRING = Keyring(b"m" * 32)
VERSIONED = ("users", "tokens", "prices", "budgets", "surcharges", "model_dates")  # raised by every change

TABLES = """
    SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
    AND NOT relispartition AND relname !~ '^_?yoyo_' AND relname <> 'directory_version' ORDER BY 1"""
ROWS = "SELECT '{table}', (to_jsonb(t){without})::text FROM {table} t"
SHAPE = """
    SELECT c.relname || '.' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod) || ' ' || a.attnotnull
           || ' ' || coalesce(pg_get_expr(d.adbin, d.adrelid), '')
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND c.relname !~ 'yoyo'
    UNION ALL SELECT pg_get_indexdef(i.indexrelid) FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
    WHERE c.relnamespace = 'public'::regnamespace AND c.relname !~ 'yoyo'
    UNION ALL SELECT conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace AND contype <> 'n' AND conrelid::regclass::text !~ 'yoyo'
    UNION ALL SELECT tgrelid::regclass || ' ' || pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL SELECT proname || ' ' || coalesce(proconfig::text, '') || ' '
                     || regexp_replace(regexp_replace(prosrc, '--[^\\n]*', '', 'g'), '\\s', '', 'g')
    FROM pg_proc WHERE pronamespace = 'public'::regnamespace"""

USAGE = "request_id, user_id, token_id, endpoint, model, price_id, state, client_closed, streamed, started_at"


def sealed(user: int) -> str:
    """The encrypted OpenAI key of a user, as a literal."""
    return f"'\\x{KEYRING.encrypt(user, 'sk-made-up').hex()}'"


def digest(token: str) -> str:
    """The digest of a token, as a literal."""
    return f"'\\x{KEYRING.digest(token).hex()}'"


# What the program of 0.1.0 stored. alice has every kind of limit, bob is disabled, carl is removed.
AT_0003 = f"""
    INSERT INTO settings VALUES ('master_key_check', '{KEYRING.check_value}');
    UPDATE settings SET value = 'Asia/Tokyo' WHERE name = 'time_zone';
    INSERT INTO users (name, upstream_key, created_at, comment, allowed_models, rpm, tpm, concurrency, disabled_at)
    VALUES ('alice', {sealed(1)}, '2026-01-01Z', 'Sales', '{{model-*}}', 60, 1000, 5, NULL),
           ('bob', {sealed(2)}, '2026-01-01Z', '', NULL, NULL, NULL, NULL, '2026-02-01Z');
    INSERT INTO users (name, upstream_key, created_at, removed_at) VALUES ('carl', '', '2026-01-01Z', '2026-02-01Z');
    INSERT INTO tokens (user_id, digest, shown, label, created_at, revoked_at, expires_at, allowed_models,
                        allowed_networks, rpm, tpm, concurrency)
    VALUES (1, {digest("cga_1")}, 'cga_1111', 'laptop', '2026-01-01Z', NULL, '2027-01-01Z', '{{model-1}}',
            '{{10.0.0.0/8,::1/128}}', 6, 100, 2),
           (2, {digest("cga_2")}, 'cga_2222', '', '2026-01-01Z', '2026-02-01Z', NULL, NULL, NULL, NULL, NULL, NULL);
    INSERT INTO token_uses VALUES (1, '2026-01-15Z');
    INSERT INTO prices (model, effective_at, input, cached_input, output, cache_write, audio_input, audio_output,
                        image_input, image_output, tiers, created_at)
    VALUES ('model-1', '2026-01-01Z', 1, 0.5, 2, 1.25, 3, 4, 5, 6,
            '[{{"service_tier": "flex", "above": 0, "multiplier": "0.5"}}]', '2026-01-01Z'),
           ('model-2', '2026-01-01Z', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '[]', '2026-01-01Z');
    INSERT INTO budgets (user_id, token_id, period, amount, created_at)
    VALUES (1, NULL, 'month', 12.50, '2026-01-01Z'), (NULL, 1, 'total', 100, '2026-01-01Z'),
           (2, NULL, 'week', NULL, '2026-01-01Z');
    INSERT INTO reservations VALUES ('00000000-0000-0000-0000-00000000000a', 1, 1, 0.25);
    INSERT INTO budget_alerts VALUES (1, '2026-01-01Z', 80, 12.50, '{{}}', 3, '2026-01-20Z', '2026-01-20Z');
    INSERT INTO admins (name, role, digest, shown, created_at)
    VALUES ('root', 'admin', decode(repeat('0a', 32), 'hex'), 'cgm_1111', '2026-01-01Z');
    INSERT INTO agents (id, seen_at, last_shipped_at, waiting, oldest_at)
    VALUES ('00000000-0000-0000-0000-00000000000a', '2026-01-31Z', '2026-01-31Z', 0, NULL);
    SELECT ensure_usage_partition('2026-01-01Z'), ensure_usage_partition(now()),
           ensure_usage_partition(now() + interval '1 month');
    INSERT INTO usage ({USAGE}, served_model, upstream_id, upstream_request_id, input_tokens, cached_tokens,
                       output_tokens, reasoning_tokens, cache_write_tokens, audio_input_tokens, image_input_tokens,
                       audio_output_tokens, image_output_tokens, cost, status, error, duration_ms, first_byte_ms,
                       service_tier, reserved, corrects, reason)
    SELECT ('00000000-0000-7000-8000-0000000000' || n)::uuid, 1, 1, endpoint, 'model-1', price, state, false, true,
           '2026-01-20 15:30Z', 'model-1-x', 'resp_' || n, 'req_' || n, input, cached, output, 0, 0, 0, 0, 0, 0, cost,
           200, NULL, 1500, 300, tier, reserved, corrects::uuid, reason
    FROM (VALUES
        ('01', '/v1/responses', 1, 'done', 10, 4, 5, 0.000018, NULL, 0, NULL, NULL),
        ('02', '/v1/chat/completions', 1, 'done', 10, 4, 5, 0.000009, 'flex', 0, NULL, NULL),
        ('03', '/v1/chat/completions', 1, 'usage_unknown', NULL, NULL, NULL, 0, NULL, 0.02, NULL, NULL),
        ('04', '/v1/chat/completions', 1, 'upstream_error', NULL, NULL, NULL, 0, NULL, 0, NULL, NULL),
        ('05', '/v1/chat/completions', 1, 'incomplete', 10, 0, 5, 0.00002, NULL, 0, NULL, NULL),
        ('06', '/v1/chat/completions', 1, 'not_sent', NULL, NULL, NULL, 0, NULL, 0, NULL, NULL),
        ('07', '/v1/chat/completions', 1, 'unknown', NULL, NULL, NULL, 0, NULL, 0.03, NULL, NULL),
        ('08', '/v1/chat/completions', 1, 'correction', 1, 0, 0, 0.000001, NULL, -0.03,
         '00000000-0000-7000-8000-000000000007', 'OpenAI has it'),
        ('09', '/chat', 0, 'imported', 7, NULL, 3, 0.5, NULL, 0, NULL, NULL)
    ) AS rows (n, endpoint, price, state, input, cached, output, cost, tier, reserved, corrects, reason);
    SELECT rebuild_usage_daily();"""

# What each version stores; later ones, what their predecessors could not.
STORED = {
    RELEASED[0]: AT_0003,
    "0006.replaced-tokens": f"""
        INSERT INTO tokens (user_id, digest, token_prefix, label, created_at)
        VALUES (1, {digest("cga_3")}, 'cga_3333', 'new', '2026-01-02Z');
        INSERT INTO tokens (user_id, digest, token_prefix, label, created_at, replaced_by)
        VALUES (1, {digest("cga_4")}, 'cga_4444', 'old', '2026-01-02Z', 3)""",
    "0007.cancelled-prices": """
        INSERT INTO prices (model, effective_at, input, output, created_at, cancelled_at)
        VALUES ('model-1', '2027-01-01Z', 9, 9, '2026-01-02Z', '2026-01-03Z')""",
    "0008.shipped-rows": """
        INSERT INTO agents (id, seen_at, backlog, shipped_rows, lost_rows, ended_at)
        VALUES ('00000000-0000-0000-0000-00000000000b', '2026-01-31Z', 0, 17, 0, '2026-01-31Z')""",
    "0011.kinds-of-2026": f"""
        INSERT INTO users (name, upstream_key, created_at, standard_tier_only)
        VALUES ('dora', {sealed(4)}, '2026-01-02Z', true);
        INSERT INTO prices (model, effective_at, input, output, cached_audio, cached_image, cache_write_12h, minute,
                            created_at)
        VALUES ('model-11', '2026-01-01Z', 1, 2, 0.1, 0.2, 2.5, 0.006, '2026-01-02Z');
        INSERT INTO surcharges (kind, host, model, amount, effective_at, created_at)
        VALUES ('web_search', '', '', 0.01, '2026-01-01Z', '2026-01-02Z');
        INSERT INTO model_dates (model, shutdown_on) VALUES ('model-1', '2027-01-01');
        INSERT INTO usage ({USAGE}, input_tokens, cached_tokens, output_tokens, cost, web_search_calls, surcharge_ids,
                           uncertain_reason)
        VALUES ('00000000-0000-7000-8000-000000001101', 4, 1, '/v1/responses', 'model-11',
                (SELECT id FROM prices WHERE model = 'model-11'), 'done', false, false, '2026-01-21Z', 10, 0, 5,
                0.02002, 2, '{{1}}', 'service_tier');
        INSERT INTO usage ({USAGE}, input_tokens, cached_tokens, output_tokens, cost)
        VALUES ('00000000-0000-7000-8000-000000001102', 4, 1, '/v1/moderations', 'model-free', NULL, 'done', false,
                false, '2026-01-21Z', 0, 0, 0, 0);
        SELECT rebuild_usage_daily()""",
    "0012.passwords-and-sessions": """
        INSERT INTO admins (name, role, password_hash, password_set_at, created_at)
        VALUES ('carol', 'viewer', 'made-up hash', '2026-01-02Z', '2026-01-02Z');
        INSERT INTO admin_sessions SELECT decode(repeat('0b', 32), 'hex'), id, '2026-01-02Z', '2026-01-02Z'
        FROM admins WHERE name = 'carol'""",
    "0013.figures-for-the-console": """
        INSERT INTO ledger_checks (kind, at, actor, findings, summary)
        VALUES ('reconcile', '2026-01-31Z', 'carol', 1, '2026-01-01 to 2026-01-31');
        INSERT INTO reconciled_days SELECT id, '2026-01-20', 0.1, 0.2 FROM ledger_checks;
        UPDATE agents SET unpriced_models = '{"model-9": 2}', in_progress = 1, version = '0.2.0'""",
    "0014.raised-budgets": """
        INSERT INTO budgets (user_id, period, amount, created_at, raised_amount, raised_until)
        VALUES (4, 'month', 5, '2026-01-02Z', 9, '2026-03-01Z')""",
    "0020.shared-limits": """
        INSERT INTO limit_use VALUES ('00000000-0000-0000-0000-00000000000b', 'user', 1,
            '00000000-0000-4000-8000-00000000000c', 3, 20, -5, 2, 7.5, 0, '2026-01-31Z')""",
    "0016.changed-master-key": "UPDATE agents SET master_keys = '{0123456789abcdef}'",
}


class Journey(msgspec.Struct):
    """What a database had at each version on its way up, and when it came back; what was wrong at the newest."""

    before: dict[str, dict[str, set[str]]] = {}
    after: dict[str, dict[str, set[str]]] = {}
    shape_before: dict[str, set[str]] = {}
    shape_after: dict[str, set[str]] = {}
    findings: list[Finding] = []


def contents(cursor: Any) -> dict[str, set[str]]:
    """The rows of every table as JSON, without the versions of the directory."""
    cursor.execute(TABLES)
    rows: dict[str, set[str]] = {table: set() for (table,) in cursor.fetchall()}
    selects = [
        ROWS.format(table=table, without=" - 'changed' - 'version'" if table in VERSIONED else "") for table in rows
    ]
    cursor.execute(" UNION ALL ".join(selects))
    for table, text in cursor.fetchall():
        rows[table].add(text)
    return rows


def shape(cursor: Any) -> set[str]:
    """Columns, indexes, constraints, triggers and functions."""
    cursor.execute(SHAPE)
    return {text for (text,) in cursor.fetchall()}


async def verified(dsn: str) -> list[Finding]:
    """What `ledger verify` finds in a database."""
    async with Store(dsn) as store:
        return await run_checks(store, 100) + await check_values(store, KEYRING, 100)


@pytest.fixture(scope="module")
def journey(postgres: str) -> Iterator[Journey]:
    """A database that went up from 0.1.0 with data, and back."""
    trip = Journey()
    with temporary_database(postgres, EMPTY) as dsn, connected(dsn) as cursor:
        with yoyo_backend(dsn) as (backend, migrations):
            for migration in backend.to_apply(migrations):
                backend.apply_migrations(type(migrations)([migration]))
                cursor.execute(STORED.get(migration.id, "SELECT"))
                trip.shape_before[migration.id], trip.before[migration.id] = shape(cursor), contents(cursor)
        trip.findings = asyncio.run(verified(dsn))
        with yoyo_backend(dsn) as (backend, migrations):
            for migration in list(backend.to_rollback(migrations))[: len(RELEASED)]:
                trip.shape_after[migration.id], trip.after[migration.id] = shape(cursor), contents(cursor)
                backend.rollback_one(migration)
        yield trip


def test_ledger_is_consistent_after_the_upgrade(journey: Journey) -> None:
    """Sums, costs, prices, partitions, every row and every OpenAI key."""
    assert journey.findings == []


@pytest.mark.parametrize("name", RELEASED)
def test_data_of_a_version_is_as_it_was_after_going_up_and_back(journey: Journey, name: str) -> None:
    """Every row that it had stored is there with every value; later versions may have added others."""
    before, after = journey.before[name], journey.after[name]
    assert {table: sorted(rows - after[table]) for table, rows in before.items() if rows - after[table]} == {}
    assert {table for table, rows in before.items() if rows} <= {table for table, rows in after.items() if rows}


@pytest.mark.parametrize("name", RELEASED)
def test_schema_of_a_version_is_as_it_was_after_going_up_and_back(journey: Journey, name: str) -> None:
    """Columns, indexes, constraints, triggers and functions: the older program finds what it knows."""
    assert journey.shape_before[name] ^ journey.shape_after[name] == set()


def test_every_table_had_data(journey: Journey) -> None:
    """A table without a row proves nothing; archived months and refused rows have tests of their own."""
    newest = journey.before[NAMES[-1]]
    untested = {"archived_months", "archived_daily", "archived_latency", "dead_letters"}
    assert {table for table, rows in newest.items() if not rows} == untested
