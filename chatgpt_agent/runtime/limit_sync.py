"""Shares rate limits between the agents of one database: publishes what this one has used, and hears of the others.

Nothing is published while this agent is the only one. It shares on for a while after the others have gone, so that one
that is restarted finds what is used. An agent without contact to PostgreSQL goes on by what it knows. If that takes
longer than a minute, in which a bucket refills, it begins another run: what it took long ago must not count now.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import msgspec

from chatgpt_agent.adapters.cooperative import batches
from chatgpt_agent.adapters.postgres.limit_use import AliveAgents
from chatgpt_agent.core.budget.shared_use import OthersUse, Publication
from chatgpt_agent.core.errors import StoreError
from chatgpt_agent.runtime.background import Background, OnDeath, report_to_loop
from chatgpt_agent.runtime.limit_meters import Meters
from chatgpt_agent.runtime.limit_store import LimitStore

log = logging.getLogger(__name__)

# By the server's clock: a statement that takes longer than this to commit may be missed until the figures change again.
_OVERLAP = timedelta(seconds=15)


class LimitTimes(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds between two steps."""

    publish: float = 0.2  # between two publications
    read: float = 5.0  # between two readings, in case a notice was lost
    read_alone: float = 60.0  # the same, of the only agent
    listen: float = 5.0  # without a notice, until the server is asked whether it is alive
    gap: float = 60.0  # without contact, after which an agent begins another run
    leave: float = 120.0  # since there were other agents, until nothing is published
    retry: float = 1.0  # after an error of the database


