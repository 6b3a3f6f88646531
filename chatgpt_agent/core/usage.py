"""Token counts as OpenAI reports them.

A count that is not a non-negative integer of a sane size, or that contradicts another, is neither trusted nor
corrected: then the row records that the usage is unknown.
"""

from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal, get_args

import msgspec

MAX_COUNT = 10**12  # tokens; more in one answer is absurd

# What msgspec raises for bytes that are not what they should be: a text that it decodes may not be UTF-8.
DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

MAX_PLACES = 20  # decimal places of a number of seconds, which is a float in OpenAI's answers

Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNT)]
_ZERO = Decimal(0)

# Why the cost of a usage may differ from OpenAI's (`Usage.uncertain_reason`).
CACHED_KIND = "cached_kind"  # some of the cached or written tokens may be audio or images: the answer does not tell
SEARCH_ITEMS = "search_items"  # searches were counted by items, of which OpenAI may charge fewer
SESSION_TIME = "session_time"  # OpenAI charges a container by minutes, up to a whole session, and reports none of them
CALLS_UNKNOWN = "calls_unknown"  # the output was too large to be held, so that calls in it were not counted
IMAGE_UNKNOWN = "image_unknown"  # an image was drawn, and its tokens are not reported
IMAGE_CACHE = "image_cache"  # some of the image tool's tokens may have been cached, which the answer does not tell


class UsageFormat(Enum):
    """How an endpoint reports its usage."""

    COMPLETION = "prompt_tokens and completion_tokens"  # CompletionUsage
    EMBEDDING = "prompt_tokens"  # CreateEmbeddingResponse.usage
    TOKENS = "input_tokens and output_tokens"  # ResponseUsage
    TRANSCRIPTION = "input_tokens and output_tokens, or seconds"  # Transcription's UsageTokens or UsageDuration
    IMAGES = "input_tokens and output_tokens, of images"  # ImagesResponse.usage


class Usage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one answer used. `cached`, `cache_write`, `audio_input` and `image_input` are parts of `input`; `reasoning`,
    `audio_output` and `image_output` are parts of `output`; `cached_audio` and `cached_image` are parts of `cached`,
    `cache_write_12h` is one of `cache_write`.

    `seconds`: of audio that is charged by time. `image_tool`: tokens of the model that drew for the tool
    image_generation. `uncertain_reason`: why the cost of these counts may be another one."""

    input: int
    output: int
    cached: int = 0
    reasoning: int = 0
    cache_write: int = 0
    audio_input: int = 0
    image_input: int = 0
    audio_output: int = 0
    image_output: int = 0
    cached_audio: int = 0
    cached_image: int = 0
    cache_write_12h: int = 0
    web_search_calls: int = 0
    file_search_calls: int = 0
    code_interpreter_sessions: int = 0
    seconds: Decimal = _ZERO
    image_tool: "Usage | None" = None
    uncertain_reason: str | None = None

    @property
    def is_text(self) -> bool:
        """Whether it has no tokens of the rare kinds, which may have rates of their own (core/money/kinds.py)."""
        return not (
            self.cache_write
            or self.audio_input
            or self.image_input
            or self.audio_output
            or self.image_output
            or self.cached_audio
            or self.cached_image
            or self.cache_write_12h
        )

    @property
    def written(self) -> int:
        """The tokens that were written to the cache and not read from it: some counts of writes include these."""
        return min(self.cache_write, self.input - self.cached)

    @property
    def is_simple(self) -> bool:
        """Whether it is charged by tokens of one model alone, all of which a price can charge: no calls, no seconds, no
        tokens of another model or of a kind that may lack its price."""
        return not (
            self.web_search_calls
            or self.file_search_calls
            or self.code_interpreter_sessions
            or self.seconds
            or self.image_tool
            or self.cache_write_12h
            or self.uncertain_reason
        )


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the ledger records of an answer. `usage` is None if it is missing or cannot be trusted; `model` and
    `service_tier` are those that served, `image_model` what drew for the tool image_generation; `id` is OpenAI's.
    `failed`: the answer reports an error, `began`: after output, which OpenAI may bill. `complete`: it was read to its
    end, which in a stream is an event that says so. `unknown_fields`: names in its usage that we do not know
    (core/unknown_fields.py)."""

    usage: Usage | None = None
    model: str | None = None
    id: str | None = None
    failed: bool = False
    began: bool = False
    complete: bool = False
    service_tier: str | None = None
    image_model: str | None = None
    unknown_fields: tuple[str, ...] = ()


class _CacheWrites(msgspec.Struct, kw_only=True):
    ttl_30m_tokens: Count = 0
    ttl_12h_tokens: Count = 0


class _CachedKinds(msgspec.Struct, kw_only=True):
    """As `tool_usage.image_gen` and the Realtime API report them."""

    cached_image_tokens: Count | None = None
    cached_text_tokens: Count | None = None
    image_tokens: Count | None = None
    audio_tokens: Count | None = None


