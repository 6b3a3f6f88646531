"""Where the fuzzer begins: requests, answers, streams and forms as OpenAI documents them and clients send them, and
the dictionary that its inputs are made of."""

import json
from collections.abc import Iterator
from pathlib import Path

from chatgpt_agent.core.http.endpoints import CHAT, METERED, RESPONSES, TRANSCRIPTIONS, Endpoint
from chatgpt_agent.core.usage import KNOWN_FIELDS, KNOWN_TOOL_FIELDS, Names
from tests.fuzz.targets import BODIES, FORMS, seed
from tests.support.endpoints import counts_for, stream, usage_of, whole
from tests.support.upstream import completion, stream_events

CLIENT_FORMS = sorted((Path(__file__).parents[1] / "core/http/forms").glob("*.form"))
OTHER_LINE_ENDS = (b"\r\n", b"\r")


def streams() -> Iterator[bytes]:
    """Yields streams of each endpoint that has them, with each kind of line end."""
    for number, endpoint in enumerate(METERED):
        if endpoint.can_stream:
            text = b"".join(_events(endpoint))
            yield seed(text, number)
            yield from (seed(text.replace(b"\n", end), number) for end in OTHER_LINE_ENDS)
    chunk = b'data: {"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"a"}}],"usage":null}\n\n'
    last = b'data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12}}\n\n'
    yield seed(b"\xef\xbb\xbf: hello\n\n" + chunk * 3 + last + b"data: [DONE]\n\n", 0, len(chunk) - 1)
    yield seed(b'event: error\ndata: {"error":{"message":"made up","code":"server_error"}}\n\n')


def answers() -> Iterator[bytes]:
    """Yields whole answers of each endpoint, with usages of all kinds of tokens."""
    for number, endpoint in enumerate(METERED):
        yield seed(_whole(endpoint), number)
    details = {"cached_tokens": 3, "audio_tokens": 2, "image_tokens": 1, "cached_tokens_details": {"audio_tokens": 1}}
    usage = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13, "prompt_tokens_details": details}
    yield seed(json.dumps({"id": "c", "model": "m", "choices": [], "usage": usage}).encode())
    image_gen = {"input_tokens": 9, "output_tokens": 8, "total_tokens": 17}
    drawn = {"image_gen": image_gen, "web_search": {"num_requests": 1}}
    output = [{"type": "web_search_call", "action": {"type": "search"}}, {"type": "image_generation_call"}]
    tools = [{"type": "image_generation", "model": "gpt-image-2"}, {"type": "web_search"}]
    usage = {"input_tokens": 9, "output_tokens": 4, "total_tokens": 13}
    members = {"id": "r", "model": "m", "output": output, "usage": usage, "tools": tools, "tool_usage": drawn}
    yield seed(json.dumps(members).encode(), METERED.index(RESPONSES))
    yield seed(b'{"text":"a","usage":{"type":"duration","seconds":7.5}}', METERED.index(TRANSCRIPTIONS))


def _whole(endpoint: Endpoint) -> bytes:
    if endpoint is CHAT:
        return completion(20, 5, 7, 3)
    return whole(endpoint.path, usage_of(endpoint.path, counts_for(endpoint.path, 1)), {})


def _events(endpoint: Endpoint) -> list[bytes]:
    if endpoint is CHAT:
        return stream_events(2, (20, 5, 7, 3))
    return stream(endpoint.path, usage_of(endpoint.path, counts_for(endpoint.path, 1)), {})


def bodies() -> Iterator[bytes]:
    """Yields bodies of requests for each endpoint that takes JSON."""
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    message = {"role": "user", "content": [{"type": "text", "text": "é"}, picture]}
    members = {"model": "gpt-6-luna", "stream": True, "n": 2, "service_tier": "flex", "max_tokens": 5}
    for number, endpoint in enumerate(BODIES):
        text = {endpoint.conversation or "input": [message], "tools": [{"type": "web_search"}], "prompt": ["a", "b"]}
        yield seed(json.dumps({**members, **text}).encode(), number)
        yield seed(json.dumps({"model": "m", "input": "hello \u4f60 \\u0041 \\"}, indent=1).encode(), number)
    for options in ("null", "{}", '{"include_usage": false}', '{"x":1}', '{"include\\u005fusage":null}'):
        yield seed(b'{"model":"m","stream":true,"stream_options":%b,"messages":[]}' % options.encode())


def forms() -> Iterator[bytes]:
    """Yields what HTTP libraries send, with the Content-Type in the first line."""
    for number in range(len(FORMS)):
        for path in CLIENT_FORMS:
            content_type, _, body = path.read_bytes().partition(b"\r\n\r\n")
            yield seed(content_type + b"\n" + body, number)


SEEDS = {"sse": streams, "requests": bodies, "usage": answers, "multipart": forms}


def dictionary() -> list[bytes]:
    """Returns what inputs are made of: names of members and of fields, and marks of the formats."""
    keys = {*_all_names(KNOWN_FIELDS), *_all_names(KNOWN_TOOL_FIELDS), "usage", "tool_usage", "error", "choices"}
    keys |= {"model", "stream", "stream_options", "include_usage", "n", "max_tokens", "service_tier", "response"}
    keys |= {"type", "status", "output", "tools", "prediction", "best_of", "prompt", "input", "messages", "duration"}
    marks = [b"data: ", b"data:", b"\n\n", b"\r\n\r\n", b"\r\r", b"[DONE]", b"null", b"true", b"1000000000000", b"1e3"]
    marks += [b"\\u006d", b'"', b"{", b"}", b"[", b"]", b",", b":", b"-1", b"0.5", b"\xef\xbb\xbf", b"\xed\xa0\x80"]
    marks += [b"event: error", b'; name="', b"; name=", b'; filename="', b"; filename*=utf-8''", b"charset=utf-8"]
    marks += [b"Content-Disposition: form-data", b"Content-Type: text/plain", b"Content-Transfer-Encoding: binary"]
    return [*(b'"%b":' % key.encode() for key in sorted(keys)), *marks]


def _all_names(names: Names) -> Iterator[str]:
    for name, inner in names.items():
        yield name
        yield from _all_names(inner)
