"""What belongs to the process: signals, garbage collection and the event loop."""

import asyncio
import contextlib
import gc
import os
import signal
from collections.abc import Callable, Iterator

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
RELOAD_SIGNAL = signal.SIGHUP
# Their default ends the process. They come from tools that rotate logs.
IGNORED_SIGNALS = (signal.SIGUSR1, signal.SIGUSR2)
SIGNALS = (*STOP_SIGNALS, RELOAD_SIGNAL, *IGNORED_SIGNALS)

# Allocations before a collection. Python's default of 700 is reached every second request, and nearly all requests
# leave no reference cycle behind. The few cycles that a connection leaves wait longer.
GC_THRESHOLDS = (10_000, 10, 10)


def prepare() -> None:
    """Sets up the process before the embedded database and the event loop are started."""
    gc.set_threshold(*GC_THRESHOLDS)
    # Signals stay pending until `handle_signals`, and after it: an embedded database that is being started or stopped
    # would be left running.
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def freeze_objects() -> None:
    """Exempts all present objects from collection: scanning them held the event loop for 25 ms each time."""
    gc.freeze()


def loop_factory() -> "type[asyncio.AbstractEventLoop] | None":
    """The event loop's class; None: asyncio's default."""
    # With io_uring, libuv registers sockets with the kernel at a cost of 5 to 7 % of a chunk (uvloop 0.23).
    os.environ.setdefault("UV_USE_IO_URING", "0")
    try:
        import uvloop
    except ImportError:  # not on Windows
        return None
    return uvloop.Loop  # a sixth less CPU than asyncio's own, measured


# Signals.


OnSignal = Callable[[str], None]  # called with the name of the signal


@contextlib.contextmanager
def handle_signals(*, on_stop: OnSignal, on_reload: OnSignal, on_ignored: OnSignal) -> Iterator[None]:
    """Calls these for each signal, including one that is pending, until the context ends."""
    loop = asyncio.get_running_loop()
    handlers = {
        **dict.fromkeys(STOP_SIGNALS, on_stop),
        RELOAD_SIGNAL: on_reload,
        **dict.fromkeys(IGNORED_SIGNALS, on_ignored),
    }
    for number in filter(_is_wanted, SIGNALS):
        loop.add_signal_handler(number, handlers[number], number.name)
    before = signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _is_wanted(number: signal.Signals) -> bool:
    """Whether a signal is handled: a shell starts jobs in the background with SIGINT ignored."""
    return signal.getsignal(number) is not signal.SIG_IGN
