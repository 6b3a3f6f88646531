"""What processes cost, read from /proc, and the two that a run needs beside the agent: the upstream and nginx."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from benchmarks.fleet import free_port
from benchmarks.relay.workloads import GATEWAY_CORE, LOAD_CORE

START_SECONDS = 10.0
IDLE, IDLE_WINDOW = 0.1, 0.4  # of a core, over so many seconds: then a gateway owes nothing more
_TICKS = os.sysconf("SC_CLK_TCK")


class Process(NamedTuple):
    """One line of the process table. `cpu` seconds, those of children that have ended included."""

    parent: int
    cpu: float


def processes() -> dict[int, Process]:
    """All that run."""
    found = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208 - often, and it is quicker
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
            found[int(entry)] = Process(int(fields[1]), sum(map(int, fields[11:15])) / _TICKS)
    return found


def tree(table: dict[int, Process], roots: Iterable[int]) -> set[int]:
    """The processes `roots` and all below them."""
    pids = {pid for pid in roots if pid in table}
    while new := {pid for pid, process in table.items() if process.parent in pids} - pids:
        pids |= new
    return pids


def cpu_seconds(*roots: int) -> float:
    """CPU time of the trees of processes so far."""
    table = processes()
    return sum(table[pid].cpu for pid in tree(table, roots))


def busy_seconds() -> float:
    """CPU time that anything took on this machine so far."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / _TICKS


async def until_calm(cpu: Callable[[], float], below: float, limit: float, windows: int = 1) -> None:
    """Waits until `cpu` grows slower than so many seconds a second, at most `limit` seconds."""
    loop = asyncio.get_running_loop()
    end, calm = loop.time() + limit, 0
    while calm < windows and loop.time() < end:
        began, before = loop.time(), cpu()
        await asyncio.sleep(IDLE_WINDOW)
        calm = calm + 1 if (cpu() - before) / (loop.time() - began) < below else 0


def forget_peak(root: int) -> None:
    """Makes `peak_mb` start anew, where we may."""
    for pid in tree(processes(), [root]):
        with contextlib.suppress(OSError):
            Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak_mb(root: int) -> float:
    """The most resident memory of a tree, each process's own peak added up, in MB."""
    lines = []
    for pid in tree(processes(), [root]):
        with contextlib.suppress(OSError):
            lines += Path(f"/proc/{pid}/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def pin(root: int, core: int = GATEWAY_CORE) -> None:
    """Binds all threads of a tree to a core; those that they start later inherit it."""
    for pid in tree(processes(), [root]):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread.name), {core})


class Service:
    """A process that listens on a port of its own for as long as the `async with` lasts."""

    def __init__(self, *words: str, port: int) -> None:
        self._words = words
        self.port = port
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """Of the process."""
        assert self._process is not None
        return self._process.pid

    async def __aenter__(self) -> "Service":
        # Without this, another program's answers would be measured.
        if _listens(self.port):
            raise RuntimeError(f"port {self.port} is taken")
        self._process = await asyncio.create_subprocess_exec(*self._words, stdout=asyncio.subprocess.DEVNULL)
        try:
            async with asyncio.timeout(START_SECONDS):
                while not _listens(self.port):
                    if self._process.returncode is not None:
                        raise RuntimeError(f"{self._words[0]} ended with code {self._process.returncode}")
                    await asyncio.sleep(0.02)
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    async def _end(self) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)  # which nginx passes to its worker
        await self._process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def upstream(program: Path, port: int) -> Service:
    """The fake OpenAI, on the load's core."""
    return Service(str(program), str(port), str(LOAD_CORE), port=port)


_NGINX = """daemon off;
worker_processes 1;
worker_rlimit_nofile 16384;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 1000000000;
    http2_max_concurrent_streams 1000;
    upstream openai {{
        server 127.0.0.1:{upstream};
        keepalive 1024;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port} {how} backlog=4096;
        {certificate}
        location / {{
            proxy_pass http://openai;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
        }}
    }}
}}
"""


def nginx(folder: Path, upstream_port: int, *, certificate: Path | None = None, key: Path | None = None) -> Service:
    """A plain reverse proxy: no buffering, connections to the upstream kept open, no access log. With a certificate and
    its key it wants TLS, and knows HTTP/2."""
    port, config = free_port(), folder / "nginx.conf"
    told = f"ssl_certificate {certificate}; ssl_certificate_key {key};" if certificate else ""
    how = "ssl http2" if certificate else ""
    config.write_text(_NGINX.format(folder=folder, port=port, upstream=upstream_port, how=how, certificate=told))
    return Service("nginx", "-e", str(folder / "nginx.log"), "-p", str(folder), "-c", str(config), port=port)
