"""Profiles the agent under load: Python functions with `py-spy`, and libraries and C functions with `perf` if it is
installed and permitted."""

import asyncio
import contextlib
import re
from collections import Counter
from pathlib import Path

from benchmarks.relay.measure import Gateway
from benchmarks.relay.workloads import Tools, Workload, missing, output_of

LOOP = "_run_module_as_main"  # the outermost function of the event loop's thread; no other thread has it
SECONDS = 10
RATE = 250  # samples a second
TOP = 25  # functions in a table
WARM_UP_SECONDS = 1.5  # from the start of a load to the first sample


async def profile(tools: Tools, gateway: Gateway, workloads: list[Workload], folder: Path) -> str:
    """Returns the share of each function in the CPU time of each workload, as Markdown."""
    await tools.run(Workload("warm", 16, seconds=2), gateway.target)
    lines = []
    for workload in workloads:
        load = asyncio.create_task(tools.run(_longer(workload), gateway.target), name=f"load {workload.name}")
        try:
            stacks = await sample(gateway.pid, folder / f"{workload.name}.txt")
        finally:
            with contextlib.suppress(RuntimeError):
                await load
        lines += [f"## {workload.name}, the event loop's thread", "", *table(shares(stacks)), ""]
        if not missing("perf"):
            lines += await _profile_native(tools, gateway, _longer(workload), folder / f"{workload.name}.perf")
    return "\n".join(lines)


def _longer(workload: Workload) -> Workload:
    if workload.seconds:
        return Workload(workload.name, workload.clients, seconds=SECONDS + 3)
    return Workload(workload.name, workload.clients, rounds=SECONDS // 2 + 1)


async def sample(pid: int, file: Path) -> list[str]:
    """Returns the sampled stacks, outermost function first, each followed by its number of samples."""
    await asyncio.sleep(WARM_UP_SECONDS)
    options = ("--duration", str(SECONDS), "--rate", str(RATE), "--function", "--format", "raw", "--output", str(file))
    await output_of("py-spy", "record", "--pid", str(pid), *options, seconds=SECONDS + 30)
    return (await asyncio.to_thread(file.read_text)).splitlines()


def shares(stacks: list[str]) -> list[tuple[str, float, float]]:
    """Returns each function with its own share of the event loop's samples, which includes the C functions that it
    calls, and with the share of all its callees. Other threads do not count, because `py-spy` cannot tell whether they
    work or wait for work."""
    own: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for stack in (stack for stack in stacks if stack.startswith(LOOP)):
        text, _, count = stack.rpartition(" ")
        frames = [_shorten(frame) for frame in text.split(";")]
        own[frames[-1]] += int(count)
        for frame in set(frames):
            total[frame] += int(count)
    samples = sum(own.values()) or 1
    return [(name, own[name] / samples, total[name] / samples) for name, _ in total.most_common()]


def _shorten(frame: str) -> str:
    """Removes the folders above the package."""
    return re.sub(r"\((?:\S*/)?(?:site-packages|python3\.\d+|chatgpt-agent)/", "(", frame)


def table(functions: list[tuple[str, float, float]]) -> list[str]:
    """Returns the most expensive functions by themselves, then those with the most expensive callees."""
    lines = ["| function | itself | with callees |", "|---|---:|---:|"]
    own = sorted(functions, key=lambda function: -function[1])[:TOP]
    # Functions with 99 % of the samples only enclose everything else.
    total = [function for function in functions if function not in own and function[2] < 0.99][:TOP]
    return lines + [f"| `{name}` | {itself:.1%} | {whole:.1%} |" for name, itself, whole in own + total]


async def _profile_native(tools: Tools, gateway: Gateway, workload: Workload, file: Path) -> list[str]:
    load = asyncio.create_task(tools.run(workload, gateway.target), name=f"load {workload.name}")
    try:
        await asyncio.sleep(WARM_UP_SECONDS)
        options = ("-e", "cpu-clock", "-F", "499", "-p", str(gateway.pid), "-o", str(file))
        await output_of("perf", "record", *options, "--", "sleep", str(SECONDS), seconds=SECONDS + 30)
        lines = ["All threads, sampled by `perf`:", ""]
        for sort, top in (("dso", 12), ("dso,symbol", TOP)):
            output = await output_of("perf", "report", "-i", str(file), "--stdio", "--sort", sort, seconds=120)
            rows = [line.split("  -  ")[0].strip() for line in output.decode("utf-8", "replace").splitlines()]
            lines += ["```", *[row for row in rows if row and not row.startswith("#")][:top], "```", ""]
        return lines
    except RuntimeError as error:
        return [f"perf: {error}", ""]
    finally:
        with contextlib.suppress(RuntimeError):
            await load
