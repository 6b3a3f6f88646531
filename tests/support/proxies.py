"""Reverse proxies in front of an agent."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path

from tests.support.client import fetch
from tests.support.waiting import SECONDS


def free_port() -> int:
    """Returns a port that is free now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def nginx_command(folder: Path, http: str) -> list[str]:
    """Returns the command that runs nginx with these directives in its `http` context; its files are in `folder`."""
    paths = "".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    # With a master process, a worker would go on running after the master is killed.
    main = f"user root; daemon off; master_process off; pid {folder}/pid; error_log stderr; events {{}}"
    (folder / "nginx.conf").write_text(f"{main} http {{ access_log off; {paths} {http} }}")
    return ["nginx", "-c", f"{folder}/nginx.conf", "-p", str(folder), "-e", "stderr"]


@contextlib.asynccontextmanager
async def running(command: list[str], folder: Path, url: str) -> AsyncIterator[None]:
    """Runs a proxy until the context ends, and waits until it answers at a URL."""
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)
    try:
        async with asyncio.timeout(SECONDS):
            while True:
                with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                    await fetch(url)
                    break
                await asyncio.sleep(0.02)
        yield
    finally:
        process.kill()
        await process.wait()
