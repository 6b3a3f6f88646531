"""Arithmetic of the benchmarks, on invented runs."""

import argparse
import os

import msgspec
import pytest

from benchmarks.metering import COUNTS, Sample, Worker, growth, measure, request_us
from benchmarks.relay import profile
from benchmarks.relay.__main__ import gateway_from, published_command, sets_from
from benchmarks.relay.measure import Run, count_units, lost_most_streams, microseconds_each
from benchmarks.relay.report import AGENT, DIRECT, NGINX, Results, Start, beside_table, goals, report
from benchmarks.relay.workloads import WORKLOADS, Streams, Target, Whole, lua, raw_request

STREAMS = Streams(
    completed=400,
    errors=0,
    broken=0,
    unfinished=0,
    chunks=40_000,
    seconds=5.0,
    ttft_p99_ms=40.0,
    late_p50_ms=1.0,
    late_p99_ms=20.0,
)
ANSWERS = Whole(ok=3000, errors=0, seconds=3.0, p50_ms=1.0, p99_ms=2.0)


def whole_run(
    gateway: str, cpu_us: float | None, *, workload: str = "c64", repetition: int = 0, ms: float = 1.0
) -> Run:
    """Returns a run of whole answers with a p50 of `ms` and a p99 of twice that."""
    return Run(
        gateway=gateway,
        workload=workload,
        repetition=repetition,
        result=msgspec.structs.replace(ANSWERS, p50_ms=ms, p99_ms=2 * ms),
        cpu_us=cpu_us,
        db_us=None if gateway in (NGINX, DIRECT) else 50.0,
        memory_mb=60.0,
    )


def stream_runs(workload: str, streams: Streams = STREAMS, cpu_us: float = 60.0) -> list[Run]:
    """Returns a run of nginx at 20 µs a chunk and a run of the agent."""
    return [
        Run(gateway=NGINX, workload=workload, repetition=0, result=streams, cpu_us=20.0),
        Run(gateway=AGENT, workload=workload, repetition=0, result=streams, cpu_us=cpu_us, db_us=0.0, memory_mb=120.0),
    ]


def verdicts(results: Results) -> dict[str, bool]:
    """Returns for each measured goal whether it is met."""
    return {goal.description.partition(" (")[0]: goal.met for goal in goals(results)}


def test_ratio_is_within_a_repetition_and_counts_the_database() -> None:
    """The ratio does not change when the machine is half as fast in one repetition."""
    first = [whole_run(NGINX, 25), whole_run(AGENT, 450)]
    second = [whole_run(NGINX, 50, repetition=1), whole_run(AGENT, 950, repetition=1)]
    assert Results([*first, *second]).ratio(AGENT, "c64") == 20.0


def test_ratio_beside_another_checkout_counts_both_databases() -> None:
    """The table has the median of the ratios, the lowest and the highest one."""
    runs = []
    for repetition, cpu_us in enumerate((950, 450, 1150)):
        runs += [whole_run(AGENT, cpu_us, repetition=repetition), whole_run("base", 950, repetition=repetition)]
    assert beside_table(Results(runs, beside=["base"]))[2:] == ["| c64 | base | 1.00 | 0.50 | 1.20 |"]


def test_report_without_other_checkouts_has_no_table_of_them() -> None:
    """The section appears only with `--beside`."""
    runs = [whole_run(AGENT, 900), whole_run("base", 900)]
    assert "## Beside other checkouts" in report(Results(runs, beside=["base"]), [])
    assert "## Beside other checkouts" not in report(Results(runs), [])


def test_added_latency_excludes_the_upstream() -> None:
    """The latency of the direct upstream is subtracted."""
    results = Results([whole_run(DIRECT, None, workload="c1", ms=0.5), whole_run(AGENT, 900, workload="c1", ms=2.5)])
    assert (results.added(AGENT, "c1", "p50_ms"), results.added(AGENT, "c1", "p99_ms")) == (2.0, 4.0)


