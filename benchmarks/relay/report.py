"""The runs as Markdown: medians, ratios to nginx within each repetition, and what was to be reached. No I/O."""

import statistics
from collections.abc import Callable, Iterable

import msgspec

from benchmarks.relay.measure import Run
from benchmarks.relay.workloads import WORKS, Streams, Whole

AGENT, NGINX, DIRECT = "chatgpt-agent", "nginx", "direct"
_EXPLAINED = (
    "CPU is microseconds of the gateway's whole process tree for each answer or chunk, until it is idle again; that of "
    "its database stands apart. Ratios are of both together to nginx in the same repetition. Repetitions: {count}; "
    "figures are medians over them, counts are sums. A chunk's lateness is the time that the gateway held it."
)


class Start(msgspec.Struct, frozen=True):
    """Of one start of the agent on a database that exists: seconds until ready, MB when idle."""

    seconds: float
    idle_mb: float


class Goal(msgspec.Struct, frozen=True):
    """What was to be reached, what was, and whether that is enough."""

    what: str
    measured: str
    met: bool


class Results:
    """All runs of one call."""

    def __init__(self, runs: Iterable[Run], starts: Iterable[Start] = ()) -> None:
        self.runs = list(runs)
        self.starts = list(starts)
        self._by_key = {(run.gateway, run.work, run.repetition): run for run in self.runs}

    def of(self, gateway: str, work: str) -> list[Run]:
        """The runs of a gateway at a set."""
        return [run for run in self.runs if (run.gateway, run.work) == (gateway, work)]

    def ratio(self, gateway: str, work: str) -> float | None:
        """The median of CPU, database included, to nginx's in the same repetition."""
        ratios = []
        for run in self.of(gateway, work):
            plain = self._by_key.get((NGINX, work, run.repetition))
            if run.cpu_us is not None and plain is not None and plain.cpu_us:
                ratios.append((run.cpu_us + (run.db_us or 0.0)) / plain.cpu_us)
        return _median(ratios)

    def added(self, gateway: str, work: str, percentile: str) -> float | None:
        """The median of milliseconds over the direct upstream's in the same repetition."""
        added = []
        for run in self.of(gateway, work):
            direct = self._by_key.get((DIRECT, work, run.repetition))
            if isinstance(run.seen, Whole) and run.seen.ok and direct is not None:
                added.append(getattr(run.seen, percentile) - getattr(direct.seen, percentile))
        return _median(added)

    def median(self, gateway: str, work: str, figure: Callable[[Run], float | None]) -> float | None:
        """The median of a figure over the repetitions."""
        return _median([found for run in self.of(gateway, work) if (found := figure(run)) is not None])


def _median(values: list[float]) -> float | None:
    return statistics.median(values) if values else None


def show(value: float | None) -> str:
    """Three digits, or a count, or a dash."""
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def report(results: Results, surroundings: list[str]) -> str:
    """The whole report."""
    repetitions = 1 + max((run.repetition for run in results.runs), default=0)
    lines = [*surroundings, "", _EXPLAINED.format(count=repetitions)]
    for title, table in (
        ("What was to be reached", goals_table(goals(results))),
        ("Whole answers", whole_table(results)),
        ("Streams", streams_table(results)),
    ):
        if len(table) > 2:
            lines += ["", f"## {title}", "", *table]
    if results.runs:
        shares = [run.strangers for run in results.runs]
        told = f"{statistics.median(shares):.0%} in the median, {max(shares):.0%} at most"
        lines += ["", f"Share of the machine's CPU that other programs took during the runs: {told}."]
    return "\n".join(lines) + "\n"


def whole_table(results: Results) -> list[str]:
    """Whole answers, a line for each set and gateway."""
    heads = ("set", "gateway", "answers/s", "p50 ms", "p99 ms", "added p50 ms", "added p99 ms", "CPU µs", "database µs")
    lines = _head(2, *heads, "× nginx", "errors", "memory MB")
    for work, gateway, runs in _grouped(results, Whole):
        seen = [run.seen for run in runs if isinstance(run.seen, Whole)]
        figures: list[float | None] = [statistics.median(each.ok / each.seconds for each in seen)]
        for name in ("p50_ms", "p99_ms"):
            figures.append(_median([getattr(each, name) for each in seen if each.ok]))
        added = [None if gateway == DIRECT else results.added(gateway, work, name) for name in ("p50_ms", "p99_ms")]
        cells = [show(figure) for figure in (*figures, *added, *_costs(results, gateway, work))]
        errors = sum(each.errors for each in seen)
        lines.append(_line(work, gateway, *cells, str(errors), show(_memory(results, gateway, work))))
    return lines


