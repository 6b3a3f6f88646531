"""The workloads, their results, and the load generators: `wrk` for whole answers, `streams.c` for streams.

Load and upstream share one core; the gateway has the other for itself.
"""

import asyncio
import contextlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

GATEWAY_CORE, LOAD_CORE = 0, 1
CHUNKS, GAP_MS = 100, 20  # of a stream
RAMP_MS = 1000  # the period over which the first streams start
LIMIT_MS = 25_000  # streams that have not ended by then count as unfinished
HERE = Path(__file__).parent


class Workload(msgspec.Struct, frozen=True):
    """A number of concurrent clients that request whole answers for `seconds`, or `rounds` streams each."""

    name: str
    clients: int
    seconds: int = 0
    rounds: int = 0


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("c1", 1, seconds=3),
        Workload("c16", 16, seconds=3),
        Workload("c64", 64, seconds=3),
        Workload("c256", 256, seconds=4),
        Workload("s50", 50, rounds=2),
        Workload("s200", 200, rounds=2),
        Workload("s1000", 1000, rounds=2),
    )
}


class Whole(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Result of `wrk`: the number of responses with status 200, the number of all other outcomes, and latencies."""

    ok: int
    errors: int
    seconds: float
    p50_ms: float
    p99_ms: float


class Streams(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Result of `streams.c`. A chunk's lateness is its arrival time minus the upstream's timestamp in it."""

    completed: int
    errors: int  # streams without any chunk
    broken: int  # streams that ended after some chunks
    unfinished: int  # streams that were still open at the time limit
    chunks: int
    seconds: float
    ttft_p99_ms: float  # from the request to the first chunk with content
    late_p50_ms: float
    late_p99_ms: float
    first_error: str = ""


class Target(msgspec.Struct, frozen=True):
    """The chat completions URL of a gateway, and the token, model and header fields of requests to it."""

    url: str
    token: str
    model: str
    headers: Mapping[str, str] = {}

    def request_headers(self) -> dict[str, str]:
        """Returns the header fields that depend on the gateway."""
        return {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json", **self.headers}


class Tools:
    """The fake upstream, the load generators, and what keeps a core awake. `folder` receives the programs that are
    compiled."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.upstream = folder / "upstream"
        self.awake = folder / "awake"
        self._streams = folder / "streams"

    async def build(self) -> None:
        """Compiles the C programs. Raises RuntimeError if that fails."""
        for tool in (self.upstream, self.awake, self._streams):
            await output_of("cc", "-O2", "-o", str(tool), str(HERE / f"{tool.name}.c"), seconds=60)

    async def run(self, workload: Workload, target: Target) -> Whole | Streams:
        """Runs a workload once and returns its result. Raises RuntimeError if the load generator fails."""
        return await (self._run_whole(workload, target) if workload.seconds else self._run_streams(workload, target))

    async def _run_whole(self, workload: Workload, target: Target) -> Whole:
        command = (*_ON_CORE, "wrk", "-t1", f"-c{workload.clients}", f"-d{workload.seconds}s", "--timeout", "30s")
        with tempfile.NamedTemporaryFile("w", suffix=".lua", dir=self._folder) as script:
            script.write(lua(target))
            script.flush()
            output = await output_of(*command, "-s", script.name, target.url, seconds=workload.seconds + 40)
        return msgspec.json.decode(output.splitlines()[-1], type=Whole)

    async def _run_streams(self, workload: Workload, target: Target) -> Streams:
        port = urlsplit(target.url).port
        numbers = (port, workload.clients, workload.rounds, CHUNKS, RAMP_MS, LIMIT_MS, LOAD_CORE)
        command = [str(self._streams), *map(str, numbers)]
        output = await output_of(*command, seconds=LIMIT_MS / 1000 + 30, stdin=raw_request(target))
        return msgspec.json.decode(output, type=Streams)


_ON_CORE = ("taskset", "-c", str(LOAD_CORE))


def body(model: str, *, stream: bool) -> bytes:
    """Returns the JSON of a chat completion request whose last message holds parameters for `upstream.c`."""
    fields: dict[str, object] = {
        "model": model,
        "messages": [
            {"role": "system", "content": "You are a helpful assistant."},
            {"role": "user", "content": f"Tell me about the fox and the dog. N={CHUNKS} GAP={GAP_MS} DELAY=0"},
        ],
        "temperature": 0.7,
    }
    if stream:
        fields |= {"stream": True, "stream_options": {"include_usage": True}}
    return json.dumps(fields).encode()


def raw_request(target: Target) -> bytes:
    """Returns the HTTP request for a stream, head and body."""
    parts, content = urlsplit(target.url), body(target.model, stream=True)
    fields = {"Host": parts.netloc, "Accept": "text/event-stream", "Content-Length": str(len(content))}
    fields |= target.request_headers()
    lines = [f"POST {parts.path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode() + content


def lua(target: Target) -> str:
    """Returns the script for `wrk`, which sets the request and prints a `Whole` as JSON on the last line."""
    fields = "\n".join(f"wrk.headers[ [[{name}]] ] = [[{value}]]" for name, value in target.request_headers().items())
    return f"""wrk.method = "POST"
wrk.body = [==[{body(target.model, stream=False).decode()}]==]
{fields}
done = function(s, latency, requests)
  local e = s.errors
  io.write(string.format('{{"type":"Whole","ok":%d,"errors":%d,"seconds":%.3f,"p50_ms":%.3f,"p99_ms":%.3f}}\\n',
    s.requests - e.status, e.status + e.connect + e.read + e.write + e.timeout, s.duration / 1e6,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
"""


async def output_of(*command: str, seconds: float, stdin: bytes = b"") -> bytes:
    """Runs a program and returns its standard output; the program is killed when this task is cancelled.
    Raises RuntimeError if the program fails or takes longer than `seconds`."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
    try:
        async with asyncio.timeout(seconds):
            output, errors = await process.communicate(stdin)
    except TimeoutError:
        raise RuntimeError(f"{Path(command[0]).name} has not ended after {seconds:.0f} s") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode != 0:
        raise RuntimeError(f"{Path(command[0]).name}: {errors.decode(errors='replace').strip()}")
    return output


def missing(*programs: str) -> list[str]:
    """Returns the programs that are not installed on this machine."""
    return [name for name in programs if shutil.which(name) is None]
