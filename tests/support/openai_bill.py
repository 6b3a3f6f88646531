"""OpenAI's bill for one answer, in exact fractions, as its SDK's types, its guides and its price list describe it.

It shares no code with the agent and reads the answer itself, so that tests can compare the ledger with it. Where an
answer does not say enough for one amount, the bill is a range: see `Bill`.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from math import floor
from typing import Any, NamedTuple

Items = Sequence[Mapping[str, Any]]  # the output of a response
Rates = Mapping[str, Fraction]  # USD per 1,000,000 tokens by kind; "input" and "output" are always there
MODALITIES = ("text", "audio", "image")


@dataclass(frozen=True, kw_only=True)
class ListTier:
    """What answers of a service tier, or with more input tokens than `above`, cost: own rates, or a multiplier."""

    service_tier: str | None = None
    above: int = 0
    rates: Rates | None = None
    multiplier: Fraction = Fraction(1)


@dataclass(frozen=True, kw_only=True)
class ListPrice:
    """A model's line in the price list; `minute` is USD per minute of audio."""

    rates: Rates
    tiers: Sequence[ListTier] = ()
    minute: Fraction = Fraction(0)


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What a bill depends on beside the answer: the model's price, that of the image tool's model, fees, the host.

    `fees` are USD per web search, per file search and per container of code interpreter and shell. `multiplier` is that
    of a regional host; it applies to tokens and time, not to fees.
    """

    price: ListPrice
    image_price: ListPrice | None = None
    fees: Mapping[str, Fraction] = field(default_factory=dict)
    multiplier: Fraction = Fraction(1)


class Bill(NamedTuple):
    """The least and the most, in USD, that an answer can cost by what it reports; both are equal where it says all.

    A range comes from cached tokens, or writes to the cache, beside audio or images (the answer does not say which of
    them were cached), from an image tool without a count of cached tokens ("unknown", says the SDK), and from web
    searches that are counted by their items because `tool_usage` is missing (items include searches free of charge).
    """

    lowest: Fraction
    highest: Fraction

    @property
    def exact(self) -> bool:
        """Whether the answer says all that the amount depends on."""
        return self.lowest == self.highest

    def __add__(self, other: object) -> "Bill":
        """Adds another part of the bill."""
        assert isinstance(other, Bill)
        return Bill(self.lowest + other.lowest, self.highest + other.highest)

    def times(self, factor: Fraction | int) -> "Bill":
        """Returns the bill multiplied by this factor, which is not negative."""
        return Bill(self.lowest * factor, self.highest * factor)


NOTHING = Bill(Fraction(0), Fraction(0))


def bill(path: str, answer: bytes, terms: Terms) -> Bill | None:
    """Returns what OpenAI charges for this answer of the endpoint at this path; None if the answer has no usage."""
    data = json.loads(answer, parse_float=Fraction)
    usage = data.get("usage")
    if usage is None:
        return None
    total = _usage(path, usage, data.get("service_tier"), terms.price)
    tool_usage = data.get("tool_usage") or {}
    if _total(tool_usage.get("image_gen")):
        assert terms.image_price is not None, "the image tool was used, but there is no price of its model"
        total += _image_tool(tool_usage["image_gen"], terms.image_price)
    return total.times(terms.multiplier) + _fees(data.get("output") or [], data.get("tool_usage"), terms.fees)


def _total(counts: Mapping[str, Any] | None) -> int:
    return 0 if counts is None else int(counts["total_tokens"])


def _usage(path: str, usage: Mapping[str, Any], service_tier: str | None, price: ListPrice) -> Bill:
    if usage.get("type") == "duration":
        exact = Fraction(usage["seconds"]) * price.minute / 60
        rounded = Fraction(floor(exact * 10**15 + Fraction(1, 2)), 10**15)  # our documented rule, half up
        return Bill(rounded, rounded)
    decisions = path == "/v1/decisions"
    inputs = int(usage["prompt_tokens" if "prompt_tokens" in usage else "input_tokens"])
    tier = _tier(price, "decisions" if decisions else service_tier, inputs)
    rates = price.rates if tier is None or tier.rates is None else tier.rates
    factor = Fraction(1) if tier is None else tier.multiplier
    cost = _input(usage, inputs, rates)
    if not decisions:  # whose output is free
        cost += _output(path, usage, rates)
    return cost.times(factor / 1_000_000)


def _tier(price: ListPrice, service_tier: str | None, inputs: int) -> ListTier | None:
    """The tier of an answer: a long one goes before any other, and one of the service tier before one of all."""
    names = (None, _same(service_tier))
    fits = [tier for tier in price.tiers if _same(tier.service_tier) in names]
    fits = [tier for tier in fits if tier.above == 0 or inputs > tier.above]
    return max(fits, key=lambda tier: (tier.above, tier.service_tier is not None), default=None)


def _same(service_tier: str | None) -> str | None:
    """One name for Fast mode, which requests call `fast` or `priority`, and answers `priority`."""
    return "priority" if service_tier == "fast" else service_tier


def _input(usage: Mapping[str, Any], inputs: int, rates: Rates) -> Bill:
    """Input of text, audio and images; each token is new, read from the cache, or written to it for 30 min or 12 h."""
    details = _details(usage, "prompt_tokens_details", "input_tokens_details", "input_token_details")
    audio, image = _count(details, "audio_tokens"), _count(details, "image_tokens")
    cached = _count(details, "cached_tokens")
    # Chat completions call their count of writes "unadjusted", so that it may include tokens which were cached already.
    written = min(_count(details, "cache_write_tokens"), inputs - cached)
    for_12h = min(_count(details.get("cache_write_tokens_details") or {}, "ttl_12h_tokens"), written)
    rows = (inputs - audio - image, audio, image)
    columns = (inputs - cached - written, cached, written - for_12h, for_12h)
    return _range(rows, columns, lambda row, column: _input_rate(rates, MODALITIES[row], column))


def _details(usage: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    return next((usage[name] for name in names if usage.get(name) is not None), {})


def _count(details: Mapping[str, Any], name: str) -> int:
    return int(details.get(name) or 0)


def _input_rate(rates: Rates, modality: str, column: int) -> Fraction:
    new, cached, write, _for_12h = range(4)
    text_cached = rates.get("cached_input", rates["input"])
    if column == new:
        return rates["input"] if modality == "text" else rates.get(f"{modality}_input", rates["input"])
    if column == cached:
        return text_cached if modality == "text" else rates.get(f"cached_{modality}", text_cached)
    short = rates.get("cache_write", rates["input"])
    return short if column == write else rates.get("cache_write_12h", short)


def _output(path: str, usage: Mapping[str, Any], rates: Rates) -> Bill:
    """Output of text, audio and images; reasoning is text."""
    outputs = _count(usage, "completion_tokens" if "prompt_tokens" in usage else "output_tokens")
    details = _details(usage, "completion_tokens_details", "output_tokens_details")
    audio, image = _count(details, "audio_tokens"), _count(details, "image_tokens")
    if path.startswith("/v1/images/") and not details:
        image = outputs  # "The number of image tokens in the output image", say the events without details
    return _output_cost(outputs, audio, image, rates)


def _output_cost(outputs: int, audio: int, image: int, rates: Rates) -> Bill:
    text = (outputs - audio - image) * rates["output"]
    other = [audio * rates.get("audio_output", rates["output"]), image * rates.get("image_output", rates["output"])]
    cost = Fraction(text + sum(other))
    return Bill(cost, cost)


def _image_tool(counts: Mapping[str, Any], price: ListPrice) -> Bill:
    """Tokens of the image tool at the price of its model, which has no service tiers of its own."""
    inputs, outputs = int(counts["input_tokens"]), int(counts["output_tokens"])
    tier = _tier(price, None, inputs)
    rates = price.rates if tier is None or tier.rates is None else tier.rates
    image = int(counts["input_tokens_details"]["image_tokens"])
    output_details = counts.get("output_tokens_details")
    image_output = outputs if output_details is None else int(output_details["image_tokens"])
    cost = _image_tool_input((inputs - image, 0, image), counts, rates)
    cost += _output_cost(outputs, 0, image_output, rates)
    return cost.times((Fraction(1) if tier is None else tier.multiplier) / 1_000_000)


def _image_tool_input(rows: tuple[int, int, int], counts: Mapping[str, Any], rates: Rates) -> Bill:
    def rate(row: int, column: int) -> Fraction:
        return _input_rate(rates, MODALITIES[row], column)

    split = counts.get("cached_tokens_details")
    if split is not None:
        cached = (int(split["cached_text_tokens"]), 0, int(split["cached_image_tokens"]))
        parts = enumerate(zip(rows, cached, strict=True))
        cost = sum(((count - old) * rate(row, 0) + old * rate(row, 1) for row, (count, old) in parts), Fraction(0))
        return Bill(cost, cost)
    if counts.get("cached_tokens") is not None:
        cached_tokens = int(counts["cached_tokens"])
        return _range(rows, (sum(rows) - cached_tokens, cached_tokens), rate)
    either = [(count * rate(row, 0), count * rate(row, 1)) for row, count in enumerate(rows)]
    return Bill(sum(map(min, either), Fraction(0)), sum(map(max, either), Fraction(0)))


def _range(rows: tuple[int, ...], columns: tuple[int, ...], rate: Callable[[int, int], Fraction]) -> Bill:
    """The range of Σ tokens × rate over all tables of tokens that have these sums of rows and of columns.

    The least and the greatest are at corners of the set of tables. Filling cells one after the other, each with all
    that its row and column leave, reaches every corner.
    """

    @cache
    def rest(rows: tuple[int, ...], columns: tuple[int, ...]) -> Bill:
        sums: list[Bill] = []
        for row, in_row in enumerate(rows):
            for column, in_column in enumerate(columns):
                if amount := min(in_row, in_column):
                    left = rest(_less(rows, row, amount), _less(columns, column, amount))
                    cost = amount * rate(row, column)
                    sums.append(left + Bill(cost, cost))
        return Bill(min(each.lowest for each in sums), max(each.highest for each in sums)) if sums else NOTHING

    return rest(rows, columns)


def _less(counts: tuple[int, ...], index: int, amount: int) -> tuple[int, ...]:
    return (*counts[:index], counts[index] - amount, *counts[index + 1 :])


def _fees(
    items: Sequence[Mapping[str, Any]], tool_usage: Mapping[str, Any] | None, fees: Mapping[str, Fraction]
) -> Bill:
    searches = [item for item in items if item["type"] == "web_search_call" and item["action"]["type"] == "search"]
    most = len(searches) if tool_usage is None else int(tool_usage["web_search"]["num_requests"])
    least = 0 if tool_usage is None else most
    files = sum(item["type"] == "file_search_call" for item in items)
    containers = {item["container_id"] for item in items if item["type"] == "code_interpreter_call"}
    shells = [item.get("environment") or {} for item in items if item["type"] == "shell_call"]
    containers |= {shell["container_id"] for shell in shells if shell.get("type") == "container_reference"}
    exact, search = files * fees.get("file_search", Fraction(0)), fees.get("web_search", Fraction(0))
    sessions = len(containers) * fees.get("code_interpreter", Fraction(0))
    return Bill(least * search + exact, most * search + exact + sessions)
