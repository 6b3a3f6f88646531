"""`chatgpt-agent migrate --rollback`: what is lost is shown first, and nothing becomes open to more than before."""

import json
from decimal import Decimal

import msgspec
import pytest

from chatgpt_agent.adapters.migrate import known_migrations, migrate, rollback, schema_status
from chatgpt_agent.core.usage import Usage
from tests.support.commands import Cli
from tests.support.database import query
from tests.support.ledger_rows import november_row, ship_rows
from tests.support.serving import Serve

pytestmark = pytest.mark.slow

NAMES = known_migrations()
BEFORE_LIMITS = str(len(NAMES) - NAMES.index("0003.money-and-people"))  # migrations that 0003 and later ones are
AN_AGENT = "INSERT INTO agents (id, seen_at, backlog) VALUES (gen_random_uuid(), now() - %s::interval, 0)"

HEARD = Usage(input=1, output=0, web_search_calls=3, seconds=Decimal("1.5"))


def database(cli: Cli) -> str:
    """The name of the database."""
    return str(query(cli.settings["DATABASE_URL"], "SELECT current_database()")[0][0])


def roll_back(cli: Cli, count: int | str) -> str:
    """Rolls back, and returns what standard error says about it."""
    result = cli.run("migrate", "--rollback", str(count), "--yes", database(cli))
    assert result.exit_code == 0, result.stderr
    return result.stderr


def applied(cli: Cli) -> list[str]:
    """The migrations that the database has."""
    return schema_status(cli.settings["DATABASE_URL"]).applied


@pytest.fixture
def filled(cli: Cli) -> Cli:
    """The program with a user, a price, a budget and an administrator."""
    cli.add_user("alice")
    cli.ok("user", "set", "alice", "--comment", "Sales")
    cli.ok("price", "set", "m", "--input", "1", "--output", "2")
    cli.ok("budget", "set", "5", "--user", "alice")
    cli.ok("admin", "token", "carol")
    return cli


# What is asked before.


def test_rollback_without_yes_changes_nothing(filled: Cli) -> None:
    """The exit code is 1, and the last line has the option that confirms."""
    *_, last = filled.refused("migrate", "--rollback", BEFORE_LIMITS)
    assert last == f"Error: nothing was changed: to roll back, add `--yes {database(filled)}`"
    assert applied(filled) == NAMES
    assert "Sales" in filled.ok("user", "list")


def test_rollback_with_another_name_changes_nothing(filled: Cli) -> None:
    """The name of another database does not confirm."""
    assert "'agent'" in filled.refused("migrate", "--rollback", "1", "--yes", "agent")[-1]
    assert applied(filled) == NAMES


@pytest.mark.parametrize("line", [
    "the table admins is dropped, with 1 row",
    "the table budgets is dropped, with 1 row",
    "the table audit_log is dropped, with 6 rows",
    "users loses columns: comment (set in 1 row)",
    "1 tokens are revoked: the older program does not know their limits",
])  # fmt: skip
def test_rollback_says_what_would_be_lost(filled: Cli, line: str) -> None:
    """Tables with their rows, columns with the rows that have a value, and tokens."""
    assert f"  {line}" in filled.refused("migrate", "--rollback", BEFORE_LIMITS)


def test_rollback_names_what_only_the_newer_program_charges(filled: Cli, dsn: str) -> None:
    """Columns count where they have a value that is not the default."""
    filled.ok("user", "set", "alice", "--standard-tier-only")
    filled.ok("price", "surcharge", "set", "web_search", "0.01")
    filled.ok("price", "set", "heard", "--input", "0", "--output", "0", "--minute", "0.006")
    ship_rows(dsn, [november_row(1, 1, 2), msgspec.structs.replace(november_row(2, 1, 3), usage=HEARD)])
    query(dsn, AN_AGENT, ["1 hour"])
    query(dsn, "UPDATE agents SET unknown_usage_fields = '{\"foo\": 2}'")
    lines = filled.refused("migrate", "--rollback", str(len(NAMES) - NAMES.index("0011.kinds-of-2026")))
    assert "  the table surcharges is dropped, with 1 row" in lines
    for table, columns in {
        "users": "standard_tier_only (set in 1 row)",
        "prices": "minute (set in 1 row)",
        "agents": "unknown_usage_fields (set in 1 row)",
        "usage": "web_search_calls (set in 1 row), seconds (set in 1 row)",
        "usage_daily": "web_search_calls (set in 1 row), seconds (set in 1 row)",
    }.items():
        assert f"  {table} loses columns: {columns}" in lines


