"""Imports a list of prices: LiteLLM's JSON, or the CSV that `price export` writes. It is shown first, then applied."""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from chatgpt_agent.adapters.files import read_limited
from chatgpt_agent.admin.prices import PriceRecord, Prices, price_record
from chatgpt_agent.admin.warnings import Warn, no_warning, warn_of_similar
from chatgpt_agent.core.csv_reader import trimmed
from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.likely import check_likely_model
from chatgpt_agent.core.money.exact import Usd
from chatgpt_agent.core.money.kinds import FullRateTable
from chatgpt_agent.core.money.litellm import Skipped, model_of
from chatgpt_agent.core.money.price_csv import Change, Difference, difference
from chatgpt_agent.core.money.price_files import MAX_FILE, PriceFile, read_prices, select_models
from chatgpt_agent.core.money.pricing import NewPrice, Price, Tier, check_price

MAX_PRICES = 10_000  # in one list


class PriceChange(FullRateTable[Usd], frozen=True, kw_only=True):
    """A price that the list sets, in USD per 1,000,000 tokens. `before`: the price in force until then."""

    model: str
    effective_at: datetime
    tiers: tuple[Tier, ...]
    before: PriceRecord | None


class PriceImportResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a list changes. `unchanged`: how many of its prices are in force already. `applied` false: nothing is
    set. `ignored_rates`: rates of the list that no price has, each with its models."""

    new: list[PriceChange]
    changed: list[PriceChange]
    removed: list[PriceChange]
    unchanged: int
    skipped: list[Skipped]
    ignored_rates: dict[str, list[str]]
    applied: bool


class PriceCheckResult(msgspec.Struct, frozen=True, kw_only=True):
    """How a list differs from the prices in force. `unchanged`: how many of its prices are in force; `unpriced`: how
    many of its models have no price here, which `new` has only if they were asked for."""

    equal: bool
    changed: list[PriceChange]
    removed: list[PriceChange]
    new: list[PriceChange]
    unchanged: int
    unpriced: int


class PriceCheck(msgspec.Struct, frozen=True, kw_only=True):
    """The changes with which the prices in force would be those of a list, and how many of its prices are in force;
    `unpriced`: how many of its models have no price here."""

    changes: list[Change]
    unchanged: int
    unpriced: int


class PriceImport:
    """Compares a list with the prices in force, and sets what differs."""

    def __init__(self, prices: Prices, *, max_prices: int = MAX_PRICES, warn: Warn = no_warning) -> None:
        self._prices = prices
        self._warn = warn
        self._max_prices = max_prices

    async def compare(self, listed: Iterable[NewPrice], *, since: datetime | None = None) -> Difference:
        """What a list would change; with `since`, all its prices take effect on that date. Raises InvalidValue."""
        # In a thread: thousands of prices take long enough to delay requests.
        current = await self._prices.history()
        changes = await asyncio.to_thread(self._compare, current, listed, since, datetime.now(UTC))
        new = sorted({change.new.model for change in changes.changes if change.kind == "new"})
        for model in new:  # a price that exists may have any name
            self._warn_of(model)
        warn_of_similar("model", {*new, *(price.model for price in current)}, new, self._warn)
        return changes

    async def check(self, listed: Iterable[NewPrice], *, new: bool = False) -> PriceCheck:
        """What a list would change; models without a price here only if they are asked for with `new`."""
        current = await self._prices.history()
        result = await asyncio.to_thread(self._compare, current, listed, None, datetime.now(UTC))
        changes = [change for change in result.changes if new or change.kind != "new"]
        unpriced = sum(change.kind == "new" for change in result.changes)
        return PriceCheck(changes=changes, unchanged=result.unchanged, unpriced=unpriced)

    def _warn_of(self, model: str) -> None:
        try:
            check_likely_model(model)
        except InvalidValue as error:
            self._warn(error.message)

    async def apply(self, changes: Difference) -> None:
        """Sets the prices that `compare` found to differ: all of them, or none."""
        if changes.changes:
            await self._prices.add([change.new for change in changes.changes])

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


def result(changes: Difference, file: PriceFile, *, applied: bool) -> PriceImportResult:
    """An import as commands and REST write it in JSON."""
    return PriceImportResult(
        **_by_kind(changes.changes),
        unchanged=changes.unchanged,
        skipped=file.skipped,
        ignored_rates=file.ignored_rates,
        applied=applied,
    )


def check_result(check: PriceCheck) -> PriceCheckResult:
    """A check as the command writes it in JSON."""
    return PriceCheckResult(
        equal=not check.changes,
        **_by_kind(check.changes),
        unchanged=check.unchanged,
        unpriced=check.unpriced,
    )


def _by_kind(changes: Iterable[Change]) -> dict[str, list[PriceChange]]:
    by_kind: dict[str, list[PriceChange]] = {"new": [], "changed": [], "removed": []}
    for change in changes:
        by_kind[change.kind].append(_change(change))
    return by_kind


def _change(change: Change) -> PriceChange:
    new, before = change.new, change.before
    assert new.effective_at is not None, "`difference` dates every price"
    return PriceChange(
        model=new.model,
        effective_at=new.effective_at.astimezone(UTC),
        tiers=new.tiers,
        before=None if before is None else price_record(before),
        **new.rates.all_rates(),
    )
