"""Configured values are shown without secrets."""

import pytest

from chatgpt_agent.adapters.redaction import HIDDEN, display


@pytest.mark.parametrize(
    "value",
    [
        "user:hunter2@host",
        "postgresql://user:hunter2@host/name",
        "password=hunter2",
        "host=a PASSWORD = 'hunter2'",
        "sk-made-up-key",
        "/run/sk-made-up-key",
        "cga_0123456789abcdef",
        "whsec_aGVsbG8=",
        "A" * 42 + "b=",
        "https://gateway.example/Ab3dEf6hIj9kLmN2pQr5sT8v/v1/chat/completions",
        ["user:hunter2@host"],
        {"api_key": "hunter2"},
    ],
)
def test_what_may_be_a_secret_is_not_shown(value: object) -> None:
    """Neither a password nor a token nor a key is shown, wherever it stands."""
    assert display(value) == HIDDEN


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("maybe", "'maybe'"),
        (-1, "-1"),
        (None, "None"),
        (["a", 1], "['a', 1]"),
        ("http://gateway.example/v1", "'http://gateway.example/v1'"),
        ("https://host/v1?key=hunter2", "'https://host/v1?…'"),
        ("https://host/v1#hunter2", "'https://host/v1?…'"),
        ("x" * 100, "'" + "x" * 79),
    ],
)
def test_other_values_are_shown(value: object, text: str) -> None:
    """Other values are shown in quotes, up to a length, and a URL without its query."""
    assert display(value) == text
