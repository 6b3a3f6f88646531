"""`chatgpt-agent serve` at its start: what prevents it, and a database that is unreachable."""

import asyncio
import json
import resource
import socket
from pathlib import Path

import psycopg2
import pytest

from chatgpt_agent.adapters.config import Config
from chatgpt_agent.server import Server
from tests.support.client import fetch
from tests.support.commands import Cli
from tests.support.serving import Serve

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("key", ["PORT", "ADMIN_PORT"])
async def test_port_in_use_is_one_line(served: Cli, key: str) -> None:
    """The exit code is 1; the line names the key and the port."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        async with Serve({**served.settings, key: str(port)}) as serve:
            assert await serve.ended() == 1
    [line] = serve.lines
    assert line.startswith(f"Error: {key.lower()}: cannot listen on 127.0.0.1:{port}: Address already in use: another")


@pytest.mark.parametrize("key", ["OPENAI_CA_FILE", "MASTER_KEY_FILE", "WEBHOOK_SECRET_FILE"])
async def test_file_that_cannot_work_is_one_line(served: Cli, tmp_path: Path, key: str) -> None:
    """The exit code is 2; the line names the key and the file."""
    async with Serve({**served.settings, key: str(tmp_path)}) as serve:
        assert await serve.ended() == 2
    assert serve.lines == [f"{key.lower()}: {tmp_path} cannot be read: Is a directory"]


async def test_second_agent_on_a_data_folder_is_one_line(served: Cli) -> None:
    """The exit code is 1: two processes would corrupt the outbox."""
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
    """The error is one line, and the exit code is 1."""
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
    """The error is one line, and the exit code is 1."""
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


async def test_every_line_of_the_log_can_be_an_object(away: tuple[Cli, Path, str]) -> None:
    """With `log_format: json`, from the first line to the last, those of requests and those of the agent itself."""
    async with Serve(away[0].settings | {"LOG_FORMAT": "json"}) as serve:
        await fetch(f"{await serve.listening()}/v1/models")
        await serve.logged("not ready")
        assert await serve.stopped() == 0
    lines = [json.loads(line) for line in serve.lines]
    assert {"chatgpt_agent.server", "chatgpt_agent.access"} <= {line["logger"] for line in lines}
    assert all(list(line)[:4] == ["time", "level", "logger", "message"] for line in lines)


class Broken(Server):
    """A server with a bug in its start."""

    async def start_services(self) -> None:
        raise RuntimeError("a bug")


async def test_bug_in_the_start_ends_the_agent(dsn: str, tmp_path: Path) -> None:
    """The agent must not stay alive without ever becoming ready."""
    config = Config(bind_address="127.0.0.1", port=0, admin_port=0, data_dir=tmp_path / "data")
    with pytest.raises(RuntimeError, match="a bug"):
        await Broken(config, dsn).run()


async def test_no_core_dump_is_written(dsn: str, tmp_path: Path) -> None:
    """The limit of core dumps of a running agent is 0: one would hold keys and messages."""
    async with Serve({"DATABASE_URL": dsn, "DATA_DIR": str(tmp_path / "data")}) as serve:
        await serve.listening()
        assert resource.prlimit(serve.process.pid, resource.RLIMIT_CORE) == (0, 0)
        await serve.stopped()
