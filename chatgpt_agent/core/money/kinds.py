"""What OpenAI counts and charges: tokens of several kinds, calls of its tools, seconds of audio. Every layer derives
its columns, fields and options from these tables.

To add a kind of token, add its row to `TOKEN_KINDS` and its fields to the structs below, read its count in
core/usage.py, and add its columns to the tables `usage`, `usage_daily`, `archived_daily` and `prices` in a migration,
which also replaces the function `rebuild_usage_daily()`. Then it is charged. To compare it with OpenAI's usage reports
as well, add its fields in core/openai_pages.py, core/openai_usage.py and admin/reconciled.py.
"""

from decimal import Decimal
from typing import Annotated, Generic, TypeVar

import msgspec

from chatgpt_agent.core.usage import MAX_PLACES, Count

T = TypeVar("T")


class TokenKind(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of token: `input`, `output`, or a part of one of these two, which is its `side`.

    `name` is its field in `Usage`, `noun` its name in sentences; `rate` its field in `Rates`, None where it is charged
    like the rest of its side; `fallback` the rate that counts where a price lacks its own, before that of its side;
    `litellm` the key of this rate in LiteLLM's list; `is_dearer`: OpenAI charges more than the fallback, so that a
    price with the one needs the other. No token belongs to two kinds with `is_medium`. Of its count, those of the kinds
    in `without` are charged as these."""

    name: str
    noun: str
    side: str
    rate: str | None = None
    fallback: str | None = None
    without: tuple[str, ...] = ()
    is_dearer: bool = False
    litellm: str | None = None
    label: str = ""
    is_medium: bool = False

    @property
    def column(self) -> str:
        """Its column in PostgreSQL, and its field in reports."""
        return f"{self.name}_tokens"

    @property
    def title(self) -> str:
        """Its name as a heading, which the console translates."""
        return f"{self.noun[0].upper()}{self.noun[1:]}s"

    @property
    def is_part(self) -> bool:
        """Whether it is a part of its side, and not the whole."""
        return self.name != self.side

    @property
    def is_rare(self) -> bool:
        """Whether most answers have none of it: any part with a rate of its own, except cached input."""
        return self.is_part and self.rate not in (None, "cached_input")


# Where parts of a side overlap, they are charged in this order.
TOKEN_KINDS = (
    TokenKind(
        name="input",
        noun="input token",
        side="input",
        rate="input",
        litellm="input_cost_per_token",
        label="USD per 1,000,000 input tokens",
    ),
    TokenKind(
        name="cached_audio",
        noun="cached audio token",
        side="input",
        rate="cached_audio",
        fallback="cached_input",
        litellm="cache_read_input_audio_token_cost",
        label="Audio in the input, read from OpenAI's cache",
    ),
    TokenKind(
        name="cached_image",
        noun="cached image token",
        side="input",
        rate="cached_image",
        fallback="cached_input",
        litellm="cache_read_input_image_token_cost",
        label="Images in the input, read from OpenAI's cache",
    ),
    TokenKind(
        name="cached",
        noun="cached input token",
        side="input",
        rate="cached_input",
        without=("cached_audio", "cached_image"),
        litellm="cache_read_input_token_cost",
        label="Input tokens read from OpenAI's cache",
    ),
    TokenKind(
        name="cache_write_12h",
        noun="12-hour cache write token",
        side="input",
        rate="cache_write_12h",
        fallback="cache_write",
        is_dearer=True,
        litellm="cache_creation_input_token_cost_above_12hr",
        label="Input tokens written to OpenAI's cache for 12 hours",
    ),
    TokenKind(
        name="cache_write",
        noun="cache write token",
        side="input",
        rate="cache_write",
        without=("cache_write_12h",),
        litellm="cache_creation_input_token_cost",
        label="Input tokens written to OpenAI's cache",
    ),
    TokenKind(
        name="audio_input",
        noun="audio input token",
        side="input",
        rate="audio_input",
        litellm="input_cost_per_audio_token",
        label="Audio in the input",
        is_medium=True,
        without=("cached_audio",),
    ),
    TokenKind(
        name="image_input",
        noun="image input token",
        side="input",
        rate="image_input",
        litellm="input_cost_per_image_token",
        label="Images in the input",
        is_medium=True,
        without=("cached_image",),
    ),
    TokenKind(
        name="output",
        noun="output token",
        side="output",
        rate="output",
        litellm="output_cost_per_token",
        label="USD per 1,000,000 output tokens",
    ),
    TokenKind(name="reasoning", noun="reasoning token", side="output"),
    TokenKind(
        name="audio_output",
        noun="audio output token",
        side="output",
        rate="audio_output",
        litellm="output_cost_per_audio_token",
        label="Audio in the output",
        is_medium=True,
    ),
    TokenKind(
        name="image_output",
        noun="image output token",
        side="output",
        rate="image_output",
        litellm="output_cost_per_image_token",
        label="Images in the output",
        is_medium=True,
    ),
)
SIDES = ("input", "output")
TOKEN_COLUMNS = tuple(kind.column for kind in TOKEN_KINDS)

# The kinds of tokens of the model that draws for the tool image_generation, which has a price of its own.
_IMAGE_TOOL = ("input", "cached_image", "cached", "image_input", "output", "image_output")
IMAGE_TOOL_KINDS = tuple(kind for kind in TOKEN_KINDS if kind.name in _IMAGE_TOOL)
IMAGE_TOOL_COLUMNS = tuple(f"image_tool_{kind.column}" for kind in IMAGE_TOOL_KINDS)

# Calls of OpenAI's tools, by the kind of their surcharge (core/money/surcharges.py): column, and field in `Usage`.
WEB_SEARCH = "web_search"
CALL_COLUMNS = {
    WEB_SEARCH: "web_search_calls",
    "file_search": "file_search_calls",
    "code_interpreter": "code_interpreter_sessions",
}
TIME_COLUMN = "seconds"  # of audio that is charged by time
TIME_RATE = "minute"  # its rate, in USD per minute

# All columns of counts, in `usage` and in `usage_daily`.
COUNT_COLUMNS = (*TOKEN_COLUMNS, *IMAGE_TOOL_COLUMNS, *CALL_COLUMNS.values(), TIME_COLUMN)
# Those that version 0.1 had keep their places in CSV files; the others come after all of its columns.
FORMER_COLUMNS = tuple(kind.column for kind in TOKEN_KINDS if not kind.fallback)
LATER_COLUMNS = tuple(name for name in COUNT_COLUMNS if name not in FORMER_COLUMNS)
COUNT_TYPES = {name: "numeric" if name == TIME_COLUMN else "bigint" for name in COUNT_COLUMNS}  # in PostgreSQL

Seconds = Annotated[
    Decimal,
    msgspec.Meta(description="Seconds, exactly.", extra_json_schema={"pattern": r"^-?[0-9]+(\.[0-9]+)?$"}),
]


class UsageCounts(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """A count of everything that is charged, by column; `seconds` may have a fraction."""

    input_tokens: T
    cached_audio_tokens: T
    cached_image_tokens: T
    cached_tokens: T
    cache_write_12h_tokens: T
    cache_write_tokens: T
    audio_input_tokens: T
    image_input_tokens: T
    output_tokens: T
    reasoning_tokens: T
    audio_output_tokens: T
    image_output_tokens: T
    image_tool_input_tokens: T
    image_tool_cached_image_tokens: T
    image_tool_cached_tokens: T
    image_tool_image_input_tokens: T
    image_tool_output_tokens: T
    image_tool_image_output_tokens: T
    web_search_calls: T
    file_search_calls: T
    code_interpreter_sessions: T
    seconds: Seconds | None


_NEW_SECONDS = rf"^(0|[1-9][0-9]{{0,11}})(\.[0-9]{{1,{MAX_PLACES}}})?$"
NewSeconds = Annotated[
    Decimal,
    msgspec.Meta(
        description="Seconds, exactly.",
        extra_json_schema={"pattern": _NEW_SECONDS},
        extra={
            "pattern": _NEW_SECONDS,
            "words": f"seconds as text, with at most {MAX_PLACES} decimal places",
            "example": '"12.5"',
        },
    ),
]


class RightCounts(msgspec.Struct, frozen=True, kw_only=True):
    """The right counts of the row; `input` and `output` include all their parts. None: as it was, as far as the counts
    of which it is a part leave room. `image_tool_…`: tokens of the model that drew for the tool image_generation."""

    input: Count
    output: Count
    cached: Count = 0
    cached_audio: Count | None = None
    cached_image: Count | None = None
    cache_write: Count | None = None
    cache_write_12h: Count | None = None
    audio_input: Count | None = None
    image_input: Count | None = None
    reasoning: Count | None = None
    audio_output: Count | None = None
    image_output: Count | None = None
    image_tool_input: Count | None = None
    image_tool_cached: Count | None = None
    image_tool_cached_image: Count | None = None
    image_tool_image_input: Count | None = None
    image_tool_output: Count | None = None
    image_tool_image_output: Count | None = None
    web_search_calls: Count | None = None
    file_search_calls: Count | None = None
    code_interpreter_sessions: Count | None = None
    seconds: NewSeconds | None = None


class RateTable(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """An amount for every rate. None: the tokens cost what the others of their side cost, `input` or `output`. `minute`
    is that of audio which is charged by time; None: it has no price."""

    input: T | None = None
    output: T | None = None
    cached_input: T | None = None
    cache_write: T | None = None
    audio_input: T | None = None
    audio_output: T | None = None
    image_input: T | None = None
    image_output: T | None = None
    cached_audio: T | None = None
    cached_image: T | None = None
    cache_write_12h: T | None = None
    minute: T | None = None

    def get(self, name: str) -> T | None:
        """The rate of this name."""
        rate: T | None = getattr(self, name)
        return rate

    def all_rates(self) -> dict[str, T | None]:
        """All rates, by name."""
        return {name: self.get(name) for name in RATE_NAMES}

    def set_rates(self) -> dict[str, T]:
        """The rates that are not None, by name."""
        return {name: rate for name in RATE_NAMES if (rate := self.get(name)) is not None}


class FullRateTable(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """As `RateTable`, for answers: no field may be missing."""

    input: T | None
    output: T | None
    cached_input: T | None
    cache_write: T | None
    audio_input: T | None
    audio_output: T | None
    image_input: T | None
    image_output: T | None
    cached_audio: T | None
    cached_image: T | None
    cache_write_12h: T | None
    minute: T | None


class Rates(RateTable[Decimal], frozen=True, kw_only=True):
    """USD per 1,000,000 tokens of each kind, and per minute."""


RATE_NAMES = RateTable.__struct_fields__
SIDE_OF_RATE = {kind.rate: kind.side for kind in TOKEN_KINDS if kind.rate}
TOKEN_RATES = tuple(name for name in RATE_NAMES if name in SIDE_OF_RATE)  # those that are not of time
# The rates that count for each, in this order: the first that a price has.
RATE_CHAINS = {
    kind.rate: tuple(dict.fromkeys(filter(None, (kind.rate, kind.fallback, kind.side))))
    for kind in TOKEN_KINDS
    if kind.rate
}


def rates_of_side(side: str) -> tuple[str, ...]:
    """The names of the rates that tokens of a side may have."""
    return tuple(rate for rate, its_side in SIDE_OF_RATE.items() if its_side == side)


def charged_parts(side: str) -> tuple[TokenKind, ...]:
    """The parts of a side that have a rate of their own, in the order in which they are charged."""
    return tuple(kind for kind in TOKEN_KINDS if kind.side == side and kind.is_part and kind.rate)
