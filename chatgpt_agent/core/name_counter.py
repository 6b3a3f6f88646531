"""Counts names that others choose, for operators: a bounded number of them, and no text that is not a name."""

import re
from collections.abc import Iterable

MAX_NAMES = 32  # that are counted apart
OTHER = "other"  # all other names, and what is not a name


class NameCounter:
    """How often each name occurred. `pattern`: what a name looks like; a client may write any text in its place."""

    def __init__(self, pattern: re.Pattern[str]) -> None:
        self._pattern = pattern
        self.counts: dict[str, int] = {}

    def add(self, names: Iterable[str]) -> None:
        """Counts each of these names once."""
        for name in {self._own(name) for name in names}:
            self.counts[name] = self.counts.get(name, 0) + 1

    def _own(self, name: str) -> str:
        if name in self.counts:
            return name
        has_room = len(self.counts) < MAX_NAMES - 1
        return name if has_room and self._pattern.fullmatch(name) else OTHER
