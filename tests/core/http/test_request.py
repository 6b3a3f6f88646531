"""Chat requests: a body is read without changing it, and an ambiguous one is refused."""

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatgpt_agent.core.cooperative import run_to_end
from chatgpt_agent.core.errors import ClientError, InvalidJson, InvalidRequest
from chatgpt_agent.core.http.endpoints import CHAT
from chatgpt_agent.core.http.input_size import fold
from chatgpt_agent.core.http.request import ApiRequest, parse_request
from chatgpt_agent.core.names import MAX_NAME

INCLUDE_USAGE = b'"include_usage":true'
MAX_ELEMENTS = CHAT.max_elements

names = st.text(max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)
READ_MEMBERS = ("model", "stream", "stream_options", "n", "best_of", "max_tokens", "service_tier")
members = st.dictionaries(names.filter(lambda name: fold(name) not in READ_MEMBERS), values, max_size=4)
spaces = st.text(" \t\r\n", max_size=2).map(str.encode)


def parse_chat_request(body: bytes) -> ApiRequest:
    return run_to_end(parse_request(CHAT, body))


def dump(value: object, *, ascii_only: bool = True, indent: int | None = None) -> bytes:
    return json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()


def inside(fields: dict[str, Any], **layout: Any) -> bytes:
    """Returns the members of an object as text, without its braces, each followed by a comma."""
    return b"".join(dump(name, **layout) + b" : " + dump(value, **layout) + b",\n" for name, value in fields.items())


# Valid bodies.


def test_request_without_a_stream_is_not_changed() -> None:
    """A request without a stream is sent byte for byte."""
    body = b'{ "messages": [{"role": "user", "content": "\xc3\xa9"}],\n "model": "gpt-6-sol", "top_p": 1.0 }\n'
    request = parse_chat_request(body)
    assert (request.model, request.stream, request.include_usage) == ("gpt-6-sol", False, False)
    assert request.body is request.upstream_body is body


@given(before=members, after=members, ascii_only=st.booleans(), indent=st.sampled_from([None, 2]))
def test_model_is_found_among_other_members(
    before: dict[str, Any], after: dict[str, Any], ascii_only: bool, indent: int | None
) -> None:
    """The model is found among members of any kind, in any order and layout."""
    body = dump({**before, "model": "gpt-6-sol", **after}, ascii_only=ascii_only, indent=indent)
    assert parse_chat_request(body).model == "gpt-6-sol"


@pytest.mark.parametrize("model", ["g", "gpt-6-sol", "ft:gpt-6-sol:acme::7p4lURel", "模型", 'a"b\\c', "é" * MAX_NAME])
@pytest.mark.parametrize("ascii_only", [False, True])
def test_model_is_decoded(model: str, ascii_only: bool) -> None:
    """A model's name is decoded as JSON, with escapes or without."""
    assert parse_chat_request(dump({"model": model}, ascii_only=ascii_only)).model == model


@pytest.mark.parametrize(("text", "stream"), [(b"true", True), (b"false", False), (b"null", False)])
def test_stream_is_true_false_or_null(text: bytes, stream: bool) -> None:
    """A request streams only if `stream` is true."""
    assert parse_chat_request(b'{"model":"x","stream": %s }' % text).stream is stream


# Invalid bodies.


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" \r\n",
        b"hello",
        b"model=gpt-6-sol&stream=true",
        b"null",
        b'"x"',
        b"12",
        b"[]",
        b'[{"model":"x"}]',
        b'{"model":"x"',
        b'{"model":"x"} {"model":"y"}',
        b'{"model":"x"}\x00',
        b'{"model":"x",}',
        b"{'model':'x'}",
        b'{model:"x"}',
        b'{"model":"x"}// "model":"y"',
        b'\xef\xbb\xbf{"model":"x"}',
        b'{"model":"x","user":"\xff"}',
        b'{"model":"x","user":"\xed\xa0\x80"}',
        b'{"model":"\\ud800"}',
        '{"model":"x"}'.encode("utf-16"),
        '{"model":"x"}'.encode("utf-16-le"),
        '{"model":"x"}'.encode("utf-32-be"),
        b'{"model":"x\x00"}',
        b'{"model":"x","user":"a\nb"}',
    ],
)
def test_body_that_is_not_one_json_object_is_refused(body: bytes) -> None:
    """A body that is not exactly one JSON object in UTF-8 is `invalid_json`."""
    with pytest.raises(InvalidJson) as caught:
        parse_chat_request(body)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    "value",
    [
        "NaN",
        "[NaN]",
        "Infinity",
        "-Infinity",
        "01",
        "+1",
        "1.",
        ".5",
        "1e",
        "0x1",
        "tru",
        "None",
        '"\\x"',
        "[1,]",
        '{"a"}',
    ],
)
def test_value_outside_of_json_is_refused(value: str) -> None:
    """A value that only some parsers accept as JSON is refused, also in members that we do not read."""
    with pytest.raises(InvalidJson):
        parse_chat_request(b'{"model":"x","messages":[%s]}' % value.encode())


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_deep_nesting_is_refused(opening: bytes, closing: bytes) -> None:
    """A body that is nested 100,000 levels deep is refused and does not crash."""
    with pytest.raises(InvalidJson):
        parse_chat_request(b'{"model":"x","a":' + opening * 100_000 + b"1" + closing * 100_000 + b"}")


