"""`chatgpt-agent token`: issued once, listed by their first characters, revoked for good."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from chatgpt_agent.adapters.postgres.tokens import TokenRow
from chatgpt_agent.core.access.tokens import SHOWN, is_well_formed
from tests.cli.commands import Cli
from tests.support.database import query


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
    assert [token["token_prefix"] for token in tokens(cli)] == [first[:SHOWN], second[:SHOWN]]


def test_issue_keeps_the_label(cli: Cli) -> None:
    """It tells tokens apart."""
    cli.add_user("alice")
    cli.ok("token", "issue", "alice", "--label", "Büro, laptop")
    assert [token["label"] for token in tokens(cli)] == ["", "Büro, laptop"]


def test_issue_keeps_every_setting(cli: Cli) -> None:
    """The list shows them."""
    cli.add_user("alice")
    words = ["--models", "gpt-4o*,o3", "--networks", "192.0.2.0/24 2001:db8::/32", "--expires", "2099-12-31"]
    cli.ok("token", "issue", "alice", *words, "--rpm", "1", "--tpm", "2", "--concurrency", "3")
    token = tokens(cli)[-1]
    assert token["allowed_models"] == ["gpt-4o*", "o3"]
    assert token["allowed_networks"] == ["192.0.2.0/24", "2001:db8::/32"]
    assert token["expires_at"] == "2099-12-31T00:00:00Z"
    assert (token["rpm"], token["tpm"], token["concurrency"]) == (1, 2, 3)
    for word in ("gpt-4o*,o3", "192.0.2.0/24,2001:db8::/32", "2099-12-31 00:00", "1 rpm, 2 tpm, 3 at once"):
        assert word in cli.ok("token", "list")


@pytest.mark.parametrize(("text", "seconds"), [("90d", 7776000), ("12h", 43200), ("30m", 1800), ("2w", 1209600)])
def test_issue_takes_a_time_for_the_expiry(cli: Cli, text: str, seconds: int) -> None:
    """From now on."""
    cli.add_user("alice")
    cli.ok("token", "issue", "alice", "--expires", text)
    left = datetime.fromisoformat(tokens(cli)[-1]["expires_at"]) - datetime.now(UTC)
    assert 0 <= seconds - left.total_seconds() < 10


@pytest.mark.parametrize("text", ["soon", "90", "0d", "-1d", "2026-13-01", "31.12.2099", "9999999d", "999999w"])
def test_issue_refuses_any_other_expiry(shared_cli: Cli, text: str) -> None:
    """Exit code 2, with what is allowed."""
    assert "such as 90d, 12h or 30m" in shared_cli.refused("token", "issue", "alice", f"--expires={text}", code=2)[-1]


def test_issue_refuses_an_expiry_that_is_over(cli: Cli) -> None:
    """Nobody wants such a token."""
    cli.add_user("alice")
    assert cli.refused("token", "issue", "alice", "--expires", "2020-01-01") == [
        "Error: expires_at: 2020-01-01 00:00:00 is in the past"
    ]


def test_issue_refuses_a_network_that_is_none(cli: Cli) -> None:
    """In one line."""
    cli.add_user("alice")
    [line] = cli.refused("token", "issue", "alice", "--networks", "10.0.0.0/8,office")
    assert line == "Error: networks: 'office' is not a network, such as 192.0.2.0/24 or 2001:db8::/32"


def test_set_changes_what_is_given(cli: Cli) -> None:
    """And takes away what is given empty."""
    cli.add_user("alice")
    cli.ok("token", "issue", "alice", "--label", "ci", "--expires", "90d", "--rpm", "5")
    id_ = str(tokens(cli)[-1]["id"])
    out = cli.ok("token", "set", id_, "--expires", "", "--models", "o3", "--networks", "127.0.0.1")
    token = tokens(cli)[-1]
    assert (token["label"], token["expires_at"], token["rpm"]) == ("ci", None, 5)
    assert (token["allowed_models"], token["allowed_networks"]) == (["o3"], ["127.0.0.1"])
    assert "127.0.0.1" in out
    assert json.loads(cli.ok("token", "set", id_, "--label", "x", "--json"))["label"] == "x"


def test_rotate_prints_another_token(cli: Cli) -> None:
    """With the settings of the old one, which ends after a day."""
    first = cli.add_user("alice")
    cli.ok("token", "set", "1", "--label", "ci", "--models", "o3")
    result = cli.run("token", "rotate", "1")
    assert is_well_formed(result.stdout.strip())
    assert result.stdout.strip() != first
    old, new = tokens(cli)
    assert (new["label"], new["allowed_models"], new["expires_at"]) == ("ci", ["o3"], None)
    left = datetime.fromisoformat(old["expires_at"]) - datetime.now(UTC)
    assert 0 <= 86400 - left.total_seconds() < 10
    assert "Token 1 works until" in result.stderr


def test_rotate_can_end_the_old_one_at_once(cli: Cli) -> None:
    """Where it got into wrong hands."""
    cli.add_user("alice")
    printed = json.loads(cli.ok("token", "rotate", "1", "--grace", "0", "--json"))
    assert (printed["user"], printed["id"]) == ("alice", 2)
    assert [line.split()[3] for line in cli.ok("token", "list").splitlines()[2:]] == ["expired", "active"]


def test_rotate_of_a_revoked_token_is_refused(cli: Cli) -> None:
    """It ended for good."""
    cli.add_user("alice")
    cli.ok("token", "revoke", "1")
    [line] = cli.refused("token", "rotate", "1")
    assert line == "Error: token 1 of user 'alice' is not in force: issue a new one"


@pytest.mark.parametrize("grace", ["24", "-1h", "soon", ""])
def test_rotate_takes_a_time(shared_cli: Cli, grace: str) -> None:
    """Exit code 2 for anything else."""
    assert "is not a time such as" in shared_cli.refused("token", "rotate", "1", f"--grace={grace}", code=2)[-1]


def test_list_shows_when_a_token_was_used(cli: Cli) -> None:
    """To the minute."""
    cli.add_user("alice")
    query(cli.settings["DATABASE_URL"], "INSERT INTO token_uses VALUES (1, '2026-11-23 18:05:59Z')")
    assert "2026-11-23 18:05" in cli.ok("token", "list")


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
    assert tokens(cli)[0].keys() == set(TokenRow.__struct_fields__)
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


@pytest.mark.parametrize("command", ["set --rpm=1", "rotate"])
def test_an_unknown_id_is_one_line(shared_cli: Cli, command: str) -> None:
    """Exit code 1."""
    assert shared_cli.refused("token", *command.split(), "12345") == ["Error: there is no token 12345"]


@pytest.mark.parametrize("id_", ["0", "-1", "1.5", "abc", "", str(2**63), "9" * 400])
def test_revoke_takes_an_id(shared_cli: Cli, id_: str) -> None:
    """Exit code 2 for what can be none."""
    lines = shared_cli.refused("token", "revoke", "--", id_, code=2)
    assert lines[-1].startswith("Error: ")
