"""Tests of the words for differences."""

from datetime import date
from decimal import Decimal

import pytest

from chatgpt_agent.core.openai_usage import Counts, Kind
from chatgpt_agent.core.reconcile.lines import ChargedItem, ComparedLine, Finding
from chatgpt_agent.core.reconcile.sentences import amount_text, item_text, sentence, sums_text, total_text

DAY = date(2026, 11, 3)
SOL = "gpt-6-sol"


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (
            ComparedLine(
                day=None,
                kind=Kind.WEB_SEARCH,
                user="ann",
                finding=Finding.NOT_IN_LEDGER,
                ledger=Counts(),
                openai=Counts(calls=320),
                models={SOL: 320},
                ledger_cost=Decimal(0),
                openai_cost=Decimal("3.2"),
            ),
            "web search: 320 calls, 3.20 USD, user ann: not in the ledger",
        ),
        (
            ComparedLine(day=DAY, model=SOL, ledger=Counts(cached=1500), openai=Counts(cached=300)),
            "gpt-6-sol: 1,200 cached input tokens more in the ledger than at OpenAI, 2026-11-03",
        ),
        (
            ComparedLine(
                day=DAY,
                model=SOL,
                user="bob",
                ledger=Counts(input=10, output=9),
                openai=Counts(requests=1, input=11, output=7),
                ledger_cost=Decimal("0.1"),
                openai_cost=Decimal("0.1000025"),
            ),
            "gpt-6-sol: 1 request, 1 input token, 0.0000025 USD more at OpenAI than in the ledger; "
            "2 output tokens more in the ledger than at OpenAI, user bob, 2026-11-03",
        ),
        (
            ComparedLine(
                day=DAY,
                kind=Kind.CODE_INTERPRETER,
                finding=Finding.NOT_AT_OPENAI,
                ledger=Counts(calls=1),
                openai=Counts(),
            ),
            "code interpreter: 1 session, 2026-11-03: not at OpenAI",
        ),
        (
            ComparedLine(
                day=DAY,
                kind=Kind.IMAGES,
                model="gpt-image-2.6",
                finding=Finding.NOT_IN_LEDGER,
                ledger=Counts(),
                openai=Counts(requests=2),
                quantity=5,
                unit="images",
            ),
            "gpt-image-2.6 (images): 2 requests, 5 images, 2026-11-03: not in the ledger",
        ),
        (
            ComparedLine(
                day=None,
                kind=Kind.COSTS,
                name="tts-made-up",
                finding=Finding.NOT_THROUGH_AGENT,
                ledger_cost=Decimal(0),
                openai_cost=Decimal("0.3"),
                quantity=20_000,
                unit="characters",
            ),
            "tts-made-up: 20,000 characters, 0.30 USD: not through this agent",
        ),
        (
            ComparedLine(
                day=None,
                kind=Kind.COSTS,
                name="something new",
                finding=Finding.NOT_RECOGNIZED,
                openai_cost=Decimal(1234),
            ),
            "something new: 1,234.00 USD: not recognized, so not compared with the ledger",
        ),
        (
            ComparedLine(
                day=None,
                model=SOL,
                name="batches",
                finding=Finding.NOT_THROUGH_AGENT,
                openai=Counts(requests=5, input=50),
            ),
            "gpt-6-sol (batches): 5 requests, 50 input tokens: not through this agent",
        ),
        (
            ComparedLine(
                day=DAY,
                kind=Kind.WEB_SEARCH,
                ledger=Counts(calls=7),
                openai=Counts(calls=7),
                models={"gpt-6-luna": -1, SOL: 1},
            ),
            "web search: calls (gpt-6-sol 1) more at OpenAI than in the ledger; "
            "calls (gpt-6-luna 1) more in the ledger than at OpenAI, 2026-11-03",
        ),
        (
            ComparedLine(day=DAY, kind=Kind.COSTS, ledger_cost=Decimal(1), openai_cost=Decimal("1.5")),
            "all costs: 0.50 USD more at OpenAI than in the ledger, 2026-11-03",
        ),
        (
            ComparedLine(
                day=DAY,
                kind=Kind.TRANSCRIPTIONS,
                model="gpt-transcribe",
                ledger=Counts(requests=1, seconds=Decimal("61.5")),
                openai=Counts(requests=1, seconds=70),
            ),
            "gpt-transcribe (transcriptions): 8.5 seconds more at OpenAI than in the ledger, 2026-11-03",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_difference_is_a_sentence(line: ComparedLine, text: str) -> None:
    """It says what differs, by how much, whose and when."""
    assert sentence(line) == text


@pytest.mark.parametrize(
    ("item", "text"),
    [
        (ChargedItem("a, input", Decimal("0.02"), Decimal(10_000), "tokens"), "a, input: 0.02 USD for 10,000 tokens"),
        (ChargedItem("a", Decimal("0.02"), Decimal("12.5"), "1000_tokens"), "a: 0.02 USD for 12,500 tokens"),
        (ChargedItem("a", Decimal("0.02"), Decimal("0.5"), "duration_hours"), "a: 0.02 USD for 0.5 hours"),
        (ChargedItem("a", Decimal(1), Decimal("4.2"), "gibibyte_hours"), "a: 1.00 USD for 4.2 gibibyte hours"),
        (ChargedItem("a", Decimal(3), Decimal(320), None), "a: 3.00 USD for 320"),
        (ChargedItem("a", Decimal(3)), "a: 3.00 USD"),
    ],
)
def test_line_item_has_its_quantity_and_unit(item: ChargedItem, text: str) -> None:
    """Units are those of openai.types, in words."""
    assert item_text(item) == text


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0", "0.00 USD"),
        ("-1234.5", "-1,234.50 USD"),
        ("0.060000000000000005", "0.06 USD"),
        ("-0.25", "-0.25 USD"),
        ("12345678901234567890.5", "12,345,678,901,234,567,890.50 USD"),
    ],
)
def test_amount_is_rounded_to_what_is_compared(amount: str, text: str) -> None:
    """Digits of a float are not shown."""
    assert amount_text(Decimal(amount)) == text


def test_total_has_both_amounts() -> None:
    """The sums say by how much they differ."""
    total = ComparedLine(
        day=None,
        kind=None,
        ledger=Counts(requests=2),
        openai=Counts(requests=3),
        ledger_cost=Decimal(1),
        openai_cost=Decimal(2),
    )
    assert total_text(total) == (
        "1 request, 1.00 USD more at OpenAI than in the ledger (2.00 USD at OpenAI, 1.00 USD in the ledger)"
    )
    assert sums_text(total) == "2 requests, 1 USD"
