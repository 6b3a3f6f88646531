"""Answers that are read on after their clients have disconnected: how many at once, shared among users."""

import asyncio
from collections.abc import Callable


class AbandonedAnswer:
    """An answer that is read on. `stop` ends it."""

    __slots__ = ("stop", "timer", "user_id")

    def __init__(self, user_id: int, stop: Callable[[], None], timer: asyncio.TimerHandle) -> None:
        self.user_id = user_id
        self.stop = stop
        self.timer = timer


class AbandonedAnswers:
    """All of them: each for `seconds`, at most `limit` at once. One user may have all places while no other needs one:
    a user with fewer then takes the newest place of the user with the most."""

    def __init__(self, *, seconds: float, limit: int) -> None:
        self.seconds = seconds
        self.limit = limit
        self._by_user: dict[int, list[AbandonedAnswer]] = {}
        self.running = 0

    def start(self, user_id: int, stop: Callable[[], None]) -> AbandonedAnswer | None:
        """Takes a place for an answer to a user, which `stop` ends when its time is over. None: there is no place."""
        if self.running >= self.limit and not self._make_room(user_id):
            return None
        timer = asyncio.get_running_loop().call_later(self.seconds, stop)
        abandoned = AbandonedAnswer(user_id, stop, timer)
        self._by_user.setdefault(user_id, []).append(abandoned)
        self.running += 1
        return abandoned

    def end(self, abandoned: AbandonedAnswer) -> None:
        """Gives a place back, if it was not taken away."""
        abandoned.timer.cancel()
        others = self._by_user.get(abandoned.user_id, [])
        if abandoned in others:
            others.remove(abandoned)
            self.running -= 1
            if not others:
                del self._by_user[abandoned.user_id]

    def _make_room(self, user_id: int) -> bool:
        most = max(self._by_user.values(), key=len, default=[])
        if len(most) < len(self._by_user.get(user_id, [])) + 2:  # else the two would only change places
            return False
        newest = most[-1]
        self.end(newest)
        newest.stop()
        return True
