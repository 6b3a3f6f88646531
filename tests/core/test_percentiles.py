"""Percentiles out of logarithmic buckets."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatgpt_agent.core.percentiles import PER_DECADE, percentile


def bucket(milliseconds: int) -> int:
    """The bucket of a duration, as the database computes it."""
    return math.floor(PER_DECADE * math.log10(max(milliseconds, 1)))


def buckets(durations: list[int]) -> dict[int, int]:
    """How many durations are in each bucket."""
    counts: dict[int, int] = {}
    for duration in durations:
        counts[bucket(duration)] = counts.get(bucket(duration), 0) + 1
    return counts


@given(st.lists(st.integers(1, 10**7), min_size=1), st.sampled_from([0.5, 0.95, 1.0]))
def test_percentile_is_close_to_the_exact_one(durations: list[int], fraction: float) -> None:
    """It differs by 7.5 % at most."""
    exact = sorted(durations)[math.ceil(fraction * len(durations)) - 1]
    value = percentile(buckets(durations), fraction)
    assert value == pytest.approx(exact, rel=0.075)


def test_nothing_has_no_percentile() -> None:
    """No requests, or a bucket that is empty."""
    assert percentile({}, 0.5) is None
    assert percentile({5: 0}, 0.5) is None
