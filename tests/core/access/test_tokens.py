"""Tests of the format of tokens, and of the token in a request's headers."""

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatgpt_agent.core.access.tokens import is_well_formed, make_token, may_be_token, token_from_headers
from chatgpt_agent.core.errors import InvalidApiKey

TOKEN = make_token(bytes(range(32)))
secrets = st.binary(min_size=32, max_size=32)


@given(secrets)
def test_generated_token_is_well_formed(secret: bytes) -> None:
    """A token is the prefix and 49 base62 digits, whatever its bytes."""
    token = make_token(secret)
    assert re.fullmatch(r"cga_[0-9A-Za-z]{49}", token)
    assert is_well_formed(token)


@given(secrets, secrets)
def test_different_secrets_give_different_tokens(one: bytes, other: bytes) -> None:
    """Two tokens are equal only if all 256 bits are: base62 loses none."""
    assert (make_token(one) == make_token(other)) is (one == other)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_secret_of_another_length_is_rejected(size: int) -> None:
    """A token never has fewer random bits than its format states."""
    with pytest.raises(ValueError, match="32 bytes"):
        make_token(bytes(size))


def test_format_of_tokens_is_stable() -> None:
    """The token of a known secret never changes, so that issued tokens keep working."""
    assert make_token(bytes(32)) == "cga_" + "0" * 43 + "1E6qQs"
    assert make_token(b"\xff" * 32) == "cga_yhjskwdA6OZ1AL1YmHWZWm8LLG7HjnuCA2j5rOw8Xp14G10uA"


@given(secrets, st.integers(0, 52), st.characters())
def test_mistyped_character_is_detected(secret: bytes, at: int, character: str) -> None:
    """A token with one wrong character, anywhere, is not well formed."""
    token = make_token(secret)
    mistyped = token[:at] + character + token[at + 1 :]
    assert is_well_formed(mistyped) is (mistyped == token)


@given(secrets, st.integers(4, 45))
def test_swapped_characters_are_detected(secret: bytes, at: int) -> None:
    """A token with two neighbouring characters swapped is not well formed."""
    token = make_token(secret)
    swapped = token[:at] + token[at + 1] + token[at] + token[at + 2 :]
    assert is_well_formed(swapped) is (swapped == token)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "cga_",
        TOKEN[:-1],
        TOKEN + "0",
        TOKEN.replace("cga_", "sk-_"),
        "CGA_" + TOKEN[4:],
        "cga_" + "٣" * 49,
        "cga_" + "-" * 49,
        "cga_" + "é" * 49,
    ],
)
def test_other_text_is_not_well_formed(text: str) -> None:
    """Another length, prefix or alphabet is rejected without an error."""
    assert not is_well_formed(text)


@pytest.mark.parametrize(
    "text",
    [
        "cga_" + "0" * 44 + "3PsY3w",
        "cga_" + "0" * 42 + "20wWGk",
        "cgb_" + "0" * 43 + "2HevX5",
        "cga_" + "-" * 43 + "0aPooz",
    ],
)
def test_right_checksum_alone_is_not_enough(text: str) -> None:
    """Another length, prefix or alphabet is rejected even with its matching checksum."""
    assert not is_well_formed(text)


@pytest.mark.parametrize("value", [f"Bearer {TOKEN}", f"bearer {TOKEN}", f"BEARER   {TOKEN}  "])
def test_bearer_header_gives_the_token(value: str) -> None:
    """The scheme may be in any case, and more than one space may follow."""
    assert token_from_headers([value]) == TOKEN


@pytest.mark.parametrize(
    "values",
    [
        [],
        [""],
        ["Bearer"],
        ["Bearer "],
        [TOKEN],
        [f"Basic {TOKEN}"],
        [f"Bearer\t{TOKEN}"],
        [f"Bearer {TOKEN},{TOKEN}"],
        [f"Bearer {TOKEN[:-1]}x"],
        ["Bearer " + " " * 200 + TOKEN],
        [f"Bearer {TOKEN}", f"Bearer {TOKEN}"],
        ["Bearer cga_old-token"],
        ["Bearer " + "x" * 129],
        ["Bearer old tok"],
        ["Bearer tok\x7f"],
        ["Bearer töken"],
        ["Bearer ' OR (SELECT pg_sleep(8)) --"],
    ],
)
def test_other_headers_are_rejected(values: list[str]) -> None:
    """Anything but exactly one well-formed bearer token is an invalid key."""
    with pytest.raises(InvalidApiKey):
        token_from_headers(values)


@pytest.mark.parametrize("text", ["x", "x" * 128, "sk-old/token+1=", "CGA_old", "d41d8cd98f00b204e9800998ecf8427e"])
def test_imported_token_is_accepted(text: str) -> None:
    """An imported token may be any text without spaces, except ours with a wrong checksum."""
    assert token_from_headers([f"Bearer {text}"]) == text


@given(st.lists(st.text() | st.text().map("Bearer {}".format), max_size=3))
def test_any_header_gives_a_token_or_an_invalid_key(values: list[str]) -> None:
    """The parser raises no other error."""
    with contextlib.suppress(InvalidApiKey):
        assert may_be_token(token_from_headers(values))
