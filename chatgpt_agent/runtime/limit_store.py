"""What agents publish to each other of rate limits, in PostgreSQL."""

from datetime import datetime
from typing import Protocol
from uuid import UUID

from chatgpt_agent.adapters.postgres import limit_use
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.limit_use import LIMITS_CHANNEL, AliveAgents
from chatgpt_agent.core.budget.shared_use import Publication, PublishedUse


class LimitStore(Protocol):
    """All methods raise StoreError."""

    async def read_alive_agents(self) -> AliveAgents:
        """The agents that are alive."""

    async def read_uses(self, since: datetime | None) -> list[PublishedUse]:
        """What agents have published since a moment by the server's clock, or ever."""

    async def publish(self, publication: Publication) -> None:
        """Stores what an agent has used, and notifies the others."""

    async def delete_uses(self, agent: UUID) -> None:
        """Deletes what an agent has published."""

    async def wait_for_publications(self, seconds: float) -> list[Publication] | None:
        """Waits for notices, `seconds` at most. None: some may be lost, and another server may answer."""

    async def close(self) -> None:
        """Ends the connections."""


class PostgresLimitStore:
    """A LimitStore in PostgreSQL. `listener` is a separate connection for LISTEN."""

    def __init__(self, store: Store, listener: Store) -> None:
        self._store = store
        self._listener = listener

    async def read_alive_agents(self) -> AliveAgents:
        """See LimitStore."""
        return await limit_use.read_alive_agents(self._store)

    async def read_uses(self, since: datetime | None) -> list[PublishedUse]:
        """See LimitStore."""
        return await limit_use.read_uses(self._store, since)

    async def publish(self, publication: Publication) -> None:
        """See LimitStore."""
        await limit_use.publish_uses(self._store, publication)

    async def delete_uses(self, agent: UUID) -> None:
        """See LimitStore."""
        await limit_use.delete_uses(self._store, agent)

    async def wait_for_publications(self, seconds: float) -> list[Publication] | None:
        """See LimitStore."""
        notices = await self._listener.wait_for_notice(seconds, LIMITS_CHANNEL)
        if notices is None:
            return None
        if not notices:
            await self._listener.ping()  # a server that has disappeared sends no notices, and no error either
        return limit_use.parse_notices(notices)

    async def close(self) -> None:
        """See LimitStore."""
        await self._store.close()
        await self._listener.close()
