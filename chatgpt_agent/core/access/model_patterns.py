"""Which models somebody may use: names, or patterns in which `*` stands for any text and `?` for one character.

Nothing else is special, and case counts. A pattern is an administrator's, the name that it is held against is a
client's: matching takes time in proportion to their lengths, whatever they are.
"""

import re
from collections.abc import Iterable

from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.names import check_name

MAX_PATTERNS = 100

_SEPARATORS = re.compile(r"[,;\s]+")


def compile_patterns(patterns: Iterable[str]) -> re.Pattern[str]:
    """What `fullmatch`es the names that at least one of these patterns stands for; of no pattern, none."""
    return re.compile("|".join(map(_expression, patterns)) or r"(?!)", re.DOTALL)


def _expression(pattern: str) -> str:
    first, *rest = ["".join("." if char == "?" else re.escape(char) for char in part) for part in pattern.split("*")]
    if not rest:
        return first
    # Each part between two stars is looked for once, from the left. Were it looked for again (without the atomic group)
    # whenever a later part is not found, `*a*a*a*a*b` would take hours.
    return first + "".join(f"(?>.*?{part})" for part in rest[:-1] if part) + f".*{rest[-1]}"


def parse_patterns(text: str) -> tuple[str, ...]:
    """Patterns out of what somebody typed, with commas, semicolons or spaces between them."""
    return tuple(part for part in _SEPARATORS.split(text) if part)


def check_patterns(patterns: tuple[str, ...]) -> None:
    """Raises InvalidValue where a list of models cannot be one."""
    if not 0 < len(patterns) <= MAX_PATTERNS:
        raise InvalidValue(f"models: give 1 to {MAX_PATTERNS} names or patterns, or none at all for every model")
    for pattern in patterns:
        check_name("models", pattern)
