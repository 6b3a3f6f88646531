"""The languages of the console: English in the source, others in `locale/` (CONTRIBUTING.md, Translations)."""

from pathlib import Path
from typing import Protocol

from tornado import locale

FOLDER = Path(__file__).parent / "locale"
DOMAIN = "console"
LANGUAGES = {"en_US": "English", "zh": "简体中文"}  # by Tornado's code, each in itself
HTML_LANGUAGES = {"en_US": "en", "zh": "zh-Hans"}


class Translator(Protocol):
    """A request for a page, as far as texts need it."""

    def _(self, text: str) -> str:
        """Returns a text in the language of the page."""


class MessageTranslator(Translator, Protocol):
    """A request for a page that shows messages of use cases."""

    def message(self, text: str) -> str:
        """Returns a message of a use case in the language of the page."""


def load() -> None:
    """Reads the catalogues, for the whole process."""
    locale.load_gettext_translations(str(FOLDER), DOMAIN)


def language_of(code: str | None) -> locale.Locale | None:
    """Returns the language of a code, or None if there is none."""
    return locale.get(code) if code in LANGUAGES else None
