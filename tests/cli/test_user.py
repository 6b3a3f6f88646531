"""`chatgpt-agent user`: a key goes in and never comes out, a token comes out once."""

import json
import os
import pty
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from chatgpt_agent.adapters.keyring import read_master_key
from chatgpt_agent.adapters.postgres.users import UserRow
from chatgpt_agent.core.access.tokens import is_well_formed
from tests.cli.commands import KEY, Cli, environ_with
from tests.support.database import connected


def stored_key(cli: Cli, name: str = "alice") -> str:
    """The OpenAI key of a user as the database and the master key have it."""
    connection = psycopg2.connect(cli.settings["DATABASE_URL"])
    with connection.cursor() as cursor:
        cursor.execute("SELECT id, upstream_key FROM users WHERE name = %s", [name])
        id_, sealed = cursor.fetchone()
    connection.close()
    return read_master_key(Path(cli.settings["DATA_DIR"]) / "master.key").decrypt(id_, bytes(sealed))


def shown(cli: Cli, name: str = "alice") -> Any:
    """`user show --json`."""
    return json.loads(cli.ok("user", "show", name, "--json"))


def names(cli: Cli) -> list[str]:
    """The names that `user list` shows."""
    return [user["name"] for user in json.loads(cli.ok("user", "list", "--json"))]


# user add


def test_add_prints_the_token_alone_on_the_last_line(cli: Cli) -> None:
    """So that `token=$(chatgpt-agent user add alice | tail -n 1)` works."""
    out = cli.ok("user", "add", "alice", "--openai-key-stdin", stdin=f"{KEY}\n")
    assert is_well_formed(out.splitlines()[-1])


def test_add_prints_the_token_once(cli: Cli) -> None:
    """Neither a second time on standard output nor on standard error."""
    result = cli.run("user", "add", "alice", "--openai-key-stdin", stdin=KEY)
    assert result.output.count("cga_") == 1


def test_add_prints_json(cli: Cli) -> None:
    """Name and token, and nothing else on either stream."""
    result = cli.run("user", "add", "alice", "--openai-key-stdin", "--json", stdin=KEY)
    printed = json.loads(result.output)
    assert printed.keys() == {"user", "token", "id"}
    assert is_well_formed(printed["token"])


def test_add_stores_the_key(cli: Cli) -> None:
    """What was piped in is what OpenAI will get, without the end of the line."""
    cli.ok("user", "add", "alice", "--openai-key-stdin", stdin=f"{KEY}\r\n")
    assert stored_key(cli) == KEY


def test_add_takes_the_first_line_of_a_pipe(cli: Cli) -> None:
    """What follows is not a part of the key."""
    cli.ok("user", "add", "alice", "--openai-key-stdin", stdin=f"{KEY}\nsomething else\n")
    assert stored_key(cli) == KEY


@pytest.mark.parametrize("words", [(KEY,), ("--openai-key", KEY), (f"--openai-key-stdin={KEY}",)])
def test_add_takes_no_key_on_the_command_line(shared_cli: Cli, words: tuple[str, ...]) -> None:
    """There everybody on the machine could read it."""
    shared_cli.refused("user", "add", "alice", *words, code=2)
    assert names(shared_cli) == []


def test_add_without_a_terminal_and_without_a_pipe_says_so(shared_cli: Cli) -> None:
    """It does not wait for ever for a key that nobody can type."""
    lines = shared_cli.refused("user", "add", "alice", code=2)
    assert [line for line in lines if "Error" in line] == [lines[-1]]
    assert "--openai-key-stdin" in lines[-1]


def test_add_refuses_a_name_that_is_taken(cli: Cli) -> None:
    """One line, exit code 1."""
    cli.add_user("alice")
    lines = cli.refused("user", "add", "alice", "--openai-key-stdin", stdin=KEY)
    assert lines == ["Error: user 'alice' already exists"]


def test_add_of_a_taken_name_changes_nothing(cli: Cli) -> None:
    """The user keeps key and token, and gets no second one."""
    cli.add_user("alice")
    cli.run("user", "add", "alice", "--openai-key-stdin", stdin="sk-another")
    assert (stored_key(cli), len(shown(cli)["tokens"])) == (KEY, 1)


