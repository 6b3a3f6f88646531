"""How much input a JSON body has: its text, which has at most one token a byte, and its attachments, which are binary
data or lie outside of the body, so that its bytes do not tell their tokens.

What only points to content counts as an attachment: an item or a tool of a type that is not known here, too.
Members that are users' own JSON (schemas of functions, metadata) are text.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from chatgpt_agent.core.cooperative import Cooperative
from chatgpt_agent.core.errors import InvalidRequest
from chatgpt_agent.core.http.endpoints import ENDPOINTS, Endpoint
from chatgpt_agent.core.http.json_object import JsonObject
from chatgpt_agent.core.http.json_outline import beginning, length
from chatgpt_agent.core.http.offered_tools import OfferedTools, read_tool

STEPS = 512  # objects that are measured without a yield

# Members that stand for images, sound, files, or what is stored elsewhere.
POINTERS = frozenset(
    {
        "image_url", "file_id", "file_url", "file_data", "input_audio", "audio_url", "video_url", "document_url",
        "skill_id",
    }
)  # fmt: skip
# Where the content of an item stands that has an id. An item without it is one that OpenAI has stored: it points to its
# content, as does an item of any other type (https://platform.openai.com/docs/api-reference/responses/create).
_CONTENT = {
    None: ("content",),
    "message": ("content",),
    "function_call": ("arguments",),
    "function_call_output": ("output",),
    "custom_tool_call": ("input",),
    "custom_tool_call_output": ("output",),
    "reasoning": ("content", "encrypted_content"),
    "compaction": ("encrypted_content",),
    "file_search_call": ("results",),
    "computer_call_output": ("output",),
    "image_generation_call": ("result",),
    "code_interpreter_call": ("outputs",),
    "local_shell_call_output": ("output",),
    "shell_call_output": ("output",),
    "apply_patch_call": ("operation",),
    "apply_patch_call_output": ("output",),
    "mcp_list_tools": ("tools",),
    "mcp_approval_request": ("arguments",),
    "mcp_call": ("output", "error"),
    "tool_search_call": ("arguments",),
    "tool_search_output": ("tools",),
    "additional_tools": ("tools",),
    "program": ("code",),
    "program_output": ("result",),
    "configuration_update": ("reasoning", "text"),
}
_ACTIONS = ("computer_call", "local_shell_call", "shell_call")  # their content is an `action`
_POINTING_ITEMS = ("item_reference", "mcp_approval_response")  # whatever else is in them
# All tools of other types add what they find.
_TOOLS_OF_CLIENTS = (
    None, "function", "custom", "namespace", "local_shell", "apply_patch", "tool_search", "programmatic_tool_calling",
)  # fmt: skip
_LABELS = ("id", "type", "status", "role", "phase", "object")  # of an item: no content
# The text of clients' own, in which keys mean nothing to the API.
_FREE = (
    "parameters", "schema", "properties", "input_schema", "output_schema", "metadata", "attributes", "headers", "env",
    "logit_bias", "arguments", "$defs", "definitions",
)  # fmt: skip


class InputSize(msgspec.Struct, kw_only=True):
    """The input of a body: bytes that may be text; attachments; and the bytes of each file in it."""

    text_bytes: int
    attachments: int = 0
    files: list[int] = []
    tools: OfferedTools = msgspec.field(default_factory=OfferedTools)


Measure = Callable[[JsonObject, InputSize], None]


class Area:
    """A part of a body whose objects are measured alike. `keys`: those that may be in them; another spelling of one of
    these is refused. `areas`: of their members, and `rest` that of all others; None: text alone."""

    __slots__ = ("areas", "keys", "measure", "rest")

    def __init__(
        self, measure: Measure, keys: Iterable[str] = (), areas: "Mapping[str, Area | None] | None" = None
    ) -> None:
        self.measure = measure
        self.keys = POINTERS.union(keys, areas or ())
        self.areas: dict[str, Area | None] = {**dict.fromkeys(_FREE), **(areas or {})}
        self.rest = self


def measure_input(members: JsonObject, body: bytes, endpoint: Endpoint) -> Cooperative[InputSize]:
    """Returns the size of a body's input. `members`: its `read_object`. Raises InvalidRequest for a key that differs
    only by case from one that is read: Go's parsers take one for the other."""
    size = InputSize(text_bytes=len(body))
    waiting: list[tuple[Any, Area]] = [(members, _BODIES[endpoint.conversation])]
    steps = 0
    while waiting:
        steps += 1
        if not steps % STEPS:
            yield
        value, area = waiting.pop()
        if isinstance(value, list):
            waiting.extend((item, area) for item in value if isinstance(item, dict | list) and not _is_plain(item))
            continue
        if not area.keys.issuperset(value):
            _check_spelling(value, area.keys)
        area.measure(value, size)
        for key, child in value.items():
            if isinstance(child, dict | list):
                inner = area.areas.get(key, area.rest)
                if inner is not None:
                    waiting.append((child, inner))
    if size.text_bytes < len(body) and b"\\" in body:  # slashes within what was taken off may be escaped, as PHP does
        size.text_bytes -= body.count(b"\\/")
    return size


