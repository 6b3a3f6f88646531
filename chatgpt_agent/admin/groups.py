"""What reports are grouped by: the one check of group names for commands and REST."""

from collections.abc import Collection, Sequence

from chatgpt_agent.core.errors import InvalidValue


def parse_groups(text: str, allowed: Collection[str]) -> list[str]:
    """Returns the group names in a comma-separated list. Raises InvalidValue."""
    names = text.split(",")
    check_groups(names, allowed)
    return names


def check_groups(names: Sequence[str], allowed: Collection[str]) -> None:
    """Raises InvalidValue for an unknown or repeated group, and if there is none."""
    if not names:
        raise InvalidValue("no group is named")
    for at, name in enumerate(names):
        if name not in allowed:
            raise InvalidValue(f"{name[:40]!r} is not one of {', '.join(allowed)}")
        if name in names[:at]:
            raise InvalidValue(f"the group {name!r} is named twice")
