"""Measures the cost of relaying: `python -m benchmarks.relay [--only c64,s200] [--reps N] [--gateway …] [--profile]`.

It starts a fake OpenAI that is never the bottleneck, nginx as a plain reverse proxy, and an agent with its own
PostgreSQL, with budgets and limits set. It runs each workload through each of them in turn, and against the upstream
directly. It prints the CPU time of each answer and chunk, its ratio to nginx, latency and memory, and whether the goals
are met. The gateway is bound to core 0, which is kept from halting, load and upstream to core 1; PostgreSQL may use
both.

Sets: c1, c16, c64, c256: whole answers for that many concurrent clients. s50, s200, s1000: that many concurrent streams
of 100 chunks, 20 ms apart. Other gateways must be running, with http://127.0.0.1:PORT/v1 of --upstream-port as OpenAI.
"""

import argparse
import asyncio
import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from benchmarks import start
from benchmarks.fleet import Fleet, free_port
from benchmarks.loss import server_version, surroundings
from benchmarks.relay.beside import agent_of, checkout_from
from benchmarks.relay.measure import Gateway, Run, lost_most_streams, measure
from benchmarks.relay.processes import awake, nginx, pin, upstream
from benchmarks.relay.profile import profile
from benchmarks.relay.report import AGENT, DIRECT, NGINX, Results, Start, report
from benchmarks.relay.workloads import LOAD_CORE, WORKLOADS, Target, Tools, Workload, missing

MODEL = "gpt-6-luna"
PATH = "/v1/chat/completions"
SHIP_SECONDS = 60.0
PROFILED = "c64,s200"  # the sets of --profile without --only
STARTS = 3
WARM_UP = Workload("warm", 1, seconds=2)  # one client: some gateways stop answering for good with two


@contextlib.asynccontextmanager
async def agent(openai_url: str, **settings: str) -> AsyncIterator[tuple[Fleet, Gateway]]:
    """Runs an agent with one user, a price, and budgets and limits that the load never reaches."""
    # More than there are clients: a client may send its next request before the agent has closed its last one.
    async with Fleet(openai_url, max_concurrent_requests="2000", **settings) as fleet:
        await fleet.set_up(1, {MODEL: ("0.10", "0.01", "0.50")})
        limits = ("--models", "gpt-6*", "--rpm", "100000000", "--tpm", "1000000000000", "--concurrency", "100000")
        await fleet.command("user", "set", "user0", *limits)
        await fleet.command("token", "set", "1", *limits)
        for owner in (("--user", "user0"), ("--token", "1")):
            await fleet.command("budget", "set", "1000000", *owner, "--period", "month")
        await fleet.agent.start()
        await fleet.agent.until_ready()
        yield (
            fleet,
            Gateway(
                name=AGENT,
                target=Target(fleet.agent.url + PATH, fleet.tokens[0], MODEL),
                pid=fleet.agent.pid,
                db_pid=int((fleet.folder / "p" / "pg" / "postmaster.pid").read_text().split("\n")[0]),
                settled=lambda: fleet.until_shipped(SHIP_SECONDS),
            ),
        )


async def run_all(tools: Tools, options: argparse.Namespace) -> tuple[list[Run], str]:
    """Returns all runs and PostgreSQL's version."""
    async with contextlib.AsyncExitStack() as stack:
        port = options.upstream_port or free_port()
        url = f"http://127.0.0.1:{port}{PATH}"
        await stack.enter_async_context(upstream(tools.upstream, port))
        await stack.enter_async_context(awake(tools.awake))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cgn")))
        proxy = await stack.enter_async_context(nginx(folder, port))
        fleet, own = await stack.enter_async_context(agent(url))
        beside = [await stack.enter_async_context(agent_of(checkout, url)) for checkout in options.beside]
        direct = Gateway(name=DIRECT, target=Target(url, "none", MODEL))
        proxy_target = Target(f"http://127.0.0.1:{proxy.port}{PATH}", "none", MODEL)
        plain = Gateway(name=NGINX, target=proxy_target, pid=proxy.pid)
        version = server_version(fleet.postgres.dsn)
        return await alternate(tools, [direct, plain, own, *beside, *options.gateway], options), version


