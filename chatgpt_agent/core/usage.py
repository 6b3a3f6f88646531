"""Token counts as OpenAI's answers say them: its own numbers, or none.

A count that is not a non-negative integer of sane size, or that contradicts another, is not trusted and not
repaired: the row then says that the usage is unknown.
"""

from enum import Enum
from typing import Annotated

import msgspec

MAX_COUNT = 10**12  # tokens; more than this in one answer is nonsense
MAX_TEXT = 128  # characters of a name or id that a row takes

Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNT)]


class UsageFormat(Enum):
    """How an endpoint says what it used."""

    COMPLETION = "prompt_tokens and completion_tokens"  # CompletionUsage
    EMBEDDING = "prompt_tokens"  # CreateEmbeddingResponse.usage
    TOKENS = "input_tokens and output_tokens"  # ResponseUsage, Transcription's UsageTokens
    IMAGES = "the same, and what comes out are images"  # ImagesResponse.usage


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of one answer. `cached`, `cache_write`, `audio_input` and `image_input` are parts of `input`; `reasoning`,
    `audio_output` and `image_output` parts of `output`."""

    input: int
    output: int
    cached: int = 0
    reasoning: int = 0
    cache_write: int = 0
    audio_input: int = 0
    image_input: int = 0
    audio_output: int = 0
    image_output: int = 0


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the ledger takes from an answer: the model that served, OpenAI's id, the usage if there is one to trust,
    the service tier that it was served in. `failed`: it says itself that it is an error. `complete`: it came to its
    end, which in a stream is an event that says so."""

    usage: Usage | None = None
    model: str | None = None
    id: str | None = None
    failed: bool = False
    complete: bool = False
    service_tier: str | None = None


class _Input(msgspec.Struct):
    cached_tokens: Count | None = None
    cache_write_tokens: Count | None = None
    text_tokens: Count | None = None
    audio_tokens: Count | None = None
    image_tokens: Count | None = None


class _Output(msgspec.Struct):
    reasoning_tokens: Count | None = None
    text_tokens: Count | None = None
    audio_tokens: Count | None = None
    image_tokens: Count | None = None


class _Completion(msgspec.Struct):
    prompt_tokens: Count
    completion_tokens: Count
    total_tokens: Count | None = None
    prompt_tokens_details: _Input | None = None
    completion_tokens_details: _Output | None = None


class _Embedding(msgspec.Struct):
    prompt_tokens: Count
    total_tokens: Count | None = None


class _Tokens(msgspec.Struct):
    input_tokens: Count
    output_tokens: Count
    total_tokens: Count | None = None
    input_tokens_details: _Input | None = None
    input_token_details: _Input | None = None  # as transcriptions spell it
    output_tokens_details: _Output | None = None


_completion = msgspec.json.Decoder(_Completion)
_embedding = msgspec.json.Decoder(_Embedding)
_tokens = msgspec.json.Decoder(_Tokens)
_NO_INPUT, _NO_OUTPUT = _Input(), _Output()


def read_usage(raw: msgspec.Raw, shape: UsageFormat) -> Usage | None:
    """What a `usage` says, or None: nothing that can be trusted."""
    try:
        return _read(raw, shape)
    except (msgspec.DecodeError, RecursionError):
        return None


def _read(raw: msgspec.Raw, shape: UsageFormat) -> Usage | None:
    if shape is UsageFormat.COMPLETION:
        said = _completion.decode(raw)
        details = said.prompt_tokens_details or _NO_INPUT, said.completion_tokens_details or _NO_OUTPUT
        return _validated(said.prompt_tokens, said.completion_tokens, said.total_tokens, *details)
    if shape is UsageFormat.EMBEDDING:
        vectors = _embedding.decode(raw)
        return _validated(vectors.prompt_tokens, 0, vectors.total_tokens, _NO_INPUT, _NO_OUTPUT)
    counts = _tokens.decode(raw)
    given = counts.input_tokens_details or counts.input_token_details or _NO_INPUT
    made = counts.output_tokens_details or _NO_OUTPUT
    if shape is UsageFormat.IMAGES and made.image_tokens is None:
        made = _Output(image_tokens=counts.output_tokens)
    return _validated(counts.input_tokens, counts.output_tokens, counts.total_tokens, given, made)


def _validated(given: int, made: int, total: int | None, inputs: _Input, outputs: _Output) -> Usage | None:
    """These counts, unless they contradict each other: a total that is not the sum, a part that is larger than its
    whole, or text, audio and image tokens, of which none is two at once, that are together."""
    audio_in, image_in = inputs.audio_tokens or 0, inputs.image_tokens or 0
    audio_out, image_out = outputs.audio_tokens or 0, outputs.image_tokens or 0
    cached, written, reasoning = (
        inputs.cached_tokens or 0,
        inputs.cache_write_tokens or 0,
        outputs.reasoning_tokens or 0,
    )
    if total is not None and total != given + made:
        return None
    if max(cached, written, (inputs.text_tokens or 0) + audio_in + image_in) > given:
        return None
    if max(reasoning, (outputs.text_tokens or 0) + audio_out + image_out) > made:
        return None
    return Usage(
        input=given,
        output=made,
        cached=cached,
        reasoning=reasoning,
        cache_write=written,
        audio_input=audio_in,
        image_input=image_in,
        audio_output=audio_out,
        image_output=image_out,
    )
