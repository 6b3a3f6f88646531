"""`chatgpt-agent token`."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chatgpt_agent.adapters.postgres.tokens import TokenRow
from chatgpt_agent.core.access.tokens import PREFIX_LENGTH, is_well_formed
from tests.support.commands import Cli
from tests.support.database import query


def tokens(cli: Cli, *args: str) -> list[Any]:
    """`token list --json`."""
    printed: list[Any] = json.loads(cli.ok("token", "list", *args, "--json"))
    return printed


def test_issue_prints_the_token_alone_on_the_last_line(cli: Cli) -> None:
    """The last line of standard output is the token, as with `user add`."""
    cli.add_user("alice")
    assert is_well_formed(cli.ok("token", "issue", "alice").splitlines()[-1])


def test_issue_prints_json(cli: Cli) -> None:
    """The JSON has the user and the token."""
    cli.add_user("alice")
    printed = json.loads(cli.run("token", "issue", "alice", "--json").output)
    assert printed["user"] == "alice"
    assert is_well_formed(printed["token"])


def test_issue_adds_a_token(cli: Cli) -> None:
    """The user's first token stays beside the new one."""
    first = cli.add_user("alice")
    second = cli.ok("token", "issue", "alice").strip()
    assert [token["token_prefix"] for token in tokens(cli)] == [first[:PREFIX_LENGTH], second[:PREFIX_LENGTH]]


def test_issue_stores_the_label(cli: Cli) -> None:
    """A label distinguishes tokens in the list."""
    cli.add_user("alice")
    cli.ok("token", "issue", "alice", "--label", "Büro, laptop")
    assert [token["label"] for token in tokens(cli)] == ["", "Büro, laptop"]


def test_issue_stores_every_setting(cli: Cli) -> None:
    """The list shows every setting of a token."""
    cli.add_user("alice")
    args = ["--models", "gpt-6*,gpt-5.5", "--networks", "192.0.2.0/24 2001:db8::/32", "--expires", "2099-12-31"]
    cli.ok("token", "issue", "alice", *args, "--rpm", "1", "--tpm", "2", "--concurrency", "3")
    token = tokens(cli)[-1]
    assert token["allowed_models"] == ["gpt-6*", "gpt-5.5"]
    assert token["allowed_networks"] == ["192.0.2.0/24", "2001:db8::/32"]
    assert token["expires_at"] == "2099-12-31T00:00:00Z"
    assert (token["rpm"], token["tpm"], token["concurrency"]) == (1, 2, 3)
    for word in ("gpt-6*,gpt-5.5", "192.0.2.0/24,2001:db8::/32", "2099-12-31 00:00", "1 rpm, 2 tpm, 3 at once"):
        assert word in cli.ok("token", "list")


@pytest.mark.parametrize(("text", "seconds"), [("90d", 7776000), ("12h", 43200), ("30m", 1800), ("2w", 1209600)])
def test_issue_accepts_a_duration_as_expiry(cli: Cli, text: str, seconds: int) -> None:
    """A duration counts from now on."""
    cli.add_user("alice")
    before = datetime.now(UTC)
    cli.ok("token", "issue", "alice", "--expires", text)
    after = datetime.now(UTC)
    assert before <= datetime.fromisoformat(tokens(cli)[-1]["expires_at"]) - timedelta(seconds=seconds) <= after


@pytest.mark.parametrize("text", ["soon", "90", "0d", "-1d", "2026-13-01", "31.12.2099", "9999999d", "999999w"])
def test_issue_rejects_another_form_of_expiry(shared_cli: Cli, text: str) -> None:
    """The exit code is 2; the error names the permitted forms."""
    assert "such as 90d, 12h or 30m" in shared_cli.refused("token", "issue", "alice", f"--expires={text}", code=2)[-1]


def test_issue_rejects_an_expiry_in_the_past(cli: Cli) -> None:
    """Such a token would never work."""
    cli.add_user("alice")
    assert cli.refused("token", "issue", "alice", "--expires", "2020-01-01", code=2) == [
        "Error: --expires: 2020-01-01 00:00:00 is in the past"
    ]


def test_issue_rejects_an_invalid_network(cli: Cli) -> None:
    """The error is one line that names the invalid network."""
    cli.add_user("alice")
    [line] = cli.refused("token", "issue", "alice", "--networks", "10.0.0.0/8,office", code=2)
    assert line == "Error: --networks: 'office' is not a network, such as 192.0.2.0/24 or 2001:db8::/32"


