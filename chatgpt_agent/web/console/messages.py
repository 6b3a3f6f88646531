"""Messages of use cases in the language of a page: errors, warnings, findings.

Use cases write plain English, which commands and REST show as it is. `scripts/messages` collects the templates of these
messages from the source. Here a message is matched with its template, and the translated template is filled with the
parts. Nothing is read before the first message on a page that is not in English.
"""

import functools
import re
from collections.abc import Mapping

import msgspec
from tornado.locale import Locale

from chatgpt_agent.web.console.languages import FOLDER

DEPTH = 5  # of messages within messages
MAX_LENGTH = 1000  # characters of a message; longer ones stay in English: matching takes long for made-up ones

PLACEHOLDER = re.compile(r"%\((\w+)\)([sr])")
_ENGLISH = re.compile(r"[A-Za-z]{2,} [A-Za-z]{2,}")
_FORMS = {"s": ".*?", "r": r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\""}  # `r`: as Python's repr quotes a text


class Template:
    """The English text of a message with its placeholders, and its translation."""

    def __init__(self, text: str, translation: str) -> None:
        self.text = text
        self.translation = translation
        # Texts and placeholders in turn: text, name, form, text, …
        parts = PLACEHOLDER.split(text)
        self._literals = parts[::3]
        self._fields = list(zip(parts[1::3], parts[2::3], strict=True))
        self.weight = sum(map(len, self._literals))
        self._rarest = max(self._literals, key=len)
        # `%(place)s: %(message)s` has no word of its own, and matches much that is no message.
        self.is_frame = not re.search("[A-Za-z]{2}", "".join(self._literals))

    @functools.cached_property
    def _pattern(self) -> re.Pattern[str]:
        """Compiled when a message contains the longest text of the template: that is so for a few of hundreds."""
        groups = [f"({_FORMS[form]})" for _, form in self._fields]
        texts = map(re.escape, self._literals)
        return re.compile("".join(text + group for text, group in zip(texts, [*groups, ""], strict=True)), re.DOTALL)

    def match(self, message: str) -> dict[str, str] | None:
        """Returns the parts of a message by the names of placeholders, or None for another message."""
        if self._rarest not in message or (match := self._pattern.fullmatch(message)) is None:
            return None
        return dict(zip((name for name, _ in self._fields), match.groups(), strict=True))

    def filled(self, parts: Mapping[str, str]) -> str:
        """Returns the translation with these parts."""
        return PLACEHOLDER.sub(lambda match: parts[match[1]], self.translation)

    def quotes(self, name: str) -> bool:
        """Whether a placeholder stands for data in quotes, which is not translated."""
        return (name, "r") in self._fields


class Messages:
    """The messages of one language. `texts`: translations by the English text."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._exact = {text: translation for text, translation in texts.items() if not PLACEHOLDER.search(text)}
        templates = [Template(text, translation) for text, translation in texts.items() if PLACEHOLDER.search(text)]
        # The template with the most text of its own comes first: it says the most about a message.
        self.templates = sorted(templates, key=lambda template: (-template.weight, template.text))

    def translate(self, message: str) -> str:
        """Returns a message in this language, or as it is if it has no template."""
        return message if len(message) > MAX_LENGTH else self._exact.get(message) or self._by_template(message, DEPTH)

    def _by_template(self, message: str, depth: int) -> str:
        """Fills the first template that leaves no English in the parts, or else the first one that matches."""
        best = None
        for template in self.templates if depth else ():
            parts = template.match(message)
            if parts is None:
                continue
            texts = {name: self._part(part, depth - 1) for name, part in parts.items() if not template.quotes(name)}
            if template.is_frame and texts == parts:
                continue
            filled = template.filled({**parts, **texts})
            if not any(map(_ENGLISH.search, texts.values())):
                return filled
            best = best or filled
        return best or message

    def _part(self, part: str, depth: int) -> str:
        """A part that is a message or a term is translated in turn; a single word is a name, such as a field's."""
        return self._exact.get(part) or self._by_template(part, depth) if " " in part.strip() else part


@functools.cache
def messages_of(code: str) -> Messages | None:
    """Returns the messages of a language by Tornado's code, or None for English."""
    path = FOLDER / code / "LC_MESSAGES" / "messages.json"
    return Messages(msgspec.json.decode(path.read_bytes(), type=dict[str, str])) if path.exists() else None


def translated(message: str, locale: Locale) -> str:
    """Returns a message of a use case in a language."""
    messages = messages_of(locale.code)
    return message if messages is None else messages.translate(message)
