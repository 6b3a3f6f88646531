"""One agent, one database and one fake upstream for many tests of a module; each test sees them as if they were new."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from chatgpt_agent.adapters.distribution import DISTRIBUTED
from tests.support import citus
from tests.support.agent import Agent
from tests.support.canaries import search
from tests.support.database import connected
from tests.support.loops import StrictLoop
from tests.support.oracle import verify
from tests.support.postgres_server import temporary_database
from tests.support.upstream import Upstream

# Restored where a test has changed them, parents first. The agent holds a copy of all but the last two.
RESTORED = ("users", "tokens", "prices", "surcharges", "model_dates", "budgets", "admins", "settings")
EMPTIED = (
    "usage",
    "usage_daily",
    "usage_by_model",
    "usage_latency",
    "reconciled_days",
    "ledger_checks",
    "dead_letters",
    "reservations",
    "limit_use",
    "budget_alerts",
    "token_uses",
    "archived_months",
    "archived_daily",
    "archived_latency",
    "audit_log",
    "admin_sessions",
)
NUMBERED = ("users", "tokens", "prices", "surcharges", "budgets", "admins", "audit_log")  # with an identity column `id`

SNAPSHOT = "CREATE SCHEMA pristine; " + " ".join(
    f"CREATE TABLE pristine.{table} AS TABLE public.{table};" for table in RESTORED
)
# A restored row gets a new version, so versions are not compared.
CONTENT = "(SELECT array_agg(to_jsonb(t) - 'changed' - 'version' ORDER BY t::text COLLATE \"C\") FROM {table} t)"
CHANGED = "SELECT " + " OR ".join(
    f"{CONTENT.format(table='public.' + table)} IS DISTINCT FROM {CONTENT.format(table='pristine.' + table)}"
    for table in RESTORED
)
RESTORE = "".join(f"DELETE FROM {table}; " for table in reversed(RESTORED)) + "".join(
    f"INSERT INTO {table} SELECT * FROM pristine.{table}; " for table in RESTORED
)
# On Citus, the servers that have the rows do not get this setting; and TRUNCATE is a trigger there.
# Rows of usage and of the audit log are never deleted otherwise: triggers see to it.
EMPTY = (
    (f"TRUNCATE {', '.join(DISTRIBUTED)}; " if citus.URL else "")
    + "SET session_replication_role = replica; "
    + "".join(f"DELETE FROM {table}; " for table in EMPTIED)
    + "SET session_replication_role = origin; "
    + "".join(
        f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), coalesce(max(id), 0) + 1, false) FROM {table}; "
        for table in NUMBERED
    )
)


class SharedAgent:
    """A running agent with its own loop, upstream and database. Close it when its module's tests are over."""

    def __init__(self, postgres: str, folder: Path, settings: Mapping[str, Any]) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self.loop = StrictLoop()
        self._stack.callback(self.loop.close)
        self.loop.make_current()
        run = self.loop.io_loop.run_sync
        self.dsn = self._stack.enter_context(temporary_database(postgres))
        self.upstream = Upstream()
        run(self.upstream.start)
        self._stack.callback(run, self.upstream.stop)
        urls = {"openai_url": self.upstream.url, "data_dir": folder / "data", "database_url": self.dsn}
        self.agent = Agent({**urls, **settings})
        run(self.agent.start)
        self._stack.callback(run, self.agent.stop)
        self._token = self.agent.token
        self._cursor = self._stack.enter_context(connected(self.dsn))
        self._cursor.execute(SNAPSHOT)

    def finish_test(self) -> None:
        """Checks the ledger as after every test with an agent, then puts everything back as it was."""
        run = self.loop.io_loop.run_sync
        assert not self.agent.server.lifecycle.draining, "The test has stopped the shared agent: mark it `own_agent`."
        run(lambda: self.agent.until(lambda: self.agent.server.lifecycle.in_progress == 0))
        run(self.agent.flush)
        run(lambda: verify(self.agent, self.upstream, self.agent.answers, cursor=self._cursor))
        run(self.upstream.reset)
        version = self._reset_database()
        run(lambda: self.agent.until(lambda: self.agent.server.directory.version >= version))
        self.agent.token = self._token
        self.agent.answers.clear()

    def _reset_database(self) -> int:
        """Puts the first content back; returns the version that the agent's copy must have then."""
        self._cursor.execute(CHANGED)
        [(changed,)] = self._cursor.fetchall()
        self._cursor.execute((RESTORE if changed else "") + EMPTY + "SELECT version FROM directory_version")
        [(version,)] = self._cursor.fetchall()
        return int(version)

    def close(self) -> None:
        """Stops the agent; no secret may be in its files, and no task left behind."""
        self.loop.make_current()
        self._stack.close()
        _, hits = search(self._folder)
        assert hits == []


class SharedAgents:
    """The agents of one module: one for each set of settings that its tests name."""

    def __init__(self, postgres: str, folder: Path) -> None:
        self._postgres = postgres
        self._folder = folder
        self._agents: dict[str, SharedAgent] = {}
        self._started = 0

    def get(self, settings: Mapping[str, Any]) -> SharedAgent:
        """The agent with these settings; starts it for the first test that asks."""
        key = repr(sorted(settings.items()))
        if key not in self._agents:
            self._started += 1
            self._agents[key] = SharedAgent(self._postgres, self._folder / str(self._started), settings)
        return self._agents[key]

    def finish_test(self, shared: SharedAgent) -> None:
        """Ends a test. An agent that is not as it should be afterwards is stopped, and no other test gets it."""
        try:
            shared.finish_test()
        except BaseException:
            self._agents = {key: other for key, other in self._agents.items() if other is not shared}
            shared.close()
            raise

    def close(self) -> None:
        """Stops all of them."""
        with ExitStack() as stack:
            for shared in self._agents.values():
                stack.callback(shared.close)
