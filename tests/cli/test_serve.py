"""`chatgpt-agent serve`: the process from its start to its end."""

import asyncio
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psycopg2
import pytest

from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.embedded_postgres import EmbeddedPostgres
from chatgpt_agent.server import Server
from tests.support.client import Connection, fetch
from tests.support.commands import KEY, Cli
from tests.support.postgres_server import server_folder
from tests.support.serving import Serve, begin_stream, chat, headers
from tests.support.upstream import Received, Reply, Upstream, stream_events
from tests.support.waiting import until


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short name that every account may enter: PostgreSQL does not run as root."""
    with server_folder() as folder:
        yield folder
        if postmaster(folder).exists():  # a test has failed, or killed the agent that stops it
            with EmbeddedPostgres(folder / "data" / "postgres"):
                pass


def postmaster(folder: Path) -> Path:
    """The file that stands there as long as the private PostgreSQL runs."""
    return folder / "data" / "postgres" / "pg" / "postmaster.pid"


@pytest.fixture
def embedded(folder: Path) -> Cli:
    """The program with a private database, as config.example.yml has it."""
    return Cli({"DATABASE_URL": "embedded", "DATA_DIR": str(folder / "data")})


@pytest.fixture
def served(cli: Cli, upstream: Upstream) -> Cli:
    """The program with a fake OpenAI behind it."""
    cli.settings["OPENAI_URL"] = upstream.url
    return cli


async def with_user(cli: Cli) -> str:
    """Adds a user and a price; the user's token."""
    await cli.command("price", "set", "m", "--input", "1", "--output", "2")
    return (await cli.command("user", "add", "alice", "--openai-key-stdin", stdin=KEY.encode())).strip()


def states(dsn: str) -> list[str]:
    """The states of the rows in the ledger."""
    connection = psycopg2.connect(dsn)
    with connection.cursor() as cursor:
        cursor.execute("SELECT state FROM usage ORDER BY started_at")
        rows = [state for (state,) in cursor.fetchall()]
    connection.close()
    return rows


class Held:
    """A script that sends one event of a stream and holds the others back until it is let go."""

    def __init__(self) -> None:
        self.go = asyncio.Event()

    async def __call__(self, request: Received, reply: Reply) -> None:
        first, *others = stream_events(3, (10, 2, 5, 0))
        await reply.stream_head()
        await reply.chunk(first)
        await self.go.wait()
        for event in others:
            await reply.chunk(event)
        await reply.end()


@asynccontextmanager
async def mid_stream(served: Cli, upstream: Upstream, **settings: str) -> AsyncIterator[tuple[Serve, Connection, Held]]:
    """An agent that has passed on the first event of a stream."""
    held = Held()
    upstream.script = held
    token = await with_user(served)
    async with Serve({**served.settings, **settings}) as serve:
        connection = await begin_stream(await serve.ready(), token)
        assert (await connection.head())[0] == 200
        assert await connection.chunk()
        yield serve, connection, held
        held.go.set()
        await connection.close()


# A private database.


async def test_first_start_needs_no_preparation(embedded: Cli) -> None:
    """The agent creates database, data folder and master key, and becomes ready."""
    async with Serve(embedded.settings) as serve:
        await serve.ready()
        assert await serve.stopped() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_signal_stops_the_agent_and_its_database(embedded: Cli, folder: Path, number: signal.Signals) -> None:
    """Exit code 0, and no PostgreSQL stays behind."""
    async with Serve(embedded.settings) as serve:
        await serve.ready()
        assert postmaster(folder).exists()
        assert await serve.ended(number) == 0
    assert not postmaster(folder).exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signal_during_the_start_leaves_no_database_behind(
    embedded: Cli, folder: Path, number: signal.Signals
) -> None:
    """PostgreSQL stops even while it is being created."""
    async with Serve(embedded.settings) as serve:
        await until(lambda: (folder / "data" / "postgres" / "pg").exists())
        assert await serve.ended(number) == 0
    assert not postmaster(folder).exists()


async def test_user_added_before_the_first_start_can_call(embedded: Cli) -> None:
    """A command may create the database."""
    token = await with_user(embedded)
    async with Serve(embedded.settings) as serve:
        answer = await fetch(f"{await serve.ready()}/v1/models", headers=headers(token))
        assert answer.status == 200
        await serve.stopped()


