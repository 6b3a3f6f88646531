"""Use cases on users."""

import asyncio

import pytest

from chatgpt_agent.admin.administration import Administration
from chatgpt_agent.admin.users import UserRow
from chatgpt_agent.core.access.settings import NewUser, UserChanges
from chatgpt_agent.core.access.tokens import is_well_formed
from chatgpt_agent.core.errors import Conflict, InvalidValue, NotFound, VersionMismatch
from chatgpt_agent.core.names import MAX_NAME
from tests.support.administration import KEYRING
from tests.support.database import query

KEY = "sk-made-up-canary"
ALICE = NewUser(name="alice", openai_key=KEY)
TEXTS = ["", " ", " a", "a ", "a\nb", "a\0b", "a\tb", "a\x1bb", "a\u2028b", "a\udcffb"]  # that would break a list


async def test_new_user_gets_a_token(administration: Administration) -> None:
    """The token is returned once, in the clear."""
    issued = await administration.users.add(ALICE)
    assert issued.user == "alice"
    assert is_well_formed(issued.token)


async def test_database_holds_neither_token_nor_key(administration: Administration, dsn: str) -> None:
    """It holds the token's digest and the encrypted key."""
    issued = await administration.users.add(ALICE)
    [(id_, sealed, digest, token_prefix)] = query(
        dsn, "SELECT u.id, upstream_key, digest, token_prefix FROM users u JOIN tokens t ON t.user_id = u.id"
    )
    assert KEYRING.decrypt(id_, bytes(sealed)) == KEY
    assert bytes(digest) == KEYRING.digest(issued.token)
    assert token_prefix == issued.token[:8]
    assert KEY.encode() not in bytes(sealed)


async def test_name_that_breaks_a_list_is_rejected(administration: Administration) -> None:
    """No user is added."""
    for name in [*TEXTS, "a" * (MAX_NAME + 1)]:
        with pytest.raises(InvalidValue, match=r"name: .* printable characters"):
            await administration.users.add(NewUser(name=name, openai_key=KEY))
    assert await administration.users.list() == []


async def test_printable_name_is_stored_unchanged(administration: Administration) -> None:
    """Quotes, markup and other scripts are stored as they are."""
    for name in ["a", "a b", "Ælfgifu 陳", "o'brien; DROP TABLE users", "<b>%s</b>", "a" * MAX_NAME]:
        await administration.users.add(NewUser(name=name, openai_key=KEY))
        assert (await administration.users.get(name)).name == name


async def test_user_with_an_invalid_key_is_not_added(administration: Administration) -> None:
    """No user and no token is added."""
    with pytest.raises(InvalidValue):
        await administration.users.add(NewUser(name="alice", openai_key="not one"))
    assert await administration.users.list() == []


async def test_existing_name_is_rejected(administration: Administration) -> None:
    """The existing user does not change."""
    await administration.users.add(ALICE)
    before = await administration.users.get("alice")
    with pytest.raises(Conflict, match="user 'alice' already exists"):
        await administration.users.add(NewUser(name="alice", openai_key="another"))
    assert await administration.users.list() == [before]


async def test_openai_key_is_replaced(administration: Administration, dsn: str) -> None:
    """The new key is encrypted for the same user."""
    await administration.users.add(ALICE)
    await administration.users.set_openai_key("alice", "another")
    [(id_, sealed)] = query(dsn, "SELECT id, upstream_key FROM users")
    assert KEYRING.decrypt(id_, bytes(sealed)) == "another"


async def test_invalid_key_replaces_nothing(administration: Administration, dsn: str) -> None:
    """The old key stays."""
    await administration.users.add(ALICE)
    with pytest.raises(InvalidValue):
        await administration.users.set_openai_key("alice", "not one")
    [(id_, sealed)] = query(dsn, "SELECT id, upstream_key FROM users")
    assert KEYRING.decrypt(id_, bytes(sealed)) == KEY


