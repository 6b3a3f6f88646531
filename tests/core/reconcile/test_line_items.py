"""Tests of recognizing the line items of OpenAI's bill."""

import pytest

from chatgpt_agent.core.openai_usage import Kind
from chatgpt_agent.core.reconcile.line_items import Item, ItemClass, classify

IN_LEDGER = {"gpt-6-sol", "gpt-6-luna-2026-09-15", "gpt-image-2.6", "gpt-live-1", "text-embedding-3-small"}


def recognized(line_item: str, unit: str | None = "tokens") -> Item:
    """Returns what a line item charges, for a ledger with these models."""
    return classify(line_item, unit, IN_LEDGER.__contains__)


@pytest.mark.parametrize(
    ("line_item", "model"),
    [
        ("gpt-6-sol, input", "gpt-6-sol"),
        ("gpt-6-sol, input_tokens", "gpt-6-sol"),
        ("gpt-6-sol, cached input", "gpt-6-sol"),
        ("gpt-6-sol, cache writes", "gpt-6-sol"),
        ("gpt-6-sol, cache writes (12h)", "gpt-6-sol"),
        ("gpt-6-sol, Output", "gpt-6-sol"),
        ("gpt-6-luna-2026-09-15, input", "gpt-6-luna-2026-09-15"),
        ("gpt-image-2.6 image, cached input", "gpt-image-2.6"),
        ("gpt-image-2.6, image output", "gpt-image-2.6"),
        ("text-embedding-3-small", "text-embedding-3-small"),
        ("gpt-6-sol, a new kind of token", "gpt-6-sol"),
        ("gpt-live-1, audio output", "gpt-live-1"),
        # Models that the ledger does not have.
        ("gpt-6-astra, input_tokens", "gpt-6-astra"),
        ("gpt-audio-mini-2025-12-15 audio, input", "gpt-audio-mini-2025-12-15"),
    ],
)
def test_model_is_recognized(line_item: str, model: str) -> None:
    """A model is named before the comma; words for its tokens, or its name in the ledger, show that it is one."""
    assert recognized(line_item) == Item(ItemClass.MODEL, model=model)


@pytest.mark.parametrize(
    ("line_item", "tool"),
    [
        ("web search tool calls", Kind.WEB_SEARCH),
        ("Web Search", Kind.WEB_SEARCH),
        ("web_search_calls", Kind.WEB_SEARCH),
        ("gpt-6-sol, web search calls", Kind.WEB_SEARCH),
        ("file search tool calls", Kind.FILE_SEARCH),
        ("code interpreter sessions", Kind.CODE_INTERPRETER),
    ],
)
def test_tool_is_recognized(line_item: str, tool: Kind) -> None:
    """Its quantity has no unit that OpenAI documents."""
    assert recognized(line_item, None) == Item(ItemClass.TOOL, tool=tool)


@pytest.mark.parametrize(
    ("line_item", "unit"),
    [
        ("vector store storage", "gibibyte_hours"),
        ("file search storage", None),
        ("tts-1-hd", "characters"),
        ("gpt-6-mini-tts, audio output", "tokens"),
        ("sora-2, video", None),
        ("gpt-6-sol, batch input", "tokens"),
        ("batch | gpt-6-sol, input", "tokens"),
        ("evals | gpt-6-sol, input", "tokens"),
        ("assistants api | file search", None),
        ("gpt-realtime-2, audio input", "tokens"),
        ("gpt-live-2, voice session", "duration_seconds"),
        ("gpt-6-sol, training", "tokens"),
        ("something new", "gibibyte_hours"),
    ],
)
def test_other_services_are_not_through_this_agent(line_item: str, unit: str | None) -> None:
    """The agent serves no speech, video, storage, batches, evaluations or training."""
    assert recognized(line_item, unit) == Item(ItemClass.NOT_THROUGH_AGENT)


@pytest.mark.parametrize(
    ("line_item", "unit"),
    [
        ("something new", None),
        ("gpt-6-astra", None),
        ("gpt-6-astra, surcharge", None),
        ("web search content tokens", "tokens"),
        ("web search and file search", None),
        ("", None),
    ],
)
def test_other_line_items_are_not_recognized(line_item: str, unit: str | None) -> None:
    """A guess could hide a difference."""
    assert recognized(line_item, unit) == Item(ItemClass.UNKNOWN)
