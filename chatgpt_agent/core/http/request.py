"""What the agent needs to know of a request's body, read without changing a byte of it.

The ledger is right only if OpenAI and the agent read the same request. So a body that can be read in two ways is
refused, and the one edit that we make leaves every other byte alone. A request is also refused if it would use tokens
that its answer does not report.
"""

import re

import msgspec

from chatgpt_agent.core.budget.max_cost import Size
from chatgpt_agent.core.cooperative import SLICE, Cooperative
from chatgpt_agent.core.errors import InvalidRequest
from chatgpt_agent.core.http import json_object
from chatgpt_agent.core.http.endpoints import Endpoint
from chatgpt_agent.core.http.headers import is_form
from chatgpt_agent.core.http.input_size import measure_input
from chatgpt_agent.core.http.json_object import JsonObject
from chatgpt_agent.core.http.json_outline import length
from chatgpt_agent.core.http.multipart import Form, read_form
from chatgpt_agent.core.http.offered_tools import OfferedTools
from chatgpt_agent.core.money.kinds import CALL_COLUMNS, WEB_SEARCH
from chatgpt_agent.core.names import MAX_NAME, is_printable, is_service_tier

MAX_CHOICES = 128  # as OpenAI's `n`

_FORM_FIELDS = ("model", "stream", "response_format", "n", "output_format")  # those that are read

# Models that search for each request (https://developers.openai.com/api/docs/guides/tools-web-search).
_SEARCH_MODEL = re.compile(r"-search(-|$)")
_ALL_TOOLS = frozenset(CALL_COLUMNS)
_INCLUDE_USAGE = b'"include_usage":true'


class ApiRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A checked request. `upstream_body` is what is sent; it differs from `body` only where we ask for the usage."""

    endpoint: Endpoint
    model: str  # empty if the request names none, as it may at some free endpoints
    body: bytes
    upstream_body: bytes
    content_type: str = "application/json"
    ids: dict[str, str] = {}  # of the path
    query: str = ""  # that passes
    stream: bool = False
    include_usage: bool = False  # whether the client itself asked for the usage in its stream
    # What it may cost.
    output_limit: int | None = None  # tokens of each choice, None without a limit
    choices: int = 1
    service_tier: str | None = None  # that the client asked for
    input_bytes: int = 0  # of text
    attachments: int = 0  # binary data, and what is not in the body: their bytes do not tell their tokens
    files: tuple[int, ...] = ()  # bytes of each file in the body, which may be text
    tools: frozenset[str] = frozenset()  # the kinds of OpenAI's own tools whose calls are charged
    runs_tools: bool = False  # whether OpenAI runs any tool
    stored_prompt: bool = False  # whose tools are not known
    calls_limit: int | None = None  # of all calls of tools, None without a limit
    image_model: str | None = None  # what draws for the tool image_generation

    @property
    def size(self) -> Size:
        """What determines its maximum cost."""
        return Size(
            input_bytes=self.input_bytes,
            attachments=self.attachments,
            files=self.files,
            runs_tools=self.runs_tools or self.stored_prompt,
            tools=_ALL_TOOLS if self.stored_prompt else self.tools,
            calls_limit=self.calls_limit,
            draws=self.image_model is not None,
            audio_bytes=len(self.body) if self.endpoint.records else 0,
            output_limit=self.output_limit,
            choices=self.choices,
            service_tier=self.endpoint.price_tier or self.service_tier,
        )

    def url(self, template: str) -> str:
        """Returns where it is sent. `template`: the URL of its endpoint."""
        for name, id_ in self.ids.items():
            template = template.replace(f"{{{name}}}", id_)
        return f"{template}?{self.query}" if self.query else template

    @property
    def hides_usage(self) -> bool:
        """Whether its stream has a usage event for which the client did not ask."""
        return self.upstream_body is not self.body


def parse_request(
    endpoint: Endpoint, body: bytes, content_type: str | None = None, *, ask_usage: bool = True
) -> Cooperative[ApiRequest]:
    """Reads a request's body (https://platform.openai.com/docs/api-reference). `content_type` matters for a form;
    `ask_usage`: a stream is asked for its usage. Raises InvalidJson, or InvalidRequest if it is ambiguous or its cost
    could not be known."""
    if len(body) > SLICE:
        yield
    if is_form(content_type, endpoint):
        return (yield from _parse_form(endpoint, body, content_type or ""))
    members = yield from json_object.read_object(body, endpoint.max_elements)
    size = yield from measure_input(members, body, endpoint)
    model = _model(endpoint, members)
    stream = json_object.flag(members, "stream")
    choices = _choices(endpoint, members)
    _refuse_unmetered(endpoint, members)
    _refuse_many_streams(endpoint, stream, choices)
    if stream and not endpoint.can_stream:
        raise InvalidRequest("This endpoint does not support streaming.", param="stream")
    include_usage, upstream_body = False, body
    if stream and endpoint.usage_option and ask_usage:
        include_usage, upstream_body = yield from _ask_for_usage(body, members)
    tools = size.tools if endpoint.hosts_tools else OfferedTools()
    if tools.refusal is not None:
        raise InvalidRequest(tools.refusal, param="tools")
    if endpoint.searches and (members.get("web_search_options") is not None or _SEARCH_MODEL.search(model)):
        tools.any = True
        tools.kinds.add(WEB_SEARCH)
    return ApiRequest(
        endpoint=endpoint,
        model=model,
        body=body,
        upstream_body=upstream_body,
        stream=stream,
        include_usage=include_usage,
        output_limit=_output_limit(endpoint, members),
        choices=choices,
        service_tier=_service_tier(members),
        input_bytes=size.text_bytes,
        attachments=size.attachments + _references(endpoint, members),
        files=tuple(size.files),
        tools=frozenset(tools.kinds),
        runs_tools=tools.any,
        stored_prompt=endpoint.hosts_tools and members.get("prompt") is not None,
        calls_limit=json_object.count(members, "max_tool_calls") if endpoint.hosts_tools else None,
        image_model=tools.image_model,
    )


def _model(endpoint: Endpoint, members: JsonObject) -> str:
    if not endpoint.needs_model and members.get("model") is None:
        return ""
    return _check_model(json_object.string(members, "model"))


def _check_model(model: str | None) -> str:
    if model is None:
        raise InvalidRequest("model is missing or is not a string.", param="model")
    if not is_printable(model):
        raise InvalidRequest(f"model must have 1 to {MAX_NAME} printable characters.", param="model")
    return model


# What a request may cost.


def _output_limit(endpoint: Endpoint, members: JsonObject) -> int | None:
    largest = endpoint.max_output
    for key in endpoint.output_limits:
        limit = json_object.count(members, key)
        if limit is not None and (largest is None or limit > largest):
            largest = limit
    # OpenAI charges what it does not use of a predicted output as output, beyond the limit.
    return largest if largest is None or "prediction" not in members else largest + _length_of(members["prediction"])


def _length_of(value: object) -> int:
    """Returns the length of all texts in a member."""
    texts = [value]
    total = 0
    while texts:
        text = texts.pop()
        if isinstance(text, str):
            total += length(text)
        elif isinstance(text, dict | list):
            texts.extend(text.values() if isinstance(text, dict) else text)
    return total


def _choices(endpoint: Endpoint, members: JsonObject) -> int:
    """Returns the number of outputs that the request asks for."""
    choices = 1
    for key in ("n", "best_of"):
        number = json_object.count(members, key)
        if number is not None:
            choices = max(choices, _check_choices(number, key))
    return choices * (_count_prompts(members) if endpoint.prompt_lists else 1)


def _check_choices(number: int, key: str) -> int:
    if not 1 <= number <= MAX_CHOICES:
        raise InvalidRequest(f"{key} must be between 1 and {MAX_CHOICES}.", param=key)
    return number


def _count_prompts(members: JsonObject) -> int:
    """Returns the number of prompts: one is a string or a list of tokens, several are a list of those."""
    prompt = members.get("prompt")
    return len(prompt) if isinstance(prompt, list) and prompt and isinstance(prompt[0], str | list) else 1


def _service_tier(members: JsonObject) -> str | None:
    if members.get("service_tier") is None:
        return None
    tier = json_object.string(members, "service_tier")
    if tier is None or not is_service_tier(tier):
        raise InvalidRequest("service_tier must be a lower-case word such as 'flex', or null.", param="service_tier")
    return tier


def _references(endpoint: Endpoint, members: JsonObject) -> int:
    """Returns the number of members that stand for text outside of the body: earlier messages, a stored prompt, pages
    found by a search."""
    return sum(members[key] is not None for key in endpoint.references & members.keys())


def _refuse_unmetered(endpoint: Endpoint, members: JsonObject) -> None:
    """Raises InvalidRequest for what would use tokens that the answer does not report."""
    if endpoint.refuses_background and json_object.flag(members, "background"):
        raise InvalidRequest(
            "background is not supported: its usage is reported only to a later request.", param="background"
        )
    if endpoint.refuses_svg and (
        members.get("svg") is not None or json_object.string(members, "output_format") == "svg"
    ):
        raise _svg()


def _svg() -> InvalidRequest:
    return InvalidRequest("SVG is not supported: it uses tokens of another model.", param="output_format")


def _refuse_many_streams(endpoint: Endpoint, stream: bool, choices: int) -> None:
    if endpoint.refuses_many_streams and stream and choices > 1:
        raise InvalidRequest("Streaming is not supported for more than one output: set n to 1.", param="n")


# A form.


def _parse_form(endpoint: Endpoint, body: bytes, content_type: str) -> Cooperative[ApiRequest]:
    form = yield from read_form(body, content_type, _FORM_FIELDS)
    stream = form.values.get("stream")
    if stream not in (None, "true", "false"):
        raise InvalidRequest("stream must be true or false.", param="stream")
    _check_response_format(endpoint, form.values.get("response_format"))
    choices = _form_choices(form)
    if endpoint.refuses_svg and ("svg" in form.names or form.values.get("output_format") == "svg"):
        raise _svg()
    _refuse_many_streams(endpoint, stream == "true", choices)
    return ApiRequest(
        endpoint=endpoint,
        model=_check_model(form.values.get("model")),
        body=body,
        upstream_body=body,
        content_type=content_type,
        stream=stream == "true",
        output_limit=endpoint.max_output,
        choices=choices,
        input_bytes=form.text_bytes,
        attachments=form.files,
    )


def _check_response_format(endpoint: Endpoint, response_format: str | None) -> None:
    formats = endpoint.response_formats
    if response_format is None or formats is None or response_format in formats:
        return
    allowed = " or ".join(sorted(formats, key=len))
    raise InvalidRequest(
        f"response_format must be {allowed}: other formats do not report the usage.", param="response_format"
    )


def _form_choices(form: Form) -> int:
    number = form.values.get("n", "1")
    if not (number.isdecimal() and len(number) <= len(str(MAX_CHOICES))):
        raise InvalidRequest(f"n must be between 1 and {MAX_CHOICES}.", param="n")
    return _check_choices(int(number), "n")


def _ask_for_usage(body: bytes, members: JsonObject) -> Cooperative[tuple[bool, bytes]]:
    """Returns whether the client asked for the usage in its stream, and the body edited to ask for it."""
    if "stream_options" not in members:
        at = body.index(b"{") + 1
        return False, body[:at] + b'"stream_options":{' + _INCLUDE_USAGE + b"}," + body[at:]
    options = members["stream_options"]
    if not isinstance(options, dict | None):
        raise InvalidRequest("stream_options must be an object or null.", param="stream_options")
    if options is not None and json_object.flag(options, "include_usage", parent="stream_options."):
        return True, body
    place = (yield from json_object.locate_members(body))["stream_options"]
    if options is None:
        return False, body[: place.start] + b"{" + _INCLUDE_USAGE + b"}" + body[place.end :]
    inner = yield from json_object.locate_members(place.raw)
    if "include_usage" in inner:
        start, end = place.start + inner["include_usage"].start, place.start + inner["include_usage"].end
        return False, body[:start] + b"true" + body[end:]
    at = place.start + 1
    return False, body[:at] + _INCLUDE_USAGE + (b"," if inner else b"") + body[at:]
