"""The tables that commands print, whole: every heading has its cells, in order."""

import fcntl
import os
import re
import struct
import subprocess
import termios
from pathlib import Path

import pytest
from wcwidth import wcswidth

from chatgpt_agent.cli.tables import echo_table, fit
from tests.support.commands import PROGRAM, Cli, environ_with
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
    cli.ok("user", "set", "alice", "--comment", "Sales", "--models", "gpt-5.5,gpt-6*", "--rpm", "5")
    cli.add_user("zoe")
    assert cells(cli.ok("user", "list")) == [
        USER_COLUMNS,
        ["alice", "active", "1", "gpt-5.5,gpt-6*", "5 rpm", "Sales", "DATE"],
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
    args = [
        "--label",
        "ci",
        "--expires",
        "2099-12-31",
        "--models",
        "gpt-5.5",
        "--networks",
        "192.0.2.0/24",
        "--tpm",
        "9",
    ]
    second = cli.ok("token", "issue", "alice", *args)[:8]
    query(cli.settings["DATABASE_URL"], "INSERT INTO token_uses VALUES (2, '2026-11-23 18:05:59Z')")
    assert cells(cli.ok("token", "list")) == [
        TOKEN_COLUMNS,
        ["1", "alice", f"{first}…", "", "active", "", "", "all", "all", "", "DATE"],
        ["2", "alice", f"{second}…", "ci", "active", "DATE", "DATE", "gpt-5.5", "192.0.2.0/24", "9 tpm", "DATE"],
    ]


def test_admin_list_prints_every_column(cli: Cli) -> None:
    """An administrator and a viewer whose token is revoked."""
    admin = cli.ok("admin", "token", "carol")[:8]
    viewer = cli.ok("admin", "token", "vic", "--role", "viewer")[:8]
    cli.ok("admin", "revoke", "vic")
    assert cells(cli.ok("admin", "list")) == [
        ["name", "role", "token", "state", "password", "since"],
        ["carol", "admin", f"{admin}…", "active", "-", "DATE"],
        ["vic", "viewer", f"{viewer}…", "revoked", "-", "DATE"],
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


# Narrow terminals.


def widths(output: str) -> list[int]:
    """The columns of a terminal that each line of a table takes."""
    return [wcswidth(line) for line in output.splitlines()]


def test_chinese_names_keep_columns_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    """A Chinese character is two columns wide."""
    echo_table(["name", "state"], [["张三丰", "active"], ["bob", "removed"]])
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == ["张三丰  active", "bob     removed"]


def test_table_that_fits_is_whole() -> None:
    """Empty columns stay, too."""
    table = fit(["name", "comment"], [["alice", ""]], 80)
    assert (table.headers, table.left_out) == (["name", "comment"], [])


def test_columns_without_cells_go_first() -> None:
    """They are not named: nothing is lost."""
    table = fit(["name", "comment", "since"], [["a" * 20, "", "2026-11-01"]], 32)
    assert (table.headers, table.left_out) == (["name", "since"], [])


def test_columns_go_from_the_right_and_are_named() -> None:
    """Columns to keep, and the first one, stay."""
    headers = ["name", "models", "limits", "cost"]
    table = fit(headers, [["alice", "gpt-6-sol", "5 rpm", "0.25"]], 16, keep=["cost"])
    assert (table.headers, table.left_out) == (["name", "cost"], ["models", "limits"])


def test_long_cell_is_wrapped() -> None:
    """Its column becomes as narrow as it must."""
    table = fit(["name", "comment"], [["alice", "x" * 60]], 40)
    assert (table.widths, table.left_out) == ([None, 32], [])


def in_terminal(cli: Cli, columns: int, *args: str) -> str:
    """What a command prints in a terminal of this width."""
    primary, secondary = os.openpty()
    fcntl.ioctl(secondary, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environ = {name: value for name, value in environ_with(cli.settings).items() if name != "COLUMNS"}
    command = [*PROGRAM, *args]
    subprocess.run(command, stdout=secondary, stderr=secondary, stdin=subprocess.DEVNULL, env=environ, check=True)
    os.close(secondary)
    chunks = []
    try:
        while chunk := os.read(primary, 65536):
            chunks.append(chunk)
    except OSError:  # Linux: the other end is closed
        pass
    os.close(primary)
    return b"".join(chunks).decode().replace("\r\n", "\n")


def test_lists_fit_a_terminal_of_80_columns(cli: Cli) -> None:
    """What does not fit is named, with the way to see it; piped, the table is whole."""
    cli.add_user("张三")
    args = ["--label", "continuous integration", "--expires", "2099-12-31", "--models", "gpt-5.5,gpt-6*", "--tpm", "9"]
    cli.ok("token", "issue", "张三", *args, "--networks", "192.0.2.0/24,2001:db8::/32")
    output = in_terminal(cli, 80, "token", "list")
    assert max(widths(output)) <= 80
    assert "These columns do not fit: " in output
    assert "networks" in cli.ok("token", "list").splitlines()[0]
