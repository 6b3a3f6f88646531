"""`chatgpt-agent audit`, and the log of every change by a command."""

import csv
import getpass
import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from tests.support.commands import KEY, Cli, leaf_commands
from tests.support.database import query
from tests.support.ledger_rows import november_id, november_row, ship_rows

PRICES = "prices.csv"

# Every command that changes something, on the database of the fixture `populated`: its arguments, its standard input,
# and the rows that it writes.
CHANGES: dict[str, tuple[list[str], str, list[tuple[str, str]]]] = {
    "user add": (["bob", "--openai-key-stdin"], KEY, [("insert", "tokens"), ("insert", "users")]),
    "user disable": (["alice"], "", [("update", "users")]),
    "user enable": (["zoe"], "", [("update", "users")]),
    "user set-key": (["alice", "--openai-key-stdin"], f"{KEY}-2", [("update", "users")]),
    "user set": (["alice", "--rpm", "60"], "", [("update", "users")]),
    "user rename": (["bob", "robert"], "", [("update", "users")]),
    "user remove": (["zoe", "--yes"], "", [("update", "tokens"), ("update", "users")]),
    "user import": (
        ["-"],
        f"name,openai_key,budget\nfay,{KEY}-3,10\n",
        [("insert", "budgets"), ("insert", "tokens"), ("insert", "users")],
    ),
    "token issue": (["alice"], "", [("insert", "tokens")]),
    "token set": (["1", "--label", "laptop"], "", [("update", "tokens")]),
    "token rotate": (["1"], "", [("insert", "tokens"), ("update", "tokens")]),
    "token revoke": (["1"], "", [("update", "tokens")]),
    "price set": (["gpt-6-sol", "--input", "1", "--output", "2"], "", [("insert", "prices")]),
    "price import": ([PRICES, "--yes"], "", [("insert", "prices")]),
    "price remove": (["gpt-6-luna"], "", [("insert", "prices")]),
    "price cancel": (["2"], "", [("update", "prices")]),
    "price surcharge set": (["web_search", "0.01", "--from", "2998-01-01"], "", [("insert", "surcharges")]),
    "price surcharge cancel": (["1"], "", [("update", "surcharges")]),
    "budget set": (["20", "--user", "alice", "--period", "month"], "", [("insert", "budgets")]),
    "budget raise": (
        ["20", "--user", "alice", "--period", "day", "--until", f"{datetime.now(UTC) + timedelta(days=2):%Y-%m-%d}"],
        "",
        [("update", "budgets")],
    ),
    "budget remove": (["1"], "", [("update", "budgets")]),
    "admin token": (["dave"], "", [("insert", "admins")]),
    "ledger correct": (
        [str(november_id(1)), "--input", "9", "--output", "9", "--reason", "why"],
        "",
        [("insert", "usage")],
    ),
    "admin password": (["carol", "--password-stdin"], "nine blue bicycles\n", [("update", "admins")]),
    "admin revoke": (["carol"], "", [("update", "admins")]),
}
# The other commands read, or change only the schema. import-legacy, master-key rotate, ledger prune, backup and restore
# have test files of their own.
OTHERS = {
    "serve", "demo", "healthcheck", "doctor", "version", "completion", "config check", "config show", "migrate",
    "database upgrade", "backup", "restore", "master-key check", "master-key rotate", "ledger archives",
    "ledger prune", "user list", "user show", "token list", "price list", "price export", "price what-if",
    "price check", "price surcharge list", "budget list", "usage report", "usage export", "import-legacy",
    "ledger status", "ledger list", "ledger verify", "ledger reconcile", "admin list", "audit list",
}  # fmt: skip


@pytest.fixture
def populated(cli: Cli) -> Cli:
    """The program on a database with users, a price, a budget, an administrator and a row."""
    cli.add_user("alice")
    cli.add_user("zoe")
    cli.ok("user", "disable", "zoe")
    cli.ok("price", "set", "gpt-6-luna", "--input", "1", "--output", "2")
    cli.ok("price", "set", "scheduled", "--input", "1", "--output", "2", "--from", "2999-01-01")
    cli.ok("budget", "set", "5", "--user", "alice", "--period", "day")
    cli.ok("admin", "token", "carol")
    ship_rows(cli.settings["DATABASE_URL"], [november_row(1, user=1, day=2)])
    Path(cli.settings["DATA_DIR"], PRICES).write_text("model,input,output\no3,2,8\n")
    return cli


def arguments_for(cli: Cli, args: list[str]) -> list[str]:
    """Returns the arguments with the path of the file of prices."""
    return [str(Path(cli.settings["DATA_DIR"], word)) if word == PRICES else word for word in args]


def logged(cli: Cli) -> list[dict[str, Any]]:
    """Returns the entries of the log, the oldest first."""
    entries: list[dict[str, Any]] = json.loads(cli.ok("audit", "list", "--limit", "1000", "--format", "json"))
    return entries[::-1]


def execute(cli: Cli, sql: str) -> None:
    connection = psycopg2.connect(cli.settings["DATABASE_URL"])
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(sql)
    finally:
        connection.close()


def test_every_command_is_covered() -> None:
    """A command missing in these tables might change something without a record."""
    assert CHANGES.keys() | OTHERS == leaf_commands().keys()


