"""Answers requests that reach no handler, because they are not HTTP or come in too slowly."""

import time
from http import HTTPStatus

from tornado.httputil import HTTPHeaders, RequestStartLine

from chatgpt_agent.core.errors import AgentError, RequestTimeout
from chatgpt_agent.web.access_log import AccessLogEntry
from chatgpt_agent.web.client_stream import ClientStream
from chatgpt_agent.web.errors import http_date, render

UNKNOWN = RequestStartLine("-", "-", "")


def write_bare_answer(
    stream: ClientStream, error: AgentError, start_line: RequestStartLine | None, cors_headers: HTTPHeaders
) -> None:
    """Answers with an error, as a handler would, writes the access line and closes the connection. `start_line`: of the
    request, if it could be read."""
    entry, start_line = AccessLogEntry(), start_line or UNKNOWN
    entry.fail(error)
    status, fields, body = render(error, entry.id_text, ())
    names = {name for name, _ in fields}
    head = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        f"Date: {http_date(int(time.time()))}",
        f"Connection: {'close, Upgrade' if 'Upgrade' in names else 'close'}",
        *(f"{name}: {value}" for name, value in (*fields, *cors_headers.get_all())),
        "\r\n",
    ]
    if not stream.closed():
        stream.write("\r\n".join(head).encode("latin-1") + (b"" if start_line.method == "HEAD" else body))
        if isinstance(error, RequestTimeout):  # all that came has been read
            stream.close()
        else:
            stream.close_after_answer(unread=True)
    entry.log(start_line.method, start_line.path.partition("?")[0], status)
