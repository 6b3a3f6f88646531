"""Request ids: UUID version 7 (RFC 9562 §5.7)."""

from uuid import RFC_4122, UUID

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from chatgpt_agent.core.ids import uuid7

times = st.integers(0, 2**48 - 1)
random_bytes = st.binary(min_size=10, max_size=10)


def test_example_of_the_rfc_is_reproduced() -> None:
    """The fields of the example in RFC 9562 appendix A.6 give its id."""
    random = (0xCC3 << 62 | 0x18C4DC0C0C07398F).to_bytes(10)
    assert uuid7(0x017F22E279B0, random) == UUID("017f22e2-79b0-7cc3-98c4-dc0c0c07398f")


def test_id_is_written_like_every_uuid() -> None:
    """Its text, which it keeps, and its JSON are those of a UUID."""
    id = uuid7(0x017F22E279B0, bytes(10))
    texts = [str(id), str(id), msgspec.json.decode(msgspec.json.encode(id))]
    assert texts == 3 * [str(UUID(int=id.int))]


@given(times, random_bytes)
def test_id_has_version_7_and_its_time(milliseconds: int, random: bytes) -> None:
    """Every id has version 7, the RFC's variant, and its time in milliseconds."""
    id = uuid7(milliseconds, random)
    assert (id.version, id.variant) == (7, RFC_4122)
    assert id.int >> 80 == milliseconds


@given(times, times, random_bytes, random_bytes)
def test_ids_sort_by_time(one: int, other: int, random: bytes, more: bytes) -> None:
    """An id of a later millisecond is greater, whatever its random bits."""
    early, late = sorted([one, other])
    assert early == late or uuid7(early, random) < uuid7(late, more)


@given(times, st.integers(0, 2**74 - 1))
def test_every_random_bit_counts(milliseconds: int, random: int) -> None:
    """All 74 random bits are in the id: a change of any of them changes the id."""
    others = {uuid7(milliseconds, (random ^ 1 << bit).to_bytes(10)) for bit in range(74)}
    assert len(others | {uuid7(milliseconds, random.to_bytes(10))}) == 75
