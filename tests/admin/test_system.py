"""The state of an agent and of what it depends on."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from chatgpt_agent import __version__
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.admin.system import System, SystemReader
from chatgpt_agent.runtime.upstream_contact import UpstreamContact
from tests.support.agent import Agent
from tests.support.database import connected, query
from tests.support.upstream import Upstream

pytestmark = pytest.mark.shared_agent


async def read(agent: Agent, store: Store | None = None, **config: Any) -> System:
    """Reads the state of an agent, or of one with another database or configuration."""
    reader = SystemReader(store or agent.store, msgspec.structs.replace(agent.config, **config))
    return await reader.read(agent.server.figures.upstream)


async def test_versions_are_those_of_this_process(agent: Agent) -> None:
    """All have one."""
    versions = (await read(agent)).versions
    assert versions["chatgpt-agent"] == __version__
    assert [name for name, version in versions.items() if not version] == []


async def test_database_has_version_and_size(agent: Agent) -> None:
    """They are those that PostgreSQL itself names."""
    database = (await read(agent)).database
    assert database is not None
    sql = "SELECT current_database()::text, current_setting('server_version'), current_setting('max_connections')::int"
    assert query(str(agent.config.database_url), sql) == [(database.name, database.version, database.max_connections)]
    assert database.bytes > sum(table.bytes for table in database.tables) > 0


async def test_partitions_count_as_their_table(agent: Agent) -> None:
    """The ledger is one table, as large as its months together."""
    await agent.store.fetch(
        "CREATE TABLE usage_made_up PARTITION OF usage FOR VALUES FROM ('1990-01-01') TO ('1990-02-01')"
    )
    database = (await read(agent)).database
    [(size,)] = await agent.store.fetch(
        "SELECT sum(pg_total_relation_size(relid))::bigint FROM pg_partition_tree('usage') WHERE isleaf"
    )
    await agent.store.fetch("DROP TABLE usage_made_up")
    assert database is not None
    sizes = {table.name: table.bytes for table in database.tables}
    assert sizes["usage"] == size
    assert [name for name in sizes if name.startswith("usage_") and "made_up" in name] == []


async def test_connections_of_other_programs_are_apart(agent: Agent) -> None:
    """A connection of another program counts for the server alone."""
    before = (await read(agent)).database
    with connected(str(agent.config.database_url)):
        after = (await read(agent)).database
    assert before is not None
    assert after is not None
    assert after.connections == before.connections >= 1
    assert after.all_connections > after.connections


async def test_database_that_is_away_is_named(agent: Agent) -> None:
    """The rest is read all the same."""
    async with Store("host=127.0.0.1 port=1 dbname=none user=none") as store:
        system = await read(agent, store)
    assert (system.database, system.agents) == (None, [])
    assert "the database is unavailable" in str(system.database_error)
    assert system.outbox is not None


async def test_outbox_has_its_size(agent: Agent) -> None:
    """Its files are those in data_dir."""
    outbox = (await read(agent)).outbox
    assert outbox is not None
    assert (outbox.requests, outbox.rows, outbox.oldest_at) == (0, 0, None)
    assert outbox.bytes == sum(path.stat().st_size for path in agent.config.data_dir.glob("outbox.db*")) > 0


async def test_missing_outbox_is_no_error(agent: Agent, tmp_path: Path) -> None:
    """A command may run where no agent does."""
    system = await read(agent, data_dir=tmp_path)
    assert (system.outbox, system.outbox_error) == (None, None)


async def test_unreadable_outbox_is_named(agent: Agent, tmp_path: Path) -> None:
    """The rest is read all the same."""
    (tmp_path / "outbox.db").write_bytes(b"no database" * 100)
    system = await read(agent, data_dir=tmp_path)
    assert (system.outbox, system.database is None) == (None, False)
    assert f"the outbox {tmp_path / 'outbox.db'} cannot be read" in str(system.outbox_error)


async def test_agents_are_listed(agent: Agent) -> None:
    """This one is among them, with its version."""
    assert __version__ in [each.version for each in (await read(agent)).agents]


async def test_requests_show_when_openai_answered(agent: Agent, upstream: Upstream) -> None:
    """An answered request is noted by the agent."""
    before = agent.server.figures.upstream.answered_at
    await agent.chat()
    system = await read(agent)
    assert system.upstream.answered_at is not None
    assert before is None or system.upstream.answered_at > before
    assert system.upstream.url == agent.config.openai_url


async def test_fresh_agent_has_no_contact(agent: Agent) -> None:
    """Neither an answer nor a failure is made up."""
    upstream = (await SystemReader(agent.store, agent.config).read(UpstreamContact())).upstream
    assert (upstream.answered_at, upstream.failed_at, upstream.error) == (None, None, None)
