"""Forms (multipart/form-data, RFC 7578), accepted only as far as all parsers read them alike.

OpenAI reads the same bytes with another parser. If it found another `model` than we do, an expensive model could be
used at the price of a cheap one. Lenient parsers differ in what they accept: bare line feeds, text around the parts,
quotes within names, repeated fields. So all of that is refused. A form is searched a few times with `bytes.find` and
never taken apart: a file of 25 MB is neither copied nor read. What HTTP libraries send is in tests/core/http/forms/.
"""

import re
from collections.abc import Collection

import msgspec

from chatgpt_agent.core.cooperative import Cooperative, find
from chatgpt_agent.core.errors import InvalidRequest, UnsupportedMediaType

MAX_PARTS = 256
MAX_HEAD = 4096  # bytes of a part's header fields
MAX_VALUE = 512  # bytes of a field that we read

_FLAGS = re.IGNORECASE | re.ASCII  # else U+017F would be an s
_CHARSET = r'; *charset=("?)(?:utf-8|us-ascii|iso-8859-1)\{} *'  # those that agree with ASCII
# RFC 2046 §5.1.1; without quotes it must be a token, too (RFC 9110 §5.6.2).
_BOUNDARY = r'; *boundary=(?:([A-Za-z0-9\'+_.-]{1,70})|"([A-Za-z0-9\'()+_,./:=?-]{1,70})") *'
_CONTENT_TYPE = re.compile(
    f"multipart/form-data *(?:{_CHARSET.format(1)}{_BOUNDARY}|{_BOUNDARY}(?:{_CHARSET.format(6)})?)", _FLAGS
)
_NAME = r'form-data *; *name=(?:"([A-Za-z0-9_.\[\]-]{1,64})"|([A-Za-z0-9_.-]{1,64}))'  # .NET omits the quotes
# A file's name may have quotes and backslashes, which parsers read differently, if nothing follows that could then be
# taken for another parameter. So Go's \" passes, and what axios does not escape.
_FILENAME = (
    r'(?:( *; *filename=(?:"[^"\\]*"|[A-Za-z0-9_.-]+))?( *; *filename\*=[A-Za-z0-9!#$&+.^_`|~%\'-]+)?'
    r'|( *; *filename="[^;=]*"))'
)
_DISPOSITION = re.compile(_NAME + _FILENAME + " *", _FLAGS)
_ENCODINGS = ("7bit", "8bit", "binary")
_PLAIN_TEXT = re.compile(rf"(?:text/plain|(application/x-www-form-urlencoded)) *(?:{_CHARSET.format(2)})?", _FLAGS)
_HEADERS = {"content-disposition", "content-type", "content-length", "content-transfer-encoding"}
_ENDS = (b"--\r\n", b"--", b"--\r\n\r\n")  # of a form: its epilogue may be empty


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One part, and where its content begins and ends. `is_plain`: text in an encoding that agrees with ASCII;
    `is_urlencoded`: some parsers may decode it."""

    name: str
    is_file: bool
    is_plain: bool
    is_urlencoded: bool
    start: int
    end: int


class Form(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a form that were asked for, the number of its files, and the length of all its other fields.
    `names`: of all its parts, in lower case, `svg` for `svg[model]`."""

    values: dict[str, str]
    names: frozenset[str]
    files: int
    text_bytes: int


def parse_boundary(content_type: str) -> bytes:
    """Returns the boundary in a Content-Type. Raises UnsupportedMediaType if it has none that is unambiguous."""
    match = _CONTENT_TYPE.fullmatch(content_type.strip(" "))
    if match is None:
        raise UnsupportedMediaType(
            "The Content-Type must be multipart/form-data with a boundary, and with no other parameter than a charset "
            "of utf-8, us-ascii or iso-8859-1."
        )
    return (match[2] or match[3] or match[4] or match[5]).encode("ascii")


def read_form(body: bytes, content_type: str, names: Collection[str]) -> Cooperative[Form]:
    """Reads the fields with these names. Raises UnsupportedMediaType, or InvalidRequest if the form is malformed or one
    of these fields is repeated or not a short text."""
    values: dict[str, str] = {}
    names_in_form: set[str] = set()
    files = text_bytes = 0
    for part in (yield from _read_parts(body, b"--" + parse_boundary(content_type))):
        if part.is_file:
            files += 1
        else:
            text_bytes += part.end - part.start
        # Some parsers ignore case, or read `model[]` as the first value of a list, and so as `model`.
        name = re.split(r"[.\[]", part.name.lower())[0]
        names_in_form.add(name)
        if name not in names:
            continue
        if part.name != name:
            raise InvalidRequest(f"The form field {part.name!r} must be named '{name}'.", param=name)
        if name in values:
            raise InvalidRequest(f"The form has more than one field '{name}'.", param=name)
        values[name] = _read_value(body, part)
    return Form(values=values, names=frozenset(names_in_form), files=files, text_bytes=text_bytes)


