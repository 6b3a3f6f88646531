"""Standard output and error: texts that they cannot encode, and writes that fail."""

import codecs
import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from typing import TextIO

import click

from chatgpt_agent.core.errors import AgentError

_WRITE_ERRORS = {errno.ENOSPC, errno.EPIPE, errno.EBADF, errno.EIO, errno.EFBIG, errno.EDQUOT}
ESCAPE = "chatgpt_agent.escape"  # the name of the handler of characters that an encoding lacks


class OutputFailed(AgentError):
    """Standard output or error cannot be written: a full disk, a closed pipe. `outcome`: what became of the command.
    `is_silent`: the reader of a pipe has seen enough, as in `usage report | head`."""

    def __init__(self, stream: str, error: OSError, outcome: str) -> None:
        super().__init__(f"{stream} cannot be written: {error.strerror or error}{outcome}")
        self.is_silent = error.errno == errno.EPIPE and not outcome


def prepare_output() -> None:
    """Lets characters that the terminal's encoding lacks be written as in JSON, such as \\u2026: nothing is lost."""
    codecs.register_error(ESCAPE, _escape)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=ESCAPE)


def _escape(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2)), error.end


def check_output(outcome: str = "") -> None:
    """Raises OutputFailed if what was written to standard output or error cannot go out."""
    for name, stream in (("standard output", sys.stdout), ("standard error", sys.stderr)):
        try:
            stream.flush()  # what a failed write has left in the buffer fails again
        except OSError as error:
            _discard(stream)
            raise OutputFailed(name, error, outcome) from None


def check_write(error: OSError, outcome: str = "") -> None:
    """Raises OutputFailed if `error` is that of a write to standard output or error."""
    check_output(outcome)
    if error.filename is None and error.errno in _WRITE_ERRORS:  # PYTHONUNBUFFERED: nothing is left in a buffer
        raise OutputFailed("standard output", error, outcome) from None


@contextlib.contextmanager
def no_change_without_output() -> Iterator[None]:
    """Output before a change is made. Raises OutputFailed, which says that nothing was changed, if it cannot go out."""
    try:
        yield
    except OSError as error:
        check_write(error, "; nothing was changed")
        raise
    check_output("; nothing was changed")


def discard_failed_output() -> None:
    """Drops what cannot go out: Python would try once more when it exits, and say so."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            _discard(stream)


def _discard(stream: TextIO) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def echo_error(text: str) -> None:
    """Writes a line to standard error, if that can be written."""
    try:
        click.echo(text, err=True)
    except OSError:
        _discard(sys.stderr)