class _Input(msgspec.Struct, kw_only=True):
    cached_tokens: Count | None = None
    cached_tokens_details: _CachedKinds | None = None
    cache_write_tokens: Count | None = None
    cache_write_tokens_details: _CacheWrites | None = None
    text_tokens: Count | None = None
    audio_tokens: Count | None = None
    image_tokens: Count | None = None


class _Output(msgspec.Struct, kw_only=True):
    accepted_prediction_tokens: object = None  # parts of the output at its rate
    rejected_prediction_tokens: object = None
    reasoning_tokens: Count | None = None
    text_tokens: Count | None = None
    audio_tokens: Count | None = None
    image_tokens: Count | None = None


class _Completion(msgspec.Struct, kw_only=True):
    prompt_tokens: Count
    completion_tokens: Count
    total_tokens: Count | None = None
    prompt_tokens_details: _Input | None = None
    completion_tokens_details: _Output | None = None


class _Embedding(msgspec.Struct):
    prompt_tokens: Count
    total_tokens: Count | None = None


class _Tokens(msgspec.Struct, kw_only=True):
    input_tokens: Count
    output_tokens: Count
    total_tokens: Count | None = None
    input_tokens_details: _Input | None = None
    input_token_details: _Input | None = None  # spelled like this in transcriptions
    output_tokens_details: _Output | None = None
    # Beside the details in tool_usage.image_gen.
    cached_tokens: Count | None = None
    cached_tokens_details: _CachedKinds | None = None


class _Drawn(_Tokens, kw_only=True):
    """A tool that was not used may have no counts."""

    input_tokens: Count = 0
    output_tokens: Count = 0


class _Duration(msgspec.Struct, kw_only=True):
    """The usage of audio that is charged by time (openai.types.audio.transcription.UsageDuration)."""

    type: Literal["duration"]
    seconds: Decimal


class _WebSearch(msgspec.Struct):
    num_requests: object = None  # core/http/tool_usage.py reads it


class _ToolUsage(msgspec.Struct):
    image_gen: _Tokens | None = None
    web_search: _WebSearch | None = None


Names = dict[str, Any]  # names of members, each with those of the members inside it


def _names(kind: type[msgspec.Struct]) -> Names:
    return {
        field.name: {
            name: names
            for inner in get_args(field.type)
            if isinstance(inner, type) and issubclass(inner, msgspec.Struct)
            for name, names in _names(inner).items()
        }
        for field in msgspec.structs.fields(kind)
    }


KNOWN_FIELDS = _names(_Completion) | _names(_Tokens) | _names(_Duration)  # of `usage`
KNOWN_TOOL_FIELDS = _names(_ToolUsage)  # of `tool_usage`

_completion = msgspec.json.Decoder(_Completion)
_embedding = msgspec.json.Decoder(_Embedding)
_tokens = msgspec.json.Decoder(_Tokens)
_drawn = msgspec.json.Decoder(_Drawn)
_duration = msgspec.json.Decoder(_Duration)
_NO_INPUT, _NO_OUTPUT = _Input(), _Output()


def read_usage(raw: msgspec.Raw, usage_format: UsageFormat) -> Usage | None:
    """Returns the usage in a `usage` object, or None if it cannot be trusted."""
    try:
        return _read(raw, usage_format)
    except DECODE_ERRORS:
        return None


def _read(raw: msgspec.Raw, usage_format: UsageFormat) -> Usage | None:
    if usage_format is UsageFormat.COMPLETION:
        completion = _completion.decode(raw)
        return _validated(
            completion.prompt_tokens,
            completion.completion_tokens,
            completion.total_tokens,
            inputs=completion.prompt_tokens_details or _NO_INPUT,
            outputs=completion.completion_tokens_details or _unreported_reasoning(completion),
        )
    if usage_format is UsageFormat.EMBEDDING:
        embedding = _embedding.decode(raw)
        return _validated(embedding.prompt_tokens, 0, embedding.total_tokens)
    if usage_format is UsageFormat.TRANSCRIPTION and b'"duration"' in bytes(raw):
        return _timed(_duration.decode(raw).seconds)
    return _read_tokens(_tokens.decode(raw), usage_format)


def read_image_tool(raw: msgspec.Raw) -> Usage | None:
    """Returns the usage in `tool_usage.image_gen`: that of the model that draws. None: it cannot be trusted. Where the
    answer does not tell how many tokens were cached, some may have been (openai.types.responses.response.ToolUsage)."""
    try:
        tokens = _drawn.decode(raw)
        usage = _read_tokens(tokens, UsageFormat.IMAGES)
    except DECODE_ERRORS:
        return None
    if usage is not None and usage.input and _cached(tokens) is None:
        return msgspec.structs.replace(usage, uncertain_reason=IMAGE_CACHE)
    return usage