async def test_commands_share_the_database_with_the_agent(embedded: Cli) -> None:
    """Neither of them stops it while the other uses it."""
    async with Serve(embedded.settings) as serve:
        url = await serve.ready()
        token = await with_user(embedded)
        await until(lambda: fetch(f"{url}/v1/models", headers=headers(token)), lambda answer: answer.status == 200)
        await serve.stopped()
    assert "alice" in await embedded.command("user", "list")


async def test_database_left_by_a_killed_agent_is_used_and_stopped(embedded: Cli, folder: Path) -> None:
    """After `kill -9`, the next start finds PostgreSQL running."""
    async with Serve(embedded.settings) as serve:
        await serve.ready()
        await serve.ended(signal.SIGKILL)
    assert postmaster(folder).exists()
    async with Serve(embedded.settings) as serve:
        await serve.ready()
        assert await serve.stopped() == 0
    assert not postmaster(folder).exists()


async def test_configuration_file_is_sufficient(folder: Path) -> None:
    """With `--config`, the environment needs no variables."""
    file = folder / "config.yml"
    file.write_text("database_url: embedded\ndata_dir: data\nbind_address: 127.0.0.1\nport: 0\nadmin_port: 0\n")
    async with Serve({}, "--config", str(file)) as serve:
        await serve.ready()
        assert (folder / "data" / "master.key").exists()
        assert await serve.stopped() == 0


# Signals.


async def test_open_stream_is_finished_after_a_stop_signal(served: Cli, upstream: Upstream) -> None:
    """The client gets the rest of the stream, then the agent exits with 0."""
    async with mid_stream(served, upstream) as (serve, connection, held):
        serve.process.send_signal(signal.SIGTERM)
        await serve.logged("received a stop signal")
        held.go.set()
        rest = [chunk async for chunk in chunks(connection)]
        assert rest[-1].endswith(b"data: [DONE]\n\n")
        assert await serve.ended() == 0


async def chunks(connection: Connection) -> AsyncIterator[bytes]:
    """The chunks of a body, to its end."""
    while chunk := await connection.chunk():
        yield chunk


async def test_stream_finished_after_a_stop_signal_is_in_the_ledger(served: Cli, upstream: Upstream) -> None:
    """The last rows are shipped before the agent exits."""
    async with mid_stream(served, upstream) as (serve, _, held):
        serve.process.send_signal(signal.SIGTERM)
        await serve.logged("received a stop signal")
        held.go.set()
        await serve.ended()
    assert states(served.settings["DATABASE_URL"]) == ["done"]


async def test_stopping_agent_accepts_no_connection(served: Cli, upstream: Upstream) -> None:
    """The agent stops listening at the signal."""
    async with mid_stream(served, upstream) as (serve, _, _):
        url = await serve.listening()
        serve.process.send_signal(signal.SIGTERM)
        await serve.logged("received a stop signal")
        await until(lambda: refuses(url), bool)


async def refuses(url: str) -> bool:
    """Returns whether a URL refuses connections."""
    try:
        connection = await Connection.open(url)
    except ConnectionRefusedError:
        return True
    await connection.close()
    return False


async def test_stream_is_aborted_after_the_drain_timeout(served: Cli, upstream: Upstream) -> None:
    """The client sees the truncation, the row is incomplete, and the exit code is 0."""
    async with mid_stream(served, upstream, DRAIN_TIMEOUT="0.2") as (serve, connection, _):
        serve.process.send_signal(signal.SIGTERM)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            [chunk async for chunk in chunks(connection)]
        assert await serve.ended() == 0
    assert states(served.settings["DATABASE_URL"]) == ["incomplete"]


async def test_second_signal_aborts_open_requests(served: Cli, upstream: Upstream) -> None:
    """Their rows are written nevertheless."""
    async with mid_stream(served, upstream, DRAIN_TIMEOUT="3600") as (serve, _, _):
        serve.process.send_signal(signal.SIGTERM)
        await serve.logged("received a stop signal")
        assert await again(serve) == 0
    assert states(served.settings["DATABASE_URL"]) == ["incomplete"]


