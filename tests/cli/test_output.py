"""What commands do if their output cannot be written, or not as text: one line, and no token is lost."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chatgpt_agent.cli.main import main
from tests.cli.test_common import COMMANDS, arguments_of
from tests.cli.test_reading import CHANGES
from tests.support.commands import KEY, PROGRAM, VARIABLES, Cli, environ_with, leaf_commands, logging_as_before, names
from tests.support.database import connected, query

FULL = "Error: standard output cannot be written: No space left on device"
SECRETS = {
    "user add": ["user", "add", "bob", "--openai-key-stdin"],
    "user import": ["user", "import", "-"],
    "token issue": ["token", "issue", "alice"],
    "token rotate": ["token", "rotate", "1"],
    "admin token": ["admin", "token", "dave"],
}
STDIN = {"user import": f"name,openai_key\nbob,{KEY}\n"}
BOOKS = """
    SELECT (SELECT json_agg(u.name) FROM users u), (SELECT json_agg(t) FROM tokens t),
           (SELECT json_agg(a) FROM admins a), (SELECT count(*) FROM audit_log)"""
# Refused before they print.
REFUSED = {
    "import-legacy", "ledger reconcile", "ledger correct", "price import", "price what-if", "price cancel",
    "price check", "price surcharge cancel", "backup", "restore", "database upgrade", "healthcheck",
}  # fmt: skip
# `completion` needs the name of a shell and has no other form, `doctor` has its own exit codes, `demo` does not end.
PRINTING = sorted({*COMMANDS} - CHANGES - {"serve", "demo", "doctor", "completion"})


@contextlib.contextmanager
def output_to(path: str, stdin: str, encoding: str) -> Iterator[io.StringIO]:
    """Replaces the standard streams of this process; standard error is returned."""
    before = sys.stdin, sys.stdout, sys.stderr
    sys.stdin = io.TextIOWrapper(io.BytesIO(stdin.encode()))
    sys.stdout, sys.stderr = open(path, "w", encoding=encoding), io.StringIO()  # noqa: SIM115, PTH123
    try:
        yield sys.stderr
    finally:
        sys.stdout.close()
        sys.stdin, sys.stdout, sys.stderr = before


def run_here(cli: Cli, args: list[str], path: str, stdin: str = KEY, encoding: str = "utf-8") -> tuple[int, list[str]]:
    """Runs a command whose output goes to a file; its exit code, and the lines of standard error."""
    with pytest.MonkeyPatch.context() as patch:
        for name in VARIABLES:
            patch.delenv(name, raising=False)
        for name, value in cli.settings.items():
            patch.setenv(name, value)
        with logging_as_before(), output_to(path, stdin, encoding) as errors, pytest.raises(SystemExit) as exit_:
            main.main(args=args, prog_name="chatgpt-agent")
    return int(str(exit_.value.code or 0)), errors.getvalue().splitlines()


def fill(cli: Cli) -> Cli:
    """Adds a user, an administrator, a price and a budget, for commands that print them."""
    cli.add_user("alice")
    cli.ok("admin", "token", "carol")
    cli.ok("price", "set", "m", "--input", "1", "--output", "2")
    cli.ok("budget", "set", "5", "--user", "alice")
    return cli


@pytest.fixture
def filled(cli: Cli) -> Cli:
    """The program with a user, an administrator, a price and a budget."""
    return fill(cli)


@pytest.fixture(scope="module")
def shared_filled(shared_cli: Cli) -> Cli:
    """The same, for commands that change nothing."""
    return fill(shared_cli)


@pytest.mark.parametrize("command", PRINTING)
@pytest.mark.parametrize("form", ["text", "json"])
def test_reading_command_to_a_full_disk_is_one_line(shared_filled: Cli, command: str, form: str) -> None:
    """The exit code is 1."""
    args = [*arguments_of(command), *(json_option(command) if form == "json" else [])]
    code, lines = run_here(shared_filled, args, "/dev/full")
    assert (code, len(lines)) == (2 if command == "price check" else 1, 1), lines
    assert lines == [FULL] or command in REFUSED


def test_differences_to_a_full_disk_are_one_line(shared_filled: Cli, tmp_path: Path) -> None:
    """The exit code of `price check` is that of differences."""
    listed = tmp_path / "prices.csv"
    listed.write_text("model,input,output\nm,3,4\n")
    code, lines = run_here(shared_filled, ["price", "check", str(listed)], "/dev/full")
    assert (code, lines) == (1, [FULL])


@pytest.mark.parametrize("command", sorted(CHANGES - {*SECRETS}))
def test_changing_command_to_a_full_disk_says_that_the_change_was_made(filled: Cli, command: str) -> None:
    """The exit code is 1, and the line is the only one after those of its progress."""
    code, lines = run_here(filled, arguments_of(command), "/dev/full")
    assert (code, len(lines) - PROGRESS.get(command, 0)) == (1, 1), lines
    assert lines[-1] == f"{FULL}; the change was made" or command in REFUSED


PROGRESS = {"master-key rotate": 3}  # lines on standard error


def json_option(command: str) -> list[str]:
    """Returns the option with which a command prints JSON."""
    options = {option for parameter in leaf_commands()[command].params for option in parameter.opts}
    return ["--json"] if "--json" in options else ["--format", "json"]


@pytest.mark.parametrize("command", SECRETS)
@pytest.mark.parametrize("as_json", [False, True])
def test_token_that_cannot_be_printed_is_not_issued(filled: Cli, command: str, as_json: bool) -> None:
    """The database is as before, and the line says so."""
    before = query(filled.settings["DATABASE_URL"], BOOKS)
    args = [*SECRETS[command], *(["--json"] if as_json else [])]
    code, lines = run_here(filled, args, "/dev/full", STDIN.get(command, KEY))
    assert (code, lines) == (1, [f"{FULL}; nothing was changed"])
    assert query(filled.settings["DATABASE_URL"], BOOKS) == before


@pytest.mark.parametrize("command", SECRETS)
def test_token_is_committed_after_it_is_printed(filled: Cli, command: str) -> None:
    """A printed token is in the database."""
    filled.ok(*SECRETS[command], stdin=STDIN.get(command, KEY))
    table = "admins" if command == "admin token" else "tokens"
    assert query(filled.settings["DATABASE_URL"], f"SELECT count(*)::int FROM {table}") == [(2,)]


FAILING_COMMIT = """
    CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no room'; END $$;
    CREATE CONSTRAINT TRIGGER fails AFTER INSERT ON tokens DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION fail()"""


def test_token_that_is_printed_and_not_committed_is_reported(filled: Cli) -> None:
    """The line says how to see whether it works."""
    query(filled.settings["DATABASE_URL"], FAILING_COMMIT)
    result = filled.run("token", "issue", "alice")
    assert (result.exit_code, result.stdout[:4]) == (1, "cga_")
    assert "no room; see in the list whether the printed token was issued" in result.stderr


def run(cli: Cli, args: list[str], redirection: str, **settings: str) -> "subprocess.CompletedProcess[bytes]":
    """Runs a command in a shell, with a redirection of its output."""
    command = ["bash", "-o", "pipefail", "-c", f'"$@" {redirection}', "bash", *PROGRAM, *args]
    environ = environ_with({**cli.settings, **settings})
    return subprocess.run(command, input=KEY.encode(), env=environ, capture_output=True, timeout=60, check=False)


@pytest.mark.parametrize("redirection", [">/dev/full", ">&-", "| true"])
def test_process_that_cannot_print_a_token_changes_nothing(cli: Cli, redirection: str) -> None:
    """A full disk, a closed standard output and a closed pipe: exit code 1, one line."""
    cli.ok("migrate")
    done = run(cli, ["user", "add", "alice", "--openai-key-stdin"], redirection)
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (1, b"", 1), done.stderr
    assert done.stderr.startswith(b"Error: standard output cannot be written: ")
    assert names(cli) == []


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("args", [["user", "add", "--help"], ["user", "list"]])
def test_process_to_a_full_disk_is_one_line(shared_cli: Cli, args: list[str], unbuffered: str) -> None:
    """Help, too: no traceback, and nothing from Python's exit."""
    done = run(shared_cli, args, ">/dev/full", PYTHONUNBUFFERED=unbuffered)
    assert (done.returncode, done.stderr.decode()) == (1, FULL + "\n")


