"""What a command does to the database: it changes something, unless it is marked here."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def reads_with(**options: object) -> Callable[[F], F]:
    """Marks a command that changes nothing if its options have these values: it does not migrate either."""

    def mark(command: F) -> F:
        command.reads_with = options  # type: ignore[attr-defined]
        return command

    return mark


reads = reads_with()  # whatever its options are


def only_reads(command: Callable[..., Any], options: Mapping[str, object]) -> bool:
    """Returns whether a command with these options changes nothing."""
    values: Mapping[str, object] | None = getattr(command, "reads_with", None)
    return values is not None and all(options[name] == value for name, value in values.items())
