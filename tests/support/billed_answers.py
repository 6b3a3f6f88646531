"""Hypothesis strategies of what OpenAI charges for: answers of every endpoint as its SDK's types allow them, and terms.

Counts may be missing, null, zero, or as large as the ledger takes them; parts never contradict their totals.
"""

import json
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

from hypothesis import strategies as st

from tests.support.openai_bill import ListPrice, ListTier, Rates, Terms

Answer = dict[str, Any]

MAX_TOKENS = 10**9
SERVICE_TIERS = (None, "auto", "default", "flex", "scale", "priority", "fast", "ultrafast")  # of answers
SIDES = ("input", "output")
OTHER_KINDS = (
    "cached_input", "cached_audio", "cached_image", "cache_write", "cache_write_12h", "audio_input", "image_input",
    "audio_output", "image_output",
)  # fmt: skip
LIMITS = (0, 1, 1000, 272_000)  # of input tokens, above which a request is long

Counts = st.SearchStrategy[int]
counts = st.integers(0, 20) | st.integers(0, 400_000) | st.integers(0, MAX_TOKENS)
amounts = st.integers(0, 10_000).map(lambda cents: Fraction(cents, 100)) | st.integers(0, 10**14).map(
    lambda parts: Fraction(parts, 10**10)
)
multipliers = st.integers(0, 10**5).map(lambda parts: Fraction(parts, 10**4))
uplifts = st.sampled_from([Fraction(1), Fraction("1.1")]) | multipliers.map(lambda factor: 1 + factor)


@st.composite
def rates(draw: st.DrawFn) -> Rates:
    """Draws rates of input and output, and of any other kinds."""
    kinds = draw(st.lists(st.sampled_from(OTHER_KINDS), unique=True))
    return {kind: draw(amounts) for kind in (*SIDES, *kinds)}


@st.composite
def list_prices(draw: st.DrawFn, service_tiers: Sequence[str | None] = (None, "flex", "priority")) -> ListPrice:
    """Draws a price with tiers of any of these service tiers, and for long requests."""
    when = st.tuples(st.sampled_from(service_tiers), st.sampled_from(LIMITS)).filter(lambda each: each != (None, 0))
    effects = st.builds(lambda own: {"rates": own}, rates()) | st.builds(lambda by: {"multiplier": by}, multipliers)
    conditions = draw(st.lists(when, unique=True, max_size=4))
    fast = draw(st.sampled_from(("priority", "fast")))
    conditions = [(fast if name == "priority" else name, above) for name, above in conditions]
    tiers = [ListTier(service_tier=name, above=above, **draw(effects)) for name, above in conditions]
    return ListPrice(rates=draw(rates()), tiers=tiers, minute=draw(amounts))


@st.composite
def decision_prices(draw: st.DrawFn) -> ListPrice:
    """Draws a price with rates of decisions, whose output is free in OpenAI's list."""
    limits = sorted({0, *draw(st.sets(st.sampled_from(LIMITS)))})
    own: list[Rates] = [{**draw(rates()), "output": Fraction(0)} for _ in limits]
    tiers = [
        ListTier(service_tier="decisions", above=above, rates=each) for above, each in zip(limits, own, strict=True)
    ]
    return ListPrice(rates=draw(rates()), tiers=tiers)


@st.composite
def terms(draw: st.DrawFn, path: str) -> Terms:
    """Draws the price of a model at an endpoint and that of an image model, fees and a host's multiplier."""
    every = dict.fromkeys(("web_search", "file_search", "code_interpreter"), amounts)
    fees = draw(st.fixed_dictionaries(every) | st.fixed_dictionaries({}, optional=every))
    prices = decision_prices() if path == "/v1/decisions" else list_prices((None, "flex", "priority", "ultrafast"))
    return Terms(price=draw(prices), image_price=draw(list_prices()), fees=fees, multiplier=draw(uplifts))


def _some(draw: st.DrawFn, members: dict[str, Any]) -> dict[str, Any] | None:
    """Draws what OpenAI makes of details: all members, some, null in the place of zeros, or no details."""
    if not any(members.values()) and draw(st.booleans()):
        return draw(st.none() | st.just({}))
    drop = draw(st.sampled_from(("keep", "null", "leave out")))
    if drop == "leave out":
        return {name: count for name, count in members.items() if count}
    return {name: count or (None if drop == "null" else 0) for name, count in members.items()}


def _parts(draw: st.DrawFn, total: int, number: int) -> list[int]:
    """Draws so many parts, often zero, whose sum is at most the total."""
    parts = []
    for _ in range(number):
        part = draw(st.just(0) | st.integers(0, total) | st.just(total))
        parts.append(part)
        total -= part
    return parts