def streams_table(results: Results) -> list[str]:
    """Streams, a line for each set and gateway."""
    heads = ("set", "gateway", "completed", "broken", "chunks/s", "first chunk p99 ms", "late p50 ms", "late p99 ms")
    lines = _head(2, *heads, "CPU µs", "database µs", "× nginx", "memory MB")
    for work, gateway, runs in _grouped(results, Streams):
        seen = [run.seen for run in runs if isinstance(run.seen, Streams)]
        asked = WORKS[work].clients * WORKS[work].rounds * len(seen)
        figures: list[float | None] = [statistics.median(each.chunks / each.seconds for each in seen)]
        for name in ("ttft_p99_ms", "late_p50_ms", "late_p99_ms"):
            figures.append(_median([getattr(each, name) for each in seen if each.chunks]))
        cells = [show(figure) for figure in (*figures, *_costs(results, gateway, work))]
        whole = f"{sum(each.completed for each in seen):,} / {asked:,}"
        failed = str(sum(_failed(each) for each in seen))
        lines.append(_line(work, gateway, whole, failed, *cells, show(_memory(results, gateway, work))))
    return lines


def goals_table(found: list[Goal]) -> list[str]:
    """What was to be reached, with the verdicts."""
    lines = [_line("goal", "measured", ""), "|---|---:|---|"]
    return lines + [_line(goal.what, goal.measured, "met" if goal.met else "**not met**") for goal in found]


def goals(results: Results) -> list[Goal]:
    """Those that something was measured for."""
    chunks_s = _stream(results, "s1000", lambda seen: seen.chunks / seen.seconds)
    found = [
        _at_most(30, results.ratio(AGENT, "c64"), "64 whole answers at once: CPU ≤ 30 × nginx (aim: 20 ×)"),
        _at_most(2.5, results.added(AGENT, "c1", "p50_ms"), "one at a time: added latency p50 ≤ 2.5 ms"),
        _at_most(10, results.added(AGENT, "c1", "p99_ms"), "one at a time: added latency p99 ≤ 10 ms"),
        _at_most(3, results.ratio(AGENT, "s200"), "200 streams: CPU of a chunk ≤ 3 × nginx (aim: 2 ×)"),
        _at_most(25, _stream(results, "s200", lambda seen: seen.late_p99_ms), "200 streams: lateness p99 ≤ 25 ms"),
        _at_most(0, _most(results, "s1000", _failed), "1,000 streams: none broken"),
        _at_least(28_000, chunks_s, "1,000 streams: ≥ 28,000 chunks/s"),
        _at_most(
            1000, _stream(results, "s1000", lambda seen: seen.ttft_p99_ms), "1,000 streams: first chunk p99 < 1 s"
        ),
        _at_most(150, _memory(results, AGENT, "s1000"), "1,000 streams: memory ≤ 150 MB"),
        _at_most(80, _median([start.idle_mb for start in results.starts]), "idle: memory ≤ 80 MB"),
        _at_most(1.5, _median([start.seconds for start in results.starts]), "start to ready ≤ 1.5 s"),
    ]
    return [goal for goal in found if goal is not None]


def _at_most(bound: float, value: float | None, what: str) -> Goal | None:
    return None if value is None else Goal(what, show(value), value <= bound)


def _at_least(bound: float, value: float | None, what: str) -> Goal | None:
    return None if value is None else Goal(what, show(value), value >= bound)


def _stream(results: Results, work: str, figure: Callable[[Streams], float]) -> float | None:
    return results.median(AGENT, work, lambda run: figure(run.seen) if isinstance(run.seen, Streams) else None)


def _most(results: Results, work: str, figure: Callable[[Streams], int]) -> int | None:
    return max((figure(run.seen) for run in results.of(AGENT, work) if isinstance(run.seen, Streams)), default=None)


def _failed(seen: Streams) -> int:
    return seen.errors + seen.broken + seen.unfinished


def _memory(results: Results, gateway: str, work: str) -> float | None:
    return results.median(gateway, work, lambda run: run.memory_mb)


def _costs(results: Results, gateway: str, work: str) -> tuple[float | None, float | None, float | None]:
    own = results.median(gateway, work, lambda run: run.cpu_us)
    return own, results.median(gateway, work, lambda run: run.db_us), results.ratio(gateway, work)


def _grouped(results: Results, kind: type) -> list[tuple[str, str, list[Run]]]:
    runs = [run for run in results.runs if isinstance(run.seen, kind)]
    names = list(dict.fromkeys(run.gateway for run in runs))
    return [(w, name, found) for w in WORKS for name in names if (found := results.of(name, w)) and found[0] in runs]


def _head(words: int, *names: str) -> list[str]:
    return [_line(*names), "|" + "---|" * words + "---:|" * (len(names) - words)]


def _line(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"
