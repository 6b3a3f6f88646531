"""The command and the REST request that do the same as a part of a page (`Also`), ready to copy."""

import shlex
from urllib.parse import quote, urlencode


def command_line(*arguments: object) -> str:
    """Returns a command for a shell; `command_line("user", "show", "Anna K.")` quotes the name."""
    return shlex.join(["chatgpt-agent", *map(str, arguments)])


def rest_request(method: str, *path: object, **query: object) -> str:
    """Returns a request, with the segments of its path as they are and its parameters encoded."""
    url = "/".join(("/api/v1", *(quote(str(segment), safe="") for segment in path)))
    return f"{method} {url}?{urlencode(query)}" if query else f"{method} {url}"
