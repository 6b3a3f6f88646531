"""Answers that are read on after their clients have disconnected: how many at once, shared among users."""

import asyncio
from collections.abc import Callable

import msgspec


class DrainLimits(msgspec.Struct, frozen=True):
    """How long answers are read on after their clients have disconnected: `seconds` each, `requests` at once."""

    seconds: float
    requests: int


class Drain:
    """An answer that is read on. `stop` ends it."""

    __slots__ = ("stop", "timer", "user_id")

    def __init__(self, user_id: int, stop: Callable[[], None], timer: asyncio.TimerHandle) -> None:
        self.user_id = user_id
        self.stop = stop
        self.timer = timer


class Drains:
    """All of them. One user may have all places while no other needs one: a user with fewer then takes the newest place
    of the user with the most."""

    def __init__(self, limits: DrainLimits) -> None:
        self._limits = limits
        self._by_user: dict[int, list[Drain]] = {}
        self.running = 0

    def start(self, user_id: int, stop: Callable[[], None]) -> Drain | None:
        """Takes a place for an answer to a user, which `stop` ends when its time is over. None: there is no place."""
        if self.running >= self._limits.requests and not self._make_room(user_id):
            return None
        timer = asyncio.get_running_loop().call_later(self._limits.seconds, stop)
        drain = Drain(user_id, stop, timer)
        self._by_user.setdefault(user_id, []).append(drain)
        self.running += 1
        return drain

    def end(self, drain: Drain) -> None:
        """Gives a place back, if it was not taken away."""
        drain.timer.cancel()
        drains = self._by_user.get(drain.user_id, [])
        if drain in drains:
            drains.remove(drain)
            self.running -= 1
            if not drains:
                del self._by_user[drain.user_id]

    def _make_room(self, user_id: int) -> bool:
        most = max(self._by_user.values(), key=len, default=[])
        if len(most) < len(self._by_user.get(user_id, [])) + 2:  # else the two would only change places
            return False
        newest = most[-1]
        self.end(newest)
        newest.stop()
        return True
