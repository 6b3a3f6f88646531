"""What the agent must know of a chat request's body, found without changing a byte of it.

The books depend on OpenAI and us reading the same request, and parsers differ in what they make of repeated
keys, other encodings or odd numbers (https://bishopfox.com/blog/json-interoperability-vulnerabilities). So a body
that could be read in two ways is refused, and the one edit we make leaves every other byte alone.
"""

import re

import msgspec

from chatgpt_agent.core.errors import InvalidJson, InvalidRequest
from chatgpt_agent.core.reserve import Size

MAX_MODEL = 128  # characters of a model's name
MAX_TOKENS = 200_000  # brackets and commas of a body: 8 MB of small numbers would hold the loop for 0.5 s

_SPACE = re.compile(rb"[ \t\r\n]*")
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"')  # possessive: going back would take 100 bytes of memory a character
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ASK = b'"include_usage":true'


class Member(msgspec.Struct, frozen=True):
    """One `"key": value` of an object: the value's bytes and where they begin."""

    raw: bytes
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.raw)


class ChatRequest(msgspec.Struct, frozen=True):
    """A checked body. `include_usage`: whether the client itself asked for usage in its stream;
    `upstream_body`: what is sent, which differs from `body` only where we ask for it."""

    model: str
    stream: bool
    include_usage: bool
    body: bytes
    upstream_body: bytes
    size: Size = Size(0)


def parse_chat_request(body: bytes) -> ChatRequest:
    """Reads a body of `POST /v1/chat/completions`
    (https://platform.openai.com/docs/api-reference/chat/create).
    Raises InvalidJson, or InvalidRequest where it is JSON but not a request that can be priced."""
    _check_text(body)
    members = object_members(body)
    model = _value(members, "model")
    if not isinstance(model, str):
        raise InvalidRequest("You must provide a model parameter, as a string.", param="model")
    if not 0 < len(model) <= MAX_MODEL or not model.isprintable():
        raise InvalidRequest(f"The model's name must have 1 to {MAX_MODEL} printable characters.", param="model")
    stream = _flag(members, "stream", "stream")
    size = Size(len(body), 0, _limit(members, "max_completion_tokens", "max_tokens"), _limit(members, "n") or 1)
    if not stream:
        return ChatRequest(model, False, False, body, body, size)
    asked, edited = _ask_for_usage(body, members)
    return ChatRequest(model, True, asked, body, edited, size)


def object_members(text: bytes) -> dict[str, Member]:
    """The members of a JSON object by their decoded keys, each with its place in the text.
    Raises InvalidJson: not one JSON object, or a key stands twice (also when it is spelled with escapes)."""
    try:
        raws = _members.decode(text)
    except (msgspec.DecodeError, RecursionError):  # ValidationError, for an array or number, is a DecodeError
        raise InvalidJson("The request body must be one valid JSON object.") from None
    found: dict[str, Member] = {}
    at = _skip(text, _skip(text, 0) + 1)  # past the opening brace
    while text[at : at + 1] != b"}":
        key_text = _STRING.match(text, at)
        assert key_text is not None, "the decoder took it for an object"
        key = msgspec.json.decode(key_text.group(), type=str)
        at = _skip(text, _skip(text, key_text.end()) + 1)  # past the colon
        raw = bytes(raws[key])
        end = _skip(text, at + len(raw))
        # The decoder keeps the last value of a repeated key: then other bytes stand here, or more of them.
        if key in found or text[at : at + len(raw)] != raw or text[end : end + 1] not in (b",", b"}"):
            raise InvalidJson(f"The key {key[:64]!r} stands twice in the request body.")
        found[key] = Member(raw, at)
        at = _skip(text, end + 1) if text[end : end + 1] == b"," else end
    return found


def _check_text(body: bytes) -> None:
    try:
        body.decode("utf-8")  # strict: no lone surrogates, no UTF-16
    except UnicodeDecodeError:
        raise InvalidJson("The request body is not valid UTF-8.") from None
    if body.count(b",") + body.count(b"[") + body.count(b"{") > MAX_TOKENS:
        raise InvalidRequest(f"The request body has over {MAX_TOKENS} brackets and commas.")


def _skip(text: bytes, at: int) -> int:
    match = _SPACE.match(text, at)
    assert match is not None  # it matches the empty string
    return match.end()


def _value(members: dict[str, Member], key: str) -> object:
    member = members.get(key)
    if member is None or member.raw[:1] != b'"':  # a number may be out of the decoder's range
        return None
    return msgspec.json.decode(member.raw)


def _limit(members: dict[str, Member], *keys: str) -> int | None:
    for key in keys:
        member = members.get(key)
        if member is not None and member.raw.isdigit() and len(member.raw) < 10:
            return int(member.raw)
    return None


def _flag(members: dict[str, Member], key: str, param: str) -> bool:
    member = members.get(key)
    if member is None or member.raw in (b"null", b"false"):
        return False
    if member.raw != b"true":  # a server that took "true" or 1 for true would stream without telling us
        raise InvalidRequest(f"{param} must be true, false or null.", param=param)
    return True


def _ask_for_usage(body: bytes, members: dict[str, Member]) -> tuple[bool, bytes]:
    """Whether the client asked for usage in its stream, and the body that does ask."""
    options = members.get("stream_options")
    if options is None:
        at = body.index(b"{") + 1
        return False, body[:at] + b'"stream_options":{' + _ASK + b"}," + body[at:]
    if options.raw == b"null":
        return False, body[: options.start] + b"{" + _ASK + b"}" + body[options.end :]
    if options.raw[:1] != b"{":
        raise InvalidRequest("stream_options must be an object or null.", param="stream_options")
    inner = object_members(options.raw)
    if _flag(inner, "include_usage", "stream_options.include_usage"):
        return True, body
    member = inner.get("include_usage")
    if member is not None:
        start, end = options.start + member.start, options.start + member.end
        return False, body[:start] + b"true" + body[end:]
    at = options.start + 1
    return False, body[:at] + _ASK + (b"," if inner else b"") + body[at:]
