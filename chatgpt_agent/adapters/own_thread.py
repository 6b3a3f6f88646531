"""Work in a thread of its own that the process does not wait for when it ends.

The threads of the event loop's executor are few, and waited for: name lookups that get no answer would take all of
them, and a shutdown would wait for the resolver's timeouts.
"""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

AddressInfo = list[tuple[Any, ...]]


async def in_own_thread(work: Callable[[], T]) -> T:
    """Returns the result of `work`, or raises its error. If this is cancelled, the work goes on without effect here."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.cancelled():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except Exception as failure:
            error = failure
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name="own thread", daemon=True).start()
    return await future


async def look_up(host: str, port: int | None = None, family: int = socket.AF_UNSPEC, flags: int = 0) -> AddressInfo:
    """Returns the addresses of a host name, as `socket.getaddrinfo` does. Raises OSError; UnicodeError where it cannot
    be a host name."""
    return await in_own_thread(lambda: socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, flags=flags))
