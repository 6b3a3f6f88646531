"""The body of a form, as browsers send it."""

from collections.abc import Mapping

from tornado.httputil import HTTPFile, HTTPHeaders, HTTPInputError, parse_body_arguments

from chatgpt_agent.core.errors import InvalidRequest

MULTIPART = "multipart/form-data"
URLENCODED = "application/x-www-form-urlencoded"

Arguments = dict[str, list[bytes]]
Files = dict[str, list[HTTPFile]]


def parse_form(headers: HTTPHeaders, body: bytes) -> tuple[Arguments, Files]:
    """Returns the fields and files of a body. Raises InvalidRequest."""
    content_type = headers.get("Content-Type", "")
    if content_type.partition(";")[0].strip().lower() not in (MULTIPART, URLENCODED):
        raise InvalidRequest("The body must be a form.")
    arguments: Arguments = {}
    files: Files = {}
    try:
        parse_body_arguments(content_type, body, arguments, files, headers)
    except HTTPInputError as error:
        raise InvalidRequest(f"The form cannot be read: {error}") from None
    return arguments, files


def form_texts(arguments: Mapping[str, list[bytes]]) -> dict[str, str]:
    """Returns the fields of a form, of several values the last. Raises InvalidRequest."""
    try:
        sent = {name: values[-1].decode() for name, values in arguments.items()}
    except UnicodeDecodeError:
        raise InvalidRequest("The form is not UTF-8.") from None
    if any("\x00" in text for text in sent.values()):
        raise InvalidRequest("The form has a NUL character.")
    return sent