def test_goal_is_met_at_its_bound() -> None:
    """Three times the CPU of nginx meets the goal, and slightly more does not."""
    goal = "200 streams: CPU of a chunk ≤ 3 × nginx"
    assert verdicts(Results(stream_runs("s200")))[goal]
    assert not verdicts(Results(stream_runs("s200", cpu_us=60.5)))[goal]


def test_one_failed_stream_misses_the_goal() -> None:
    """One broken, refused or unfinished stream is enough."""
    for name in ("broken", "errors", "unfinished"):
        streams = msgspec.structs.replace(STREAMS, **{name: 1})
        assert not verdicts(Results(stream_runs("s1000", streams)))["1,000 streams: none broken"]
    [first, *_] = goals(Results(stream_runs("s1000")))
    assert (first.description, first.measured, first.met) == ("1,000 streams: none broken", "0", True)


def test_goals_without_a_measurement_are_omitted() -> None:
    """A short run is judged by the goals that it measured."""
    assert verdicts(Results([], [Start(0.6, 70.0), Start(0.7, 90.0), Start(3.0, 72.0)])) == {
        "idle: memory ≤ 80 MB": True,
        "start to ready ≤ 1.5 s": True,
    }


def test_report_has_a_row_for_each_gateway_and_set() -> None:
    """The report has a row for each gateway and states the load of other programs."""
    whole_runs = [
        whole_run(name, cpu_us, workload="c1") for name, cpu_us in ((DIRECT, None), (NGINX, 100), (AGENT, 900))
    ]
    text = report(Results([*whole_runs, *stream_runs("s1000")]), ["- command: `x`"])
    assert "| c1 | chatgpt-agent | 1,000 | 1.00 | 2.00 | 0.00 | 0.00 | 900 | 50.0 | 9.50 | 0 | 60.0 |" in text
    assert "| s1000 | nginx | 400 / 2,000 | 0 | 8,000 | 40.0 | 1.00 | 20.0 | 20.0 | – | 1.00 | – |" in text
    assert "| 1,000 streams: ≥ 28,000 chunks/s | 8,000 | **not met** |" in text
    assert "0% in the median" in text


def test_interrupted_requests_count_unless_all_failed() -> None:
    """The gateway also worked on the requests that `wrk` interrupted at its end."""
    assert count_units(ANSWERS, WORKLOADS["c64"]) == 3064
    assert count_units(msgspec.structs.replace(ANSWERS, ok=0, errors=9), WORKLOADS["c64"]) == 0


def test_cpu_time_of_an_ended_process_is_unknown() -> None:
    """A negative difference, or a difference without units, gives no figure."""
    assert (microseconds_each(0.5, 1000), microseconds_each(-40.0, 1000), microseconds_each(0.5, 0)) == (
        500,
        None,
        None,
    )


def test_gateway_without_answers_has_no_latency() -> None:
    """The report shows dashes, so that a broken gateway does not appear to be the fastest."""
    no_answer = Whole(ok=0, errors=3, seconds=3.0, p50_ms=0.0, p99_ms=0.0)
    no_chunk = msgspec.structs.replace(STREAMS, completed=0, unfinished=100, chunks=0, seconds=25.0)
    whole = Run(gateway="other", workload="c1", repetition=0, result=no_answer)
    streams = Run(gateway="other", workload="s50", repetition=0, result=no_chunk)
    text = report(Results([whole_run(DIRECT, None, workload="c1"), whole, streams]), [])
    assert "| c1 | other | 0.00 | – | – | – | – | – | – | – | 3 | – |" in text
    assert "| s50 | other | 0 / 100 | 100 | 0.00 | – | – | – | – | – | – | – |" in text


@pytest.mark.parametrize(("completed", "lost"), [(199, True), (200, False)])
def test_gateway_that_loses_most_streams_is_excluded(completed: int, lost: bool) -> None:
    """Half of the 400 streams are the limit."""
    streams = msgspec.structs.replace(STREAMS, completed=completed)
    run = Run(gateway="other", workload="s200", repetition=0, result=streams)
    assert lost_most_streams(run, WORKLOADS["s200"]) is lost


