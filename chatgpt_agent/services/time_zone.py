"""The time zone of the books: the agent's configuration says which, and the database keeps its days in it."""

import logging
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from chatgpt_agent.core.errors import SetupError, StoreRejected
from chatgpt_agent.edges.store.connection import Store
from chatgpt_agent.edges.store.reports import offsets, read_time_zone, set_time_zone

log = logging.getLogger(__name__)

REBUILD_SECONDS = 3600.0  # for all days of all years
_COMPARED_DAYS = 3 * 366  # around now


async def keep_time_zone(store: Store, zone: str) -> bool:
    """Makes the books' days those of a zone; returns whether they were another's. Raises SetupError where the database
    knows another zone by this name, or none."""
    before = await read_time_zone(store)
    if before == zone:
        return False
    await _check_agreement(store, zone)
    await set_time_zone(store, zone)
    log.info("the books count their days in %s now, and no longer in %s: all sums were made anew", zone, before)
    return True


async def _check_agreement(store: Store, zone: str) -> None:
    """The roll-up's days are PostgreSQL's, the windows of budgets are Python's. They differ where a name means two
    things: in PostgreSQL before 18, `CET` is an abbreviation, without summer time."""
    now = datetime.now(UTC)
    moments = [now + timedelta(days=days) for days in range(-_COMPARED_DAYS, _COMPARED_DAYS, 7)]
    try:
        found = await offsets(store, zone, moments)
    except StoreRejected:
        raise SetupError(f"time_zone: PostgreSQL does not know {zone}: name a place, such as Europe/Berlin") from None
    ours = ZoneInfo(zone)
    if found != [int((moment.astimezone(ours).utcoffset() or timedelta(0)).total_seconds()) for moment in moments]:
        raise SetupError(
            f"time_zone: the clocks of {zone} are not the same in PostgreSQL and here: name a place, such as "
            "Europe/Berlin, or update the time zone data of both"
        )
