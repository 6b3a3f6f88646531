"""OpenAI's own tools in requests: which calls may be charged, and what draws."""

import json
from typing import Any

import pytest

from chatgpt_agent.core.cooperative import run_to_end
from chatgpt_agent.core.errors import InvalidRequest
from chatgpt_agent.core.http.endpoints import CHAT, COMPACT, INPUT_TOKENS, RESPONSES, Endpoint
from chatgpt_agent.core.http.offered_tools import DEFAULT_IMAGE_MODEL
from chatgpt_agent.core.http.request import ApiRequest, parse_request


def parsed(*tools: object, endpoint: Endpoint = RESPONSES, model: str = "m", **more: Any) -> ApiRequest:
    body: dict[str, Any] = {"model": model, "input": "x", **({"tools": tools} if tools else {}), **more}
    return run_to_end(parse_request(endpoint, json.dumps(body).encode()))


@pytest.mark.parametrize(
    ("tool", "kind"),
    [
        ({"type": "web_search"}, "web_search"),
        ({"type": "web_search_2025_08_26"}, "web_search"),
        ({"type": "web_search_preview"}, "web_search"),
        ({"type": "file_search", "vector_store_ids": ["vs_1"]}, "file_search"),
        ({"type": "code_interpreter", "container": {"type": "auto"}}, "code_interpreter"),
        ({"type": "code_interpreter", "container": {"type": "auto", "memory_limit": "1g"}}, "code_interpreter"),
        ({"type": "code_interpreter", "container": "cntr_1"}, "code_interpreter"),
        ({"type": "shell", "environment": {"type": "container_auto"}}, "code_interpreter"),
    ],
)
def test_charged_tools_are_recognized(tool: dict[str, Any], kind: str) -> None:
    """The kind of the surcharge on a tool's calls."""
    assert parsed({"type": "function", "name": "f"}, tool).tools == {kind}


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "function", "name": "web_search"},
        {"type": "mcp", "server_label": "s", "server_url": "https://example.org"},
        {"type": "shell", "environment": {"type": "local"}},
        {"type": "custom", "name": "file_search"},
        {"type": 7},
        {},
    ],
)
def test_other_tools_are_not_charged(tool: dict[str, Any]) -> None:
    """Tools of clients, and OpenAI's own whose calls are free."""
    assert parsed(tool).tools == frozenset()


def test_tools_of_an_item_are_recognized() -> None:
    """Tools may also come in the input."""
    request = parsed(input=[{"type": "additional_tools", "role": "developer", "tools": [{"type": "web_search"}]}])
    assert request.tools == {"web_search"}


@pytest.mark.parametrize("size", ["4g", "16g", "64g", 4])
def test_larger_containers_are_refused(size: object) -> None:
    """Their sessions have other prices."""
    with pytest.raises(InvalidRequest, match="memory_limit"):
        parsed({"type": "code_interpreter", "container": {"type": "auto", "memory_limit": size}})


@pytest.mark.parametrize("endpoint", [CHAT, COMPACT, INPUT_TOKENS])
def test_where_openai_runs_no_tools_none_is_refused(endpoint: Endpoint) -> None:
    """A larger container or SVG costs nothing where tools are only counted, or are OpenAI's error."""
    container = {"type": "code_interpreter", "container": {"type": "auto", "memory_limit": "4g"}}
    request = parsed(container, {"type": "image_generation", "output_format": "svg"}, endpoint=endpoint)
    assert request.tools == frozenset()


def test_image_tool_draws_with_the_named_model() -> None:
    """Without a name, with OpenAI's default."""
    assert parsed({"type": "image_generation", "model": "gpt-image-2"}).image_model == "gpt-image-2"
    assert parsed({"type": "image_generation"}).image_model == DEFAULT_IMAGE_MODEL
    assert parsed({"type": "web_search"}).image_model is None


@pytest.mark.parametrize(
    "tools",
    [
        [{"type": "image_generation", "output_format": "svg"}],
        [{"type": "image_generation", "svg": {"model": "x"}}],
        [{"type": "image_generation", "model": 7}],
        [{"type": "image_generation", "model": "a"}, {"type": "image_generation", "model": "b"}],
    ],
)
def test_image_tool_of_unknown_cost_is_refused(tools: list[dict[str, Any]]) -> None:
    """A third model, no model, or two of them, whose tokens the answer does not tell apart."""
    with pytest.raises(InvalidRequest) as caught:
        parsed(*tools)
    assert caught.value.param == "tools"


def test_every_tool_of_openai_makes_the_model_read_again() -> None:
    """After each call the input is charged again, also where the call is free."""
    assert parsed({"type": "mcp", "server_label": "s", "server_url": "https://example.org"}).size.runs_tools
    assert not parsed({"type": "function", "name": "f"}).size.runs_tools


def test_stored_prompt_may_have_any_tool() -> None:
    """Its tools are not in the body: all are reserved, and none is demanded to have a price."""
    request = parsed(prompt={"id": "pmpt_1"})
    assert (request.tools, request.size.tools) == (frozenset(), {"web_search", "file_search", "code_interpreter"})
    assert request.size.runs_tools


def test_calls_are_limited_by_the_request() -> None:
    """`max_tool_calls` bounds the calls of all tools."""
    assert parsed({"type": "web_search"}, max_tool_calls=3).size.calls_limit == 3
    assert parsed({"type": "web_search"}).size.calls_limit is None


@pytest.mark.parametrize(
    ("model", "more", "searches"),
    [
        ("gpt-6-luna", {}, False),
        ("gpt-6-luna", {"web_search_options": {}}, True),
        ("gpt-6-luna", {"web_search_options": None}, False),
        ("gpt-5-search-api", {}, True),
        ("gpt-4o-search-preview-2025-03-11", {}, True),
        ("research-model", {}, False),
    ],
)
def test_chat_may_search(model: str, more: dict[str, Any], searches: bool) -> None:
    """Chat completions search where the request or the model says so."""
    request = parsed(endpoint=CHAT, model=model, **more)
    assert request.tools == ({"web_search"} if searches else frozenset())


def test_chat_has_no_hosted_tools() -> None:
    """A tool of that name in a chat is OpenAI's error, and costs nothing."""
    assert parsed({"type": "web_search"}, {"type": "image_generation"}, endpoint=CHAT).tools == frozenset()
