"""A shutdown does not wait for name servers that do not answer."""

import asyncio
import contextlib
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from chatgpt_agent.adapters import own_thread
from chatgpt_agent.adapters.webhook import Webhook
from chatgpt_agent.cli.program import ABORTED
from chatgpt_agent.core.errors import WebhookFailed
from tests.support.client import Connection, request_bytes
from tests.support.commands import PROGRAM, Cli, environ_with
from tests.support.serving import Serve, body, headers, with_user
from tests.support.waiting import SECONDS

NAME = "hang.invalid"  # which the preloaded library never resolves

pytestmark = [pytest.mark.slow, pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")]


@pytest.fixture(scope="module")
def preload(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process in which that name is never resolved."""
    library = tmp_path_factory.mktemp("preload") / "hanging_resolver.so"
    source = Path(__file__).with_name("hanging_resolver.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return {"LD_PRELOAD": str(library)}


async def test_name_of_openai(preload: dict[str, str], dsn: str, tmp_path: Path) -> None:
    """With a request that waits for OpenAI's address, SIGTERM ends the agent, and the client may try again."""
    settings = {"DATABASE_URL": dsn, "DATA_DIR": str(tmp_path / "data")}
    cli = Cli(settings)
    token = await with_user(cli)
    waiting = {"OPENAI_URL": f"https://{NAME}/v1/chat/completions", "CONNECT_TIMEOUT": "3600", "DRAIN_TIMEOUT": "3600"}
    async with Serve({**settings, **preload, **waiting}) as serve:
        connection = await Connection.open(await serve.ready())
        await connection.send(request_bytes("POST", "/v1/chat/completions", headers(token), body(stream=False)))
        await serve.logged(f"{NAME} is looked up")
        ending = asyncio.create_task(serve.ended(signal.SIGTERM))
        answer = await connection.answer()
        assert (answer.status, answer.header("x-should-retry")) == (502, "true")
        assert await ending == 0
        await connection.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("key", ["BIND_ADDRESS", "ADMIN_BIND_ADDRESS"])
async def test_name_to_listen_on(preload: dict[str, str], tmp_path: Path, key: str, number: signal.Signals) -> None:
    """While the agent waits for the address to listen on, a stop signal ends it, and nothing has been started."""
    settings = {"DATABASE_URL": "postgresql://u@127.0.0.1:1/d", "DATA_DIR": str(tmp_path / "data"), key: NAME}
    async with Serve({**settings, **preload}) as serve:
        await serve.logged(f"{NAME} is looked up")
        assert await serve.ended(number) == 0
    assert not (tmp_path / "data").exists()


async def test_name_of_the_database(preload: dict[str, str], tmp_path: Path) -> None:
    """While the agent waits for the address of its database, SIGTERM ends it."""
    settings = {"DATABASE_URL": f"postgresql://u@{NAME}/d", "DATA_DIR": str(tmp_path / "data")}
    async with Serve({**settings, **preload}) as serve:
        await serve.logged(f"{NAME} is looked up")
        assert await serve.ended(signal.SIGTERM) == 0


async def test_command_that_looks_up_the_database(preload: dict[str, str], tmp_path: Path) -> None:
    """While a command waits for the address of its database, Ctrl-C ends it."""
    settings = {"DATABASE_URL": f"postgresql://u@{NAME}/d", "DATA_DIR": str(tmp_path / "data")}
    assert await interrupted({**settings, **preload}, "user", "list") == ABORTED


async def test_command_that_looks_up_openai(preload: dict[str, str], dsn: str, tmp_path: Path) -> None:
    """While `ledger reconcile --fetch` waits for OpenAI's address, Ctrl-C ends it."""
    settings = {"DATABASE_URL": dsn, "DATA_DIR": str(tmp_path / "data"), "OPENAI_URL": f"https://{NAME}/v1/chat"}
    key = tmp_path / "admin-key"
    key.write_text("sk-admin-made-up")
    key.chmod(0o600)
    arguments = ["--fetch", "--month", "2026-11", "--admin-key-file", str(key)]
    assert await interrupted({**settings, **preload}, "ledger", "reconcile", *arguments) == ABORTED


async def interrupted(settings: dict[str, str], *args: str) -> int:
    """Runs a command, interrupts it once it looks up the name, and returns its exit code."""
    process = await asyncio.create_subprocess_exec(
        *PROGRAM, *args, stderr=asyncio.subprocess.PIPE, env=environ_with(settings)
    )
    try:
        assert process.stderr is not None
        async with asyncio.timeout(SECONDS):
            assert NAME.encode() in await process.stderr.readline()
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(SECONDS):
            return await process.wait()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


PROXIED_POST = f"""
import asyncio, time
from chatgpt_agent.adapters.config_values import Proxy
from chatgpt_agent.adapters.webhook import Webhook
from chatgpt_agent.cli.program import ABORTED

async def main():
    webhook = Webhook("http://127.0.0.1:1/", None, Proxy("{NAME}", 3128, None, None))
    task = asyncio.create_task(webhook.post("msg_1", int(time.time()), b"{{}}"))
    await asyncio.sleep(0.2)
    webhook.close()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

asyncio.run(main())
"""


def test_name_of_the_webhooks_proxy(preload: dict[str, str]) -> None:
    """While the agent waits for the address of the proxy of the webhook, the process can end."""
    subprocess.run([sys.executable, "-c", PROXIED_POST], env=environ_with(preload), timeout=60, check=True)


def test_name_of_the_webhook(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the agent waits for the address of the webhook, its event loop can be closed, and the post has failed."""
    begun, released, ended = threading.Event(), threading.Event(), threading.Event()

    def hang(*_: object, **__: object) -> list[object]:
        begun.set()
        released.wait(60)
        ended.set()
        return []

    async def post() -> None:
        webhook = Webhook(f"http://{NAME}/", None)
        task = asyncio.create_task(webhook.post("msg_1", int(time.time()), b"{}"))
        assert await asyncio.to_thread(begun.wait, SECONDS)
        webhook.close()
        task.cancel()
        with pytest.raises((asyncio.CancelledError, WebhookFailed)):
            await task

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    asyncio.run(post())
    assert not ended.is_set()
    released.set()


async def test_lookup_returns_the_addresses() -> None:
    """A name that is resolved has its addresses, and one that does not exist is an error."""
    infos = await own_thread.look_up("127.0.0.1", 80)
    assert [info[4] for info in infos] == [("127.0.0.1", 80)]
    with pytest.raises(socket.gaierror):
        await own_thread.look_up("127.0.0.1.invalid:")
