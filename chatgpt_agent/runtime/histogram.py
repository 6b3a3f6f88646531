"""A histogram that costs a bisection and two additions for each value, without a lock: the event loop alone uses it."""

from bisect import bisect_left


class Histogram:
    """How many values are at most each of `bounds`, which are ascending."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)  # of each bucket alone; the last is of values over all bounds
        self.sum = 0.0

    def add(self, value: float) -> None:
        """Counts a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value
