"""Recognizes line items of OpenAI's bill by their words, because OpenAI documents no list of them.

Line items that were seen: `gpt-6-sol, cached input`, `gpt-6-sol, input_tokens`, `gpt-image-2.6 image, output`, `web
search tool calls`, `evals | gpt-6-sol, input`. What is not recognized keeps its own name.
"""

import re
from collections.abc import Callable
from enum import StrEnum

import msgspec

from chatgpt_agent.core.openai_usage import Kind


class ItemClass(StrEnum):
    """What a line item charges."""

    MODEL = "model"
    TOOL = "tool"
    NOT_THROUGH_AGENT = "not through this agent"
    UNKNOWN = "unknown"


class Item(msgspec.Struct, frozen=True):
    """A recognized line item: its `model`, or the `tool` that was called."""

    item_class: ItemClass
    model: str | None = None
    tool: Kind | None = None


# What no request through an agent is charged for: other services, other ways to send requests, other models.
_NOT_THROUGH_AGENT = re.compile(
    r"\b(?:batch(?:es)?|evals?|graders?|assistants?|threads?|agents?|fine ?tun\w*|training|distillation"
    r"|tts|speech|videos?|sora|storage|vector stores?|realtime|live|voice|chatkit)\b"
)
_UNITS_NOT_THROUGH_AGENT = ("gibibyte_hours", "characters")
_TOOLS = {
    Kind.WEB_SEARCH: re.compile(r"\bweb ?search(?:es)?\b"),
    Kind.FILE_SEARCH: re.compile(r"\bfile ?search(?:es)?\b"),
    Kind.CODE_INTERPRETER: re.compile(r"\bcode ?interpreter\b"),
}
# A tool's tokens and time are no calls.
_UNITS_OF_CALLS = (None, "calls", "1000_calls", "requests", "sessions", "tool_calls")
_TOKEN_WORD = re.compile(
    r"input|output|cached?|writes?|written|reads?|uncached|reasoning|text|images?|audio|tokens?|duration"
    r"|\d+ ?[hm]?|h|m|hours?|minutes?|seconds?"
)
_PARTS = re.compile(r"(?P<model>[^\s,|]+)(?: (?P<medium>text|image|audio))?(?:,(?P<part>.*))?", re.IGNORECASE)


def classify(line_item: str, unit: str | None, is_in_ledger: Callable[[str], bool]) -> Item:
    """Returns what a line item charges. `unit`: of its quantity; `is_in_ledger`: whether the ledger has the model."""
    parts = _PARTS.fullmatch(line_item.strip())
    model = parts and parts["model"]
    if parts and model and is_in_ledger(model):
        # The model is served by the agent whatever its name sounds like; not so batches of it.
        rest = _plain(f"{parts['medium'] or ''} {parts['part'] or ''}")
        own = Item(ItemClass.MODEL, model=model)
    else:
        rest = _plain(line_item)
        part = _plain(parts["part"] or "").split() if parts else []
        is_model = bool(part) and all(_TOKEN_WORD.fullmatch(word) for word in part)
        own = Item(ItemClass.MODEL, model=model) if is_model else Item(ItemClass.UNKNOWN)
    if _NOT_THROUGH_AGENT.search(rest) or unit in _UNITS_NOT_THROUGH_AGENT:
        return Item(ItemClass.NOT_THROUGH_AGENT)
    tools = [tool for tool, pattern in _TOOLS.items() if pattern.search(rest)]
    if len(tools) == 1 and unit in _UNITS_OF_CALLS:
        return Item(ItemClass.TOOL, tool=tools[0])
    return Item(ItemClass.UNKNOWN) if tools else own


def _plain(text: str) -> str:
    """Returns a text in lower case whose words are separated by spaces."""
    return " ".join(re.split(r"[\s_,|()/-]+", text.lower())).strip()
