"""The right counts of a row of the ledger, as a correction gives them, and the usage that the row then has."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.money.kinds import (
    CALL_COLUMNS,
    IMAGE_TOOL_KINDS,
    SIDES,
    TIME_COLUMN,
    TOKEN_KINDS,
    RightCounts,
    TokenKind,
)
from chatgpt_agent.core.usage import MAX_COUNT, MAX_PLACES, Usage

IMAGE_TOOL = "image_tool_"  # begins the names of the counts of the tool image_generation

# What each part is a part of, and the other parts of the same that have no token in common with it.
_WHOLES = {
    kind.name: (kind.side, *(whole.name for whole in TOKEN_KINDS if kind.name in whole.without))
    for kind in TOKEN_KINDS
    if kind.is_part
}
_GROUPS = {
    **{kind.name: kind.without for kind in TOKEN_KINDS},
    **{side: tuple(kind.name for kind in TOKEN_KINDS if kind.side == side and kind.is_medium) for side in SIDES},
}
_NOTHING = Usage(input=0, output=0)


def check_counts(right: RightCounts) -> None:
    """Raises InvalidValue for counts that no row can have, whatever its others are."""
    for prefix in ("", IMAGE_TOOL):
        for part, wholes in _WHOLES.items():
            count = getattr(right, prefix + part, None)
            for whole in wholes:
                most = getattr(right, prefix + whole, None)
                if count is not None and most is not None and count > most:
                    raise _too_many(prefix + part, prefix + whole, most)


def corrected(before: Usage | None, right: RightCounts) -> Usage:
    """Returns the usage of a row that had another one, or None, with these counts. Raises InvalidValue if they
    contradict each other."""
    was = before or _NOTHING
    values = msgspec.structs.asdict(right)
    calls: dict[str, Any] = {name: _count(name, values[name], getattr(was, name)) for name in CALL_COLUMNS.values()}
    drawn = {kind.name: values[IMAGE_TOOL + kind.name] for kind in IMAGE_TOOL_KINDS}
    return Usage(
        **_tokens(values, was, TOKEN_KINDS),
        **calls,
        seconds=_seconds(right.seconds, was.seconds),
        image_tool=was.image_tool if set(drawn.values()) == {None} else _drawn(drawn, was.image_tool or _NOTHING),
    )


def difference(after: Usage, before: Usage) -> Usage:
    """Returns each count of one usage minus that of another one."""
    names = (*(kind.name for kind in TOKEN_KINDS), *CALL_COLUMNS.values(), TIME_COLUMN)
    counts = {name: getattr(after, name) - getattr(before, name) for name in names}
    drawn = (after.image_tool or _NOTHING, before.image_tool or _NOTHING)
    return Usage(**counts, image_tool=None if drawn == (_NOTHING, _NOTHING) else difference(*drawn))


def _drawn(values: Mapping[str, int | None], before: Usage) -> Usage | None:
    usage = Usage(**_tokens(values, before, IMAGE_TOOL_KINDS, IMAGE_TOOL))
    return None if usage == _NOTHING else usage


def _tokens(
    values: Mapping[str, int | None], before: Usage, kinds: Sequence[TokenKind], prefix: str = ""
) -> dict[str, Any]:
    """Returns the count of each kind: first of the wholes, and among their parts first of those that have a value."""
    counts: dict[str, int] = {}
    for name in sorted(
        (kind.name for kind in kinds), key=lambda name: (len(_WHOLES.get(name, ())), values[name] is None)
    ):
        count = _count(prefix + name, values[name], getattr(before, name))
        if name in _WHOLES:
            room, whole = min((_room(name, whole, counts), whole) for whole in _WHOLES[name])
            if values[name] is None:
                count = min(count, room)
            elif count > room:
                raise _too_many(prefix + name, prefix + whole, room)
        counts[name] = count
    return counts


def _too_many(part: str, whole: str, room: int) -> InvalidValue:
    return InvalidValue(f"{part}: these tokens are a part of {whole}, which has room for {room} of them")


def _room(part: str, whole: str, counts: Mapping[str, int]) -> int:
    """How many tokens of a whole may be of this part: without those that are of another part."""
    group = _GROUPS[whole]
    others = sum(counts.get(other, 0) for other in group if other != part) if part in group else 0
    return counts[whole] - others


def _count(name: str, value: int | None, before: int) -> int:
    if value is None:
        return before
    if not 0 <= value <= MAX_COUNT:
        raise InvalidValue(f"{name}: give a count from 0 to {MAX_COUNT}")
    return value


def _seconds(value: Decimal | None, before: Decimal) -> Decimal:
    if value is None:
        return before
    exponent = value.as_tuple().exponent
    if not isinstance(exponent, int) or not 0 <= value <= MAX_COUNT or exponent < -MAX_PLACES:
        raise InvalidValue(f"seconds: give a number from 0 to {MAX_COUNT} with at most {MAX_PLACES} decimal places")
    return value
