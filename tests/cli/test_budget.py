"""The commands `chatgpt-agent budget …`."""

import json
import re
from datetime import UTC, datetime, timedelta

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
    names = ["id", "owner", "period", "amount", "raised to", "spent", "left"]
    assert re.split(" {2,}", headers) == [*names, "empty at (UTC)", "resets at (UTC)", "raised until (UTC)"]
    assert line.split()[:6] == ["1", "alice", "month", "20.5", "0", "20.5"]


def test_remove_ends_a_budget(cli: Cli) -> None:
    """The output describes the removed budget, which is no longer listed."""
    cli.ok("budget", "set", "20.50", "--user", "alice")
    assert cli.ok("budget", "remove", "1") == "User alice no longer has a budget of 20.5 USD a month.\n"
    assert json.loads(cli.ok("budget", "list", "--json")) == []


TOMORROW = f"{datetime.now(UTC) + timedelta(days=1):%Y-%m-%d %H:%M:%S}"


def test_raise_says_what_may_be_spent_until_when(cli: Cli) -> None:
    """The output has both amounts and the end; the list shows them beside each other."""
    cli.ok("budget", "set", "20.50", "--user", "alice")
    output = cli.ok("budget", "raise", "40", "--user", "alice", "--until", TOMORROW)
    assert output == (
        f"User alice may spend 40 USD a month until {TOMORROW} UTC, then 20.5 USD a month again; spent: 0 USD.\n"
    )
    [listed] = json.loads(cli.ok("budget", "list", "--json"))
    assert (listed["amount"], listed["raised_amount"], listed["left"]) == ("20.5", "40", "40")
    assert cli.ok("budget", "list").splitlines()[2].split()[3:7] == ["20.5", "40", "0", "40"]


def test_raise_of_a_token_can_be_ended(cli: Cli) -> None:
    """The plain amount is in force at once; a second end is refused, because there is no raise."""
    cli.ok("budget", "set", "5", "--token", "1", "--period", "day")
    owner = ("--token", "1", "--period", "day")
    cli.ok("budget", "raise", "9", *owner, "--until", TOMORROW)
    output = cli.ok("budget", "raise", "--end", *owner)
    assert output == "Token 1 of user alice may spend 5 USD a day again; spent: 0 USD.\n"
    assert cli.refused("budget", "raise", "--end", *owner) == ["Error: budget 1 is not raised"]


@pytest.mark.parametrize("command", [("set", "30", "--user", "alice"), ("remove", "1")])
def test_change_of_a_budget_says_that_its_raise_ended(cli: Cli, command: tuple[str, ...]) -> None:
    """Setting and removing a budget end its raise, with a warning."""
    cli.ok("budget", "set", "20", "--user", "alice")
    cli.ok("budget", "raise", "40", "--user", "alice", "--until", TOMORROW)
    result = cli.run("budget", *command)
    end = TOMORROW.replace(" ", "T")
    assert result.stderr == f"Warning: this ended the raise of the budget to 40 USD until {end}Z\n"
    assert '"raised_amount": "40"' not in cli.ok("budget", "list", "--json")
    assert cli.run("budget", "set", "20", "--user", "alice").stderr == ""


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["40", "--until", TOMORROW], 2, "give --user or --token, and not both"),
        (["40", "--user", "alice"], 2, "give AMOUNT and --until, or --end"),
        (["--user", "alice", "--until", TOMORROW], 2, "give AMOUNT and --until, or --end"),
        (["40", "--user", "alice", "--end"], 2, "--end takes neither AMOUNT nor --until"),
        (["much", "--user", "alice", "--until", TOMORROW], 2, "AMOUNT: give USD as a number"),
        (["20", "--user", "alice", "--until", TOMORROW], 1, "amount: 20 is no raise: give more than the budget's 20"),
        (["40", "--user", "alice", "--until", "2026-01-01"], 2, "--until: 2026-01-01T00:00:00Z is not in the future"),
        (["40", "--user", "alice", "--until", "2999-01-01"], 2, "--until: 2999-01-01T00:00:00Z is more than 366 days"),
        (["40", "--user", "alice", "--period", "day", "--until", TOMORROW], 1,
         "user 'alice' has no budget for the period day: set one first"),
        (["40", "--user", "bob", "--until", TOMORROW], 1, "there is no user 'bob'"),
        (["40", "--token", "77", "--until", TOMORROW], 1, "there is no token 77"),
    ],
)  # fmt: skip
def test_invalid_raise_is_refused(cli: Cli, arguments: list[str], code: int, message: str) -> None:
    """The error names the argument and what is allowed."""
    cli.ok("budget", "set", "20", "--user", "alice")
    assert message in "\n".join(cli.refused("budget", "raise", *arguments, code=code))


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
