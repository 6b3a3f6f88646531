"""`python -m chatgpt_agent` and the console script, which end quietly at Ctrl-C from their first moment on."""

import gc
import os
import signal
import sys
from typing import NoReturn

# Allocations before a garbage collection. With Python's default of 700, collections that free nothing take a tenth of
# the processor time of a command, and a sixth of the time in which `serve` is imported.
GC_THRESHOLD = 100_000


def run() -> None:
    """Runs the program and exits."""
    gc.set_threshold(GC_THRESHOLD)
    open_standard_streams()
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:  # as for a job in the background
        signal.signal(signal.SIGINT, abort)  # the imports below take a while
    try:
        from chatgpt_agent.cli.main import main
    except (ImportError, MemoryError) as error:
        cannot_load(error)
    try:
        signal.signal(signal.SIGINT, before)
        main()
    except KeyboardInterrupt:
        abort()
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # what Python does at its exit is not worth a traceback


def abort(*_: object) -> None:
    """Ends the process as Ctrl-C does."""
    os.write(2, b"Aborted.\n")
    os._exit(130)


def cannot_load(error: Exception) -> NoReturn:
    """Ends the process with one line: a package is missing or damaged, or there is no room for it (ulimit -v)."""
    reason = " ".join(str(error).split()) or "there is not enough memory (ulimit -v)"
    sys.exit(f"Error: the program cannot be loaded: {reason}: see to it that there is memory, or install it again")


def open_standard_streams() -> None:
    """Opens closed ones (`>&-`), so that no other file gets their numbers. What a command prints fails then; what it
    logs is dropped."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            os.open(os.devnull, os.O_WRONLY if name == "stderr" else os.O_RDONLY)
            setattr(sys, name, open(number, mode, closefd=False, encoding="utf-8"))  # noqa: SIM115


if __name__ == "__main__":
    run()
