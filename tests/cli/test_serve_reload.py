"""`chatgpt-agent serve` at SIGHUP: the file is read again, and no request notices."""

import signal
from pathlib import Path

from tests.cli.test_serve_signals import Held
from tests.support.client import fetch
from tests.support.commands import Cli
from tests.support.serving import Serve, begin_stream, chat, with_user
from tests.support.upstream import Upstream


async def test_running_agent_takes_a_new_file(served: Cli, upstream: Upstream, tmp_path: Path) -> None:
    """A stream goes on, new values are in force, a fault changes nothing, and keys that need a restart are named."""
    token = await with_user(served)
    file = tmp_path / "config.yml"
    file.write_text("max_body_size: 100000\n")
    held = upstream.script = Held()
    async with Serve(served.settings, "--config", str(file)) as serve:
        url = await serve.ready()
        connection = await begin_stream(url, token)
        assert (await connection.head())[0] == 200
        file.write_text("max_body_size: 0\nlog_levle: info\n")
        serve.process.send_signal(signal.SIGHUP)
        await serve.logged(f"the one in force stays: {file}: max_body_size: found 0")
        await serve.logged(f"the one in force stays: {file}: log_levle: unknown key")
        file.write_text("max_body_size: 1024\nauto_migrate: false\nport: 1\n")  # PORT of the environment wins
        serve.process.send_signal(signal.SIGHUP)
        await serve.logged("the configuration is read again; changed: max_body_size")
        assert (await serve.logged("these keys need a restart")).endswith(": auto_migrate")
        assert (await fetch(f"{url}/readyz")).status == 200
        held.go.set()
        while await connection.chunk():
            pass
        await connection.close()
        upstream.script = upstream.openai
        assert (await chat(url, token)).status == 200
        assert await serve.stopped() == 0


async def test_level_of_the_log_changes(served: Cli, tmp_path: Path) -> None:
    """A reload works while PostgreSQL is away, too."""
    file = tmp_path / "config.yml"
    file.write_text("log_level: info\n")
    settings = {**served.settings, "DATABASE_URL": "postgresql://127.0.0.1:9/nowhere"}
    async with Serve(settings, "--config", str(file)) as serve:
        url = await serve.listening()
        await serve.logged("not ready: ")
        file.write_text("log_level: debug\n")
        serve.process.send_signal(signal.SIGHUP)
        await serve.logged("the configuration is read again; changed: log_level")
        await fetch(f"{url}/healthz")
        await serve.logged("/healthz")  # probes are logged at this level
        assert await serve.stopped() == 0


async def test_signal_while_the_agent_drains_is_ignored(served: Cli, upstream: Upstream) -> None:
    """The log says so, and the stream ends as it would have."""
    token = await with_user(served)
    held = upstream.script = Held()
    async with Serve(served.settings) as serve:
        connection = await begin_stream(await serve.ready(), token)
        assert (await connection.head())[0] == 200
        serve.process.send_signal(signal.SIGTERM)
        await serve.logged("received a stop signal")
        serve.process.send_signal(signal.SIGHUP)
        await serve.logged("SIGHUP is ignored: the agent is stopping")
        held.go.set()
        assert (await connection.chunk()).startswith(b"data: ")
        assert await serve.ended() == 0
        await connection.close()
