"""CPU time and memory of processes, read from /proc, and the two services of a run: the upstream and nginx."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from benchmarks.fleet import free_port
from benchmarks.relay.workloads import GATEWAY_CORE, LOAD_CORE

START_SECONDS = 10.0
IDLE, IDLE_WINDOW = 0.1, 0.4  # a gateway that uses less of a core over that many seconds has no postponed work
_TICKS = os.sysconf("SC_CLK_TCK")


class Process(NamedTuple):
    """A row of the process table. `cpu` is in seconds and includes children that have ended."""

    parent: int
    cpu: float


def process_table() -> dict[int, Process]:
    """Returns all running processes by their ids."""
    table = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208 - called often; os.listdir is faster
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
            table[int(entry)] = Process(int(fields[1]), sum(map(int, fields[11:15])) / _TICKS)
    return table


def tree(table: dict[int, Process], roots: Iterable[int]) -> set[int]:
    """Returns the ids of the processes `roots` and their descendants."""
    pids = {pid for pid in roots if pid in table}
    while new := {pid for pid, process in table.items() if process.parent in pids} - pids:
        pids |= new
    return pids


def cpu_seconds(*roots: int) -> float:
    """Returns the CPU time of the process trees of `roots` so far."""
    table = process_table()
    return sum(table[pid].cpu for pid in tree(table, roots))


def busy_seconds() -> float:
    """Returns the CPU time of all programs on this machine so far."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / _TICKS


async def until_calm(cpu: Callable[[], float], below: float, limit: float, windows: int = 1) -> None:
    """Waits until `cpu` grows by less than `below` seconds a second in consecutive windows, for at most `limit`
    seconds."""
    loop = asyncio.get_running_loop()
    end, calm = loop.time() + limit, 0
    while calm < windows and loop.time() < end:
        started, before = loop.time(), cpu()
        await asyncio.sleep(IDLE_WINDOW)
        calm = calm + 1 if (cpu() - before) / (loop.time() - started) < below else 0


def reset_peak(root: int) -> None:
    """Resets the peaks that `peak_mb` reads, if the kernel permits it."""
    for pid in tree(process_table(), [root]):
        with contextlib.suppress(OSError):
            Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak_mb(root: int) -> float:
    """Returns the sum of the peaks of resident memory in a process tree, in MB."""
    lines = []
    for pid in tree(process_table(), [root]):
        with contextlib.suppress(OSError):
            lines += Path(f"/proc/{pid}/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def pin(root: int, core: int = GATEWAY_CORE) -> None:
    """Binds all threads of a process tree to a core; threads that they start later inherit this."""
    for pid in tree(process_table(), [root]):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread.name), {core})


class Service:
    """A process that listens on its own port inside the `async with` block."""

    def __init__(self, *command: str, port: int) -> None:
        self._command = command
        self.port = port
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """The id of the process."""
        assert self._process is not None
        return self._process.pid

    async def __aenter__(self) -> "Service":
        # Otherwise the run would measure the program that listens there.
        if _listens(self.port):
            raise RuntimeError(f"port {self.port} is already in use")
        self._process = await asyncio.create_subprocess_exec(*self._command, stdout=asyncio.subprocess.DEVNULL)
        try:
            async with asyncio.timeout(START_SECONDS):
                while not _listens(self.port):
                    if self._process.returncode is not None:
                        raise RuntimeError(f"{self._command[0]} ended with code {self._process.returncode}")
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
            self._process.send_signal(signal.SIGTERM)  # nginx passes it to its worker
        await self._process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def upstream(program: Path, port: int) -> Service:
    """Returns the fake OpenAI, bound to the load's core."""
    return Service(str(program), str(port), str(LOAD_CORE), port=port)


@contextlib.asynccontextmanager
async def awake(program: Path) -> AsyncIterator[None]:
    """Keeps the gateways' core from halting. A virtual core that halts is given to others, and what its caches held is
    gone when it wakes up: a gateway with much code would pay for that, and the more, the less load it has."""
    process = await asyncio.create_subprocess_exec(str(program), str(GATEWAY_CORE))
    try:
        yield
    finally:
        process.kill()
        await process.wait()


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
        listen 127.0.0.1:{port} {protocols} backlog=4096;
        {tls}
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
    """Returns a plain reverse proxy: no buffering, kept connections to the upstream, no access log. With a certificate
    and its key it accepts TLS only, with HTTP/1.1 or HTTP/2."""
    port, config = free_port(), folder / "nginx.conf"
    tls = f"ssl_certificate {certificate}; ssl_certificate_key {key};" if certificate else ""
    protocols = "ssl http2" if certificate else ""
    config.write_text(_NGINX.format(folder=folder, port=port, upstream=upstream_port, protocols=protocols, tls=tls))
    return Service("nginx", "-e", str(folder / "nginx.log"), "-p", str(folder), "-c", str(config), port=port)