def test_renamed_column_is_no_loss(filled: Cli) -> None:
    """A rollback of renames says that no row is lost."""
    count = len(NAMES) - NAMES.index("0004.plain-column-names")
    lines = filled.refused("migrate", "--rollback", str(count))
    assert not [line for line in lines if "token_prefix" in line or "version" in line]


def test_rollback_of_all_names_every_table_with_rows(filled: Cli) -> None:
    """Users, tokens and prices are lost with the first migration."""
    errors = "\n".join(filled.refused("migrate", "--rollback", str(len(NAMES))))
    for table in ("users", "tokens", "prices"):
        assert f"the table {table} is dropped, with 1 row" in errors


def test_rollback_of_more_than_there_is_is_refused(cli: Cli) -> None:
    """The line has both numbers."""
    [line] = cli.refused("migrate", "--rollback", "99", "--yes", database(cli))
    assert line == f"Error: {len(NAMES)} migrations are applied, so 99 cannot be rolled back"
    assert applied(cli) == NAMES


@pytest.mark.parametrize("yes", [True, False])
def test_rollback_beside_a_running_agent_is_refused(cli: Cli, yes: bool) -> None:
    """An agent that reported within the last minute counts as running."""
    query(cli.settings["DATABASE_URL"], AN_AGENT, ["50 seconds"])
    [line] = cli.refused("migrate", "--rollback", "1", *(["--yes", database(cli)] if yes else []))
    assert line.startswith("Error: an agent of this database reported 50 s ago: stop all agents")
    assert applied(cli) == NAMES


def test_agent_that_ended_in_good_order_does_not_matter(cli: Cli) -> None:
    """It has reported its end."""
    query(cli.settings["DATABASE_URL"], AN_AGENT, ["1 second"])
    query(cli.settings["DATABASE_URL"], "UPDATE agents SET ended_at = now()")
    roll_back(cli, 1)


def test_report_from_the_future_counts_as_recent(cli: Cli) -> None:
    """The agent's clock may be ahead of PostgreSQL's."""
    query(cli.settings["DATABASE_URL"], AN_AGENT, ["-1 hour"])
    assert "reported 0 s ago" in cli.refused("migrate", "--rollback", "1")[-1]


def test_agent_that_stopped_a_while_ago_does_not_matter(cli: Cli) -> None:
    """Its last report is older than a minute."""
    query(cli.settings["DATABASE_URL"], AN_AGENT, ["61 seconds"])
    roll_back(cli, 1)
    assert applied(cli) == NAMES[:-1]


def test_agent_that_stopped_in_good_order_does_not_matter(cli: Cli) -> None:
    """It has reported its end, so there is nothing to wait for."""
    query(cli.settings["DATABASE_URL"], AN_AGENT, ["5 seconds"])
    query(cli.settings["DATABASE_URL"], "UPDATE agents SET ended_at = now()")
    roll_back(cli, 1)
    assert applied(cli) == NAMES[:-1]


def test_yes_needs_a_rollback(cli: Cli) -> None:
    """The exit code is 2."""
    assert cli.refused("migrate", "--yes", "agent", code=2)[-1] == "Error: --yes confirms a --rollback"


# What it does.


def test_rollback_undoes_the_last_migration(cli: Cli) -> None:
    """Only the given number of migrations is rolled back."""
    out = cli.ok("migrate", "--rollback", "1", "--yes", database(cli))
    assert (out.splitlines(), applied(cli)) == ([f"rolled back {NAMES[-1]}"], NAMES[:-1])


def test_rollback_prints_its_losses_as_json(filled: Cli) -> None:
    """Programs can read what was lost."""
    out = json.loads(filled.ok("migrate", "--rollback", BEFORE_LIMITS, "--yes", database(filled), "--json"))
    assert out["rolled_back"] == NAMES[: -int(BEFORE_LIMITS) - 1 : -1]
    assert {"table": "admins", "rows": 1, "columns": {}, "dropped": True} in out["losses"]


def test_failed_rollback_changes_nothing(filled: Cli) -> None:
    """Several migrations are rolled back in one transaction."""
    query(filled.settings["DATABASE_URL"], "CREATE VIEW of_ours AS SELECT id FROM prices")
    filled.refused("migrate", "--rollback", str(len(NAMES)), "--yes", database(filled))
    assert applied(filled) == NAMES


