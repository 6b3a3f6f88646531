"""Hashes of passwords: argon2id (RFC 9106) with the parameters that OWASP gives as the minimum.

A hash takes about 30 ms and 19 MiB, so it is made in a thread, at most two at once."""

import asyncio

import argon2
from argon2.exceptions import InvalidHashError, VerificationError

from chatgpt_agent.adapters.own_thread import in_own_thread
from chatgpt_agent.core.access.passwords import normalized

MAX_AT_ONCE = 2

_HASHER = argon2.PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
# Of no password. Checked for unknown names, so that they take as long as known ones.
_DUMMY = "$argon2id$v=19$m=19456,t=2,p=1$bm8gcGFzc3dvcmQgaGFzIA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"


class Passwords:
    """Makes and checks hashes of passwords."""

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(MAX_AT_ONCE)

    async def hash(self, password: str) -> str:
        """Returns a hash with a salt of its own, in the format of PHC strings."""
        async with self._slots:
            return await in_own_thread(lambda: _HASHER.hash(normalized(password)))

    async def verify(self, stored: str | None, password: str) -> bool:
        """Returns whether a password has this hash; False, after the same time, where there is no hash."""
        async with self._slots:
            return await in_own_thread(lambda: _matches(stored or _DUMMY, normalized(password)))

    def is_outdated(self, stored: str) -> bool:
        """Whether a hash has other parameters than new ones."""
        return _HASHER.check_needs_rehash(stored)


def _matches(stored: str, password: str) -> bool:
    try:
        return _HASHER.verify(stored, password)
    except (VerificationError, InvalidHashError, UnicodeEncodeError):  # the last: a lone surrogate
        return False
