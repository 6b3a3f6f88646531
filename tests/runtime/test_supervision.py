"""The agent's watchdog hears from it only while its event loop turns and its disk accepts writes."""

from pathlib import Path

from chatgpt_agent.adapters.systemd import ServiceManager
from tests.conftest import MakeAgent
from tests.support.full_disk import full_disk
from tests.support.systemd import notify_socket

PERIOD = 0.04  # seconds
ALIVE = "WATCHDOG=1"


async def test_watchdog_hears_of_a_living_agent(make_agent: MakeAgent, tmp_path: Path) -> None:
    """Again and again, and not before the outbox is open."""
    with notify_socket(tmp_path) as listening:
        await make_agent(manager=ServiceManager(listening.address, PERIOD))
        await listening.line("STATUS=serving")
        for _ in range(3):
            await listening.line(ALIVE, after=len(listening.lines))


async def test_watchdog_hears_nothing_while_the_outbox_cannot_be_written(make_agent: MakeAgent, tmp_path: Path) -> None:
    """Every message stands for a write that has reached the disk since the one before."""
    with notify_socket(tmp_path) as listening:
        agent = await make_agent(manager=ServiceManager(listening.address, PERIOD))
        await listening.line("STATUS=serving")
        await listening.line(ALIVE)
        with full_disk():
            await agent.until(lambda: not agent.server.ledger.writable)
            listening.read()
            refused = len(listening.lines)
            # It is sent up to a second later, in which the watchdog would hear of the agent dozens of times. Once it
            # may: of a write that was just before.
            await listening.line("STATUS=not serving: the outbox cannot be written")
            assert listening.lines[refused:].count(ALIVE) <= 1
        await listening.line(ALIVE, after=refused)
        await listening.line("STATUS=serving", after=refused)


async def test_watchdog_hears_nothing_while_the_event_loop_is_blocked(make_agent: MakeAgent, tmp_path: Path) -> None:
    """An agent that serves no request is not alive, whatever its threads do."""
    with notify_socket(tmp_path) as listening:
        await make_agent(manager=ServiceManager(listening.address, PERIOD))
        await listening.line(ALIVE)
        listening.read()
        assert listening.next_within(5 * PERIOD) is None
        await listening.line(ALIVE, after=len(listening.lines))


async def test_write_of_a_request_is_proof_enough(make_agent: MakeAgent, tmp_path: Path) -> None:
    """A busy agent writes no records for its watchdog."""
    agent = await make_agent()
    ledger = agent.server.ledger
    await ledger.confirm_write()
    await agent.chat()
    with full_disk():
        await ledger.confirm_write()
