"""Token counts as OpenAI reports them.

A count that is not a non-negative integer of a sane size, or that contradicts another, is neither trusted nor
corrected: then the row records that the usage is unknown.
"""

from enum import Enum
from typing import Annotated

import msgspec

MAX_COUNT = 10**12  # tokens; more in one answer is absurd

Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNT)]


class UsageFormat(Enum):
    """How an endpoint reports its usage."""

    COMPLETION = "prompt_tokens and completion_tokens"  # CompletionUsage
    EMBEDDING = "prompt_tokens"  # CreateEmbeddingResponse.usage
    TOKENS = "input_tokens and output_tokens"  # ResponseUsage, Transcription's UsageTokens
    IMAGES = "input_tokens and output_tokens, of images"  # ImagesResponse.usage


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of one answer. `cached`, `cache_write`, `audio_input` and `image_input` are parts of `input`; `reasoning`,
    `audio_output` and `image_output` are parts of `output`."""

    input: int
    output: int
    cached: int = 0
    reasoning: int = 0
    cache_write: int = 0
    audio_input: int = 0
    image_input: int = 0
    audio_output: int = 0
    image_output: int = 0

    @property
    def is_text(self) -> bool:
        """Whether it has no tokens of the rare kinds, which may have rates of their own (core/money/kinds.py)."""
        return not (self.cache_write or self.audio_input or self.image_input or self.audio_output or self.image_output)


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the ledger records of an answer. `usage` is None if it is missing or cannot be trusted; `model` and
    `service_tier` are those that served; `id` is OpenAI's. `failed`: the answer reports an error, `began`:
    after output, which OpenAI may bill. `complete`: it was read to its end, which in a stream is an event that says
    so."""

    usage: Usage | None = None
    model: str | None = None
    id: str | None = None
    failed: bool = False
    began: bool = False
    complete: bool = False
    service_tier: str | None = None


class _Input(msgspec.Struct, kw_only=True):
    cached_tokens: Count | None = None
    cache_write_tokens: Count | None = None
    text_tokens: Count | None = None
    audio_tokens: Count | None = None
    image_tokens: Count | None = None


class _Output(msgspec.Struct, kw_only=True):
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


_completion = msgspec.json.Decoder(_Completion)
_embedding = msgspec.json.Decoder(_Embedding)
_tokens = msgspec.json.Decoder(_Tokens)
_NO_INPUT, _NO_OUTPUT = _Input(), _Output()


def read_usage(raw: msgspec.Raw, usage_format: UsageFormat) -> Usage | None:
    """Returns the usage in a `usage` object, or None if it cannot be trusted."""
    try:
        return _read(raw, usage_format)
    except (msgspec.DecodeError, RecursionError):
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
    tokens = _tokens.decode(raw)
    inputs = tokens.input_tokens_details or tokens.input_token_details or _NO_INPUT
    outputs = tokens.output_tokens_details or _NO_OUTPUT
    if usage_format is UsageFormat.IMAGES and outputs.image_tokens is None:
        outputs = _Output(image_tokens=tokens.output_tokens)
    return _validated(tokens.input_tokens, tokens.output_tokens, tokens.total_tokens, inputs=inputs, outputs=outputs)


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
    if total is not None and total != input_tokens + output_tokens:
        return None
    input_kinds = (inputs.text_tokens or 0) + usage.audio_input + usage.image_input
    if max(usage.cached, usage.cache_write, input_kinds) > input_tokens:
        return None
    output_kinds = (outputs.text_tokens or 0) + usage.audio_output + usage.image_output
    if max(usage.reasoning, output_kinds) > output_tokens:
        return None
    return usage
