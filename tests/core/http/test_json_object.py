"""The members of a JSON object are found with their places, and duplicate keys are refused."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatgpt_agent.core.cooperative import run_to_end
from chatgpt_agent.core.errors import InvalidJson
from chatgpt_agent.core.http.json_object import read_members

names = st.text(max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)
spaces = st.text(" \t\r\n", max_size=2).map(str.encode)


def dump(value: object, *, ascii_only: bool = True, indent: int | None = None) -> bytes:
    return json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()


def escaped(key: str) -> bytes:
    """Returns a key as a JSON string in which every UTF-16 unit is escaped."""
    units = key.encode("utf-16-be").hex()
    return b'"' + b"".join(b"\\u" + units[at : at + 4].encode() for at in range(0, len(units), 4)) + b'"'


@settings(deadline=None)
@given(fields=st.dictionaries(names, values, max_size=6), ascii_only=st.booleans(), space=spaces)
def test_members_are_found_with_their_places(fields: dict[str, Any], ascii_only: bool, space: bytes) -> None:
    """Every member of an object is found by its decoded key, with the place of its value in the text."""
    text = space + dump(fields, ascii_only=ascii_only, indent=1) + space
    read = run_to_end(read_members(text))
    assert {key: json.loads(member.raw) for key, member in read.items()} == fields
    assert all(text[member.start : member.end] == member.raw for member in read.values())


@settings(deadline=None)
@given(
    fields=st.dictionaries(names, values, min_size=1, max_size=5),
    duplicate=values,
    spell=st.sampled_from([dump, escaped]),
    data=st.data(),
)
def test_any_duplicate_key_is_found(fields: dict[str, Any], duplicate: Any, spell: Any, data: st.DataObject) -> None:
    """A duplicate key is found in any place, with any value and spelling."""
    pairs = [dump(name) + b":" + dump(value) for name, value in fields.items()]
    key = data.draw(st.sampled_from(sorted(fields)))
    pairs.insert(data.draw(st.integers(0, len(pairs))), spell(key) + b": " + dump(duplicate))
    with pytest.raises(InvalidJson, match="Duplicate key"):
        run_to_end(read_members(b"{" + b", ".join(pairs) + b"}"))


@settings(deadline=None)
@given(st.dictionaries(names, values, max_size=5))
def test_escaped_keys_are_compared_decoded(fields: dict[str, Any]) -> None:
    """Keys spelled with escapes are compared by their decoded text."""
    pairs = [escaped(name) + b":" + dump(value) for name, value in fields.items()]
    assert list(run_to_end(read_members(b"{" + b",".join(pairs) + b"}"))) == list(fields)
