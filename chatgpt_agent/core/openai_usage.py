"""OpenAI's own figures, as its organization API and its dashboard's exports have them: exact integers and Decimals.

What cannot be read is refused with one line that names the file; a figure that is not there is None, never 0.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated

import msgspec

from chatgpt_agent.core.errors import InvalidValue

MAX_COUNT = 10**15  # tokens or requests; more than this in a day is nonsense
MAX_DIGITS = 60  # of an amount, so that sums of them are exact
DAY_SECONDS = 86_400
MAX_TIME = 253_402_300_799  # the end of year 9999, in Unix seconds


class Kind(StrEnum):
    """What figures are about."""

    USAGE = "usage"
    COSTS = "costs"


class Counts(msgspec.Struct, frozen=True):
    """Requests and tokens. `cached` is a part of `input`; None: not told."""

    requests: int = 0
    input: int = 0
    cached: int | None = 0
    output: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        cached = None if self.cached is None or other.cached is None else self.cached + other.cached
        return Counts(self.requests + other.requests, self.input + other.input, cached, self.output + other.output)


class UsageFigure(msgspec.Struct, frozen=True):
    """What OpenAI counted on a day (UTC). `model`, `key`: None where the figures are not grouped by them."""

    day: date
    model: str | None
    key: str | None
    counts: Counts


class CostFigure(msgspec.Struct, frozen=True):
    """What OpenAI charged on a day (UTC), in USD."""

    day: date
    amount: Decimal


class Page(msgspec.Struct, frozen=True):
    """One page of the API, or one export. `days` are those that it speaks of, with or without figures.
    `groups` tells each figure's place, so that the same one is not counted twice."""

    name: str
    kind: Kind | None
    days: frozenset[date]
    groups: frozenset[tuple[object, ...]]
    usage: list[UsageFigure] = []
    costs: list[CostFigure] = []
    has_more: bool = False
    next_page: str | None = None
    exported: bool = False


class Figures(msgspec.Struct, frozen=True):
    """All that was given. The days are the first and the last that usage and costs speak of; None: there are none."""

    usage: list[UsageFigure]
    costs: list[CostFigure]
    usage_days: tuple[date, date] | None
    cost_days: tuple[date, date] | None


Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNT)]
Time = Annotated[int, msgspec.Meta(ge=0, le=MAX_TIME)]


class _Bucket(msgspec.Struct):
    start_time: Time
    end_time: Time
    results: list[msgspec.Raw]


class _Page(msgspec.Struct):
    data: list[_Bucket]
    has_more: bool = False
    next_page: str | None = None


class _Kind(msgspec.Struct):
    object: str


class _Usage(msgspec.Struct):
    """openai.types: organization.usage.completions.result
    (https://platform.openai.com/docs/api-reference/usage/completions_object)."""

    input_tokens: Count
    output_tokens: Count
    num_model_requests: Count
    input_cached_tokens: Count | None = None
    model: str | None = None
    api_key_id: str | None = None
    project_id: str | None = None
    user_id: str | None = None
    batch: bool | None = None
    service_tier: str | None = None


class _Amount(msgspec.Struct):
    value: Decimal  # msgspec reads it from the text of the number: no float is on the way
    currency: str


class _Cost(msgspec.Struct):
    """organization.costs.result (https://platform.openai.com/docs/api-reference/usage/costs_object)."""

    amount: _Amount
    line_item: str | None = None
    project_id: str | None = None
    api_key_id: str | None = None


_KINDS = {"organization.usage.completions.result": Kind.USAGE, "organization.costs.result": Kind.COSTS}
_one_page = msgspec.json.Decoder(_Page)
_pages = msgspec.json.Decoder(list[_Page])
_kind = msgspec.json.Decoder(_Kind)
_usage = msgspec.json.Decoder(_Usage)
_cost = msgspec.json.Decoder(_Cost)


