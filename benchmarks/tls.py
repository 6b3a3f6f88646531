"""Compares HTTP/1.1 and HTTP/2 to OpenAI: `python -m benchmarks.tls [--only c64,s200] [--reps N]`.

An nginx with its own certificate, in front of the fake OpenAI, speaks both over TLS. Two agents that differ only in
`openai_http_version` get the same load in turn. It prints the processor time of an answer or a chunk, latency and
lateness, and memory. Needs the programs that benchmarks.relay needs.
"""

import argparse
import asyncio
import contextlib
import statistics
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from benchmarks.fleet import free_port
from benchmarks.loss import server_version, surroundings
from benchmarks.relay.__main__ import PATH, agent, sets_from
from benchmarks.relay.measure import Run, measure
from benchmarks.relay.processes import awake, nginx, pin, upstream
from benchmarks.relay.workloads import LOAD_CORE, Tools, Whole, Workload, missing

VERSIONS = {"HTTP/1.1": "1.1", "HTTP/2": "2"}


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Creates a certificate for 127.0.0.1 and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    certificate_path, key_path = folder / "own.pem", folder / "own.key"
    certificate_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(text)
    return certificate_path, key_path


async def run_all(works: list[Workload], reps: int, wait: float) -> tuple[list[Run], str]:
    """Returns all runs, with the two versions in turn, and PostgreSQL's version."""
    runs = []
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cgl")))
        tools = Tools(folder)
        await tools.build()
        port = free_port()
        await stack.enter_async_context(upstream(tools.upstream, port))
        await stack.enter_async_context(awake(tools.awake))
        certificate, key = make_certificate(folder)
        openai = await stack.enter_async_context(nginx(folder, port, certificate=certificate, key=key))
        pin(openai.pid, LOAD_CORE)
        gateways = []
        for name, version in VERSIONS.items():
            settings = {"openai_ca_file": str(certificate), "openai_http_version": version}
            url = f"https://127.0.0.1:{openai.port}{PATH}"
            fleet, gateway = await stack.enter_async_context(agent(url, **settings))
            pin(gateway.pid)
            await tools.run(Workload("warm", 1, seconds=2), gateway.target)
            gateways.append(msgspec.structs.replace(gateway, name=name))
        for repetition in range(reps):
            for work in works:
                for gateway in gateways:
                    runs.append(await measure(tools, gateway, work, repetition, wait=wait))
                    print(f"{repetition + 1}: {work.name} {gateway.name}, {runs[-1].result}", file=sys.stderr)
        return runs, server_version(fleet.postgres.dsn)


def report(runs: list[Run]) -> str:
    """Returns the medians of each set and version as Markdown."""
    lines = [
        "| set | to OpenAI | CPU µs | answers or chunks/s | p50 ms | p99 ms | first chunk p99 ms | broken | MB |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for work, gateway in dict.fromkeys((run.workload, run.gateway) for run in runs):
        matching = [run for run in runs if (run.workload, run.gateway) == (work, gateway)]
        columns = zip(*(_figures(run) for run in matching), strict=True)
        cells = [f"{statistics.median(column):.4g}" if None not in column else "–" for column in columns]
        lines.append(f"| {work} | {gateway} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _figures(run: Run) -> list[float | None]:
    streams = run.result
    if isinstance(streams, Whole):
        middle = [streams.ok / streams.seconds, streams.p50_ms, streams.p99_ms, None, streams.errors]
    else:
        middle = [
            streams.chunks / streams.seconds,
            streams.late_p50_ms,
            streams.late_p99_ms,
            streams.ttft_p99_ms,
            streams.broken,
        ]
    return [run.cpu_us, *middle, run.memory_mb]


def main() -> int:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.tls", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", type=sets_from, default="c1,c64,s200", metavar="SETS", help="(c1,c64,s200)")
    parser.add_argument("--reps", type=int, default=3, help="how often each set is asked (3)")
    parser.add_argument("--wait", type=float, default=20.0, help="seconds to wait for a quiet machine at most (20)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="where the table goes as Markdown")
    options = parser.parse_args()
    if lacks := missing("cc", "wrk", "nginx", "taskset"):
        print(f"not installed: {', '.join(lacks)}", file=sys.stderr)
        return 2
    runs, postgres = asyncio.run(run_all(options.only, options.reps, options.wait))
    command = f"python -m benchmarks.tls --reps {options.reps}"
    text = "\n".join([*surroundings(command, postgres), "", report(runs), ""])
    print(text)
    if options.output:
        options.output.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