def _is_plain(item: JsonObject | list[Any]) -> bool:
    """Whether an element of a list is nothing but a message with a text, as most are."""
    return type(item) is dict and len(item) == 2 and type(item.get("content")) is str and "role" in item


def _check_spelling(members: JsonObject, keys: frozenset[str]) -> None:
    for key in members.keys() - keys:
        folded = fold(key)
        if folded in keys:
            raise InvalidRequest(f"The key {key[:64]!r} must be written {folded!r}.", param=folded)


def fold(key: str) -> str:
    """Returns a key as parsers compare it that ignore case: Go's encoding/json takes `\u017f` for `s`, Java `\u0131`
    for `i`."""
    return key.lower() if key.isascii() else key.casefold().translate(_I)


_I = {0x131: "i", 0x307: None}  # the casefold of U+0130 is i with U+0307


def _is_filled(value: Any) -> bool:
    """Whether a value has any text, beside labels."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting.extend(child for key, child in value.items() if key not in _LABELS)
        elif isinstance(value, list):
            waiting.extend(value)
        elif isinstance(value, str) and value:
            return True
    return False


# What an object counts, by its area.


def _measure_pointers(members: JsonObject, size: InputSize) -> None:
    if members.get("type") == "image_generation":
        read_tool(members, size.tools)
    if POINTERS.isdisjoint(members):
        return
    for key in POINTERS & members.keys():
        value = members[key]
        if key == "file_data" and isinstance(value, str):
            size.files.append(length(value))
            size.text_bytes -= length(value)
        elif value is not None:
            size.attachments += 1


def _measure_inner(members: JsonObject, size: InputSize) -> None:
    """An object in a message or an item."""
    _measure_pointers(members, size)
    if members.get("id") is not None and not _is_filled(members):
        size.attachments += 1


def _measure_part(members: JsonObject, size: InputSize) -> None:
    _measure_inner(members, size)
    _take_off_data(members, size)
    if members.get("type") == "image" and members.get("url") is not None:  # an output of code_interpreter
        size.attachments += 1


def _take_off_data(members: JsonObject, size: InputSize) -> None:
    """Base64 of images and sound is not text."""
    kind = members.get("type")
    data: Any = None
    if kind in ("image_url", "input_image", "computer_screenshot"):
        data = members.get("image_url")
        if isinstance(data, dict):
            data = data.get("url")
        header = _IMAGE
    elif kind == "input_audio" and isinstance(sound := members.get("input_audio"), dict):
        data = sound.get("data")
        header = _BASE64
    if isinstance(data, str) and header.fullmatch(beginning(data)):
        size.text_bytes -= length(data)


# Of the beginning of a string; what is no base64 is text to servers that take anything.
_BASE64 = re.compile(r"[A-Za-z0-9+/=_\s-]*")
_IMAGE = re.compile(r"data:image/[A-Za-z0-9.+;=-]{1,128}?;base64," + _BASE64.pattern)


def _measure_image(members: JsonObject, size: InputSize) -> None:
    """An image to be edited."""
    _measure_pointers(members, size)
    data = members.get("image_url")
    if isinstance(data, str) and _IMAGE.fullmatch(beginning(data)):
        size.text_bytes -= length(data)


def _measure_sound(members: JsonObject, size: InputSize) -> None:
    """The `audio` of a message refers to an earlier answer."""
    _measure_pointers(members, size)
    size.attachments += members.get("id") is not None


def _measure_item(members: JsonObject, size: InputSize) -> None:
    _measure_pointers(members, size)
    _take_off_data(members, size)
    kind = members.get("type")
    content = _CONTENT.get(kind, ()) if isinstance(kind, str | None) else ()
    filled = any(_is_filled(members.get(key)) for key in content)
    if kind in _ACTIONS:  # {"type": "screenshot"} is a whole one
        filled = bool(members.get("action") or members.get("actions"))
    elif kind is None:
        filled = filled and members.get("role") is not None
    if (members.get("id") is not None and not filled) or kind in _POINTING_ITEMS:
        size.attachments += 1
    elif kind == "image_generation_call" and isinstance(result := members.get("result"), str):
        size.attachments += 1
        size.text_bytes -= length(result)


def _measure_result(members: JsonObject, size: InputSize) -> None:
    """A result of a file search names its file beside its text."""
    if not _is_filled(members.get("text")):
        _measure_pointers(members, size)


def _measure_tool(members: JsonObject, size: InputSize) -> None:
    _measure_pointers(members, size)
    if members.get("type") not in _TOOLS_OF_CLIENTS:
        size.attachments += 1
        read_tool(members, size.tools)


# The parts of a body. Most keys are listed so that the usual objects need no closer look.

_NESTED = frozenset().union(*_CONTENT.values()) | {
    "id", "type", "status", "role", "content", "text", "name", "call_id", "tool_call_id", "function", "tools", "audio",
    "file", "url", "data", "detail", "format", "annotations", "logprobs", "summary", "action", "actions", "refusal",
    "index", "strict", "description", "cache_control", "filename",
}  # fmt: skip
_BODY = {"model", "stream", "stream_options", "n", "best_of", "service_tier", "background", "prompt", "svg"}.union(
    {"output_format", "messages", "input", "tools", "temperature", "store", "tool_choice"},
    *(endpoint.output_limits for endpoint in ENDPOINTS),
    *(endpoint.references for endpoint in ENDPOINTS),
)

_OTHER = Area(_measure_pointers)
_TOOL = Area(_measure_tool, ("type", "tools", "function", "name", "description", "strict"), {"function": _OTHER})
_TOOL.rest = _OTHER
_TOOL.areas["tools"] = _TOOL  # of a namespace
_OPTIONS = Area(_measure_pointers, ("include_usage", "include_obfuscation"))
_INNER = Area(_measure_inner, _NESTED, {"tools": _TOOL})
_PART = Area(_measure_part, _NESTED, {"data": None})  # JSON of clients' own, in an input_json
_PART.rest = _INNER
_RESULT = Area(_measure_result, _NESTED)
_EDITED = Area(_measure_image, ("image_url", "file_id"))
_QUESTION = Area(_measure_inner, ("type", "name", "instructions", "choices", "levels"), {"instructions": _PART})
_SOUND = Area(_measure_sound, _NESTED)
_MESSAGE = Area(_measure_inner, _NESTED, {"content": _PART, "audio": _SOUND})
_ITEM = Area(
    _measure_item, _NESTED, {"content": _PART, "output": _PART, "outputs": _PART, "results": _RESULT, "tools": _TOOL}
)
_MESSAGE.rest = _ITEM.rest = _RESULT.rest = _SOUND.rest = _QUESTION.rest = _INNER
_EDITED.rest = _OTHER


def _body(conversation: dict[str, Area | None]) -> Area:
    area = Area(_measure_pointers, _BODY, {"tools": _TOOL, "stream_options": _OPTIONS, **conversation})
    area.rest = _OTHER
    return area


_BODIES = {
    None: _body({}),
    "messages": _body({"messages": _MESSAGE}),
    "input": _body({"input": _ITEM, "questions": _QUESTION}),
    "images": _body({"images": _EDITED, "mask": _EDITED, "markup": _EDITED}),
}
