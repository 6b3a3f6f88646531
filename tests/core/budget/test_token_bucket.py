"""Tests of the buckets of rate limits, and of the header fields about them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatgpt_agent.core.budget.token_bucket import Bucket, LimitState, duration, rate_headers

LIMITS = st.integers(1, 10**7)
STEPS = st.lists(st.tuples(st.floats(0, 100), st.integers(0, 10**7)), max_size=50)


def test_full_bucket_holds_the_amount_of_a_minute() -> None:
    """A bucket of three lets three requests through at once, and the fourth after 20 seconds."""
    bucket = Bucket(3, now=0)
    for _ in range(3):
        assert bucket.wait(1, 0) == 0
        bucket.take(1, 0)
    assert bucket.wait(1, 0) == pytest.approx(20)
    assert (bucket.left(0), bucket.state(0).reset) == (0, pytest.approx(60))


def test_bucket_refills_continuously() -> None:
    """A limit of sixty a minute gives one each second."""
    bucket = Bucket(60, now=0)
    bucket.take(60, 0)
    assert (bucket.left(0.9), bucket.left(1), bucket.left(30.5), bucket.left(10_000)) == (0, 1, 30, 60)


def test_use_beyond_the_estimate_has_to_refill() -> None:
    """An answer may use more tokens than were estimated for it."""
    bucket = Bucket(60, now=0)
    bucket.take(90, 0)
    assert bucket.wait(1, 0) == pytest.approx(31)


def test_overestimate_is_given_back() -> None:
    """Tokens that were not used are available again, up to the capacity."""
    bucket = Bucket(60, now=0)
    bucket.take(50, 0)
    bucket.take(-20, 0)
    assert bucket.left(0) == 30
    bucket.take(-100, 0)
    assert bucket.left(0) == 60


def test_amount_above_the_capacity_waits_for_a_full_bucket() -> None:
    """A request that is larger than the limit may go when the bucket is full, or it would wait forever."""
    bucket = Bucket(60, now=0)
    assert bucket.wait(1000, 0) == 0
    bucket.take(30, 0)
    assert bucket.wait(1000, 0) == pytest.approx(30)


@pytest.mark.parametrize(("limit", "left"), [(100, 50), (20, 0), (60, 10)])
def test_changed_limit_keeps_what_was_used(limit: int, left: int) -> None:
    """A raised limit adds the difference at once; a lowered one takes it away."""
    bucket = Bucket(60, now=0)
    bucket.take(50, 0)
    bucket.change(limit, 0)
    assert bucket.left(0) == left


@given(LIMITS, STEPS)
def test_use_never_exceeds_the_limit_and_the_refill(limit: int, steps: list[tuple[float, int]]) -> None:
    """Over any time, a client that waits as required uses at most one capacity and the refill since."""
    bucket, now, used = Bucket(limit, now=0), 0.0, 0
    for pause, amount in steps:
        now += pause
        amount = min(amount, limit)
        if bucket.wait(amount, now) == 0:
            bucket.take(amount, now)
            used += amount
    assert used <= limit + limit / 60 * now + 1e-6 * limit + 1e-6


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0ms"), (0.0204, "21ms"), (1, "1s"), (1.5, "1.5s"), (59.9999, "1m0s"), (90.5, "1m30.5s"), (7205, "2h0m5s")],
)
def test_durations_have_the_format_of_openai(seconds: float, text: str) -> None:
    """Durations have Go's format and are rounded up to a millisecond."""
    assert duration(seconds) == text


def test_headers_describe_only_existing_limits() -> None:
    """The header fields hold the limit, what remains, and the time until it is full."""
    assert rate_headers(None, None) == []
    assert rate_headers(LimitState(60, 59, 1), None) == [
        ("x-ratelimit-limit-requests", "60"),
        ("x-ratelimit-remaining-requests", "59"),
        ("x-ratelimit-reset-requests", "1s"),
    ]
    assert rate_headers(None, LimitState(1, 1, 0))[0] == ("x-ratelimit-limit-tokens", "1")
