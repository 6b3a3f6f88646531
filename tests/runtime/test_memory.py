"""The memory for bodies and answers, and who may hold how much of it."""

import asyncio

import pytest

from chatgpt_agent.adapters import malloc
from chatgpt_agent.runtime import memory
from chatgpt_agent.runtime.memory import Memory, trim_forever
from tests.support.waiting import SECONDS

MIB = 1 << 20


def test_user_may_hold_as_much_as_remains_free() -> None:
    """One user may hold half of the memory, and the next one half of the rest."""
    all_memory = Memory(1000)
    one, another, other_user = all_memory.share(1), all_memory.share(1), all_memory.share(2)
    assert (one.grow(300), another.grow(201), another.grow(200)) == (True, False, True)
    assert (other_user.grow(251), other_user.grow(250), all_memory.held) == (False, True, 750)


def test_bytes_are_given_back() -> None:
    """What a request gives back is free for others, and an empty share holds nothing."""
    all_memory = Memory(1000)
    one, another = all_memory.share(1), all_memory.share(1)
    assert one.grow(500)
    one.shrink(100)
    assert (another.grow(101), another.grow(100)) == (False, True)
    one.release()
    one.release()
    another.release()
    assert (all_memory.held, one.size) == (0, 0)


def test_share_is_resized() -> None:
    """A share that is resized holds the new size, unless there is no room for it."""
    share = Memory(1000).share("admin root")
    assert (share.resize(500), share.resize(100), share.resize(501), share.size) == (True, True, False, 100)


async def test_freed_memory_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a burst of small blocks, of which some stay, the process gives their memory back to the system."""
    monkeypatch.setattr(memory, "TRIM_SECONDS", 0.05)
    task = asyncio.create_task(trim_forever())
    malloc.trim()
    await asyncio.sleep(0)
    before = malloc.resident_bytes()
    blocks = [bytes(16 * 1024) for _ in range(6 * 1024)]
    assert malloc.resident_bytes() > before + 64 * MIB
    rest = blocks[::64]
    blocks.clear()
    async with asyncio.timeout(SECONDS):
        while malloc.resident_bytes() > before + 32 * MIB:
            await asyncio.sleep(0.02)
    assert rest
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
