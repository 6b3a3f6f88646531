"""The input of a body: its text, its files and its attachments."""

import contextlib
import json
import time
from collections.abc import Iterator
from typing import Any, get_args, get_type_hints

import pytest
from openai.types.responses.response_input_item_param import ResponseInputItemParam
from openai.types.responses.tool_param import ToolParam

from chatgpt_agent.core.cooperative import SLICE, run_to_end
from chatgpt_agent.core.errors import ClientError
from chatgpt_agent.core.http.endpoints import CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES, Endpoint
from chatgpt_agent.core.http.input_size import InputSize, measure_input
from chatgpt_agent.core.http.json_object import read_object

DATA = "iVBORw0KGgo/+" * 400 + "A="
URI = f"data:image/png;base64,{DATA}"
NO_BASE64 = "data:image/png;base64," + "Now, a text! " * 200
PDF = f"data:application/pdf;base64,{DATA}"


def measure(body: bytes, endpoint: Endpoint = CHAT) -> InputSize:
    return run_to_end(measure_input(run_to_end(read_object(body, 200_000)), body, endpoint))


def dump(value: object) -> bytes:
    return json.dumps(value).encode()


def chat(*parts: dict[str, Any]) -> bytes:
    return dump({"model": "x", "messages": [{"role": "user", "content": list(parts)}]})


def response(*items: dict[str, Any]) -> bytes:
    return dump({"model": "x", "input": list(items)})


# Text.


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{"role": "user", "content": "hello"}]},
        {"messages": [{"role": "user", "content": 'a "image_url": and a "file_id": "x" and base64,AAAA'}]},
        {"messages": [], "tools": [{"type": "function", "function": {"name": "search_files"}}]},
        {"input": "x", "tools": [{"type": "custom", "name": "image_url"}]},
        {"input": [{"type": "input_image", "image_url": None}]},
        {
            "messages": [
                {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f"}}]}
            ]
        },
        {"tools": [{"type": "function", "parameters": {"properties": {"file_id": {}, "id": "x", "type": "mcp"}}}]},
        {"metadata": {"id": "x", "file_id": "y"}},
    ],
)
@pytest.mark.parametrize("endpoint", [CHAT, RESPONSES])
def test_text_is_measured_in_bytes(body: object, endpoint: Endpoint) -> None:
    """Text is measured in bytes, and text that looks like an attachment is not one."""
    assert measure(dump(body), endpoint) == InputSize(text_bytes=len(dump(body)))


@pytest.mark.parametrize("endpoint", [CHAT, RESPONSES, EMBEDDINGS, COMPLETIONS])
@pytest.mark.parametrize(
    "body",
    [
        {"tools": [{"type": "function", "function": {"parameters": {"type": "image_url", "image_url": {"url": URI}}}}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "a", "image_url": {"url": URI}}]}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": URI}]}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"alt": URI, "url": "x"}}]}]},
        {"messages": [{"role": "user", "content": "x", "type": "image_url", "image_url": {"url": URI}}]},
        {"input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "image_url": URI}]}]},
        {"input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": URI}]}]},
        {"instructions": {"type": "input_image", "image_url": URI}},
        {"metadata": {"type": "input_image", "image_url": URI}},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": DATA}}]}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": NO_BASE64}}]}]},
        {"messages": [{"content": [{"type": "input_audio", "input_audio": {"data": "Now, a text! " * 200}}]}]},
        {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": NO_BASE64}]}]},
    ],
)
def test_base64_where_the_api_has_none_is_text(body: dict[str, Any], endpoint: Endpoint) -> None:
    """Base64 is taken off only in the parts of messages and items that the API has for it; elsewhere it is text."""
    assert measure(dump(body), endpoint).text_bytes == len(dump(body))


def test_base64_is_text_in_an_endpoint_without_messages() -> None:
    """An endpoint without messages has no place for base64."""
    part = {"type": "image_url", "image_url": {"url": URI}}
    assert measure(chat(part), EMBEDDINGS).text_bytes == len(chat(part))
    assert measure(chat(part), EMBEDDINGS).attachments == 1


# Attachments.

