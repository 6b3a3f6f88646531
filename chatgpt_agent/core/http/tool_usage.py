"""What an answer of /v1/responses says of OpenAI's own tools: billable searches, calls, sessions of containers, and the
tokens of the model that drew.

`tool_usage` counts searches and tokens (openai.types.responses.response.ToolUsage); it may be missing. The other calls
are counted by the items of the output.
"""

import msgspec

from chatgpt_agent.core.usage import (
    CALLS_UNKNOWN,
    DECODE_ERRORS,
    IMAGE_UNKNOWN,
    SEARCH_ITEMS,
    SESSION_TIME,
    Count,
    Usage,
    read_image_tool,
)

_CALL = b'_call"'


class _Searches(msgspec.Struct):
    num_requests: Count = 0


class _Drawn(msgspec.Struct):
    """The sums of image_gen, to tell whether it was used; `read_image_tool` reads all of it."""

    input_tokens: Count = 0
    output_tokens: Count = 0
    total_tokens: Count = 0


class _ToolUsage(msgspec.Struct):
    image_gen: _Drawn | None = None
    web_search: _Searches | None = None

    @property
    def has_drawn(self) -> bool:
        """Whether the image tool used tokens."""
        drawn = self.image_gen
        return drawn is not None and (drawn.input_tokens + drawn.output_tokens + drawn.total_tokens) > 0

    @property
    def searches(self) -> int | None:
        """The number of billable searches, None if it is not reported."""
        return None if self.web_search is None else self.web_search.num_requests


class _RawToolUsage(msgspec.Struct):
    image_gen: msgspec.Raw


class _Action(msgspec.Struct):
    type: str | None = None


class _Environment(msgspec.Struct):
    container_id: str | None = None


class _Item(msgspec.Struct):
    type: str | None = None
    status: str | None = None
    action: _Action | None = None
    container_id: str | None = None
    environment: _Environment | None = None


class _Tool(msgspec.Struct):
    type: str | None = None
    model: str | None = None


_tool_usage = msgspec.json.Decoder(_ToolUsage | None)
_raw_tool_usage = msgspec.json.Decoder(_RawToolUsage)
_items = msgspec.json.Decoder(list[_Item] | None)
_tools = msgspec.json.Decoder(list[_Tool] | None)


def add_tools(usage: Usage, tool_usage: msgspec.Raw, output: msgspec.Raw | None, tools: msgspec.Raw) -> Usage | None:
    """Returns a usage with that of the tools. `output`: None where it was not held; `tools`: those that the answer
    names as offered. None: the counts cannot be trusted."""
    try:
        reported = _tool_usage.decode(tool_usage)
        items = [] if output is None or _CALL not in bytes(output) else _items.decode(output) or []
        if output is None and _may_have_counted_calls(tools, reported):
            usage = msgspec.structs.replace(usage, uncertain_reason=CALLS_UNKNOWN)
    except DECODE_ERRORS:
        return None
    if not items and (reported is None or not (reported.has_drawn or reported.searches)):
        return usage  # as most answers are
    drawn = None
    if reported is not None and reported.has_drawn:
        drawn = read_image_tool(_raw_tool_usage.decode(tool_usage).image_gen)
        if drawn is None:
            return None
    return _with_image(_with_calls(usage, reported, items), drawn, items)


def image_model_of(tools: msgspec.Raw) -> str | None:
    """Returns the model that the offered tool image_generation has, or None if the answer does not say."""
    try:
        offered = _tools.decode(tools) or []
    except DECODE_ERRORS:
        return None
    return next((tool.model for tool in offered if tool.type == "image_generation"), None)


def _may_have_counted_calls(tools: msgspec.Raw, reported: _ToolUsage | None) -> bool:
    """Whether the model may have called a tool whose calls are counted by the items of the output."""
    kinds = {tool.type or "" for tool in _tools.decode(tools) or []}
    if kinds & {"file_search", "code_interpreter", "shell"}:
        return True
    if (reported is None or reported.searches is None) and any(kind.startswith("web_search") for kind in kinds):
        return True
    return reported is None and "image_generation" in kinds


def _with_calls(usage: Usage, reported: _ToolUsage | None, items: list[_Item]) -> Usage:
    reason = usage.uncertain_reason
    searches = None if reported is None else reported.searches
    if searches is None:
        searches = sum(item.type == "web_search_call" and _is_search(item) for item in items)
        reason = SEARCH_ITEMS if searches else reason
    containers = {container for item in items if (container := _container(item)) is not None}
    if not searches and not containers and not any(item.type == "file_search_call" for item in items):
        return usage
    return msgspec.structs.replace(
        usage,
        web_search_calls=searches,
        file_search_calls=sum(item.type == "file_search_call" for item in items),
        code_interpreter_sessions=len(containers),
        uncertain_reason=SESSION_TIME if containers else reason,
    )


def _is_search(item: _Item) -> bool:
    """Whether it is a search, and not the opening of a page, which is free."""
    return item.action is None or item.action.type in (None, "search")


def _container(item: _Item) -> str | None:
    if item.type == "code_interpreter_call":
        return item.container_id or ""
    if item.type == "shell_call" and item.environment is not None:
        return item.environment.container_id
    return None


def _with_image(usage: Usage, drawn: Usage | None, items: list[_Item]) -> Usage:
    if drawn is not None:
        return msgspec.structs.replace(usage, image_tool=drawn)
    if any(item.type == "image_generation_call" and item.status != "failed" for item in items):
        return msgspec.structs.replace(usage, uncertain_reason=IMAGE_UNKNOWN)
    return usage