_ACTIONS: tuple[Answer, ...] = (
    {"type": "search", "query": "a", "queries": ["a", "b"]},
    {"type": "open_page", "url": "https://example.com/"},
    {"type": "find_in_page", "pattern": "a", "url": "https://example.com/"},
)
CALLS: tuple[Answer, ...] = (
    *({"type": "web_search_call", "id": "ws_1", "status": "completed", "action": action} for action in _ACTIONS),
    {"type": "file_search_call", "id": "fs_1", "status": "completed", "queries": ["a"], "results": None},
    *(
        {"type": "code_interpreter_call", "id": "ci_1", "status": "completed", "code": "1", "container_id": name}
        for name in ("cntr_1", "cntr_2")
    ),
    *(
        {"type": "shell_call", "id": "sh_1", "call_id": "call_1", "status": "completed", "environment": place}
        for place in (None, {"type": "local"}, {"type": "container_reference", "container_id": "cntr_2"})
    ),
)
CALL_TYPES = frozenset(call["type"] for call in CALLS)
TOOLS: dict[str, Answer] = {
    "web_search_call": {"type": "web_search"},
    "file_search_call": {"type": "file_search", "vector_store_ids": ["vs_1"]},
    "code_interpreter_call": {"type": "code_interpreter", "container": {"type": "auto"}},
    "shell_call": {"type": "shell", "environment": {"type": "container_auto"}},
}
_MESSAGE = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": []}
_REASONING = {"type": "reasoning", "id": "rs_1", "summary": []}


class Bounds(NamedTuple):
    """What an answer may report: tokens, items of a response by their type, seconds, and the image tool's tokens."""

    inputs: Counts = counts
    outputs: Counts = counts
    calls: int = 6
    call_types: frozenset[str] = CALL_TYPES
    seconds: st.SearchStrategy[float] = st.integers(0, 10**7).map(lambda number: number / 1000) | st.floats(
        0.001, 10**5
    )
    service_tiers: Sequence[str | None] = SERVICE_TIERS
    draws: bool = True
    image_inputs: Counts = counts
    image_outputs: Counts = counts

    @property
    def image_tool(self) -> "Bounds":
        """Those of the image tool's model."""
        return self._replace(inputs=self.image_inputs, outputs=self.image_outputs)


UNBOUNDED = Bounds()


@st.composite
def completion_usages(draw: st.DrawFn, bounds: Bounds = UNBOUNDED) -> Answer:
    """Draws a CompletionUsage. Its `cache_write_tokens` are "unadjusted": they may include cached tokens."""
    inputs, outputs = draw(bounds.inputs), draw(bounds.outputs)
    audio, image = _parts(draw, inputs, 2)
    prompt = {
        "cached_tokens": _parts(draw, inputs, 1)[0],
        "cache_write_tokens": _parts(draw, inputs, 1)[0],
        "audio_tokens": audio,
        "image_tokens": image,
        "text_tokens": inputs - audio - image,
    }
    reasoning, audio_output = _parts(draw, outputs, 2)
    completion = {
        "reasoning_tokens": reasoning,
        "audio_tokens": audio_output,
        "accepted_prediction_tokens": draw(st.integers(0, outputs)),
        "text_tokens": outputs - audio_output,
    }
    return {
        "prompt_tokens": inputs,
        "completion_tokens": outputs,
        "total_tokens": inputs + outputs,
        "prompt_tokens_details": _some(draw, prompt),
        "completion_tokens_details": _some(draw, completion),
    }


@st.composite
def response_usages(draw: st.DrawFn, bounds: Bounds = UNBOUNDED) -> Answer:
    """Draws a ResponseUsage, with or without the split of its cache writes."""
    inputs, outputs = draw(bounds.inputs), draw(bounds.outputs)
    cached, for_30m, for_12h = _parts(draw, inputs, 3)
    split = draw(st.sampled_from(("counts", "null", "missing"))) if not for_12h else "counts"
    details: Answer = {"cached_tokens": cached, "cache_write_tokens": for_30m + for_12h}
    if split != "missing":
        lifetimes = {"ttl_30m_tokens": for_30m, "ttl_12h_tokens": for_12h}
        details["cache_write_tokens_details"] = lifetimes if split == "counts" else None
    return {
        "input_tokens": inputs,
        "input_tokens_details": details,
        "output_tokens": outputs,
        "output_tokens_details": {"reasoning_tokens": draw(st.integers(0, outputs))},
        "total_tokens": inputs + outputs,
    }


