"""When a page of the console may begin. Pages share the interpreter and the processors with clients' requests: while
these are in progress, pages begin one after the other, at an interval, however fast they are asked for.

An admin who clicks once a second does not wait. A script that loads pages without a pause waits, and other admins take
turns with it.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from enum import Enum, auto
from typing import Protocol

import msgspec

from chatgpt_agent.core.errors import Overloaded

TOO_MANY_PAGES = "Too many pages wait, because clients' requests are answered first. Please try again in a moment."

Turn = asyncio.Future[bool]  # whether the work is to begin; False: its client has left


class BrakeTimes(msgspec.Struct, frozen=True, kw_only=True):
    """`interval`: between the beginnings of two pages; `at_once`: how many may begin sooner after a pause, and `apart`:
    between these, because pages that are made together hold up a request the longest; `quiet`: for so long after a
    request pages still wait; `look`: between two looks whether requests have ended; `refusal`: until a page over the
    limit is refused, because a script may try again at once. In seconds.

    The listener of the administration has 16 connections, and pages that wait hold them. A browser opens six."""

    interval: float = 1.0
    at_once: int = 4
    apart: float = 0.25
    quiet: float = 1.0
    look: float = 0.1
    refusal: float = 1.0
    max_waiting: int = 10
    max_of_owner: int = 6


class Work(Enum):
    """What waits."""

    PAGE = auto()
    FORM = auto()  # goes ahead of its owner's pages, and is never refused
    REST = auto()  # of a long page that has begun; is never refused


class Loop(Protocol):
    """What is used of the event loop."""

    def time(self) -> float:
        """Monotonic seconds."""

    def call_later(self, delay: float, callback: Callable[..., None], /, *args: object) -> object:
        """Calls a function after so many seconds."""


class _Queue(msgspec.Struct):
    """The turns of one owner that wait, in order of their arrival."""

    forms: deque[Turn] = msgspec.field(default_factory=deque)
    others: deque[Turn] = msgspec.field(default_factory=deque)


class PageBrake:
    """The pages that wait. `idle_seconds` returns for how long no request of a client has been in progress; 0: there
    is one now."""

    def __init__(self, idle_seconds: Callable[[], float], *, loop: Loop, times: BrakeTimes = BrakeTimes()) -> None:
        self._idle_seconds = idle_seconds
        self._loop = loop
        self._times = times
        self._released = False
        self._free_at = float("-inf")  # when all of `at_once` may begin
        self._begun_at = float("-inf")  # when the last one began
        self._queues: dict[str, _Queue] = {}  # by owner; the first one is next, unless its page was the last to begin
        self._last_owner = ""
        self._timer_set = False

    @property
    def waiting(self) -> int:
        """The number of pages and forms that wait."""
        return sum(len(queue.forms) + len(queue.others) for queue in self._queues.values())

    def turn(self, owner: str, work: Work = Work.PAGE) -> Turn:
        """Returns the turn of a page or a form, which is done when it is to begin. Owners take turns. The turn raises
        Overloaded if too many pages wait."""
        turn: Turn = asyncio.get_running_loop().create_future()
        if not self._queues and self._seconds_to_wait() <= 0:
            self._begin(turn, owner)
        elif work is Work.PAGE and self._is_full(owner):
            self._loop.call_later(self._times.refusal, _refuse, turn)
        else:
            queue = self._queues.setdefault(owner, _Queue())
            (queue.forms if work is Work.FORM else queue.others).append(turn)
            self._set_timer()
        return turn

    def give_back(self) -> None:
        """Does not count the form that has begun: its answer is no page, but leads to one."""
        self._free_at -= self._times.interval
        self._begun_at = float("-inf")

    def leave(self, turn: Turn) -> None:
        """Takes a turn out of its queue, if it waits: its client has disconnected."""
        if turn.done():
            return
        turn.set_result(False)
        for owner, queue in list(self._queues.items()):
            queue.forms, queue.others = _undone(queue.forms), _undone(queue.others)
            if not queue.forms and not queue.others:
                del self._queues[owner]

    def release(self) -> None:
        """Lets everything begin that waits, and from now on everything at once: the agent is stopping."""
        self._released = True
        self._begin_due()

    def _is_full(self, owner: str) -> bool:
        own = self._queues.get(owner)
        return self.waiting >= self._times.max_waiting or (
            own is not None and len(own.others) >= self._times.max_of_owner
        )

    def _seconds_to_wait(self) -> float:
        if self._released or self._idle_seconds() >= self._times.quiet:
            return 0.0
        return max(self._free_at - self._tolerance, self._begun_at + self._times.apart) - self._loop.time()

    @property
    def _tolerance(self) -> float:
        return (self._times.at_once - 1) * self._times.interval

    def _begin(self, turn: Turn, owner: str) -> None:
        # The generic cell rate algorithm (ITU-T I.371). Pages that began without a wait count as `at_once` at most.
        now = self._loop.time()
        self._free_at = min(max(self._free_at, now), now + self._tolerance) + self._times.interval
        self._begun_at = now
        self._last_owner = owner
        turn.set_result(True)

    def _begin_due(self) -> None:
        while self._queues and self._seconds_to_wait() <= 0:
            owner, turn = self._take_next()
            if not turn.done():  # its task was cancelled
                self._begin(turn, owner)
        self._set_timer()

    def _take_next(self) -> tuple[str, Turn]:
        owners = list(self._queues)
        owner = next((owner for owner in owners if owner != self._last_owner), owners[0])
        queue = self._queues.pop(owner)
        turn = (queue.forms or queue.others).popleft()
        if queue.forms or queue.others:
            self._queues[owner] = queue  # behind the other owners
        return owner, turn

    def _set_timer(self) -> None:
        if self._queues and not self._timer_set:
            self._timer_set = True
            self._loop.call_later(min(self._seconds_to_wait(), self._times.look), self._on_timer)

    def _on_timer(self) -> None:
        self._timer_set = False
        self._begin_due()


def _refuse(turn: Turn) -> None:
    if not turn.done():
        turn.set_exception(Overloaded(TOO_MANY_PAGES))


def _undone(turns: deque[Turn]) -> deque[Turn]:
    return deque(turn for turn in turns if not turn.done())
