"""`python -m chatgpt_agent` and the console script, which end quietly at Ctrl-C from their first moment on."""

import gc
import os
import signal
import sys

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
    from chatgpt_agent.cli.main import main

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


def open_standard_streams() -> None:
    """Opens closed ones (`>&-`), so that no other file gets their numbers. What a command prints fails then; what it
    logs is dropped."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            os.open(os.devnull, os.O_WRONLY if name == "stderr" else os.O_RDONLY)
            setattr(sys, name, open(number, mode, closefd=False, encoding="utf-8"))  # noqa: SIM115


if __name__ == "__main__":
    run()
