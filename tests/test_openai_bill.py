"""The bill that tests compare the ledger with: amounts of one request each, worked out by hand from the price list."""

import json
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from tests.support.openai_bill import Bill, ListPrice, ListTier, Rates, Terms, bill


def rates(**amounts: str) -> Rates:
    return {kind: Fraction(amount) for kind, amount in amounts.items()}


SOL = ListPrice(
    rates=rates(input="2", cached_input="0.2", cache_write="2.5", cache_write_12h="5", output="10"),
    tiers=[
        ListTier(service_tier="priority", rates=rates(input="4", cached_input="0.4", cache_write="5", output="20")),
        ListTier(above=272_000, rates=rates(input="4", cached_input="0.4", output="15")),
        ListTier(service_tier="flex", multiplier=Fraction(1, 2)),
    ],
)
AUDIO = ListPrice(rates=rates(input="4", cached_input="1", cached_audio="2", audio_input="32", output="16"))
SUNBURST = ListPrice(
    rates=rates(input="5", cached_input="1.25", image_input="8", cached_image="2", output="10", image_output="30")
)
TERMS = Terms(
    price=SOL,
    image_price=SUNBURST,
    fees=rates(web_search="0.01", file_search="0.0025", code_interpreter="0.03"),
)


def total(usage: dict[str, Any]) -> dict[str, Any]:
    counts = [usage.get(name, 0) for name in ("prompt_tokens", "completion_tokens", "input_tokens", "output_tokens")]
    return {**usage, "total_tokens": sum(counts)}


def cost(path: str, terms: Terms, usage: dict[str, Any], **members: Any) -> Bill | None:
    return bill(path, json.dumps({"usage": total(usage), **members}).encode(), terms)


def usd(amount: str, highest: str | None = None) -> Bill:
    return Bill(Fraction(amount), Fraction(amount if highest is None else highest))


CACHED = {
    "input_tokens": 1000,
    "input_tokens_details": {
        "cached_tokens": 200,
        "cache_write_tokens": 300,
        "cache_write_tokens_details": {"ttl_30m_tokens": 100, "ttl_12h_tokens": 200},
    },
    "output_tokens": 50,
    "output_tokens_details": {"reasoning_tokens": 20},
}
CHAT = {"prompt_tokens": 1000, "completion_tokens": 50}
RESPONSES = "/v1/responses"
COMPLETIONS = "/v1/chat/completions"


def test_each_token_of_the_input_is_charged_once_and_reasoning_as_output() -> None:
    """500 new, 200 cached, 100 written for 30 minutes and 200 for 12 hours, and 50 of output with 20 of reasoning."""
    expected = (500 * 2 + 200 * Decimal("0.2") + 100 * Decimal("2.5") + 200 * 5 + 50 * 10) / 1_000_000
    assert cost(RESPONSES, TERMS, CACHED) == usd(str(expected)) == usd("0.00279")


@pytest.mark.parametrize("name", ["fast", "priority"])
def test_fast_is_priority(name: str) -> None:
    """Both names of Fast mode have the same rates."""
    assert cost(COMPLETIONS, TERMS, CHAT, service_tier=name) == usd("0.005")
    assert cost(COMPLETIONS, TERMS, CHAT, service_tier="flex") == usd("0.00125")
    assert cost(COMPLETIONS, TERMS, CHAT, service_tier="default") == usd("0.0025")


def test_long_request_has_the_rates_of_long_requests_for_all_its_tokens() -> None:
    """One input token above the limit changes the rates of input and output."""
    usage = {"input_tokens": 272_000, "output_tokens": 1000}
    assert cost(RESPONSES, TERMS, usage) == usd("0.554")
    assert cost(RESPONSES, TERMS, {**usage, "input_tokens": 272_001}) == usd("1.103004")


def test_cached_tokens_beside_audio_make_a_range() -> None:
    """30 cached tokens beside 40 of audio and 60 of text: all are text at the most, or all audio at the least."""
    usage = {"prompt_tokens": 100, "prompt_tokens_details": {"audio_tokens": 40, "cached_tokens": 30}}
    lowest, highest = (10 * 32 + 30 * 2 + 60 * 4), (40 * 32 + 30 * 1 + 30 * 4)
    expected = Bill(Fraction(lowest, 1_000_000), Fraction(highest, 1_000_000))
    assert cost(COMPLETIONS, Terms(price=AUDIO), {**usage, "completion_tokens": 0}) == expected


def test_writes_that_chat_counts_twice_are_charged_once() -> None:
    """Chat's unadjusted count of cache writes may include cached tokens, which are not charged again."""
    details = {"cached_tokens": 600, "cache_write_tokens": 900}
    assert cost(COMPLETIONS, TERMS, {**CHAT, "prompt_tokens_details": details}) == usd("0.00162")


def test_images_are_charged_by_text_and_image() -> None:
    """Without details of the output all of it is image; with them text has the rate of output."""
    usage = {
        "input_tokens": 100,
        "input_tokens_details": {"text_tokens": 40, "image_tokens": 60},
        "output_tokens": 10,
    }
    terms = Terms(price=SUNBURST)
    assert cost("/v1/images/generations", terms, usage) == usd("0.00098")
    details = {"output_tokens_details": {"text_tokens": 4, "image_tokens": 6}}
    assert cost("/v1/images/edits", terms, {**usage, **details}) == usd("0.0009")


