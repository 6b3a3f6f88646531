"""Percentiles of durations that are counted in logarithmic buckets, as the table `usage_latency` does."""

from collections.abc import Mapping

PER_DECADE = 16  # buckets: a percentile is within 7.5 % of the exact one


def percentile(buckets: Mapping[int, int], fraction: float) -> float | None:
    """Returns the duration that this fraction of the requests does not exceed, in milliseconds; None without requests.
    `buckets`: how many requests took from 10^(bucket/16) up to 10^((bucket+1)/16) milliseconds."""
    total = sum(buckets.values())
    passed = 0
    for bucket, requests in sorted(buckets.items()):
        passed += requests
        if passed >= fraction * total and requests:
            return float(10 ** ((bucket + 0.5) / PER_DECADE))
    return None
