"""The tables that commands print, whole: every heading has its cells, in order."""

import re
from pathlib import Path

from tests.support.commands import Cli
from tests.support.database import query

USER_COLUMNS = ["name", "state", "tokens", "models", "limits", "comment", "since"]
TOKEN_COLUMNS = [
    "id", "user", "token", "label", "state", "expires", "last used", "models", "networks", "limits", "since",
]  # fmt: skip


def cells(table: str) -> list[list[str]]:
    """The heading and the rows of a table, cut where its ruler has gaps; dates and times are written DATE."""
    heading, ruler, *rows = table.splitlines()
    spans = [match.span() for match in re.finditer("-+", ruler)]
    dated = re.compile(r"20\d\d-\d\d-\d\d( \d\d:\d\d(:\d\d)?)?")
    return [[dated.sub("DATE", line[start:end].strip()) for start, end in spans] for line in (heading, *rows)]


def test_user_list_prints_every_column(cli: Cli) -> None:
    """The table shows a user with all settings and one with none."""
    cli.add_user("alice")
    cli.ok("user", "set", "alice", "--comment", "Sales", "--models", "o3,gpt-4o*", "--rpm", "5")
    cli.add_user("zoe")
    assert cells(cli.ok("user", "list")) == [
        USER_COLUMNS,
        ["alice", "active", "1", "o3,gpt-4o*", "5 rpm", "Sales", "DATE"],
        ["zoe", "active", "1", "all", "", "", "DATE"],
    ]


def test_user_show_prints_the_user_and_the_tokens(cli: Cli) -> None:
    """The two tables have an empty line between them."""
    prefix = cli.add_user("alice")[:8]
    user, tokens = cli.ok("user", "show", "alice").split("\n\n")
    assert cells(user) == [USER_COLUMNS, ["alice", "active", "1", "all", "", "", "DATE"]]
    assert cells(tokens) == [
        TOKEN_COLUMNS,
        ["1", "alice", f"{prefix}…", "", "active", "", "", "all", "all", "", "DATE"],
    ]


def test_token_list_prints_every_column(cli: Cli) -> None:
    """The table shows a token with all settings and one with none."""
    first = cli.add_user("alice")[:8]
    args = ["--label", "ci", "--expires", "2099-12-31", "--models", "o3", "--networks", "192.0.2.0/24", "--tpm", "9"]
    second = cli.ok("token", "issue", "alice", *args)[:8]
    query(cli.settings["DATABASE_URL"], "INSERT INTO token_uses VALUES (2, '2026-11-23 18:05:59Z')")
    assert cells(cli.ok("token", "list")) == [
        TOKEN_COLUMNS,
        ["1", "alice", f"{first}…", "", "active", "", "", "all", "all", "", "DATE"],
        ["2", "alice", f"{second}…", "ci", "active", "DATE", "DATE", "o3", "192.0.2.0/24", "9 tpm", "DATE"],
    ]


def test_admin_list_prints_every_column(cli: Cli) -> None:
    """An administrator and a viewer whose token is revoked."""
    admin = cli.ok("admin", "token", "carol")[:8]
    viewer = cli.ok("admin", "token", "vic", "--role", "viewer")[:8]
    cli.ok("admin", "revoke", "vic")
    assert cells(cli.ok("admin", "list")) == [
        ["name", "role", "token", "state", "since"],
        ["carol", "admin", f"{admin}…", "active", "DATE"],
        ["vic", "viewer", f"{viewer}…", "revoked", "DATE"],
    ]


def test_audit_list_prints_every_column(cli: Cli) -> None:
    """A change made by hand, by the user of PostgreSQL."""
    cli.add_user("alice")
    dsn = cli.settings["DATABASE_URL"]
    query(dsn, "UPDATE users SET rpm = 5")
    [(name, address)] = query(dsn, "SELECT actor, address FROM audit_log WHERE via = 'sql'")
    assert cells(cli.ok("audit", "list", "--limit", "1")) == [
        ["at (UTC)", "actor", "from", "what", "id", "name", "change"],
        ["DATE", name, f"sql {address}".strip(), "update users", "1", "alice", "rpm: none → 5"],
    ]


def test_migrate_status_prints_every_migration(cli: Cli) -> None:
    """All are applied in a database that is up to date."""
    names = sorted(path.stem for path in Path("migrations").glob("*.sql") if ".rollback" not in path.name)
    rows = cells(cli.ok("migrate", "--status"))
    assert rows == [["migration", "state"], *([name, "applied"] for name in names)]
