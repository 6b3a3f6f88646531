"""Answers that are read on after a disconnect, and how users share their places."""

import functools

from chatgpt_agent.runtime.abandoned import AbandonedAnswers


def nothing() -> None:
    """Ends nothing."""


async def test_one_user_may_have_all_places() -> None:
    """While no other user needs a place, one may have all, and no more."""
    abandoned = AbandonedAnswers(seconds=60.0, limit=2)
    first, second, third = (abandoned.start(1, nothing) for _ in range(3))
    assert (first is not None, second is not None, third) == (True, True, None)
    assert first is not None
    abandoned.end(first)
    assert abandoned.start(1, nothing) is not None


async def test_another_user_takes_the_newest_place_of_the_user_with_the_most() -> None:
    """A user with fewer places takes one, until both have as many."""
    abandoned, stopped = AbandonedAnswers(seconds=60.0, limit=4), list[int]()
    for number in range(4):
        abandoned.start(1, functools.partial(stopped.append, number))
    places = [abandoned.start(2, nothing) for _ in range(3)]
    assert ([place is not None for place in places], stopped) == ([True, True, False], [3, 2])


async def test_place_that_was_taken_away_is_not_given_back_twice() -> None:
    """The end of an answer that has lost its place changes nothing."""
    abandoned = AbandonedAnswers(seconds=60.0, limit=2)
    abandoned.start(1, nothing)
    newest = abandoned.start(1, nothing)
    assert abandoned.start(2, nothing) is not None
    assert newest is not None
    abandoned.end(newest)
    assert abandoned.running == 2
