"""The head of a request (RFC 9112 §3 and §5): what can be read in two ways is refused, before a handler sees it."""

import re

from tornado.http1connection import is_transfer_encoding_chunked
from tornado.httputil import HTTPHeaders, HTTPInputError, RequestStartLine, parse_request_start_line

from chatgpt_agent.core.errors import AgentError, HttpVersionNotSupported, InvalidRequest, UpgradeRequired

MAX_LENGTH_DIGITS = 18  # of a Content-Length; Python refuses to convert thousands of digits

_ABSOLUTE = re.compile(r"(https?)://([^/?#@]+)((?:[/?].*)?)", re.IGNORECASE)
_OTHER_VERSION = re.compile(r"[!#$%&'*+.^_`|~\w-]+ [!-~\x80-\xff]+ HTTP/[0-9]+(?:\.[0-9]+)?", re.ASCII)
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def read_start_line(head: bytes) -> tuple[RequestStartLine, str]:
    """Returns the request line of a head, with the path of an absolute URL, and the lines after it. Raises
    AgentError."""
    # An empty line before a request is ignored (RFC 9112 §2.2).
    line, _, fields = head.decode("latin-1").removeprefix("\r\n").partition("\r\n")
    try:
        start_line = parse_request_start_line(line)
    except HTTPInputError:
        if _OTHER_VERSION.fullmatch(line):
            raise HttpVersionNotSupported from None
        raise InvalidRequest("The request is not valid HTTP: it does not begin with a request line.") from None
    return start_line, fields


def read_fields(lines: str) -> HTTPHeaders:
    """Returns the header fields. Raises AgentError."""
    try:
        return _plain_fields(lines) or _other_fields(lines)
    except HTTPInputError as error:
        raise malformed(error) from None


def _plain_fields(lines: str) -> HTTPHeaders | None:
    """Returns the header fields if each has one line of printable ASCII and a name of letters, digits and hyphens that
    no other one has, as nearly always; else None. Tornado's regular expressions for all that is allowed take 5 % of the
    instructions of a whole answer."""
    if not (lines.isascii() and lines.endswith("\r\n\r\n")):
        return None
    fields = HTTPHeaders()
    plain = lines[:-4].split("\r\n")
    for line in plain:
        name, colon, value = line.partition(":")
        value = value.strip(" \t")
        if not (colon and value.isprintable() and name.replace("-", "").isalnum()):
            return None
        fields[name] = value
    return fields if len(fields) == len(plain) else None


def _other_fields(lines: str) -> HTTPHeaders:
    """Returns the header fields as Tornado reads them. A line may not end with LF alone, as RFC 9112 §2.2 would allow:
    where another reader takes it for a part of a value, it sees another head, or one request where we see two."""
    if lines.count("\n") != lines.count("\r\n"):
        raise HTTPInputError("A line does not end with CRLF")
    return HTTPHeaders.parse(lines)


def check_head(start_line: RequestStartLine, headers: HTTPHeaders) -> RequestStartLine:
    """Returns the request line, with a path. Raises AgentError where the fields leave open what is asked for."""
    try:
        if not start_line.path.startswith("/"):
            start_line = _with_path(start_line, headers)
        _check_framing(start_line, headers)
    except HTTPInputError as error:
        raise malformed(error) from None
    if "Upgrade" in headers and "websocket" in list_values(headers, "Upgrade"):
        raise UpgradeRequired
    return start_line


def has_body(headers: HTTPHeaders) -> bool:
    """Returns whether a request has a body (RFC 9112 §6.3)."""
    return headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in headers


def keeps_connection(start_line: RequestStartLine, headers: HTTPHeaders) -> bool:
    """Returns whether the client wants to send another request (RFC 9112 §9.3)."""
    if "Connection" not in headers:
        return start_line.version != "HTTP/1.0"
    options = list_values(headers, "Connection")
    return "close" not in options and (start_line.version != "HTTP/1.0" or "keep-alive" in options)


def list_values(headers: HTTPHeaders, name: str) -> list[str]:
    """Returns the members of a field that is a list, in lower case (RFC 9110 §5.6.1)."""
    return [value.strip(" \t") for value in headers.get(name, "").lower().split(",")]


def malformed(error: HTTPInputError) -> AgentError:
    """Returns the error that answers what Tornado cannot read. Values of the request are not repeated."""
    reason = re.split(r": | [\"']|\. ", str(error))[0]
    return InvalidRequest(f"The request is not valid HTTP: {reason[:1].lower()}{reason[1:]}.")


def _with_path(start_line: RequestStartLine, headers: HTTPHeaders) -> RequestStartLine:
    """A server must accept the absolute form (RFC 9112 §3.2.2), in which the client names the host twice."""
    method, target, version = start_line
    if target == "*" and method == "OPTIONS":  # §3.2.4
        return start_line
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None:
        raise HTTPInputError("The request target is neither a path nor an http URL")
    scheme, authority, path = absolute.groups()
    port = _DEFAULT_PORTS[scheme.lower()]
    host = headers.get("Host", authority if version == "HTTP/1.0" else "")
    if host.lower().removesuffix(port) != authority.lower().removesuffix(port):
        raise HTTPInputError("The request target and Host name different hosts")
    return RequestStartLine(method, path if path.startswith("/") else f"/{path}", version)


def _check_framing(start_line: RequestStartLine, headers: HTTPHeaders) -> None:
    """Checks how the body is delimited, before a handler answers: a request must not get two answers."""
    if is_transfer_encoding_chunked(headers) and start_line.version == "HTTP/1.0":
        raise HTTPInputError("Transfer-Encoding needs version 1.1")  # RFC 9112 §6.1
    if "Content-Length" in headers:
        _normalize_length(headers)


def _normalize_length(headers: HTTPHeaders) -> None:
    value = headers["Content-Length"]
    if value.isascii() and value.isdecimal() and value[0] != "0" and len(value) <= MAX_LENGTH_DIGITS:
        return
    lengths = {length.strip(" \t") for length in value.split(",")}
    length = lengths.pop()
    if lengths or not (length.isascii() and length.isdecimal()):
        raise HTTPInputError("Content-Length is not one number")
    digits = length.lstrip("0") or "0"
    headers["Content-Length"] = digits if len(digits) <= MAX_LENGTH_DIGITS else "9" * MAX_LENGTH_DIGITS
