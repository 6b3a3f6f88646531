"""The endpoints of OpenAI's API that are forwarded: those whose answers report the tokens that they used.

A path that is not in this table is not forwarded. The facts are from the types of OpenAI's official SDK
(https://github.com/openai/openai-python, `openai/types`).
"""

import msgspec

from chatgpt_agent.core.money.pricing import DECISIONS_TIER
from chatgpt_agent.core.usage import UsageFormat

_CHAT_PATH = "/chat/completions"
_REFERENCES = frozenset({"previous_response_id", "conversation", "web_search_options"})
_MIB = 1024 * 1024


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint, and all that is special about it. The model is always the body's `model`."""

    path: str  # also its name in the ledger
    # The request.
    form: bool = False  # multipart/form-data instead of JSON
    form_or_json: bool = False  # a form, and JSON too
    response_formats: frozenset[str] | None = None  # those whose answers report tokens; None: all of them
    can_stream: bool = True
    usage_option: bool = False  # a stream reports its usage only if `stream_options.include_usage` is true
    output_limits: tuple[str, ...] = ()  # members that limit the output tokens
    max_output: int | None = None  # output tokens, if the endpoint itself has a limit
    prompt_lists: bool = False  # `prompt` may be a list of prompts, each with outputs of its own
    conversation: str | None = None  # the member with messages, items or images, which may have data in base64
    references: frozenset[str] = _REFERENCES  # members that stand for text outside of the body
    max_elements: int = 200_000  # brackets and commas of a body: 8 MB of small numbers would block the loop for 0.5 s
    price_tier: str | None = None  # the tier of a price at which it is charged, whatever served it
    # Parts of a request that are refused, because their tokens are not in the answer or have another price.
    refuses_background: bool = False
    refuses_image_tool: bool = False
    refuses_svg: bool = False
    refuses_many_streams: bool = False  # a stream with more than one output
    # The answer.
    usage_format: UsageFormat
    final_events: frozenset[str] = frozenset()  # types of events that end a stream, beside `[DONE]`, and hold its usage
    nested: bool = False  # a stream's events hold the answer in their `response`
    max_event: int = 8 * _MIB  # bytes of an event that are held back to be read
    # Whether OpenAI's organization API counts it among completions (`/v1/organization/usage/completions`).
    is_completion: bool = True


CHAT = Endpoint(
    path="/v1/chat/completions",
    conversation="messages",
    usage_option=True,
    output_limits=("max_completion_tokens", "max_tokens"),
    usage_format=UsageFormat.COMPLETION,
)
COMPLETIONS = Endpoint(
    path="/v1/completions",
    usage_option=True,
    output_limits=("max_tokens",),
    prompt_lists=True,
    usage_format=UsageFormat.COMPLETION,
)
RESPONSES = Endpoint(
    path="/v1/responses",
    output_limits=("max_output_tokens",),
    conversation="input",
    references=_REFERENCES | {"prompt"},
    refuses_background=True,
    refuses_image_tool=True,
    usage_format=UsageFormat.TOKENS,
    final_events=frozenset({"response.completed", "response.incomplete", "response.failed"}),
    nested=True,
    max_event=64 * _MIB,  # the last event is the whole answer
)
COMPACT = Endpoint(
    path="/v1/responses/compact",
    can_stream=False,
    conversation="input",
    usage_format=UsageFormat.TOKENS,
)
DECISIONS = Endpoint(
    path="/v1/decisions",
    can_stream=False,
    is_completion=False,
    conversation="input",
    price_tier=DECISIONS_TIER,
    usage_format=UsageFormat.TOKENS,
)
EMBEDDINGS = Endpoint(
    path="/v1/embeddings",
    can_stream=False,
    is_completion=False,
    max_output=0,
    max_elements=400_000,  # OpenAI accepts 300,000 tokens, each of which may be a number
    usage_format=UsageFormat.EMBEDDING,
)
IMAGES = Endpoint(
    path="/v1/images/generations",
    is_completion=False,
    refuses_svg=True,
    refuses_many_streams=True,
    usage_format=UsageFormat.IMAGES,
    final_events=frozenset({"image_generation.completed"}),
    max_event=64 * _MIB,  # the usage comes after the image
)
EDITS = Endpoint(
    path="/v1/images/edits",
    is_completion=False,
    form=True,
    form_or_json=True,
    conversation="images",
    refuses_svg=True,
    refuses_many_streams=True,
    usage_format=UsageFormat.IMAGES,
    final_events=frozenset({"image_edit.completed"}),
    max_event=64 * _MIB,
)
TRANSCRIPTIONS = Endpoint(
    path="/v1/audio/transcriptions",
    is_completion=False,
    form=True,
    response_formats=frozenset({"json", "diarized_json"}),
    usage_format=UsageFormat.TRANSCRIPTION,
    final_events=frozenset({"transcript.text.done"}),
)

ENDPOINTS = (CHAT, COMPLETIONS, RESPONSES, COMPACT, DECISIONS, EMBEDDINGS, IMAGES, EDITS, TRANSCRIPTIONS)


def upstream_urls(chat_url: str) -> dict[str, str]:
    """Returns the URL of each endpoint by its path, derived from the configured URL of chat completions. If that does
    not end as OpenAI's does, the others cannot be derived, and chat alone is served."""
    if not chat_url.endswith(_CHAT_PATH):
        return {CHAT.path: chat_url}
    base = chat_url.removesuffix(_CHAT_PATH)
    return {endpoint.path: base + endpoint.path.removeprefix("/v1") for endpoint in ENDPOINTS}
