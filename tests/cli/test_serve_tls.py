"""`chatgpt-agent serve` with TLS of its own, and on a Unix socket."""

import asyncio
import re
import signal
from pathlib import Path

from tests.support.client import Connection, request_bytes
from tests.support.commands import Cli
from tests.support.serving import Serve, body, chat, headers, with_user
from tests.support.tls import issue

HTTPS = re.compile(r"listens on (https://127\.0\.0\.1:\d+)")


async def test_renewed_certificate_is_in_force_after_a_signal(served: Cli, tmp_path: Path) -> None:
    """Its key comes with it: until both are there, the former pair stays."""
    token = await with_user(served)
    files = issue(tmp_path)
    settings = {**served.settings, **{key.upper(): str(path) for key, path in files.settings.items()}}
    async with Serve(settings) as serve:
        match = HTTPS.search(await serve.logged("chatgpt-agent "))
        assert match is not None
        url = match[1]
        await serve.logged(" ready")
        assert (await chat(url, token)).status == 200
        before = await certificate(url)
        other = issue(tmp_path, "other")
        files.certificate.write_bytes(other.certificate.read_bytes())
        serve.process.send_signal(signal.SIGHUP)
        await serve.logged(f"the one in force stays: tls_key: {files.key} does not belong to")
        assert await certificate(url) == before
        files.key.write_bytes(other.key.read_bytes())
        serve.process.send_signal(signal.SIGHUP)
        await serve.logged("the configuration is read again; changed: nothing")
        assert await certificate(url) != before
        assert (await chat(url, token)).status == 200
        assert await serve.stopped() == 0


async def certificate(url: str) -> bytes:
    """The certificate of a listener."""
    connection = await Connection.open(url)
    result: bytes = connection.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    await connection.close()
    return result


async def test_sockets_in_the_place_of_ports(served: Cli, short_folder: Path) -> None:
    """Their files are there while the agent runs."""
    token = await with_user(served)
    api, admin = (f"unix:{short_folder}/{name}" for name in ("api", "admin"))
    async with Serve({**served.settings, "BIND_ADDRESS": api, "ADMIN_BIND_ADDRESS": admin}) as serve:
        await serve.logged(f"listens on {api}")
        await serve.logged(f"administration listens on {admin}")
        await serve.logged(" ready")
        await serve.logged("open /console/first-run?code=")
        connection = await Connection.open(api)
        await connection.send(request_bytes("POST", "/chat", headers(token), body(stream=False)))
        assert (await connection.answer()).status == 200
        await connection.close()
        assert await serve.stopped() == 0
    assert await asyncio.to_thread(lambda: list(short_folder.iterdir())) == []


async def test_agent_that_does_not_start_leaves_no_socket(served: Cli, short_folder: Path) -> None:
    """Another agent has its data folder."""
    async with Serve(served.settings) as first:
        await first.ready()
        async with Serve({**served.settings, "BIND_ADDRESS": f"unix:{short_folder}/api"}) as second:
            assert await second.ended() == 1
        await first.stopped()
    assert await asyncio.to_thread(lambda: list(short_folder.iterdir())) == []
