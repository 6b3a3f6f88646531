"""Reduces LiteLLM's list of prices to one entry of each shape.

    python -m tests.support.litellm_shapes model_prices_and_context_window.json > tests/core/money/litellm_shapes.json

A shape is the mode of an OpenAI model, its endpoints, and the keys with which it is priced. Facts only: what an entry
costs, until when it is served, and where.
"""

import json
import re
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

PROVIDERS = ("openai", "text-completion-openai")
FACTS = re.compile(r".*(cost|multiplier).*|deprecation_date|supported_endpoints|mode|litellm_provider")
SHAPES = Path(__file__).parents[1] / "core/money/litellm_shapes.json"


def read_shapes() -> dict[str, dict[str, Any]]:
    """Returns the reduced list with exact numbers."""
    entries: dict[str, dict[str, Any]] = json.loads(SHAPES.read_text("utf-8"), parse_float=Decimal, parse_int=Decimal)
    return entries


def reduced(entries: dict[str, Any]) -> dict[str, Any]:
    """Returns the first entry of each shape of OpenAI's models, without what is neither price, date nor place, and one
    entry of another provider."""
    first_of: dict[tuple[object, ...], str] = {}
    result: dict[str, Any] = {}
    for name, entry in entries.items():
        facts = {key: entry[key] for key in sorted(entry) if FACTS.fullmatch(key)}
        shape = shape_of(facts) if entry.get("litellm_provider") in PROVIDERS else ("another provider",)
        if name != "sample_spec" and first_of.setdefault(shape, name) == name:
            result[name] = facts
    return result


def shape_of(entry: dict[str, Any]) -> tuple[object, ...]:
    """Returns what entries of one shape have in common."""
    return entry.get("mode"), entry["litellm_provider"], *sorted(entry), *entry.get("supported_endpoints", ())


def lines_of(entries: dict[str, Any]) -> str:
    """Returns JSON with an entry in each line."""
    return "{\n" + ",\n".join(f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in entries.items()) + "\n}\n"


if __name__ == "__main__":
    sys.stdout.write(lines_of(reduced(json.loads(Path(sys.argv[1]).read_text("utf-8")))))
