"""The kinds of tokens that OpenAI counts and charges. Every layer derives its columns, fields and options from them.

To add a kind, add its row to `TOKEN_KINDS` and its fields to the structs below, read its count in core/usage.py, and
add its columns to the tables `usage`, `usage_daily` and `prices` in a migration, which also replaces the function
`rebuild_usage_daily()`.
"""

from decimal import Decimal
from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")


class TokenKind(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of token: `input`, `output`, or a part of one of these two, which is its `side`.

    `name` is its field in `Usage`; `rate` its field in `Rates`, None where it is charged like the rest of its side;
    `litellm` the key of this rate in LiteLLM's list. No token belongs to two kinds with `is_medium`."""

    name: str
    side: str
    rate: str | None = None
    litellm: str | None = None
    label: str = ""
    is_medium: bool = False

    @property
    def column(self) -> str:
        """Its column in PostgreSQL, and its field in reports."""
        return f"{self.name}_tokens"

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
        side="input",
        rate="input",
        litellm="input_cost_per_token",
        label="USD per 1,000,000 input tokens",
    ),
    TokenKind(
        name="cached",
        side="input",
        rate="cached_input",
        litellm="cache_read_input_token_cost",
        label="Input tokens read from OpenAI's cache",
    ),
    TokenKind(
        name="cache_write",
        side="input",
        rate="cache_write",
        litellm="cache_creation_input_token_cost",
        label="Input tokens written to OpenAI's cache",
    ),
    TokenKind(
        name="audio_input",
        side="input",
        rate="audio_input",
        litellm="input_cost_per_audio_token",
        label="Audio in the input",
        is_medium=True,
    ),
    TokenKind(
        name="image_input",
        side="input",
        rate="image_input",
        litellm="input_cost_per_image_token",
        label="Images in the input",
        is_medium=True,
    ),
    TokenKind(
        name="output",
        side="output",
        rate="output",
        litellm="output_cost_per_token",
        label="USD per 1,000,000 output tokens",
    ),
    TokenKind(name="reasoning", side="output"),
    TokenKind(
        name="audio_output",
        side="output",
        rate="audio_output",
        litellm="output_cost_per_audio_token",
        label="Audio in the output",
        is_medium=True,
    ),
    TokenKind(
        name="image_output",
        side="output",
        rate="image_output",
        litellm="output_cost_per_image_token",
        label="Images in the output",
        is_medium=True,
    ),
)
SIDES = ("input", "output")
TOKEN_COLUMNS = tuple(kind.column for kind in TOKEN_KINDS)


class TokenCounts(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """A count of every kind, by column."""

    input_tokens: T
    cached_tokens: T
    cache_write_tokens: T
    audio_input_tokens: T
    image_input_tokens: T
    output_tokens: T
    reasoning_tokens: T
    audio_output_tokens: T
    image_output_tokens: T


class RateTable(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """An amount for every rate. None: the tokens cost what the others of their side cost, `input` or `output`."""

    input: T | None = None
    output: T | None = None
    cached_input: T | None = None
    cache_write: T | None = None
    audio_input: T | None = None
    audio_output: T | None = None
    image_input: T | None = None
    image_output: T | None = None

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


class Rates(RateTable[Decimal], frozen=True, kw_only=True):
    """USD per 1,000,000 tokens of each kind."""


RATE_NAMES = RateTable.__struct_fields__
SIDE_OF_RATE = {kind.rate: kind.side for kind in TOKEN_KINDS if kind.rate}


def rates_of_side(side: str) -> tuple[str, ...]:
    """The names of the rates that tokens of a side may have."""
    return tuple(rate for rate, its_side in SIDE_OF_RATE.items() if its_side == side)


def charged_parts(side: str) -> tuple[TokenKind, ...]:
    """The parts of a side that have a rate of their own, in the order in which they are charged."""
    return tuple(kind for kind in TOKEN_KINDS if kind.side == side and kind.is_part and kind.rate)