# What follows.


def test_schema_can_be_migrated_again_after_a_rollback(cli: Cli) -> None:
    """A rollback leaves nothing in the way."""
    roll_back(cli, len(NAMES))
    cli.ok("migrate")
    assert cli.ok("user", "list")


@pytest.mark.parametrize("count", [1, len(NAMES)])
def test_status_shows_what_was_rolled_back(cli: Cli, count: int) -> None:
    """It is not merely pending."""
    roll_back(cli, count)
    assert cli.ok("migrate", "--status").count("rolled back") == count


async def test_start_does_not_undo_a_rollback(cli: Cli) -> None:
    """The agent names the command that migrates forward again, and exits with 1."""
    dsn = cli.settings["DATABASE_URL"]
    rollback(dsn, 1)
    async with Serve(cli.settings) as serve:
        assert await serve.ended() == 1
    assert serve.lines[-1].startswith(f"Error: {NAMES[-1]} was rolled back: install the older program")
    assert "`chatgpt-agent migrate`" in serve.lines[-1]
    assert schema_status(dsn).applied == NAMES[:-1]


def test_changing_command_does_not_undo_a_rollback(cli: Cli) -> None:
    """No command but `migrate` goes forward again."""
    roll_back(cli, 1)
    assert "was rolled back" in cli.refused("price", "set", "m", "--input", "1", "--output", "1")[-1]
    assert applied(cli) == NAMES[:-1]


# What older programs do not know.

EXAMPLES = {"timestamp with time zone": "now()", "ARRAY": "'{x}'", "bigint": "1", "text": "'x'", "numeric": "1",
            "boolean": "true", "integer": "1", "date": "now()", "uuid": "gen_random_uuid()"}  # fmt: skip
NO_LIMIT = {"revoked_at", "disabled_at", "replaced_by"}
A_TOKEN = """
    WITH u AS (INSERT INTO users (name, upstream_key, created_at{user}) VALUES (%s, '', now(){user_value})
               RETURNING id)
    INSERT INTO tokens (user_id, digest, token_prefix, created_at{token})
    SELECT id, decode(md5(%s) || md5(%s), 'hex'), 'cga_abcd', now(){token_value} FROM u"""


def limits(dsn: str) -> dict[tuple[str, str], str]:
    """Columns of users and tokens that may be empty, each with an example: all that limits a token is one of them."""
    sql = """SELECT table_name, column_name, data_type FROM information_schema.columns
             WHERE table_schema = 'public' AND table_name IN ('users', 'tokens') AND is_nullable = 'YES'"""
    return {(table, column): EXAMPLES[kind] for table, column, kind in query(dsn, sql) if column not in NO_LIMIT}


def add_token(dsn: str, name: str, table: str = "", column: str = "", value: str = "") -> None:
    """Adds a user with a token; one of both has a value in a column."""
    parts = {"user": "", "user_value": "", "token": "", "token_value": ""}
    if table:
        kind = table.removesuffix("s")
        parts |= {kind: f", {column}", f"{kind}_value": f", {value}"}
    query(dsn, A_TOKEN.format(**parts), [name, name, name])


def open_users(dsn: str) -> set[str]:
    """The users with a token that works."""
    sql = (
        "SELECT u.name FROM users u JOIN tokens t ON t.user_id = u.id WHERE disabled_at IS NULL AND revoked_at IS NULL"
    )
    return {name for (name,) in query(dsn, sql)}


def columns(dsn: str) -> set[tuple[str, str]]:
    """All columns."""
    sql = "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"
    return set(query(dsn, sql))


def test_token_whose_limit_is_rolled_back_is_revoked(dsn: str) -> None:
    """Whichever column of users or tokens a rollback drops, no token works that had a value in it; other tokens do."""
    limited = limits(dsn)
    for (table, column), value in limited.items():
        add_token(dsn, f"{table}.{column}", table, column, value)
    add_token(dsn, "free")
    for count in range(len(NAMES) - 1):
        rollback(dsn, 1)
        dropped = {f"{table}.{column}" for table, column in limited.keys() - columns(dsn)}
        assert not dropped & open_users(dsn), NAMES[-count - 1]
        assert "free" in open_users(dsn)


