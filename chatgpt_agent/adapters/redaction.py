"""Shows configured values in errors and log lines without secrets, wherever these were put by mistake."""

import re

HIDDEN = "(not shown)"

# What secrets of this program and of OpenAI begin with, and a master key.
_PREFIXES = {"sk-": "an OpenAI key", "cga_": "a token", "cgm_": "an admin's token", "whsec_": "a webhook's secret"}
_SECRET = re.compile(rf"(?<![A-Za-z])({'|'.join(_PREFIXES)})|(?<![\w-])[\w-]{{43}}=", re.ASCII)
# User names and passwords in URLs and connection strings; random texts: letters of both cases and digits.
_SUSPICIOUS = re.compile(
    r"@|(?i:pass|secret|token|key)\w*['\"]?\s*[=:]|(?=[\w-]*[0-9])(?=[\w-]*[a-z])(?=[\w-]*[A-Z])[\w-]{24,}", re.ASCII
)
_QUERY = re.compile(r"[?#].*", re.DOTALL)
_MAX_LENGTH = 80


def is_secret(text: str) -> bool:
    """Whether a text holds a token, an OpenAI key, a master key or a webhook's secret."""
    return _SECRET.search(text) is not None


def hidden(text: str) -> str:
    """Returns that a text is not shown, and which part of it looks like a secret, without that part."""
    match = _SECRET.search(text)
    if match is None:
        return HIDDEN
    prefix = match[1]
    reason = (
        f'"{prefix}" in it may begin {_PREFIXES[prefix]}' if prefix else "43 characters and = in it may be a master key"
    )
    return f"(not shown: {reason})"


def without_secrets(text: str) -> str:
    """Returns a text without the query of a URL; or HIDDEN, because it may hold a secret."""
    text = _QUERY.sub("?…", text)
    return HIDDEN if is_secret(text) or _SUSPICIOUS.search(text) else text


def display(value: object) -> str:
    """Returns a value in quotes, without the query of a URL; or that it is not shown, because it may hold a secret."""
    text = without_secrets(str(value))
    if text == HIDDEN:
        return HIDDEN
    return repr(text if isinstance(value, str) or text.endswith("?…") else value)[:_MAX_LENGTH]
