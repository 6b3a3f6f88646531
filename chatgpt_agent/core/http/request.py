"""What the agent must know of a request's body, found without changing a byte of it.

The books depend on OpenAI and us reading the same request, and parsers differ in what they make of repeated
keys, other encodings or odd numbers (https://bishopfox.com/blog/json-interoperability-vulnerabilities). So a body
that could be read in two ways is refused, and the one edit we make leaves every other byte alone. Refused is, too,
what would use tokens that no answer tells us.
"""

import re

import msgspec

from chatgpt_agent.core.budget.max_cost import Size
from chatgpt_agent.core.cooperative import PIECE, Cooperative, run_to_end
from chatgpt_agent.core.errors import InvalidJson, InvalidRequest
from chatgpt_agent.core.http.endpoints import COMPLETIONS, IMAGES, RESPONSES, Endpoint
from chatgpt_agent.core.http.input_size import count_image_tools, measure_input, unescape_ascii
from chatgpt_agent.core.http.multipart import read_form
from chatgpt_agent.core.money.pricing import MAX_MODEL

MAX_CHOICES = 128  # as OpenAI's `n`
MEMBERS = 256  # of an object, that are looked at in one step

_BEGIN = re.compile(rb"[ \t\r\n]*+\{[ \t\r\n]*+")
# A key up to its value; possessive: going back would take 100 bytes of memory a character.
_KEY = re.compile(rb'("(?:[^"\\]++|\\.)*+")[ \t\r\n]*+:[ \t\r\n]*+')
_END = re.compile(rb"[ \t\r\n]*+(?:,[ \t\r\n]*+|(?=\}))")  # of a value, up to the next key or the closing brace
_WHOLE = re.compile(rb"[0-9]{1,12}")
_TIER = re.compile(r"[a-z][a-z_-]{0,31}")
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_prompts = msgspec.json.Decoder(list[msgspec.Raw])
_POINTERS = {"previous_response_id", "conversation", "web_search_options"}
_ASK = b'"include_usage":true'
_FORM_FORMATS = (None, b"json", b"diarized_json")  # of transcriptions, those whose answers tell tokens


class Member(msgspec.Struct, frozen=True):
    """One `"key": value` of an object: the text that it is in, and where its value begins and ends there."""

    text: bytes
    start: int
    end: int

    @property
    def raw(self) -> bytes:
        """The value's bytes."""
        return self.text[self.start : self.end]


class ApiRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A checked request. `upstream_body` is what is sent, which differs from `body` only where we ask for usage."""

    endpoint: Endpoint
    model: str
    body: bytes
    upstream_body: bytes
    content_type: str = "application/json"
    stream: bool = False
    include_usage: bool = False  # whether the client itself asked for usage in its stream
    # What it may cost.
    output_limit: int | None = None  # tokens, of each choice; None: it does not say
    choices: int = 1
    service_tier: str | None = None  # as asked
    input_bytes: int = 0  # that may be text
    links: int = 0  # what it only points to, or carries as binary data

    @property
    def size(self) -> Size:
        """What is known of its cost beforehand."""
        return Size(self.input_bytes, self.links, self.output_limit, self.choices, self.service_tier)

    @property
    def hides_usage(self) -> bool:
        """Whether its stream has an event that only we asked for."""
        return self.upstream_body is not self.body


def parse_request(endpoint: Endpoint, body: bytes, content_type: str | None = None) -> ApiRequest:
    """What `parsing` makes, at once."""
    return run_to_end(parsing(endpoint, body, content_type))


def parsing(endpoint: Endpoint, body: bytes, content_type: str | None = None) -> Cooperative[ApiRequest]:
    """Reads a request's body (https://platform.openai.com/docs/api-reference). `content_type` matters for a form.
    Raises InvalidJson, or InvalidRequest where it cannot be read in one way alone, or could not be priced."""
    if endpoint.form:
        return (yield from _parse_form(endpoint, body, content_type or ""))
    if len(body) > endpoint.max_parts or not body.isascii():
        yield from _check_text(body, endpoint.max_parts)
    members = yield from _members_of(body)
    model = _check_model(_value(members, "model"))
    stream = _flag(members, "stream", "stream")
    choices = _choices(endpoint, members)
    _refuse_unobservable(endpoint, members, stream and choices > 1)
    if stream and not endpoint.streams:
        raise InvalidRequest("There is no stream here.", param="stream")
    asked, edited = _ask_for_usage(body, members) if stream and endpoint.asks_usage else (False, body)
    if len(body) > PIECE:
        yield
    plain = (yield from unescape_ascii(body)) if b"\\" in body else body
    if endpoint is RESPONSES and (yield from count_image_tools(plain)):
        raise InvalidRequest(
            "The tool image_generation is not supported: it uses tokens of another model. Ask /v1/images/generations.",
            param="tools",
        )
    text, links = yield from measure_input(body, plain, items=endpoint is RESPONSES)
    return ApiRequest(
        endpoint=endpoint,
        model=model,
        body=body,
        upstream_body=edited,
        stream=stream,
        include_usage=asked,
        output_limit=_output_limit(endpoint, members),
        choices=choices,
        service_tier=_service_tier(members),
        input_bytes=text,
        links=links + _pointers(endpoint, members),
    )


def object_members(text: bytes) -> dict[str, Member]:
    """The members of a JSON object by their decoded keys, each with its place in the text.
    Raises InvalidJson: not one JSON object, or a key stands twice (also when it is spelled with escapes)."""
    return run_to_end(_members_of(text))


def _members_of(text: bytes) -> Cooperative[dict[str, Member]]:
    try:
        raws = _members.decode(text)
    except (msgspec.DecodeError, RecursionError):  # ValidationError, for an array or number, is a DecodeError
        raise InvalidJson("The request body must be one valid JSON object.") from None
    if len(text) > PIECE:
        yield
    found: dict[str, Member] = {}
    at = _BEGIN.match(text).end()  # type: ignore[union-attr]
    while text[at : at + 1] != b"}":
        key_text = _KEY.match(text, at)
        assert key_text is not None, "the decoder took it for an object"
        key = msgspec.json.decode(key_text[1], type=str)
        at = key_text.end()
        raw = memoryview(raws[key])
        size = len(raw)
        end = _END.match(text, at + size)
        # The decoder keeps the last value of a repeated key: then other bytes stand here, or more of them.
        if key in found or end is None or not text.startswith(raw, at):
            raise InvalidJson(f"The key {key[:64]!r} stands twice in the request body.")
        found[key] = Member(text, at, at + size)
        at = end.end()
        if size > PIECE or len(found) % MEMBERS == 0:
            yield
    return found


def _check_text(body: bytes, max_parts: int) -> Cooperative[None]:
    at = len(body) if body.isascii() else 0
    while at < len(body):
        end = _between_characters(body, at + PIECE)
        try:
            body[at:end].decode("utf-8")  # strict: no lone surrogates, no UTF-16
        except UnicodeDecodeError:
            raise InvalidJson("The request body is not valid UTF-8.") from None
        at = end
        if at < len(body):
            yield
    parts = 0
    for start in range(0, len(body) if len(body) > max_parts else 0, PIECE):
        parts += sum(body.count(mark, start, start + PIECE) for mark in (b",", b"[", b"{"))
        if parts > max_parts:
            raise InvalidRequest(f"The request body has over {max_parts} brackets and commas.")
        yield


def _between_characters(body: bytes, at: int) -> int:
    """The place, or one a little before it, where a character of UTF-8 begins; anywhere where none does."""
    for place in range(at, at - 4, -1):
        if place >= len(body) or body[place] & 0xC0 != 0x80:
            return place
    return at


def _check_model(model: object) -> str:
    if not isinstance(model, str):
        raise InvalidRequest("You must provide a model parameter, as a string.", param="model")
    if not 0 < len(model) <= MAX_MODEL or not model.isprintable():
        raise InvalidRequest(f"The model's name must have 1 to {MAX_MODEL} printable characters.", param="model")
    return model


def _value(members: dict[str, Member], key: str) -> object:
    member = members.get(key)
    raw = member.raw if member else b""
    return msgspec.json.decode(raw) if raw[:1] == b'"' else None  # a number may be out of the decoder's range


def _is_set(members: dict[str, Member], key: str) -> bool:
    member = members.get(key)
    return member is not None and member.raw != b"null"


def _flag(members: dict[str, Member], key: str, param: str) -> bool:
    member = members.get(key)
    raw = member.raw if member else b"null"
    if raw in (b"null", b"false"):
        return False
    if raw != b"true":  # a server that took "true" or 1 for true would stream without telling us
        raise InvalidRequest(f"{param} must be true, false or null.", param=param)
    return True


def _number(members: dict[str, Member], key: str) -> int | None:
    """A count that a budget relies on: what another parser may read as something else, such as 1e3, is refused."""
    member = members.get(key)
    if member is None or member.raw == b"null":
        return None
    if not _WHOLE.fullmatch(member.raw):
        raise InvalidRequest(f"{key} must be a whole number or null.", param=key)
    return int(member.raw)


# What a request may cost.


def _output_limit(endpoint: Endpoint, members: dict[str, Member]) -> int | None:
    largest = endpoint.max_output
    for key in endpoint.limits:
        limit = _number(members, key)
        if limit is not None:
            largest = max(limit, largest or 0)
    return largest


def _choices(endpoint: Endpoint, members: dict[str, Member]) -> int:
    """How many outputs it asks for."""
    asked = [1]
    for key in ("n", "best_of"):
        number = _number(members, key)
        if number is not None:
            if not 1 <= number <= MAX_CHOICES:
                raise InvalidRequest(f"{key} must be from 1 to {MAX_CHOICES}.", param=key)
            asked.append(number)
    return max(asked) * (_count_prompts(members) if endpoint is COMPLETIONS else 1)


def _count_prompts(members: dict[str, Member]) -> int:
    """Of legacy completions: a prompt is a string or a list of tokens, and a list of these is as many prompts."""
    member = members.get("prompt")
    if member is None or not re.match(rb'\[\s*["\[]', member.raw):
        return 1
    return len(_prompts.decode(member.raw))


def _service_tier(members: dict[str, Member]) -> str | None:
    if not _is_set(members, "service_tier"):
        return None
    tier = _value(members, "service_tier")
    if not isinstance(tier, str) or not _TIER.fullmatch(tier):
        raise InvalidRequest("service_tier must be a word such as flex, or null.", param="service_tier")
    return tier


def _pointers(endpoint: Endpoint, members: dict[str, Member]) -> int:
    """Members that stand for text which is not in the body: what was said before, a stored prompt, found pages."""
    found = sum(_is_set(members, key) for key in _POINTERS & members.keys())
    return found + (endpoint is RESPONSES and _is_set(members, "prompt"))


# What would use tokens that no answer tells us.


def _refuse_unobservable(endpoint: Endpoint, members: dict[str, Member], many_streams: bool) -> None:
    if endpoint is RESPONSES:
        if _flag(members, "background", "background"):
            raise InvalidRequest(
                "background is not supported: the tokens would be known only to a later request.", param="background"
            )
    elif endpoint is IMAGES:
        if _is_set(members, "svg") or _value(members, "output_format") == "svg":
            raise InvalidRequest("SVG is not supported: it uses tokens of another model.", param="output_format")
        if many_streams:
            raise InvalidRequest("A stream of more than one image is not supported.", param="n")


# A form.


def _parse_form(endpoint: Endpoint, body: bytes, content_type: str) -> Cooperative[ApiRequest]:
    form = yield from read_form(body, content_type, ("model", "stream", "response_format"))
    model = form.values.get("model")
    stream = form.values.get("stream")
    if stream not in (None, b"true", b"false"):
        raise InvalidRequest("stream must be true or false.", param="stream")
    if form.values.get("response_format") not in _FORM_FORMATS:
        raise InvalidRequest(
            "response_format must be json or diarized_json: other answers do not tell what they used.",
            param="response_format",
        )
    return ApiRequest(
        endpoint=endpoint,
        model=_check_model(None if model is None else model.decode("ascii")),
        body=body,
        upstream_body=body,
        content_type=content_type,
        stream=stream == b"true",
        output_limit=endpoint.max_output,
        input_bytes=form.text_bytes,
        links=form.files,
    )


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
