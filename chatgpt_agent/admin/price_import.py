"""Imports a list of prices: LiteLLM's JSON, or the CSV that `price export` writes. It is shown first, then applied.

LiteLLM's list also has surcharges, and days on which models are shut down."""

import asyncio
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from chatgpt_agent.adapters.files import read_limited
from chatgpt_agent.adapters.postgres.connection import AnyStore
from chatgpt_agent.adapters.postgres.model_dates import list_dates
from chatgpt_agent.adapters.postgres.price_lists import apply_list
from chatgpt_agent.adapters.postgres.surcharges import list_surcharges
from chatgpt_agent.admin.prices import Prices
from chatgpt_agent.admin.warnings import MAX_WARNINGS, Warn, no_warning, warn_of_similar
from chatgpt_agent.core.csv_reader import trimmed
from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.likely import check_likely_model
from chatgpt_agent.core.money.litellm import model_of
from chatgpt_agent.core.money.litellm_surcharges import ListedSurcharges, describe_differing
from chatgpt_agent.core.money.price_csv import Difference, difference
from chatgpt_agent.core.money.price_files import MAX_FILE, PriceFile, read_prices, select_models
from chatgpt_agent.core.money.pricing import NewPrice, Price, check_price
from chatgpt_agent.core.money.shutdowns import ShutdownChange, shutdown_changes
from chatgpt_agent.core.money.surcharge_lists import SurchargeDifference, surcharge_difference
from chatgpt_agent.core.money.surcharges import NewSurcharge, Surcharge

MAX_PRICES = 10_000  # in one list


