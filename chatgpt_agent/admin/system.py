"""The system at a glance: versions, the configuration in force, and the health of what an agent depends on."""

import asyncio
from datetime import datetime

import msgspec

from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.config_view import DEFAULT, Setting, settings_of
from chatgpt_agent.adapters.outbox import OutboxState, file_bytes, read_state
from chatgpt_agent.adapters.postgres.agents import AgentState, agent_states
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.health import DatabaseHealth, TableSize, read_health
from chatgpt_agent.adapters.redaction import HIDDEN
from chatgpt_agent.adapters.versions import versions
from chatgpt_agent.admin.backups import LastBackup, last_backup
from chatgpt_agent.core.errors import AgentError, SetupError, StoreError
from chatgpt_agent.runtime.upstream_contact import UpstreamContact

__all__ = [
    "DEFAULT",
    "HIDDEN",
    "DatabaseHealth",
    "OutboxHealth",
    "Setting",
    "System",
    "SystemReader",
    "TableSize",
    "UpstreamHealth",
]


class OutboxHealth(msgspec.Struct, frozen=True, kw_only=True):
    """The outbox of the agent's data_dir: requests in progress, rows to be shipped, when the oldest of those began, the
    size of its files in bytes."""

    requests: int
    rows: int
    oldest_at: datetime | None
    bytes: int


class UpstreamHealth(msgspec.Struct, frozen=True, kw_only=True):
    """When OpenAI answered a request of this agent last, and when one failed last, with a code of docs/errors.md or an
    HTTP status; None: it has not happened since the agent's start."""

    url: str
    answered_at: datetime | None
    failed_at: datetime | None
    error: str | None


class System(msgspec.Struct, frozen=True, kw_only=True):
    """The state of this agent and of what it depends on. `database`, `outbox`: None if it cannot be read, with the
    reason in `database_error`, `outbox_error`; an outbox that does not exist has neither.
    `last_backup`: None if `chatgpt-agent backup` has made none."""

    versions: dict[str, str]
    settings: list[Setting]
    database: DatabaseHealth | None
    database_error: str | None
    outbox: OutboxHealth | None
    outbox_error: str | None
    upstream: UpstreamHealth
    agents: list[AgentState]
    last_backup: LastBackup | None


class SystemReader:
    """The use case. It reads no rows of the ledger."""

    def __init__(self, store: Store, config: Config) -> None:
        self._store = store
        self._config = config

    async def read(self, upstream: UpstreamContact) -> System:
        """Returns the state of now. `upstream`: what this agent has noted."""
        settings = settings_of(self._config)
        database, database_error = await self._read_database()
        outbox, outbox_error = await self._read_outbox()
        return System(
            versions=versions(),
            settings=settings,
            database=database,
            database_error=database_error,
            outbox=outbox,
            outbox_error=outbox_error,
            upstream=UpstreamHealth(
                url=next(setting.value or "" for setting in settings if setting.key == "openai_url"),
                answered_at=upstream.answered_at,
                failed_at=upstream.failed_at,
                error=upstream.error,
            ),
            agents=await agent_states(self._store) if database else [],
            last_backup=await last_backup(self._store) if database else None,
        )

    async def _read_database(self) -> tuple[DatabaseHealth | None, str | None]:
        try:
            return await read_health(self._store), None
        except StoreError as error:
            return None, _reason(error)

    async def _read_outbox(self) -> tuple[OutboxHealth | None, str | None]:
        folder = self._config.data_dir
        try:
            # In a thread: a disk may be slow.
            state, size = await asyncio.to_thread(lambda: (read_state(folder), file_bytes(folder)))
        except SetupError as error:
            return None, _reason(error)
        except OSError as error:
            return None, f"the outbox in {folder} cannot be read: {error.strerror}"
        return None if state is None else _outbox_health(state, size), None


def _outbox_health(state: OutboxState, size: int) -> OutboxHealth:
    return OutboxHealth(requests=state.intents, rows=state.rows, oldest_at=state.oldest_at, bytes=size)


def _reason(error: AgentError) -> str:
    return " ".join(error.message.splitlines())
