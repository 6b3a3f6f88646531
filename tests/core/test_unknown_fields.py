"""Names in usages that the program does not know: which ones count, and how many are kept."""

import json
import time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatgpt_agent.core.cooperative import run_to_end
from chatgpt_agent.core.http.answer import read_answer
from chatgpt_agent.core.http.endpoints import CHAT, RESPONSES
from chatgpt_agent.core.http.meter import StreamMeter
from chatgpt_agent.core.name_counter import MAX_NAMES, OTHER, NameCounter
from chatgpt_agent.core.unknown_fields import COUNTED_FIELD, unknown_fields
from tests.support.chat_answers import USAGE, chunk, done, event, text

TOKENS = {"input_tokens": 36, "output_tokens": 87, "total_tokens": 123}


def names_in(usage: Any, tool_usage: Any = None) -> tuple[str, ...]:
    """The unknown names of a usage."""
    return unknown_fields(msgspec.Raw(text(usage)), msgspec.Raw(text(tool_usage)))


@pytest.mark.parametrize(
    ("usage", "names"),
    [
        (USAGE, ()),
        (
            {**TOKENS, "input_tokens_details": {"cached_tokens": 1, "foo_tokens": 7}},
            ("input_tokens_details.foo_tokens",),
        ),
        ({**TOKENS, "compute_units": 0.5}, ("compute_units",)),
        ({**TOKENS, "foo": {"bar": {"tokens": 3}}}, ("foo",)),
        ({**TOKENS, "foo": {"bar": {"tokens": 0}}, "bar": 0, "baz": None, "on": True, "note": "5", "list": [5]}, ()),
        (
            {**TOKENS, "input_tokens_details": {"cache_write_tokens_details": {"ttl_24h_tokens": 9}}},
            ("input_tokens_details.cache_write_tokens_details.ttl_24h_tokens",),
        ),
        ({"prompt_tokens": 5, "completion_tokens_details": {"rejected_prediction_tokens": 4}}, ()),
        ({"type": "duration", "seconds": 1.5, "minutes": 1}, ("minutes",)),
        ({**TOKENS, "input_tokens_details": [{"foo": 1}]}, ()),
        (None, ()),
        ("text", ()),
        (7, ()),
    ],
)  # fmt: skip
def test_unknown_members_with_a_number_are_found(usage: Any, names: tuple[str, ...]) -> None:
    """A member counts whose value is a number other than 0, or an object with one."""
    assert names_in(usage) == names


def test_unknown_tools_are_found() -> None:
    """The names of `tool_usage` say so, in new tools as in those that are known."""
    used = {"web_search": {"num_requests": 2, "num_pages": 3}, "video_gen": {"seconds": 4}, "idle": {"calls": 0}}
    assert names_in(TOKENS, used) == ("tool_usage.web_search.num_pages", "tool_usage.video_gen")


def test_at_most_32_names_of_an_answer_are_found() -> None:
    """A hostile answer costs no more."""
    assert len(names_in({f"n{number}": 1 for number in range(5000)})) == MAX_NAMES
    assert names_in({"x" * 100_000: 1}) == ()


def test_nested_answers_are_no_error() -> None:
    """Depth ends the search."""
    deep = b'{"a":' * 900 + b"1" + b"}" * 900
    assert unknown_fields(msgspec.Raw(b'{"foo":' + deep + b"}"), msgspec.Raw(b"null")) in ((), ("foo",))


@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.dictionaries(st.text(), inner))
)
def test_any_value_is_no_error(value: object) -> None:
    """Whatever an answer has, the result is names."""
    assert all(isinstance(name, str) for name in names_in(value, value))


@pytest.mark.parametrize("usage", [b'{"\xdf":1}', b'{"a":"\xdf"}', b'{"input_tokens_details":{"\xdf":1}}'])
def test_text_that_is_not_utf_8_is_no_error(usage: bytes) -> None:
    """It has no names."""
    assert unknown_fields(msgspec.Raw(usage), msgspec.Raw(b"null")) == ()
    assert unknown_fields(msgspec.Raw(b"null"), msgspec.Raw(usage)) == ()


def test_whole_answers_and_streams_tell_unknown_fields() -> None:
    """A usage with an unknown field is as good as without it."""
    usage = {**USAGE, "foo_tokens": 3}
    whole = run_to_end(read_answer([text({"model": "m", "choices": [], "usage": usage})], CHAT))
    meter = StreamMeter(hide_usage=False)
    for data in (event(chunk()), event(chunk(choices=[], usage=usage)), done()):
        meter.feed(data)
    for answer in (whole, meter.answer()):
        assert answer.unknown_fields == ("foo_tokens",)
        assert answer.usage is not None
    response = {"model": "m", "output": [], "usage": TOKENS, "tool_usage": {"new": {"calls": 1}}}
    assert run_to_end(read_answer([json.dumps(response).encode()], RESPONSES)).unknown_fields == ("tool_usage.new",)


def test_names_are_counted_by_answer() -> None:
    """A name counts once for each answer."""
    fields = NameCounter(COUNTED_FIELD)
    for names in (["a", "b"], ["a"], ["a", "x" * 101, "line\nbreak", ""]):
        fields.add(names)
    assert fields.counts == {"a": 3, "b": 1, OTHER: 1}


@pytest.mark.parametrize("name", ["a text of a message", "sk-made-up", "é", "a\nb", "", "x" * 101])
def test_what_is_no_name_of_a_field_is_not_kept(name: str) -> None:
    """Only what looks like a field of OpenAI's is kept: nothing that a client or a user may have written."""
    fields = NameCounter(COUNTED_FIELD)
    fields.add([name, "input_tokens_details.foo_tokens"])
    assert fields.counts == {OTHER: 1, "input_tokens_details.foo_tokens": 1}


def test_at_most_32_names_are_kept() -> None:
    """Later names are counted together, and those that are known go on."""
    fields = NameCounter(COUNTED_FIELD)
    for number in range(100):
        fields.add([f"n{number}", "n0"])
    assert len(fields.counts) == MAX_NAMES
    assert (fields.counts["n0"], fields.counts[OTHER]) == (100, 100 - (MAX_NAMES - 1))


def test_ordinary_answers_cost_microseconds() -> None:
    """The names of a usual answer are checked in about a microsecond; the bound is for a busy machine."""
    raw, null = msgspec.Raw(text(USAGE)), msgspec.Raw(b"null")

    def seconds() -> float:
        begin = time.process_time()
        for _ in range(1000):
            unknown_fields(raw, null)
        return time.process_time() - begin

    assert min(seconds() for _ in range(7)) / 1000 < 3e-6
