"""The days on which OpenAI shuts models down (https://developers.openai.com/api/docs/deprecations)."""

from collections.abc import Mapping
from datetime import date, timedelta

import msgspec

SOON = timedelta(days=60)  # before a shutdown, administrators are warned


class ShutdownChange(msgspec.Struct, frozen=True, kw_only=True):
    """A model's day that a list would set, and the one before. None: there is none."""

    model: str
    shutdown_date: date | None
    before: date | None


def shutdown_changes(current: Mapping[str, date], listed: Mapping[str, date | None]) -> list[ShutdownChange]:
    """Returns the changes with which the days are those of a list. Days of models that it does not name stay."""
    return [
        ShutdownChange(model=model, shutdown_date=day, before=current.get(model))
        for model, day in listed.items()
        if day != current.get(model)
    ]


def is_soon(day: date | None, today: date) -> bool:
    """Whether a model is shut down within SOON, or has been."""
    return day is not None and day - today <= SOON
