"""How the program ends: with an exit code and at most one line, whatever becomes of its terminal."""

import sys
from typing import Any

import click

from chatgpt_agent.cli.output import (
    OutputFailed,
    check_output,
    check_write,
    discard_failed_output,
    echo_error,
    prepare_output,
)

ABORTED = 130  # 128 + SIGINT, as shells count


class Program(click.Group):
    """A group of commands that ends at Ctrl-C with "Aborted." and exit code 130, and where its output cannot be written
    with one line and exit code 1; click shows a traceback for a full disk, and says nothing of a closed pipe."""

    def main(self, *args: Any, **extra: Any) -> Any:
        """Runs a command and exits."""
        prepare_output()
        try:
            code = self._run(*args, **{**extra, "standalone_mode": False})
            check_output()
        except OutputFailed as error:
            if not error.is_silent:
                echo_error(f"Error: {error.message}")
            code = 1
        finally:
            discard_failed_output()
        sys.exit(code)

    def invoke(self, ctx: click.Context) -> Any:
        """Runs a command. Ctrl-C is an Abort: click would write an empty line for it."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise click.Abort from None

    def _run(self, *args: Any, **extra: Any) -> int:
        try:
            code = super().main(*args, **extra)
        except click.ClickException as error:
            error.show()
            return error.exit_code
        except (click.Abort, KeyboardInterrupt):
            echo_error("\nAborted." if sys.stderr.isatty() else "Aborted.")  # a terminal shows ^C before it
            return ABORTED
        except OSError as error:
            check_write(error)
            raise
        return code if isinstance(code, int) else 0
