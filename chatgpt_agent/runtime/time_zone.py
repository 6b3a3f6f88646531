"""The time zone of the books: the agent's configuration says which, and the database keeps its days in it."""

import logging
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.settings import is_abbreviation, read_time_zone, set_time_zone, utc_offsets
from chatgpt_agent.core.errors import SetupError, StoreRejected

log = logging.getLogger(__name__)

REBUILD_SECONDS = 3600.0  # for all days of all years
_COMPARED_DAYS = 3 * 366  # around now


async def sync_time_zone(store: Store, zone: str) -> bool:
    """Makes the books' days those of a zone; returns whether they were another's. Raises SetupError where the name
    means something else to the database, or nothing."""
    before = await read_time_zone(store)
    if before == zone:
        return False
    await _compare_clocks(store, zone)
    await set_time_zone(store, zone)
    log.info("the books count their days in %s now, and no longer in %s: all sums were made anew", zone, before)
    return True


async def _compare_clocks(store: Store, zone: str) -> None:
    """The roll-up's days are PostgreSQL's, the windows of budgets are Python's. They differ where a name means two
    things, and where one of the two has older data: which countries change their clocks is news every year."""
    now = datetime.now(UTC)
    moments = [now + timedelta(days=days) for days in range(-_COMPARED_DAYS, _COMPARED_DAYS)]
    try:
        theirs = await utc_offsets(store, zone, moments)
    except StoreRejected:
        raise SetupError(f"time_zone: PostgreSQL does not know {zone}: name a place, such as Europe/Berlin") from None
    ours = [_offset(moment.astimezone(ZoneInfo(zone))) for moment in moments]
    differing = [moment for moment, here, there in zip(moments, ours, theirs, strict=True) if here != there]
    if differing and await is_abbreviation(store, zone):
        raise SetupError(
            f"time_zone: to PostgreSQL {zone} is an abbreviation, without summer time: "
            "name a place, such as Europe/Berlin"
        )
    if differing:
        log.warning(
            "the clocks of %s differ between PostgreSQL and this machine, on %d days of six years, %s the first: "
            "reports and budgets may count what is near midnight on different days; update the older time zone data",
            zone, len(differing), differing[0].date(),
        )  # fmt: skip


def _offset(moment: datetime) -> int:
    return int((moment.utcoffset() or timedelta(0)).total_seconds())