@pytest.mark.parametrize("owner", ["user", "token"])
def test_token_with_a_budget_is_revoked_with_its_budget(cli: Cli, owner: str) -> None:
    """It could spend without end otherwise."""
    cli.add_user("alice")
    cli.add_user("bob")
    cli.ok("budget", "set", "5", f"--{owner}", "alice" if owner == "user" else "1")
    roll_back(cli, BEFORE_LIMITS)
    assert open_users(cli.settings["DATABASE_URL"]) == {"bob"}


def test_removed_user_stays_out_after_a_rollback_and_a_new_start(cli: Cli) -> None:
    """The user becomes a disabled one."""
    cli.add_user("alice")
    cli.ok("user", "remove", "alice", "--yes")
    assert "1 removed users are disabled" in roll_back(cli, BEFORE_LIMITS)
    migrate(cli.settings["DATABASE_URL"])
    assert json.loads(cli.ok("user", "show", "alice", "--json"))["user"]["disabled_at"] is not None


def test_daily_sums_equal_the_rows_after_a_rollback_of_corrections(dsn: str) -> None:
    """A rollback that deletes rows takes them out of the sums."""
    rollback(dsn, len(NAMES) - NAMES.index("0002.books-that-are-proven") - 1)
    query(dsn, "SELECT ensure_usage_partition('2026-01-01Z')")
    for state, corrects, cost in (("done", None, 3), ("correction", "00000000-0000-0000-0000-000000000001", 2)):
        query(
            dsn,
            """INSERT INTO usage (request_id, user_id, token_id, endpoint, model, price_id, cost, state, client_closed,
                                  streamed, started_at, corrects, reason)
               VALUES (gen_random_uuid(), 1, 1, '/chat', 'm', 1, %s, %s, false, false, '2026-01-01Z', %s, %s)""",
            [cost, state, corrects, corrects and "why"],
        )
    rollback(dsn, 1)
    assert query(dsn, "SELECT requests::int, cost::int FROM usage_daily") == [(1, 3)]


# Passwords.

BEFORE_PASSWORDS = str(len(NAMES) - NAMES.index("0012.passwords-and-sessions"))


def set_password(cli: Cli, name: str) -> None:
    """Sets an admin's password."""
    cli.ok("admin", "password", name, "--password-stdin", stdin="made-up words")


def test_admin_without_a_token_is_revoked(cli: Cli) -> None:
    """The older program knows tokens alone; what it loses and revokes is shown before."""
    cli.ok("admin", "token", "carol")
    set_password(cli, "carol")
    set_password(cli, "dave")
    lines = cli.refused("migrate", "--rollback", BEFORE_PASSWORDS)
    assert "  admins loses columns: password_hash (set in 2 rows), password_set_at (set in 2 rows)" in lines
    assert "  1 admins are revoked: the older program does not know their passwords" in lines
    roll_back(cli, BEFORE_PASSWORDS)
    dsn = cli.settings["DATABASE_URL"]
    sql = "SELECT name, revoked_at IS NULL, length(digest), token_prefix <> '' FROM admins ORDER BY name"
    assert query(dsn, sql) == [("carol", True, 32, True), ("dave", False, 32, False)]


def test_admin_who_was_revoked_has_no_password_after_going_forward_again(cli: Cli) -> None:
    """A new password makes the admin active."""
    set_password(cli, "dave")
    roll_back(cli, BEFORE_PASSWORDS)
    migrate(cli.settings["DATABASE_URL"])
    [dave] = json.loads(cli.ok("admin", "list", "--json"))
    assert (dave["password_set_at"], dave["revoked_at"] is None) == (None, False)
    set_password(cli, "dave")
    [dave] = json.loads(cli.ok("admin", "list", "--json"))
    assert (dave["token_prefix"], dave["revoked_at"]) == (None, None)


def test_audit_log_goes_on_after_a_rollback(cli: Cli) -> None:
    """The older function of the triggers is back, and leaves digests out."""
    roll_back(cli, BEFORE_PASSWORDS)
    query(
        cli.settings["DATABASE_URL"],
        "INSERT INTO admins (name, role, digest, token_prefix, created_at) "
        "VALUES ('carol', 'admin', sha256('made-up'), 'cgm_abcd', now())",
    )
    [(after,)] = query(cli.settings["DATABASE_URL"], "SELECT after FROM audit_log ORDER BY id DESC LIMIT 1")
    assert after["digest"] == "(set)"
