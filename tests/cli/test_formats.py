"""`--json` and `--format json` mean the same, in any order, and contradict any other form."""

import itertools
import json

import pytest

from tests.support.commands import KEY, Cli

COMMANDS = [
    "user list",
    "token list",
    "admin list",
    "price list",
    "price export",
    "budget list",
    "usage report",
    "usage export",
    "ledger list",
    "ledger status",
    "audit list",
    "migrate --status",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_json_can_be_asked_for_in_two_ways(shared_cli: Cli, command: str) -> None:
    """The output is the same JSON."""
    one, other, both = (
        shared_cli.ok(*command.split(), *options)
        for options in (["--json"], ["--format=json"], ["--json", "--format=json"])
    )
    assert json.loads(one) == json.loads(other) == json.loads(both)


@pytest.mark.parametrize("command", COMMANDS)
def test_json_contradicts_another_form(shared_cli: Cli, command: str) -> None:
    """The exit code is 2, in whatever order the options stand."""
    form = "csv" if "export" in command else "table"
    for options in itertools.permutations(["--json", f"--format={form}"]):
        line = shared_cli.refused(*command.split(), *options, code=2)[-1]
        assert line == f"Error: give --json or --format {form}, not both"


def test_a_command_with_a_text_prints_json(cli: Cli) -> None:
    """The option works also where there is no table."""
    issued = json.loads(cli.ok("user", "add", "alice", "--openai-key-stdin", "--format", "json", stdin=KEY))
    assert issued["user"] == "alice"
    text = cli.ok("user", "disable", "alice", "--format", "text")
    assert text == "User alice has been disabled.\n"


@pytest.mark.parametrize(
    ("command", "line"),
    [
        (
            "price set m --input abc --output 1",
            "--input: 'abc' is not a number; give USD per 1,000,000 tokens, such as 2.50",
        ),
        ("price set m --input 1 --output 1 --from 9999-12-31T23:59:59-05:00", "9999-12-31T23:59:59-05:00"),
        ("token issue alice --models a,a*=b --expires 0001-01-01", "--expires"),
        ("token issue alice --networks office", "--networks: 'office' is not a network"),
        ("token rotate 1 --grace 999999w", "--grace: give a time from 0 to 366 days"),
        ("user set alice --comment \x1b", "--comment: "),
        ("budget set much --user alice", "AMOUNT: give USD as a number"),
    ],
)
def test_wrong_value_of_an_option_is_a_wrong_command_line(shared_cli: Cli, command: str, line: str) -> None:
    """The exit code is 2, as documented, and the error has the option's own name."""
    arguments = command.replace("\\x1b", "\x1b").split()
    assert line in shared_cli.refused(*arguments, code=2)[-1]


TIMES = [
    "9999-12-31T23:59:59-05:00",
    "9998-12-31T23:59:59.999999Z",
    "0001-01-01T00:00:00+01:00",
    "2000-01-01T00:00:00+00:01",
    "2999-12-31 18:00",
    "2999-12-31 18:00:00 UTC",
    "2999-12-31T19:00:00+01:00",
    "999999w",
]


@pytest.mark.parametrize("moment", TIMES)
def test_time_that_is_accepted_is_read_back(cli: Cli, moment: str) -> None:
    """Otherwise the exit code is 2; agents can read the token in either case."""
    cli.add_user("alice")
    result = cli.run("token", "set", "1", "--expires", moment)
    assert result.exit_code in (0, 2)
    [token] = json.loads(cli.ok("token", "list", "--json"))
    if result.exit_code == 0:
        expected = "9998-12-31T23:59:59.999999Z" if moment in TIMES[1] else "2999-12-31T18:00:00Z"
        assert token["expires_at"] == expected
        line = cli.ok("token", "list", "--format", "table").splitlines()[-1]
        assert expected[:16].replace("T", " ") in line
    else:
        assert token["expires_at"] is None
    assert "unreadable" not in cli.run("ledger", "verify").output
