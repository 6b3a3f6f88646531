"""Heads are read and written faster than by Tornado, and not otherwise."""

import asyncio
from typing import Any, cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tornado.http1connection import HTTP1Connection, HTTP1ConnectionParameters
from tornado.httputil import HTTPHeaders, HTTPInputError, RequestStartLine, ResponseStartLine

from chatgpt_agent.core.errors import AgentError
from chatgpt_agent.web.client_connection import RequestConnection
from chatgpt_agent.web.client_stream import ClientStream
from chatgpt_agent.web.request_head import read_fields

LINES = st.lists(
    st.sampled_from(
        ["Host: a", "accept:\t*/* ", "ACCEPT: b", "X-A:", "X_B: c", " x: y", "x : y", "Nöme: ü", "no colon"]
    )
    | st.text(st.characters(codec="latin-1", exclude_characters="\r\n"), max_size=8)
)


@given(lines=LINES)
@example(lines=["a: b\tc", "d: e\rf", "-: g"])
def test_fields_are_read_as_by_tornado(lines: list[str]) -> None:
    """The same fields are accepted, with the same values."""
    text = "".join(f"{line}\r\n" for line in (*lines, ""))
    try:
        expected = list(HTTPHeaders.parse(text).get_all())
    except HTTPInputError:
        with pytest.raises(AgentError):
            read_fields(text)
    else:
        assert list(read_fields(text).get_all()) == expected


class Recorder:
    """A stream that keeps what is written."""

    def __init__(self) -> None:
        self.written = b""

    def closed(self) -> bool:
        return False

    def set_close_callback(self, callback: object) -> None:
        pass

    def write(self, data: bytes) -> "asyncio.Future[None]":
        self.written += data
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done


def written(writer: Any, request: RequestStartLine, code: int, fields: HTTPHeaders, chunk: bytes | None) -> bytes:
    """What a method writes as the head of an answer that ends its connection."""
    stream = Recorder()
    connection = RequestConnection(cast(ClientStream, stream), HTTP1ConnectionParameters(max_body_size=1), None, None)
    connection._request_start_line, connection._request_headers = request, HTTPHeaders({"Connection": "keep-alive"})  # noqa: SLF001
    connection.close_after_answer()
    writer(connection, ResponseStartLine("", code, "Reason"), fields, chunk)
    return stream.written


@pytest.mark.parametrize("method", ["POST", "HEAD"])
@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
@pytest.mark.parametrize("code", [200, 204, 304, 404])
@pytest.mark.parametrize("fields", [{}, {"X-A": "é", "Content-Length": "2"}])
async def test_a_head_is_written_as_by_tornado(method: str, version: str, code: int, fields: dict[str, str]) -> None:
    """Each combination of method, version, status and length gets the same bytes."""
    request = RequestStartLine(method, "/", version)
    chunk = b"ab" if method == "POST" and code not in (204, 304) else None
    own, theirs = (
        written(writer.write_headers, request, code, HTTPHeaders(fields), chunk)
        for writer in (RequestConnection, HTTP1Connection)
    )
    assert own == theirs


@pytest.mark.parametrize("value", ["a\rb", "a\nb", "a\r\nb: c"])
async def test_a_line_break_in_a_field_is_refused(value: str) -> None:
    """It would begin another field."""
    fields = HTTPHeaders()
    fields["X-A"] = value
    with pytest.raises(ValueError, match="line break"):
        written(RequestConnection.write_headers, RequestStartLine("GET", "/", "HTTP/1.1"), 200, fields, None)
