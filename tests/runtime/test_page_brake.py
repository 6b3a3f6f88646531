"""Pages begin one after the other while requests are in progress, and at once otherwise."""

import heapq
import itertools
from collections.abc import Callable

import pytest

from chatgpt_agent.core.errors import Overloaded
from chatgpt_agent.runtime.page_brake import BrakeTimes, PageBrake, Turn, Work

IDLE = float("inf")


class World:
    """A brake, and the loop's clock, which a test moves. `idle`: seconds since the last request."""

    def __init__(self, apart: float = 0.0) -> None:
        self.idle = 0.0
        self.now = 1000.0
        self._numbers = itertools.count()
        self._timers: list[tuple[float, int, Callable[..., None], tuple[object, ...]]] = []
        self.brake = PageBrake(lambda: self.idle, loop=self, times=BrakeTimes(apart=apart))

    def time(self) -> float:
        """The clock in seconds."""
        return self.now

    def call_later(self, delay: float, callback: Callable[..., None], /, *args: object) -> None:
        """As the loop's."""
        heapq.heappush(self._timers, (self.now + delay, next(self._numbers), callback, args))

    def advance(self, seconds: float) -> None:
        """Moves the clock, and calls what is due."""
        end = self.now + seconds + 1e-9
        while self._timers and self._timers[0][0] <= end:
            self.now, _, callback, args = heapq.heappop(self._timers)
            callback(*args)
        self.now = end

    def pages(self, count: int, owner: str = "carol") -> list[Turn]:
        """The turns of so many pages."""
        return [self.brake.turn(owner) for _ in range(count)]


@pytest.fixture
def world() -> World:
    """A world in which a request is in progress."""
    return World()


def begun(*turns: Turn) -> list[bool]:
    """Whether each of them has begun."""
    return [turn.done() and turn.result() for turn in turns]


async def test_pages_that_begin_early_do_not_begin_together() -> None:
    """Four pages at once begin a quarter of a second apart, and the fifth one waits for its second."""
    world = World(apart=0.25)
    pages = world.pages(5)
    counts = []
    for _ in range(5):
        counts.append(sum(begun(*pages)))
        world.advance(0.25)
    assert counts == [1, 2, 3, 4, 5]


async def test_page_to_which_a_form_leads_begins_with_it() -> None:
    """It does not wait for the time between two pages."""
    world = World(apart=0.25)
    form = world.brake.turn("carol", Work.FORM)
    world.brake.give_back()
    assert begun(form, *world.pages(1)) == [True, True]


async def test_no_page_waits_without_requests(world: World) -> None:
    """However many come at once."""
    world.idle = IDLE
    assert all(begun(*world.pages(100)))


async def test_four_pages_begin_together(world: World) -> None:
    """After a pause; the next one waits for a second."""
    *four, next_page = world.pages(5)
    assert begun(*four, next_page) == [True, True, True, True, False]
    world.advance(0.99)
    assert not next_page.done()
    world.advance(0.01)
    assert begun(next_page) == [True]


async def test_pages_without_a_pause_begin_at_the_interval(world: World) -> None:
    """A script that asks for the next page at once gets one a second."""
    count = 0
    end = world.now + 60
    while world.now < end:
        turn = world.brake.turn("carol")
        while not turn.done():
            world.advance(0.05)
        count += 1
    assert count == 64  # four at once, and one a second


async def test_click_a_second_never_waits(world: World) -> None:
    """A click that sends a form, whose answer leads to a page, counts once."""
    for _ in range(60):
        assert begun(world.brake.turn("carol", Work.FORM)) == [True]
        world.brake.give_back()
        assert begun(world.brake.turn("carol")) == [True]
        world.advance(1.0)


async def test_form_with_a_page_as_its_answer_counts(world: World) -> None:
    """Such a form costs as much as a page."""
    *four, next_form = [world.brake.turn("carol", Work.FORM) for _ in range(5)]
    assert begun(*four, next_form) == [True, True, True, True, False]


