"""OpenAI's own tools that a request offers to the model, as far as calls of them are charged.

Sources: the types of OpenAI's official SDK (openai/types/responses/tool_param.py), and
https://developers.openai.com/api/docs/pricing (built-in tools).
"""

import msgspec

from chatgpt_agent.core.http.json_object import JsonObject
from chatgpt_agent.core.names import is_printable

# What draws where a request names no model ("Default", openai/types/responses/tool_param.py, ImageGeneration, 3.57).
DEFAULT_IMAGE_MODEL = "gpt-image-2.6-sunburst"

_CONTAINER_SIZE = "1g"  # the one whose sessions have a price


class OfferedTools(msgspec.Struct, kw_only=True):
    """`any`: OpenAI runs a tool, charged or not; `kinds`: of surcharges on calls; `image_model`: what draws for
    image_generation, None: the tool is not offered; `refusal`: why the cost of a tool could not be known, if OpenAI
    runs it."""

    any: bool = False
    kinds: set[str] = msgspec.field(default_factory=set)
    image_model: str | None = None
    refusal: str | None = None


def read_tool(tool: JsonObject, offered: OfferedTools) -> None:
    """Adds a tool."""
    offered.any = True
    kind = tool.get("type")
    if not isinstance(kind, str):
        return
    if kind.startswith("web_search"):  # web_search_preview, web_search_2025_08_26, …
        offered.kinds.add("web_search")
    elif kind == "file_search":
        offered.kinds.add("file_search")
    elif kind == "code_interpreter":
        _add_container(tool.get("container"), offered)
    elif kind == "shell":
        environment = tool.get("environment")
        if isinstance(environment, dict) and str(environment.get("type")).startswith("container"):
            _add_container(environment, offered)
    elif kind == "image_generation":
        _add_image_model(tool, offered)


def _add_container(container: object, offered: OfferedTools) -> None:
    offered.kinds.add("code_interpreter")
    size = container.get("memory_limit") if isinstance(container, dict) else None
    if size not in (None, _CONTAINER_SIZE):
        offered.refusal = (
            f"memory_limit must be {_CONTAINER_SIZE} or absent: sessions of larger containers have other prices."
        )


def _add_image_model(tool: JsonObject, offered: OfferedTools) -> None:
    named = tool.get("model")
    model = DEFAULT_IMAGE_MODEL if named is None else named
    if tool.get("svg") is not None or tool.get("output_format") == "svg":
        offered.refusal = "SVG is not supported: it uses tokens of a third model."
    elif not isinstance(model, str) or not is_printable(model):
        offered.refusal = "The model of the tool image_generation must be a name."
    elif offered.image_model not in (None, model):
        offered.refusal = (
            "Tools image_generation with different models are not supported: the answer does not say which of them "
            "used its tokens."
        )
    else:
        offered.image_model = model
