"""What does relaying cost? `python -m benchmarks.relay [--only c64,s200] [--reps N] [--gateway …] [--profile]`.

Starts a fake OpenAI that is never the bottleneck, nginx as a plain reverse proxy, and an agent with its own PostgreSQL,
with budgets and limits set; asks each in turn the same work, and the upstream directly; prints CPU time for each
answer and chunk, its ratio to nginx, latency and memory, and whether the goals are met. The gateway has core 0, the
load and the upstream have core 1; PostgreSQL runs where it likes.

Sets: c1, c16, c64, c256: whole answers at that many at once. s50, s200, s1000: that many streams at once, of 100 chunks
20 ms apart. Other gateways must run already, with http://127.0.0.1:PORT/v1 of --upstream-port as OpenAI.
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
from benchmarks.relay.measure import Gateway, Run, measure, sank
from benchmarks.relay.processes import nginx, pin, upstream
from benchmarks.relay.profile import profile
from benchmarks.relay.report import AGENT, DIRECT, NGINX, Results, Start, report
from benchmarks.relay.workloads import LOAD_CORE, WORKS, Target, Tools, Work, missing

MODEL = "gpt-4o-mini"
PATH = "/v1/chat/completions"
SHIP_SECONDS = 60.0
PROFILED = "c64,s200"  # where nothing else is asked for
STARTS = 3
WARM = Work("warm", 1, seconds=2)  # some stand still for good as soon as two are at once: they have a c1 all the same


@contextlib.asynccontextmanager
async def agent(openai_url: str, **settings: str) -> AsyncIterator[tuple[Fleet, Gateway]]:
    """A ready agent with a user who has a price, budgets and limits, none of which is ever reached."""
    # More at once than there are clients: one that has its last byte asks anew before its first request is let go.
    async with Fleet(openai_url, max_concurrent_requests="2000", **settings) as fleet:
        await fleet.set_up(1, {MODEL: ("0.15", "0.075", "0.60")})
        limits = ("--models", "gpt-4o*", "--rpm", "100000000", "--tpm", "1000000000000", "--concurrency", "100000")
        await fleet.command("user", "set", "user0", *limits)
        await fleet.command("token", "set", "1", *limits)
        for whose in (("--user", "user0"), ("--token", "1")):
            await fleet.command("budget", "set", "1000000", *whose, "--period", "month")
        await fleet.agent.start()
        await fleet.agent.until_ready()
        server = int((fleet.folder / "p" / "pg" / "postmaster.pid").read_text().split("\n")[0])
        target = Target(fleet.agent.url + PATH, fleet.tokens[0], MODEL)
        yield fleet, Gateway(AGENT, target, fleet.agent.pid, server, lambda: fleet.until_shipped(SHIP_SECONDS))


async def run_all(tools: Tools, options: argparse.Namespace) -> tuple[list[Run], str]:
    """All runs, in alternation, and PostgreSQL's version."""
    async with contextlib.AsyncExitStack() as stack:
        port = options.upstream_port or free_port()
        await stack.enter_async_context(upstream(tools.upstream, port))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cgn")))
        plain = await stack.enter_async_context(nginx(folder, port))
        fleet, ours = await stack.enter_async_context(agent(f"http://127.0.0.1:{port}{PATH}"))
        direct = Gateway(DIRECT, Target(f"http://127.0.0.1:{port}{PATH}", "none", MODEL))
        beside = Gateway(NGINX, Target(f"http://127.0.0.1:{plain.port}{PATH}", "none", MODEL), plain.pid)
        version = server_version(fleet.postgres.dsn)
        runs = await alternate(tools, [direct, beside, ours, *options.gateway], options)
        return runs, version


async def alternate(tools: Tools, gateways: list[Gateway], options: argparse.Namespace) -> list[Run]:
    """Each set of each gateway in turn, as often as is wanted."""
    for gateway in gateways:
        if gateway.pid:
            pin(gateway.pid)
        await tools.run(WARM, gateway.target)
    runs: list[Run] = []
    sunk: set[str] = set()
    for repetition in range(options.reps):
        for work in options.only:
            for gateway in gateways:
                if work.rounds and gateway.name in sunk:
                    continue
                runs.append(await measure(tools, gateway, work, repetition, options.wait))
                if sank(runs[-1], work):
                    sunk.add(gateway.name)
                _tell(runs[-1])
    return runs


def _tell(run: Run) -> None:
    """Prints a run as it ends, to standard error: the report comes to standard output."""
    cost = "" if run.cpu_us is None else f" {run.cpu_us:.0f} µs" + (f" + {run.db_us:.0f}" if run.db_us else "")
    print(f"{run.repetition + 1}: {run.work} {run.gateway}{cost}, {run.seen}", file=sys.stderr)


def starts(count: int) -> list[Start]:
    """Starts of an agent of its own, on the database that a first one made."""
    folder = Path(tempfile.mkdtemp(prefix="cga"))
    folder.chmod(0o755)
    try:
        start.start(folder)
        return [Start(*start.start(folder)) for _ in range(count)]
    finally:
        shutil.rmtree(folder)


