"""A clock that a test moves."""

from datetime import UTC, datetime, timedelta


class Clock:
    """Monotonic seconds; a test changes `now`."""

    def __init__(self) -> None:
        self.now = self._began = 1000.0

    def __call__(self) -> float:
        return self.now

    def time_of_day(self) -> datetime:
        """The time of day, which the test moves as well."""
        return datetime.now(UTC) + timedelta(seconds=self.now - self._began)
