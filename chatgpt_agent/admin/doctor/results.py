"""What a check says."""

from enum import StrEnum

import msgspec


class Outcome(StrEnum):
    """How a check ended. SKIPPED: it was not made."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"
    SKIPPED = "skipped"


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a check. `text`: what is wrong, or right; `advice`: what to do, where possible a command or a key.
    `blocks`: checks that need this one cannot be made."""

    outcome: Outcome
    text: str
    advice: str = ""
    blocks: bool = False


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The results of a check, of which there is at least one, and how long it took."""

    check: str
    seconds: float
    results: list[Result]

    @property
    def blocks(self) -> bool:
        """Whether checks that need this one cannot be made."""
        return any(result.blocks for result in self.results)


def ok(text: str, *, blocks: bool = False) -> Result:
    """Nothing to do."""
    return Result(outcome=Outcome.OK, text=text, blocks=blocks)


def warning(text: str, advice: str = "", *, blocks: bool = False) -> Result:
    """Requests are served, and something should be done."""
    return Result(outcome=Outcome.WARNING, text=text, advice=advice, blocks=blocks)


def failure(text: str, advice: str = "") -> Result:
    """Requests are not served, something may be lost, or a secret is open to others."""
    return Result(outcome=Outcome.FAILURE, text=text, advice=advice, blocks=True)


def skipped(text: str) -> Result:
    """The check was not made."""
    return Result(outcome=Outcome.SKIPPED, text=text, blocks=True)


def counted(count: int, name: str, plural: str = "") -> str:
    """Returns a number and what it counts: 1 row, 2 rows."""
    return f"{count} {name if count == 1 else plural or f'{name}s'}"