def test_profile_counts_the_event_loop_only() -> None:
    """Threads that wait for work do not count; a recursive function counts once in a stack."""
    stacks = [f"{profile.LOOP};a;b;b 3", f"{profile.LOOP};a 1", "wait 96"]
    assert ("b", 0.75, 0.75) in profile.shares(stacks)
    assert ("a", 0.25, 1.0) in profile.shares(stacks)


def test_gateway_option_has_processes_of_gateway_and_database() -> None:
    """PID+PID are the roots of the two process trees."""
    pid = os.getpid()
    gateway = gateway_from(f"LiteLLM=http://127.0.0.1:4000/v1/chat/completions,sk-x,gpt-6-luna,{pid}+{pid}")
    assert (gateway.name, gateway.pid, gateway.db_pid) == ("LiteLLM", pid, pid)
    assert gateway.target == Target("http://127.0.0.1:4000/v1/chat/completions", "sk-x", "gpt-6-luna")


@pytest.mark.parametrize(
    "text", ["LiteLLM", "a=http://192.0.2.1:80/v1,t,m,1", "a=http://127.0.0.1:80/v1,t,m,999999999", ""]
)
def test_gateway_option_that_cannot_be_measured_is_refused(text: str) -> None:
    """A gateway on another machine, without a process, or without a name is refused."""
    with pytest.raises(argparse.ArgumentTypeError):
        gateway_from(text)


def test_unknown_set_is_refused_with_a_list_of_sets() -> None:
    """The message names the unknown set and all sets."""
    with pytest.raises(argparse.ArgumentTypeError, match="unknown set c2; the sets are c1, c16"):
        sets_from("c1,c2")


def test_published_command_has_no_tokens_and_no_paths() -> None:
    """The report may be published."""
    args = ["--reps", "1", "--output", "f.md", "--gateway", "a=http://127.0.0.1:80/v1,sk-secret,m,1"]
    args += ["--beside", "old=/home/ann/old", "--beside=new=/home/ann/new"]
    expected = "python -m benchmarks.relay --reps 1 --gateway a=http://127.0.0.1:80/v1,TOKEN,m,1"
    assert published_command(args) == f"{expected} --beside old=DIR --beside=new=DIR"


def test_both_load_generators_send_the_same_headers() -> None:
    """Each sends the token and the extra header fields of the gateway."""
    target = Target("http://127.0.0.1:80/v1/chat/completions", "sk-x", "m", {"x-portkey-provider": "openai"})
    request = raw_request(target).decode()
    for name, value in target.request_headers().items():
        assert f"\r\n{name}: {value}\r\n" in request
        assert f"wrk.headers[ [[{name}]] ] = [[{value}]]" in lua(target)


def test_growth_of_metering_is_that_within_a_repetition() -> None:
    """A machine that is half as fast in some repetitions does not look like a growth."""
    samples = [Sample(own=12, other=10), Sample(own=24, other=20), Sample(own=12, other=10)]
    result = growth(samples, request_us=400)
    assert (result.own, result.other, result.ratio, result.of_request) == (12, 10, 1.2, 0.005)


def test_growth_of_a_stream_is_a_share_of_its_chunks_too() -> None:
    """A stream's request costs more than one with a whole answer."""
    assert (request_us("chat"), request_us("chat-stream")) == (400, 4400)


class FakeWorker(Worker):
    """Takes a fixed time for each answer, and records its runs."""

    def __init__(self, name: str, runs: list[str]) -> None:
        self._name = name
        self._runs = runs

    def microseconds(self, kind: str, count: int) -> float:
        self._runs.append(self._name)
        return 10.0


def test_checkouts_take_turns_in_running_first() -> None:
    """The first repetition warms up and does not count; then each checkout is first every second time."""
    runs: list[str] = []
    samples = measure(FakeWorker("own", runs), FakeWorker("other", runs), reps=2)
    assert samples == {kind: [Sample(10.0, 10.0)] * 2 for kind in COUNTS}
    assert runs[:: 2 * len(COUNTS)] == ["other", "own", "other"]