def test_embeddings_and_transcriptions_are_charged_by_their_input() -> None:
    """Embeddings have no output; audio of a transcription has its own rate."""
    assert cost("/v1/embeddings", TERMS, {"prompt_tokens": 1000}) == usd("0.002")
    usage = {"type": "tokens", "input_tokens": 100, "output_tokens": 10, "input_token_details": {"audio_tokens": 90}}
    assert cost("/v1/audio/transcriptions", Terms(price=AUDIO), usage) == usd("0.00308")


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [("12.5", "0.0009375"), ("0.0000000000066", "0"), ("0.0000000000067", "0.000000000000001")],
)
def test_seconds_are_charged_by_the_minute(seconds: str, expected: str) -> None:
    """Seconds are charged by the minute and rounded half up to 15 decimal places."""
    terms = Terms(price=ListPrice(rates=rates(input="0", output="0"), minute=Fraction("0.0045")))
    answer = f'{{"text": "a", "usage": {{"type": "duration", "seconds": {seconds}}}}}'
    assert bill("/v1/audio/transcriptions", answer.encode(), terms) == usd(expected)


def test_output_of_decisions_is_free() -> None:
    """Decisions cost their input, at the rates that the price list has for them."""
    assert cost("/v1/decisions", TERMS, {"input_tokens": 1000, "output_tokens": 50}) == usd("0.002")
    tier = ListTier(service_tier="decisions", rates=rates(input="1", output="0"))
    terms = Terms(price=ListPrice(rates=SOL.rates, tiers=[tier]))
    assert cost("/v1/decisions", terms, {"input_tokens": 1000, "output_tokens": 50}) == usd("0.001")


IMAGE_TOOL = {
    "input_tokens": 100,
    "input_tokens_details": {"text_tokens": 40, "image_tokens": 60},
    "output_tokens": 10,
    "total_tokens": 110,
}
ZERO = {"input_tokens": 0, "output_tokens": 0}


@pytest.mark.parametrize(
    ("cached", "expected"),
    [
        ({}, usd("0.00047", "0.00098")),  # 100 cached, or none
        ({"cached_tokens": 0}, usd("0.00098")),
        ({"cached_tokens": 10}, usd("0.00092", "0.0009425")),  # of images, or of text
        (
            {"cached_tokens": 10, "cached_tokens_details": {"cached_text_tokens": 4, "cached_image_tokens": 6}},
            usd("0.000929"),
        ),
    ],
)
def test_image_tool_is_charged_at_the_price_of_its_model(cached: dict[str, Any], expected: Bill) -> None:
    """Tokens of the image tool cost what the image model's do; what was cached may be unknown."""
    tool_usage = {"image_gen": {**IMAGE_TOOL, **cached}, "web_search": {"num_requests": 0}}
    assert cost(RESPONSES, TERMS, ZERO, tool_usage=tool_usage) == expected


SEARCH = {"type": "web_search_call", "action": {"type": "search"}}
OPEN_PAGE = {"type": "web_search_call", "action": {"type": "open_page"}}
NO_IMAGES = {"input_tokens": 0, "input_tokens_details": {"image_tokens": 0}, "output_tokens": 0, "total_tokens": 0}


def test_searches_are_counted_by_requests_else_by_items() -> None:
    """`num_requests` counts web searches; without it, items with a search are what can be charged at most."""
    tool_usage = {"image_gen": NO_IMAGES, "web_search": {"num_requests": 1}}
    items = [SEARCH, SEARCH, OPEN_PAGE]
    assert cost(RESPONSES, TERMS, ZERO, output=items, tool_usage=tool_usage) == usd("0.01")
    assert cost(RESPONSES, TERMS, ZERO, output=items) == usd("0", "0.02")


def test_file_searches_are_charged_by_call_and_containers_once() -> None:
    """Each file search is charged; a container at most once, however often it ran code or a shell."""
    code = [{"type": "code_interpreter_call", "container_id": name} for name in ("cntr_1", "cntr_1", "cntr_2")]
    hosted = {"type": "shell_call", "environment": {"type": "container_reference", "container_id": "cntr_2"}}
    local = {"type": "shell_call", "environment": {"type": "local"}}
    items = [{"type": "file_search_call"}, {"type": "file_search_call"}, *code, hosted, local]
    assert cost(RESPONSES, TERMS, ZERO, output=items) == usd("0.005", "0.065")


def test_multiplier_of_a_host_applies_to_tokens_and_not_to_fees() -> None:
    """A regional host charges more for tokens; fees stay."""
    terms = Terms(price=SOL, fees=TERMS.fees, multiplier=Fraction("1.1"))
    items = [{"type": "file_search_call"}]
    assert cost(RESPONSES, terms, {"input_tokens": 1000, "output_tokens": 0}, output=items) == usd("0.0047")


def test_answer_without_usage_has_no_bill() -> None:
    """Without usage in the answer the amount is unknown."""
    assert bill(COMPLETIONS, b'{"usage": null}', TERMS) is None