ATTACHMENTS = [
    {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
    {"type": "image_url", "image_url": {"url": URI}},
    {"image_url": {"detail": "high", "url": URI}, "type": "image_url"},
    {"type": "input_audio", "input_audio": {"data": DATA, "format": "wav"}},
    {"type": "input_audio", "input_audio": {"format": "wav", "data": DATA}},
    {"type": "file", "file": {"file_id": "file-1"}},
    {"type": "input_image", "image_url": URI},
    {"type": "input_image", "file_id": "file-1", "image_url": None},
    {"type": "input_file", "file_url": "https://example.org/a.pdf"},
    {"type": "video_url", "video_url": {"url": "https://example.org/a.mp4"}},
]


@pytest.mark.parametrize("part", ATTACHMENTS)
@pytest.mark.parametrize("large", [False, True])
def test_each_attachment_is_counted_once(part: dict[str, Any], large: bool) -> None:
    """Each attachment is counted once, however it is written and in a body of any size; its base64 is not text."""
    text = {"type": "text", "text": "x" * (SLICE if large else 1)}
    for body, endpoint in (
        (chat(part, part, text), CHAT),
        (response({"role": "user", "content": [part, part, text]}), RESPONSES),
        (response({"type": "function_call_output", "call_id": "c", "output": [part, part, text]}), RESPONSES),
    ):
        size = measure(body, endpoint)
        assert size.attachments == 2
        assert size.text_bytes == len(body) - 2 * len(DATA + URI[:22] * (URI in json.dumps(part))) * (
            DATA in json.dumps(part)
        )


@pytest.mark.parametrize("large", [False, True])
def test_file_in_the_body_is_measured_apart(large: bool) -> None:
    """The bytes of each file in the body are known, because its pages or its text may have as many tokens."""
    text = {"type": "text", "text": "x" * (SLICE if large else 1)}
    parts: list[dict[str, Any]] = [
        {"type": "file", "file": {"filename": "a.pdf", "file_data": PDF}},
        {"type": "input_file", "file_data": "x"},
    ]
    size = measure(chat(*parts, text))
    assert (size.attachments, size.files) in ((0, [len(PDF), 1]), (0, [1, len(PDF)]))
    assert size.text_bytes == len(chat(*parts, text)) - len(PDF) - 1


@pytest.mark.parametrize("large", [False, True])
def test_escaped_slashes_are_part_of_the_data(large: bool) -> None:
    """Base64 with escaped slashes, as PHP writes it, is recognized."""
    body = chat({"type": "image_url", "image_url": {"url": URI * (1 + large * SLICE // len(URI))}}).replace(
        b"/", b"\\/"
    )
    assert measure(body).text_bytes < 300


@pytest.mark.parametrize("value", ["\\u0001999999999", "\\ud83d\\udcff999999999", "\\u00ff999999999"])
@pytest.mark.parametrize("large", [False, True])
def test_no_escape_fakes_the_length_of_data(value: str, large: bool) -> None:
    """Nothing in a string makes it seem longer than it is."""
    part = chat({"type": "image_url", "image_url": {"url": "data:image/png;base64,VALUE"}})
    body = part.replace(b"VALUE", value.encode()) + b" " * SLICE * large
    assert measure(body).text_bytes >= len(body) - len(value) - 30


@pytest.mark.parametrize("escape", ["image\\u005furl", "\\u0069mage_url", "image_\\u0075\\u0072\\u006C"])
def test_escapes_do_not_hide_attachments(escape: str) -> None:
    """A key or type with escaped letters is recognized."""
    body = b'{"input":[{"type":"input_image","%s":"https://example.org/a"}]}' % escape.encode()
    assert measure(body, RESPONSES).attachments == 1
    assert measure(b'{"tools":[{"type" : "image\\u005fgeneration"}]}', RESPONSES).tools.image_model


# What only points to content.


def kinds(union: Any) -> Iterator[type]:
    """The types of a union in the SDK, however it is nested."""
    for member in get_args(union):
        if get_args(member):
            yield from kinds(member)
        else:
            yield member


def types_of(union: Any) -> list[tuple[str, list[str]]]:
    """The `type` of each, and its other fields."""
    hints = [get_type_hints(kind) for kind in kinds(union)]
    return [(name, [*hint]) for hint in hints for name in literals(hint["type"]) if isinstance(name, str)]


def literals(hint: Any) -> Iterator[object]:
    for argument in get_args(hint):
        yield from literals(argument) if get_args(argument) else [argument]


ITEMS = types_of(ResponseInputItemParam)
# Labels, which are no content.
LABELS = {
    "call_id": "call_1", "name": "f", "server_label": "s", "queries": ["q"], "container_id": "cntr_1",
    "role": "assistant", "summary": [{"type": "summary_text", "text": "t"}], "status": "completed",
    "phase": "final_answer",
}  # fmt: skip


def test_types_of_the_sdk_are_found() -> None:
    """The SDK's types are read, so that the tests below test them."""
    assert {"message", "item_reference", "image_generation_call", "mcp_call", "reasoning"} <= {
        kind for kind, _ in ITEMS
    }


@pytest.mark.parametrize(("kind", "fields"), ITEMS)
def test_item_with_an_id_and_no_content_is_an_attachment(kind: str, fields: list[str]) -> None:
    """An item of any type that has only an id, and whose other members are missing or empty, points to its content."""
    labels = {key: LABELS[key] for key in fields if key in LABELS}
    bare: dict[str, Any] = {"type": kind, "id": "x_1"}
    others = sorted({*fields} - {"id", "type"})
    empties: tuple[Any, ...] = (None, "", [], {})
    additions: list[dict[str, Any]] = [{}, labels, {"status": None}, *(dict.fromkeys(others, x) for x in empties)]
    for more in additions:
        for item in ({**bare, **more}, {**more, **bare}):
            assert measure(response(item), RESPONSES).attachments == 1, item


@pytest.mark.parametrize(
    "item",
    [
        {"id": "msg_1"},
        {"id": "msg_1", "type": None},
        {"id": "msg_1", "status": None},
        {"id": "msg_1", "role": "assistant"},
        {"id": "msg_1", "content": "x"},
        {"id": "x_1", "type": "a_type_of_next_year", "content": "x"},
        {"id": "msg_1", "type": "message", "role": "assistant", "content": [{"type": "output_text", "text": ""}]},
        {"id": "fs_1", "type": "file_search_call", "queries": ["q"], "results": [{"file_id": "file-1"}]},
        {"type": "item_reference", "id": "msg_1", "content": "x"},
        {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": True},
    ],
)
def test_item_that_points_to_its_content_is_an_attachment(item: dict[str, Any]) -> None:
    """An item is an attachment if its content is missing, empty, or unknown to its type."""
    assert measure(response(item), RESPONSES).attachments == 1


CONTENT = [
    {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "hello"}]},
    {"role": "user", "content": "hello"},
    {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "c", "output": "1"},
    {"type": "reasoning", "summary": [], "encrypted_content": "gAAAA"},
    {"type": "custom_tool_call", "call_id": "c", "name": "f", "input": "1"},
    {"type": "computer_call", "call_id": "c", "action": {"type": "screenshot"}},
    {"type": "file_search_call", "queries": ["q"], "results": [{"file_id": "file-1", "text": "hello"}]},
    {"type": "mcp_call", "name": "f", "server_label": "s", "arguments": "{}", "output": "1"},
    {"type": "code_interpreter_call", "code": "1", "outputs": [{"type": "logs", "logs": "1"}]},
]


@pytest.mark.parametrize("item", CONTENT)
def test_item_with_its_content_is_text(item: dict[str, Any]) -> None:
    """An item that has its content is text, with an id or without."""
    for body in (response(item), response({"id": "x_1", **item})):
        assert measure(body, RESPONSES) == InputSize(text_bytes=len(body))


def test_image_in_the_output_of_code_is_an_attachment() -> None:
    """An image that the code interpreter has made is an attachment."""
    outputs = [{"type": "image", "url": "https://example.org/a.png"}]
    body = response({"type": "code_interpreter_call", "id": "ci_1", "code": "1", "outputs": outputs})
    assert measure(body, RESPONSES).attachments == 1


@pytest.mark.parametrize("key", ["content", "output"])
def test_object_in_an_item_with_only_an_id_is_an_attachment(key: str) -> None:
    """An object within an item that has nothing but an id points to its content."""
    body = response({"type": "message", "role": "user", key: [{"type": "output_text", "id": "x_1"}]})
    assert measure(body, RESPONSES).attachments == 1


def test_generated_image_is_an_attachment() -> None:
    """An image that was generated before is an attachment, and its base64 is not text."""
    body = response({"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": DATA})
    assert measure(body, RESPONSES) == InputSize(text_bytes=len(body) - len(DATA), attachments=1)


@pytest.mark.parametrize("more", [{}, {"expires_at": 1}, {"data": DATA, "transcript": "hello"}])
def test_earlier_sound_is_an_attachment(more: dict[str, Any]) -> None:
    """The id of an earlier answer's sound in a chat points to its content."""
    body = dump({"messages": [{"role": "assistant", "content": None, "audio": {"id": "audio_1", **more}}]})
    assert measure(body) == InputSize(text_bytes=len(body), attachments=1)


@pytest.mark.parametrize("kind", sorted({kind for kind, _ in types_of(ToolParam)} | {"a_tool_of_next_year"}))
def test_tools_of_openai_are_attachments(kind: str) -> None:
    """Each tool is an attachment, because it adds what it finds to the input, but for those that the client runs."""
    own = {"function", "custom", "namespace", "local_shell", "apply_patch", "tool_search", "programmatic_tool_calling"}
    tools = [{"type": kind}, {"type": "namespace", "name": "n", "tools": [{"type": kind}, {"type": "function"}]}]
    assert measure(dump({"input": "x", "tools": tools}), RESPONSES).attachments == 2 * (kind not in own)


# Speed.


@pytest.mark.parametrize(
    "part",
    [
        '"type":"image_url",',
        '"input_audio":{',
        '"image_url":{"detail":"a',
        '{"id" ',
        "\\\\u00",
        '\\"',
        '\\\\\\"',
        '\\\\"',
        "\\",
        '"file_data":"data:a',
        '{"id":"a"},',
        '"",',
        "1,",
        "[",
        '{"a":',
    ],
)
def test_adversarial_body_is_measured_quickly(part: str) -> None:
    """A body of 2 MB that is made to be slow to read takes less than a second."""
    text = part.encode() * (2_000_000 // len(part))
    for body in (b'{"a":[%b' % text, b'{"a":"%b"}' % text, b'{"a":[%b1]}' % text):
        started = time.process_time()
        with contextlib.suppress(ClientError):
            measure(body, RESPONSES)
        assert time.process_time() - started < 1
