"""The benchmarks' own arithmetic, on runs that were made up."""

import argparse
import os

import msgspec
import pytest

from benchmarks.relay import profile
from benchmarks.relay.__main__ import gateway_from, sets_from, told
from benchmarks.relay.measure import Run, of_each, sank, units
from benchmarks.relay.report import AGENT, DIRECT, NGINX, Results, Start, goals, report
from benchmarks.relay.workloads import WORKS, Streams, Target, Whole, lua, raw_request

STREAMS = Streams(400, 0, 0, 0, 40_000, 5.0, 40.0, 1.0, 20.0)


def whole(gateway: str, work: str, repetition: int, cpu: float | None, *, ms: float = 1.0) -> Run:
    """A run of whole answers: p50 of `ms`, p99 of twice that."""
    return Run(
        gateway, work, repetition, Whole(3000, 0, 3.0, ms, 2 * ms), cpu, 50.0 if gateway == AGENT else None, 60.0
    )


def runs(work: str, streams: Streams = STREAMS, cpu: float = 60.0) -> list[Run]:
    """Makes a run of nginx and one of the agent."""
    return [Run(NGINX, work, 0, streams, 20.0), Run(AGENT, work, 0, streams, cpu, 0.0, 120.0)]


def verdicts(results: Results) -> dict[str, bool]:
    """Whether each measured goal is met."""
    return {goal.what.partition(" (")[0]: goal.met for goal in goals(results)}


def test_ratio_is_within_a_repetition_and_counts_the_database() -> None:
    """A machine that is twice as slow in one repetition does not move the ratio."""
    runs = [whole(NGINX, "c64", 0, 25), whole(AGENT, "c64", 0, 450), whole(NGINX, "c64", 1, 50)]
    assert Results([*runs, whole(AGENT, "c64", 1, 950)]).ratio(AGENT, "c64") == 20.0


def test_latency_is_that_over_the_direct_upstream() -> None:
    """The latency of the upstream itself is subtracted."""
    results = Results([whole(DIRECT, "c1", 0, None, ms=0.5), whole(AGENT, "c1", 0, 900, ms=2.5)])
    assert (results.added(AGENT, "c1", "p50_ms"), results.added(AGENT, "c1", "p99_ms")) == (2.0, 4.0)


def test_goals_are_judged_at_their_bounds() -> None:
    """Three times nginx is enough, and a little more is not."""
    goal = "200 streams: CPU of a chunk ≤ 3 × nginx"
    assert verdicts(Results(runs("s200")))[goal]
    assert not verdicts(Results(runs("s200", cpu=60.5)))[goal]


def test_one_broken_stream_is_too_many() -> None:
    """One broken, refused or unfinished stream misses the goal."""
    for name in ("broken", "errors", "unfinished"):
        streams = msgspec.structs.replace(STREAMS, **{name: 1})
        assert not verdicts(Results(runs("s1000", streams)))["1,000 streams: none broken"]
    [whole, *_] = goals(Results(runs("s1000")))
    assert (whole.what, whole.measured, whole.met) == ("1,000 streams: none broken", "0", True)


def test_goals_that_were_not_measured_are_left_out() -> None:
    """A short run is judged by what it measured."""
    assert verdicts(Results([], [Start(0.6, 70.0), Start(0.7, 90.0), Start(3.0, 72.0)])) == {
        "idle: memory ≤ 80 MB": True,
        "start to ready ≤ 1.5 s": True,
    }


def test_report_has_a_line_for_each_gateway_and_set() -> None:
    """The report has a line for each gateway and the load of other programs."""
    all_runs = [whole(DIRECT, "c1", 0, None), whole(NGINX, "c1", 0, 100), whole(AGENT, "c1", 0, 900), *runs("s1000")]
    text = report(Results(all_runs), ["- command: `x`"])
    assert "| c1 | chatgpt-agent | 1,000 | 1.00 | 2.00 | 0.00 | 0.00 | 900 | 50.0 | 9.50 | 0 | 60.0 |" in text
    assert "| s1000 | nginx | 400 / 2,000 | 0 | 8,000 | 40.0 | 1.00 | 20.0 | 20.0 | – | 1.00 | – |" in text
    assert "| 1,000 streams: ≥ 28,000 chunks/s | 8,000 | **not met** |" in text
    assert "0% in the median" in text