async def test_user_is_disabled_and_enabled(administration: Administration) -> None:
    """A second disable is no error."""
    await administration.users.add(ALICE)
    await administration.users.change("alice", UserChanges(disabled=True))
    await administration.users.change("alice", UserChanges(disabled=True))
    assert (await administration.users.get("alice")).disabled_at is not None
    await administration.users.change("alice", UserChanges(disabled=False))
    assert (await administration.users.get("alice")).disabled_at is None


async def test_unknown_user_is_not_found(administration: Administration) -> None:
    """Every use case that takes a name raises NotFound."""
    for change in (
        administration.users.get("bob"),
        administration.users.set_openai_key("bob", KEY),
        administration.tokens.issue("bob"),
        administration.users.change("bob", UserChanges(disabled=True)),
        administration.tokens.list("bob"),
    ):
        with pytest.raises(NotFound, match="there is no user 'bob'"):
            await change


async def test_change_sets_only_the_given_fields(administration: Administration) -> None:
    """Other fields stay."""
    await administration.users.add(NewUser(name="alice", openai_key=KEY, comment="Sales", rpm=5))
    changed = await administration.users.change("alice", UserChanges(allowed_models=("gpt-6*",), rpm=None, tpm=9))
    assert (changed.comment, changed.allowed_models, changed.rpm, changed.tpm) == ("Sales", ("gpt-6*",), None, 9)
    assert await administration.users.get("alice") == changed


async def test_second_change_of_one_version_is_rejected(administration: Administration) -> None:
    """An administrator cannot overwrite a change without having read it."""
    await administration.users.add(ALICE)
    read = (await administration.users.get("alice")).version
    results = await asyncio.gather(
        *(administration.users.change("alice", UserChanges(comment=word), version=read) for word in ("one", "two")),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [UserRow, VersionMismatch]
    assert (await administration.users.get("alice")).comment == "one"


async def test_removal_destroys_the_key_and_keeps_the_name(administration: Administration, dsn: str) -> None:
    """The tokens are revoked, and the name cannot be used again."""
    await administration.users.add(ALICE)
    removed = await administration.users.remove("alice")
    assert (removed.removed_at is not None, removed.tokens) == (True, 0)
    assert query(dsn, "SELECT upstream_key FROM users")[0][0].tobytes() == b""
    assert [token.revoked_at is None for token in await administration.tokens.list("alice")] == [False]
    with pytest.raises(Conflict):
        await administration.users.add(ALICE)


async def test_removed_user_cannot_be_changed(administration: Administration) -> None:
    """A removal cannot be undone."""
    await administration.users.add(ALICE)
    await administration.users.remove("alice")
    for change in (
        administration.users.change("alice", UserChanges(disabled=False)),
        administration.users.set_openai_key("alice", KEY),
        administration.tokens.issue("alice"),
        administration.users.remove("alice"),
    ):
        with pytest.raises(NotFound, match="user 'alice' was removed"):
            await change


async def test_lists_continue_after_a_name_or_an_id(administration: Administration) -> None:
    """Each page starts after the end of the previous one."""
    for name in "cab":
        await administration.users.add(NewUser(name=name, openai_key=KEY))
    assert [user.name for user in await administration.users.list(after="a", limit=1)] == ["b"]
    first, *others = [token.id for token in await administration.tokens.list()]
    assert [token.id for token in await administration.tokens.list(after=first)] == others


async def test_change_is_in_the_audit_log(administration: Administration, dsn: str) -> None:
    """The entry has the actor, and the values before and after."""
    await administration.users.add(ALICE)
    await administration.users.change("alice", UserChanges(comment="Sales"))
    [(actor, before, after)] = query(dsn, "SELECT actor, before, after FROM audit_log WHERE action = 'update'")
    assert (actor, before, after) == ("root", {"comment": ""}, {"comment": "Sales"})
