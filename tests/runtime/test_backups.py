"""Backups beside running agents: every row is in them once, wherever it is on its way to PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import pytest

from chatgpt_agent.adapters.backup_file import BackupWriter
from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.outbox import Outbox
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.admin.backup import BackupRun, back_up
from chatgpt_agent.admin.restore import Restored, restore
from chatgpt_agent.core.ledger import State
from chatgpt_agent.runtime.ledger import Ledger
from tests.conftest import MakeAgent
from tests.support.administration import ROOT, administration_on
from tests.support.agent import Agent
from tests.support.database import query
from tests.support.factories import make_outcome, request_id
from tests.support.ledgers import begin, record, states
from tests.support.observers import IgnoreRows
from tests.support.oracle import DAILY_SUMS, SUMS_OF_ROWS
from tests.support.postgres_server import EMPTY, temporary_database


@pytest.fixture
def other_dsn(postgres: str) -> Iterator[str]:
    """Another database, without tables."""
    with temporary_database(postgres, EMPTY) as dsn:
        yield dsn


@asynccontextmanager
async def shipping(folder: Path, dsn: str, *, keep: float = 0.0) -> AsyncIterator[Ledger]:
    """The ledger of an agent, whose test ships its rows; they are kept for `keep` seconds after that."""
    ledger = Ledger(Outbox(folder, keep=keep), Store(dsn), observer=IgnoreRows())
    await ledger.open_outbox()
    await ledger.report()
    yield ledger
    await ledger.close()


async def restored(file: Path, folder: Path, dsn: str) -> Restored:
    """Restores a backup, and ships what is in its outbox as an agent would."""
    config = Config(database_url=dsn, data_dir=folder)
    result = await asyncio.to_thread(restore, config, file, actor=ROOT)
    async with shipping(folder, dsn) as ledger:
        await ledger.flush()
    assert query(dsn, DAILY_SUMS) == query(dsn, SUMS_OF_ROWS)
    return result


async def test_row_is_there_once_wherever_it_was(dsn: str, other_dsn: str, tmp_path: Path) -> None:
    """Shipped before the outbox was copied, between copy and dump, or after both; in progress at any of these times."""
    config, file = Config(database_url=dsn, data_dir=tmp_path / "data"), tmp_path / "b.tar"
    async with shipping(config.data_dir, dsn) as ledger:
        await record(ledger, 0)
        await ledger.flush()
        await record(ledger, 1)
        ended, in_progress = await begin(ledger, 2), await begin(ledger, 3)
        with BackupWriter(file) as writer:
            run = BackupRun(config, dsn, writer)
            run.copy_outbox()
            await ledger.settle(ended, make_outcome(2))
            await record(ledger, 4)
            await ledger.flush()
            await asyncio.to_thread(run.dump_database)
            run.finish()
        await ledger.settle(in_progress, make_outcome(3))
        await record(ledger, 5)
        await ledger.flush()
    await restored(file, tmp_path / "other", other_dsn)
    in_backup = {0: State.DONE, 1: State.DONE, 2: State.DONE, 3: State.UNKNOWN, 4: State.DONE}
    assert states(other_dsn) == {str(request_id(number)): state for number, state in in_backup.items()}


async def test_intact_outbox_adds_what_the_backup_lacks(dsn: str, other_dsn: str, tmp_path: Path) -> None:
    """Only the database was lost: the rows that were shipped after the backup are shipped again."""
    config = Config(database_url=dsn, data_dir=tmp_path / "data")
    async with shipping(config.data_dir, dsn, keep=3600) as ledger:
        await record(ledger, 0, 1)
        await ledger.flush()
        await asyncio.to_thread(back_up, config, tmp_path / "b.tar", actor=ROOT)
        await record(ledger, 2, 3)
        await ledger.flush()
    other = Config(database_url=other_dsn, data_dir=tmp_path / "data")
    await asyncio.to_thread(restore, other, tmp_path / "b.tar", actor=ROOT, database_only=True)
    async with shipping(other.data_dir, other_dsn, keep=3600) as ledger:
        await ledger.flush()
    assert len(states(other_dsn)) == 4
    assert query(other_dsn, DAILY_SUMS) == query(other_dsn, SUMS_OF_ROWS)
    assert query(other_dsn, "SELECT shipped_rows, lost_rows FROM agents") == [(4, 0)]


async def test_backups_under_load_have_every_answered_request(
    make_agent: MakeAgent, dsn: str, other_dsn: str, tmp_path: Path
) -> None:
    """Clients go on while a backup is taken; what was answered before it is in the restored ledger, which is right."""
    agent: Agent = await make_agent(keep_shipped=0)
    done = asyncio.Event()

    async def client() -> None:
        while not done.is_set():
            assert (await agent.chat(stream=True)).status == 200

    clients = [asyncio.create_task(client()) for _ in range(8)]
    await agent.until(lambda: len(agent.answers) >= 40)
    before = {UUID(answer.header("x-agent-request-id")) for answer in agent.answers}
    file = tmp_path / "b.tar"
    backup = await asyncio.to_thread(back_up, agent.config, file, actor=ROOT)
    after = len(agent.answers)
    done.set()
    await asyncio.gather(*clients)
    assert after > len(before)
    result = await restored(file, tmp_path / "other", other_dsn)
    assert (backup.warnings, result.findings) == ([], [])
    rows = [UUID(key) for key in states(other_dsn)]
    assert before <= set(rows)
    administration = administration_on(other_dsn)
    assert await administration.ledger.verify() == []
    await administration.stores.close()
