"""Hashes of passwords."""

import asyncio
import threading
import time

import argon2
import pytest

from chatgpt_agent.adapters import passwords
from chatgpt_agent.adapters.passwords import MAX_AT_ONCE, Passwords
from tests.support.waiting import until

PASSWORD = "made-up words of carol"


async def test_hash_matches_its_password_alone() -> None:
    """Composed and decomposed characters are the same password."""
    stored = await Passwords().hash("mot de passe à moi")
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert await Passwords().verify(stored, "mot de passe a\u0300 moi")
    assert not await Passwords().verify(stored, "mot de passe a moi")


async def test_hashes_of_one_password_differ() -> None:
    """Each has a salt of its own."""
    assert await Passwords().hash(PASSWORD) != await Passwords().hash(PASSWORD)


async def test_missing_hash_matches_no_password() -> None:
    """A damaged one does not match, either, and a lone surrogate is a wrong password."""
    checks = Passwords()
    for stored in (None, "", "damaged", "$argon2id$v=19$m=19456,t=2,p=1$x$y"):
        assert not await checks.verify(stored, "")
    assert not await checks.verify(await checks.hash(PASSWORD), "\ud800")


async def test_missing_hash_costs_as_much() -> None:
    """The time of a refusal does not tell whether a name exists: a hash of the same cost is made for it."""
    checks, seconds = Passwords(), []
    for stored in (await checks.hash(PASSWORD), None):
        begin = time.process_time()
        assert not await checks.verify(stored, "wrong")
        seconds.append(time.process_time() - begin)
    assert seconds[1] > seconds[0] / 5  # without the hash it is less than a hundredth


async def test_hash_of_other_parameters_is_outdated() -> None:
    """It is checked as it is, and replaced then."""
    older = argon2.PasswordHasher(time_cost=1, memory_cost=8 * 1024, parallelism=1).hash(PASSWORD)
    checks = Passwords()
    assert await checks.verify(older, PASSWORD)
    assert checks.is_outdated(older)
    assert not checks.is_outdated(await checks.hash(PASSWORD))


async def test_two_hashes_are_made_at_once_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of sign-ins takes neither all processors nor all memory."""
    may_end, begun = threading.Event(), list[str]()

    def match(_: str, password: str) -> bool:
        begun.append(password)
        return may_end.wait() and False

    monkeypatch.setattr(passwords, "_matches", match)
    checks = Passwords()
    flood = [asyncio.create_task(checks.verify(None, PASSWORD)) for _ in range(8)]
    await until(lambda: len(begun) >= MAX_AT_ONCE)
    await asyncio.sleep(0.01)  # in which all would begin
    assert len(begun) == MAX_AT_ONCE
    may_end.set()
    assert await asyncio.gather(*flood) == [False] * 8
