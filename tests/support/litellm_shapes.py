"""Reduces LiteLLM's list of prices to one entry of each shape, for tests/core/money/litellm_shapes.json:

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
KEPT = re.compile(r".*(cost|multiplier).*|deprecation_date|supported_endpoints|mode|litellm_provider")
SHAPES = Path(__file__).parents[1] / "core/money/litellm_shapes.json"


def read_shapes() -> dict[str, dict[str, Any]]:
    """Returns the reduced list with exact numbers."""
    entries: dict[str, dict[str, Any]] = json.loads(SHAPES.read_text("utf-8"), parse_float=Decimal, parse_int=Decimal)
    return entries


def reduced(entries: dict[str, Any]) -> dict[str, Any]:
    """Returns the first entry of each shape of OpenAI's models, without what is neither price, date nor place, and one
    entry of another provider."""
    kept: dict[str, Any] = {}
    shapes: set[tuple[object, ...]] = set()
    for name, entry in entries.items():
        facts = {key: entry[key] for key in sorted(entry) if KEPT.fullmatch(key)}
        shape = shape_of(facts) if entry.get("litellm_provider") in PROVIDERS else ("another provider",)
        if shape not in shapes and name != "sample_spec":
            shapes.add(shape)
            kept[name] = facts
    return kept


def shape_of(entry: dict[str, Any]) -> tuple[object, ...]:
    """Returns what entries of one shape have in common."""
    return entry.get("mode"), entry["litellm_provider"], *sorted(entry), *entry.get("supported_endpoints", ())


def lines_of(entries: dict[str, Any]) -> str:
    """Returns JSON with an entry in each line."""
    return "{\n" + ",\n".join(f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in entries.items()) + "\n}\n"


if __name__ == "__main__":
    sys.stdout.write(lines_of(reduced(json.loads(Path(sys.argv[1]).read_text("utf-8")))))
