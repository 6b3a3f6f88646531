"""Log lines: what never stands in one, and that one is one."""

import io
import logging
import sys
from collections.abc import Iterator

import pytest

from chatgpt_agent.adapters.logs import RedactingFormatter, redact, set_up_logging


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger, which is as it was when the test is over."""
    logger = logging.getLogger()
    kept = logger.handlers[:], logger.level
    yield logger
    logger.handlers[:], level = kept
    logger.setLevel(level)
    for name in ("tornado.general", "tornado.curl_httpclient", "asyncio", "yoyo", "aiopg"):
        logging.getLogger(name).setLevel(logging.WARNING)


def line_of(message: str, *values: object, error: BaseException | None = None) -> str:
    """What is written for a record."""
    caught = (type(error), error, error.__traceback__) if error else None
    record = logging.LogRecord("name", logging.INFO, "file.py", 1, message, values, caught)
    return RedactingFormatter("%(levelname)s %(name)s: %(message)s").format(record)


def raised(text: str) -> BaseException:
    """An exception with a traceback."""
    try:
        raise RuntimeError(text)
    except RuntimeError as error:
        return error


# Secrets.


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("key sk-abcd1234 end", "abcd1234"),
        ("key sk-proj-abcd_EFGH-1234 end", "abcd_EFGH"),
        ("key=sk-abcd1234", "abcd1234"),
        ("OPENAI_KEY_sk-abcd1234", "abcd1234"),
        ("%20sk-abcd1234", "abcd1234"),
        ("b'sk-abcd1234'", "abcd1234"),
        ("SK-ABCD1234", "ABCD1234"),
        ("token cga_0123456789abcdef", "0123456789"),
        ("token cgm_0123456789abcdef", "0123456789"),
        ("Authorization: Bearer whatever.it-is", "whatever"),
        ("authorization: bearer   whatever", "whatever"),
        ("{'Authorization': 'Bearer whatever'}", "whatever"),
        ("Proxy-Authorization: Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
        ("proxy http://user:hunter2@proxy:3128", "hunter2"),
        ("proxy http://:hunter2@proxy:3128", "hunter2"),
        ("proxy http://user:hun/ter2@proxy:3128", "ter2"),
        ("proxy http://user:hun@ter2@proxy:3128", "ter2"),
        ("postgresql://agent:hunter2@db/agent", "hunter2"),
    ],
)
def test_a_secret_is_hidden(text: str, secret: str) -> None:
    """Whatever stands around it; what kind it was stays to be seen."""
    assert secret not in redact(text)
    assert "[hidden]" in redact(text)


def test_what_stands_around_a_secret_stays() -> None:
    """A line that is hidden as a whole helps nobody."""
    assert redact("user alice: sk-abcd1234 was refused") == "user alice: sk-[hidden] was refused"


@pytest.mark.parametrize(
    "text",
    ["task-force", "disk-usage", "http://host:8080/path", "mail alice@example.com", "12:30 the bearer", "sk-"],
)
def test_what_is_no_secret_stays(text: str) -> None:
    """Words, addresses and times."""
    assert redact(text) == text


def test_a_secret_among_the_values_of_a_message_is_hidden() -> None:
    """It is the whole line that is looked at, and not its pattern."""
    assert "abcd1234" not in line_of("refused: %s", "sk-abcd1234")


def test_a_secret_in_a_traceback_is_hidden() -> None:
    """An exception's text is a part of the line."""
    assert "abcd1234" not in line_of("failed", error=raised("Incorrect API key: sk-abcd1234"))


# Lines.


def test_a_message_cannot_begin_a_line_of_its_own() -> None:
    """Whoever can put a newline into it could else forge one."""
    assert line_of("model %s", "a\r\nINFO name: all is well") == "INFO name: model a\\r\\nINFO name: all is well"


@pytest.mark.parametrize(
    "character", ["\r", "\x00", "\x1b", "\x7f", "\x85", "\x9b", "\u2028", "\u2029", "\x0b", "\x0c"]
)
def test_a_control_character_is_written_as_its_number(character: str) -> None:
    """A terminal would act on it, and some readers take it for a line's end."""
    line = line_of("a%sb", character)
    assert character not in line
    assert line.endswith(f"a{character.encode('unicode_escape').decode()}b")


def test_a_tab_and_letters_of_all_languages_stay() -> None:
    """They do no harm."""
    assert line_of("a\tб中é") == "INFO name: a\tб中é"


def test_a_traceback_stays_readable() -> None:
    """On lines of its own, as Python writes them."""
    first, *others = line_of("failed", error=raised("it broke")).splitlines()
    assert first == "INFO name: failed"
    assert others[0] == "  Traceback (most recent call last):"
    assert others[-1] == "  RuntimeError: it broke"


def test_no_line_of_a_traceback_can_pass_for_another() -> None:
    """Each is indented, those of the exception's own text too."""
    lines = line_of("failed", error=raised("broke\nINFO name: all is well")).splitlines()
    assert all(line.startswith("  ") for line in lines[1:])


# Setting up.


def test_what_is_logged_goes_to_standard_error(root: logging.Logger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, with time, level and name, and nothing secret."""
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    set_up_logging("info")
    logging.getLogger("chatgpt_agent.x").info("key %s", "sk-abcd1234")
    line = sys.stderr.getvalue()  # type: ignore[attr-defined]
    assert line.endswith(" INFO chatgpt_agent.x: key sk-[hidden]\n")
    assert line.count("\n") == 1


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_what_prints_requests_never_does(root: logging.Logger, level: str) -> None:
    """Tornado prints headers at INFO and whole requests at DEBUG; no level of ours lets it."""
    set_up_logging(level)
    assert not logging.getLogger("tornado.curl_httpclient").isEnabledFor(logging.INFO)
    assert not logging.getLogger("tornado.general").isEnabledFor(logging.INFO)


def test_a_level_holds_for_all(root: logging.Logger) -> None:
    """Who asks for errors alone gets no warnings of libraries."""
    set_up_logging("error")
    assert not logging.getLogger("tornado.general").isEnabledFor(logging.WARNING)
    assert not logging.getLogger("chatgpt_agent").isEnabledFor(logging.WARNING)
