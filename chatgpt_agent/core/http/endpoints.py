"""The endpoints of OpenAI's API that are forwarded: those whose answers report the tokens that they used, those that
cost nothing, and those of objects that OpenAI stores for the user's key.

What is not in this table is not forwarded. The facts are from the types of OpenAI's official SDK
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

    path: str  # in which `{id}` stands for an id
    method: str = "POST"
    is_free: bool = False  # it uses no tokens and needs no price
    is_stored: bool = False  # it is about an object that OpenAI stores: its request is passed on as it is
    # The request.
    needs_model: bool = True
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
    hosts_tools: bool = False  # OpenAI's own tools may be called, which is charged
    searches: bool = False  # the member `web_search_options` makes OpenAI search, which is charged and not reported
    records: bool = False  # its file is a recording, which may be charged by time
    price_tier: str | None = None  # the tier of a price at which it is charged, whatever served it
    # Parts of a request that are refused, because their tokens are not in the answer or have another price.
    refuses_background: bool = False
    refuses_svg: bool = False
    refuses_many_streams: bool = False  # a stream with more than one output
    # The answer.
    usage_format: UsageFormat = UsageFormat.TOKENS
    final_events: frozenset[str] = frozenset()  # types of events that end a stream, beside `[DONE]`, and hold its usage
    nested: bool = False  # a stream's events hold the answer in their `response`
    max_event: int = 8 * _MIB  # bytes of an event that are held back to be read

    @property
    def name(self) -> str:
        """Its name in the ledger: the path, after the method if that is not POST. Ids are users', and not in it."""
        return self.path if self.method == "POST" else f"{self.method} {self.path}"


CHAT = Endpoint(
    path="/v1/chat/completions",
    conversation="messages",
    searches=True,
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
    hosts_tools=True,
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
    conversation="input",
    price_tier=DECISIONS_TIER,
    usage_format=UsageFormat.TOKENS,
)
EMBEDDINGS = Endpoint(
    path="/v1/embeddings",
    can_stream=False,
    max_output=0,
    max_elements=400_000,  # OpenAI accepts 300,000 tokens, each of which may be a number
    usage_format=UsageFormat.EMBEDDING,
)
IMAGES = Endpoint(
    path="/v1/images/generations",
    refuses_svg=True,
    refuses_many_streams=True,
    usage_format=UsageFormat.IMAGES,
    final_events=frozenset({"image_generation.completed"}),
    max_event=64 * _MIB,  # the usage comes after the image
)
EDITS = Endpoint(
    path="/v1/images/edits",
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
    form=True,
    records=True,
    response_formats=frozenset({"json", "diarized_json"}),
    usage_format=UsageFormat.TRANSCRIPTION,
    final_events=frozenset({"transcript.text.done"}),
)

# Endpoints without tokens.
INPUT_TOKENS = Endpoint(
    path="/v1/responses/input_tokens",
    is_free=True,
    needs_model=False,
    can_stream=False,
    conversation="input",
)
MODERATIONS = Endpoint(
    path="/v1/moderations",
    is_free=True,
    needs_model=False,
    can_stream=False,
    conversation="input",
)


def _stored(method: str, path: str) -> Endpoint:
    return Endpoint(path=path, method=method, is_free=True, is_stored=True, needs_model=False)


METERED = (CHAT, COMPLETIONS, RESPONSES, COMPACT, DECISIONS, EMBEDDINGS, IMAGES, EDITS, TRANSCRIPTIONS)
FREE = (INPUT_TOKENS, MODERATIONS)
# Objects that OpenAI stores for the user's own key. What an answer reports of their usage was counted when they were
# made.
STORED = (
    _stored("GET", "/v1/responses/{id}"),
    _stored("DELETE", "/v1/responses/{id}"),
    _stored("POST", "/v1/responses/{id}/cancel"),
    _stored("GET", "/v1/responses/{id}/input_items"),
    _stored("POST", "/v1/conversations"),
    _stored("GET", "/v1/conversations/{id}"),
    _stored("POST", "/v1/conversations/{id}"),
    _stored("DELETE", "/v1/conversations/{id}"),
    _stored("GET", "/v1/conversations/{id}/items"),
    _stored("POST", "/v1/conversations/{id}/items"),
    _stored("GET", "/v1/conversations/{id}/items/{item}"),
    _stored("DELETE", "/v1/conversations/{id}/items/{item}"),
    _stored("GET", "/v1/chat/completions"),
    _stored("GET", "/v1/chat/completions/{id}"),
    _stored("POST", "/v1/chat/completions/{id}"),
    _stored("DELETE", "/v1/chat/completions/{id}"),
    _stored("GET", "/v1/chat/completions/{id}/messages"),
)
ENDPOINTS = METERED + FREE + STORED


def upstream_urls(chat_url: str) -> dict[str, str]:
    """Returns the URL of each endpoint by its name, derived from the configured URL of chat completions. If that does
    not end as OpenAI's does, the others cannot be derived, and chat alone is served."""
    if not chat_url.endswith(_CHAT_PATH):
        return {CHAT.name: chat_url}
    base = chat_url.removesuffix(_CHAT_PATH)
    return {endpoint.name: base + endpoint.path.removeprefix("/v1") for endpoint in ENDPOINTS}
