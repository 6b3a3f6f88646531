"""The languages of the console: complete catalogues, and which language a browser gets."""

import runpy
import subprocess
import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from chatgpt_agent.web.console.formats import Formats
from chatgpt_agent.web.console.parts import Kind
from tests.support.console import ConsoleClient

pytestmark = pytest.mark.shared_agent

ROOT = Path(__file__).parents[3]


def test_text_inside_an_f_string_is_in_the_catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a call in the syntax tree as any other; Babel's own extraction misses it before Python 3.12."""
    monkeypatch.syspath_prepend(ROOT / "scripts")
    script = runpy.run_path(str(ROOT / "scripts/messages"))
    source = 'f"{text} {_(\'Checked.\')}"; request.ngettext("a row", "rows", n); names.translate(table)'
    assert script["texts_of"](source) == {"Checked.", ("a row", "rows")}


def test_every_text_is_translated() -> None:
    """Each catalogue is complete and current, and keeps the placeholders."""
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/messages", "--check"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("accepted", "language"),
    [("zh-CN", "zh-Hans"), ("zh", "zh-Hans"), ("zh-TW,en;q=0.5", "zh-Hans"), ("de,en;q=0.5", "en"), ("", "en")],
)
async def test_page_is_in_the_language_of_the_browser(stranger: ConsoleClient, accepted: str, language: str) -> None:
    """English, if there is no better one."""
    page = await stranger.get("/login", Accept_Language=accepted)
    assert page.root.one("html").attributes["lang"] == language
    assert page.title == {"zh-Hans": "登录", "en": "Sign in"}[language]


@pytest.mark.parametrize(
    ("kind", "value", "english", "chinese"),
    [
        (Kind.NUMBER, 1234567, "1,234,567", "1,234,567"),
        (Kind.USD, Decimal("1234.5"), "$1,234.50", "US$1,234.50"),
        (Kind.USD, Decimal("0.00012345"), "$0.00012", "US$0.00012"),
        (Kind.USD, Decimal(0), "$0.00", "US$0.00"),
        (Kind.EXACT_USD, Decimal("0.00012345"), "$0.00012345", "US$0.00012345"),
        (Kind.PERCENT, 0.256, "26%", "26%"),
        (Kind.DAY, date(2026, 11, 28), "Nov 28, 2026", "2026年11月28日"),
        (Kind.TIME, datetime(2026, 11, 28, 12, 30, tzinfo=UTC), "Nov 28, 2026, 12:30:00 PM", "2026年11月28日 12:30:00"),
        (Kind.MILLISECONDS, 1234, "1.2 s", "1.2 s"),
        (Kind.BYTES, 1536, "1.5 KiB", "1.5 KiB"),
        (Kind.NUMBER, None, "–", "–"),
    ],
)
def test_values_are_written_as_in_the_language(kind: Kind, value: object, english: str, chinese: str) -> None:
    """Small amounts have two digits that are not zero; what is not known is no zero."""
    assert Formats("en_US", "UTC").value(value, kind).replace("\u202f", " ") == english
    assert Formats("zh", "UTC").value(value, kind) == chinese