def test_set_changes_only_the_given_settings(cli: Cli) -> None:
    """Other settings stay, and an empty value removes one."""
    cli.add_user("alice")
    cli.ok("token", "issue", "alice", "--label", "ci", "--expires", "90d", "--rpm", "5")
    id_ = str(tokens(cli)[-1]["id"])
    out = cli.ok("token", "set", id_, "--expires", "", "--models", "gpt-5.5", "--networks", "127.0.0.1")
    token = tokens(cli)[-1]
    assert (token["label"], token["expires_at"], token["rpm"]) == ("ci", None, 5)
    assert (token["allowed_models"], token["allowed_networks"]) == (["gpt-5.5"], ["127.0.0.1"])
    assert "127.0.0.1" in out
    assert json.loads(cli.ok("token", "set", id_, "--label", "x", "--json"))["label"] == "x"


def test_rotate_issues_a_token_with_the_same_settings(cli: Cli) -> None:
    """The old token still works for a day."""
    first = cli.add_user("alice")
    cli.ok("token", "set", "1", "--label", "ci", "--models", "gpt-5.5")
    before = datetime.now(UTC)
    result = cli.run("token", "rotate", "1")
    after = datetime.now(UTC)
    assert is_well_formed(result.stdout.strip())
    assert result.stdout.strip() != first
    old, new = tokens(cli)
    assert (new["label"], new["allowed_models"], new["expires_at"]) == ("ci", ["gpt-5.5"], None)
    assert before <= datetime.fromisoformat(old["expires_at"]) - timedelta(days=1) <= after
    assert "Token 1 works until" in result.stderr


def test_rotate_without_grace_ends_the_old_token(cli: Cli) -> None:
    """A token in the wrong hands ends at once."""
    cli.add_user("alice")
    printed = json.loads(cli.ok("token", "rotate", "1", "--grace", "0", "--json"))
    assert (printed["user"], printed["id"]) == ("alice", 2)
    assert [line.split()[3] for line in cli.ok("token", "list").splitlines()[2:]] == ["expired", "active"]


def test_rotate_names_the_replacement(cli: Cli) -> None:
    """A token that is replaced already is not rotated, and `token list` shows by which one it is replaced."""
    cli.add_user("alice")
    cli.ok("token", "rotate", "1")
    [line] = cli.refused("token", "rotate", "1")
    assert line == "Error: token 1 of user 'alice' is replaced already, by token 2: rotate that one"
    assert "active (replaced by 2)" in cli.ok("token", "list")
    assert [(token["replaces"], token["replaced_by"]) for token in tokens(cli)] == [(None, 2), (1, None)]


def test_revoke_says_that_the_token_before_still_works(cli: Cli) -> None:
    """In the grace period, revoking the new token leaves the old one in force."""
    cli.add_user("alice")
    cli.ok("token", "rotate", "1")
    assert "Token 1, which it replaced, still works until" in cli.ok("token", "revoke", "2")
    cli.ok("token", "revoke", "1")
    assert "still works" not in cli.ok("token", "revoke", "2")


def test_rotate_rejects_a_revoked_token(cli: Cli) -> None:
    """A revoked token has no replacement."""
    cli.add_user("alice")
    cli.ok("token", "revoke", "1")
    [line] = cli.refused("token", "rotate", "1")
    assert line == "Error: token 1 of user 'alice' is not in force: issue a new one"


@pytest.mark.parametrize("grace", ["24", "-1h", "soon", ""])
def test_rotate_rejects_an_invalid_grace_period(shared_cli: Cli, grace: str) -> None:
    """The exit code is 2 for anything that is not a duration."""
    assert "is not a time such as" in shared_cli.refused("token", "rotate", "1", f"--grace={grace}", code=2)[-1]


def test_list_shows_the_last_use(cli: Cli) -> None:
    """The list shows when a token was last used, to the minute."""
    cli.add_user("alice")
    query(cli.settings["DATABASE_URL"], "INSERT INTO token_uses VALUES (1, '2026-11-23 18:05:59Z')")
    assert "2026-11-23 18:05" in cli.ok("token", "list")