@pytest.mark.parametrize("many", [b"[0" + b",0" * MAX_ELEMENTS + b"]", b"[" * MAX_ELEMENTS, b'{"a":' * MAX_ELEMENTS])
def test_body_with_too_many_elements_is_refused(many: bytes) -> None:
    """A body with so many elements that parsing it would block the loop is refused unparsed."""
    with pytest.raises(InvalidRequest, match="too complex"):
        parse_chat_request(b'{"model":"x","a":' + many + b"}")


def test_body_at_the_limit_of_elements_is_accepted() -> None:
    """A body with exactly as many elements as the limit is accepted."""
    body = b'{"model":"x","a":[0' + b",0" * (MAX_ELEMENTS - 3) + b"]}"
    assert body.count(b",") + body.count(b"[") + body.count(b"{") == MAX_ELEMENTS
    assert parse_chat_request(body).model == "x"


@pytest.mark.parametrize("key", [b"k" * 1_000_000, b"\\n" * 500_000], ids=["plain", "escapes"])
def test_long_key_takes_little_memory(key: bytes) -> None:
    """A key of a megabyte is read in a few megabytes of memory."""
    body = b'{"' + key + b'":1,"model":"x"}'
    tracemalloc.start()
    parse_chat_request(body)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 12_000_000


@pytest.mark.parametrize(
    "value",
    ["null", "1", "1e999", "9" * 5000, "true", "{}", '{"a":"gpt-6-sol"}', "[]", '["gpt-6-sol"]'],
)
def test_model_that_is_not_a_string_is_refused(value: str) -> None:
    """A model that is not a string is an `invalid_request` that names `model`."""
    with pytest.raises(InvalidRequest) as caught:
        parse_chat_request(b'{"model":%s}' % value.encode())
    assert caught.value.param == "model"


@pytest.mark.parametrize("body", [b"{}", b'{"Model":"x"}', b'{"messages":[{"model":"x"}]}'])
def test_missing_model_is_refused(body: bytes) -> None:
    """A body without a `model` at its top level is refused."""
    with pytest.raises(InvalidRequest, match="model"):
        parse_chat_request(body)


@pytest.mark.parametrize("model", ["", "x" * (MAX_NAME + 1), "x" * 200_000, "a\nb", "a\x00", "a\u202eb", "\x7f"])
def test_model_that_is_not_a_name_is_refused(model: str) -> None:
    """A model that is empty, too long or not printable is refused, and not repeated in the message."""
    with pytest.raises(InvalidRequest) as caught:
        parse_chat_request(dump({"model": model}))
    assert len(caught.value.envelope()) < 300


@pytest.mark.parametrize("value", ['"true"', "1", "0", '""', "[]", "{}", "[true]", "1.0"])
def test_stream_of_another_type_is_refused(value: str) -> None:
    """A `stream` that some servers accept as true and others refuse is refused."""
    with pytest.raises(InvalidRequest) as caught:
        parse_chat_request(b'{"model":"x","stream":%s}' % value.encode())
    assert caught.value.param == "stream"


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ("true", "stream_options"),
        ("[]", "stream_options"),
        ('"include_usage"', "stream_options"),
        ("1", "stream_options"),
        ('{"include_usage":1}', "stream_options.include_usage"),
        ('{"include_usage":"true"}', "stream_options.include_usage"),
        ('{"include_usage":{}}', "stream_options.include_usage"),
    ],
)
def test_ambiguous_stream_options_are_refused(options: str, param: str) -> None:
    """Stream options that do not clearly say whether usage is asked for are refused."""
    with pytest.raises(InvalidRequest) as caught:
        parse_chat_request(b'{"model":"x","stream":true,"stream_options":%s}' % options.encode())
    assert caught.value.param == param


# Duplicate keys.


