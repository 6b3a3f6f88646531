"""Work on large texts in steps: whoever has it done may let others have their turn between two of them.

No step takes more than a millisecond or two, but for what a library does in one call."""

from collections.abc import Generator
from typing import TypeVar

PIECE = 256 * 1024  # bytes that are looked at in one step

Made = TypeVar("Made")
Cooperative = Generator[None, None, Made]  # stops after each step, and returns what it has made


def run_to_end(steps: Cooperative[Made]) -> Made:
    """What steps make, without a rest between them."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            made: Made = end.value
            return made


def find(text: bytes, word: bytes, start: int = 0) -> Cooperative[int]:
    """As `text.find(word, start)`."""
    while (end := start + PIECE) < len(text):
        found = text.find(word, start, end + len(word) - 1)
        if found >= 0:
            return found
        yield
        start = end
    return text.find(word, start)
