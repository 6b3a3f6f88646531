"""`chatgpt-agent import-legacy`: the import from the original program, which may be repeated."""

import asyncio
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from chatgpt_agent.adapters.keyring import read_master_key
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.admin.legacy_import import LegacyImport, TableCounts
from chatgpt_agent.core.legacy import IMPORTED_USER
from tests.conftest import MakeAgent
from tests.support.administration import KEYRING, ROOT
from tests.support.client import fetch
from tests.support.commands import Cli
from tests.support.database import query
from tests.support.legacy import KEY, TOKEN, Legacy
from tests.support.oracle import DAILY_SUMS, SUMS_OF_ROWS


@pytest.fixture
def old(empty_dsn: str) -> Legacy:
    """A database of the original program with a user, a price, and a request of that price."""
    legacy = Legacy(empty_dsn)
    legacy.user(comment="head of sales", create_time="2023-06-01T00:00:00Z")
    legacy.price("gpt-3.5-turbo-0301_input", "0.0015")
    legacy.price("gpt-3.5-turbo-0301_output", "0.002")
    legacy.request()
    return legacy


def run_import(cli: Cli, old: Legacy, *options: str, code: int = 0) -> Any:
    """Runs it, with the URL piped in, and what it prints as JSON."""
    result = cli.run("import-legacy", "-", "--json", *options, stdin=old.dsn)
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def counts(result: Any) -> dict[str, tuple[int, ...]]:
    """Rows that were read, added, here already, and refused, by table."""
    return {table: tuple(line.values()) for table, line in result["tables"].items()}


def ours(cli: Cli, sql: str) -> list[tuple[Any, ...]]:
    """Rows of our database."""
    return query(cli.settings["DATABASE_URL"], sql)


def tables(cli: Cli) -> list[list[tuple[Any, ...]]]:
    """Everything that an import could change."""
    return [ours(cli, f"SELECT * FROM {name} t ORDER BY t::text") for name in ("users", "tokens", "prices", "usage")]


ONE = {"sys_user_token": (1, 1, 0, 0), "sys_config": (2, 2, 0, 0), "sys_model_request": (1, 1, 0, 0)}
AGAIN = {"sys_user_token": (1, 0, 1, 0), "sys_config": (2, 0, 2, 0), "sys_model_request": (1, 0, 1, 0)}


def test_import_adds_users_prices_and_history(cli: Cli, old: Legacy) -> None:
    """The counts of the output say so."""
    assert counts(run_import(cli, old)) == ONE
    assert ours(cli, "SELECT name, comment, created_at::date::text FROM users WHERE removed_at IS NULL") == [
        ("alice", "head of sales", "2023-06-01")
    ]
    assert ours(cli, "SELECT model, input, output, effective_at::date::text FROM prices") == [
        ("gpt-3.5-turbo-0301", Decimal("1.5"), Decimal("2"), "2023-07-01")
    ]


def test_tokens_and_keys_are_encrypted(cli: Cli, old: Legacy) -> None:
    """A token is stored as its digest, a key encrypted; four characters of the token are shown."""
    run_import(cli, old)
    keyring = read_master_key(Path(cli.settings["DATA_DIR"]) / "master.key")
    [(digest, token_prefix, user, sealed)] = ours(
        cli, "SELECT t.digest, t.token_prefix, u.id, u.upstream_key FROM tokens t JOIN users u ON u.id = t.user_id"
    )
    assert (bytes(digest), token_prefix) == (keyring.digest(TOKEN), TOKEN[:4])
    assert keyring.decrypt(user, bytes(sealed)) == KEY
    stored = [
        str(line) for name in ("users", "tokens", "audit_log") for line in ours(cli, f"SELECT t::text FROM {name} t")
    ]
    assert [line for line in stored if TOKEN in line or KEY in line] == []


def test_history_keeps_its_costs(cli: Cli, old: Legacy) -> None:
    """Rows have the cost, the day and the answer that the original program recorded, and no user."""
    run_import(cli, old)
    assert ours(
        cli, "SELECT state, cost, input_tokens, output_tokens, upstream_id, tableoid::regclass::text FROM usage"
    ) == [("imported", Decimal("0.000025"), 10, 5, "chatcmpl-2023-07-01-10", "usage_2023_07")]
    result = json.loads(cli.ok("usage", "report", "--by", "user,token,day", "--format", "json"))
    assert [(line["user"], line["token"], line["day"]) for line in result["rows"]] == [
        (IMPORTED_USER, "(none)", "2023-07-01")
    ]
    assert (result["total"]["cost"], result["total"]["not_done"]) == ("0.000025", 0)


