"""The rules for admins' passwords."""

import unicodedata

import pytest

from chatgpt_agent.core.access.passwords import check_password, normalized
from chatgpt_agent.core.errors import InvalidValue


@pytest.mark.parametrize(
    "password",
    [
        "a few made-up words", "x7Kqx7KqWm2p", "три слова для входа", "密码由几个词组成的一句话吧", "🌻🌻🌻 sunflower",
        "  spaces at both ends ", "w" * 4 + "ord" * 84,
    ],
)  # fmt: skip
def test_long_password_is_accepted(password: str) -> None:
    """Any characters will do, in any language; no kind of character is required."""
    check_password("carol", password)


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        ("made-up pwd", "must have 12 to 256 characters"),
        ("", "must have 12 to 256 characters"),
        ("made-up " * 32 + "x", "must have 12 to 256 characters"),
        ("e\u0301" * 8, "must have 12 to 256 characters"),  # eight characters, however they are typed
        ("two words\tand a tab", "must not have control characters"),
        ("a lone surrogate \ud800", "must not have control characters"),
        ("Password1234", "is one of those that are guessed first"),
        ("correct horse battery staple", "is one of those that are guessed first"),
        ("carolcarolcarol", "must not repeat one part only"),
        ("aaaaaaaaaaaaaa", "must not repeat one part only"),
        ("12312312312312", "must not repeat one part only"),
        ("Carol van der Berg", "must not be the name"),
    ],
)
def test_password_that_is_guessed_is_refused(password: str, reason: str) -> None:
    """The message names the rule, and does not quote the password."""
    with pytest.raises(InvalidValue) as caught:
        check_password("carol van der berg", password)
    assert caught.value.message == f"password: a password {reason}"
    assert caught.value.param == "password"


def test_password_is_the_same_on_every_keyboard() -> None:
    """Composed and decomposed characters are one password; compatible ones, such as wide letters, are others."""
    composed = "café au lait, s'il vous plaît"
    assert normalized(unicodedata.normalize("NFD", composed)) == composed
    assert normalized("ｗｉｄｅ") != "wide"