@pytest.mark.parametrize(
    "body",
    [
        '{"model":"x","model":"y"}',
        '{"model":"x","model":"x"}',
        '{"model":"x","mod\\u0065l":"y"}',
        '{"mod\\u0065l":"x","model":"x"}',
        '{"model":"x","n":12,"stream":true,"n":1}',
        '{"model":"x","n":1,"stream":true,"n":12}',
        '{"n":{},"model":"x","n":{"a":1}}',
        '{"model":"x","n":-0,"n":-0.0}',
        '{"model":"x","":1,"":1}',
        '{"model":"x","stream":false,"stream":true}',
        '{"model":"x","stream":true,"stream_options":{"include_usage":true,"include_usage":false}}',
        '{"model":"x","stream":true,"stream_options":{"include_usage":false,"include\\u005fusage":true}}',
    ],
)
def test_duplicate_key_is_refused(body: str) -> None:
    """A body with a duplicate key is refused, because parsers differ in which value they take."""
    with pytest.raises(InvalidJson, match="Duplicate key"):
        parse_chat_request(body.encode())


@pytest.mark.parametrize(
    "body",
    [
        '{"a":{"b":1,"b":1}}',
        '{"messages":[{"role":"user","content":"x","content":"y"}]}',
        '{"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","t\\u0079pe":"file"}]}]}',
        '{"tools":[{"type":"function","function":{"parameters":{"properties":{"a":{},"a":{}}}}}]}',
    ],
)
def test_duplicate_key_is_refused_at_any_depth(body: str) -> None:
    """A duplicate key is refused wherever it is."""
    with pytest.raises(InvalidJson, match="Duplicate key"):
        parse_chat_request(b'{"model":"x",' + body[1:].encode())


# Keys in another case.


@pytest.mark.parametrize(
    ("key", "param"),
    [
        ("Model", "model"),
        ("MODEL", "model"),
        ("\\u004dodel", "model"),
        ("\u017ftream", "stream"),
        ("\\u017ftream", "stream"),
        ("max_to\u212aens", "max_tokens"),
        ("max_to\\u212aens", "max_tokens"),
        ("\u017fervice_tier", "service_tier"),
        ("service_t\u0131er", "service_tier"),
        ("Max_Completion_Tokens", "max_completion_tokens"),
        ("N", "n"),
        ("Stream_Options", "stream_options"),
        ("Previous_Response_ID", "previous_response_id"),
        ("Messages", "messages"),
    ],
)
def test_key_in_another_case_is_refused(key: str, param: str) -> None:
    """A key that some parsers take for one that is read is refused, beside it or alone, with escapes or without."""
    for body in (f'{{"model":"x","{key}":null}}', f'{{"{key}":null,"model":"x","n":null,"stream":true}}'):
        with pytest.raises(InvalidRequest) as caught:
            parse_chat_request(body.encode())
        assert caught.value.param == param


@pytest.mark.parametrize(
    "member",
    [
        '"stream":true,"stream_options":{"include_usage":true,"Include_Usage":false}',
        '"messages":[{"role":"user","content":[{"type":"text","Type":"image_url"}]}]',
        '"messages":[{"role":"user","content":[{"type":"image_url","Image_URL":{"url":"x"}}]}]',
        '"messages":[{"role":"assistant","audio":{"ID":"audio_1"}}]',
        '"messages":[{"role":"assistant","Audio":{"id":"audio_1"}}]',
        '"tools":[{"Type":"mcp"}]',
        '"documents":[{"File_Id":"x"}]',
    ],
)
def test_nested_key_in_another_case_is_refused(member: str) -> None:
    """A key in another case is refused at any depth where keys are read."""
    with pytest.raises(InvalidRequest, match="must be written"):
        parse_chat_request(b'{"model":"x",%s}' % member.encode())


@pytest.mark.parametrize(
    "member",
    [
        '"metadata":{"Model":"a","ID":"b","Type":"c"}',
        '"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":'
        '{"Type":{"type":"string"},"Id":{},"ID":{},"Image_Url":{},"Content":{}}}}}]',
        '"response_format":{"type":"json_schema","json_schema":{"schema":{"properties":{"Model":{},"File_ID":{}}}}}',
        '"messages":[{"role":"assistant","tool_calls":[{"id":"c","function":{"name":"f","arguments":{"Id":1}}}]}]',
        '"Vendor":{"Model":1}',
    ],
)
def test_keys_of_users_may_have_any_case(member: str) -> None:
    """Names of a user's own, as in the schemas of functions, may have any case."""
    assert parse_chat_request(b'{"model":"x",%s}' % member.encode()).attachments == 0


# The edit that asks for usage.