def test_imported_rows_are_grouped_with_chat_completions(cli: Cli, old: Legacy) -> None:
    """The endpoint of imported rows is the one that requests to `POST /chat` are stored under."""
    run_import(cli, old)
    report = json.loads(cli.ok("usage", "report", "--by", "endpoint", "--format", "json"))
    assert [row["endpoint"] for row in report["rows"]] == ["/v1/chat/completions"]


def test_ledger_is_consistent_after_an_import(cli: Cli, old: Legacy) -> None:
    """`ledger verify` finds nothing, and the daily sums are those of the rows."""
    run_import(cli, old)
    ours(cli, "SELECT ensure_usage_partition(now() + n * interval '1 month') FROM generate_series(0, 1) n")
    cli.ok("ledger", "verify")
    dsn = cli.settings["DATABASE_URL"]
    assert query(dsn, DAILY_SUMS) == query(dsn, SUMS_OF_ROWS) != []


def test_import_can_be_repeated(cli: Cli, old: Legacy) -> None:
    """No row is added twice, and new rows are added."""
    run_import(cli, old)
    before = tables(cli)
    assert counts(run_import(cli, old)) == AGAIN
    assert tables(cli) == before
    old.user("bob", "old-token-of-bob-0123456789", "sk-old-key-of-bob")
    old.request("2023-08-01")
    old.price("gpt-4_input", "0.03")
    old.price("gpt-4_output", "0.06")
    result = counts(run_import(cli, old))
    assert [line[1:3] for line in result.values()] == [(1, 1), (2, 2), (1, 1)]


def test_copy_of_the_old_database_has_the_same_rows(cli: Cli, old: Legacy, postgres: str) -> None:
    """A restored dump adds nothing."""
    run_import(cli, old)
    name = old.dsn.split("dbname=")[1].split()[0]
    query(postgres, f'CREATE DATABASE "{name}_copy" TEMPLATE "{name}"')
    try:
        result = cli.run("import-legacy", "-", "--json", stdin=old.dsn.replace(name, f"{name}_copy"))
    finally:
        query(postgres, f'DROP DATABASE "{name}_copy" WITH (FORCE)')
    assert counts(json.loads(result.stdout)) == AGAIN


def test_dry_run_changes_nothing(cli: Cli, old: Legacy) -> None:
    """Its counts say what would be added, before and after an import."""
    cli.ok("user", "list")
    before = tables(cli), ours(cli, "SELECT * FROM directory_version"), ours(cli, "SELECT relname FROM pg_class")
    assert counts(run_import(cli, old, "--dry-run")) == ONE
    assert before == (
        tables(cli),
        ours(cli, "SELECT * FROM directory_version"),
        ours(cli, "SELECT relname FROM pg_class"),
    )
    run_import(cli, old)
    assert counts(run_import(cli, old, "--dry-run")) == AGAIN


def test_import_does_not_change_the_old_database(cli: Cli, old: Legacy) -> None:
    """The original program can still use it."""
    run_import(cli, old)
    assert query(old.dsn, "SELECT name, local_token, gpt_token FROM sys_user_token") == [("alice", TOKEN, KEY)]


def test_users_are_identified_by_name_and_key(cli: Cli, old: Legacy) -> None:
    """One name with one key is one user with several tokens; with two keys it is two users, which a warning says."""
    old.user("alice", "old-token-two-0123456789", KEY)
    old.user("alice", "old-token-three-0123456789", "sk-another")
    result = run_import(cli, old)
    assert ours(
        cli, "SELECT u.name, count(*) FROM users u JOIN tokens t ON t.user_id = u.id GROUP BY 1 ORDER BY 1"
    ) == [("alice", 2), ("alice-2", 1)]
    assert [(note["row"], note["text"]) for note in result["warnings"]] == [("3", "its user is named 'alice-2' here")]
    old.user("alice", "old-token-four-0123456789", "sk-another")
    run_import(cli, old)
    assert ours(cli, "SELECT count(*) FROM tokens t JOIN users u ON u.id = t.user_id WHERE u.name = 'alice-2'") == [
        (2,)
    ]


def test_existing_user_with_the_same_key_gets_the_token(cli: Cli, old: Legacy) -> None:
    """A user of the same name with another key is another user."""
    cli.add_user("alice", KEY)
    run_import(cli, old)
    assert ours(cli, "SELECT count(*) FROM tokens") == [(2,)]
    assert ours(cli, "SELECT name FROM users WHERE removed_at IS NULL") == [("alice",)]


