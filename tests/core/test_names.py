"""The rules for names, secrets and service tiers."""

import pytest

from chatgpt_agent.core.names import MAX_NAME, is_name, is_printable, is_secret, is_service_tier


@pytest.mark.parametrize("text", ["a", "gpt-6-sol", "Zoë 世界", "x" * MAX_NAME])
def test_printable_text_up_to_the_limit_is_a_name(text: str) -> None:
    """A name has 1 to 128 printable characters of any script."""
    assert is_name(text)


@pytest.mark.parametrize("text", ["", "x" * (MAX_NAME + 1), "a\nb", "a\x00", "\u200b", " a", "a ", " "])
def test_other_text_is_not_a_name(text: str) -> None:
    """An empty, too long or unprintable text, or one with a space at its ends, is not a name."""
    assert not is_name(text)


def test_printable_text_may_have_a_space_at_its_ends() -> None:
    """A text of a client or of OpenAI needs only to be printable."""
    assert is_printable(" a ")
    assert not is_printable(" a\n")


def test_limit_is_a_parameter() -> None:
    """Each caller may set its own limit of characters."""
    assert is_name("x" * 200, 200)
    assert not is_name("x" * 5, 4)


@pytest.mark.parametrize(("text", "expected"), [("sk-proj_1+/=", True), ("sk a", False), ("sk-é", False), ("", False)])
def test_secret_is_printable_ascii_without_spaces(text: str, expected: bool) -> None:
    """A token or API key has only printable ASCII characters, and no space among them."""
    assert is_secret(text) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("flex", True), ("on_demand-2", False), ("a" * 32, True), ("a" * 33, False), ("Flex", False), ("", False)],
)
def test_service_tier_is_one_word_in_lower_case(text: str, expected: bool) -> None:
    """A service tier has 1 to 32 characters: lower-case letters, hyphens and underscores."""
    assert is_service_tier(text) is expected
