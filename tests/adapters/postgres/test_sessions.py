"""Admins' passwords and sessions in a real database."""

import asyncio
from datetime import timedelta

import psycopg2
import pytest

from chatgpt_agent.adapters.postgres import admins, sessions
from chatgpt_agent.adapters.postgres.admins import AdminRow
from chatgpt_agent.adapters.postgres.connection import AuditedStore, Store
from chatgpt_agent.adapters.postgres.sessions import IDLE, LONGEST, TOUCH
from chatgpt_agent.core.audit import Actor, Via
from tests.support.database import query
from tests.support.factories import NOON
from tests.support.waiting import until

CAROL = Actor("carol", Via.CONSOLE, "192.0.2.7")
SECRET = b"s" * 32
HASH = "$argon2id$made-up-hash-1"
SECOND = timedelta(seconds=1)


async def set_password(store: Store, name: str = "carol", role: str | None = None, stored: str = HASH) -> AdminRow:
    """Sets a password, a second after the last one."""
    now = NOON + SECOND * len(await admins.list_admins(store))
    return await admins.set_password(store, name=name, role=role, password_hash=stored, now=now)


async def sign_in(store: Store, admin: AdminRow, digest: bytes = SECRET) -> bool:
    """Adds a session with the password HASH."""
    return await sessions.add_session(store, digest=digest, admin_id=admin.id, password_hash=HASH, now=NOON)


async def holds(store: Store, after: timedelta, digest: bytes = SECRET) -> bool:
    """Whether the session holds some time after noon; uses it."""
    return await sessions.find_session(store, digest, NOON + after) is not None


async def give_token(store: Store, name: str, role: str, digest: bytes = b"d" * 32) -> bool:
    """Issues a token."""
    return await admins.add_admin(store, name=name, role=role, digest=digest, token_prefix="cgm_abcd", now=NOON)


def digests(dsn: str) -> list[bytes]:
    """The digests of all sessions."""
    return [bytes(digest) for (digest,) in query(dsn, "SELECT digest FROM admin_sessions")]


async def first_admin(store: AuditedStore | Store, name: str = "carol", *, by_header: bool = False) -> AdminRow | None:
    """Creates the first admin."""
    audited = store if isinstance(store, AuditedStore) else store.with_actor(CAROL)
    return await admins.add_first_admin(audited, name=name, password_hash=HASH, by_header=by_header, now=NOON)


# Passwords.


async def test_new_name_becomes_an_admin(store: Store) -> None:
    """An admin may have a password and no token."""
    admin = await set_password(store)
    assert (admin.name, admin.role, admin.token_prefix, admin.password_set_at) == ("carol", "admin", None, NOON)


async def test_password_leaves_role_and_token(store: Store) -> None:
    """A role is changed where one is given."""
    await give_token(store, "vera", "viewer")
    assert (await set_password(store, "vera")).role == "viewer"
    assert (await set_password(store, "vera", "admin")).role == "admin"
    assert await admins.find_admin(store, b"d" * 32) is not None


async def test_revocation_ends_token_and_password(store: Store) -> None:
    """Neither comes back with the other: a new password does not bring the old token back, nor a token the password."""
    await give_token(store, "carol", "admin")
    await set_password(store)
    await admins.revoke_admin(store, "carol", NOON)
    assert await admins.find_admin_by_name(store, "carol") is None
    await set_password(store)
    assert await admins.find_admin(store, b"d" * 32) is None
    await admins.revoke_admin(store, "carol", NOON)
    await give_token(store, "carol", "admin", b"e" * 32)
    credentials = await admins.find_admin_by_name(store, "carol")
    assert credentials is not None
    assert credentials.password_hash is None


async def test_admin_with_a_password_gets_a_token_of_the_same_role(store: Store) -> None:
    """A viewer does not become an admin by a token that is issued without a role."""
    await set_password(store, "vera", "viewer")
    assert not await give_token(store, "vera", "admin")
    assert await give_token(store, "vera", "viewer")


async def test_audit_log_tells_of_a_password_without_its_hash(store: Store, dsn: str) -> None:
    """It has the time, and that the hash has changed."""
    audited = store.with_actor(CAROL)
    await admins.set_password(audited, name="carol", role=None, password_hash=HASH, now=NOON)
    await admins.set_password(audited, name="carol", role=None, password_hash=f"{HASH}2", now=NOON + SECOND)
    [(added,), (changed,)] = query(dsn, "SELECT after FROM audit_log ORDER BY id")
    assert (added["password_hash"], changed["password_hash"]) == ("(set)", "(set)")
    assert set(changed) == {"password_hash", "password_set_at"}
    assert "made-up-hash" not in str(query(dsn, "SELECT before, after FROM audit_log"))


# Sessions.


async def test_session_has_its_admin(store: Store) -> None:
    """Another digest has none."""
    admin = await set_password(store)
    assert await sign_in(store, admin)
    assert await sessions.find_session(store, SECRET, NOON) == admin
    assert await sessions.find_session(store, b"t" * 32, NOON) is None


async def test_session_ends_without_requests(store: Store) -> None:
    """After half an hour; each request begins it again."""
    await sign_in(store, await set_password(store))
    assert await holds(store, IDLE - SECOND)
    assert await holds(store, 2 * IDLE - 2 * SECOND)
    assert not await holds(store, 3 * IDLE)


async def test_session_ends_after_twelve_hours(store: Store) -> None:
    """However often it is used."""
    await sign_in(store, await set_password(store))
    for number in range(1, 48):
        assert await holds(store, LONGEST * number / 48)
    assert not await holds(store, LONGEST)


