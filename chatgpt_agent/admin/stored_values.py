"""Finds stored values that agents cannot read: rows of the directory, and OpenAI keys that cannot be decrypted."""

import asyncio
from collections.abc import Iterator, Mapping

from chatgpt_agent.adapters.keyring import Keyring
from chatgpt_agent.adapters.postgres.checks import Finding
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.directory import Unreadable, invalid_networks, unreadable_rows
from chatgpt_agent.adapters.postgres.settings import master_key_check
from chatgpt_agent.adapters.postgres.users import encrypted_keys
from chatgpt_agent.core.errors import KeyUnusable


async def check_values(store: Store, keyring: Keyring | None, limit: int) -> list[Finding]:
    """Returns what agents cannot read, at most `limit` findings of each kind; without a keyring only rows."""
    findings = [_unreadable(row) for row in (await unreadable_rows(store))[:limit]]
    findings += [
        Finding("network", f"{row.table} {row.id}", f"{row.reason} is not a network, and matches no address")
        for row in (await invalid_networks(store))[:limit]
    ]
    return findings if keyring is None else findings + (await _unusable_keys(store, keyring))[:limit]


async def _unusable_keys(store: Store, keyring: Keyring) -> list[Finding]:
    if await master_key_check(store) not in (None, *keyring.check_values):
        return [Finding("openai key", "master key", "the key file is not the one of this database")]
    keys = await encrypted_keys(store)
    # In a thread: a key takes 15 to 100 µs.
    return await asyncio.to_thread(lambda: list(_unusable(keyring, keys)))


def _unreadable(row: Unreadable) -> Finding:
    rule = "in force with 0 USD" if row.table == "budgets" else "left out"
    return Finding(
        "unreadable", f"{row.table} {row.id}", f"agents cannot read this row, and it is {rule}: {row.reason}"
    )


def _unusable(keyring: Keyring, keys: Mapping[int, bytes]) -> Iterator[Finding]:
    for user_id, encrypted in keys.items():
        try:
            keyring.decrypt(user_id, encrypted)
        except KeyUnusable as error:
            yield Finding("openai key", f"users {user_id}", error.message)
