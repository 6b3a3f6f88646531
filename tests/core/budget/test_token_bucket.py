"""Buckets that fill by the minute, and what headers say of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatgpt_agent.core.budget.token_bucket import Bucket, Rate, duration, rate_headers

LIMITS = st.integers(1, 10**7)
STEPS = st.lists(st.tuples(st.floats(0, 100), st.integers(0, 10**7)), max_size=50)


def test_a_full_bucket_holds_a_minutes_worth() -> None:
    """And not one more."""
    bucket = Bucket(3, now=0)
    for _ in range(3):
        assert bucket.wait(1, 0) == 0
        bucket.take(1, 0)
    assert bucket.wait(1, 0) == pytest.approx(20)
    assert (bucket.left(0), bucket.full_in(0)) == (0, pytest.approx(60))


def test_it_fills_by_and_by() -> None:
    """Sixty a minute is one a second."""
    bucket = Bucket(60, now=0)
    bucket.take(60, 0)
    assert (bucket.left(0.9), bucket.left(1), bucket.left(30.5), bucket.left(10_000)) == (0, 1, 30, 60)


def test_what_was_used_beyond_the_guess_is_missing() -> None:
    """An answer may be longer than what was taken for it."""
    bucket = Bucket(60, now=0)
    bucket.take(90, 0)
    assert bucket.wait(1, 0) == pytest.approx(31)


def test_what_was_guessed_too_much_comes_back() -> None:
    """But never more than it holds."""
    bucket = Bucket(60, now=0)
    bucket.take(50, 0)
    bucket.take(-20, 0)
    assert bucket.left(0) == 30
    bucket.take(-100, 0)
    assert bucket.left(0) == 60


def test_more_than_it_can_ever_hold_waits_for_it_to_be_full() -> None:
    """Else such a request would wait for ever."""
    bucket = Bucket(60, now=0)
    assert bucket.wait(1000, 0) == 0
    bucket.take(30, 0)
    assert bucket.wait(1000, 0) == pytest.approx(30)


@pytest.mark.parametrize(("limit", "left"), [(100, 50), (20, 0), (60, 10)])
def test_a_changed_limit_keeps_what_was_taken(limit: int, left: int) -> None:
    """Raising a limit gives at once what it gives more."""
    bucket = Bucket(60, now=0)
    bucket.take(50, 0)
    bucket.change(limit, 0)
    assert bucket.left(0) == left


@given(LIMITS, STEPS)
def test_never_more_than_the_limit_and_what_came_since(limit: int, steps: list[tuple[float, int]]) -> None:
    """Over any time, whoever waits as told takes no more than a minute's worth and what has flowed in."""
    bucket, now, taken = Bucket(limit, now=0), 0.0, 0
    for pause, amount in steps:
        now += pause
        amount = min(amount, limit)
        if bucket.wait(amount, now) == 0:
            bucket.take(amount, now)
            taken += amount
    assert taken <= limit + limit / 60 * now + 1e-6 * limit + 1e-6


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0ms"), (0.0204, "21ms"), (1, "1s"), (1.5, "1.5s"), (59.9999, "1m0s"), (90.5, "1m30.5s"), (7205, "2h0m5s")],
)
def test_durations_are_written_as_openai_does(seconds: float, text: str) -> None:
    """Go's form, rounded up to a millisecond."""
    assert duration(seconds) == text


def test_headers_name_only_limits_that_are_there() -> None:
    """Limit, what is left, and when all of it is."""
    assert rate_headers(None, None) == []
    assert rate_headers(Rate(60, 59, 1), None) == [
        ("x-ratelimit-limit-requests", "60"),
        ("x-ratelimit-remaining-requests", "59"),
        ("x-ratelimit-reset-requests", "1s"),
    ]
    assert rate_headers(None, Rate(1, 1, 0))[0] == ("x-ratelimit-limit-tokens", "1")