@pytest.mark.parametrize("args", [["--help"], ["user", "list"]])
@pytest.mark.parametrize("redirection", ["| true", "| head -c 1"])
def test_reader_that_has_seen_enough_is_no_error(shared_cli: Cli, args: list[str], redirection: str) -> None:
    """`| head` shows no error."""
    assert run(shared_cli, args, redirection).stderr == b""


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp1252"])
def test_output_in_another_encoding_has_no_traceback(encoded: Cli, encoding: str) -> None:
    """Characters that the encoding lacks are escaped as in JSON."""
    done = run(encoded, ["user", "show", "zoë"], "", PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.count(b"cga_") == 1


@pytest.mark.parametrize("command", PRINTING)
def test_command_to_latin_1_has_no_traceback(encoded: Cli, command: str) -> None:
    """Names and tokens' prefixes are printed by every command that lists them."""
    _, lines = run_here(encoded, arguments_of(command), os.devnull, encoding="latin-1")
    assert len(lines) <= 1, lines


def test_json_in_another_encoding_is_still_json(encoded: Cli) -> None:
    """A character beyond 16 bits is a pair of escapes."""
    users: list[dict[str, Any]] = json.loads(
        run(encoded, ["user", "list", "--json"], "", PYTHONIOENCODING="latin-1").stdout
    )
    assert [(user["name"], user["comment"]) for user in users] == [("alice", ""), ("zoë", "Ω 😀")]


@pytest.fixture
def encoded(shared_filled: Cli) -> Cli:
    """The program with a user whose name and comment have characters that encodings lack."""
    if "zoë" not in names(shared_filled):
        shared_filled.add_user("zoë")
        shared_filled.ok("user", "set", "zoë", "--comment", "Ω 😀")
    return shared_filled


# Ctrl-C.

# Runs the program, and sends SIGINT when it imports a module.
INTERRUPTED = """
import os, runpy, signal, sys

class Interrupt:
    def find_spec(self, name, path, target=None):
        if name == module:
            os.kill(os.getpid(), signal.SIGINT)

module = sys.argv.pop(1)
sys.meta_path.insert(0, Interrupt())
runpy.run_module("chatgpt_agent", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize(
    ("module", "command"),
    [
        ("click", "user list"),
        ("psycopg2", "user list"),
        ("chatgpt_agent.admin.users", "user list"),
        ("chatgpt_agent.server", "serve"),
    ],
)
def test_ctrl_c_during_the_imports_is_aborted(shared_cli: Cli, module: str, command: str) -> None:
    """They take the first half second."""
    args = [sys.executable, "-c", INTERRUPTED, module, *command.split()]
    done = subprocess.run(args, env=environ_with(shared_cli.settings), capture_output=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"Aborted.\n")


@pytest.mark.parametrize("module", ["psycopg2", "click"])
def test_package_that_cannot_be_loaded_is_one_line(module: str) -> None:
    """Such as one of which a file is damaged, or for whose libraries there is no memory."""
    code = f"import sys; sys.modules[{module!r}] = None; from chatgpt_agent.__main__ import run; run()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=30, check=False)
    [line] = done.stderr.decode().splitlines()
    assert done.returncode == 1
    assert line.startswith("Error: the program cannot be loaded: ")
    assert module in line


@contextlib.contextmanager
def waiting(cli: Cli, *args: str, lock: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A command that waits for a lock on a table."""
    with connected(cli.settings["DATABASE_URL"]) as cursor:
        cursor.execute(f"BEGIN; LOCK {lock}")
        process = subprocess.Popen([*PROGRAM, *args], env=environ_with(cli.settings), stderr=subprocess.PIPE)
        for _ in range(2000):
            cursor.execute("SELECT pg_sleep(0.01), count(*) FROM pg_locks WHERE NOT granted")
            if cursor.fetchall()[0][1]:
                break
        try:
            yield process
        finally:
            process.kill()
            process.wait()


@pytest.mark.parametrize("table", ["usage_daily", "_yoyo_migration"])
def test_ctrl_c_during_a_statement_is_aborted(cli: Cli, table: str) -> None:
    """A command that waits for a lock ends at once, also while it reads the schema."""
    cli.ok("migrate")
    with waiting(cli, "usage", "report", lock=table) as process:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (130, b"Aborted.\n")


@pytest.mark.parametrize("args", [["migrate"], ["migrate", "--status"], ["migrate", "--rollback", "1"]])
def test_ctrl_c_during_a_migration_is_aborted(cli: Cli, args: list[str]) -> None:
    """psycopg2 waits in C, where Python runs no signal handler."""
    with waiting(cli, *args, lock="_yoyo_migration") as process:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (130, b"Aborted.\n")
