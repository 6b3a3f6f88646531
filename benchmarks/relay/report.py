"""The runs as Markdown: medians, ratios within each repetition, and the verdict on each goal. No I/O."""

import statistics
from collections.abc import Callable, Iterable

import msgspec

from benchmarks.relay.measure import Run
from benchmarks.relay.workloads import WORKLOADS, Streams, Whole

AGENT, NGINX, DIRECT = "chatgpt-agent", "nginx", "direct"
_EXPLANATION = (
    "CPU is in microseconds of the gateway's whole process tree for each answer or chunk, until it is idle again; its "
    "database has a column of its own. A ratio is the CPU of both together, divided by nginx's in the same repetition. "
    "Repetitions: {count}; figures are medians over them, counts are sums. A chunk's lateness is the time that the "
    "gateway held it."
)


class Start(msgspec.Struct, frozen=True):
    """One start of the agent on an existing database: seconds until ready, MB of memory when idle."""

    seconds: float
    idle_mb: float


class Goal(msgspec.Struct, frozen=True):
    """A goal, the measured value, and whether the value meets the goal."""

    description: str
    measured: str
    met: bool


class Results:
    """All runs of one invocation. `beside` are the names of the agents of other checkouts."""

    def __init__(self, runs: Iterable[Run], starts: Iterable[Start] = (), beside: Iterable[str] = ()) -> None:
        self.runs = list(runs)
        self.starts = list(starts)
        self.beside = list(beside)
        self._by_key = {(run.gateway, run.workload, run.repetition): run for run in self.runs}

    def select(self, gateway: str, workload: str) -> list[Run]:
        """Returns the runs of a workload through a gateway."""
        return [run for run in self.runs if (run.gateway, run.workload) == (gateway, workload)]

    def ratios(self, gateway: str, workload: str, reference: str) -> list[float]:
        """Returns the CPU of a gateway and its database divided by that of `reference`, for each repetition."""
        ratios = []
        for run in self.select(gateway, workload):
            other = self._by_key.get((reference, workload, run.repetition))
            if run.total_us is not None and other is not None and other.total_us:
                ratios.append(run.total_us / other.total_us)
        return ratios

    def ratio(self, gateway: str, workload: str) -> float | None:
        """Returns the median of the ratios to nginx."""
        return _median(self.ratios(gateway, workload, NGINX))

    def added(self, gateway: str, workload: str, percentile: str) -> float | None:
        """Returns the median of the latency beyond the direct upstream's in the same repetition, in milliseconds."""
        added = []
        for run in self.select(gateway, workload):
            direct = self._by_key.get((DIRECT, workload, run.repetition))
            if isinstance(run.result, Whole) and run.result.ok and direct is not None:
                added.append(getattr(run.result, percentile) - getattr(direct.result, percentile))
        return _median(added)

    def median(self, gateway: str, workload: str, figure: Callable[[Run], float | None]) -> float | None:
        """Returns the median of a figure over the repetitions that have it."""
        values = [figure(run) for run in self.select(gateway, workload)]
        return _median([value for value in values if value is not None])


def _median(values: list[float]) -> float | None:
    return statistics.median(values) if values else None


def show(value: float | None) -> str:
    """Returns a count in full, another number with about three digits, and a dash for None."""
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def report(results: Results, surroundings: list[str]) -> str:
    """Returns the whole report."""
    repetitions = 1 + max((run.repetition for run in results.runs), default=0)
    lines = [*surroundings, "", _EXPLANATION.format(count=repetitions)]
    for title, table in (
        ("Goals", goals_table(goals(results))),
        ("Beside other checkouts", beside_table(results)),
        ("Whole answers", whole_table(results)),
        ("Streams", streams_table(results)),
    ):
        if len(table) > 2:
            lines += ["", f"## {title}", "", *table]
    if results.runs:
        shares = [run.others_share for run in results.runs]
        text = f"{statistics.median(shares):.0%} in the median, {max(shares):.0%} at most"
        lines += ["", f"Share of the machine's CPU that other programs took during the runs: {text}."]
    return "\n".join(lines) + "\n"


def whole_table(results: Results) -> list[str]:
    """Returns the table of whole answers, with a row for each set and gateway."""
    heads = ("set", "gateway", "answers/s", "p50 ms", "p99 ms", "added p50 ms", "added p99 ms", "CPU µs", "database µs")
    lines = _head(2, *heads, "× nginx", "errors", "memory MB")
    for workload, gateway, runs in _grouped(results, Whole):
        answers = [run.result for run in runs if isinstance(run.result, Whole)]
        figures: list[float | None] = [statistics.median(each.ok / each.seconds for each in answers)]
        for name in ("p50_ms", "p99_ms"):
            figures.append(_median([getattr(each, name) for each in answers if each.ok]))
        for name in ("p50_ms", "p99_ms"):
            figures.append(None if gateway == DIRECT else results.added(gateway, workload, name))
        cells = [show(figure) for figure in (*figures, *_costs(results, gateway, workload))]
        errors = sum(each.errors for each in answers)
        lines.append(_row(workload, gateway, *cells, str(errors), show(_memory(results, gateway, workload))))
    return lines