@st.composite
def image_usages(draw: st.DrawFn, bounds: Bounds = UNBOUNDED) -> Answer:
    """Draws the usage of an ImagesResponse; its details of the output may be missing."""
    inputs, outputs = draw(bounds.inputs), draw(bounds.outputs)
    image, image_output = draw(st.integers(0, inputs)), draw(st.integers(0, outputs))
    usage: Answer = {
        "input_tokens": inputs,
        "input_tokens_details": {"image_tokens": image, "text_tokens": inputs - image},
        "output_tokens": outputs,
        "total_tokens": inputs + outputs,
    }
    if draw(st.booleans()):
        split = {"image_tokens": image_output, "text_tokens": outputs - image_output}
        usage["output_tokens_details"] = draw(st.none() | st.just(split))
    return usage


@st.composite
def image_tools(draw: st.DrawFn, bounds: Bounds = UNBOUNDED) -> Answer:
    """Draws the usage of the image tool: cached tokens unknown, counted, or split into text and images."""
    usage = draw(image_usages(bounds))
    inputs = usage["input_tokens_details"]
    cached = [draw(st.integers(0, inputs[name])) for name in ("text_tokens", "image_tokens")]
    detail = draw(st.sampled_from(("missing", "null", "count", "split")))
    if detail == "null":
        usage |= {"cached_tokens": None, "cached_tokens_details": None}
    elif detail != "missing":
        usage["cached_tokens"] = sum(cached)
    if detail == "split":
        usage["cached_tokens_details"] = {"cached_text_tokens": cached[0], "cached_image_tokens": cached[1]}
    return usage


NO_IMAGES = {
    "input_tokens": 0,
    "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
    "output_tokens": 0,
    "total_tokens": 0,
}


@st.composite
def responses(draw: st.DrawFn, bounds: Bounds = UNBOUNDED) -> Answer:
    """Draws a Response, whose `tool_usage` may be missing."""
    allowed = [call for call in CALLS if call["type"] in bounds.call_types]
    calls = draw(st.lists(st.sampled_from(allowed), max_size=bounds.calls)) if allowed else []
    answer: Answer = {
        "id": "resp_1",
        "object": "response",
        "model": "m",
        "status": "completed",
        "error": None,
        "output": [_REASONING, *calls, _MESSAGE],
        "tools": [TOOLS[name] for name in sorted({call["type"] for call in calls})],
        "service_tier": draw(st.sampled_from(bounds.service_tiers)),
        "usage": draw(response_usages(bounds)),
    }
    if draw(st.booleans()):
        searches = sum(call.get("action", {}).get("type") == "search" for call in calls)
        answer["tool_usage"] = {
            "image_gen": draw(st.just(NO_IMAGES) | image_tools(bounds.image_tool)) if bounds.draws else NO_IMAGES,
            "web_search": {"num_requests": draw(st.integers(0, searches))},
        }
        if answer["tool_usage"]["image_gen"]["total_tokens"]:
            answer["tools"].append({"type": "image_generation"})
    return answer


