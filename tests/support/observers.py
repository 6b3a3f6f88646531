"""Observers of services that a test does not observe."""

from collections.abc import Sequence

from chatgpt_agent.core.ledger import Row


def ignore(*_: object) -> None:
    """Takes any event."""


class IgnoreRows:
    """Takes the ledger's events."""

    def shipping(self, rows: Sequence[Row]) -> None:
        """Takes rows that are being shipped."""

    def shipped(self, rows: Sequence[Row]) -> None:
        """Takes rows that PostgreSQL has."""

    def reconnected(self) -> None:
        """Takes that PostgreSQL was away."""