def test_existing_price_stays(cli: Cli, old: Legacy) -> None:
    """An administrator set it."""
    cli.ok("price", "set", "gpt-3.5-turbo-0301", "--input", "9", "--output", "9")
    assert counts(run_import(cli, old))["sys_config"] == (2, 0, 2, 0)
    assert ours(cli, "SELECT count(*) FROM prices") == [(1,)]


def test_invalid_rows_are_reported(cli: Cli, old: Legacy) -> None:
    """Each has its reason, the exit code is 1, and all other rows are imported."""
    old.user("bob", None)
    old.user("carol", TOKEN, "sk-x")
    old.price("gpt-4_input", "0.03")
    old.price("greeting", "hello", group="texts")
    old.request(timestamp=None)
    result = run_import(cli, old, code=1)
    assert [line[1:] for line in counts(result).values()] == [(1, 0, 2), (2, 0, 1), (1, 0, 1)]
    assert [(note["table"], note["row"]) for note in result["warnings"] if note["refused"]] == [
        ("sys_user_token", "2"),
        ("sys_user_token", "3"),
        ("sys_config", "gpt-4"),
        ("sys_model_request", "2"),
    ]
    assert TOKEN not in json.dumps(result)


def test_short_token_is_imported_with_a_warning(cli: Cli, old: Legacy) -> None:
    """No character of it is shown."""
    old.user("bob", "123123", "sk-old-key-of-bob")
    result = run_import(cli, old)
    assert result["warnings"][0]["text"] == "its token has only 6 characters: issue another one for bob"
    assert ours(cli, "SELECT t.token_prefix FROM tokens t JOIN users u ON u.id = t.user_id WHERE u.name = 'bob'") == [
        ("",)
    ]


def test_row_without_a_price_costs_nothing(cli: Cli, old: Legacy) -> None:
    """A warning says how many such rows there are."""
    old.request("2023-07-02", price=None, define_price=None)
    result = run_import(cli, old)
    assert result["warnings"][-1]["text"] == "1 rows have no price there, and cost nothing here"
    assert ours(cli, "SELECT sum(cost) FROM usage") == [(Decimal("0.000025"),)]


def test_owner_column_of_a_later_version_is_used(cli: Cli, old: Legacy) -> None:
    """Rows of an unknown owner belong to the placeholder."""
    query(old.dsn, "ALTER TABLE sys_model_request ADD COLUMN user_id int4")
    old.request("2023-07-02", user_id=1)
    old.request("2023-07-03", user_id=99)
    run_import(cli, old)
    result = json.loads(cli.ok("usage", "report", "--by", "user", "--format", "json"))["rows"]
    assert [(line["user"], line["requests"]) for line in result] == [(IMPORTED_USER, 2), ("alice", 1)]
    assert ours(cli, "SELECT count(*) FROM usage WHERE token_id = 1") == [(1,)]


def test_long_history_is_imported_in_batches(cli: Cli, old: Legacy, dsn: str) -> None:
    """No row is lost between two batches."""
    for n in range(20):
        old.request(f"2023-{1 + n % 9:02}-01", (n, n))

    async def work() -> TableCounts:
        async with Store(dsn) as store:
            legacy_import = LegacyImport(store, KEYRING, ROOT, batch=7)
            result = await legacy_import.run(old.dsn, dry_run=False, begin=rows.append, advance=batches.append)
            return result.tables["sys_model_request"]

    rows: list[int] = []
    batches: list[int] = []
    assert asyncio.run(work()) == TableCounts(read=21, added=21)
    assert (rows, batches) == ([21], [7, 7, 7])
    assert ours(cli, "SELECT sum(requests)::int, sum(input_tokens)::int FROM usage_daily") == [(21, 200)]


def test_import_is_in_the_audit_log(cli: Cli, old: Legacy) -> None:
    """The actor is the account that ran the command, and no secret is logged."""
    run_import(cli, old)
    result = ours(cli, "SELECT object, actor <> '', via, coalesce(after::text, '') FROM audit_log ORDER BY id")
    assert {line[:3] for line in result} == {(name, True, "command") for name in ("users", "tokens", "prices")}
    assert KEY not in "".join(line[3] for line in result)


# Output and arguments.


def test_table_has_counts_and_warnings(cli: Cli, old: Legacy) -> None:
    """Each warning is a line below the table."""
    old.user("bob", "123123", "sk-old-key-of-bob")
    lines = cli.run("import-legacy", "-", "--dry-run", stdin=old.dsn).stdout.splitlines()
    assert lines[0].split("  ")[0] == "table"
    assert "would be added" in lines[0]
    assert lines[-1] == "sys_user_token 2: its token has only 6 characters: issue another one for bob"


