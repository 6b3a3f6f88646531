"""Notices in a cookie: signed, and small enough for a browser."""

from chatgpt_agent.web.console.cookies import MAX_COOKIE, sign, unsign
from chatgpt_agent.web.console.parts import Notice

SECRET = b"made-up-secret-of-32-bytes-......"
NOTICE = Notice(text="Done", warnings=("w" * 500,), undo="/console/users/alice/change", undo_fields={"comment": "x"})


def test_notice_is_read_as_it_was_written() -> None:
    """The undo and the warnings come with it."""
    notice = unsign(SECRET, sign(SECRET, NOTICE).decode())
    assert notice is not None
    assert (notice.text, notice.undo_fields, len(notice.warnings)) == ("Done", {"comment": "x"}, 1)


def test_notice_of_another_key_is_ignored() -> None:
    """Only agents with the same master key write notices."""
    assert unsign(b"another", sign(SECRET, NOTICE).decode()) is None


def test_long_undo_is_left_out() -> None:
    """A browser would drop the cookie."""
    value = sign(SECRET, Notice(text="Done", warnings=NOTICE.warnings, undo="/x", undo_fields={"c": "x" * 4000}))
    notice = unsign(SECRET, value.decode())
    assert len(value) <= MAX_COOKIE
    assert notice is not None
    assert (notice.undo, len(notice.warnings)) == (None, 1)


def test_long_warnings_are_left_out() -> None:
    """The text stays."""
    notice = unsign(SECRET, sign(SECRET, Notice(text="Done", warnings=("w" * 5000,))).decode())
    assert notice is not None
    assert (notice.text, list(notice.warnings)) == ("Done", [])
