"""Logging to standard error: one line for each record, without anything that looks like a secret, as text or JSON."""

import logging
import re
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TextIO

import msgspec

_SECRET = re.compile(
    r"(?<![a-z])(sk-|cga_|cgm_)[\w-]{4,}|(Bearer|Basic)\s+[^\s'\"]+|(://[^\s/:@]*):[^\s]*@", re.IGNORECASE
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")

TEXT, JSON = "text", "json"
FORMATS = (TEXT, JSON)

Fields = dict[str, str | int | float | bool | None]

# These log what a client sent: a malformed header at INFO, whole requests at DEBUG. urllib3 exports spans.
_QUIET = ("tornado.general", "tornado.curl_httpclient", "asyncio", "yoyo", "aiopg", "urllib3")

# Not computed for each record, because our lines do not show it
# (https://docs.python.org/3/howto/logging.html#optimization).
logging._srcfile = None  # noqa: SLF001 - documented on that page
logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


class RedactingFormatter(logging.Formatter):
    """`time level logger: message`, with local time and its offset from UTC, and without tokens, keys, credentials and
    control characters, traceback included. The lines of a traceback are indented, so that none looks like a record of
    its own."""

    _second = -1
    _time = _offset = ""  # formatted once a second, which may have thousands of records

    def format(self, record: logging.LogRecord) -> str:
        # Written out, because the steps of logging's own method cost as much again as the line.
        message = record.getMessage()
        if "\n" in message:
            message = message.replace("\n", "\\n")
        line = redact(f"{self.formatTime(record)} {record.levelname} {record.name}: {message}")
        if record.exc_info:
            line = f"{line}\n{redact(self.formatException(record.exc_info))}"
        return line.replace("\n", "\n  ") if record.exc_info else line

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        second = int(record.created)
        if second != self._second:
            self._second = second
            local = time.localtime(second)
            self._time, self._offset = time.strftime("%Y-%m-%d %H:%M:%S", local), time.strftime("%z", local)
        return f"{self._time},{int(record.msecs):03d}{self._offset}"


class MessageWithFields(ABC):
    """The message of a record that has more to say in JSON than its text: `logger.info(message)`."""

    __slots__ = ()

    @abstractmethod
    def fields(self) -> Fields:
        """The fields of the JSON object, `message` among them."""


class JsonFormatter(logging.Formatter):
    """A JSON object in one line: `time` (RFC 3339, UTC), `level`, `logger`, `message`, the fields of a message that has
    them, and with a traceback `exception`. Texts have no tokens, keys and credentials; control characters are escaped,
    also those that JSON allows."""

    _second = -1
    _time = ""  # formatted once a second

    def format(self, record: logging.LogRecord) -> str:
        fields: Fields = {"time": self.formatTime(record), "level": record.levelname, "logger": record.name}
        message = record.msg
        fields |= message.fields() if isinstance(message, MessageWithFields) else {"message": record.getMessage()}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        line = _encode(fields)
        if _may_have_secret(line):
            # Each text alone: what hides a secret must not change the quotes around it.
            line = _encode(_changed(fields, hide))
        return line if line.isprintable() else _CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", line)

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        second = int(record.created)
        if second != self._second:
            self._second = second
            self._time = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._time}.{int(record.msecs):03d}Z"


def _encode(fields: Fields) -> str:
    try:
        return msgspec.json.encode(fields).decode()
    except UnicodeEncodeError:  # a file's name that is not UTF-8: JSON has no surrogates
        return msgspec.json.encode(_changed(fields, _without_surrogates)).decode()


def _changed(fields: Fields, change: Callable[[str], str]) -> Fields:
    return {name: change(value) if isinstance(value, str) else value for name, value in fields.items()}


def _without_surrogates(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


class LineHandler(logging.StreamHandler[TextIO]):
    """Writes each record at once: standard error is line-buffered
    (https://docs.python.org/3/library/sys.html#sys.stderr), so that StreamHandler's flush has nothing to do."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.stream.write(f"{self.format(record)}\n")
        except Exception:
            self.handleError(record)


def redact(text: str) -> str:
    """Returns a text without secrets and without control characters other than tab and newline."""
    if _may_have_secret(text):
        text = hide(text)
    return text if text.isprintable() else _CONTROL.sub(lambda match: repr(match[0])[1:-1], text)


def hide(text: str) -> str:
    """Returns a text with `[hidden]` in the place of each token, key and password."""
    return _SECRET.sub(lambda match: f"{match[1] or match[2] or match[3] or ''}[hidden]", text)


def _may_have_secret(text: str) -> bool:
    """Whether to search a text. This costs a tenth of the search, and almost no line passes it. Written out: a loop
    takes twice as long."""
    low = text.lower()
    return "sk-" in low or "cga_" in low or "cgm_" in low or "bearer" in low or "basic" in low or "://" in low


def set_up_logging(level: str, form: str = TEXT) -> None:
    """Logs to standard error from this level on; `form`: one of FORMATS."""
    handler = LineHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == JSON else RedactingFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(root.level, logging.WARNING))
