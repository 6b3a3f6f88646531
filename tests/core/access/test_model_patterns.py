"""Tests of model patterns: only `*` and `?` are special."""

import time
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatgpt_agent.core.access.model_patterns import (
    MAX_PATTERNS,
    check_patterns,
    compile_patterns,
    parse_patterns,
)
from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.names import MAX_NAME

few = st.text("ab.-\n", max_size=12)


def matches(pattern: str, name: str) -> bool:
    """Whether one pattern stands for a name."""
    return compile_patterns([pattern]).fullmatch(name) is not None


@given(st.text("ab.-\n*?", min_size=1, max_size=12), few)
def test_patterns_match_as_fnmatch_does(pattern: str, name: str) -> None:
    """Matching agrees with the shell's rules and is case-sensitive."""
    assert matches(pattern, name) is fnmatchcase(name, pattern)


@pytest.mark.parametrize("name", ["gpt-6-sol", "[g]pt", "gpt.6", "a+b", "a|b", "(?i)a", "a\\b", "ft:gpt-6-sol/acme"])
def test_name_matches_only_itself(name: str) -> None:
    """Characters that are special elsewhere have no meaning."""
    assert matches(name, name)
    assert not matches(name, name + "x")
    assert not matches(name, name.swapcase())


def test_one_matching_pattern_is_enough() -> None:
    """Each pattern is compared with the whole name."""
    pattern = compile_patterns(["gpt-6*", "o?"])
    assert [name for name in ("gpt-6-sol", "gpt-6-luna", "o9", "o9-mini", "xo9") if pattern.fullmatch(name)] == [
        "gpt-6-sol",
        "gpt-6-luna",
        "o9",
    ]


def test_empty_list_matches_no_name() -> None:
    """Without patterns not even the empty name matches."""
    assert compile_patterns([]).fullmatch("") is None


@pytest.mark.parametrize("pattern", ["*a" * 60 + "b", "*" * 128, "?*" * 60 + "b", "*a?" * 40 + "b"])
def test_no_name_is_slow_to_match(pattern: str) -> None:
    """An administrator writes the pattern, and a client may send any name."""
    compiled, began = compile_patterns([pattern] * 20), time.thread_time()  # what others do does not count
    compiled.fullmatch("a" * 128)
    assert time.thread_time() - began < 1  # it takes 50 µs, and would take hours


@pytest.mark.parametrize("text", ["a,b*", " a , b* ", "a b*", "a;b*", "a\nb*,"])
def test_patterns_are_parsed_from_a_line(text: str) -> None:
    """Commas, semicolons and spaces separate patterns."""
    assert parse_patterns(text) == ("a", "b*")


@pytest.mark.parametrize("patterns", [(), ("",), (" a",), ("a\n",), ("a" * (MAX_NAME + 1),), ("a",) * 101])
def test_invalid_list_is_rejected(patterns: tuple[str, ...]) -> None:
    """An empty list is rejected too, so that it cannot be mistaken for all models."""
    with pytest.raises(InvalidValue, match="allowed_models: "):
        check_patterns(patterns)


def test_longest_list_is_accepted() -> None:
    """The limit of patterns with names of the longest length is valid."""
    check_patterns(("a" * MAX_NAME,) * MAX_PATTERNS)