@pytest.mark.parametrize(
    "name", ["", " alice", "alice ", "a\nb", "a\tb", "x" * 129, "\x1b[31m", "a\u202eb", "a\u2028b"]
)
def test_add_refuses_a_name_that_would_spoil_a_list(shared_cli: Cli, name: str) -> None:
    """Empty, too long, with space at the ends, or with characters that cannot be seen."""
    lines = shared_cli.refused("user", "add", "--openai-key-stdin", "--", name, stdin=KEY)
    assert len(lines) == 1
    assert lines[0].startswith("Error: name: ")


@pytest.mark.parametrize(
    "name", ["Ünï cödé", "名前", "x" * 128, "=cmd()", "-v", "a'b\"c", "%s", "Robert'); DROP TABLE users;--"]
)
def test_add_takes_any_other_name(cli: Cli, name: str) -> None:
    """It comes back as it was given."""
    cli.ok("user", "add", "--openai-key-stdin", "--", name, stdin=KEY)
    assert names(cli) == [name]


@pytest.mark.parametrize("key", ["", "\n", "sk two words", "sk-é", "sk-\x07bell", "x" * 513, b"\xff\xfe"])
def test_add_refuses_what_cannot_be_a_key(shared_cli: Cli, key: str | bytes) -> None:
    """In one line, that does not repeat it."""
    lines = shared_cli.refused("user", "add", "alice", "--openai-key-stdin", stdin=key)
    assert lines == ["Error: the OpenAI key must be 1 to 512 printable ASCII characters without spaces"]


def test_a_refused_key_leaves_no_user(shared_cli: Cli) -> None:
    """Nothing is added by halves."""
    shared_cli.run("user", "add", "alice", "--openai-key-stdin", stdin="not a key")
    assert names(shared_cli) == []


# The prompt, on a real terminal.

SECONDS = 20.0  # for a prompt, and for an end; a machine may be busy

# A session's leader takes the terminal that it is given as its own, as a login shell does.
TAKE_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, "-m", "chatgpt_agent", *sys.argv[1:]])
"""


def on_terminal(cli: Cli, *words: str, typed: bytes) -> tuple[int, str, str]:
    """Types at the first prompt of a command; its exit code, what the terminal shows, and its standard output, which
    goes to a pipe."""
    here, there = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", TAKE_TERMINAL, *words],
        stdin=there,
        stdout=subprocess.PIPE,
        stderr=there,
        env=environ_with(cli.settings),
        start_new_session=True,
    )
    os.close(there)
    try:
        terminal = _until_prompt(here)
        os.write(here, typed)
        out, _ = process.communicate(timeout=SECONDS)
    finally:
        process.kill()
        process.communicate()
    while more := _read(here):
        terminal += more
    os.close(here)
    return process.returncode, terminal.decode(), out.decode()


def _until_prompt(terminal: int) -> bytes:
    shown = b""
    while not shown.endswith(b": "):
        assert select.select([terminal], [], [], SECONDS)[0], shown
        shown += os.read(terminal, 1024)
    return shown


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1024)
    except OSError:  # EIO: nobody is at the other side any more
        return b""


def test_a_key_can_be_typed(cli: Cli) -> None:
    """The prompt asks for it, and takes it."""
    code, terminal, _ = on_terminal(cli, "user", "add", "alice", typed=f"{KEY}\n".encode())
    assert code == 0
    assert terminal.startswith("OpenAI key: ")
    assert stored_key(cli) == KEY


def test_a_typed_key_is_not_shown(cli: Cli) -> None:
    """The terminal does not echo it."""
    _, terminal, out = on_terminal(cli, "user", "add", "alice", typed=f"{KEY}\n".encode())
    assert KEY not in terminal + out


def test_a_prompt_is_not_in_the_standard_output(cli: Cli) -> None:
    """Where only standard output is caught, the token is still alone in it."""
    _, _, out = on_terminal(cli, "user", "add", "alice", typed=f"{KEY}\n".encode())
    assert is_well_formed(out.removesuffix("\n"))


@pytest.mark.parametrize("typed", [b"\x03", b"\x04"], ids=["ctrl-c", "ctrl-d"])
def test_a_prompt_can_be_left(cli: Cli, typed: bytes) -> None:
    """The first Ctrl-C or Ctrl-D ends the command, without a traceback."""
    code, terminal, _ = on_terminal(cli, "user", "add", "alice", typed=typed)
    assert (code, terminal.split()[-1]) == (1, "Aborted!")


def test_a_new_key_can_be_typed(cli: Cli) -> None:
    """`set-key` asks as `add` does."""
    cli.add_user("alice")
    on_terminal(cli, "user", "set-key", "alice", typed=b"sk-new\n")
    assert stored_key(cli) == "sk-new"


# The others.


def test_list_of_nobody_is_an_empty_table(shared_cli: Cli) -> None:
    """The headings stand there all the same."""
    assert shared_cli.ok("user", "list").split("\n")[0].split() == [
        "name",
        "state",
        "tokens",
        "models",
        "limits",
        "comment",
        "since",
    ]


def test_list_shows_users_by_name(cli: Cli) -> None:
    """With their state and how many tokens they have."""
    for name in ("zoe", "alice"):
        cli.add_user(name)
    cli.ok("user", "disable", "zoe")
    lines = cli.ok("user", "list").splitlines()[2:]
    assert [line.split()[:3] for line in lines] == [["alice", "active", "1"], ["zoe", "disabled", "1"]]


def test_list_prints_json(cli: Cli) -> None:
    """Of a user everything but the key."""
    cli.add_user("alice")
    [user] = json.loads(cli.ok("user", "list", "--json"))
    assert user.keys() == set(UserRow.__struct_fields__)
    assert "upstream_key" not in user


def test_show_lists_the_tokens(cli: Cli) -> None:
    """Each by its first characters."""
    token = cli.add_user("alice")
    out = cli.ok("user", "show", "alice")
    assert f"{token[:8]}…" in out
    assert token not in out


def test_show_prints_json(cli: Cli) -> None:
    """The user and the tokens."""
    token = cli.add_user("alice")
    found = shown(cli)
    assert found["user"]["name"] == "alice"
    assert [one["token_prefix"] for one in found["tokens"]] == [token[:8]]


def test_disable_and_enable(cli: Cli) -> None:
    """A user's state goes there and back."""
    cli.add_user("alice")
    cli.ok("user", "disable", "alice")
    assert shown(cli)["user"]["disabled_at"] is not None
    cli.ok("user", "enable", "alice")
    assert shown(cli)["user"]["disabled_at"] is None


