"""OpenAI's own figures of usage and costs: exact integers and Decimals, by day and by what they are grouped by.

A missing figure is None, never 0.
"""

from collections.abc import Iterable, Sequence
from datetime import date
from decimal import Decimal
from enum import StrEnum

import msgspec

from chatgpt_agent.core.errors import InvalidValue

MAX_COUNT = 10**15  # tokens or requests; more than this in a day is nonsense
MAX_DIGITS = 60  # of an amount, so that sums are exact
MAX_TIME = 253_370_764_799  # the end of year 9998, in Unix seconds

Number = int | Decimal


class Kind(StrEnum):
    """What figures count: the usage endpoint of the organization API that has them, or its costs."""

    COMPLETIONS = "completions"
    DECISIONS = "decisions"
    EMBEDDINGS = "embeddings"
    IMAGES = "images"
    TRANSCRIPTIONS = "audio_transcriptions"
    MODERATIONS = "moderations"
    WEB_SEARCH = "web_search_calls"
    FILE_SEARCH = "file_search_calls"
    CODE_INTERPRETER = "code_interpreter_sessions"
    SPEECHES = "audio_speeches"
    VECTOR_STORES = "vector_stores"
    COSTS = "costs"


TOOLS = (Kind.WEB_SEARCH, Kind.FILE_SEARCH, Kind.CODE_INTERPRETER)
NOT_THROUGH_AGENT = (Kind.SPEECHES, Kind.VECTOR_STORES)
WITHOUT_KEYS = (Kind.CODE_INTERPRETER, Kind.VECTOR_STORES)  # OpenAI groups them by project at most


class Counts(msgspec.Struct, frozen=True):
    """Requests, tokens, calls of a tool (of the code interpreter: sessions) and seconds of audio. None: unknown.
    `cached`, `cache_write`, `audio_input` and `image_input` are parts of `input`, `cache_write_12h` of `cache_write`,
    `cached_audio` and `cached_image` of `cached`, `audio_output` and `image_output` of `output`."""

    requests: Number | None = 0
    input: Number | None = 0
    cached: Number | None = 0
    output: Number | None = 0
    cache_write: Number | None = 0
    cache_write_12h: Number | None = 0
    audio_input: Number | None = 0
    cached_audio: Number | None = 0
    image_input: Number | None = 0
    cached_image: Number | None = 0
    audio_output: Number | None = 0
    image_output: Number | None = 0
    calls: Number | None = 0
    seconds: Number | None = 0

    def __add__(self, other: "Counts") -> "Counts":
        pairs = zip(self.values(), other.values(), strict=True)
        return Counts(*[None if one is None or two is None else one + two for one, two in pairs])

    def __sub__(self, other: "Counts") -> "Counts":
        pairs = zip(self.values(), other.values(), strict=True)
        return Counts(*[None if one is None or two is None else one - two for one, two in pairs])

    def values(self) -> tuple[Number | None, ...]:
        """All counts, in the order of `COUNT_NAMES`."""
        values: tuple[Number | None, ...] = msgspec.structs.astuple(self)
        return values

    def nonzero(self) -> dict[str, Number]:
        """The counts that are known and not 0, by name."""
        return {name: value for name, value in zip(COUNT_NAMES, self.values(), strict=True) if value}


def main_counts(requests: int, input_: int, cached: int | None, output: int) -> Counts:
    """Returns counts whose other parts of input and output are unknown."""
    counts = Counts(requests, input_, cached, output)
    return msgspec.structs.replace(counts, **dict.fromkeys(PARTS, None))


COUNT_NAMES = Counts.__struct_fields__
# Parts of input and output that OpenAI's figures may lack.
PARTS = tuple(name for name in COUNT_NAMES if name.startswith(("cache_", "cached_", "audio_", "image_")))


def size(value: Number) -> Number:
    """Returns a number without its sign."""
    return -value if value < 0 else value