async def again(serve: Serve) -> int:
    """Its exit code, when it is asked to stop until it does."""
    while serve.process.returncode is None:
        with suppress(ProcessLookupError):
            serve.process.send_signal(signal.SIGINT)
        await asyncio.sleep(0.05)
    return serve.process.returncode


async def test_open_request_of_a_killed_agent_is_unknown(served: Cli, upstream: Upstream) -> None:
    """After `kill -9`, the next start writes the row with the state unknown."""
    async with mid_stream(served, upstream) as (serve, _, _):
        await serve.ended(signal.SIGKILL)
    async with Serve(served.settings) as serve:
        await serve.ready()
        shipped = await until(lambda: asyncio.to_thread(states, served.settings["DATABASE_URL"]), bool)
        assert shipped == ["unknown"]
        await serve.stopped()


async def test_killed_agent_loses_no_row(served: Cli, upstream: Upstream) -> None:
    """The next start ships once what had not been shipped."""
    token = await with_user(served)
    async with Serve(served.settings) as serve:
        assert (await chat(await serve.ready(), token)).status == 200
        await serve.ended(signal.SIGKILL)
    async with Serve(served.settings) as serve:
        await serve.ready()
        await serve.stopped()
    assert states(served.settings["DATABASE_URL"]) == ["done"]


# The start.


@pytest.mark.parametrize("key", ["PORT", "ADMIN_PORT"])
async def test_port_in_use_is_one_line(served: Cli, key: str) -> None:
    """Exit code 1; the line names the key and the port."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        async with Serve({**served.settings, key: str(port)}) as serve:
            assert await serve.ended() == 1
    assert serve.lines == [f"Error: {key.lower()}: cannot listen on 127.0.0.1:{port}: Address already in use"]


async def test_second_agent_on_a_data_folder_is_one_line(served: Cli) -> None:
    """Exit code 1: two processes would corrupt the outbox."""
    async with Serve(served.settings) as first:
        await first.ready()
        async with Serve(served.settings) as second:
            assert await second.ended() == 1
        await first.stopped()
    assert second.lines == [
        f"Error: another agent is running on {served.settings['DATA_DIR']}: give each its own data_dir"
    ]


async def test_second_agent_does_not_disturb_the_first(embedded: Cli) -> None:
    """The first agent and its database keep running."""
    async with Serve(embedded.settings) as first:
        url = await first.ready()
        async with Serve(embedded.settings) as second:
            await second.ended()
        await embedded.command("user", "list")
        assert (await fetch(f"{url}/readyz")).status == 200
        await first.stopped()


async def test_two_agents_share_a_database(served: Cli, tmp_path: Path) -> None:
    """Each has its own data folder, and both have the same master key."""
    await served.command("user", "list")
    key = Path(served.settings["DATA_DIR"]) / "master.key"
    other = {"DATA_DIR": str(tmp_path / "other"), "MASTER_KEY_FILE": str(key)}
    async with Serve(served.settings) as first, Serve({**served.settings, **other}) as second:
        await asyncio.gather(first.ready(), second.ready())
        assert await asyncio.gather(first.stopped(), second.stopped()) == [0, 0]


async def refused_start(settings: dict[str, str]) -> str:
    """The one line that a start ends with, besides what it logs; exit code 1."""
    async with Serve({**settings, "LOG_LEVEL": "error"}) as serve:
        assert await serve.ended() == 1
    [line] = serve.lines
    return line


async def test_start_with_another_master_key_fails(cli: Cli, tmp_path: Path) -> None:
    """One line, exit code 1."""
    await cli.command("user", "list")
    other = tmp_path / "other.key"
    other.write_text("k" * 44)
    other.chmod(0o600)
    line = await refused_start({**cli.settings, "MASTER_KEY_FILE": str(other)})
    assert line == f"Error: the master key {other} is not the one that this database was set up with"


async def test_start_without_the_master_key_fails(cli: Cli, tmp_path: Path) -> None:
    """The agent creates no new key, which would decrypt nothing."""
    await cli.command("user", "list")
    line = await refused_start({**cli.settings, "DATA_DIR": str(tmp_path / "other")})
    assert "is missing" in line


async def test_start_with_a_readable_master_key_fails(cli: Cli) -> None:
    """The line says which command fixes the mode."""
    await cli.command("user", "list")
    key = Path(cli.settings["DATA_DIR"]) / "master.key"
    key.chmod(0o644)
    assert f"chmod 600 {key}" in await refused_start(cli.settings)


async def test_start_with_a_newer_database_fails(cli: Cli) -> None:
    """One line, exit code 1."""
    execute(
        cli.settings["DATABASE_URL"],
        "INSERT INTO _yoyo_migration (migration_hash, migration_id, applied_at_utc) VALUES ('x', '9999.new', now())",
    )
    line = await refused_start(cli.settings)
    assert line.startswith("Error: the database is newer than this program: it has 9999.new, ")


async def test_start_with_an_empty_database_fails_without_auto_migrate(empty_cli: Cli) -> None:
    """The line says which command migrates the database."""
    line = await refused_start({**empty_cli.settings, "AUTO_MIGRATE": "false"})
    assert "run `chatgpt-agent migrate`" in line


async def test_start_migrates_an_empty_database(empty_cli: Cli) -> None:
    """`auto_migrate` is on by default."""
    async with Serve(empty_cli.settings) as serve:
        await serve.ready()
        assert await serve.stopped() == 0


def execute(dsn: str, sql: str) -> None:
    """Runs a statement."""
    connection = psycopg2.connect(dsn)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(sql)
    connection.close()


# A database that is away at the start.


@pytest.fixture
def away(dsn: str, folder: Path) -> tuple[Cli, Path, str]:
    """The program with a database whose socket's folder is not there yet; that folder, and where it will lead."""
    args = dict(word.split("=", 1) for word in dsn.split())
    place = folder / "socket"
    settings = {"DATABASE_URL": dsn.replace(args["host"], f"'{place}'"), "DATA_DIR": str(folder / "data")}
    return Cli(settings), place, args["host"].strip("'")


