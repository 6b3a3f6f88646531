"""What must hold for any bytes. Each target reads its input's first bytes as choices and the rest as the foreign text;
it raises AssertionError, or an error that is not ours, where something does not hold.

The targets need no fuzzer: `test_targets.py` runs them on their seeds.
"""

import email
import email.policy
import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from tornado.httputil import HTTPFile, HTTPInputError, parse_multipart_form_data

from chatgpt_agent.core.cooperative import run_to_end
from chatgpt_agent.core.errors import ClientError
from chatgpt_agent.core.http.answer import PassingAnswer, read_answer
from chatgpt_agent.core.http.endpoints import METERED, TRANSCRIPTIONS, Endpoint
from chatgpt_agent.core.http.meter import StreamMeter
from chatgpt_agent.core.http.multipart import parse_boundary
from chatgpt_agent.core.http.request import ApiRequest, parse_request
from chatgpt_agent.core.http.sse import SseSplitter, event_data
from chatgpt_agent.core.money.bill import bill_parts, charge
from chatgpt_agent.core.money.kinds import TOKEN_RATES, Rates
from chatgpt_agent.core.money.pricing import Price
from chatgpt_agent.core.usage import Answer, Usage
from tests.support.slices import slices_of

HEAD = 3  # bytes of an input that are choices
FORMS = [endpoint for endpoint in METERED if endpoint.form]
BODIES = [endpoint for endpoint in METERED if endpoint is not TRANSCRIPTIONS]
PRICE = Price(
    id=1,
    model="m",
    effective_at=datetime(2026, 1, 1, tzinfo=UTC),
    rates=Rates(**{kind: Decimal(place).scaleb(-3) for place, kind in enumerate((*TOKEN_RATES, "minute"), 1)}),
)
ONLY_TOKENS = Price(id=2, model="m", effective_at=PRICE.effective_at, rates=Rates(input=Decimal(3), output=Decimal(5)))

Outcome = tuple[str, object]


def seed(text: bytes, endpoint: int = 0, step: int = 7) -> bytes:
    """Returns an input with this text."""
    return bytes([endpoint, step, 0]) + text


