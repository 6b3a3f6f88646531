"""`chatgpt-agent serve` as a service of systemd: what it says at its start, at a reload and at its end."""

import signal
import time
from pathlib import Path

from tests.cli.test_serve_signals import Held
from tests.support.commands import Cli
from tests.support.serving import Serve, begin_stream, with_user
from tests.support.systemd import notify_socket
from tests.support.upstream import Upstream

MESSAGES = ("READY", "RELOADING", "STOPPING", "STATUS")


async def test_messages_of_a_service_from_its_start_to_its_end(served: Cli, upstream: Upstream, tmp_path: Path) -> None:
    """It is ready once it serves, reloads, and drains for as long as it needs."""
    token = await with_user(served)
    held = upstream.script = Held()
    with notify_socket(tmp_path) as listening:
        settings = {**served.settings, "NOTIFY_SOCKET": listening.address, "WATCHDOG_USEC": "100000"}
        file = tmp_path / "config.yml"
        file.write_text("")
        async with Serve(settings, "--config", str(file)) as serve:
            url = await serve.listening()
            await listening.line("READY=1")
            await listening.line("WATCHDOG=1")
            connection = await begin_stream(url, token)  # without waiting: requests are served
            assert (await connection.head())[0] == 200
            before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
            serve.process.send_signal(signal.SIGHUP)
            reloaded_at = int((await listening.line("MONOTONIC_USEC=")).partition("=")[2])
            assert before <= reloaded_at <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
            await listening.line("READY=1", after=listening.lines.index("RELOADING=1"))
            file.write_text("log_level: loud")
            serve.process.send_signal(signal.SIGHUP)
            await listening.line("STATUS=serving; the new configuration is refused, see the log")
            serve.process.send_signal(signal.SIGTERM)
            await listening.line("STATUS=stopping, requests in progress: 1")
            await listening.line("EXTEND_TIMEOUT_USEC=", after=listening.lines.index("STOPPING=1"))
            held.go.set()
            assert await serve.ended() == 0
            await connection.close()
        listening.read()
        messages = [line for line in listening.lines if line.partition("=")[0] in MESSAGES]
    assert messages == [
        "STATUS=waiting for PostgreSQL",
        "READY=1",
        "STATUS=serving",
        "RELOADING=1",
        "READY=1",
        "STATUS=serving",
        "RELOADING=1",
        "READY=1",
        "STATUS=serving; the new configuration is refused, see the log",
        "STOPPING=1",
        "STATUS=stopping, requests in progress: 1",
    ]


async def test_agent_without_postgresql_is_not_ready(served: Cli, tmp_path: Path) -> None:
    """It extends the time of its start, and a reload does not end it."""
    with notify_socket(tmp_path) as listening:
        settings = {"DATABASE_URL": "postgresql://127.0.0.1:9/nowhere", "NOTIFY_SOCKET": listening.address}
        async with Serve({**served.settings, **settings}) as serve:
            await serve.logged("not ready: ")
            await listening.line("STATUS=waiting for PostgreSQL")
            await listening.line("EXTEND_TIMEOUT_USEC=30000000")
            serve.process.send_signal(signal.SIGHUP)
            await serve.logged("the configuration is read again")
            assert await serve.ended(signal.SIGTERM) == 0
        listening.read()
    assert not {"READY=1", "RELOADING=1"} & set(listening.lines)