class LimitSync:
    """The background work of rate limits. `clock`: monotonic seconds."""

    def __init__(
        self,
        meters: Meters,
        store: LimitStore,
        *,
        clock: Callable[[], float],
        times: LimitTimes = LimitTimes(),
        on_death: OnDeath = report_to_loop,
    ) -> None:
        self._meters = meters
        self._store = store
        self._clock = clock
        self._times = times
        # This agent, as others know it.
        self._agent: UUID | None = None
        self._run = uuid4()
        self._number = 0  # of the last publication in the run
        self._announced = False  # whether other agents know of this start
        # What was read.
        self._read_at = float("-inf")  # in monotonic seconds
        self._read_until: datetime | None = None  # by the server's clock; None: everything is to be read
        self._accompanied_at = float("-inf")  # when there was another agent, in monotonic seconds
        self._read_due = asyncio.Event()
        self._lock = asyncio.Lock()  # a run does not end while something of it is published
        self.background = Background(on_death)

    async def start(self, agent: UUID) -> None:
        """Learns what is used, tells the other agents of this one, and follows them from then on. `agent`: the id under
        which this agent reports."""
        if "limits" in self.background:  # another service could not start
            return
        try:
            await self.load(agent)
        except StoreError as error:
            log.warning("cannot read what other agents have used of rate limits: %s", error)
            self._read_due.set()
        self.background.start("limit notices", self._listen())
        self.background.start("limits", self._follow())
        self.background.start("limit publications", self._publish_forever())

    async def load(self, agent: UUID) -> None:
        """Learns what is used, and tells the other agents of this one. Raises StoreError."""
        self._agent = agent
        await self.read()

    async def close(self) -> None:
        """Publishes what is left, and stops following. What is used stays known until it has refilled."""
        await self.background.close()
        if self._meters.changes.owners:
            with contextlib.suppress(StoreError, TimeoutError):
                async with asyncio.timeout(1):
                    await self.publish()
        await self._store.close()

    # Steps.

    async def read(self) -> None:
        """Reads which agents are alive, and what they have used. Raises StoreError."""
        async with self._lock:
            await self._read(again=self._clock() - self._read_at > self._times.gap)

    async def publish(self) -> None:
        """Publishes what this agent has used since the last time. Raises StoreError."""
        async with self._lock:
            await self._publish()

    async def _read(self, *, again: bool) -> None:
        assert self._agent is not None
        alive = await self._store.read_alive_agents()
        others, now = alive.ids - {self._agent}, self._clock()
        if others:
            self._accompanied_at = now
        if not self._announced:
            await self._announce(others)
        elif others and (again or not self._meters.sharing):
            await self._begin_run(others)
        elif self._meters.sharing:
            await self._catch_up(alive)
        self._read_at, self._read_until = now, alive.now
        if self._meters.sharing and now - self._accompanied_at > self._times.leave:
            await self._store.delete_uses(self._agent)
            self._meters.end_sharing()

    async def _publish(self) -> None:
        assert self._agent is not None
        changes = self._meters.changes
        if changes.owners and self._clock() - changes.since > self._times.gap:
            await self._read(again=True)
        if not changes.owners:
            return
        owners, since = changes.owners, changes.since
        changes.clear()
        self._number += 1
        try:
            await self._store.publish(Publication(self._agent, self._run, self._number, self._meters.uses(owners)))
        except BaseException:
            changes.add(owners, since)
            raise

    def receive(self, publications: Iterable[Publication]) -> None:
        """Takes over what other agents have published, in notices."""
        late = self._clock() - self._read_at > self._times.gap
        for each in publications:
            if each.agent == self._agent:
                continue
            if late or not self._meters.sharing:
                self._read_due.set()  # what it has used is read, too
            else:
                self._meters.receive(each.agent, each.run, each.number, each.uses)

    async def _announce(self, others: set[UUID]) -> None:
        """Learns what is used, also by the last run of this agent, and tells the others that it has started."""
        assert self._agent is not None
        others_use = await self._read_others_use(others)
        await self._store.delete_uses(self._agent)
        await self._store.publish(Publication(self._agent, self._run, 0, []))
        self._announced = True
        if others:
            self._meters.begin_sharing(others_use)
        else:
            self._meters.learn(others_use)

    async def _begin_run(self, others: set[UUID]) -> None:
        """Begins to share: this agent was alone, or without contact for long."""
        assert self._agent is not None
        others_use = await self._read_others_use(others, but=self._agent)
        await self._store.delete_uses(self._agent)  # there are never figures of two runs
        self._run, self._number = uuid4(), 0
        self._meters.begin_sharing(others_use)

    async def _read_others_use(self, alive: set[UUID], *, but: UUID | None = None) -> OthersUse:
        """Reads what agents have used, and what runs at those that are alive."""
        others_use, now = OthersUse(), self._clock()
        async for batch in batches(await self._store.read_uses(None)):
            for each in batch:
                if each.agent != but:
                    others_use.add(each, now)
        others_use.forget_running(agent for agent, _ in others_use.runs if agent not in alive)
        return others_use

    async def _catch_up(self, alive: AliveAgents) -> None:
        """Takes over what others have published since the last reading. An agent that is gone, or has begun another
        run, has no requests in progress."""
        assert self._agent is not None
        self._meters.forget(agent for agent, _ in self._meters.runs - alive.runs)
        if (self._agent, self._run) not in alive.runs:
            self._meters.republish()  # a server that has crashed, or taken over, has an empty table
        # The clock of another server may be behind.
        since = None if self._read_until is None or alive.now < self._read_until else self._read_until - _OVERLAP
        async for batch in batches(await self._store.read_uses(since)):
            for each in batch:
                if each.agent != self._agent:
                    self._meters.receive(each.agent, each.run, each.number, [each.use], age=each.age)
        self._meters.forget(agent for agent, _ in self._meters.runs if agent not in alive.ids)

    # Tasks.

    async def _listen(self) -> None:
        """Takes over notices. Connection errors are logged by the directory."""
        while True:
            try:
                publications = await self._store.wait_for_publications(self._times.listen)
            except StoreError:
                await asyncio.sleep(self._times.retry)
                continue
            if publications is None:
                self._read_due.set()
                continue
            for each in publications:
                self.receive([each])
                await asyncio.sleep(0)  # a notice takes up to a millisecond

    async def _follow(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._times.read if self._meters.sharing else self._times.read_alone):
                    await self._read_due.wait()
            self._read_due.clear()
            try:
                await self.read()
            except StoreError:
                await asyncio.sleep(self._times.retry)
                self._read_due.set()

    async def _publish_forever(self) -> None:
        """Publishes a change at once, and those that follow soon together."""
        while True:
            await self._meters.changes.due.wait()
            try:
                await self.publish()
            except StoreError:
                await asyncio.sleep(self._times.retry)
            await asyncio.sleep(self._times.publish)
