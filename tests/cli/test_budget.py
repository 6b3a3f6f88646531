"""`chatgpt-agent budget …` as it is typed."""

import json

import pytest

from tests.cli.commands import Cli


def alice(cli: Cli) -> None:
    """A user."""
    cli.ok("user", "add", "alice", "--openai-key-stdin", stdin="sk-made-up")


def test_a_budget_is_set_shown_and_removed(cli: Cli) -> None:
    """In words."""
    alice(cli)
    said = cli.ok("budget", "set", "20.50", "--user", "alice")
    assert said == "User alice may spend 20.5 USD a month; spent: 0 USD.\n"
    assert cli.ok("budget", "list").splitlines()[2].split()[:6] == ["1", "alice", "month", "20.5", "0", "20.5"]
    assert cli.ok("budget", "remove", "1") == "Removed the budget of 20.5 USD a month: User alice.\n"
    assert len(cli.ok("budget", "list").splitlines()) == 2


def test_a_token_has_a_budget_of_its_own(cli: Cli) -> None:
    """As JSON, amounts are texts that nothing rounds."""
    alice(cli)
    [found] = [json.loads(cli.ok("budget", "set", "0.0000000001", "--token", "1", "--period", "total", "--json"))]
    wanted = {"user": "alice", "token_id": 1, "period": "total", "amount": "0.0000000001", "resets_at": None}
    assert found.items() >= wanted.items()
    assert json.loads(cli.ok("budget", "list", "alice", "--json")) == [found]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["5"], 2, "give --user or --token"),
        (["5", "--user", "alice", "--token", "1"], 2, "give --user or --token"),
        (["5", "--user", "bob"], 1, "there is no user 'bob'"),
        (["5", "--token", "77"], 1, "there is no token 77"),
        (["much", "--user", "bob"], 1, "AMOUNT: give USD as a number"),
        (["--user", "bob", "--", "-1"], 1, "is not between 0 and"),
        (["5", "--user", "bob", "--period", "year"], 2, "'year' is not one of"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(shared_cli: Cli, words: list[str], code: int, said: str) -> None:
    """And what is allowed."""
    assert said in "\n".join(shared_cli.refused("budget", "set", *words, code=code))
