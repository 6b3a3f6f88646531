"""What is asked of a gateway, what came of it, and who asks: `wrk` for whole answers, `streams.c` for streams.

A load runs on one core with the upstream; the gateway has another for itself.
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
RAMP_MS = 1000  # over which streams begin
LIMIT_MS = 25_000  # after which streams that have not ended are given up
HERE = Path(__file__).parent


class Work(msgspec.Struct, frozen=True):
    """One set: so many clients at once, for `seconds` with whole answers, or `rounds` streams each."""

    name: str
    clients: int
    seconds: int = 0
    rounds: int = 0


WORKS = {
    work.name: work
    for work in (
        Work("c1", 1, seconds=3),
        Work("c16", 16, seconds=3),
        Work("c64", 64, seconds=3),
        Work("c256", 256, seconds=4),
        Work("s50", 50, rounds=2),
        Work("s200", 200, rounds=2),
        Work("s1000", 1000, rounds=2),
    )
}


class Whole(msgspec.Struct, frozen=True, tag=True):
    """What `wrk` saw: requests that were answered 200, and those that were not; milliseconds of an answer."""

    ok: int
    errors: int
    seconds: float
    p50_ms: float
    p99_ms: float


class Streams(msgspec.Struct, frozen=True, tag=True):
    """What `streams.c` saw. A chunk's lateness is its arrival less the moment at which the upstream made it."""

    completed: int
    errors: int  # no chunk came
    broken: int  # some did
    unfinished: int  # when time was up
    chunks: int
    seconds: float
    ttft_p99_ms: float  # from the request to the first chunk with content
    late_p50_ms: float
    late_p99_ms: float
    first_error: str = ""


class Target(msgspec.Struct, frozen=True):
    """Where a gateway takes chat completions, and as whom."""

    url: str
    token: str
    model: str
    headers: Mapping[str, str] = {}

    def head(self) -> dict[str, str]:
        """The fields of a request's head that are the gateway's."""
        return {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json", **self.headers}


class Tools:
    """The programs of `folder`, into which the C tools are built."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.upstream = folder / "upstream"
        self._streams = folder / "streams"

    async def build(self) -> None:
        """Compiles. Raises RuntimeError."""
        for tool in (self.upstream, self._streams):
            await output_of("cc", "-O2", "-o", str(tool), str(HERE / f"{tool.name}.c"), seconds=60)

    async def run(self, work: Work, target: Target) -> Whole | Streams:
        """One run. Raises RuntimeError where the load itself failed."""
        return await (self._run_whole(work, target) if work.seconds else self._run_streams(work, target))

    async def _run_whole(self, work: Work, target: Target) -> Whole:
        words = ("-t1", f"-c{work.clients}", f"-d{work.seconds}s", "--timeout", "30s")
        with tempfile.NamedTemporaryFile("w", suffix=".lua", dir=self._folder) as script:
            script.write(lua(target))
            script.flush()
            told = await output_of(*_ON_CORE, "wrk", *words, "-s", script.name, target.url, seconds=work.seconds + 40)
        return msgspec.json.decode(told.splitlines()[-1], type=Whole)

    async def _run_streams(self, work: Work, target: Target) -> Streams:
        numbers = (urlsplit(target.url).port, work.clients, work.rounds, CHUNKS, RAMP_MS, LIMIT_MS, LOAD_CORE)
        words = [str(self._streams), *map(str, numbers)]
        told = await output_of(*words, seconds=LIMIT_MS / 1000 + 30, stdin=raw_request(target))
        return msgspec.json.decode(told, type=Streams)


_ON_CORE = ("taskset", "-c", str(LOAD_CORE))


def body(model: str, *, stream: bool) -> bytes:
    """A chat, with the upstream's plan in its last message."""
    asked: dict[str, object] = {
        "model": model,
        "messages": [
            {"role": "system", "content": "You are a helpful assistant."},
            {"role": "user", "content": f"Tell me about the fox and the dog. N={CHUNKS} GAP={GAP_MS} DELAY=0"},
        ],
        "temperature": 0.7,
    }
    if stream:
        asked |= {"stream": True, "stream_options": {"include_usage": True}}
    return json.dumps(asked).encode()


def raw_request(target: Target) -> bytes:
    """A request for a stream, as it goes over the wire."""
    parts, content = urlsplit(target.url), body(target.model, stream=True)
    fields = {"Host": parts.netloc, "Accept": "text/event-stream", "Content-Length": str(len(content))} | target.head()
    lines = [f"POST {parts.path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode() + content


def lua(target: Target) -> str:
    """The script that tells `wrk` what to send, and what to print on its last line: a `Whole` as JSON."""
    fields = "\n".join(f"wrk.headers[ [[{name}]] ] = [[{value}]]" for name, value in target.head().items())
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


async def output_of(*words: str, seconds: float, stdin: bytes = b"") -> bytes:
    """What a program prints; it ends when we do. Raises RuntimeError where it fails or takes longer."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*words, stdin=pipe, stdout=pipe, stderr=pipe)
    try:
        async with asyncio.timeout(seconds):
            out, errors = await process.communicate(stdin)
    except TimeoutError:
        raise RuntimeError(f"{Path(words[0]).name} has not ended in {seconds:.0f} s") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode != 0:
        raise RuntimeError(f"{Path(words[0]).name}: {errors.decode(errors='replace').strip()}")
    return out


def missing(*programs: str) -> list[str]:
    """Those programs that are not installed here."""
    return [name for name in programs if shutil.which(name) is None]
