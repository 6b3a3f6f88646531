"""Forms (multipart/form-data, RFC 7578), accepted only as far as all parsers read them alike.

OpenAI reads the same bytes with another parser. If it found another `model` than we do, an expensive model could be
used at the price of a cheap one. Lenient parsers differ in what they accept: bare line feeds, text around the parts,
quotes within names, repeated fields. So all of that is refused. A form is searched a few times with `bytes.find` and
never taken apart: a file of 25 MB is neither copied nor read.
"""

import re
from collections.abc import Collection

import msgspec

from chatgpt_agent.core.cooperative import Cooperative, find
from chatgpt_agent.core.errors import InvalidRequest, UnsupportedMediaType

MAX_PARTS = 256
MAX_HEAD = 4096  # bytes of a part's header fields
MAX_VALUE = 512  # bytes of a field that we read

# RFC 2046 §5.1.1; without quotes it must be a token, too (RFC 9110 §5.6.2).
_CONTENT_TYPE = re.compile(
    r'multipart/form-data *; *boundary=(?:([A-Za-z0-9\'+_.-]{1,70})|"([A-Za-z0-9\'()+_,./:=?-]{1,70})")', re.IGNORECASE
)
_NAME = r'form-data *; *name=(?:"([A-Za-z0-9_.\[\]-]{1,64})"|([A-Za-z0-9_.-]{1,64}))'  # .NET omits the quotes
_FILENAME = r'( *; *filename=(?:"[^"\\\x00-\x1f\x7f]*"|[A-Za-z0-9_.-]+))?( *; *filename\*=[A-Za-z0-9!#$&+.^_`|~%\'-]+)?'
_DISPOSITION = re.compile(_NAME + _FILENAME + " *", re.IGNORECASE)
_ENCODINGS = ("7bit", "8bit", "binary")
_PLAIN_TEXT = re.compile(r'text/plain( *; *charset=("?)(utf-8|us-ascii|iso-8859-1)\2)?', re.IGNORECASE)
_HEADERS = {"content-disposition", "content-type", "content-length", "content-transfer-encoding"}


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One part, and where its content begins and ends. `is_plain`: text in an encoding that agrees with ASCII."""

    name: str
    is_file: bool
    is_plain: bool
    start: int
    end: int


class Form(msgspec.Struct, frozen=True):
    """The fields of a form that were asked for, the number of its files, and the length of all its other fields."""

    values: dict[str, str]
    files: int
    text_bytes: int


def parse_boundary(content_type: str) -> bytes:
    """Returns the boundary in a Content-Type. Raises UnsupportedMediaType if it has none that is unambiguous."""
    match = _CONTENT_TYPE.fullmatch(content_type.strip(" "))
    if match is None:
        raise UnsupportedMediaType("The Content-Type must be multipart/form-data with a boundary.")
    return (match[1] or match[2]).encode("ascii")


def read_form(body: bytes, content_type: str, names: Collection[str]) -> Cooperative[Form]:
    """Reads the fields with these names. Raises UnsupportedMediaType, or InvalidRequest if the form is malformed or one
    of these fields is repeated or not a short text."""
    values: dict[str, str] = {}
    files = text_bytes = 0
    for part in (yield from _read_parts(body, b"--" + parse_boundary(content_type))):
        if part.is_file:
            files += 1
        else:
            text_bytes += part.end - part.start
        # Some parsers ignore case, or read `model[]` as the first value of a list, and so as `model`.
        name = re.split(r"[.\[]", part.name.lower())[0]
        if name not in names:
            continue
        if part.name != name or name in values or not part.is_plain or part.end - part.start > MAX_VALUE:
            raise InvalidRequest(
                f"The form must have exactly one field '{name}', a text of at most {MAX_VALUE} bytes.", param=name
            )
        value = body[part.start : part.end]
        if not value.isascii():
            raise InvalidRequest(f"The form field '{name}' must be ASCII text.", param=name)
        values[name] = value.decode("ascii")
    return Form(values, files, text_bytes)


def _read_parts(body: bytes, delimiter: bytes) -> Cooperative[list[Part]]:
    parts: list[Part] = []
    at = 0  # where a delimiter stands
    if not body.startswith(delimiter):
        raise _malformed()
    while body[at + len(delimiter) : at + len(delimiter) + 2] == b"\r\n":
        head = at + len(delimiter) + 2
        blank = body.find(b"\r\n\r\n", head, head + MAX_HEAD)
        if blank < 0 or len(parts) == MAX_PARTS:
            raise _malformed()
        # Search from the blank line on: the line end of a part without a blank line would also be the delimiter's.
        end = yield from find(body, b"\r\n" + delimiter, blank + 2)
        if end < blank + 4:
            raise _malformed()
        parts.append(_read_part(body[head:blank], blank + 4, end))
        at = end + 2
    if body[at + len(delimiter) :] not in (b"--\r\n", b"--") or not parts:
        raise _malformed()
    at = 0
    for _ in range(len(parts) + 1):
        at = (yield from find(body, delimiter, at)) + len(delimiter)
    if (yield from find(body, delimiter, at)) >= 0:  # within a part, where a lenient parser may end it
        raise _malformed()
    return parts


def _read_part(head: bytes, start: int, end: int) -> Part:
    headers = _read_head(head)
    disposition = _DISPOSITION.fullmatch(headers.get("content-disposition", ""))
    if disposition is None or headers.keys() - _HEADERS:
        raise _malformed()
    name = disposition[1] or disposition[2]
    if name == "_charset_":  # RFC 7578 §4.6
        raise _malformed()
    if headers.get("content-transfer-encoding", "binary").lower() not in _ENCODINGS:
        raise _malformed()
    if headers.get("content-length", str(end - start)) != str(end - start):
        raise _malformed()
    is_file = disposition[3] is not None or disposition[4] is not None
    is_plain = not is_file and _PLAIN_TEXT.fullmatch(headers.get("content-type", "text/plain")) is not None
    return Part(name=name, is_file=is_file, is_plain=is_plain, start=start, end=end)


def _read_head(head: bytes) -> dict[str, str]:
    try:
        lines = head.decode("utf-8").split("\r\n")
    except UnicodeDecodeError:
        raise _malformed() from None
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or name.lower() in headers or not value.isprintable():  # a bare CR or LF is not printable
            raise _malformed()
        headers[name.lower()] = value.strip(" ")
    return headers


def _malformed() -> InvalidRequest:
    return InvalidRequest("The form is malformed or ambiguous (RFC 7578).")