def chunks(data: bytes) -> list[bytes]:
    """Cuts the text of an input as two of its choices say, into some dozens of chunks at most."""
    text, first = data[HEAD:], data[2]
    step = max(data[1] + 1, len(text) // 32)
    return [text[:first], *(text[at : at + step] for at in range(first, len(text), step))]


# Streams.


def check_sse(data: bytes) -> None:
    """A stream loses no byte, and has the same events and the same answer however it is cut; its data are those of the
    standard."""
    if len(data) < HEAD:
        return
    text, parts = data[HEAD:], chunks(data)
    events, rest = _events([text])
    assert b"".join(events) + rest == text, "a byte is lost"
    assert _events(parts) == (events, rest), "events depend on chunks"
    whole, _ = _events([text + b"\n: more\n\n"])
    assert [each for each in map(event_data, whole) if each] == _standard_data(text + b"\n: more\n\n")
    endpoint = METERED[data[0] % len(METERED)]
    passed, answer = _metered(endpoint, [text], hide_usage=False)
    assert passed == text, "a byte is changed"
    assert _metered(endpoint, parts, hide_usage=False) == (text, answer), "the answer depends on chunks"
    hidden, answer_of_hidden = _metered(endpoint, [text], hide_usage=True)
    assert answer_of_hidden == answer, "the answer depends on what the client gets"
    assert _metered(endpoint, parts, hide_usage=True) == (hidden, answer), "what the client gets depends on chunks"
    _check_answer(answer)


def _events(parts: list[bytes]) -> tuple[list[bytes], bytes]:
    splitter = SseSplitter()
    return [event for part in parts for event in splitter.feed(part)], splitter.take_rest()


def _standard_data(stream: bytes) -> list[bytes]:
    """The data of each event, line by line as https://html.spec.whatwg.org/multipage/server-sent-events.html says."""
    text = stream.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    events: list[bytes] = []
    lines: list[bytes] = []
    for line in text.split(b"\n")[:-1]:
        if not line:
            events.append(b"\n".join(lines))
            lines = []
        elif line.startswith(b"data:") or line == b"data":
            lines.append(line[5:].removeprefix(b" "))
    return [event for event in events if event]


def _metered(endpoint: Endpoint, parts: list[bytes], *, hide_usage: bool) -> tuple[bytes, Answer]:
    """What the client gets of a stream, and what is read of it."""
    meter = StreamMeter(endpoint, hide_usage=hide_usage)
    passed = b"".join([meter.feed(part) for part in parts])
    meter.end(clean=True)
    return passed + meter.take_held(), meter.answer()


# Usage.


def check_usage(data: bytes) -> None:
    """A whole answer reports the same however it is cut, in slices as at once, and held as passing; its counts do not
    contradict each other, and its cost is not negative."""
    if len(data) < HEAD:
        return
    text, endpoint = data[HEAD:], METERED[data[0] % len(METERED)]
    answer = run_to_end(read_answer([text], endpoint))
    assert run_to_end(read_answer(chunks(data), endpoint)) == answer, "the answer depends on chunks"
    with slices_of(data[1] + 8):
        assert run_to_end(read_answer(chunks(data), endpoint)) == answer, "the answer depends on slices"
    if answer.complete:
        passing = PassingAnswer(endpoint, None)
        for part in chunks(data):
            passing.feed(part)
        _check_passing(passing.answer(), answer, endpoint)
    _check_answer(answer)


def _check_passing(passing: Answer, answer: Answer, endpoint: Endpoint) -> None:
    """An answer that is not held has the same usage, but for calls in its output."""
    assert (passing.model, passing.id, passing.failed) == (answer.model, answer.id, answer.failed)
    if not endpoint.hosts_tools:
        assert passing.usage == answer.usage, "the usage depends on the room"
    elif answer.usage is not None and passing.usage is not None:
        assert (passing.usage.input, passing.usage.output) == (answer.usage.input, answer.usage.output)


def _check_answer(answer: Answer) -> None:
    if answer.usage is not None:
        _check_counts(answer.usage)
        for price in (PRICE, ONLY_TOKENS):
            _check_cost(answer.usage, price)


def _check_counts(usage: Usage) -> None:
    inputs = (usage.cached, usage.cache_write, usage.audio_input + usage.image_input)
    outputs = (usage.reasoning, usage.audio_output + usage.image_output)
    assert 0 <= min(inputs) <= max(inputs) <= usage.input
    assert 0 <= min(outputs) <= max(outputs) <= usage.output
    assert 0 <= usage.cached_audio + usage.cached_image <= usage.cached
    assert 0 <= usage.cache_write_12h <= usage.cache_write
    assert min(usage.web_search_calls, usage.file_search_calls, usage.code_interpreter_sessions) >= 0 <= usage.seconds
    if usage.image_tool is not None:
        _check_counts(usage.image_tool)


def _check_cost(usage: Usage, price: Price) -> None:
    bill = charge(usage, price, image_price=PRICE)
    assert min(bill.cost, bill.uncertain_cost) >= 0, "a cost is negative"
    parts = bill_parts(usage, price, image_price=PRICE)
    assert sum((part.amount for part in parts), Decimal(0)) == bill.cost, "the parts are not the cost"


# Requests.


def check_requests(data: bytes) -> None:
    """A body is refused with one of our errors, or read as Python reads it, with no key twice; in slices as at once;
    and what is sent differs from it only in asking for the usage."""
    if len(data) < HEAD:
        return
    body, endpoint = data[HEAD:], BODIES[data[0] % len(BODIES)]
    outcome = _read(endpoint, body)
    with slices_of(data[1] + 8):
        assert _read(endpoint, body) == outcome, "the request depends on slices"
    if not isinstance(outcome[1], ApiRequest):
        return
    request, members = outcome[1], _unique(body)
    assert (members.get("model") or "", members.get("stream") is True) == (request.model, request.stream)
    sent = _unique(request.upstream_body)
    if request.upstream_body != body:
        assert sent["stream_options"].pop("include_usage") is True
        expected = members.get("stream_options") or {}
        assert not expected.pop("include_usage", False)
        assert sent.pop("stream_options") == expected
        members.pop("stream_options", None)
    assert repr(sent) == repr(members), "what is sent has another meaning"
    _check_size(request)


def _check_size(request: ApiRequest) -> None:
    size = request.size
    assert min(size.input_bytes, size.attachments, size.choices, *size.files, 1) >= 0
    assert size.output_limit is None or size.output_limit >= 0
    assert request.input_bytes <= len(request.body)


def _read(endpoint: Endpoint, body: bytes, content_type: str | None = None) -> Outcome:
    """The request in a body, or the error with which it is refused."""
    try:
        return "request", run_to_end(parse_request(endpoint, body, content_type))
    except ClientError as error:
        return type(error).__name__, error.message


def _unique(text: bytes) -> dict[str, Any]:
    """Reads an object as Python does. Fails where a key is twice in it."""

    def pairs(members: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(dict(members)) == len(members), "a key is twice in an accepted body"
        return dict(members)

    # A number of thousands of digits is one to us, and none to Python.
    result: dict[str, Any] = json.loads(text.decode("utf-8"), object_pairs_hook=pairs, parse_int=str)
    return result


# Forms.


def check_multipart(data: bytes) -> None:
    """A form is refused with one of our errors, or has the same fields for Tornado and for Python's parser of mails;
    and it is read in slices as at once. The first line is the Content-Type."""
    if len(data) < HEAD:
        return
    head, _, body = data[HEAD:].partition(b"\n")
    content_type, endpoint = head.decode("latin-1"), FORMS[data[0] % len(FORMS)]
    if not content_type.startswith("multipart/form-data"):
        return
    outcome = _read(endpoint, body, content_type)
    with slices_of(data[1] % 64 + 1):
        assert _read(endpoint, body, content_type) == outcome, "the form depends on slices"
    if not isinstance(outcome[1], ApiRequest):
        return
    request, boundary = outcome[1], parse_boundary(content_type)
    assert request.upstream_body == body
    for fields in filter(None, (_by_tornado(boundary, body), _by_email(content_type, body))):
        assert fields["model"] == [request.model.encode()], "another parser finds another model"
        assert fields.get("stream", [b"false"]) == [b"true" if request.stream else b"false"]
    assert request.input_bytes <= len(body)


def _by_tornado(boundary: bytes, body: bytes) -> dict[str, list[bytes]]:
    """The fields that Tornado finds; none where it refuses the form."""
    fields: dict[str, list[bytes]] = {}
    files: dict[str, list[HTTPFile]] = {}
    try:
        parse_multipart_form_data(boundary, body, fields, files)
    except (HTTPInputError, UnicodeDecodeError):
        return {}
    return fields


def _by_email(content_type: str, body: bytes) -> dict[str, list[Any]]:
    fields: dict[str, list[Any]] = {}
    text = b"Content-Type: " + content_type.encode("latin-1") + b"\r\n\r\n" + body
    for part in email.message_from_bytes(text, policy=email.policy.HTTP).iter_parts():
        if part.get_filename() is None:
            name = str(part.get_param("name", header="content-disposition"))
            fields.setdefault(name, []).append(part.get_payload(decode=True))
    return fields


TARGETS: dict[str, Callable[[bytes], None]] = {
    "sse": check_sse,
    "requests": check_requests,
    "usage": check_usage,
    "multipart": check_multipart,
}