@pytest.mark.parametrize(
    ("options", "edited"),
    [
        (b"null", b"{" + INCLUDE_USAGE + b"}"),
        (b"{}", b"{" + INCLUDE_USAGE + b"}"),
        (b"{ }", b"{" + INCLUDE_USAGE + b" }"),
        (b'{"include_usage":false}', b"{" + INCLUDE_USAGE + b"}"),
        (b'{ "include_usage" : null }', b'{ "include_usage" : true }'),
        (b'{"include\\u005fusage": false}', b'{"include\\u005fusage": true}'),
        (b'{"a":false, "include_usage":false,"b":null}', b'{"a":false, "include_usage":true,"b":null}'),
        (b'{"include_obfuscation":false}', b"{" + INCLUDE_USAGE + b',"include_obfuscation":false}'),
        (b'{\n"a":{"include_usage":false}}', b"{" + INCLUDE_USAGE + b',\n"a":{"include_usage":false}}'),
    ],
)
@settings(max_examples=20)
@given(before=members, after=members, space=spaces, ascii_only=st.booleans())
def test_edit_changes_only_the_options(
    options: bytes, edited: bytes, before: dict[str, Any], after: dict[str, Any], space: bytes, ascii_only: bool
) -> None:
    """Stream options without usage are changed to ask for it, and nothing else in the body is changed."""
    first = inside({f"<{name}": value for name, value in before.items()}, ascii_only=ascii_only)
    last = inside({f">{name}": value for name, value in after.items()}, ascii_only=ascii_only)
    head = space + b"{" + space + first + b'"stream":true,"stream_options":' + space
    tail = space + b"," + last + b'"model":"x"}' + space
    request = parse_chat_request(head + options + tail)
    assert request.upstream_body == head + edited + tail
    assert (request.body, request.include_usage) == (head + options + tail, False)


@given(fields=members, space=spaces, ascii_only=st.booleans())
def test_edit_adds_only_the_options(fields: dict[str, Any], space: bytes, ascii_only: bool) -> None:
    """Missing stream options are inserted at the front, and nothing else in the body is changed."""
    rest = space + inside(fields, ascii_only=ascii_only) + b'"model":"x","stream":true}' + space
    request = parse_chat_request(space + b"{" + rest)
    assert request.upstream_body == space + b'{"stream_options":{' + INCLUDE_USAGE + b"}," + rest
    assert not request.include_usage


@given(
    fields=members,
    options=st.none() | st.fixed_dictionaries({}, optional={"include_usage": st.none() | st.booleans(), "x": values}),
    indent=st.sampled_from([None, 0, 4]),
)
def test_edited_body_has_the_same_meaning(
    fields: dict[str, Any], options: dict[str, Any] | None, indent: int | None
) -> None:
    """An edited body is equal to the client's, except that it asks for usage."""
    wrote = {"stream_options": options, **fields, "model": "x", "stream": True}
    read = json.loads(parse_chat_request(dump(wrote, indent=indent)).upstream_body)
    assert read == {**wrote, "stream_options": {**(options or {}), "include_usage": True}}


@pytest.mark.parametrize("options", [b'{"include_usage":true}', b'{ "x":[], "include_usage" : true }'])
def test_body_that_asks_for_usage_is_not_edited(options: bytes) -> None:
    """A body that asks for usage is sent byte for byte."""
    request = parse_chat_request(b'{"model":"x","stream":true, "stream_options": %s}' % options)
    assert request.include_usage
    assert request.upstream_body is request.body


@pytest.mark.parametrize("options", [b"", b',"stream_options":null', b',"stream_options":{"include_usage":false}'])
def test_body_without_a_stream_is_not_edited(options: bytes) -> None:
    """A body without a stream is not edited, because OpenAI refuses stream options in it."""
    request = parse_chat_request(b'{"model":"x"%s}' % options)
    assert request.upstream_body is request.body


# Any bytes.

ODD = [
    b"true",
    b"false",
    b"null",
    b'"x"',
    b"1e999",
    b"-0",
    b"NaN",
    b"[]",
    b"{}",
    b'"\\ud800"',
    b'"\xff"',
    b"",
    b'"',
    b"1}",
]
odd = st.sampled_from(ODD)
keys = st.sampled_from([b"model", b"mod\\u0065l", b"stream", b"stream_options", b"include_usage", b"x", b"\\"])
pairs = st.builds(
    b'"%s": %s'.__mod__, st.tuples(keys, odd | st.builds(b'{"include_usage":%s}'.__mod__, st.tuples(odd)))
)
odd_bodies = st.builds(b'{"model":"x","stream":true,%s}'.__mod__, st.tuples(st.lists(pairs, max_size=3).map(b",".join)))


@settings(max_examples=300)
@given(odd_bodies | st.lists(pairs, max_size=4).map(lambda members: b"{" + b",".join(members) + b"}") | st.binary())
def test_any_body_is_read_or_refused(body: bytes) -> None:
    """Any bytes are refused or read as Python's json module reads them."""
    try:
        request = parse_chat_request(body)
    except ClientError:
        return
    for text in (body, request.upstream_body):
        read = json.loads(text)
        assert (read["model"], bool(read.get("stream"))) == (request.model, request.stream)
