"""The usage of OpenAI's own tools in answers of /v1/responses, whole and streamed."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from chatgpt_agent.core.cooperative import run_to_end
from chatgpt_agent.core.http.answer import PassingAnswer, read_answer
from chatgpt_agent.core.http.endpoints import RESPONSES
from chatgpt_agent.core.http.meter import StreamMeter
from chatgpt_agent.core.usage import (
    CALLS_UNKNOWN,
    IMAGE_CACHE,
    IMAGE_UNKNOWN,
    SEARCH_ITEMS,
    SESSION_TIME,
    Answer,
    Usage,
)

USAGE = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
UNUSED = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
DRAWN = {
    "input_tokens": 100, "output_tokens": 200, "total_tokens": 300, "cached_tokens": 40,
    "input_tokens_details": {"image_tokens": 60, "text_tokens": 40},
    "cached_tokens_details": {"cached_image_tokens": 30, "cached_text_tokens": 10},
    "output_tokens_details": {"image_tokens": 200, "text_tokens": 0},
}  # fmt: skip


def response(**more: Any) -> dict[str, Any]:
    """An answer with this usage."""
    return {"id": "resp_1", "object": "response", "status": "completed", "model": "m", "usage": USAGE, **more}


def whole(answer: dict[str, Any]) -> Answer:
    return run_to_end(read_answer([json.dumps(answer).encode()], RESPONSES))


def streamed(answer: dict[str, Any]) -> Answer:
    meter = StreamMeter(RESPONSES, hide_usage=False)
    meter.feed(b"data: %s\n\n" % json.dumps({"type": "response.completed", "response": answer}).encode())
    return meter.answer()


Read = Callable[[dict[str, Any]], Answer]
both = pytest.mark.parametrize("read", [whole, streamed])


def used(read: Read, **more: Any) -> Usage:
    usage = read(response(**more)).usage
    assert usage is not None
    return usage


def search(kind: str = "search") -> dict[str, Any]:
    return {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": kind, "query": "q"}}


def run(container: str) -> dict[str, Any]:
    return {"type": "code_interpreter_call", "id": "ci_1", "status": "completed", "container_id": container}


@both
def test_searches_are_those_that_openai_bills(read: Read) -> None:
    """`tool_usage` counts, and not the items, some of which are free."""
    usage = used(read, tool_usage={"image_gen": UNUSED, "web_search": {"num_requests": 2}}, output=[search()] * 5)
    assert (usage.web_search_calls, usage.uncertain_reason) == (2, None)


@both
def test_items_count_where_tool_usage_is_missing(read: Read) -> None:
    """Searches are counted by their items then, without the opening of pages; that may be too many."""
    usage = used(read, output=[search(), search("open_page"), search("find_in_page"), search()])
    assert (usage.web_search_calls, usage.uncertain_reason) == (2, SEARCH_ITEMS)


@both
def test_file_searches_are_counted(read: Read) -> None:
    """Each item is a call."""
    items = [{"type": "file_search_call", "id": f"fs_{number}", "queries": ["q"]} for number in range(3)]
    usage = used(read, tool_usage={"web_search": {"num_requests": 0}}, output=items)
    assert (usage.file_search_calls, usage.uncertain_reason) == (3, None)


@both
def test_sessions_are_counted_by_container(read: Read) -> None:
    """Two calls in one container are one session; OpenAI does not report its minutes."""
    shell = {"type": "shell_call", "action": {"commands": ["ls"]}, "environment": {"type": "x", "container_id": "c"}}
    usage = used(read, output=[run("a"), run("a"), run("b"), shell, {**shell, "environment": None}])
    assert (usage.code_interpreter_sessions, usage.uncertain_reason) == (3, SESSION_TIME)


@both
def test_tokens_of_the_image_tool_are_read(read: Read) -> None:
    """They are those of another model, which the answer may name."""
    offered = [{"type": "function", "name": "f"}, {"type": "image_generation", "model": "gpt-image-2"}]
    answer = read(response(tool_usage={"image_gen": DRAWN}, tools=offered))
    assert answer.usage is not None
    assert answer.image_model == "gpt-image-2"
    assert answer.usage.image_tool == Usage(
        input=100, output=200, cached=40, cached_image=30, image_input=60, image_output=200
    )


@both
def test_unreported_cache_of_the_image_tool_is_unknown(read: Read) -> None:
    """ "An omitted cache count means cache usage is unknown", says the SDK."""
    drawn = {name: value for name, value in DRAWN.items() if not name.startswith("cached")}
    usage = used(read, tool_usage={"image_gen": drawn})
    assert usage.image_tool is not None
    assert usage.image_tool.uncertain_reason == IMAGE_CACHE


@both
@pytest.mark.parametrize("tool_usage", [None, {"image_gen": UNUSED}])
def test_image_without_tokens_is_unknown(read: Read, tool_usage: object) -> None:
    """An image was drawn, and OpenAI does not report its tokens."""
    image = {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "aGk="}
    assert used(read, tool_usage=tool_usage, output=[image]).uncertain_reason == IMAGE_UNKNOWN
    assert used(read, tool_usage=tool_usage, output=[{**image, "status": "failed"}]).uncertain_reason is None


@both
@pytest.mark.parametrize(
    "more",
    [
        {"tool_usage": {"web_search": {"num_requests": -1}}},
        {"tool_usage": {"web_search": {"num_requests": "2"}}},
        {"tool_usage": {"image_gen": {**DRAWN, "total_tokens": 301}}},
        {"tool_usage": [1]},
        {"output": {"x": "_call"}, "tool_usage": 7},
    ],
)
def test_contradictory_counts_are_not_trusted(read: Read, more: dict[str, Any]) -> None:
    """Then the row records that the usage is unknown."""
    assert read(response(**more)).usage is None


@both
def test_calls_of_clients_cost_nothing(read: Read) -> None:
    """Calls of functions and of MCP servers are no tools of OpenAI's."""
    items = [
        {"type": kind, "id": "x", "name": "web_search"} for kind in ("function_call", "mcp_call", "custom_tool_call")
    ]
    assert used(read, output=items) == Usage(input=10, output=5)