class ListDifference(msgspec.Struct, frozen=True, kw_only=True):
    """What a list would change. `unpriced`: how many of its models have no price here, and are left out."""

    prices: Difference
    surcharges: SurchargeDifference = SurchargeDifference()
    shutdown_dates: list[ShutdownChange] = []
    unpriced: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing changes."""
        return not (self.prices.changes or self.surcharges.changes or self.shutdown_dates)


class PriceImport:
    """Compares a list with the prices in force, and sets what differs. `host`: that of the upstream."""

    def __init__(
        self,
        store: AnyStore,
        prices: Prices,
        *,
        host: str = "",
        max_prices: int = MAX_PRICES,
        warn: Warn = no_warning,
    ) -> None:
        self._store = store
        self._prices = prices
        self._host = host
        self._warn = warn
        self._max_prices = max_prices

    async def compare(
        self, file: PriceFile, *, since: datetime | None = None, region: str | None = None
    ) -> ListDifference:
        """What a list would change; with `since`, all of it takes effect on that date; with `region`, requests to the
        upstream's host cost the factors of that region. Raises InvalidValue."""
        now = datetime.now(UTC)
        current = await self._prices.history()
        # In a thread: thousands of prices take long enough to delay requests.
        changes = await asyncio.to_thread(self._compare, current, file.prices, since, now)
        new = sorted({change.new.model for change in changes.changes if change.kind == "new"})
        for model in new:  # a price that exists may have any name
            self._warn_of(model)
        warn_of_similar("another model", {*new, *(price.model for price in current)}, new, self._warn)
        for model, prices in list(file.surcharges.differing.items())[:MAX_WARNINGS]:
            self._warn(describe_differing(model, prices))
        surcharges = await list_surcharges(self._store)
        self._warn_of_regions(file.surcharges, surcharges, region)
        listed = [
            msgspec.structs.replace(each, effective_at=since) for each in self._surcharges(file.surcharges, region)
        ]
        return ListDifference(
            prices=changes,
            surcharges=await asyncio.to_thread(surcharge_difference, surcharges, listed, now),
            shutdown_dates=shutdown_changes(await list_dates(self._store), file.shutdown_dates),
        )

    async def check(self, file: PriceFile, *, region: str | None = None, new: bool = False) -> ListDifference:
        """How the prices and surcharges in force differ from a list. Models without a price here are left out, unless
        they are asked for with `new`."""
        now = datetime.now(UTC)
        changes = await asyncio.to_thread(self._compare, await self._prices.history(), file.prices, None, now)
        unpriced = [change.new.model for change in changes.changes if change.kind == "new"]
        left_out: Collection[str] = () if new else set(unpriced)
        listed = [each for each in self._surcharges(file.surcharges, region) if each.model not in left_out]
        current = await list_surcharges(self._store)
        return ListDifference(
            prices=Difference(
                [change for change in changes.changes if change.new.model not in left_out], changes.unchanged
            ),
            surcharges=await asyncio.to_thread(surcharge_difference, current, listed, now),
            unpriced=len(unpriced),
        )

    async def apply(self, changes: ListDifference) -> None:
        """Sets what `compare` found to differ: all of it, or nothing."""
        await apply_list(
            self._store,
            [change.new for change in changes.prices.changes],
            [change.new for change in changes.surcharges.changes],
            {change.model: change.shutdown_date for change in changes.shutdown_dates},
            now=datetime.now(UTC),
        )

    def _surcharges(self, listed: ListedSurcharges, region: str | None) -> list[NewSurcharge]:
        return [*listed.fees, *(listed.of_region(region, self._host) if region else ())]

    def _warn_of(self, model: str) -> None:
        try:
            check_likely_model(model)
        except InvalidValue as error:
            self._warn(error.message)

    def _warn_of_regions(self, listed: ListedSurcharges, surcharges: Iterable[Surcharge], region: str | None) -> None:
        """Warns if the upstream's host is that of a region, whose factors are neither set nor asked for, or if the list
        has none of the region that is asked for."""
        if region is not None and not listed.factors.get(region):
            self._warn(f"the list has no factors of the region {region}")
        name = self._host.partition(".")[0]
        if region is None and listed.factors.get(name) and not any(each.host == self._host for each in surcharges):
            self._warn(f"requests to {self._host} cost more than these prices: give the region {name}")

    def _compare(
        self, current: list[Price], listed: Iterable[NewPrice], since: datetime | None, now: datetime
    ) -> Difference:
        new_prices = [msgspec.structs.replace(new, effective_at=since or new.effective_at) for new in listed]
        if len(new_prices) > self._max_prices:
            raise InvalidValue(f"the list has more than {self._max_prices} prices")
        dates: set[tuple[str, datetime | None]] = set()
        for new in new_prices:
            check_price(new)
            if (new.model, new.effective_at) in dates:
                raise InvalidValue(f"duplicate price of {new.model!r} from the same date on")
            dates.add((new.model, new.effective_at))
        return difference(current, new_prices, now)


def read_file(path: Path, only: Sequence[str] = ()) -> PriceFile:
    """The prices in a file, of the models whose names match one of these patterns. Raises InvalidValue."""
    return _read(read_limited(path, MAX_FILE), str(path), only)


def read_data(data: bytes, only: Sequence[str] = ()) -> PriceFile:
    """As `read_file`, out of standard input."""
    if len(data) > MAX_FILE:
        raise InvalidValue(f"standard input: is larger than {MAX_FILE} bytes")
    return _read(trimmed(data, "standard input"), "standard input", only)


async def read_body(body: bytes, only: Sequence[str] = ()) -> PriceFile:
    """As `read_file`, out of the body of a request."""
    # In a thread: the list that LiteLLM publishes takes long enough to delay requests.
    return await asyncio.to_thread(lambda: _read(trimmed(body, "the file"), "the file", only))


def _read(data: bytes, name: str, only: Sequence[str]) -> PriceFile:
    file = read_prices(data, name, select_models(only))
    models = {new.model for new in file.prices} | {model_of(entry.model) for entry in file.skipped}
    for pattern in only:
        if not any(map(select_models([pattern]), models)):
            raise InvalidValue(f"{name}: no model of the list matches {pattern!r}")
    return file
