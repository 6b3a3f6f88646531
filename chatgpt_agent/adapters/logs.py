"""Log lines on standard error, a line each, with nothing in them that looks like a secret."""

import logging
import re
import sys
import time

_SECRET = re.compile(
    r"(?<![a-z])(sk-|cga_|cgm_)[\w-]{4,}|(Bearer|Basic)\s+[^\s'\"]+|(://[^\s/:@]*):[^\s]*@", re.IGNORECASE
)
_MARKS = ("sk-", "cga_", "cgm_", "bearer", "basic", "://")  # without one of these nothing of it matches
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")

# These print what a client sent: the bad header itself, at INFO, and whole requests, at DEBUG.
_QUIET = ("tornado.general", "tornado.curl_httpclient", "asyncio", "yoyo", "aiopg")


# What no line of ours says: each record would ask for it (https://docs.python.org/3/howto/logging.html#optimization).
logging._srcfile = None
logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


class RedactingFormatter(logging.Formatter):
    """Takes tokens, keys, credentials and control characters out of a whole line, traceback included. Only a
    traceback goes over more than one, and its lines are indented: none can pass for a line of its own."""

    _second = -1
    _time = ""  # of that second, in which there may be thousands of lines

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record)).replace("\n", "\n  ")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        second = int(record.created)
        if second != self._second:
            self._second = second
            self._time = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))
        return f"{self._time},{int(record.msecs):03d}"

    def formatMessage(self, record: logging.LogRecord) -> str:
        return super().formatMessage(record).replace("\n", "\\n")


def redact(text: str) -> str:
    """A text without secrets and without control characters other than tab and newline."""
    # Looked for first: nearly no line has any, and the searches below cost ten times as much as this.
    small = text.lower()
    if any(mark in small for mark in _MARKS):
        text = _SECRET.sub(lambda found: f"{found[1] or found[2] or found[3] or ''}[hidden]", text)
    return text if text.isprintable() else _CONTROL.sub(lambda found: repr(found[0])[1:-1], text)


def set_up_logging(level: str) -> None:
    """Sends what is logged to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(RedactingFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(root.level, logging.WARNING))
