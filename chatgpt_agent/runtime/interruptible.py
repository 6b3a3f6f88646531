"""Ctrl-C beside a blocking call: psycopg2 waits for PostgreSQL in C, where Python runs no signal handler."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def interruptible(work: Callable[[], T]) -> T:
    """Returns the result of `work`, or raises its error. At KeyboardInterrupt its thread is left behind and ends with
    the process; PostgreSQL then undoes what its connection has not committed."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name="interruptible", daemon=True).start()
    return future.result()