def test_a_second_disable_keeps_the_first_date(cli: Cli) -> None:
    """It says since when nothing worked."""
    cli.add_user("alice")
    cli.ok("user", "disable", "alice")
    first = shown(cli)["user"]["disabled_at"]
    cli.ok("user", "disable", "alice")
    assert shown(cli)["user"]["disabled_at"] == first


@pytest.mark.parametrize("words", [("disable",), ("enable",), ("set-key", "--openai-key-stdin"), ("remove", "--yes")])
def test_a_change_prints_json(cli: Cli, words: tuple[str, ...]) -> None:
    """The user as they are now."""
    cli.add_user("alice")
    printed = json.loads(cli.ok("user", words[0], "alice", *words[1:], "--json", stdin=KEY))
    assert printed == shown(cli)["user"]


def test_set_key_replaces_the_key(cli: Cli) -> None:
    """The token stays as it is."""
    cli.add_user("alice")
    before = shown(cli)["tokens"]
    cli.ok("user", "set-key", "alice", "--openai-key-stdin", stdin="sk-new")
    assert (stored_key(cli), shown(cli)["tokens"]) == ("sk-new", before)


def test_set_key_refuses_what_cannot_be_a_key(cli: Cli) -> None:
    """The one before stays."""
    cli.add_user("alice")
    cli.refused("user", "set-key", "alice", "--openai-key-stdin", stdin="not a key")
    assert stored_key(cli) == KEY


@pytest.mark.parametrize("command", ["show", "disable", "enable", "set-key", "set --rpm=1", "remove"])
def test_an_unknown_name_is_one_line(shared_cli: Cli, command: str) -> None:
    """Exit code 1, before anything is asked for."""
    assert shared_cli.refused("user", *command.split(), "nobody") == ["Error: there is no user 'nobody'"]


# user set, user remove


