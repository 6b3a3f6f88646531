"""Where the agent's time goes under a load: functions of Python as `py-spy` samples them from outside, and where `perf`
is installed and may, libraries and functions of C."""

import asyncio
import contextlib
import re
from collections import Counter
from pathlib import Path

from benchmarks.relay.measure import Gateway
from benchmarks.relay.workloads import Tools, Work, missing, output_of

LOOP = "_run_module_as_main"  # the outermost function of the event loop's thread, and of no other
SECONDS = 10
RATE = 250  # samples a second
TOP = 25


async def profile(tools: Tools, gateway: Gateway, works: list[Work], folder: Path) -> str:
    """What the functions took of each set, as Markdown."""
    await tools.run(Work("warm", 16, seconds=2), gateway.target)
    lines = []
    for work in works:
        load = asyncio.create_task(tools.run(_longer(work), gateway.target), name=f"load {work.name}")
        try:
            stacks = await sampled(gateway.pid, folder / f"{work.name}.txt")
        finally:
            with contextlib.suppress(RuntimeError):
                await load
        lines += [f"## {work.name}, the event loop's thread", "", *table(shares(stacks)), ""]
        if not missing("perf"):
            lines += await _native(tools, gateway, _longer(work), folder / f"{work.name}.perf")
    return "\n".join(lines)


def _longer(work: Work) -> Work:
    if work.seconds:
        return Work(work.name, work.clients, seconds=SECONDS + 3)
    return Work(work.name, work.clients, rounds=SECONDS // 2 + 1)


async def sampled(pid: int, file: Path) -> list[str]:
    """Stacks, outermost first, each with how often it was seen."""
    await asyncio.sleep(1.5)  # until the load is under way
    words = ("--duration", str(SECONDS), "--rate", str(RATE), "--function", "--format", "raw", "--output", str(file))
    await output_of("py-spy", "record", "--pid", str(pid), *words, seconds=SECONDS + 30)
    return (await asyncio.to_thread(file.read_text)).splitlines()


def shares(stacks: list[str]) -> list[tuple[str, float, float]]:
    """Of each function its share of the event loop's samples: by itself with what it calls in C, and with all that it
    calls. Other threads do not count: those that wait for work look the same to `py-spy` as those that do it."""
    own: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for stack in (stack for stack in stacks if stack.startswith(LOOP)):
        text, _, count = stack.rpartition(" ")
        frames = [_short(frame) for frame in text.split(";")]
        own[frames[-1]] += int(count)
        for frame in set(frames):
            total[frame] += int(count)
    samples = sum(own.values()) or 1
    return [(name, own[name] / samples, total[name] / samples) for name, _ in total.most_common()]


def _short(frame: str) -> str:
    """Without the folders above the package."""
    return re.sub(r"\((?:\S*/)?(?:site-packages|python3\.\d+|chatgpt-agent)/", "(", frame)


def table(found: list[tuple[str, float, float]]) -> list[str]:
    """The dearest functions by themselves, then with what they call."""
    lines = ["| function | itself | with callees |", "|---|---:|---:|"]
    own = sorted(found, key=lambda each: -each[1])[:TOP]
    total = [each for each in found if each not in own and each[2] < 0.99][:TOP]  # without what is around everything
    return lines + [f"| `{name}` | {itself:.1%} | {whole:.1%} |" for name, itself, whole in own + total]


async def _native(tools: Tools, gateway: Gateway, work: Work, file: Path) -> list[str]:
    load = asyncio.create_task(tools.run(work, gateway.target), name=f"load {work.name}")
    try:
        await asyncio.sleep(1.5)
        words = ("record", "-e", "cpu-clock", "-F", "499", "-p", str(gateway.pid), "-o", str(file))
        await output_of("perf", *words, "--", "sleep", str(SECONDS), seconds=SECONDS + 30)
        lines = ["All threads, as `perf` sees them:", ""]
        for sort, top in (("dso", 12), ("dso,symbol", TOP)):
            told = await output_of("perf", "report", "-i", str(file), "--stdio", "--sort", sort, seconds=120)
            told_lines = [line.split("  -  ")[0].strip() for line in told.decode("utf-8", "replace").splitlines()]
            kept = [line for line in told_lines if line and not line.startswith("#")]
            lines += ["```", *kept[:top], "```", ""]
        return lines
    except RuntimeError as error:
        return [f"perf: {error}", ""]
    finally:
        with contextlib.suppress(RuntimeError):
            await load
