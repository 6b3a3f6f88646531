"""Answers that are read on after a disconnect, and how users share their places."""

from chatgpt_agent.runtime.drains import DrainLimits, Drains


def nothing() -> None:
    """Ends nothing."""


async def test_one_user_may_have_all_places() -> None:
    """While no other user needs a place, one may have all, and no more."""
    drains = Drains(DrainLimits(60.0, 2))
    first, second, third = (drains.start(1, nothing) for _ in range(3))
    assert (first is not None, second is not None, third) == (True, True, None)
    assert first is not None
    drains.end(first)
    assert drains.start(1, nothing) is not None


async def test_another_user_takes_the_newest_place_of_the_user_with_the_most() -> None:
    """A user with fewer places takes one, until both have as many."""
    drains, stopped = Drains(DrainLimits(60.0, 4)), list[int]()
    for number in range(4):
        drains.start(1, lambda number=number: stopped.append(number))  # type: ignore[misc]
    places = [drains.start(2, nothing) for _ in range(3)]
    assert ([place is not None for place in places], stopped) == ([True, True, False], [3, 2])


async def test_place_that_was_taken_away_is_not_given_back_twice() -> None:
    """The end of an answer that has lost its place changes nothing."""
    drains = Drains(DrainLimits(60.0, 2))
    drains.start(1, nothing)
    newest = drains.start(1, nothing)
    assert drains.start(2, nothing) is not None
    assert newest is not None
    drains.end(newest)
    assert drains.running == 2
