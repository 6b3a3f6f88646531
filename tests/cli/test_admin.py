"""`admin`: who may use the REST API and the console."""

import asyncio
import json

import pytest

from chatgpt_agent.adapters.passwords import Passwords
from chatgpt_agent.core.access.tokens import ADMIN_PREFIX, is_well_formed
from tests.support.commands import Cli
from tests.support.database import query


def test_token_is_alone_on_standard_output(cli: Cli) -> None:
    """A script can read the token from standard output."""
    token = cli.ok("admin", "token", "carol").removesuffix("\n")
    assert is_well_formed(token, ADMIN_PREFIX)


def test_token_prints_json(cli: Cli) -> None:
    """The JSON has the name, the role and the token."""
    printed = json.loads(cli.ok("admin", "token", "vic", "--role", "viewer", "--json"))
    assert (printed["name"], printed["role"], is_well_formed(printed["token"], ADMIN_PREFIX)) == ("vic", "viewer", True)


def test_name_has_one_token(cli: Cli) -> None:
    """A second token would outlive the revocation of the first."""
    cli.ok("admin", "token", "carol")
    assert cli.refused("admin", "token", "carol") == ["Error: admin 'carol' already has a token: revoke it first"]


def test_revoked_administrator_gets_a_new_token(cli: Cli) -> None:
    """A new token may have another role."""
    first = cli.ok("admin", "token", "carol")
    cli.ok("admin", "revoke", "carol")
    assert cli.ok("admin", "token", "carol", "--role", "viewer") != first
    [printed] = json.loads(cli.ok("admin", "list", "--json"))
    assert (printed["role"], printed["revoked_at"]) == ("viewer", None)


def test_list_shows_only_the_prefix_of_a_token(cli: Cli) -> None:
    """The list shows the state and the first characters, never the token."""
    token = cli.ok("admin", "token", "carol").strip()
    cli.ok("admin", "revoke", "carol")
    out = cli.ok("admin", "list")
    assert out.splitlines()[2].split()[:4] == ["carol", "admin", f"{token[:8]}…", "revoked"]
    assert token not in out


def test_revoke_prints_json(cli: Cli) -> None:
    """The JSON has the time of the revocation."""
    cli.ok("admin", "token", "carol")
    assert json.loads(cli.ok("admin", "revoke", "carol", "--json"))["revoked_at"] is not None


def test_revoke_rejects_an_unknown_name(shared_cli: Cli) -> None:
    """The error is one line, and the exit code is 1."""
    assert shared_cli.refused("admin", "revoke", "dave") == ["Error: there is no admin 'dave'"]


@pytest.mark.parametrize("name", ["", " carol", "carol\n", "x" * 129])
def test_name_that_breaks_a_table_is_rejected(shared_cli: Cli, name: str) -> None:
    """The error is one line."""
    [line] = shared_cli.refused("admin", "token", name)
    assert line.startswith("Error: name: ")


def test_token_is_not_in_the_audit_log(cli: Cli) -> None:
    """The audit log contains neither the token nor its end."""
    token = cli.ok("admin", "token", "carol").strip()
    text = json.dumps(json.loads(cli.ok("audit", "list", "--format", "json")))
    assert token not in text
    assert token[8:] not in text


def test_name_that_looks_like_another_one_is_a_warning(cli: Cli) -> None:
    """The token is issued nevertheless; a name in quotation marks is refused."""
    cli.ok("admin", "token", "carol")
    assert "looks like that of another admin, 'carol'" in cli.run("admin", "token", "Carol").stderr
    [line] = cli.refused("admin", "token", "'carol'")
    assert "has quotation marks around it" in line


# Passwords.

PASSWORD = "made-up words of carol"


def set_password(cli: Cli, name: str = "carol", *args: str) -> str:
    """Sets a password; returns standard output."""
    return cli.ok("admin", "password", name, "--password-stdin", *args, stdin=f"{PASSWORD}\n")


def admin_named(cli: Cli, name: str) -> dict[str, object]:
    """An admin of the list."""
    [admin] = [each for each in json.loads(cli.ok("admin", "list", "--json")) if each["name"] == name]
    return dict(admin)


