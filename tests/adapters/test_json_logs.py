"""Log lines as JSON: one object each, without secrets."""

import json
import logging
from datetime import UTC, datetime
from typing import Any

import pytest

from chatgpt_agent.adapters.logs import JsonFormatter
from tests.adapters.test_logs import raised


def line_of(message: object, *values: object, error: BaseException | None = None) -> str:
    """The line of a record, at a quarter past noon and 250 ms."""
    caught = (type(error), error, error.__traceback__) if error else None
    record = logging.LogRecord("name", logging.WARNING, "file.py", 1, message, values, caught)
    record.created, record.msecs = datetime(2026, 7, 1, 12, 15, tzinfo=UTC).timestamp() + 0.25, 250.0
    return JsonFormatter().format(record)


def parsed(message: object, *values: object, error: BaseException | None = None) -> dict[str, Any]:
    """The object in the line of a record."""
    line = line_of(message, *values, error=error)
    assert "\n" not in line
    fields: dict[str, Any] = json.loads(line)
    return fields


def test_a_record_has_time_level_logger_and_message() -> None:
    """The time is RFC 3339 in UTC, whatever the zone of the machine is."""
    assert parsed("user %s", "alice") == {
        "time": "2026-07-01T12:15:00.250Z",
        "level": "WARNING",
        "logger": "name",
        "message": "user alice",
    }


@pytest.mark.parametrize("text", ["a\r\nb", 'a"b\\', "a\x00\x1b[31mb", "a\x7f\x85\x9bb", "a\u2028\u2029b", "a\tб中é"])
def test_every_text_can_be_read_back(text: str) -> None:
    """Quotes, newlines and control characters are escaped, and no line holds one that a terminal could act on."""
    assert parsed("%s", text)["message"] == text
    assert all(character.isprintable() for character in line_of("%s", text))


def test_a_text_that_is_not_unicode_is_escaped() -> None:
    """The name of a file may have bytes that are not UTF-8, which JSON cannot express."""
    assert parsed("%s", b"a\xff".decode("utf-8", "surrogateescape"))["message"] == r"a\udcff"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("key sk-abcd1234 end", "key sk-[hidden] end"),
        ("{'Authorization': 'Bearer whatever'}", "{'Authorization': 'Bearer[hidden]'}"),
        ('{"Authorization": "Bearer whatever"}', '{"Authorization": "Bearer[hidden]"}'),
        ("postgresql://agent:hunter2@db/agent", "postgresql://agent[hidden]db/agent"),
    ],
)
def test_a_secret_is_hidden(text: str, message: str) -> None:
    """Quotes around a secret stay, so that the line can be read."""
    assert parsed("%s", text)["message"] == message


def test_a_traceback_is_a_field() -> None:
    """It stays in the record's line, without secrets."""
    trace = parsed("failed", error=raised("refused: sk-abcd1234"))["exception"]
    assert trace.startswith("Traceback (most recent call last):\n")
    assert trace.endswith("\nRuntimeError: refused: sk-[hidden]")
