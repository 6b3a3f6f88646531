"""Patterns of models: `*` and `?`, and nothing else."""

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
def test_patterns_are_those_of_fnmatch(pattern: str, name: str) -> None:
    """As the shell's, with case."""
    assert matches(pattern, name) is fnmatchcase(name, pattern)


@pytest.mark.parametrize("name", ["gpt-4o", "[g]pt", "gpt.4o", "a+b", "a|b", "(?i)a", "a\\b", "ft:gpt-4o/acme"])
def test_name_stands_for_itself_alone(name: str) -> None:
    """Whatever its characters would mean elsewhere."""
    assert matches(name, name)
    assert not matches(name, name + "x")
    assert not matches(name, name.swapcase())


def test_one_of_several_is_enough() -> None:
    """Each is held against the whole name."""
    pattern = compile_patterns(["gpt-4o*", "o?"])
    assert [name for name in ("gpt-4o", "gpt-4o-mini", "o3", "o3-mini", "xo3") if pattern.fullmatch(name)] == [
        "gpt-4o",
        "gpt-4o-mini",
        "o3",
    ]


def test_no_pattern_stands_for_no_name() -> None:
    """Not even for an empty one."""
    assert compile_patterns([]).fullmatch("") is None


@pytest.mark.parametrize("pattern", ["*a" * 60 + "b", "*" * 128, "?*" * 60 + "b", "*a?" * 40 + "b"])
def test_no_name_takes_long(pattern: str) -> None:
    """The pattern is an administrator's, the name is whatever a client sends."""
    compiled, began = compile_patterns([pattern] * 20), time.perf_counter()
    compiled.fullmatch("a" * 128)
    assert time.perf_counter() - began < 0.1


@pytest.mark.parametrize("text", ["a,b*", " a , b* ", "a b*", "a;b*", "a\nb*,"])
def test_patterns_are_read_from_a_line(text: str) -> None:
    """With commas, semicolons or spaces between them."""
    assert parse_patterns(text) == ("a", "b*")


@pytest.mark.parametrize("patterns", [(), ("",), (" a",), ("a\n",), ("a" * (MAX_NAME + 1),), ("a",) * 101])
def test_what_can_be_no_list_is_refused(patterns: tuple[str, ...]) -> None:
    """Nobody is left to wonder whether nothing means all."""
    with pytest.raises(InvalidValue, match="models: "):
        check_patterns(patterns)


def test_a_list_of_the_greatest_size_is_taken() -> None:
    """Of the longest names."""
    check_patterns(("a" * MAX_NAME,) * MAX_PATTERNS)