def _read_tokens(tokens: _Tokens, usage_format: UsageFormat) -> Usage | None:
    inputs = tokens.input_tokens_details or tokens.input_token_details or _NO_INPUT
    outputs = tokens.output_tokens_details or _NO_OUTPUT
    if usage_format is UsageFormat.IMAGES and outputs.image_tokens is None:
        outputs = _Output(image_tokens=tokens.output_tokens)
    if inputs.cached_tokens is None and tokens.cached_tokens is not None:
        inputs = msgspec.structs.replace(
            inputs, cached_tokens=tokens.cached_tokens, cached_tokens_details=tokens.cached_tokens_details
        )
    return _validated(tokens.input_tokens, tokens.output_tokens, tokens.total_tokens, inputs=inputs, outputs=outputs)


def _cached(tokens: _Tokens) -> int | None:
    inputs = tokens.input_tokens_details
    return tokens.cached_tokens if inputs is None or inputs.cached_tokens is None else inputs.cached_tokens


def _timed(seconds: Decimal) -> Usage | None:
    exponent = seconds.as_tuple().exponent
    if not isinstance(exponent, int) or not 0 <= seconds <= MAX_COUNT or exponent < -MAX_PLACES:
        return None
    return Usage(input=0, output=0, seconds=seconds)


def _unreported_reasoning(completion: _Completion) -> _Output:
    """Gemini counts its reasoning in the total alone."""
    total, counted = completion.total_tokens, completion.prompt_tokens + completion.completion_tokens
    return _Output(reasoning_tokens=total - counted) if total is not None and total > counted else _NO_OUTPUT


def _validated(
    input_tokens: int,
    output_tokens: int,
    total: int | None,
    *,
    inputs: _Input = _NO_INPUT,
    outputs: _Output = _NO_OUTPUT,
) -> Usage | None:
    """Returns the usage unless its counts contradict each other: the total is not the sum, or a part is larger than
    its whole. Text, audio and image tokens are different tokens, so their sum is such a part. Some servers (xAI,
    Gemini) count reasoning beside the output, which their total shows: it becomes a part of the output."""
    reasoning = outputs.reasoning_tokens or 0
    if reasoning and total == input_tokens + output_tokens + reasoning:
        output_tokens += reasoning
    usage = Usage(
        input=input_tokens,
        output=output_tokens,
        cached=inputs.cached_tokens or 0,
        cache_write=inputs.cache_write_tokens or 0,
        audio_input=inputs.audio_tokens or 0,
        image_input=inputs.image_tokens or 0,
        reasoning=reasoning,
        audio_output=outputs.audio_tokens or 0,
        image_output=outputs.image_tokens or 0,
    )
    if (
        inputs.cached_tokens_details
        or inputs.cache_write_tokens_details
        or ((usage.cached or usage.cache_write) and (usage.audio_input or usage.image_input))
    ):
        detailed = _with_details(usage, inputs)
        if detailed is None:
            return None
        usage = detailed
    if total is not None and total != input_tokens + output_tokens:
        return None
    input_kinds = (inputs.text_tokens or 0) + usage.audio_input + usage.image_input
    if max(usage.cached, usage.cache_write, input_kinds) > input_tokens:
        return None
    output_kinds = (outputs.text_tokens or 0) + usage.audio_output + usage.image_output
    if max(usage.reasoning, output_kinds) > output_tokens:
        return None
    return usage


def _with_text_cached_first(usage: Usage) -> Usage:
    """Returns the usage with cached tokens of audio and images as far as there are more than all of its text."""
    media = usage.audio_input + usage.image_input
    if not media or not (usage.cached or usage.cache_write):
        return usage
    rest = max(0, usage.cached - max(0, usage.input - media))
    audio = min(rest, usage.audio_input)
    return msgspec.structs.replace(
        usage, cached_audio=audio, cached_image=min(rest - audio, usage.image_input), uncertain_reason=CACHED_KIND
    )


def _with_details(usage: Usage, inputs: _Input) -> Usage | None:
    """Returns the usage with what is known of the kinds of its cached and its written tokens; None: they contradict
    their sums."""
    writes, kinds = inputs.cache_write_tokens_details, inputs.cached_tokens_details
    if writes is not None:
        if writes.ttl_30m_tokens + writes.ttl_12h_tokens != usage.cache_write:
            return None
        if writes.ttl_12h_tokens:
            usage = msgspec.structs.replace(usage, cache_write_12h=writes.ttl_12h_tokens)
    if kinds is None:
        return _with_text_cached_first(usage)
    audio = kinds.audio_tokens or 0
    image = kinds.cached_image_tokens if kinds.cached_image_tokens is not None else kinds.image_tokens or 0
    if audio > usage.audio_input or image > usage.image_input:
        return None
    if audio + image + (kinds.cached_text_tokens or 0) > usage.cached:
        return None
    return msgspec.structs.replace(usage, cached_audio=audio, cached_image=image)