async def test_last_use_is_written_once_a_minute(store: Store, dsn: str) -> None:
    """Requests in between write nothing."""
    await sign_in(store, await set_password(store))
    written = []
    for seconds in (1, 59, 60, 61, 119, 120):
        await holds(store, timedelta(seconds=seconds))
        [(used,)] = query(dsn, "SELECT last_used_at FROM admin_sessions")
        written.append((used - NOON).total_seconds())
    assert timedelta(minutes=1) == TOUCH
    assert written == [0, 0, 60, 60, 60, 120]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE admins SET password_hash = 'other', password_set_at = now() WHERE name = 'carol'",
        "UPDATE admins SET password_hash = NULL, password_set_at = NULL WHERE name = 'carol'",
        "UPDATE admins SET role = 'viewer' WHERE name = 'carol'",
        "UPDATE admins SET revoked_at = now() WHERE name = 'carol'",
        "DELETE FROM admins WHERE name = 'carol'",
    ],
)
async def test_change_of_an_admin_ends_all_sessions(store: Store, dsn: str, change: str) -> None:
    """A change in SQL does, too. Other admins keep theirs."""
    carol, vera = await set_password(store), await set_password(store, "vera")
    for number in range(3):
        await sign_in(store, carol, bytes([number]) * 32)
    await sign_in(store, vera)
    query(dsn, change)
    assert digests(dsn) == [SECRET]


async def test_other_changes_leave_the_sessions(store: Store) -> None:
    """A password that is only hashed with other parameters is the same, and a new token is not of the console."""
    admin = await set_password(store)
    await sign_in(store, admin)
    await admins.replace_hash(store, admin.id, before=HASH, password_hash="$argon2id$made-up-hash-2")
    await give_token(store, "carol", "admin")
    assert await holds(store, SECOND)


async def test_password_that_was_changed_meanwhile_starts_no_session(store: Store) -> None:
    """An admin who was revoked while the password was checked gets none, either."""
    admin = await set_password(store)
    await set_password(store, stored="$argon2id$made-up-hash-2")
    assert not await sign_in(store, admin)
    await set_password(store)
    await admins.revoke_admin(store, "carol", NOON)
    assert not await sign_in(store, admin)


async def test_sign_in_waits_for_a_change_of_the_password(store: Store, dsn: str) -> None:
    """A session of the old password would outlive the change otherwise."""
    admin = await set_password(store)
    connection = psycopg2.connect(dsn)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute("UPDATE admins SET password_hash = 'other', password_set_at = now()")
            waiting = asyncio.create_task(sign_in(store, admin))
            blocked = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            await until(lambda: query(dsn, blocked))
        assert not await waiting
    finally:
        connection.close()
    assert digests(dsn) == []


async def test_hash_that_was_changed_meanwhile_is_kept(store: Store) -> None:
    """A sign-in with the old password does not bring it back."""
    admin = await set_password(store, stored="$argon2id$new")
    await admins.replace_hash(store, admin.id, before=HASH, password_hash="$argon2id$old-one-again")
    credentials = await admins.find_admin_by_name(store, "carol")
    assert credentials is not None
    assert credentials.password_hash == "$argon2id$new"


async def test_ended_sessions_are_deleted(store: Store, dsn: str) -> None:
    """Those that hold stay."""
    admin = await set_password(store)
    await sign_in(store, admin)
    await sessions.add_session(store, digest=b"t" * 32, admin_id=admin.id, password_hash=HASH, now=NOON + IDLE)
    await sessions.delete_ended_sessions(store, NOON + IDLE)
    assert digests(dsn) == [b"t" * 32]


async def test_session_is_not_in_the_audit_log(store: Store, dsn: str) -> None:
    """It has the change of the admin alone."""
    await sign_in(store, await set_password(store))
    await sessions.delete_session(store, SECRET)
    assert query(dsn, "SELECT object FROM audit_log") == [("admins",)]
    assert digests(dsn) == []


# The first admin.


async def test_first_admin_is_created_once(store: Store, dsn: str) -> None:
    """Several agents may be asked at the same moment: one succeeds."""
    stores = [Store(dsn) for _ in range(4)]
    created = await asyncio.gather(*(first_admin(each, f"admin {number}") for number, each in enumerate(stores)))
    for each in stores:
        await each.close()
    assert len([admin for admin in created if admin]) == 1
    assert len(await admins.list_admins(store)) == 1


async def test_admins_with_a_token_alone_do_not_count(store: Store) -> None:
    """After an upgrade one of them, or another name, becomes the first admin with a password; the token stays."""
    await give_token(store, "carol", "admin")
    assert not await admins.has_admin_who_can_sign_in(store, by_header=False)
    assert await first_admin(store)
    assert await admins.has_admin_who_can_sign_in(store, by_header=False)
    assert await admins.find_admin(store, b"d" * 32) is not None


async def test_behind_a_proxy_that_signs_in_any_admin_counts(store: Store) -> None:
    """No password is needed there, and the link gives none."""
    await give_token(store, "carol", "admin")
    assert await admins.has_admin_who_can_sign_in(store, by_header=True)
    assert await first_admin(store, "mallory", by_header=True) is None


@pytest.mark.parametrize("role", ["viewer", "revoked"])
async def test_viewer_or_revoked_admin_does_not_count(store: Store, role: str) -> None:
    """They cannot make changes, so another admin is needed."""
    await set_password(store, "vera", "viewer" if role == "viewer" else "admin")
    if role == "revoked":
        await admins.revoke_admin(store, "vera", NOON)
    assert await first_admin(store)


async def test_viewer_does_not_become_the_first_admin(store: Store) -> None:
    """The holder of the viewer's token would have an admin's."""
    await give_token(store, "vera", "viewer")
    assert await first_admin(store, "vera") is None
