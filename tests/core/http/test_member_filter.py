"""An object that is too large to be held is read for some of its members."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatgpt_agent.core.http.member_filter import MAX_KEPT, MemberFilter

KEYS = ("usage", "model", "é")
keys = st.text(max_size=3) | st.sampled_from([*KEYS, "response"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=20,
)


def filtered(pieces: list[bytes], nested: bytes | None = None) -> bytes:
    """Returns what is kept of an object that comes in pieces."""
    reader = MemberFilter({name.encode() for name in KEYS}, nested)
    for piece in pieces:
        reader.feed(piece)
    return reader.result()


def split(text: bytes, at: list[int]) -> list[bytes]:
    """Cuts a text at some positions."""
    places = sorted({0, len(text), *(place for place in at if place < len(text))})
    return [text[start:end] for start, end in itertools.pairwise(places)]


def some_of(members: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in members.items() if key in KEYS}


@settings(max_examples=100)
@given(
    members=st.dictionaries(keys, values, max_size=6),
    at=st.lists(st.integers(0, 400), max_size=6),
    ascii_only=st.booleans(),
    indent=st.sampled_from([None, 1]),
    nested=st.sampled_from([None, b"response"]),
)
def test_values_of_some_members_are_kept(
    members: dict[str, Any], at: list[int], ascii_only: bool, indent: int | None, nested: bytes | None
) -> None:
    """Some members of an object keep their values and all others their keys, wherever it is cut."""
    text = json.dumps(members, ensure_ascii=ascii_only, indent=indent).encode()
    result = json.loads(filtered(split(text, at), nested))
    assert (list(result), some_of(result)) == (list(members), some_of(members))
    inner = members.get("response")
    if nested and isinstance(inner, dict):
        assert (list(result["response"]), some_of(result["response"])) == (list(inner), some_of(inner))


def test_long_values_are_left_out() -> None:
    """Other values take no memory, whatever they are."""
    others = {"a": "x" * 10_000, "b": [[1, 2, 'y\\"]'] * 1000], "c": {"usage": {"d": 1}}}
    assert filtered([json.dumps(others).encode()]) == b'{"a": "", "b": [], "c": {}}'


@pytest.mark.parametrize("text", [b'{"usage":{"a":1', b'{"a":[1', b'{"a":"x', b'{"a":"x\\'])
def test_object_that_breaks_off_stays_incomplete(text: bytes) -> None:
    """An object that breaks off is not made whole."""
    with pytest.raises(json.JSONDecodeError):
        json.loads(filtered([text]))


def test_too_much_is_given_up() -> None:
    """Values over the limit are given up, so that they take no more memory."""
    assert filtered([b'{"usage":"', b"x" * MAX_KEPT, b"x" * MAX_KEPT, b'"}']) == b""
