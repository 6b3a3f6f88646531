"""How many bytes of request bodies and answers are held in memory, over all requests together.

A user may hold as many bytes as remain free: one user alone half of them, two users a third each. So large requests of
one user leave room for those of others, and there is never none left (Choudhury and Hahne, "Dynamic Queue Length
Thresholds for Shared-Memory Packet Switches", 1998, with α = 1).
"""

import asyncio

from chatgpt_agent.adapters import malloc

TRIM_SECONDS = 5.0
MAX_TRIM_SECONDS = 20.0
TRIM_BYTES = 16 * 1024 * 1024  # by which the process has grown since its start before its freed memory is given back


class Memory:
    """`limit`: bytes, at least twice the size of the largest body.

    `copying` is locked while a large body or answer is read, for which it is copied up to three times: these copies are
    not counted, so there may be those of one at a time."""

    def __init__(self, limit: int) -> None:
        self.copying = asyncio.Lock()
        self.limit = limit
        self.held = 0  # bytes
        self._by_user: dict[int | str, int] = {}  # of users who hold any

    def share(self, user: int | str) -> "Share":
        """Returns the share of one request of a user, which holds nothing yet."""
        return Share(self, user)

    def take(self, user: int | str, size: int) -> bool:
        """Takes bytes for a user. Returns False, and takes none, where the user would hold more than remains free."""
        if not size:
            return True
        by_user = self._by_user.get(user, 0) + size
        if by_user > self.limit - self.held - size:
            return False
        self._by_user[user] = by_user
        self.held += size
        return True

    def give_back(self, user: int | str, size: int) -> None:
        """Gives back bytes that were taken for a user."""
        self.held -= size
        left = self._by_user[user] - size
        if left:
            self._by_user[user] = left
        else:
            del self._by_user[user]


class Share:
    """The bytes that one request holds."""

    __slots__ = ("_memory", "_user", "copying", "size")

    def __init__(self, memory: Memory, user: int | str) -> None:
        self._memory = memory
        self._user = user
        self.copying = memory.copying
        self.size = 0

    def another(self) -> "Share":
        """Returns a further share of the same user, which holds nothing yet."""
        return Share(self._memory, self._user)

    def grow(self, size: int) -> bool:
        """Takes more bytes. Returns False, and takes none, where there is no room for them."""
        if not self._memory.take(self._user, size):
            return False
        self.size += size
        return True

    def resize(self, size: int) -> bool:
        """Takes or gives back bytes, to hold this many. Returns False, and changes nothing, where there is no room."""
        if size > self.size:
            return self.grow(size - self.size)
        self.shrink(self.size - size)
        return True

    def shrink(self, size: int) -> None:
        """Gives back some of the bytes."""
        if size:
            self.size -= size
            self._memory.give_back(self._user, size)

    def release(self) -> None:
        """Gives back all bytes."""
        if self.size:  # it is called where it may have been before
            self.shrink(self.size)


async def trim_forever() -> None:
    """Gives freed memory back to the system after a burst: malloc keeps small blocks that lie between others."""
    at_start, pause = malloc.resident_bytes(), TRIM_SECONDS
    while True:
        await asyncio.sleep(pause)
        before, pause = malloc.resident_bytes(), TRIM_SECONDS
        if before > at_start + TRIM_BYTES:
            malloc.trim()
            if malloc.resident_bytes() > before - TRIM_BYTES / 4:  # nearly all of it is in use
                pause = MAX_TRIM_SECONDS