def test_every_change_is_logged(populated: Cli) -> None:
    """The log has the actor, the interface and the address of every change."""
    logged_rows = {}
    for command, (args, stdin, _) in CHANGES.items():
        before = logged(populated)
        populated.ok(*command.split(), *arguments_for(populated, args), stdin=stdin)
        fresh = logged(populated)[len(before) :]
        logged_rows[command] = sorted((line["action"], line["object"]) for line in fresh)
        assert {(line["actor"], line["via"]) for line in fresh} == {(getpass.getuser(), "command")}
        assert all(line["address"] for line in fresh)
    assert logged_rows == {command: rows for command, (_, _, rows) in CHANGES.items()}


def test_no_secret_is_logged(populated: Cli) -> None:
    """No column of the log contains a key or a token after all these changes."""
    tokens = [populated.ok("token", "issue", "alice"), populated.ok("admin", "token", "erin")]
    for command, (args, stdin, _) in CHANGES.items():
        tokens.append(populated.ok(*command.split(), *arguments_for(populated, args), stdin=stdin))
    [(text,)] = query(populated.settings["DATABASE_URL"], "SELECT string_agg(a::text, ' ') FROM audit_log a")
    secrets = [KEY, *(token.strip()[8:] for token in tokens if token.startswith("cg"))]
    assert len(secrets) == 7
    assert [secret for secret in secrets if secret in text] == []


def test_rejected_change_is_not_logged(populated: Cli) -> None:
    """Nothing was changed."""
    before = logged(populated)
    populated.refused("user", "disable", "unknown")
    populated.refused("user", "add", "alice", "--openai-key-stdin", stdin=KEY)
    assert logged(populated) == before


def test_change_by_hand_is_logged(populated: Cli) -> None:
    """A change in PostgreSQL itself is logged as `sql`."""
    execute(populated, "UPDATE users SET comment = 'by hand' WHERE name = 'alice'")
    line = logged(populated)[-1]
    assert (line["via"], line["name"], line["after"]) == ("sql", "alice", {"comment": "by hand"})


@pytest.mark.parametrize("sql", ["UPDATE audit_log SET actor = 'mallory'", "DELETE FROM audit_log"])
def test_log_is_append_only(populated: Cli, sql: str) -> None:
    """The owner of the database can neither change nor delete an entry."""
    with pytest.raises(psycopg2.errors.RestrictViolation):
        execute(populated, sql)


def test_list_shows_old_and_new_values(populated: Cli) -> None:
    """The newest change comes first."""
    execute(populated, "UPDATE users SET rpm = 5 WHERE name = 'alice'")
    first = populated.ok("audit", "list", "--limit", "1").splitlines()[2]
    assert "update users" in first
    assert first.endswith("rpm: none → 5")


def test_correction_names_its_row(populated: Cli) -> None:
    """The entry has tokens, cost and reason."""
    populated.ok("ledger", "correct", str(november_id(1)), "--input", "9", "--output", "9", "--reason", "why")
    line = logged(populated)[-1]
    assert (line["object"], line["name"], line["after"]["reason"]) == ("usage", str(november_id(1)), "why")
    assert isinstance(line["after"]["cost"], str)


def test_list_can_be_filtered(populated: Cli) -> None:
    """Changes are selected by object, id, actor and time."""
    prices = json.loads(populated.ok("audit", "list", "--object", "prices", "--format", "json"))
    assert {line["object"] for line in prices} == {"prices"}
    assert json.loads(populated.ok("audit", "list", "--since", "2999-01-01", "--format", "json")) == []
    assert json.loads(populated.ok("audit", "list", "--actor", "carol", "--format", "json")) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--actor", "mallory"], "there is no admin or account 'mallory'"),
        (["--actor", "CAROL"], "there is no admin or account 'CAROL'; did you mean 'carol'?"),
        (["--object-id", "999"], "there is no change of any object with the id 999"),
        (["--object", "prices", "--object-id", "999"], "there is no change of prices with the id 999"),
    ],
)
def test_filter_that_names_nothing_is_refused(populated: Cli, options: list[str], message: str) -> None:
    """An empty list would look like no change."""
    assert populated.refused("audit", "list", *options) == [f"Error: {message}"]


def test_csv_has_a_line_for_each_change(populated: Cli) -> None:
    """The values before and after are JSON."""
    rows = list(csv.DictReader(io.StringIO(populated.ok("audit", "list", "--object", "users", "--format", "csv"))))
    assert len(rows) == 3
    assert json.loads(rows[0]["before"]) == {"disabled_at": None}


def test_unknown_object_is_rejected(shared_cli: Cli) -> None:
    """The exit code is 2."""
    shared_cli.refused("audit", "list", "--object", "messages", code=2)


def test_limit_and_shortened_changes_are_named(populated: Cli) -> None:
    """The list says how to see the rest; a list that is whole does not."""
    populated.ok("user", "set", "alice", "--comment", "x" * 100)
    result = populated.run("audit", "list", "--limit", "2")
    assert "These are the newest 2; --limit shows more." in result.stderr
    assert "Some changes are cut off; --format json has them whole." in result.stderr
    assert populated.run("audit", "list", "--object", "budgets").stderr == ""
