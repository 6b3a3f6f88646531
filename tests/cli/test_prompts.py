"""Prompts of commands, on a real terminal."""

import os
import pty
import select
import subprocess
import sys
from pathlib import Path

import pytest

from chatgpt_agent.core.access.tokens import is_well_formed
from tests.support.commands import KEY, Cli, environ_with, show, stored_key
from tests.support.waiting import SECONDS

# A session's leader takes the terminal that it is given as its own, as a login shell does.
TAKE_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, "-m", "chatgpt_agent", *sys.argv[1:]])
"""


def on_terminal(cli: Cli, *args: str, typed: bytes, then: bytes = b"") -> tuple[int, str, str]:
    """Types at the first prompt of a command, and at the next one; its exit code, what the terminal shows, and its
    standard output, which goes to a pipe."""
    terminal_fd, device_fd = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", TAKE_TERMINAL, *args],
        stdin=device_fd,
        stdout=subprocess.PIPE,
        stderr=device_fd,
        env=environ_with(cli.settings),
        start_new_session=True,
    )
    os.close(device_fd)
    try:
        terminal = _until_prompt(terminal_fd)
        os.write(terminal_fd, typed)
        if then:
            terminal += _until_prompt(terminal_fd)
            os.write(terminal_fd, then)
        out, _ = process.communicate(timeout=SECONDS)
    finally:
        process.kill()
        process.communicate()
    while more := _read(terminal_fd):
        terminal += more
    os.close(terminal_fd)
    return process.returncode, terminal.decode(), out.decode()


def _until_prompt(terminal: int) -> bytes:
    output = b""
    while not output.endswith(b": "):
        assert select.select([terminal], [], [], SECONDS)[0], output
        output += os.read(terminal, 1024)
    return output


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1024)
    except OSError:  # EIO: the process has closed the terminal
        return b""


def test_key_can_be_typed(cli: Cli) -> None:
    """The prompt asks for the key."""
    code, terminal, _ = on_terminal(cli, "user", "add", "alice", typed=f"{KEY}\n".encode())
    assert code == 0
    assert terminal.startswith("OpenAI key: ")
    assert stored_key(cli) == KEY


def test_typed_key_is_not_shown(cli: Cli) -> None:
    """The terminal does not echo the key."""
    _, terminal, out = on_terminal(cli, "user", "add", "alice", typed=f"{KEY}\n".encode())
    assert KEY not in terminal + out


def test_prompt_is_not_in_standard_output(cli: Cli) -> None:
    """Standard output holds only the token."""
    _, _, out = on_terminal(cli, "user", "add", "alice", typed=f"{KEY}\n".encode())
    assert is_well_formed(out.removesuffix("\n"))


@pytest.mark.parametrize("typed", [b"\x03", b"\x04"], ids=["ctrl-c", "ctrl-d"])
def test_prompt_can_be_aborted(cli: Cli, typed: bytes) -> None:
    """Ctrl-C or Ctrl-D ends the command without a traceback."""
    code, terminal, _ = on_terminal(cli, "user", "add", "alice", typed=typed)
    assert (code, terminal.split()[-1]) == (130, "Aborted.")


def test_new_key_can_be_typed(cli: Cli) -> None:
    """`set-key` prompts as `add` does."""
    cli.add_user("alice")
    on_terminal(cli, "user", "set-key", "alice", typed=b"sk-new\n")
    assert stored_key(cli) == "sk-new"


def test_remove_asks_for_the_name_again(cli: Cli) -> None:
    """Another name changes nothing."""
    cli.add_user("alice")
    code, terminal, _ = on_terminal(cli, "user", "remove", "alice", typed=b"bob\n")
    assert (code, show(cli)["user"]["removed_at"]) == (1, None)
    assert "the names differ: nothing was changed" in terminal
    code, _, out = on_terminal(cli, "user", "remove", "alice", typed=b"alice\n")
    assert (code, out) == (0, "User alice has been removed.\n")


PASSWORD = b"made-up words of carol\n"


def test_password_is_typed_twice(cli: Cli) -> None:
    """The terminal does not echo it."""
    code, terminal, out = on_terminal(cli, "admin", "password", "carol", typed=PASSWORD, then=PASSWORD)
    assert (code, out) == (0, "The password of carol (admin) has been set.\n")
    assert terminal.split() == ["Password:", "The", "same", "again:"]


def test_two_passwords_that_differ_change_nothing(cli: Cli) -> None:
    """The exit code is 1."""
    code, terminal, _ = on_terminal(cli, "admin", "password", "carol", typed=PASSWORD, then=b"made-up words\n")
    assert (code, cli.ok("admin", "list", "--json")) == (1, "[]\n")
    assert "the passwords differ: nothing was changed" in terminal


def test_passphrase_of_a_backup_is_asked_twice(shared_cli: Cli, tmp_path: Path) -> None:
    """It is not shown; two that differ write nothing."""
    command = ("backup", str(tmp_path / "b.tar"), "--with-key")
    code, terminal, _ = on_terminal(shared_cli, *command, typed=b"made-up passphrase\n", then=b"another passphrase\n")
    assert (code, "the passphrases differ: nothing was written" in terminal) == (1, True)
    assert "made-up" not in terminal
    assert not (tmp_path / "b.tar").exists()
