"""Fixtures: an event loop that loses nothing, a real PostgreSQL, a fake OpenAI, and an agent between them."""

import asyncio
import inspect
import shutil
import tempfile
import uuid
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import psycopg2
import pytest
from tornado.ioloop import IOLoop

from chatgpt_agent.adapters.embedded_postgres import EmbeddedPostgres
from chatgpt_agent.adapters.migrate import migrate
from tests.support.agent import Agent
from tests.support.canaries import SECRETS, search
from tests.support.oracle import check
from tests.support.upstream import Upstream

MakeAgent = Callable[..., Awaitable[Agent]]

SEARCHED: list[str] = []  # what the search for secrets found at the end


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every async test runs on the loop of the `io_loop` fixture."""
    for item in items:
        if inspect.iscoroutinefunction(getattr(item, "obj", None)):
            item.add_marker(pytest.mark.gen_test(timeout=30))


@pytest.fixture
def io_loop() -> Iterator[IOLoop]:
    """A loop for one test, which fails where a task is left behind or an exception is lost."""
    loop = IOLoop(make_current=False)
    asyncio.set_event_loop(loop.asyncio_loop)
    lost: list[str] = []
    loop.asyncio_loop.set_exception_handler(lambda _, context: lost.append(str(context)))
    yield loop
    leaked = asyncio.all_tasks(loop.asyncio_loop)
    for task in leaked:
        task.cancel()
    if leaked:
        loop.run_sync(lambda: asyncio.gather(*leaked, return_exceptions=True))
    loop.run_sync(loop.asyncio_loop.shutdown_default_executor)
    asyncio.set_event_loop(None)
    loop.close()
    assert not leaked, leaked
    assert not lost, lost


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A private PostgreSQL for the whole run; its connection string. It may forget what it likes when it is killed."""
    # Short, because a socket's path is; and open, because as root PostgreSQL runs as another account.
    folder = Path(tempfile.mkdtemp(prefix="cga", dir=_in_memory()))
    folder.chmod(0o755)
    options = "-c fsync=off -c synchronous_commit=off -c full_page_writes=off -c max_connections=50"
    with EmbeddedPostgres(folder / "p", options) as dsn:
        _execute(dsn, 'CREATE DATABASE "template_migrated"')
        migrate(_named(dsn, "template_migrated"))
        yield dsn
    _nothing_kept(folder)
    shutil.rmtree(folder)


def _nothing_kept(folder: Path) -> None:
    """No key and no token of any test of this run, in the clear, in any file that it has left behind."""
    files, hits = search(folder)
    SEARCHED.append(f"{files} files of PostgreSQL were searched for {len(SECRETS)} secrets: {len(hits)} hits")
    assert hits == []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says what was searched: a search through nothing finds nothing."""
    for line in SEARCHED:
        terminalreporter.write_line(line)


@pytest.fixture
def empty_dsn(postgres: str) -> Iterator[str]:
    """A database of this test's own, without tables."""
    yield from _database(postgres, "template0")


@pytest.fixture
def dsn(postgres: str) -> Iterator[str]:
    """A database of this test's own, migrated."""
    yield from _database(postgres, "template_migrated")


def _in_memory() -> Path | None:
    """A folder without a disk behind it, where there is one with room for a server; a container's may have 64 MiB."""
    folder = Path("/dev/shm")
    return folder if folder.is_dir() and shutil.disk_usage(folder).free > 4 * 1024**3 else None


def _database(postgres: str, template: str) -> Iterator[str]:
    name = f"t_{uuid.uuid4().hex[:12]}"
    # Copying files takes 14 ms where nothing waits for the disk, and PostgreSQL's default way 117 ms.
    _execute(postgres, f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY file_copy')
    yield _named(postgres, name)
    _execute(postgres, f'DROP DATABASE "{name}" WITH (FORCE)')


def _named(dsn: str, name: str) -> str:
    return dsn.replace("dbname=postgres", f"dbname={name}")


def _execute(dsn: str, sql: str) -> None:
    connection = psycopg2.connect(dsn)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(sql)
    connection.close()


def url_of(dsn: str) -> str:
    """A connection string as a postgresql:// URL."""
    words = dict(word.split("=", 1) for word in dsn.split())
    return f"postgresql://{words['user']}@/{words['dbname']}?host={quote(words['host'].strip(chr(39)), safe='')}"


@pytest.fixture
def upstream(io_loop: IOLoop) -> Iterator[Upstream]:
    """A fake OpenAI over HTTP on a loopback address."""
    fake = Upstream()
    io_loop.run_sync(fake.start)
    yield fake
    io_loop.run_sync(fake.stop)


@pytest.fixture
def make_agent(
    io_loop: IOLoop, dsn: str, upstream: Upstream, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> Iterator[MakeAgent]:
    """Starts an agent, with settings of the test's own; it is ready when the awaited call returns. Whatever the test
    was about, the books must be right when it is over, and no secret in any file or log line."""
    agents: list[Agent] = []

    async def make(**settings: object) -> Agent:
        merged = {"openai_url": upstream.url, "data_dir": tmp_path / "data", "database_url": dsn, **settings}
        agent = Agent(merged)
        await agent.start()
        agents.append(agent)
        return agent

    yield make
    for agent in agents:
        io_loop.run_sync(agent.stop)
    check(dsn, upstream, [answer for agent in agents for answer in agent.answers])
    _, hits = search(tmp_path)
    assert hits == []
    assert [secret for secret in SECRETS if secret in caplog.text] == []


@pytest.fixture
def agent(io_loop: IOLoop, make_agent: MakeAgent) -> Agent:
    """An agent as it is by default, with a user and a price."""
    made: Agent = io_loop.run_sync(make_agent)
    return made
