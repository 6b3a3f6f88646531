"""The counts of a corrected row: what a correction gives, and of the rest as much as there is room for."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.money.kinds import CALL_COLUMNS, IMAGE_TOOL_KINDS, TIME_COLUMN, TOKEN_KINDS, RightCounts
from chatgpt_agent.core.right_counts import IMAGE_TOOL, check_counts, corrected, difference
from chatgpt_agent.core.usage import Usage

SPOKEN = Usage(input=100, output=10, cached=40, cached_audio=30, audio_input=60, cache_write=9, cache_write_12h=5)


def test_every_count_can_be_corrected() -> None:
    """There is a field for each kind of token, for those of the image tool, and for calls and seconds."""
    drawn = (IMAGE_TOOL + kind.name for kind in IMAGE_TOOL_KINDS)
    kinds = (kind.name for kind in TOKEN_KINDS)
    assert {*RightCounts.__struct_fields__} == {*kinds, *drawn, *CALL_COLUMNS.values(), TIME_COLUMN}


def test_other_parts_stay_as_they_were() -> None:
    """A correction of two sides changes no part that still has room."""
    after = corrected(SPOKEN, RightCounts(input=101, output=11, cached=40))
    assert after == Usage(
        input=101, output=11, cached=40, cached_audio=30, audio_input=60, cache_write=9, cache_write_12h=5
    )


def test_parts_are_at_most_their_wholes() -> None:
    """A smaller whole makes its parts smaller, and theirs."""
    after = corrected(SPOKEN, RightCounts(input=4, output=0, cached=3))
    assert after == Usage(input=4, output=0, cached=3, cached_audio=3, audio_input=4, cache_write=4, cache_write_12h=4)


def test_media_share_the_room_of_their_side() -> None:
    """Audio and images are different tokens: a new count of one leaves less room for the other."""
    after = corrected(SPOKEN, RightCounts(input=100, output=10, image_input=70))
    assert (after.image_input, after.audio_input) == (70, 30)


@pytest.mark.parametrize(
    "counts",
    [
        {"cached": 11},
        {"cached": 5, "cached_audio": 6},
        {"cached": 5, "cached_audio": 3, "cached_image": 3, "audio_input": 5, "image_input": 5},
        {"cached": 5, "cached_audio": 3},  # of no audio
        {"cache_write_12h": 1},
        {"audio_input": 6, "image_input": 5},
        {"reasoning": 11},
        {"image_tool_input": 1, "image_tool_cached": 2},
        {"web_search_calls": -1},
        {"seconds": Decimal("NaN")},
        {"seconds": Decimal("1e-40")},
        {"seconds": Decimal(-1)},
    ],
)
def test_contradictory_counts_are_refused(counts: dict[str, Any]) -> None:
    """A part that is given is never made smaller silently."""
    with pytest.raises(InvalidValue):
        corrected(None, RightCounts(input=10, output=10, **counts))


def test_contradictions_are_found_without_a_row() -> None:
    """Two counts that contradict each other are refused before the row is read."""
    with pytest.raises(InvalidValue, match="cached: these tokens are a part of input, which has room for 1 of them"):
        check_counts(RightCounts(input=1, output=1, cached=2))


def test_the_image_tool_is_corrected_alone() -> None:
    """Its counts have parts of their own, and go if all are 0."""
    before = Usage(input=1, output=1, image_tool=Usage(input=50, output=60, image_input=20))
    right = RightCounts(input=1, output=1, image_tool_output=70)
    assert corrected(before, right).image_tool == Usage(input=50, output=70, image_input=20)
    nothing = RightCounts(input=1, output=1, image_tool_input=0, image_tool_output=0)
    assert corrected(before, nothing).image_tool is None


counts = st.none() | st.integers(0, 20)


@st.composite
def corrections(draw: st.DrawFn) -> RightCounts:
    """Any new counts, also contradictory ones."""
    values: dict[str, Any] = {name: draw(counts) for name in RightCounts.__struct_fields__}
    values |= {name: values[name] or 0 for name in ("input", "output", "cached")}
    return RightCounts(**values | {"seconds": draw(st.none() | st.decimals(0, 9, places=3))})


@given(corrections(), corrections())
def test_differences_add_up_and_parts_have_room(first: RightCounts, second: RightCounts) -> None:
    """A corrected usage is consistent, has what was given, and is the sum of the former one and the difference."""
    try:
        before = corrected(None, first)
        after = corrected(before, second)
    except InvalidValue:
        return
    for usage in (after, after.image_tool or Usage(input=0, output=0)):
        assert max(usage.cached, usage.cache_write, usage.audio_input + usage.image_input) <= usage.input
        assert max(usage.reasoning, usage.audio_output + usage.image_output) <= usage.output
        assert usage.cached_audio + usage.cached_image <= usage.cached
        assert usage.cached_audio <= usage.audio_input
        assert usage.cached_image <= usage.image_input
        assert usage.cache_write_12h <= usage.cache_write
    for name in (*(kind.name for kind in TOKEN_KINDS), *CALL_COLUMNS.values(), TIME_COLUMN):
        assert getattr(second, name) in (None, getattr(after, name))
        assert getattr(before, name) + getattr(difference(after, before), name) == getattr(after, name)