def gateway_from(words: str) -> Gateway:
    """A gateway from NAME=URL,TOKEN,MODEL,PID, where PID may be PID+PID of its database. Raises ValueError."""
    found = re.fullmatch(r"([^=|]+)=(http://127\.0\.0\.1:\d+/[^,]*),([^,]+),([^,]+),(\d+)(?:\+(\d+))?", words)
    if found is None:
        raise argparse.ArgumentTypeError("is not NAME=http://127.0.0.1:PORT/PATH,TOKEN,MODEL,PID[+PID]")
    name, url, token, model, *pids = found.groups("0")
    pid, database = map(int, pids)
    for each in filter(None, (pid, database)):
        if not Path(f"/proc/{each}").exists():
            raise argparse.ArgumentTypeError(f"there is no process {each}")
    return Gateway(name, Target(url, token, model), pid, database)


def sets_from(words: str) -> list[Work]:
    """Sets by name. Raises ValueError."""
    if unknown := [name for name in words.split(",") if name not in WORKS]:
        raise argparse.ArgumentTypeError(f"there is no set {', '.join(unknown)}: they are {', '.join(WORKS)}")
    return [WORKS[name] for name in words.split(",")]


def with_headers(gateways: list[Gateway], headers: list[str]) -> list[Gateway]:
    """The gateways with their NAME:FIELD:VALUE."""
    found = []
    for gateway in gateways:
        own = dict(header.split(":", 2)[1:] for header in headers if header.startswith(f"{gateway.name}:"))
        target = msgspec.structs.replace(gateway.target, headers=own)
        found.append(msgspec.structs.replace(gateway, target=target))
    return found


def told(words: list[str]) -> str:
    """The command for a report: without others' tokens, and without where the report goes."""
    kept = []
    following = iter(words)
    for word in following:
        if word == "--output":
            next(following, None)
        elif not word.startswith("--output="):
            kept.append(re.sub(r"(=http://[^,]+),[^,]+,", r"\1,TOKEN,", word))
    return shlex.join(["python", "-m", "benchmarks.relay", *kept])


def versions() -> str:
    """Those of the programs beside the agent."""
    nginx_ = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=False).stderr
    wrk = subprocess.run(["wrk", "-v"], capture_output=True, text=True, check=False).stdout
    found = re.findall(r"nginx/(\S+)", nginx_) + re.findall(r"^wrk (\S+)", wrk)
    return "- beside it: nginx {}, wrk {}".format(*found) if len(found) == 2 else "- beside it: nginx, wrk"


def arguments() -> argparse.Namespace:
    """What is asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.relay",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Example: python -m benchmarks.relay --reps 5 --output relay.md",
    )
    parser.add_argument("--only", type=sets_from, metavar="SETS", help="instead of all")
    parser.add_argument("--reps", type=int, default=3, help="how often each set is asked of each (3)")
    parser.add_argument("--wait", type=float, default=20.0, help="seconds to wait for a quiet machine at most (20)")
    help_ = "another gateway, which runs: NAME=URL,TOKEN,MODEL,PID or PID+PID of its database"
    parser.add_argument("--gateway", type=gateway_from, action="append", default=[], metavar="GATEWAY", help=help_)
    help_ = "a field of the requests to one"
    parser.add_argument("--header", action="append", default=[], metavar="NAME:FIELD:VALUE", help=help_)
    parser.add_argument("--upstream-port", type=int, default=0, metavar="PORT", help="of the fake OpenAI; else a free")
    parser.add_argument("--profile", action="store_true", help=f"show where the agent's time goes ({PROFILED})")
    parser.add_argument("--output", type=Path, metavar="FILE", help="where the report goes as Markdown")
    options = parser.parse_args()
    options.only = options.only or (sets_from(PROFILED) if options.profile else list(WORKS.values()))
    if any(header.count(":") < 2 for header in options.header):
        parser.error("argument --header: is not NAME:FIELD:VALUE")
    options.gateway = with_headers(options.gateway, options.header)
    return options


async def measured(options: argparse.Namespace) -> str:
    """The report, or the profile. Raises RuntimeError."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)  # what was started ends also then
    with tempfile.TemporaryDirectory(prefix="cgt") as folder:
        tools = Tools(Path(folder))
        await tools.build()
        if options.profile:
            port = options.upstream_port or free_port()
            async with upstream(tools.upstream, port), agent(f"http://127.0.0.1:{port}{PATH}") as (_, ours):
                pin(ours.pid)
                return await profile(tools, ours, options.only, Path(folder))
        begun = await asyncio.to_thread(starts, STARTS)
        runs, version = await run_all(tools, options)
        return report(Results(runs, begun), [*surroundings(told(sys.argv[1:]), version), versions()])


def main() -> None:
    """Runs and prints."""
    options = arguments()
    wanted = ["cc", "wrk", "taskset"] + (["py-spy"] if options.profile else ["nginx"])
    if absent := missing(*wanted):
        hint = "; `pip install py-spy` brings that" if "py-spy" in absent else ""
        sys.exit(f"not installed here: {', '.join(absent)}{hint}")
    if len(os.sched_getaffinity(0)) <= LOAD_CORE:
        sys.exit("two cores are needed: one for the gateway, one for the load")
    try:
        text = asyncio.run(measured(options))
    except RuntimeError as error:
        sys.exit(str(error))
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit("stopped")
    print(text)
    if options.output is not None:
        options.output.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
