"""Work on large texts as generators that yield between slices, so that the event loop can run other tasks.

They do not yield for a text of up to `SLICE` bytes, unless it is an object with hundreds of members. A slice takes at
most a millisecond or two, unless a single call of a library takes longer.
"""

from collections.abc import Generator
from typing import TypeVar

SLICE = 256 * 1024  # bytes

Result = TypeVar("Result")
Cooperative = Generator[None, None, Result]


def run_to_end(work: Cooperative[Result]) -> Result:
    """Runs a generator to its end and returns its result."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: Result = end.value
            return result


def find(text: bytes, word: bytes, start: int = 0) -> Cooperative[int]:
    """Returns what `text.find(word, start)` does."""
    while (end := start + SLICE) < len(text):
        position = text.find(word, start, end + len(word) - 1)
        if position >= 0:
            return position
        yield
        start = end
    return text.find(word, start)