@pytest.mark.parametrize("label", [" ", "a\nb", "x" * 129, "\x1b[2J"])
def test_issue_rejects_a_label_that_breaks_a_table(cli: Cli, label: str) -> None:
    """Spaces at the ends, control characters and long texts are rejected in one line."""
    cli.add_user("alice")
    [line] = cli.refused("token", "issue", "alice", "--label", label, code=2)
    assert line.startswith("Error: --label: ")


def test_issue_rejects_an_unknown_user(shared_cli: Cli) -> None:
    """The error is one line, and the exit code is 1."""
    assert shared_cli.refused("token", "issue", "dora") == ["Error: there is no user 'dora'"]


def test_list_sorts_all_tokens_by_user(cli: Cli) -> None:
    """Without a name, the tokens of all users are listed by user."""
    for name in ("zoe", "alice"):
        cli.add_user(name)
    assert [token["user"] for token in tokens(cli)] == ["alice", "zoe"]


def test_list_shows_the_tokens_of_one_user(cli: Cli) -> None:
    """With a name, only that user's tokens are listed."""
    for name in ("zoe", "alice"):
        cli.add_user(name)
    assert [token["user"] for token in tokens(cli, "zoe")] == ["zoe"]


def test_list_shows_only_the_prefix_of_a_token(cli: Cli) -> None:
    """A list shows a token's first eight characters."""
    token = cli.add_user("alice")
    out = cli.ok("token", "list")
    assert f"{token[:PREFIX_LENGTH]}…" in out
    assert token[: PREFIX_LENGTH + 1] not in out


def test_list_in_json_has_no_digest(cli: Cli) -> None:
    """The digest by which a token is found stays in the database."""
    cli.add_user("alice")
    assert tokens(cli)[0].keys() == set(TokenRow.__struct_fields__)
    assert "digest" not in tokens(cli)[0]


def test_list_rejects_an_unknown_user(shared_cli: Cli) -> None:
    """An unknown name is an error, not an empty list."""
    assert shared_cli.refused("token", "list", "dora") == ["Error: there is no user 'dora'"]


def test_revoked_token_is_listed_as_revoked(cli: Cli) -> None:
    """The list shows the new state."""
    cli.add_user("alice")
    cli.ok("token", "revoke", str(tokens(cli)[0]["id"]))
    assert cli.ok("token", "list").splitlines()[-1].split()[3] == "revoked"


def test_revoke_keeps_other_tokens(cli: Cli) -> None:
    """Revoking one token keeps the user's others."""
    cli.add_user("alice")
    cli.ok("token", "issue", "alice")
    cli.ok("token", "revoke", str(tokens(cli)[0]["id"]))
    assert [token["revoked_at"] is None for token in tokens(cli)] == [False, True]


def test_second_revoke_keeps_the_first_date(cli: Cli) -> None:
    """The date of a revocation does not change."""
    cli.add_user("alice")
    id_ = str(tokens(cli)[0]["id"])
    cli.ok("token", "revoke", id_)
    first = tokens(cli)[0]["revoked_at"]
    cli.ok("token", "revoke", id_)
    assert tokens(cli)[0]["revoked_at"] == first


def test_revoked_token_is_not_counted(cli: Cli) -> None:
    """`user list` counts the tokens that work."""
    cli.add_user("alice")
    cli.ok("token", "revoke", str(tokens(cli)[0]["id"]))
    assert json.loads(cli.ok("user", "list", "--json"))[0]["tokens"] == 0


def test_revoke_rejects_an_unknown_id(shared_cli: Cli) -> None:
    """The error is one line, and the exit code is 1."""
    assert shared_cli.refused("token", "revoke", "12345") == ["Error: there is no token 12345"]


@pytest.mark.parametrize("command", ["set --rpm=1", "rotate"])
def test_unknown_id_is_one_line(shared_cli: Cli, command: str) -> None:
    """The error is one line, and the exit code is 1."""
    assert shared_cli.refused("token", *command.split(), "12345") == ["Error: there is no token 12345"]


@pytest.mark.parametrize("id_", ["0", "-1", "1.5", "abc", "", str(2**63), "9" * 400])
def test_revoke_rejects_an_invalid_id(shared_cli: Cli, id_: str) -> None:
    """The exit code is 2 for a text that cannot be an id."""
    lines = shared_cli.refused("token", "revoke", "--", id_, code=2)
    assert lines[-1].startswith("Error: ")
