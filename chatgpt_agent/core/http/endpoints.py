"""The endpoints of OpenAI's API that are forwarded: those whose answers say how many tokens they used.

Whatever is not in this table is not forwarded at all. What each field says of an endpoint is from the official SDK's
types (https://github.com/openai/openai-python, `openai/types`).
"""

import msgspec

from chatgpt_agent.core.usage import UsageFormat

_CHAT_PATH = "/chat/completions"


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One of them. `path` is its name in the ledger, too. The model is the body's `model`."""

    path: str
    # The request.
    form: bool = False  # multipart/form-data, and not JSON
    streams: bool = True  # whether it may be asked for a stream
    asks_usage: bool = False  # a stream tells its usage only where `stream_options.include_usage` asks for it
    limits: tuple[str, ...] = ()  # members that limit the tokens of the output
    max_output: int | None = None  # tokens, where the endpoint itself has a limit
    max_parts: int = 200_000  # brackets and commas of a body: 8 MB of small numbers would hold the loop for 0.5 s
    # The answer.
    shape: UsageFormat
    ends: frozenset[str] = frozenset()  # types of the events that end a stream and tell its usage; `[DONE]` always ends
    nested: bool = False  # a stream's events hold the answer in their `response`
    max_event: int = 8 * 1024 * 1024  # bytes of one event that are held back to be read


CHAT = Endpoint(
    path="/v1/chat/completions",
    asks_usage=True,
    limits=("max_completion_tokens", "max_tokens"),
    shape=UsageFormat.COMPLETION,
)
COMPLETIONS = Endpoint(path="/v1/completions", asks_usage=True, limits=("max_tokens",), shape=UsageFormat.COMPLETION)
RESPONSES = Endpoint(
    path="/v1/responses",
    limits=("max_output_tokens",),
    shape=UsageFormat.TOKENS,
    ends=frozenset({"response.completed", "response.incomplete", "response.failed"}),
    nested=True,
    max_event=64 * 1024 * 1024,  # the last event is the whole answer
)
EMBEDDINGS = Endpoint(
    path="/v1/embeddings",
    streams=False,
    max_output=0,
    max_parts=400_000,  # OpenAI takes 300,000 tokens, and a token may be given as a number
    shape=UsageFormat.EMBEDDING,
)
IMAGES = Endpoint(
    path="/v1/images/generations",
    shape=UsageFormat.IMAGES,
    ends=frozenset({"image_generation.completed"}),
    max_event=64 * 1024 * 1024,  # the usage stands behind the image
)
TRANSCRIPTIONS = Endpoint(
    path="/v1/audio/transcriptions",
    form=True,
    shape=UsageFormat.TOKENS,
    ends=frozenset({"transcript.text.done"}),
)

ENDPOINTS = (CHAT, COMPLETIONS, RESPONSES, EMBEDDINGS, IMAGES, TRANSCRIPTIONS)


def upstream_urls(chat_url: str) -> dict[str, str]:
    """Where requests of each path go, beside the configured URL of chat completions. Where that URL does not end as
    OpenAI's does, nobody knows where the others are: then chat alone is served."""
    if not chat_url.endswith(_CHAT_PATH):
        return {CHAT.path: chat_url}
    base = chat_url.removesuffix(_CHAT_PATH)
    return {endpoint.path: base + endpoint.path.removeprefix("/v1") for endpoint in ENDPOINTS}
