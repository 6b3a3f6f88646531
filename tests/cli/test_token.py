"""`chatgpt-agent token`: issued once, listed by their first characters, revoked for good."""

import json
from typing import Any

import pytest

from chatgpt_agent.core.tokens import SHOWN, is_well_formed
from chatgpt_agent.edges.store.tokens import TokenLine
from tests.cli.commands import Cli


def tokens(cli: Cli, *words: str) -> list[Any]:
    """`token list --json`."""
    found: list[Any] = json.loads(cli.ok("token", "list", *words, "--json"))
    return found


def test_issue_prints_the_token_alone_on_the_last_line(cli: Cli) -> None:
    """As `user add` does."""
    cli.add_user("alice")
    assert is_well_formed(cli.ok("token", "issue", "alice").splitlines()[-1])


def test_issue_prints_json(cli: Cli) -> None:
    """Whose it is, and the token."""
    cli.add_user("alice")
    printed = json.loads(cli.run("token", "issue", "alice", "--json").output)
    assert printed["user"] == "alice"
    assert is_well_formed(printed["token"])


def test_issue_adds_a_token(cli: Cli) -> None:
    """The first one stays."""
    first = cli.add_user("alice")
    second = cli.ok("token", "issue", "alice").strip()
    assert [token["shown"] for token in tokens(cli)] == [first[:SHOWN], second[:SHOWN]]


def test_issue_keeps_the_label(cli: Cli) -> None:
    """It tells tokens apart."""
    cli.add_user("alice")
    cli.ok("token", "issue", "alice", "--label", "Büro, laptop")
    assert [token["label"] for token in tokens(cli)] == ["", "Büro, laptop"]


@pytest.mark.parametrize("label", [" ", "a\nb", "x" * 129, "\x1b[2J"])
def test_issue_refuses_a_label_that_would_spoil_a_list(cli: Cli, label: str) -> None:
    """In one line."""
    cli.add_user("alice")
    [line] = cli.refused("token", "issue", "alice", "--label", label)
    assert line.startswith("Error: label: ")


def test_issue_for_nobody_is_refused(shared_cli: Cli) -> None:
    """One line, exit code 1."""
    assert shared_cli.refused("token", "issue", "nobody") == ["Error: there is no user 'nobody'"]


def test_list_shows_the_tokens_of_all_users(cli: Cli) -> None:
    """By user."""
    for name in ("zoe", "alice"):
        cli.add_user(name)
    assert [token["user"] for token in tokens(cli)] == ["alice", "zoe"]


def test_list_shows_the_tokens_of_one_user(cli: Cli) -> None:
    """The one that was named."""
    for name in ("zoe", "alice"):
        cli.add_user(name)
    assert [token["user"] for token in tokens(cli, "zoe")] == ["zoe"]


def test_list_never_shows_a_token(cli: Cli) -> None:
    """Only its first eight characters."""
    token = cli.add_user("alice")
    out = cli.ok("token", "list")
    assert f"{token[:SHOWN]}…" in out
    assert token[: SHOWN + 1] not in out


def test_list_in_json_has_no_digest(cli: Cli) -> None:
    """What a token is found by stays in the database."""
    cli.add_user("alice")
    assert tokens(cli)[0].keys() == set(TokenLine.__struct_fields__)
    assert "digest" not in tokens(cli)[0]


def test_list_of_nobody_is_refused(shared_cli: Cli) -> None:
    """An unknown name is no empty list."""
    assert shared_cli.refused("token", "list", "nobody") == ["Error: there is no user 'nobody'"]


def test_revoke_ends_a_token(cli: Cli) -> None:
    """The list says so."""
    cli.add_user("alice")
    cli.ok("token", "revoke", str(tokens(cli)[0]["id"]))
    assert cli.ok("token", "list").splitlines()[-1].split()[3] == "revoked"


def test_revoke_leaves_the_others(cli: Cli) -> None:
    """One id, one token."""
    cli.add_user("alice")
    cli.ok("token", "issue", "alice")
    cli.ok("token", "revoke", str(tokens(cli)[0]["id"]))
    assert [token["revoked_at"] is None for token in tokens(cli)] == [False, True]


def test_a_second_revoke_keeps_the_first_date(cli: Cli) -> None:
    """A token ends once."""
    cli.add_user("alice")
    id_ = str(tokens(cli)[0]["id"])
    cli.ok("token", "revoke", id_)
    first = tokens(cli)[0]["revoked_at"]
    cli.ok("token", "revoke", id_)
    assert tokens(cli)[0]["revoked_at"] == first


def test_a_revoked_token_does_not_count(cli: Cli) -> None:
    """`user list` counts those that work."""
    cli.add_user("alice")
    cli.ok("token", "revoke", str(tokens(cli)[0]["id"]))
    assert json.loads(cli.ok("user", "list", "--json"))[0]["tokens"] == 0


def test_revoke_of_an_unknown_id_is_refused(shared_cli: Cli) -> None:
    """One line, exit code 1."""
    assert shared_cli.refused("token", "revoke", "12345") == ["Error: there is no token 12345"]


@pytest.mark.parametrize("id_", ["0", "-1", "1.5", "abc", "", str(2**63), "9" * 400])
def test_revoke_takes_an_id(shared_cli: Cli, id_: str) -> None:
    """Exit code 2 for what can be none."""
    lines = shared_cli.refused("token", "revoke", "--", id_, code=2)
    assert lines[-1].startswith("Error: ")
