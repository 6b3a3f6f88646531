"""Tests of the days on which models are shut down."""

from datetime import date

import pytest

from chatgpt_agent.core.money.shutdowns import ShutdownChange, is_soon, shutdown_changes

DAY = date(2027, 2, 26)


@pytest.mark.parametrize(
    ("today", "soon"),
    [(date(2026, 12, 27), False), (date(2026, 12, 28), True), (DAY, True), (date(2027, 2, 27), True)],
)
def test_shutdown_is_soon_from_60_days_before(today: date, soon: bool) -> None:
    """It stays so afterwards: the price is no longer needed."""
    assert is_soon(DAY, today) is soon


def test_model_without_a_day_is_not_shut_down_soon() -> None:
    """No day is announced."""
    assert not is_soon(None, DAY)


def test_changes_make_the_days_those_of_the_list() -> None:
    """A day is new, moved or removed; days that the list does not name stay."""
    current = {"moved": DAY, "removed": DAY, "same": DAY, "unnamed": DAY}
    other = date(2027, 3, 1)
    listed = {"new": DAY, "moved": other, "removed": None, "same": DAY, "none": None}
    assert shutdown_changes(current, listed) == [
        ShutdownChange(model="new", shutdown_date=DAY, before=None),
        ShutdownChange(model="moved", shutdown_date=other, before=DAY),
        ShutdownChange(model="removed", shutdown_date=None, before=DAY),
    ]