def test_set_changes_what_is_given(cli: Cli) -> None:
    """And leaves the rest."""
    cli.ok("user", "add", "alice", "--openai-key-stdin", "--comment", "Sales", "--rpm", "60", stdin=KEY)
    cli.ok("user", "set", "alice", "--models", "gpt-4o*, o3", "--tpm", "1000", "--concurrency", "2")
    user = shown(cli)["user"]
    assert (user["comment"], user["allowed_models"]) == ("Sales", ["gpt-4o*", "o3"])
    assert (user["rpm"], user["tpm"], user["concurrency"]) == (60, 1000, 2)


def test_set_takes_away_what_is_given_empty(cli: Cli) -> None:
    """All models, no limit, no comment."""
    cli.ok(
        "user", "add", "alice", "--openai-key-stdin", "--comment", "Sales", "--rpm", "60", "--models", "m", stdin=KEY
    )
    cli.ok("user", "set", "alice", "--comment", "", "--rpm", "", "--models", "")
    user = shown(cli)["user"]
    assert (user["comment"], user["rpm"], user["allowed_models"]) == ("", None, None)


def test_set_shows_what_it_has_made(cli: Cli) -> None:
    """As a table, and in JSON."""
    cli.add_user("alice")
    out = cli.ok("user", "set", "alice", "--rpm", "60", "--concurrency", "3", "--models", "gpt-4o*")
    assert "gpt-4o*" in out
    assert "60 rpm, 3 at once" in out
    assert json.loads(cli.ok("user", "set", "alice", "--tpm", "9", "--json")) == shown(cli)["user"]


def test_set_wants_something_to_set(shared_cli: Cli) -> None:
    """Exit code 2: a word is missing."""
    assert "nothing to change" in shared_cli.refused("user", "set", "alice", code=2)[-1]


@pytest.mark.parametrize("number", ["0", "-1", "1.5", "many", "9" * 30, "٣"])
def test_set_takes_whole_numbers(shared_cli: Cli, number: str) -> None:
    """Exit code 2 for anything else."""
    assert "is not a whole number" in shared_cli.refused("user", "set", "alice", f"--rpm={number}", code=2)[-1]


def test_remove_keeps_the_name_and_destroys_the_key(cli: Cli) -> None:
    """The list still shows them."""
    cli.add_user("alice")
    assert cli.ok("user", "remove", "alice", "--yes") == "User alice has been removed.\n"
    with connected(cli.settings["DATABASE_URL"]) as cursor:
        cursor.execute("SELECT length(upstream_key) FROM users")
        assert cursor.fetchall() == [(0,)]
    assert "removed" in cli.ok("user", "list")
    assert cli.refused("user", "add", "alice", "--openai-key-stdin", stdin=KEY) == [
        "Error: user 'alice' already exists"
    ]


def test_remove_asks_for_the_name_again(cli: Cli) -> None:
    """Another one changes nothing."""
    cli.add_user("alice")
    code, terminal, _ = on_terminal(cli, "user", "remove", "alice", typed=b"bob\n")
    assert (code, shown(cli)["user"]["removed_at"]) == (1, None)
    assert "the names differ: nothing was changed" in terminal
    code, _, out = on_terminal(cli, "user", "remove", "alice", typed=b"alice\n")
    assert (code, out) == (0, "User alice has been removed.\n")


def test_remove_without_a_terminal_wants_a_word(cli: Cli) -> None:
    """A script that goes wrong removes nobody."""
    cli.add_user("alice")
    assert cli.refused("user", "remove", "alice", code=2)[-1] == "Error: no terminal for the prompt: give --yes"


@pytest.mark.parametrize("words", [("set-key",), ("enable",), ("set", "--rpm", "1"), ("remove", "--yes")])
def test_a_removed_user_is_told_from_an_unknown_one(cli: Cli, words: tuple[str, ...]) -> None:
    """With the day."""
    cli.add_user("alice")
    cli.ok("user", "remove", "alice", "--yes")
    [line] = cli.refused("user", words[0], "alice", *words[1:])
    assert line.startswith("Error: user 'alice' was removed on 20")


def test_names_differ_by_case(cli: Cli) -> None:
    """`Alice` and `alice` are two people."""
    cli.add_user("alice")
    assert cli.refused("user", "show", "Alice") == ["Error: there is no user 'Alice'"]
