"""A connection of psycopg2 for event loops: aiopg registers its file descriptor there."""

import os

import psycopg2
import psycopg2.extensions


class StableDescriptor(psycopg2.extensions.connection):
    """A connection whose file descriptor, which aiopg registers with the event loop, stays open until `close`.

    libpq closes its own at any error, before aiopg removes it from the loop. uvloop, if it waits for a write, then
    refuses this number to all later users: RuntimeError, the handler is closed."""

    _duplicate: int | None = None

    def fileno(self) -> int:
        if self._duplicate is None:
            try:
                self._duplicate = os.dup(super().fileno())
            except OSError:
                self.close()  # aiopg has not finished its own connection, and could not close this one
                raise
        return self._duplicate

    def poll(self) -> int:
        state: int = super().poll()
        if self._duplicate is not None and not os.path.sameopenfile(self._duplicate, super().fileno()):
            # With sslmode=prefer libpq now retries without TLS on a new socket, which aiopg does not watch.
            raise psycopg2.OperationalError("the server refuses the first connection of sslmode=prefer: set sslmode")
        return state

    def close(self) -> None:
        super().close()
        duplicate, self._duplicate = self._duplicate, None
        if duplicate is not None:
            os.close(duplicate)