async def alternate(tools: Tools, gateways: list[Gateway], options: argparse.Namespace) -> list[Run]:
    """Runs each set through each gateway in turn, `options.reps` times, in reverse order every second time."""
    for gateway in gateways:
        if gateway.pid:
            pin(gateway.pid)
        await tools.run(WARM_UP, gateway.target)
    runs: list[Run] = []
    excluded: set[str] = set()
    for repetition in range(options.reps):
        for workload in options.only:
            for gateway in gateways[:: -1 if repetition % 2 else 1]:
                if workload.rounds and gateway.name in excluded:
                    continue
                runs.append(await measure(tools, gateway, workload, repetition, wait=options.wait))
                if lost_most_streams(runs[-1], workload):
                    excluded.add(gateway.name)
                _print_progress(runs[-1])
    return runs


def _print_progress(run: Run) -> None:
    """Prints a run to standard error; the report goes to standard output."""
    cost = "" if run.cpu_us is None else f" {run.cpu_us:.0f} µs" + (f" + {run.db_us:.0f}" if run.db_us else "")
    print(f"{run.repetition + 1}: {run.workload} {run.gateway}{cost}, {run.result}", file=sys.stderr)


def measure_starts(count: int) -> list[Start]:
    """Starts an agent `count` times on the database that a first start has created."""
    folder = Path(tempfile.mkdtemp(prefix="agt"))
    folder.chmod(0o755)
    try:
        start.start(folder)
        return [Start(*start.start(folder)) for _ in range(count)]
    finally:
        shutil.rmtree(folder)


def gateway_from(text: str) -> Gateway:
    """Parses NAME=URL,TOKEN,MODEL,PID or PID+PID of its database. Raises argparse.ArgumentTypeError."""
    match = re.fullmatch(r"([^=|]+)=(http://127\.0\.0\.1:\d+/[^,]*),([^,]+),([^,]+),(\d+)(?:\+(\d+))?", text)
    if match is None:
        raise argparse.ArgumentTypeError("expected NAME=http://127.0.0.1:PORT/PATH,TOKEN,MODEL,PID[+PID]")
    name, url, token, model, *pids = match.groups("0")
    pid, db_pid = map(int, pids)
    for each in filter(None, (pid, db_pid)):
        if not Path(f"/proc/{each}").exists():
            raise argparse.ArgumentTypeError(f"process {each} does not exist")
    return Gateway(name=name, target=Target(url, token, model), pid=pid, db_pid=db_pid)


def sets_from(text: str) -> list[Workload]:
    """Returns sets by their names. Raises argparse.ArgumentTypeError."""
    names = text.split(",")
    if unknown := [name for name in names if name not in WORKLOADS]:
        raise argparse.ArgumentTypeError(f"unknown set {', '.join(unknown)}; the sets are {', '.join(WORKLOADS)}")
    return [WORKLOADS[name] for name in names]


def with_headers(gateways: list[Gateway], headers: list[str]) -> list[Gateway]:
    """Returns the gateways with the header fields that NAME:FIELD:VALUE adds to them."""
    extended = []
    for gateway in gateways:
        own = dict(header.split(":", 2)[1:] for header in headers if header.startswith(f"{gateway.name}:"))
        target = msgspec.structs.replace(gateway.target, headers=own)
        extended.append(msgspec.structs.replace(gateway, target=target))
    return extended


def published_command(args: list[str]) -> str:
    """Returns the command for a report, without the tokens of gateways, paths of checkouts and the output file."""
    published = []
    remaining = iter(args)
    for arg in remaining:
        if arg == "--output":
            next(remaining, None)
        elif arg == "--beside":
            published += [arg, next(remaining, "").partition("=")[0] + "=DIR"]
        elif arg.startswith("--beside="):
            published.append("=".join([*arg.split("=")[:2], "DIR"]))
        elif not arg.startswith("--output="):
            published.append(re.sub(r"(=http://[^,]+),[^,]+,", r"\1,TOKEN,", arg))
    return shlex.join(["python", "-m", "benchmarks.relay", *published])


