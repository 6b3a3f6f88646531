"""`admin`: who may use the REST API."""

import json

import pytest

from chatgpt_agent.core.access.tokens import ADMIN_PREFIX, is_well_formed
from tests.support.commands import Cli


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
