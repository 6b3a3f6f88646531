"""A JSON object is read as every parser reads it, or refused."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatgpt_agent.core.cooperative import SLICE, run_to_end
from chatgpt_agent.core.errors import ClientError, InvalidJson, InvalidRequest
from chatgpt_agent.core.http import json_object
from chatgpt_agent.core.http.json_object import MAX_KEYS, MAX_MEMBERS, JsonObject, locate_members

names = st.text(max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)
spaces = st.text(" \t\r\n", max_size=2).map(str.encode)
# What may surround an object: nothing, or other objects and lists.
around = st.sampled_from([b"%s", b'{"a":%s}', b'{"a":[1,{},%s]}', b'{"a":[{"b":{"c":[[%s]]}}],"d":1}'])


def read_object(body: bytes) -> JsonObject:
    return run_to_end(json_object.read_object(body, 200_000))


def dump(value: object, *, ascii_only: bool = True, indent: int | None = None) -> bytes:
    return json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()


def escaped(key: str) -> bytes:
    """Returns a key as a JSON string in which every UTF-16 unit is escaped."""
    units = key.encode("utf-16-be").hex()
    return b'"' + b"".join(b"\\u" + units[at : at + 4].encode() for at in range(0, len(units), 4)) + b'"'


@given(fields=st.dictionaries(names, values, max_size=6), ascii_only=st.booleans(), space=spaces)
def test_members_are_located(fields: dict[str, Any], ascii_only: bool, space: bytes) -> None:
    """Every member of an object is located by its decoded key, with the place of its value in the text."""
    text = space + dump(fields, ascii_only=ascii_only, indent=1) + space
    read = run_to_end(locate_members(text))
    assert {key: json.loads(member.raw) for key, member in read.items()} == fields == read_object(text)
    assert all(text[member.start : member.end] == member.raw for member in read.values())


@given(
    fields=st.dictionaries(names, values, min_size=1, max_size=5),
    duplicate=values,
    spell=st.sampled_from([dump, escaped]),
    surroundings=around,
    data=st.data(),
)
def test_any_duplicate_key_is_refused(
    fields: dict[str, Any], duplicate: Any, spell: Any, surroundings: bytes, data: st.DataObject
) -> None:
    """A duplicate key is refused at any depth and place, with any value and spelling."""
    pairs = [dump(name) + b":" + dump(value) for name, value in fields.items()]
    key = data.draw(st.sampled_from(sorted(fields)))
    pairs.insert(data.draw(st.integers(0, len(pairs))), spell(key) + b": " + dump(duplicate))
    with pytest.raises(InvalidJson, match="Duplicate key"):
        read_object(surroundings % (b"{" + b", ".join(pairs) + b"}"))


@given(st.dictionaries(names, values, max_size=5))
def test_escaped_keys_are_compared_decoded(fields: dict[str, Any]) -> None:
    """Keys spelled with escapes are compared by their decoded text."""
    pairs = [escaped(name) + b":" + dump(value) for name, value in fields.items()]
    assert list(run_to_end(locate_members(b"{" + b",".join(pairs) + b"}"))) == list(fields)


@pytest.mark.parametrize(
    ("body", "limit"),
    [
        (b'{"a":{%s}}' % b",".join(b'"%d":1' % key for key in range(MAX_KEYS)), f"{MAX_KEYS} keys"),
        (b"{%s}" % b",".join(b'"%d":1' % key for key in range(MAX_MEMBERS + 1)), f"{MAX_MEMBERS} keys"),
    ],
)
def test_number_of_keys_is_limited(body: bytes, limit: str) -> None:
    """A body with so many keys that reading them would block the loop is refused."""
    with pytest.raises(InvalidRequest, match=limit):
        read_object(body)


def test_brackets_and_commas_in_strings_are_no_elements() -> None:
    """Only brackets and commas outside of strings count towards the limit of elements."""
    code = 'f([{"a": 1}, "\\"], [\\\\"]) \\' * 20_000
    body = dump({"messages": [{"role": "user", "content": code}], "n": [1, [2], {"c": code[:700]}]})
    assert body.count(b",") > 40_000
    assert run_to_end(json_object.read_object(body, 10))["n"][:2] == [1, [2]]
    with pytest.raises(InvalidRequest, match="over 9 JSON elements"):
        run_to_end(json_object.read_object(body, 9))


# Texts of pieces that are hard to follow, in and out of strings.
PIECES = (
    '"', "\\", '\\"', '\\\\"', '\\\\\\"', "[", "]", "{", "}", ",", ":", "1", "-0.5e3", " ", "\n", "a", '"a":', "null",
    "é", "x" * 600, '"' + "y" * 1100 + '"', '"' + "z\\/" * 600 + '"', "1," * 400, "\\u00e9" * 200,
)  # fmt: skip
LARGE = b" " * SLICE  # makes a text large enough for an outline


def structure(value: Any) -> Any:
    """A value without its long strings and its numbers."""
    if isinstance(value, dict):
        return {key if len(key) <= 100 else "long": structure(child) for key, child in value.items()}
    if isinstance(value, list):
        return [structure(child) for child in value if not isinstance(child, int)]
    return value if isinstance(value, str) and len(value) <= 100 and "\udcff" not in value else type(value)


@settings(max_examples=300)
@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join), st.lists(st.sampled_from(PIECES), max_size=6))
def test_large_body_is_read_like_a_small_one(text: str, content: list[str]) -> None:
    """A body is read or refused alike whether or not it is so large that it is read by its outline."""
    for body in (text.encode(), dump({"a": "".join(content), "b": [{"".join(content)[:99]: [1] * 600}]}), b'{"a":%s}'):
        results = []
        for space in (b"", LARGE):
            try:
                results.append(structure(read_object(body.replace(b"%s", text.encode()) + space)))
            except ClientError as error:
                results.append((type(error), error.message))
        assert results[0] == results[1]
