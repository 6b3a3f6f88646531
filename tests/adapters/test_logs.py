"""Log lines: without secrets, and one for each record."""

import logging
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from chatgpt_agent.adapters.logs import RedactingFormatter, redact, set_up_logging
from tests.support.commands import logging_as_before


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger. It and the levels of all others are restored after the test."""
    with logging_as_before():
        yield logging.getLogger()


def formatted(message: str, *values: object, error: BaseException | None = None) -> str:
    """The line of a record, without its time."""
    caught = (type(error), error, error.__traceback__) if error else None
    record = logging.LogRecord("name", logging.INFO, "file.py", 1, message, values, caught)
    line = RedactingFormatter().format(record)
    return line[line.index("INFO name: ") :]


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
    """A secret is replaced, and its kind stays visible."""
    assert secret not in redact(text)
    assert "[hidden]" in redact(text)


def test_the_text_around_a_secret_stays() -> None:
    """Only the secret is replaced."""
    assert redact("user alice: sk-abcd1234 was refused") == "user alice: sk-[hidden] was refused"


@pytest.mark.parametrize(
    "text",
    ["task-force", "disk-usage", "http://host:8080/path", "mail alice@example.com", "12:30 the bearer", "sk-"],
)
def test_text_without_a_secret_stays(text: str) -> None:
    """Words, addresses and times are unchanged."""
    assert redact(text) == text


def test_a_secret_in_an_argument_is_hidden() -> None:
    """The formatted line is searched, not only its pattern."""
    assert "abcd1234" not in formatted("refused: %s", "sk-abcd1234")


def test_a_secret_in_a_traceback_is_hidden() -> None:
    """The text of an exception is searched, too."""
    assert "abcd1234" not in formatted("failed", error=raised("Incorrect API key: sk-abcd1234"))


# Lines.


def test_a_newline_in_a_message_is_escaped() -> None:
    """A client cannot forge a log line."""
    assert formatted("model %s", "a\r\nINFO name: all is well") == "INFO name: model a\\r\\nINFO name: all is well"


@pytest.mark.parametrize(
    "character", ["\r", "\x00", "\x1b", "\x7f", "\x85", "\x9b", "\u2028", "\u2029", "\x0b", "\x0c"]
)
def test_a_control_character_is_escaped(character: str) -> None:
    """A terminal could act on it, and some readers treat it as a line break."""
    line = formatted("a%sb", character)
    assert character not in line
    assert line.endswith(f"a{character.encode('unicode_escape').decode()}b")


def test_a_tab_and_letters_of_all_languages_stay() -> None:
    """Tabs and letters of any language are unchanged."""
    assert formatted("a\tб中é") == "INFO name: a\tб中é"


def test_a_traceback_stays_readable() -> None:
    """A traceback is written on lines of its own, as Python formats it."""
    first, *others = formatted("failed", error=raised("it broke")).splitlines()
    assert first == "INFO name: failed"
    assert others[0] == "  Traceback (most recent call last):"
    assert others[-1] == "  RuntimeError: it broke"


def test_all_lines_of_a_traceback_are_indented() -> None:
    """A line of a traceback, also of the exception's text, does not look like a record."""
    lines = formatted("failed", error=raised("broke\nINFO name: all is well")).splitlines()
    assert all(line.startswith("  ") for line in lines[1:])


# Setting up.


def test_records_are_written_to_standard_error(root: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    """A record is one line with time, level and name, without secrets."""
    set_up_logging("info")
    logging.getLogger("chatgpt_agent.x").info("key %s", "sk-abcd1234")
    line = capsys.readouterr().err
    assert line.endswith(" INFO chatgpt_agent.x: key sk-[hidden]\n")
    assert line.count("\n") == 1


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_loggers_that_print_requests_are_silenced(root: logging.Logger, level: str) -> None:
    """Tornado logs headers at INFO and whole requests at DEBUG, which no level of ours enables."""
    set_up_logging(level)
    assert not logging.getLogger("tornado.curl_httpclient").isEnabledFor(logging.INFO)
    assert not logging.getLogger("tornado.general").isEnabledFor(logging.INFO)


def test_the_level_applies_to_libraries(root: logging.Logger) -> None:
    """The level error hides warnings of libraries, too."""
    set_up_logging("error")
    assert not logging.getLogger("tornado.general").isEnabledFor(logging.WARNING)
    assert not logging.getLogger("chatgpt_agent").isEnabledFor(logging.WARNING)


# Times.


@pytest.mark.parametrize(
    ("zone", "text"),
    [
        ("UTC", "2026-07-01 12:00:00,250+0000 INFO name: text"),
        ("Asia/Kolkata", "2026-07-01 17:30:00,250+0530 INFO name: text"),
        ("America/St_Johns", "2026-07-01 09:30:00,250-0230 INFO name: text"),
    ],
)
def test_a_line_has_local_time_and_its_offset(monkeypatch: pytest.MonkeyPatch, zone: str, text: str) -> None:
    """The zone of the machine need not be known to read the log."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    record = logging.LogRecord("name", logging.INFO, "file.py", 1, "text", (), None)
    record.created, record.msecs = datetime(2026, 7, 1, 12, tzinfo=UTC).timestamp() + 0.25, 250.0
    line = RedactingFormatter().format(record)
    monkeypatch.undo()
    time.tzset()
    assert line == text
