"""Fixtures: an event loop that loses nothing, a real PostgreSQL, a fake OpenAI, and an agent between them.

Most tests need an agent that nothing else uses and get one of their own from `make_agent`. Starting it takes longer
than most tests do, so a module can share one:

    pytestmark = pytest.mark.shared_agent               # for all of its tests
    @pytest.mark.shared_agent(max_body_size=1000)       # for one test, or for several, with other settings

A marked test that takes `agent`, itself or through another fixture, gets the agent of the module for these settings;
`upstream`, `dsn` and `io_loop` are that agent's, too. After each test the ledger is checked as always, the upstream
forgets its script and its requests, and the database gets its first content back, ids included: each test finds alice,
her token and one price, and may add users, prices, budgets and administrators.

What the agent itself remembers stays: failed authentications of an address (10 wrong tokens, then 429: send them with
`fetch(..., source=source_address)`), rate limits, when a token was last used, alerts, connections to the upstream.
Tests about these, tests that change `agent.server`, stop it or end its connections take an agent of their own: with
`make_agent`, or with `@pytest.mark.own_agent` in a module that shares one.
"""

import gc
import inspect
import itertools
import os
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from time import sleep
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from tornado.ioloop import IOLoop

from chatgpt_agent.runtime.tuning import Tuning
from tests.support import citus
from tests.support.agent import TUNING, Agent
from tests.support.canaries import SECRETS, search
from tests.support.folders import memory_folder
from tests.support.loops import StrictLoop
from tests.support.oracle import check
from tests.support.ports import port_of, reserve
from tests.support.postgres_server import EMPTY, MIGRATED, run_postgres, server_folder, temporary_database
from tests.support.reused_database import ReusedDatabase
from tests.support.shared_agent import SharedAgent, SharedAgents
from tests.support.upstream import Upstream

MakeAgent = Callable[..., Awaitable[Agent]]

SUMMARY: list[str] = []  # lines that are printed at the end of the run
NEAR_MIDNIGHT = timedelta(seconds=30)
_addresses = itertools.count(2)

# How long an example takes depends on what else the machine does.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

_SIGNALS: dict[signal.Signals, Any] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGQUIT: signal.SIG_DFL,
    signal.SIGHUP: signal.SIG_DFL,
}


def pytest_configure(config: pytest.Config) -> None:
    """Registers our markers, and restores the defaults of signals.

    A shell lets a job in the background ignore SIGINT and SIGQUIT, nohup lets it ignore SIGHUP, and agents that tests
    start would inherit that."""
    for number, default in _SIGNALS.items():
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, default)
    _use_no_proxy_for_loopback()
    _keep_bytecode(config)
    _keep_files_in_memory()
    _leave_out_slow_tests(config)
    config.addinivalue_line("markers", "shared_agent(**settings): shares the module's agent with these settings")
    config.addinivalue_line("markers", "browser: needs Chromium; the tests with the fixture `browse` have it")
    config.addinivalue_line("markers", "slow: takes seconds of processor time; only runs where it, or a file, is named")
    config.addinivalue_line("markers", "own_agent: starts an agent of its own in a module that shares one")


def _use_no_proxy_for_loopback() -> None:
    """Lets SDKs reach the tests' servers where the environment names a proxy."""
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join(filter(None, [os.environ.get(name, ""), "127.0.0.1", "localhost"]))


def _keep_bytecode(config: pytest.Config) -> None:
    """Where Python may not write bytecode beside the sources, lets this run keep it in pytest's cache.

    Tests start hundreds of processes, and a program that compiles all of its modules takes three times as long to
    start. Parallel workers inherit the settings."""
    cache = getattr(config, "cache", None)
    if sys.dont_write_bytecode and cache is not None:
        sys.dont_write_bytecode = False
        sys.pycache_prefix = str(cache.mkdir("bytecode"))
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix


def _leave_out_slow_tests(config: pytest.Config) -> None:
    """Runs slow tests only with `-m slow`, or where tests are named: without them a run takes three quarters of the
    time. CI runs both. Parallel workers get the expression of the main process."""
    if not config.option.markexpr and config.args_source is pytest.Config.ArgsSource.TESTPATHS:
        config.option.markexpr = "not slow"


def _keep_files_in_memory() -> None:
    """Lets `tmp_path` be in memory: an agent waits for the disk twice for each request, and a disk takes milliseconds.

    Not where nothing may be executed there: some tests build a program."""
    folder = memory_folder()
    if folder is not None and not os.statvfs(folder).f_flag & os.ST_NOEXEC:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(folder))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Runs every async test on the loop of the `io_loop` fixture."""
    for item in items:
        if inspect.iscoroutinefunction(getattr(item, "obj", None)):
            item.add_marker(pytest.mark.gen_test(timeout=120))  # of what hangs: waits have limits of their own


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Begins tests just after midnight, UTC, and not just before it: sums of a day or a month would start from 0."""
    now = datetime.now(UTC)
    midnight = datetime.combine(now + timedelta(days=1), time.min, UTC)
    if midnight - now < NEAR_MIDNIGHT:
        sleep((midnight - now).total_seconds())


def pytest_collection_finish() -> None:
    """Spares the garbage collector the thousands of tests, which stay until the end."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def shared_postgres() -> Iterator[str]:
    """A private PostgreSQL for the whole run, or the Citus cluster that `CITUS_URL` names; its connection string."""
    if citus.URL:
        with citus.citus_cluster(citus.URL, MIGRATED) as dsn:
            yield dsn
        return
    with server_folder() as folder:
        with run_postgres(folder) as dsn:
            yield dsn
        _nothing_kept(folder)


@pytest.fixture(scope="session")
def postgres(shared_postgres: str) -> str:
    """The connection string of the server of a test: that of the whole run. Tests of faults have one of their own."""
    return shared_postgres


def _nothing_kept(folder: Path) -> None:
    """No key and no token of any test of this run, in the clear, in any file that it has left behind."""
    files, hits = search(folder)
    SUMMARY.append(f"{files} files of PostgreSQL were searched for {len(SECRETS)} secrets: {len(hits)} hits")
    assert hits == []


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hands the summary of a parallel worker to the process that prints it."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["summary"] = SUMMARY


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Takes over the summary of a parallel worker that has ended."""
    SUMMARY.extend(getattr(node, "workeroutput", {}).get("summary", []))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints how fast the agent is, and how much was searched for secrets: a search through nothing finds nothing."""
    for line in SUMMARY:
        terminalreporter.write_line(line)


@pytest.fixture
def summary() -> list[str]:
    """Lines that are printed at the end of the run; a test may append some."""
    return SUMMARY


@pytest.fixture(scope="module")
def shared_agents(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedAgents]:
    """The agents that this module's tests share."""
    agents = SharedAgents(postgres, tmp_path_factory.mktemp("shared"))
    yield agents
    agents.close()


@pytest.fixture
def shared_agent(request: pytest.FixtureRequest) -> SharedAgent | None:
    """The shared agent of a test with the marker `shared_agent`, or None; see the head of this file."""
    marker = request.node.get_closest_marker("shared_agent")
    own = request.node.get_closest_marker("own_agent") is not None or "make_agent" in request.fixturenames
    if marker is None or own or "agent" not in request.fixturenames:
        return None
    agents: SharedAgents = request.getfixturevalue("shared_agents")
    return agents.get(marker.kwargs)


@pytest.fixture
def io_loop(shared_agent: SharedAgent | None) -> Iterator[IOLoop]:
    """The test's loop. The test fails if it leaves a task behind or loses an exception."""
    loop = StrictLoop() if shared_agent is None else shared_agent.loop
    loop.make_current()
    yield loop.io_loop
    if shared_agent is None:
        loop.close()
    else:
        loop.check_test()


