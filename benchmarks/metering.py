"""Compares what metering costs in two checkouts: `python -m benchmarks.metering --beside NAME=DIR [--reps N]`.

Both read the same answers of chat completions and of responses, whole and as streams of a hundred chunks, settle them,
and encode their rows as the outbox does. The checkouts run in turn, many times, because the machine's speed drifts by
more than most changes cost. Exit code 1 if an answer costs this checkout more than 3 % of a request beyond the other.
"""

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from benchmarks.relay.beside import Checkout, checkout_from

WORKER = Path(__file__).with_name("meter_answers.py")
COUNTS = {"chat": 800, "responses": 500, "chat-stream": 30, "responses-stream": 40}  # of a run of about 0.01 s
REQUEST_US = 400.0  # processor time of a whole request, docs/performance.md
CHUNK_US = 40.0  # and of each chunk of a stream
CHUNKS = 100  # of a stream in meter_answers.py
MAX_GROWTH = 0.03  # of a request


class Sample(msgspec.Struct, frozen=True):
    """Processor time for one answer in µs, in one repetition: of this checkout and of the other."""

    own: float
    other: float


class Growth(msgspec.Struct, frozen=True):
    """What samples show: medians in µs, the ratio of this checkout to the other, and the difference as a share of a
    request."""

    own: float
    other: float
    ratio: float
    of_request: float


def growth(samples: Sequence[Sample], request_us: float) -> Growth:
    """Returns the medians of the samples; ratio and difference are those within a repetition."""
    return Growth(
        own=statistics.median(sample.own for sample in samples),
        other=statistics.median(sample.other for sample in samples),
        ratio=statistics.median(sample.own / sample.other for sample in samples),
        of_request=statistics.median(sample.own - sample.other for sample in samples) / request_us,
    )


def request_us(kind: str) -> float:
    """Returns the processor time of a whole request with an answer of this kind, in µs."""
    return REQUEST_US + (CHUNKS * CHUNK_US if kind.endswith("stream") else 0)


class Worker:
    """A process that meters answers with the rules of a checkout."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def microseconds(self, kind: str, count: int) -> float:
        """Returns the processor time for an answer of a kind. Raises RuntimeError if the process has ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{kind} {count}\n")
        self._process.stdin.flush()
        if not (line := self._process.stdout.readline()):
            raise RuntimeError("the process that meters answers has ended")
        return float(line) / 1000


@contextmanager
def worker(checkout: Checkout) -> Iterator[Worker]:
    """Runs a worker with a checkout's own environment."""
    # -P: the modules beside the worker belong to this checkout.
    command = (checkout.folder / ".venv/bin/python", "-P", WORKER)
    environment = os.environ | {"PYTHONPATH": str(checkout.folder)}
    with subprocess.Popen(
        command, cwd=checkout.folder, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        yield Worker(process)
        assert process.stdin is not None
        process.stdin.close()  # this ends the worker


def measure(own: Worker, other: Worker, reps: int) -> dict[str, list[Sample]]:
    """Returns the samples of each kind of answer. Every second time the other checkout runs first."""
    samples: dict[str, list[Sample]] = {kind: [] for kind in COUNTS}
    for repetition in range(reps + 1):
        for kind, count in COUNTS.items():
            order = (own, other) if repetition % 2 else (other, own)
            times = {side: side.microseconds(kind, count) for side in order}
            if repetition:  # the first one warms up
                samples[kind].append(Sample(times[own], times[other]))
    return samples


def report(name: str, results: dict[str, Growth]) -> str:
    """Returns a table as Markdown."""
    lines = [
        f"| answer | µs | µs, {name} | ratio | growth, of a request |",
        "|---|---:|---:|---:|---:|",
    ]
    for kind, each in results.items():
        cells = (f"{each.own:.1f}", f"{each.other:.1f}", f"{each.ratio:.3f}", f"{each.of_request:+.2%}")
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> int:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.metering",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--beside", type=checkout_from, required=True, metavar="NAME=DIR", help="the other checkout")
    parser.add_argument("--reps", type=int, default=201, help="how often each kind of answer is metered (201)")
    options = parser.parse_args()
    here = Checkout("this checkout", Path(__file__).resolve().parents[1])
    with ExitStack() as stack:
        own, other = (stack.enter_context(worker(checkout)) for checkout in (here, options.beside))
        samples = measure(own, other, options.reps)
    results = {kind: growth(each, request_us(kind)) for kind, each in samples.items()}
    print(report(options.beside.name, results))
    return int(any(each.of_request > MAX_GROWTH for each in results.values()))


if __name__ == "__main__":
    sys.exit(main())