async def test_pages_without_a_wait_do_not_count_for_long(world: World) -> None:
    """After many pages without requests, the first one with requests waits for the interval, not for each of them."""
    world.idle = IDLE
    world.pages(100)
    world.idle = 0.0
    [page] = world.pages(1)
    world.advance(1.0)
    assert begun(page) == [True]


async def test_page_waits_for_a_second_after_a_request(world: World) -> None:
    """The next request may come soon."""
    world.idle = 0.99
    *_, waits = world.pages(5)
    world.idle = 1.0
    assert not waits.done()
    world.advance(0.1)
    assert begun(waits) == [True]


async def test_all_that_waits_begins_when_requests_have_ended(world: World) -> None:
    """They do not wait for each other."""
    turns = world.pages(9)
    world.idle = IDLE
    world.advance(0.1)
    assert all(begun(*turns))


async def test_admins_take_turns(world: World) -> None:
    """The page of another admin goes ahead of those of a script, one of which was the last to begin."""
    script = world.pages(8)
    [page] = world.pages(1, "dora")
    world.advance(1.0)
    assert begun(page, *script[4:]) == [True, False, False, False, False]
    world.advance(1.0)
    assert begun(*script[4:]) == [True, False, False, False]


async def test_form_goes_ahead_of_pages(world: World) -> None:
    """Forms stay in their order."""
    pages = world.pages(6)
    forms = [world.brake.turn("carol", Work.FORM) for _ in range(2)]
    world.advance(1.0)
    assert begun(*forms, *pages[4:]) == [True, False, False, False]
    world.advance(1.0)
    assert begun(*forms, *pages[4:]) == [True, True, False, False]


async def test_page_that_its_client_left_does_not_begin(world: World) -> None:
    """The one behind it takes its place."""
    *_, left, next_page = world.pages(6)
    world.brake.leave(left)
    world.advance(1.0)
    assert (begun(left, next_page), world.brake.waiting) == ([False, True], 0)


async def test_page_of_a_task_that_was_cancelled_does_not_begin(world: World) -> None:
    """It takes no place."""
    *_, cancelled, next_page = world.pages(6)
    cancelled.cancel()
    world.advance(1.0)
    assert begun(next_page) == [True]


async def test_too_many_pages_of_an_admin_are_refused(world: World) -> None:
    """The refusal takes a second, because a script may try again at once."""
    *_, one_too_many = world.pages(11)
    world.advance(0.99)
    assert not one_too_many.done()
    world.advance(0.01)
    with pytest.raises(Overloaded, match="Too many pages wait"):
        one_too_many.result()


async def test_too_many_pages_of_all_are_refused(world: World) -> None:
    """Waiting pages hold connections, of which others need some."""
    world.pages(10)
    world.pages(4, "dora")
    [page] = world.pages(1, "erin")
    world.advance(1.0)
    assert isinstance(page.exception(), Overloaded)


async def test_refusal_of_a_client_that_has_left_is_dropped(world: World) -> None:
    """Nothing is answered."""
    *_, one_too_many = world.pages(11)
    world.brake.leave(one_too_many)
    world.advance(1.0)
    assert begun(one_too_many) == [False]


@pytest.mark.parametrize("work", [Work.FORM, Work.REST])
async def test_forms_and_pages_in_progress_are_never_refused(world: World, work: Work) -> None:
    """What was typed, and what was read, would be lost."""
    world.pages(10)
    turn = world.brake.turn("carol", work)
    world.advance(7.0)
    assert begun(turn) == [True]


async def test_long_page_lets_others_of_its_admin_begin(world: World) -> None:
    """Its next part waits behind them."""
    [*_, page] = world.pages(5)
    part = world.brake.turn("carol", Work.REST)
    world.advance(1.0)
    assert begun(page, part) == [True, False]


async def test_nothing_waits_when_the_agent_stops(world: World) -> None:
    """What waits begins, and what comes later does not wait."""
    turns = world.pages(9)
    world.brake.release()
    assert all(begun(*turns, *world.pages(6)))
