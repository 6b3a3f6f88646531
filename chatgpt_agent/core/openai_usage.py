"""OpenAI's own figures of usage and costs, as pages of its organization API: exact integers and Decimals.

An invalid file is rejected with one line that names it. A missing figure is None, never 0.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated

import msgspec

from chatgpt_agent.core.errors import InvalidJson, InvalidValue
from chatgpt_agent.core.json_keys import check_unique_keys

MAX_COUNT = 10**15  # tokens or requests; more than this in a day is nonsense
MAX_DIGITS = 60  # of an amount, so that sums are exact
DAY_SECONDS = 86_400
MAX_TIME = 253_370_764_799  # the end of year 9998, in Unix seconds


class Kind(StrEnum):
    """What figures count."""

    USAGE = "usage"
    COSTS = "costs"


class Counts(msgspec.Struct, frozen=True):
    """Requests and tokens. `cached` is a part of `input`; None: unknown."""

    requests: int = 0
    input: int = 0
    cached: int | None = 0
    output: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        cached = None if self.cached is None or other.cached is None else self.cached + other.cached
        return Counts(self.requests + other.requests, self.input + other.input, cached, self.output + other.output)


class UsageFigure(msgspec.Struct, frozen=True):
    """OpenAI's counts of a day (UTC). `model` or `key` None: the figures are not grouped by it."""

    day: date
    model: str | None
    key: str | None
    counts: Counts


class CostFigure(msgspec.Struct, frozen=True):
    """OpenAI's charge of a day (UTC), in USD."""

    day: date
    amount: Decimal


class FigurePage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the API, or an export. `days`: all that it covers, with or without figures. `groups`: the keys of its
    figures, by which duplicates are found."""

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
    """The figures of all files. `usage_days`, `cost_days`: the first and last day covered; None: no figures."""

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


class _Usage(msgspec.Struct, kw_only=True):
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
    value: Decimal  # msgspec reads the text of the number, without a float in between
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


def read_pages(data: bytes, name: str, kind: Kind | None = None) -> list[FigurePage]:
    """Returns the pages in a JSON text: an object or an array of them, as `GET /v1/organization/usage/completions` and
    `GET /v1/organization/costs` answer (https://platform.openai.com/docs/api-reference/usage). `kind`: of pages without
    results. Raises InvalidValue with the name."""
    try:
        decoded = _pages.decode(data) if data.lstrip().startswith(b"[") else [_one_page.decode(data)]
        check_unique_keys(data)
        pages = [_page(page, name, kind) for page in decoded]
    except msgspec.ValidationError as error:
        raise InvalidValue(f"{name}: is not a page of OpenAI's usage or costs: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidValue(f"{name}: is not valid JSON: {error}") from None
    except InvalidJson as error:
        raise InvalidValue(f"{name}: is ambiguous: {error}") from None
    if not pages:
        raise InvalidValue(f"{name}: contains no figures")
    return pages


def _page(page: _Page, name: str, kind: Kind | None) -> FigurePage:
    days, groups = set(), []
    usage: list[UsageFigure] = []
    costs: list[CostFigure] = []
    for bucket in page.data:
        day = _day_of(bucket.start_time, bucket.end_time, name)
        days.add(day)
        for raw in bucket.results:
            own_kind = _kind_of(raw, name)
            if kind not in (None, own_kind):
                raise InvalidValue(f"{name}: a page mixes usage and costs")
            kind = own_kind
            if kind is Kind.USAGE:
                result = _usage.decode(raw)
                groups.append((bucket.start_time, *_group(result)))
                usage.append(_usage_figure(day, result, name))
            else:
                cost = _cost.decode(raw)
                groups.append((bucket.start_time, cost.line_item, cost.project_id, cost.api_key_id))
                costs.append(CostFigure(day, usd(cost.amount.value, cost.amount.currency, name)))
    return FigurePage(
        name=name,
        kind=kind,
        days=frozenset(days),
        groups=frozenset(groups),
        usage=usage,
        costs=costs,
        has_more=page.has_more,
        next_page=page.next_page,
    )


def _kind_of(raw: msgspec.Raw, name: str) -> Kind:
    object_ = _kind.decode(raw).object
    if object_ not in _KINDS:
        raise InvalidValue(f"{name}: contains {object_[:60]!r}; only usage of completions and costs can be compared")
    return _KINDS[object_]


def _group(result: _Usage) -> tuple[object, ...]:
    return (result.model, result.api_key_id, result.project_id, result.user_id, result.batch, result.service_tier)


def _usage_figure(day: date, result: _Usage, name: str) -> UsageFigure:
    if (result.input_cached_tokens or 0) > result.input_tokens:
        raise InvalidValue(f"{name}: {day}: more cached tokens than input tokens")
    counts = Counts(result.num_model_requests, result.input_tokens, result.input_cached_tokens, result.output_tokens)
    return UsageFigure(day, result.model, result.api_key_id, counts)


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


def merge(pages: Sequence[FigurePage]) -> Figures:
    """Returns the figures of all pages. Raises InvalidValue if a page is missing or a figure occurs twice."""
    for kind in Kind:
        same = [page for page in pages if page.kind is kind]
        if same and all(page.has_more for page in same):
            raise InvalidValue(f"{same[-1].name}: has_more is true, but the next page is missing")
        if len({page.exported for page in same}) > 1:
            raise InvalidValue(f"{same[-1].name}: give {kind} from the API or from an export, not from both")
        names: dict[tuple[object, ...], str] = {}
        for page in same:
            again = next((names[group] for group in page.groups if group in names), None)
            if again is not None:
                raise InvalidValue(f"{page.name}: contains figures that {again} contains as well")
            names |= dict.fromkeys(page.groups, page.name)
    empty = next((page for page in pages if page.kind is None or not page.days), None)
    if empty is not None and not any(page.days and page.kind for page in pages if page.name == empty.name):
        raise InvalidValue(f"{empty.name}: contains no figures")
    return Figures(
        [figure for page in pages for figure in page.usage],
        [figure for page in pages for figure in page.costs],
        _span(page for page in pages if page.kind is Kind.USAGE),
        _span(page for page in pages if page.kind is Kind.COSTS),
    )


def _span(pages: Iterable[FigurePage]) -> tuple[date, date] | None:
    days = [day for page in pages for day in page.days]
    return (min(days), max(days)) if days else None
