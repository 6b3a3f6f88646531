"""JSON with a repeated key is refused."""

import pytest

from chatgpt_agent.core.errors import InvalidJson
from chatgpt_agent.core.json_keys import check_unique_keys


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":1,"a":2}',
        b'{"a":1,"a":1}',
        b'[{"b":{"a":1,"c":2,"a":1}}]',
        b'{"a":1,"\\u0061":2}',
    ],
)
def test_repeated_key_is_refused(text: bytes) -> None:
    """A key that an object has twice is named, at any depth and however it is spelled."""
    with pytest.raises(InvalidJson, match="Duplicate key 'a'"):
        check_unique_keys(text)


@pytest.mark.parametrize("text", [b"{}", b"[1,1]", b'{"a":{"a":1},"A":[{"a":1},{"a":1}]}', b"9" * 5000])
def test_other_json_passes(text: bytes) -> None:
    """The same key in two objects is no repetition, and neither is one in another case."""
    check_unique_keys(text)


def test_json_that_is_nested_too_deeply_is_refused() -> None:
    """A text that Python cannot read is refused."""
    with pytest.raises(InvalidJson, match="too deeply"):
        check_unique_keys(b"[" * 100_000 + b"]" * 100_000)