@pytest.fixture(scope="session")
def reused_database(shared_postgres: str) -> Iterator[ReusedDatabase]:
    """The database that `dsn` gives to one test after the other."""
    database = ReusedDatabase(shared_postgres)
    yield database
    database.close()


@pytest.fixture
def empty_dsn(postgres: str) -> Iterator[str]:
    """A database of this test's own, without tables."""
    with temporary_database(postgres, EMPTY) as dsn:
        yield dsn


@pytest.fixture
def dsn(request: pytest.FixtureRequest, shared_agent: SharedAgent | None) -> Iterator[str]:
    """A migrated database with its first content, or that of the shared agent."""
    if shared_agent is not None:
        yield shared_agent.dsn
        return
    server: str = request.getfixturevalue("postgres")
    if citus.URL or server != request.getfixturevalue("shared_postgres"):
        with temporary_database(server) as dsn:
            yield dsn
    else:
        reused: ReusedDatabase = request.getfixturevalue("reused_database")
        yield reused.take()


@pytest.fixture
def upstream(io_loop: IOLoop, shared_agent: SharedAgent | None) -> Iterator[Upstream]:
    """A fake OpenAI over HTTP on a loopback address."""
    if shared_agent is not None:
        yield shared_agent.upstream
        return
    fake = Upstream()
    io_loop.run_sync(fake.start)
    yield fake
    io_loop.run_sync(fake.stop)


@pytest.fixture
def source_address() -> str:
    """A loopback address that no other test of this process sends from."""
    number = next(_addresses)
    return f"127.0.{number // 250}.{number % 250 + 2}"


@pytest.fixture
def refused_port() -> Iterator[int]:
    """A port of 127.0.0.1 that refuses connections: no program listens there, and none gets it before the test ends."""
    with reserve() as reserved:
        yield port_of(reserved)


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder for sockets, whose paths may have 107 bytes: `tmp_path` may be longer."""
    with tempfile.TemporaryDirectory(prefix="cga-") as folder:
        yield Path(folder)


@pytest.fixture
def tuning() -> Tuning:
    """What the test's own agents are constructed with; a test module may override it."""
    return TUNING


@pytest.fixture
def make_agent(
    io_loop: IOLoop, dsn: str, upstream: Upstream, tmp_path: Path, tuning: Tuning, caplog: pytest.LogCaptureFixture
) -> Iterator[MakeAgent]:
    """Starts an agent with settings of the test's own; it is ready when the awaited call returns. After the test the
    ledger must be right, and no secret in any file or log line."""
    agents: list[Agent] = []

    async def make(**settings: object) -> Agent:
        defaults = {"openai_url": upstream.url, "data_dir": tmp_path / "data", "database_url": dsn, "tuning": tuning}
        agent = Agent({**defaults, **settings})
        await agent.start()
        agents.append(agent)
        return agent

    yield make
    for agent in agents:
        io_loop.run_sync(agent.stop)
    check(dsn, upstream, [answer for agent in agents for answer in agent.answers])
    _, hits = search(tmp_path)
    assert hits == []
    assert secrets_in(caplog) == []


@pytest.fixture
def agent(
    request: pytest.FixtureRequest, shared_agent: SharedAgent | None, io_loop: IOLoop, caplog: pytest.LogCaptureFixture
) -> Iterator[Agent]:
    """An agent with default settings, or the module's shared one; it has a user and a price."""
    if shared_agent is None:
        make_agent: MakeAgent = request.getfixturevalue("make_agent")
        yield io_loop.run_sync(make_agent)
        return
    yield shared_agent.agent
    request.getfixturevalue("shared_agents").finish_test(shared_agent)
    assert secrets_in(caplog) == []


def secrets_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The keys and tokens that stand in the log."""
    return [secret for secret in SECRETS if secret in caplog.text]
