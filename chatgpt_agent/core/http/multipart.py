"""Forms (multipart/form-data, RFC 7578) in the one way that every parser reads alike; anything else is refused.

OpenAI reads the same bytes with a parser of its own. If that one found another `model` than we did, a cheap price
would pay for a dear model. Forgiving parsers differ in what they forgive: bare line feeds, text around the parts,
quotes within names, repeated fields. So nothing is forgiven. A form is searched through a few times, by `bytes.find`,
and never taken apart: a file of 25 MB is neither copied nor looked into.
"""

import re
from collections.abc import Collection

import msgspec

from chatgpt_agent.core.cooperative import Cooperative, find
from chatgpt_agent.core.errors import InvalidRequest, UnsupportedMediaType

MAX_PARTS = 256
MAX_HEAD = 4096  # bytes of a part's header fields
MAX_VALUE = 512  # bytes of a field that we read

# RFC 2046 §5.1.1; without quotes only what is a token, too (RFC 9110 §5.6.2).
_CONTENT_TYPE = re.compile(
    r'multipart/form-data *; *boundary=(?:([A-Za-z0-9\'+_.-]{1,70})|"([A-Za-z0-9\'()+_,./:=?-]{1,70})")', re.IGNORECASE
)
_NAME = r'form-data *; *name=(?:"([A-Za-z0-9_.\[\]-]{1,64})"|([A-Za-z0-9_.-]{1,64}))'  # .NET leaves quotes out
_FILENAME = r'( *; *filename=(?:"[^"\\\x00-\x1f\x7f]*"|[A-Za-z0-9_.-]+))?( *; *filename\*=[A-Za-z0-9!#$&+.^_`|~%\'-]+)?'
_DISPOSITION = re.compile(_NAME + _FILENAME + " *", re.IGNORECASE)
_ENCODINGS = ("7bit", "8bit", "binary")
_PLAIN_TEXT = re.compile(r'text/plain( *; *charset=("?)(utf-8|us-ascii|iso-8859-1)\2)?', re.IGNORECASE)
_FIELDS = {"content-disposition", "content-type", "content-length", "content-transfer-encoding"}


class Part(msgspec.Struct, frozen=True):
    """One part, and where its content begins and ends. `plain`: a text in which ASCII is ASCII, and not a file."""

    name: str
    is_file: bool
    plain: bool
    start: int
    end: int


class Form(msgspec.Struct, frozen=True):
    """What a form says. `text_bytes`: the length of its fields, without files."""

    values: dict[str, bytes]
    files: int
    text_bytes: int


def boundary_of(content_type: str) -> bytes:
    """The boundary that a Content-Type names. Raises UnsupportedMediaType: another type, or none that is clear."""
    found = _CONTENT_TYPE.fullmatch(content_type.strip(" "))
    if found is None:
        raise UnsupportedMediaType("The Content-Type must be multipart/form-data with a boundary.")
    return (found[1] or found[2]).encode("ascii")


def read_form(body: bytes, content_type: str, wanted: Collection[str]) -> Cooperative[Form]:
    """The values of the fields that are wanted, each of which may be there once.
    Raises InvalidRequest, UnsupportedMediaType."""
    values: dict[str, bytes] = {}
    files = text_bytes = 0
    for part in (yield from _parts(body, b"--" + boundary_of(content_type))):
        if part.is_file:
            files += 1
        else:
            text_bytes += part.end - part.start
        # Some read `model[]` as a list's first value, and so as `model`, or do not care for upper case.
        name = re.split(r"[.\[]", part.name.lower())[0]
        if name not in wanted:
            continue
        if part.name != name or name in values or not part.plain or part.end - part.start > MAX_VALUE:
            raise InvalidRequest(f"The form must have one short field {name}.", param=name)
        values[name] = value = body[part.start : part.end]
        if not value.isascii():
            raise InvalidRequest(f"The field {name} must be plain ASCII.", param=name)
    return Form(values, files, text_bytes)


def _parts(body: bytes, delimiter: bytes) -> Cooperative[list[Part]]:
    found: list[Part] = []
    at = 0  # where a delimiter stands
    if not body.startswith(delimiter):
        raise _malformed()
    while body[at + len(delimiter) : at + len(delimiter) + 2] == b"\r\n":
        head = at + len(delimiter) + 2
        blank = body.find(b"\r\n\r\n", head, head + MAX_HEAD)
        if blank < 0 or len(found) == MAX_PARTS:
            raise _malformed()
        # From the blank line on: a part without even an empty content would share its line end with the delimiter.
        end = yield from find(body, b"\r\n" + delimiter, blank + 2)
        if end < blank + 4:
            raise _malformed()
        found.append(_read_part(body[head:blank], blank + 4, end))
        at = end + 2
    if body[at + len(delimiter) :] not in (b"--\r\n", b"--") or not found:
        raise _malformed()
    at = 0
    for _ in range(len(found) + 1):
        at = (yield from find(body, delimiter, at)) + len(delimiter)
    if (yield from find(body, delimiter, at)) >= 0:  # within a part, where a parser that forgives may end it
        raise _malformed()
    return found


def _read_part(head: bytes, start: int, end: int) -> Part:
    fields = _read_head(head)
    disposition = _DISPOSITION.fullmatch(fields.get("content-disposition", ""))
    if disposition is None or fields.keys() - _FIELDS:
        raise _malformed()
    name = disposition[1] or disposition[2]
    if name == "_charset_":  # RFC 7578 §4.6
        raise _malformed()
    if fields.get("content-transfer-encoding", "binary").lower() not in _ENCODINGS:
        raise _malformed()
    if fields.get("content-length", str(end - start)) != str(end - start):
        raise _malformed()
    is_file = disposition[3] is not None or disposition[4] is not None
    plain = not is_file and _PLAIN_TEXT.fullmatch(fields.get("content-type", "text/plain")) is not None
    return Part(name, is_file, plain, start, end)


def _read_head(head: bytes) -> dict[str, str]:
    try:
        lines = head.decode("utf-8").split("\r\n")
    except UnicodeDecodeError:
        raise _malformed() from None
    fields: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or name.lower() in fields or not value.isprintable():  # a bare CR or LF is not printable
            raise _malformed()
        fields[name.lower()] = value.strip(" ")
    return fields


def _malformed() -> InvalidRequest:
    return InvalidRequest("The form cannot be read, or not in one way alone (RFC 7578).")