async def test_agent_without_its_database_is_alive_and_not_ready(away: tuple[Cli, Path, str]) -> None:
    """A supervisor keeps it running, and a load balancer sends nothing."""
    async with Serve(away[0].settings) as serve:
        url = await serve.listening()
        assert (await fetch(f"{url}/healthz")).status == 200
        assert (await fetch(f"{url}/readyz")).status == 503
        assert await serve.stopped() == 0


async def test_agent_becomes_ready_when_its_database_appears(away: tuple[Cli, Path, str]) -> None:
    """The agent needs no restart."""
    cli, place, socket_folder = away
    async with Serve(cli.settings) as serve:
        await serve.logged("not ready: the database cannot be reached")
        place.symlink_to(socket_folder)
        await serve.ready()
        assert await serve.stopped() == 0


async def test_unreachable_database_is_logged_once(away: tuple[Cli, Path, str]) -> None:
    """The log does not repeat the line every second."""
    cli, place, socket_folder = away
    async with Serve(cli.settings) as serve:
        await serve.logged("not ready")
        place.symlink_to(socket_folder)
        await serve.ready()
        await serve.stopped()
    assert len([line for line in serve.lines if "not ready" in line]) == 1


class Broken(Server):
    """A server with a bug in its start."""

    async def start_services(self) -> None:
        raise RuntimeError("a bug")


async def test_bug_in_the_start_ends_the_agent(dsn: str, tmp_path: Path) -> None:
    """The agent must not stay alive without ever becoming ready."""
    config = Config(bind_address="127.0.0.1", port=0, admin_port=0, data_dir=tmp_path / "data")
    with pytest.raises(RuntimeError, match="a bug"):
        await Broken(config, dsn).run()


# How fast and how small it is.


async def test_agent_is_ready_within_3_seconds(embedded: Cli) -> None:
    """The embedded database exists and is not running."""
    await embedded.command("user", "list")
    began = time.monotonic()
    async with Serve(embedded.settings) as serve:
        await serve.ready()
        assert time.monotonic() - began < 3
        await serve.stopped()


async def test_idle_agent_uses_less_than_100_megabytes(served: Cli, upstream: Upstream) -> None:
    """Measured after one request."""
    token = await with_user(served)
    async with Serve(served.settings) as serve:
        await chat(await serve.ready(), token)
        assert resident(serve.process.pid) < 100_000_000
        await serve.stopped()


def resident(pid: int) -> int:
    """The bytes of memory that a process has."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
