"""The models that a user may use: names, or patterns in which `*` matches any text and `?` one character.

No other character is special, and matching is case-sensitive. Administrators write patterns, clients send names: so
matching takes time in proportion to their lengths, whatever they are.
"""

import re
from collections.abc import Iterable

from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.likely import check_likely_name
from chatgpt_agent.core.names import check_name

MAX_PATTERNS = 100

_SEPARATORS = re.compile(r"[,;\s]+")


def compile_patterns(patterns: Iterable[str]) -> re.Pattern[str]:
    """Returns an expression that `fullmatch`es the names which match at least one pattern."""
    return re.compile("|".join(map(_expression, patterns)) or r"(?!)", re.DOTALL)


def _expression(pattern: str) -> str:
    first, *rest = ["".join("." if char == "?" else re.escape(char) for char in part) for part in pattern.split("*")]
    if not rest:
        return first
    # Each part between two stars is searched once, from the left. Without the atomic group it would be searched again
    # whenever a later part is missing, and `*a*a*a*a*b` would take hours.
    return first + "".join(f"(?>.*?{part})" for part in rest[:-1] if part) + f".*{rest[-1]}"


def parse_patterns(text: str) -> tuple[str, ...]:
    """Returns the patterns in a text, separated by commas, semicolons or spaces."""
    return tuple(part for part in _SEPARATORS.split(text) if part)


def check_patterns(patterns: tuple[str, ...], field: str = "allowed_models") -> None:
    """Raises InvalidValue if a list of patterns is empty, too long, or holds an invalid pattern."""
    if not 0 < len(patterns) <= MAX_PATTERNS:
        raise InvalidValue(f"{field}: give 1 to {MAX_PATTERNS} names or patterns, or no list for every model")
    for pattern in patterns:
        check_name(field, pattern)
        check_likely_name(field, pattern)
