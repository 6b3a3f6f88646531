"""Texts that obey the rules and are still probably mistakes: quotation marks that no shell removed, the name of a
variable before its value, a token in place of an OpenAI key; and the name that is meant where one does not exist."""

import difflib
import re
import unicodedata
from collections.abc import Iterable

from chatgpt_agent.core.access.tokens import ADMIN_PREFIX, PREFIX
from chatgpt_agent.core.errors import InvalidValue

MAX_COMPARED = 1000  # names that are compared letter by letter: 5,000 take a tenth of a second

_DOUBLE = frozenset('"`“”„‟«»')
_SINGLE = frozenset("'‘’‚‛")  # also apostrophes, as at the beginning of 't Hooft
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=[^=]")  # KEY=value, but not the padding of base64
_NAMED_VALUE = re.compile(r"[A-Z][A-Z0-9_]*=|(?i:name|user|user_?name|model|comment|label)=", re.ASCII)
_SECRET = re.compile(rf"(?:sk-|{PREFIX}|{ADMIN_PREFIX})[!-~]{{16,}}")
_MASKED = re.compile(r"\*|\.\.\.|^<.*>$")


def check_likely_name(field: str, text: str) -> None:
    """Raises InvalidValue for a name in quotation marks, `NAME=…`, or a key or token in place of a name."""
    if _SECRET.match(text):  # not quoted: it is a secret
        raise InvalidValue(f"{field}: this is a key or a token, not a name")
    if _is_quoted(text):
        raise InvalidValue(f"{field}: {text[:40]!r} has quotation marks around it: give it without them")
    if _NAMED_VALUE.match(text):
        raise InvalidValue(f"{field}: {text[:40]!r} begins with {text.partition('=')[0]!r} and =: give the value alone")


def check_likely_model(model: str) -> None:
    """Raises InvalidValue for what is probably not the name of a model, also for a pattern."""
    check_likely_name("model", model)
    if "*" in model:
        raise InvalidValue(f"model: {model[:40]!r} is a pattern: a price belongs to one model, by its whole name")


def check_likely_key(key: str) -> None:
    """Raises InvalidValue for what is probably not an OpenAI key. No message contains it."""
    if key.startswith((PREFIX, ADMIN_PREFIX)):
        raise InvalidValue("the OpenAI key is a token of this agent: give the key that OpenAI has issued")
    if key.startswith("sk-admin-"):
        raise InvalidValue("the OpenAI key is an admin key of OpenAI, which cannot be used for requests to models")
    if {key[:1], key[-1:]} & (_DOUBLE | _SINGLE):
        raise InvalidValue("the OpenAI key has quotation marks around it: give it without them")
    if _ASSIGNMENT.match(key):
        raise InvalidValue("the OpenAI key begins with a name and =: give the key alone")
    if _MASKED.search(key):
        raise InvalidValue("the OpenAI key is masked, or a placeholder: give the whole key")


def _is_quoted(text: str) -> bool:
    ends = {text[:1], text[-1:]}
    return bool(ends & _DOUBLE) or ends <= _SINGLE


def look_alikes(name: str, names: Iterable[str]) -> list[str]:
    """Returns the other names that differ from this one only in case, in spaces, or in the composition of Unicode."""
    own = folded(name)
    return [each for each in names if each != name and folded(each) == own]


def hint(name: str, names: Iterable[str]) -> str:
    """Returns the end of a message that a name does not exist: which one is probably meant, or nothing."""
    existing = list(names)
    similar = look_alikes(name, existing) or difflib.get_close_matches(name, existing[:MAX_COMPARED], 1, 0.8)
    return f"; did you mean {quoted(similar[0], name)}?" if similar else ""


def quoted(name: str, other: str) -> str:
    """Returns a name in quotes, in ASCII if it looks like the other one."""
    same = unicodedata.normalize("NFKC", name) == unicodedata.normalize("NFKC", other)
    return ascii(name) if same else repr(name)


def folded(text: str) -> str:
    """Returns what names that look alike have in common."""
    text = unicodedata.normalize("NFKC", text).casefold()
    return "".join(unicodedata.normalize("NFKC", text).strip("".join(_DOUBLE | _SINGLE)).split())
