"""Use cases on tokens."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from chatgpt_agent.admin.administration import Administration
from chatgpt_agent.admin.admins import Role
from chatgpt_agent.core.access.settings import NewUser, TokenSettings
from chatgpt_agent.core.errors import Conflict, InvalidValue, NotFound, VersionMismatch
from chatgpt_agent.core.names import MAX_NAME
from tests.support.database import query

KEY = "sk-made-up-canary"
ALICE = NewUser(name="alice", openai_key=KEY)
TEXTS = ["", " ", " a", "a ", "a\nb", "a\0b", "a\tb", "a\x1bb", "a\u2028b", "a\udcffb"]  # that would break a list


async def test_user_can_have_several_tokens(administration: Administration) -> None:
    """Each token is different and has its own label."""
    first = await administration.users.add(ALICE)
    second = await administration.tokens.issue("alice", TokenSettings(label="laptop"))
    assert first.token != second.token
    assert [token.label for token in await administration.tokens.list("alice")] == ["", "laptop"]


async def test_eight_characters_of_a_token_are_stored(administration: Administration) -> None:
    """They tell tokens apart, and no others are known to the database."""
    issued = [await administration.users.add(ALICE), await administration.tokens.issue("alice")]
    [*_, last] = tokens = await administration.tokens.list()
    rotated = await administration.tokens.rotate(last.id)
    tokens.append(await administration.tokens.get(rotated.id))
    assert {token.token_prefix for token in tokens} == {each.token[:8] for each in (*issued, rotated)}
    admin = await administration.admins.issue("carol", Role.ADMIN)
    assert [each.token_prefix for each in await administration.admins.list()] == [admin.token[:8]]


async def test_label_that_breaks_a_list_is_rejected(administration: Administration) -> None:
    """An empty label is permitted."""
    await administration.users.add(ALICE)
    for label in [*TEXTS[1:], "a" * (MAX_NAME + 1)]:
        with pytest.raises(InvalidValue, match="label: "):
            await administration.tokens.issue("alice", TokenSettings(label=label))


async def test_second_revocation_keeps_the_first_date(administration: Administration) -> None:
    """A second revocation is no error."""
    await administration.users.add(ALICE)
    [token] = await administration.tokens.list(None)
    await administration.tokens.revoke(token.id)
    [revoked] = await administration.tokens.list(None)
    await administration.tokens.revoke(token.id)
    assert revoked.revoked_at is not None
    assert [token.revoked_at for token in await administration.tokens.list(None)] == [revoked.revoked_at]


async def test_unknown_token_is_not_found(administration: Administration) -> None:
    """The error names the id."""
    with pytest.raises(NotFound, match="there is no token 99"):
        await administration.tokens.revoke(99)


async def test_change_sets_only_the_given_fields(administration: Administration) -> None:
    """Other fields stay."""
    await administration.users.add(ALICE)
    until = datetime(2099, 1, 1, tzinfo=UTC)
    issued = await administration.tokens.issue(
        "alice", TokenSettings(label="a", allowed_networks=("10.0.0.0/8",), tpm=7)
    )
    changed = await administration.tokens.change(issued.id, TokenSettings(expires_at=until, allowed_models=("m",)))
    assert (changed.label, changed.tpm, changed.allowed_networks) == ("a", 7, ("10.0.0.0/8",))
    assert (changed.expires_at, changed.allowed_models) == (until, ("m",))
    assert await administration.tokens.get(issued.id) == changed


async def test_token_of_another_version_is_not_changed(administration: Administration) -> None:
    """Neither a change nor a revocation applies."""
    issued = await administration.users.add(ALICE)
    before = await administration.tokens.get(issued.id)
    with pytest.raises(VersionMismatch):
        await administration.tokens.change(issued.id, TokenSettings(label="x"), version=before.version - 1)
    with pytest.raises(VersionMismatch):
        await administration.tokens.revoke(issued.id, version=before.version - 1)
    assert await administration.tokens.get(issued.id) == before
    assert (await administration.tokens.revoke(issued.id, version=before.version)).revoked_at is not None


async def test_rotated_token_has_the_same_settings_and_budgets(administration: Administration, dsn: str) -> None:
    """The old token works only for the grace period."""
    await administration.users.add(ALICE)
    until = datetime(2099, 1, 1, tzinfo=UTC)
    old = await administration.tokens.issue(
        "alice", TokenSettings(label="ci", expires_at=until, allowed_models=("m*",), rpm=3)
    )
    query(
        dsn,
        """INSERT INTO budgets (token_id, period, amount, created_at)
           SELECT %s, period, amount, now() FROM (VALUES ('day', 5), ('week', NULL)) AS b (period, amount)""",
        [old.id],
    )
    new = await administration.tokens.rotate(old.id, grace=timedelta(hours=1))
    before, after = await administration.tokens.get(old.id), await administration.tokens.get(new.id)
    assert (after.label, after.expires_at, after.allowed_models, after.rpm) == ("ci", until, ("m*",), 3)
    assert before.expires_at is not None
    assert timedelta(minutes=59) < before.expires_at - datetime.now(UTC) <= timedelta(hours=1)
    assert query(dsn, "SELECT period, amount FROM budgets WHERE token_id = %s", [new.id]) == [("day", 5)]


async def test_rotation_does_not_extend_the_old_token(administration: Administration) -> None:
    """An earlier expiry of its own stays."""
    await administration.users.add(ALICE)
    soon = datetime.now(UTC) + timedelta(minutes=5)
    old = await administration.tokens.issue("alice", TokenSettings(expires_at=soon))
    await administration.tokens.rotate(old.id, grace=timedelta(days=1))
    assert (await administration.tokens.get(old.id)).expires_at == soon


async def test_rotated_token_is_not_rotated_again(administration: Administration) -> None:
    """A second successor would inherit the end of the grace period; the error names the first one."""
    first = await administration.users.add(ALICE)
    second = await administration.tokens.rotate(first.id)
    with pytest.raises(Conflict, match=f"is replaced already, by token {second.id}: rotate that one"):
        await administration.tokens.rotate(first.id)
    third = await administration.tokens.rotate(second.id)
    tokens = await administration.tokens.list()
    assert [(token.replaces, token.replaced_by) for token in tokens] == [
        (None, second.id),
        (first.id, third.id),
        (second.id, None),
    ]
    assert tokens[-1].expires_at is None


async def test_two_rotations_at_once_make_one_token(administration: Administration) -> None:
    """One of them is refused."""
    first = await administration.users.add(ALICE)
    rotations = [administration.tokens.rotate(first.id) for _ in range(2)]
    results = await asyncio.gather(*rotations, return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["Conflict", "IssuedToken"]
    assert len(await administration.tokens.list()) == 2


async def test_revoked_successor_is_named(administration: Administration) -> None:
    """The error says that the successor cannot be rotated either."""
    first = await administration.users.add(ALICE)
    second = await administration.tokens.rotate(first.id)
    await administration.tokens.revoke(second.id)
    with pytest.raises(Conflict, match=f"by token {second.id}, which is revoked: issue a new one"):
        await administration.tokens.rotate(first.id)


async def test_token_of_a_removed_user_is_not_rotated(administration: Administration) -> None:
    """The error says that the user is removed, and does not advise to issue a token."""
    first = await administration.users.add(ALICE)
    await administration.users.remove("alice")
    with pytest.raises(NotFound, match="user 'alice' was removed on"):
        await administration.tokens.rotate(first.id)


@pytest.mark.parametrize("expires_at", [None, datetime(2099, 1, 1, tzinfo=UTC)])
async def test_replaced_token_keeps_an_expiry(administration: Administration, expires_at: datetime | None) -> None:
    """Both tokens would work for good; another end of the grace period may be set."""
    first = await administration.users.add(ALICE)
    await administration.tokens.rotate(first.id)
    with pytest.raises(InvalidValue, match="so it must expire, within 366 days"):
        await administration.tokens.change(first.id, TokenSettings(expires_at=expires_at))
    soon = datetime.now(UTC) + timedelta(days=3)
    assert (await administration.tokens.change(first.id, TokenSettings(expires_at=soon))).expires_at == soon


async def test_revoked_token_is_not_rotated(administration: Administration) -> None:
    """A rotation would revive it."""
    issued = await administration.users.add(ALICE)
    await administration.tokens.revoke(issued.id)
    with pytest.raises(InvalidValue, match="is not in force"):
        await administration.tokens.rotate(issued.id, grace=timedelta(0))
    assert len(await administration.tokens.list()) == 1
