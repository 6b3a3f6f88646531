"""Requests about objects that OpenAI stores for the user's own key: responses, conversations, chat completions.

They cost nothing, so nothing of them is read: id, query string and body pass as they are.
"""

import re

from chatgpt_agent.core.errors import InvalidRequest
from chatgpt_agent.core.http.endpoints import Endpoint
from chatgpt_agent.core.http.request import ApiRequest

ID = "[A-Za-z0-9_-]{1,128}"  # every id of OpenAI's; it needs no escapes in a URL
MAX_QUERY = 4096  # characters

_QUERY = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@/?%\[\]-]*")  # RFC 3986 §3.4, and the brackets of `include[]`


def stored_request(endpoint: Endpoint, ids: dict[str, str], query: str, body: bytes) -> ApiRequest:
    """Returns the request for an object. `ids`: by their names in the endpoint's path; `query`: as the client wrote it.
    Raises InvalidRequest if it is not the query of a URL."""
    if len(query) > MAX_QUERY or not _QUERY.fullmatch(query):
        raise InvalidRequest(f"The query string must have at most {MAX_QUERY} characters, those that a URL may have.")
    return ApiRequest(
        endpoint=endpoint,
        model="",
        body=body,
        upstream_body=body,
        ids=ids,
        query=query,
        stream="stream=true" in query.split("&"),
    )