@st.composite
def chats(draw: st.DrawFn, bounds: Bounds = UNBOUNDED) -> Answer:
    """Draws a ChatCompletion."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "a"}, "finish_reason": "stop"}],
        "service_tier": draw(st.sampled_from(bounds.service_tiers)),
        "usage": draw(completion_usages(bounds)),
    }


@st.composite
def completions(draw: st.DrawFn, bounds: Bounds = UNBOUNDED) -> Answer:
    """Draws a Completion of the old endpoint."""
    inputs, outputs = draw(bounds.inputs), draw(bounds.outputs)
    usage = {"prompt_tokens": inputs, "completion_tokens": outputs, "total_tokens": inputs + outputs}
    choices = [{"index": 0, "text": "a", "finish_reason": "stop", "logprobs": None}]
    return {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m", "choices": choices, "usage": usage}


@st.composite
def embeddings(draw: st.DrawFn, bounds: Bounds = UNBOUNDED) -> Answer:
    """Draws a CreateEmbeddingResponse."""
    inputs = draw(bounds.inputs)
    data = [{"object": "embedding", "index": 0, "embedding": [0.5]}]
    return {"object": "list", "data": data, "model": "m", "usage": {"prompt_tokens": inputs, "total_tokens": inputs}}


@st.composite
def images(draw: st.DrawFn, bounds: Bounds = UNBOUNDED) -> Answer:
    """Draws an ImagesResponse."""
    return {"created": 1, "data": [{"b64_json": "aGk="}], "usage": draw(image_usages(bounds))}


@st.composite
def transcriptions(draw: st.DrawFn, bounds: Bounds = UNBOUNDED) -> Answer:
    """Draws a Transcription, charged by tokens or by seconds."""
    if draw(st.booleans()):
        return {"text": "a", "usage": {"type": "duration", "seconds": draw(bounds.seconds)}}
    inputs, outputs = draw(bounds.inputs), draw(bounds.outputs)
    audio = draw(st.integers(0, inputs))
    usage: Answer = {
        "type": "tokens",
        "input_tokens": inputs,
        "output_tokens": outputs,
        "total_tokens": inputs + outputs,
    }
    if draw(st.booleans()):
        usage["input_token_details"] = {"audio_tokens": audio, "text_tokens": inputs - audio}
    return {"text": "a", "usage": usage}


@st.composite
def compactions(draw: st.DrawFn, bounds: Bounds = UNBOUNDED) -> Answer:
    """Draws a CompactedResponse, which names neither its model nor a service tier."""
    output = [{"type": "compaction", "id": "cmp_1", "encrypted_content": "a"}]
    head = {"id": "resp_1", "object": "response.compaction", "created_at": 1, "output": output}
    return {**head, "usage": draw(response_usages(bounds))}


@st.composite
def decisions(draw: st.DrawFn, bounds: Bounds = UNBOUNDED) -> Answer:
    """Draws a Decision, whose usage has no split of cache writes."""
    usage = draw(response_usages(bounds))
    usage["input_tokens_details"].pop("cache_write_tokens_details", None)
    return {"answers": [{"type": "refusal", "name": None}], "model": "m", "usage": usage}


ANSWERS: dict[str, Callable[[Bounds], st.SearchStrategy[Answer]]] = {
    "/v1/chat/completions": chats,
    "/v1/completions": completions,
    "/v1/responses": responses,
    "/v1/responses/compact": compactions,
    "/v1/embeddings": embeddings,
    "/v1/images/generations": images,
    "/v1/images/edits": images,
    "/v1/audio/transcriptions": transcriptions,
    "/v1/decisions": decisions,
}


class Billed(NamedTuple):
    """An answer of an endpoint, and the terms that it is charged by."""

    path: str
    answer: Answer
    terms: Terms

    @property
    def body(self) -> bytes:
        """The answer as it is sent whole."""
        return json.dumps(self.answer).encode()


@st.composite
def billed(draw: st.DrawFn, path: str, bounds: Bounds = UNBOUNDED) -> Billed:
    """Draws an answer of an endpoint with its terms."""
    return Billed(path, draw(ANSWERS[path](bounds)), draw(terms(path)))


def _event(data: Answer) -> bytes:
    name = f"event: {data['type']}\n" if "type" in data else ""
    return f"{name}data: {json.dumps(data)}\n\n".encode()


def _chat_events(answer: Answer) -> list[bytes]:
    chunk = {**answer, "object": "chat.completion.chunk", "usage": None}
    chunk["choices"] = [{"index": 0, "delta": {"content": "a"}, "finish_reason": None}]
    return [_event(chunk), _event({**chunk, "choices": [], "usage": answer["usage"]}), b"data: [DONE]\n\n"]


def _completion_events(answer: Answer) -> list[bytes]:
    last = {**answer, "choices": []}
    return [_event({**answer, "usage": None}), _event(last), b"data: [DONE]\n\n"]


def _response_events(answer: Answer) -> list[bytes]:
    begun = {**answer, "status": "in_progress", "output": [], "usage": None, "service_tier": "auto"}
    begun.pop("tool_usage", None)
    done = [
        {"type": "response.output_item.done", "output_index": number, "item": item}
        for number, item in enumerate(answer["output"])
    ]
    events = [{"type": "response.created", "response": begun}, *done]
    return list(map(_event, [*events, {"type": "response.completed", "response": answer}]))


def _image_events(kind: str) -> Callable[[Answer], list[bytes]]:
    def events(answer: Answer) -> list[bytes]:
        picture = {"b64_json": "aGk=", "created_at": 1, "output_format": "png"}
        partial = {"type": f"{kind}.partial_image", **picture, "partial_image_index": 0}
        return [_event(partial), _event({"type": f"{kind}.completed", **picture, "usage": answer["usage"]})]

    return events


def _transcript_events(answer: Answer) -> list[bytes]:
    return [_event({"type": "transcript.text.delta", "delta": "a"}), _event({"type": "transcript.text.done", **answer})]


EVENTS: dict[str, Callable[[Answer], list[bytes]]] = {
    "/v1/chat/completions": _chat_events,
    "/v1/completions": _completion_events,
    "/v1/responses": _response_events,
    "/v1/images/generations": _image_events("image_generation"),
    "/v1/images/edits": _image_events("image_edit"),
    "/v1/audio/transcriptions": _transcript_events,
}


def events(path: str, answer: Answer) -> list[bytes]:
    """Returns the events of a stream with this answer; its endpoint must be one of `EVENTS`."""
    return EVENTS[path](answer)