def read_pages(data: bytes, name: str, kind: Kind | None = None) -> list[Page]:
    """The pages in a JSON text: one object, or an array of them, as `GET /v1/organization/usage/completions` and
    `GET /v1/organization/costs` answer (https://platform.openai.com/docs/api-reference/usage). `kind` is that of pages
    that have no results. Raises InvalidValue with the name."""
    try:
        found = _pages.decode(data) if data.lstrip().startswith(b"[") else [_one_page.decode(data)]
        pages = [_page(page, name, kind) for page in found]
    except msgspec.ValidationError as error:
        raise InvalidValue(f"{name}: is not a page of OpenAI's usage or costs: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidValue(f"{name}: is not valid JSON: {error}") from None
    if not pages:
        raise InvalidValue(f"{name}: holds no figures")
    return pages


def _page(page: _Page, name: str, kind: Kind | None) -> Page:
    days, groups = set(), []
    usage: list[UsageFigure] = []
    costs: list[CostFigure] = []
    for bucket in page.data:
        day = _day_of(bucket.start_time, bucket.end_time, name)
        days.add(day)
        for raw in bucket.results:
            found = _kind_of(raw, name)
            if kind not in (None, found):
                raise InvalidValue(f"{name}: usage and costs stand in one page")
            kind = found
            if kind is Kind.USAGE:
                said = _usage.decode(raw)
                groups.append((bucket.start_time, *_place(said)))
                usage.append(_usage_figure(day, said, name))
            else:
                cost = _cost.decode(raw)
                groups.append((bucket.start_time, cost.line_item, cost.project_id, cost.api_key_id))
                costs.append(CostFigure(day, usd(cost.amount.value, cost.amount.currency, name)))
    return Page(name, kind, frozenset(days), frozenset(groups), usage, costs, page.has_more, page.next_page)


def _kind_of(raw: msgspec.Raw, name: str) -> Kind:
    found = _kind.decode(raw).object
    if found not in _KINDS:
        raise InvalidValue(f"{name}: holds {found[:60]!r}; only usage of completions and costs can be compared")
    return _KINDS[found]


def _place(said: _Usage) -> tuple[object, ...]:
    return (said.model, said.api_key_id, said.project_id, said.user_id, said.batch, said.service_tier)


def _usage_figure(day: date, said: _Usage, name: str) -> UsageFigure:
    if (said.input_cached_tokens or 0) > said.input_tokens:
        raise InvalidValue(f"{name}: {day}: more cached tokens than input tokens")
    counts = Counts(said.num_model_requests, said.input_tokens, said.input_cached_tokens, said.output_tokens)
    return UsageFigure(day, said.model, said.api_key_id, counts)


def _day_of(start: int, end: int, name: str) -> date:
    if not start < end or start // DAY_SECONDS != (end - 1) // DAY_SECONDS:
        raise InvalidValue(f"{name}: a bucket from {start} to {end} is not within one day; ask for bucket_width=1d")
    return datetime.fromtimestamp(start, UTC).date()


def usd(value: Decimal, currency: str, name: str) -> Decimal:
    """Returns an amount in USD. Raises InvalidValue with the name where it is in another currency, or no amount."""
    if currency.strip().lower() != "usd":
        raise InvalidValue(f"{name}: amounts are in {currency[:20]!r}; the ledger is in USD")
    digits, exponent = value.as_tuple().digits, value.as_tuple().exponent
    if not isinstance(exponent, int) or len(digits) > MAX_DIGITS or not -MAX_DIGITS <= exponent <= 15:
        raise InvalidValue(f"{name}: {str(value)[:40]} is not an amount")
    return value


def merge(pages: Sequence[Page]) -> Figures:
    """All figures as one account. Raises InvalidValue where a page is missing, or the same figure stands in two."""
    for kind in Kind:
        same = [page for page in pages if page.kind is kind]
        if same and all(page.has_more for page in same):
            raise InvalidValue(f"{same[-1].name}: has_more is true, and the page that follows it was not given")
        if len({page.exported for page in same}) > 1:
            raise InvalidValue(f"{same[-1].name}: give {kind} from the API or from an export, not from both")
        seen: dict[tuple[object, ...], str] = {}
        for page in same:
            again = next((seen[group] for group in page.groups if group in seen), None)
            if again is not None:
                raise InvalidValue(f"{page.name}: holds figures that {again} holds as well")
            seen |= dict.fromkeys(page.groups, page.name)
    untold = next((page for page in pages if page.kind is None or not page.days), None)
    if untold is not None and not any(page.days and page.kind for page in pages if page.name == untold.name):
        raise InvalidValue(f"{untold.name}: holds no figures")
    return Figures(
        [figure for page in pages for figure in page.usage],
        [figure for page in pages for figure in page.costs],
        _span(page for page in pages if page.kind is Kind.USAGE),
        _span(page for page in pages if page.kind is Kind.COSTS),
    )


def _span(pages: Iterable[Page]) -> tuple[date, date] | None:
    days = [day for page in pages for day in page.days]
    return (min(days), max(days)) if days else None