def tool_versions() -> str:
    """Returns a line with the versions of nginx and wrk."""
    nginx_text = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=False).stderr
    wrk_text = subprocess.run(["wrk", "-v"], capture_output=True, text=True, check=False).stdout
    versions = re.findall(r"nginx/(\S+)", nginx_text) + re.findall(r"^wrk (\S+)", wrk_text)
    return "- beside it: nginx {}, wrk {}".format(*versions) if len(versions) == 2 else "- beside it: nginx, wrk"


def arguments() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.relay",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Example: python -m benchmarks.relay --reps 5 --output relay.md",
    )
    parser.add_argument("--only", type=sets_from, metavar="SETS", help="run these sets instead of all")
    parser.add_argument("--reps", type=int, default=3, help="repetitions of each set (3)")
    parser.add_argument("--wait", type=float, default=20.0, help="longest wait for a quiet machine, in seconds (20)")
    help_ = "another gateway, which is running: NAME=URL,TOKEN,MODEL,PID or PID+PID of its database"
    parser.add_argument("--gateway", type=gateway_from, action="append", default=[], metavar="GATEWAY", help=help_)
    help_ = "a header field for the requests to one gateway"
    parser.add_argument("--header", action="append", default=[], metavar="NAME:FIELD:VALUE", help=help_)
    help_ = "also run the agent of another checkout, which has its own .venv"
    parser.add_argument("--beside", type=checkout_from, action="append", default=[], metavar="NAME=DIR", help=help_)
    parser.add_argument("--upstream-port", type=int, default=0, metavar="PORT", help="port of the fake OpenAI")
    parser.add_argument("--profile", action="store_true", help=f"profile the agent instead ({PROFILED})")
    parser.add_argument("--output", type=Path, metavar="FILE", help="also write the report to this file, as Markdown")
    options = parser.parse_args()
    options.only = options.only or (sets_from(PROFILED) if options.profile else list(WORKLOADS.values()))
    if any(header.count(":") < 2 for header in options.header):
        parser.error("argument --header: expected NAME:FIELD:VALUE")
    names = [AGENT, NGINX, DIRECT, *(each.name for each in options.gateway + options.beside)]
    if len(names) > len(set(names)):
        parser.error(f"two gateways have the same name: {', '.join(names)}")
    options.gateway = with_headers(options.gateway, options.header)
    return options


async def run_benchmark(options: argparse.Namespace) -> str:
    """Returns the report, or the profile. Raises RuntimeError."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)  # so that all processes are stopped
    with tempfile.TemporaryDirectory(prefix="cgt") as folder:
        tools = Tools(Path(folder))
        await tools.build()
        if options.profile:
            port = options.upstream_port or free_port()
            async with upstream(tools.upstream, port), agent(f"http://127.0.0.1:{port}{PATH}") as (_, gateway):
                pin(gateway.pid)
                return await profile(tools, gateway, options.only, Path(folder))
        starts = await asyncio.to_thread(measure_starts, STARTS)
        runs, version = await run_all(tools, options)
        results = Results(runs, starts, [checkout.name for checkout in options.beside])
        return report(results, [*surroundings(published_command(sys.argv[1:]), version), tool_versions()])


def main() -> None:
    """Runs the benchmark and prints the report."""
    options = arguments()
    programs = ["cc", "wrk", "taskset"] + (["py-spy"] if options.profile else ["nginx"])
    if absent := missing(*programs):
        hint = "; `pip install py-spy` installs it" if "py-spy" in absent else ""
        sys.exit(f"not installed: {', '.join(absent)}{hint}")
    if len(os.sched_getaffinity(0)) <= LOAD_CORE:
        sys.exit("two cores are required: one for the gateway, one for the load")
    try:
        text = asyncio.run(run_benchmark(options))
    except RuntimeError as error:
        sys.exit(str(error))
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit("stopped")
    print(text)
    if options.output is not None:
        options.output.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