def _read_value(body: bytes, part: Part) -> str:
    """Returns the text of a field. Raises InvalidRequest if parsers may read it differently."""
    value = body[part.start : min(part.end, part.start + MAX_VALUE + 1)]
    if part.is_file:
        fault = "must be a text without a file name"
    elif not part.is_plain:
        fault = "must be of the type text/plain, in utf-8, us-ascii or iso-8859-1"
    elif len(value) > MAX_VALUE:
        fault = f"must have at most {MAX_VALUE} bytes"
    elif not value.isascii():
        fault = "must be ASCII text"
    elif part.is_urlencoded and (b"%" in value or b"+" in value):
        fault = "must have no % or + in a part of the type application/x-www-form-urlencoded"
    else:
        return value.decode("ascii")
    raise InvalidRequest(f"The form field '{part.name}' {fault}.", param=part.name)


def _read_parts(body: bytes, delimiter: bytes) -> Cooperative[list[Part]]:
    parts: list[Part] = []
    at = 0  # where a delimiter stands
    if not body.startswith(delimiter):
        raise _malformed("it must begin with the boundary of its Content-Type")
    while body[at + len(delimiter) : at + len(delimiter) + 2] == b"\r\n":
        head = at + len(delimiter) + 2
        blank = body.find(b"\r\n\r\n", head, head + MAX_HEAD)
        if blank < 0:
            raise _malformed(f"a part must have at most {MAX_HEAD} bytes of header fields, and then an empty line")
        if len(parts) == MAX_PARTS:
            raise _malformed(f"it must have at most {MAX_PARTS} parts")
        # Search from the blank line on: the line end of a part without a blank line would also be the delimiter's.
        end = yield from find(body, b"\r\n" + delimiter, blank + 2)
        if end < blank + 4:
            raise _malformed("each part must end with a line end and the boundary")
        parts.append(_read_part(body[head:blank], blank + 4, end))
        at = end + 2
    if body[at + len(delimiter) :] not in _ENDS or not parts:
        raise _malformed("it must end with the boundary and --, and nothing but line ends may follow")
    at = 0
    for _ in range(len(parts) + 1):
        at = (yield from find(body, delimiter, at)) + len(delimiter)
    if (yield from find(body, delimiter, at)) >= 0:  # where a lenient parser may end the part
        raise _malformed("the boundary must not occur within a part")
    return parts


def _read_part(head: bytes, start: int, end: int) -> Part:
    headers = _read_head(head)
    if unknown := headers.keys() - _HEADERS:
        raise _malformed(f"a part must not have the header field {min(unknown)[:64]!r}")
    disposition = _DISPOSITION.fullmatch(headers.get("content-disposition", ""))
    if disposition is None:
        raise _malformed(
            'the Content-Disposition of a part must be form-data; name="NAME", with a name of up to 64 letters, digits '
            'and any of _.-[], and possibly ; filename="NAME", in which " and \\ may not occur together with ; or ='
        )
    name = disposition[1] or disposition[2]
    if name == "_charset_":  # RFC 7578 §4.6
        raise _malformed("the field _charset_ is not supported")
    if headers.get("content-transfer-encoding", "binary").lower() not in _ENCODINGS:
        raise _malformed(f"the Content-Transfer-Encoding of a part must be one of {', '.join(_ENCODINGS)}")
    if headers.get("content-length", str(end - start)) != str(end - start):
        raise _malformed("the Content-Length of a part must be the length of its content")
    is_file = any(disposition[group] is not None for group in (3, 4, 5))
    text = _PLAIN_TEXT.fullmatch(headers.get("content-type", "text/plain"))
    return Part(
        name=name,
        is_file=is_file,
        is_plain=text is not None,
        is_urlencoded=text is not None and text[1] is not None,
        start=start,
        end=end,
    )


def _read_head(head: bytes) -> dict[str, str]:
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError:
        text = head.decode("iso-8859-1")  # as Apache HttpClient writes the name of a file
    headers: dict[str, str] = {}
    for line in text.split("\r\n"):
        name, colon, value = line.partition(":")
        if not colon or not value.isprintable():  # a bare CR or LF is not printable
            raise _malformed("a header field of a part must be one line of printable characters, NAME: VALUE")
        if name.lower() in headers:
            raise _malformed(f"a part must have one header field {name[:64]!r}")
        headers[name.lower()] = value.strip(" ")
    return headers


def _malformed(rule: str) -> InvalidRequest:
    return InvalidRequest(f"The form is malformed, or parsers may read it differently (RFC 7578): {rule}.")
