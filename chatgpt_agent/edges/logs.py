"""Log lines on standard error, a line each, with nothing in them that looks like a secret."""

import logging
import re
import sys

_SECRET = re.compile(
    r"(?<![a-z])(sk-|cga_|cgm_)[\w-]{4,}|(Bearer|Basic)\s+[^\s'\"]+|(://[^\s/:@]*):[^\s]*@", re.IGNORECASE
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")

# These print what a client sent: the bad header itself, at INFO, and whole requests, at DEBUG.
_QUIET = ("tornado.general", "tornado.curl_httpclient", "asyncio", "yoyo", "aiopg")


class RedactingFormatter(logging.Formatter):
    """Takes tokens, keys, credentials and control characters out of a whole line, traceback included. Only a
    traceback goes over more than one, and its lines are indented: none can pass for a line of its own."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record)).replace("\n", "\n  ")

    def formatMessage(self, record: logging.LogRecord) -> str:
        return super().formatMessage(record).replace("\n", "\\n")


def redact(text: str) -> str:
    """A text without secrets and without control characters other than tab and newline."""
    text = _SECRET.sub(lambda found: f"{found[1] or found[2] or found[3] or ''}[hidden]", text)
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], text)


def set_up_logging(level: str) -> None:
    """Sends what is logged to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(RedactingFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(root.level, logging.WARNING))
