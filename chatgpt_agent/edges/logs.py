"""Log lines on standard error, a line each, with nothing in them that looks like a secret."""

import logging
import re
import sys

_SECRET = re.compile(r"\b(sk-|cga_)[\w-]{4,}|(Bearer|Basic)\s+[^\s'\"]+|(://[^\s/:@]*):[^\s@]+@", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x85\u2028\u2029]")

# These print what a client sent: the bad header itself, at INFO, and whole requests, at DEBUG.
_QUIET = ("tornado.general", "tornado.curl_httpclient", "asyncio", "yoyo", "aiopg")


class RedactingFormatter(logging.Formatter):
    """Takes tokens, keys, credentials and control characters out of a whole line, traceback included."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def redact(text: str) -> str:
    """A text without secrets and without characters that could forge a line of their own."""
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
        logging.getLogger(name).setLevel(logging.WARNING)