def without_room(**members: Any) -> Usage:
    """The usage of an event that is too large, which is read as it passes, without its output."""
    answer = response(output=[{"type": "message", "content": "x" * 600_000}], **members)
    event = b"data: %s\n\n" % json.dumps({"type": "response.completed", "response": answer}).encode()
    meter = StreamMeter(RESPONSES, hide_usage=False, has_room=lambda size: False)
    for at in range(0, len(event), 65536):
        meter.feed(event[at : at + 65536])
    usage = meter.answer().usage
    assert usage is not None
    return usage


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "file_search", "vector_store_ids": ["vs_1"]},
        {"type": "web_search"},
        {"type": "web_search_preview"},
        {"type": "image_generation"},
    ],
)
def test_calls_in_an_output_that_was_not_held_are_unknown(tool: dict[str, Any]) -> None:
    """Without `tool_usage` all calls are counted by the output."""
    assert without_room(tools=[tool]).uncertain_reason == CALLS_UNKNOWN
    assert without_room(tools=[{"type": "function", "name": "f"}]).uncertain_reason is None


@pytest.mark.parametrize("kind", ["web_search", "image_generation"])
def test_reported_calls_need_no_output(kind: str) -> None:
    """With `tool_usage` searches and images are counted without the output."""
    tool_usage = {"image_gen": UNUSED, "web_search": {"num_requests": 0}}
    assert without_room(tools=[{"type": kind}], tool_usage=tool_usage).uncertain_reason is None


@pytest.mark.parametrize(
    "member", [b'"tools":[{"type":"\xdf"}]', b'"output":[{"type":"\xdf_call"}]', b'"tool_usage":{"\xdf":{"\xdf":1}}']
)
def test_text_that_is_not_utf_8_is_no_error(member: bytes) -> None:
    """Tools and calls with such a text cannot be counted; the rest of the answer is read, held or passing."""
    body = b'{"model":"m","usage":%b,%b}' % (json.dumps(USAGE).encode(), member)
    passing = PassingAnswer(RESPONSES, None)
    passing.feed(body)
    for answer in (run_to_end(read_answer([body], RESPONSES)), passing.answer()):
        assert answer.model == "m"
        assert answer.usage in (None, Usage(input=10, output=5))