def test_url_can_be_in_a_file_or_the_environment(
    cli: Cli, old: Legacy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a password, it can be an argument."""
    file = tmp_path / "old.url"
    file.write_text(f"{old.dsn}\n")
    cli.ok("import-legacy", "--dry-run", "--database-url-file", str(file))
    cli.ok("import-legacy", "--dry-run", old.dsn)
    monkeypatch.setenv("LEGACY_DATABASE_URL", old.dsn)
    cli.ok("import-legacy", "--dry-run")


def test_password_on_the_command_line_causes_a_warning(cli: Cli, old: Legacy) -> None:
    """The import runs all the same, as the original program was called so."""
    result = cli.run("import-legacy", "--dry-run", f"{old.dsn} password=x")
    assert (result.exit_code, result.stderr.splitlines()[0][:8]) == (0, "Warning:")


@pytest.mark.parametrize(
    "arguments", [[], ["-"], [""], ["--database-url-file", "/nowhere"], ["x", "--database-url-file", "/nowhere"]]
)
def test_missing_or_repeated_url_is_refused(shared_cli: Cli, arguments: list[str]) -> None:
    """The exit code is 2, and the error says how to give the URL."""
    assert shared_cli.refused("import-legacy", *arguments, code=2)[-1].startswith("Error: ")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://user:secret@127.0.0.1:1/none", "the legacy database: "),
        ("mysql://user:secret@127.0.0.1/none", "the legacy database: give a postgresql:// URL"),
        ("host=127.0.0.1 port=secret", "the legacy database"),
    ],
)
def test_unreadable_database_is_refused(shared_cli: Cli, url: str, message: str) -> None:
    """The error is one line without the password."""
    lines = shared_cli.refused("import-legacy", "-", stdin=url)
    assert len(lines) == 1
    assert message in lines[0]


def test_database_without_the_tables_is_refused(cli: Cli) -> None:
    """The error names the missing tables."""
    line = cli.refused("import-legacy", "-", stdin=cli.settings["DATABASE_URL"])[0]
    assert "no table sys_user_token, sys_config, sys_model_request" in line


async def test_imported_token_works_on_a_running_agent(make_agent: MakeAgent, old: Legacy) -> None:
    """Within a second it is accepted, and it reads its week as before."""
    agent = await make_agent()
    cli = Cli({"DATABASE_URL": agent.config.database_url or "", "DATA_DIR": str(agent.config.data_dir)})
    query(old.dsn, "DELETE FROM sys_model_request")
    await cli.command("import-legacy", "-", stdin=old.dsn.encode())
    await agent.until(lambda: agent.works(TOKEN))
    assert agent.server.directory.identify(TOKEN).user.name in ("alice", "alice-2")
    agent.token = TOKEN
    assert (await agent.post(agent.body(), "/chat")).status == 200
    [row] = await agent.rows(1)
    week = await fetch(agent.url + "/data/week", headers={"Authorization": f"Bearer {TOKEN}"})
    [request] = json.loads(week.body, parse_float=Decimal)
    assert (request["remote_id"], request["price"]) == (row["upstream_id"], row["cost"])


def test_dates_at_the_edge_of_the_calendar_stop_no_import(cli: Cli, old: Legacy) -> None:
    """A request of such a time is refused with the reason; users and prices get the time of the import."""
    edges = ["infinity", "-infinity", "0044-03-15 BC", "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-05:00"]
    for number, edge in enumerate(edges):
        old.user(f"user {number}", f"{TOKEN}-{number}", create_time=edge)
        old.price(f"gpt-{number}_input", "0.03", timestamp=edge)
        old.price(f"gpt-{number}_output", "0.06", timestamp=edge)
        old.request(timestamp=edge)
    result = run_import(cli, old, code=1)
    assert counts(result) == {
        "sys_user_token": (6, 6, 0, 0),
        "sys_config": (12, 12, 0, 0),
        "sys_model_request": (6, 1, 0, 5),
    }
    assert {note["text"] for note in result["warnings"] if note["refused"]} == {
        "its timestamp is not in the years 2000 to 9998 (UTC)"
    }
    assert len(json.loads(cli.ok("price", "list", "--json"))) == 6
    findings = json.loads(cli.run("ledger", "verify", "--json").output)
    assert {finding["check"] for finding in findings} <= {"partition"}  # which a running agent creates