class UsageFigure(msgspec.Struct, frozen=True):
    """OpenAI's counts of a day (UTC). `model`, `key` or `project` None: the figures are not grouped by it. `quantity`
    and `unit`: what the ledger does not count, such as images. `source`: what they belong to if not to requests that
    an agent may have sent, such as batches."""

    day: date
    model: str | None
    key: str | None
    counts: Counts
    kind: Kind = Kind.COMPLETIONS
    project: str | None = None
    quantity: Number | None = None
    unit: str | None = None
    source: str | None = None


class CostFigure(msgspec.Struct, frozen=True):
    """OpenAI's charge of a day (UTC), in USD. `line_item`, `key` or `project` None: not grouped by it. `quantity` and
    `unit`: how much of what was charged, if OpenAI says so."""

    day: date
    amount: Decimal
    line_item: str | None = None
    key: str | None = None
    project: str | None = None
    quantity: Decimal | None = None
    unit: str | None = None
    source: str | None = None


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


Span = tuple[date, date]


class Figures(msgspec.Struct, frozen=True):
    """The figures of all files. `usage_days`: the first and last day covered by each kind of usage; `cost_days` None:
    no costs. `unavailable`: kinds that OpenAI did not answer for."""

    usage: list[UsageFigure]
    costs: list[CostFigure]
    usage_days: dict[Kind, Span]
    cost_days: Span | None
    unavailable: tuple[Kind, ...] = ()


def usd(value: Decimal, currency: str, name: str) -> Decimal:
    """Returns an amount in USD. Raises InvalidValue with the name where it is in another currency, or no amount."""
    if currency.strip().lower() != "usd":
        raise InvalidValue(f"{name}: amounts are in {currency[:20]!r}; the ledger is in USD")
    if not is_sane(value):
        raise InvalidValue(f"{name}: {str(value)[:40]} is not an amount")
    return value


def is_sane(value: Decimal) -> bool:
    """Whether sums of such numbers are exact."""
    digits, exponent = value.as_tuple().digits, value.as_tuple().exponent
    return isinstance(exponent, int) and len(digits) <= MAX_DIGITS and -MAX_DIGITS <= exponent <= 15


def merge(pages: Sequence[FigurePage], unavailable: Iterable[Kind] = ()) -> Figures:
    """Returns the figures of all pages. Raises InvalidValue if a page is missing or a figure occurs twice."""
    for kind in Kind:
        _check_pages(kind, [page for page in pages if page.kind is kind])
    empty = next((page for page in pages if page.kind is None or not page.days), None)
    if empty is not None and not any(page.days and page.kind for page in pages if page.name == empty.name):
        raise InvalidValue(f"{empty.name}: contains no figures")
    spans = {kind: span for kind in Kind if (span := _span(page for page in pages if page.kind is kind))}
    cost_days = spans.pop(Kind.COSTS, None)
    return Figures(
        [figure for page in pages for figure in page.usage],
        [figure for page in pages for figure in page.costs],
        spans,
        cost_days,
        tuple(unavailable),
    )


def _check_pages(kind: Kind, pages: Sequence[FigurePage]) -> None:
    if pages and all(page.has_more for page in pages):
        raise InvalidValue(f"{pages[-1].name}: has_more is true, but the next page is missing")
    if len({page.exported for page in pages}) > 1:
        raise InvalidValue(f"{pages[-1].name}: give {kind} from the API or from an export, not from both")
    names: dict[tuple[object, ...], str] = {}
    for page in pages:
        again = next((names[group] for group in page.groups if group in names), None)
        if again is not None:
            raise InvalidValue(f"{page.name}: contains figures that {again} contains as well")
        names |= dict.fromkeys(page.groups, page.name)


def _span(pages: Iterable[FigurePage]) -> Span | None:
    days = [day for page in pages for day in page.days]
    return (min(days), max(days)) if days else None
