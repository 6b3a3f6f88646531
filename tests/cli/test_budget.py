"""The commands `chatgpt-agent budget …`."""

import json

import pytest

from tests.support.commands import Cli


@pytest.fixture
def cli(cli: Cli) -> Cli:
    """The program on a database with the user alice."""
    cli.add_user("alice")
    return cli


def test_set_says_what_may_be_spent(cli: Cli) -> None:
    """The output names the user, the amount, the period and what is spent already."""
    output = cli.ok("budget", "set", "20.50", "--user", "alice")
    assert output == "User alice may spend 20.5 USD a month; spent: 0 USD.\n"


def test_list_shows_a_table(cli: Cli) -> None:
    """A line has the owner, the period, the amount, and what is spent and left."""
    cli.ok("budget", "set", "20.50", "--user", "alice")
    headers, _, line = cli.ok("budget", "list").splitlines()
    assert headers.split() == ["id", "owner", "period", "amount", "spent", "left", "resets", "at", "(UTC)"]
    assert line.split()[:6] == ["1", "alice", "month", "20.5", "0", "20.5"]


def test_remove_ends_a_budget(cli: Cli) -> None:
    """The output describes the removed budget, which is no longer listed."""
    cli.ok("budget", "set", "20.50", "--user", "alice")
    assert cli.ok("budget", "remove", "1") == "User alice no longer has a budget of 20.5 USD a month.\n"
    assert json.loads(cli.ok("budget", "list", "--json")) == []


def test_token_has_a_budget_of_its_own(cli: Cli) -> None:
    """JSON has amounts as text in plain notation."""
    budget = json.loads(cli.ok("budget", "set", "0.0000000001", "--token", "1", "--period", "total", "--json"))
    fields = {"user": "alice", "token_id": 1, "period": "total", "amount": "0.0000000001", "resets_at": None}
    assert budget.items() >= fields.items()
    assert json.loads(cli.ok("budget", "list", "alice", "--json")) == [budget]


def test_removed_user_is_refused(cli: Cli) -> None:
    """The error tells a removed user from one that never existed."""
    cli.ok("user", "remove", "alice", "--yes")
    [line] = cli.refused("budget", "set", "5", "--user", "alice")
    assert line.startswith("Error: the user 'alice' was removed on ")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["5"], 2, "give --user or --token"),
        (["5", "--user", "alice", "--token", "1"], 2, "give --user or --token"),
        (["5", "--user", "bob"], 1, "there is no user 'bob'"),
        (["5", "--token", "77"], 1, "there is no token 77"),
        (["much", "--user", "bob"], 2, "AMOUNT: give USD as a number, such as 50 or 12.50"),
        (["--user", "bob", "--", "-1"], 2, "AMOUNT: -1 is not between 0 and 1000000000"),
        (["1000000000.01", "--user", "bob"], 2, "AMOUNT: 1000000000.01 is not between 0 and 1000000000"),
        (["5", "--user", "bob", "--period", "year"], 2, "'year' is not one of"),
    ],
)
def test_invalid_arguments_are_refused(shared_cli: Cli, arguments: list[str], code: int, message: str) -> None:
    """The error names the argument and what is allowed."""
    assert message in "\n".join(shared_cli.refused("budget", "set", *arguments, code=code))


def test_list_of_an_unknown_user_is_refused(cli: Cli) -> None:
    """An empty list would look like no budget."""
    assert cli.refused("budget", "list", "ALICE") == ["Error: there is no user 'ALICE'; did you mean 'alice'?"]
    assert cli.refused("budget", "list", "dora") == ["Error: there is no user 'dora'"]
