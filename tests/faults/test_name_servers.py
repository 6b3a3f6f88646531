"""A shutdown does not wait for name servers that do not answer."""

import asyncio
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
from chatgpt_agent.core.errors import WebhookFailed
from tests.support.client import Connection, request_bytes
from tests.support.commands import KEY, Cli, environ_with
from tests.support.serving import Serve, body, headers

NAME = "hang.invalid"  # which the preloaded library never resolves

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")


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
    token = (await cli.command("user", "add", "alice", "--openai-key-stdin", stdin=KEY.encode())).strip()
    await cli.command("price", "set", "m", "--input", "1", "--output", "2")
    waiting = {"OPENAI_URL": f"https://{NAME}/v1/chat/completions", "CONNECT_TIMEOUT": "3600", "DRAIN_TIMEOUT": "3600"}
    async with Serve({**settings, **preload, **waiting}) as serve:
        connection = await Connection.open(await serve.ready())
        await connection.send(request_bytes("POST", "/v1/chat/completions", headers(token), body(stream=False)))
        await asyncio.sleep(0.2)
        ending = asyncio.create_task(serve.ended(signal.SIGTERM))
        answer = await connection.answer()
        assert (answer.status, answer.header("x-should-retry")) == (502, "true")
        assert await ending == 0
        await connection.close()


async def test_name_of_the_database(preload: dict[str, str], tmp_path: Path) -> None:
    """While the agent waits for the address of its database, SIGTERM ends it."""
    settings = {"DATABASE_URL": f"postgresql://u@{NAME}/d", "DATA_DIR": str(tmp_path / "data")}
    async with Serve({**settings, **preload}) as serve:
        await serve.listening()
        await asyncio.sleep(0.2)
        assert await serve.ended(signal.SIGTERM) == 0


PROXIED_POST = f"""
import asyncio, time
from chatgpt_agent.adapters.config import Proxy
from chatgpt_agent.adapters.webhook import Webhook

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
    subprocess.run([sys.executable, "-c", PROXIED_POST], env=environ_with(preload), timeout=20, check=True)


def test_name_of_the_webhook(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the agent waits for the address of the webhook, its event loop can be closed, and the post has failed."""
    released = threading.Event()

    def hang(*_: object) -> list[object]:
        released.wait(60)
        return []

    async def post() -> None:
        webhook = Webhook(f"http://{NAME}/", None)
        task = asyncio.create_task(webhook.post("msg_1", int(time.time()), b"{}"))
        await asyncio.sleep(0.05)
        webhook.close()
        task.cancel()
        with pytest.raises((asyncio.CancelledError, WebhookFailed)):
            await task

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    asyncio.run(post())
    assert not released.is_set()
    released.set()


async def test_lookup_returns_the_addresses() -> None:
    """A name that is resolved has its addresses, and one that does not exist is an error."""
    infos = await own_thread.look_up("127.0.0.1", 80)
    assert [info[4] for info in infos] == [("127.0.0.1", 80)]
    with pytest.raises(socket.gaierror):
        await own_thread.look_up("127.0.0.1.invalid:")