def streams_table(results: Results) -> list[str]:
    """Returns the table of streams, with a row for each set and gateway."""
    heads = ("set", "gateway", "completed", "broken", "chunks/s", "first chunk p99 ms", "late p50 ms", "late p99 ms")
    lines = _head(2, *heads, "CPU µs", "database µs", "× nginx", "memory MB")
    for workload, gateway, runs in _grouped(results, Streams):
        streams = [run.result for run in runs if isinstance(run.result, Streams)]
        started = WORKLOADS[workload].clients * WORKLOADS[workload].rounds * len(streams)
        figures: list[float | None] = [statistics.median(each.chunks / each.seconds for each in streams)]
        for name in ("ttft_p99_ms", "late_p50_ms", "late_p99_ms"):
            figures.append(_median([getattr(each, name) for each in streams if each.chunks]))
        cells = [show(figure) for figure in (*figures, *_costs(results, gateway, workload))]
        completed = f"{sum(each.completed for each in streams):,} / {started:,}"
        failed = str(sum(_failed(each) for each in streams))
        lines.append(_row(workload, gateway, completed, failed, *cells, show(_memory(results, gateway, workload))))
    return lines


def beside_table(results: Results) -> list[str]:
    """Returns the CPU of this checkout's agent divided by that of each other checkout, with a row for each set."""
    lines = _head(2, "set", "beside", "CPU ratio", "lowest", "highest")
    for workload in WORKLOADS:
        for name in results.beside:
            if ratios := results.ratios(AGENT, workload, name):
                lines.append(_row(workload, name, *map(show, (statistics.median(ratios), min(ratios), max(ratios)))))
    return lines


def goals_table(all_goals: list[Goal]) -> list[str]:
    """Returns the table of goals with their verdicts."""
    lines = [_row("goal", "measured", ""), "|---|---:|---|"]
    return lines + [_row(goal.description, goal.measured, "met" if goal.met else "**not met**") for goal in all_goals]


def goals(results: Results) -> list[Goal]:
    """Returns the goals for which these results have a value."""
    chunks_s = _stream(results, "s1000", lambda streams: streams.chunks / streams.seconds)
    first_ms = _stream(results, "s1000", lambda streams: streams.ttft_p99_ms)
    late_ms = _stream(results, "s200", lambda streams: streams.late_p99_ms)
    candidates = [
        _at_most(30, results.ratio(AGENT, "c64"), "64 whole answers at once: CPU ≤ 30 × nginx (aim: 20 ×)"),
        _at_most(2.5, results.added(AGENT, "c1", "p50_ms"), "one at a time: added latency p50 ≤ 2.5 ms"),
        _at_most(10, results.added(AGENT, "c1", "p99_ms"), "one at a time: added latency p99 ≤ 10 ms"),
        _at_most(3, results.ratio(AGENT, "s200"), "200 streams: CPU of a chunk ≤ 3 × nginx (aim: 2 ×)"),
        _at_most(25, late_ms, "200 streams: lateness p99 ≤ 25 ms"),
        _at_most(0, _maximum(results, "s1000", _failed), "1,000 streams: none broken"),
        _at_least(28_000, chunks_s, "1,000 streams: ≥ 28,000 chunks/s"),
        _at_most(1000, first_ms, "1,000 streams: first chunk p99 < 1 s"),
        _at_most(150, _memory(results, AGENT, "s1000"), "1,000 streams: memory ≤ 150 MB"),
        _at_most(80, _median([start.idle_mb for start in results.starts]), "idle: memory ≤ 80 MB"),
        _at_most(1.5, _median([start.seconds for start in results.starts]), "start to ready ≤ 1.5 s"),
    ]
    return [goal for goal in candidates if goal is not None]


def _at_most(bound: float, value: float | None, description: str) -> Goal | None:
    return None if value is None else Goal(description, show(value), value <= bound)


def _at_least(bound: float, value: float | None, description: str) -> Goal | None:
    return None if value is None else Goal(description, show(value), value >= bound)


def _stream(results: Results, workload: str, figure: Callable[[Streams], float]) -> float | None:
    return results.median(AGENT, workload, lambda run: figure(run.result) if isinstance(run.result, Streams) else None)


def _maximum(results: Results, workload: str, figure: Callable[[Streams], int]) -> int | None:
    streams = [run.result for run in results.select(AGENT, workload) if isinstance(run.result, Streams)]
    return max(map(figure, streams), default=None)


def _failed(streams: Streams) -> int:
    return streams.errors + streams.broken + streams.unfinished


def _memory(results: Results, gateway: str, workload: str) -> float | None:
    return results.median(gateway, workload, lambda run: run.memory_mb)


def _costs(results: Results, gateway: str, workload: str) -> tuple[float | None, float | None, float | None]:
    cpu = results.median(gateway, workload, lambda run: run.cpu_us)
    return cpu, results.median(gateway, workload, lambda run: run.db_us), results.ratio(gateway, workload)


def _grouped(results: Results, kind: type) -> list[tuple[str, str, list[Run]]]:
    names = dict.fromkeys(run.gateway for run in results.runs)
    groups = [(workload, name, results.select(name, workload)) for workload in WORKLOADS for name in names]
    return [group for group in groups if group[2] and isinstance(group[2][0].result, kind)]


def _head(texts: int, *names: str) -> list[str]:
    return [_row(*names), "|" + "---|" * texts + "---:|" * (len(names) - texts)]


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"