def test_requests_that_the_load_cuts_off_count() -> None:
    """The gateway worked on them too; where none was answered there is nothing to divide by."""
    assert units(Whole(100, 0, 3.0, 1.0, 1.0), WORKS["c64"]) == 164
    assert units(Whole(0, 9, 3.0, 1.0, 1.0), WORKS["c64"]) == 0


def test_processor_time_of_a_gateway_that_ended_is_not_known() -> None:
    """What it had used before the run would count as less than nothing."""
    assert (of_each(0.5, 1000), of_each(-40.0, 1000), of_each(0.5, 0)) == (500.0, None, None)


def test_gateway_that_answers_nothing_has_no_latency() -> None:
    """It is not the quickest of all."""
    stands = Run("other", "c1", 0, Whole(0, 3, 3.0, 0.0, 0.0))
    never = Run("other", "s50", 0, Streams(0, 0, 0, 100, 0, 25.0, -1.0, -1.0, -1.0))
    text = report(Results([whole(DIRECT, "c1", 0, None), stands, never]), [])
    assert "| c1 | other | 0.00 | – | – | – | – | – | – | – | 3 | – |" in text
    assert "| s50 | other | 0 / 100 | 100 | 0.00 | – | – | – | – | – | – | – |" in text


def test_gateway_that_loses_most_streams_sank() -> None:
    """It is not asked for more."""
    run = Run("other", "s200", 0, msgspec.structs.replace(STREAMS, completed=199))
    assert sank(run, WORKS["s200"])


def test_profile_is_of_the_event_loop_alone() -> None:
    """Threads that wait for work are not counted; a function that calls itself counts once."""
    stacks = [f"{profile.LOOP};a;b;b 3", f"{profile.LOOP};a 1", "wait 96"]
    assert ("b", 0.75, 0.75) in profile.shares(stacks)
    assert ("a", 0.25, 1.0) in profile.shares(stacks)


def test_other_gateways_are_given_by_name() -> None:
    """With the process whose tree counts, and that of its database."""
    pid = os.getpid()
    gateway = gateway_from(f"LiteLLM=http://127.0.0.1:4000/v1/chat/completions,sk-x,gpt-4o-mini,{pid}+{pid}")
    assert (gateway.name, gateway.pid, gateway.db_pid) == ("LiteLLM", pid, pid)
    assert gateway.target == Target("http://127.0.0.1:4000/v1/chat/completions", "sk-x", "gpt-4o-mini")


@pytest.mark.parametrize(
    "text", ["LiteLLM", "a=http://192.0.2.1:80/v1,t,m,1", "a=http://127.0.0.1:80/v1,t,m,999999999", ""]
)
def test_other_gateway_that_cannot_be_measured_is_refused(text: str) -> None:
    """A gateway on another machine, without a process, or without a name is refused."""
    with pytest.raises(argparse.ArgumentTypeError):
        gateway_from(text)


def test_unknown_set_is_refused_with_those_that_are() -> None:
    """The message names the unknown set and the known ones."""
    with pytest.raises(argparse.ArgumentTypeError, match="no set c2: they are c1, c16"):
        sets_from("c1,c2")


def test_report_names_the_command_without_tokens_and_its_own_file() -> None:
    """The report is published, so it has no tokens and no path of the machine."""
    text = ["--reps", "1", "--output", "f.md", "--gateway", "a=http://127.0.0.1:80/v1,sk-secret,m,1"]
    expected = "python -m benchmarks.relay --reps 1 --gateway a=http://127.0.0.1:80/v1,TOKEN,m,1"
    assert told(text) == expected


def test_both_loads_send_the_same_head() -> None:
    """The token, and what a gateway wants besides."""
    target = Target("http://127.0.0.1:80/v1/chat/completions", "sk-x", "m", {"x-portkey-provider": "openai"})
    request = raw_request(target).decode()
    for name, value in target.head().items():
        assert f"\r\n{name}: {value}\r\n" in request
        assert f"wrk.headers[ [[{name}]] ] = [[{value}]]" in lua(target)