def test_password_makes_an_admin(cli: Cli) -> None:
    """A new name gets the role admin, and no token."""
    assert set_password(cli) == "The password of carol (admin) has been set.\n"
    carol = admin_named(cli, "carol")
    assert (carol["role"], carol["token_prefix"], carol["revoked_at"]) == ("admin", None, None)
    assert carol["password_set_at"] is not None


def test_password_leaves_the_role(cli: Cli) -> None:
    """`--role` changes it, and the token stays."""
    cli.ok("admin", "token", "vera", "--role", "viewer")
    assert "(viewer)" in set_password(cli, "vera")
    assert json.loads(set_password(cli, "vera", "--role", "admin", "--json"))["role"] == "admin"
    assert admin_named(cli, "vera")["token_prefix"] is not None


def test_list_shows_who_has_a_token_and_who_a_password(cli: Cli) -> None:
    """An admin may have one of them, or both."""
    token = cli.ok("admin", "token", "vera")[:8]
    set_password(cli)
    lines = [line.split()[:5] for line in cli.ok("admin", "list").splitlines()[2:]]
    assert lines == [["carol", "admin", "-", "active", "set"], ["vera", "admin", f"{token}…", "active", "-"]]


def test_revocation_removes_the_password(cli: Cli) -> None:
    """Another token does not bring it back."""
    set_password(cli)
    assert cli.ok("admin", "revoke", "carol") == "Admin carol has been revoked.\n"
    cli.ok("admin", "token", "carol")
    assert admin_named(cli, "carol")["password_set_at"] is None


def test_token_beside_a_password_has_the_same_role(cli: Cli) -> None:
    """A viewer does not become an admin where the role is forgotten."""
    set_password(cli, "vera", "--role", "viewer")
    [line] = cli.refused("admin", "token", "vera")
    assert line == "Error: admin 'vera' has a password and the role viewer: give --role viewer"
    cli.ok("admin", "token", "vera", "--role", "viewer")


@pytest.mark.parametrize(("password", "reason"), [("short", "must have 12 to 256"), ("carolcarolcarol", "repeat")])
def test_password_that_is_guessed_is_rejected(shared_cli: Cli, password: str, reason: str) -> None:
    """The error is one line that does not quote it."""
    [line] = shared_cli.refused("admin", "password", "carol", "--password-stdin", stdin=password)
    assert line.startswith("Error: password: a password ")
    assert reason in line
    assert password not in line


def test_password_needs_a_terminal_or_standard_input(shared_cli: Cli) -> None:
    """The error names the option; a name that cannot be is rejected before."""
    *_, line = shared_cli.refused("admin", "password", "carol", code=2)
    assert line == "Error: no terminal for the prompt: pipe the password in with --password-stdin"
    [line] = shared_cli.refused("admin", "password", " carol")
    assert line.startswith("Error: name: ")


def test_password_is_not_stored(cli: Cli) -> None:
    """Neither the table nor the audit log has it, and the log has no hash."""
    set_password(cli)
    dsn = cli.settings["DATABASE_URL"]
    [(stored,)] = query(dsn, "SELECT password_hash FROM admins")
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    log = str(query(dsn, "SELECT before, after FROM audit_log"))
    assert "(set)" in log
    assert stored[-20:] not in log
    assert PASSWORD not in log


def test_spaces_at_the_ends_belong_to_a_password(cli: Cli) -> None:
    """As in a browser."""
    cli.ok("admin", "password", "carol", "--password-stdin", stdin=" made-up word \r\n")
    [(stored,)] = query(cli.settings["DATABASE_URL"], "SELECT password_hash FROM admins")
    assert asyncio.run(Passwords().verify(stored, " made-up word "))


def test_password_that_is_not_utf8_is_rejected(shared_cli: Cli) -> None:
    """A browser would send other bytes."""
    [line] = shared_cli.refused("admin", "password", "carol", "--password-stdin", stdin=b"caf\xe9 au lait du matin\n")
    assert line == "Error: password: standard input is not UTF-8"
