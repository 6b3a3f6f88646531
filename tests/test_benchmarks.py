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


def streams(work: str, seen: Streams = STREAMS, cpu: float = 60.0) -> list[Run]:
    """A run of nginx and one of ours."""
    return [Run(NGINX, work, 0, seen, 20.0), Run(AGENT, work, 0, seen, cpu, 0.0, 120.0)]


def verdicts(results: Results) -> dict[str, bool]:
    """Of each goal that was measured."""
    return {goal.what.partition(" (")[0]: goal.met for goal in goals(results)}


def test_ratio_is_within_a_repetition_and_counts_the_database() -> None:
    """A machine that is twice as slow in one repetition does not move the ratio."""
    runs = [whole(NGINX, "c64", 0, 25), whole(AGENT, "c64", 0, 450), whole(NGINX, "c64", 1, 50)]
    assert Results([*runs, whole(AGENT, "c64", 1, 950)]).ratio(AGENT, "c64") == 20.0


def test_latency_is_that_over_the_direct_upstream() -> None:
    """What the upstream takes by itself is not the gateway's."""
    results = Results([whole(DIRECT, "c1", 0, None, ms=0.5), whole(AGENT, "c1", 0, 900, ms=2.5)])
    assert (results.added(AGENT, "c1", "p50_ms"), results.added(AGENT, "c1", "p99_ms")) == (2.0, 4.0)


def test_goals_are_judged_at_their_bounds() -> None:
    """Three times nginx is enough, and a little more is not."""
    what = "200 streams: CPU of a chunk ≤ 3 × nginx"
    assert verdicts(Results(streams("s200")))[what]
    assert not verdicts(Results(streams("s200", cpu=60.5)))[what]


def test_one_broken_stream_is_too_many() -> None:
    """Broken, refused and unfinished streams are alike: nobody got what they asked for."""
    for name in ("broken", "errors", "unfinished"):
        seen = msgspec.structs.replace(STREAMS, **{name: 1})
        assert not verdicts(Results(streams("s1000", seen)))["1,000 streams: none broken"]
    [whole, *_] = goals(Results(streams("s1000")))
    assert (whole.what, whole.measured, whole.met) == ("1,000 streams: none broken", "0", True)


def test_what_was_not_measured_is_no_goal() -> None:
    """A short run is judged by what it saw."""
    assert verdicts(Results([], [Start(0.6, 70.0), Start(0.7, 90.0), Start(3.0, 72.0)])) == {
        "idle: memory ≤ 80 MB": True,
        "start to ready ≤ 1.5 s": True,
    }


def test_report_has_a_line_for_each_gateway_and_set() -> None:
    """And says what other programs took of the machine."""
    runs = [whole(DIRECT, "c1", 0, None), whole(NGINX, "c1", 0, 100), whole(AGENT, "c1", 0, 900), *streams("s1000")]
    text = report(Results(runs), ["- command: `x`"])
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
    found = gateway_from(f"LiteLLM=http://127.0.0.1:4000/v1/chat/completions,sk-x,gpt-4o-mini,{pid}+{pid}")
    assert (found.name, found.pid, found.db_pid) == ("LiteLLM", pid, pid)
    assert found.target == Target("http://127.0.0.1:4000/v1/chat/completions", "sk-x", "gpt-4o-mini")


@pytest.mark.parametrize(
    "words", ["LiteLLM", "a=http://192.0.2.1:80/v1,t,m,1", "a=http://127.0.0.1:80/v1,t,m,999999999", ""]
)
def test_other_gateway_that_cannot_be_measured_is_refused(words: str) -> None:
    """One elsewhere, one without a process, and one without a name."""
    with pytest.raises(argparse.ArgumentTypeError):
        gateway_from(words)


def test_unknown_set_is_refused_with_those_that_are() -> None:
    """By name."""
    with pytest.raises(argparse.ArgumentTypeError, match="no set c2: they are c1, c16"):
        sets_from("c1,c2")


def test_report_names_the_command_without_tokens_and_its_own_file() -> None:
    """It is published."""
    words = ["--reps", "1", "--output", "f.md", "--gateway", "a=http://127.0.0.1:80/v1,sk-secret,m,1"]
    expected = "python -m benchmarks.relay --reps 1 --gateway a=http://127.0.0.1:80/v1,TOKEN,m,1"
    assert told(words) == expected


def test_both_loads_send_the_same_head() -> None:
    """The token, and what a gateway wants besides."""
    target = Target("http://127.0.0.1:80/v1/chat/completions", "sk-x", "m", {"x-portkey-provider": "openai"})
    request = raw_request(target).decode()
    for name, value in target.head().items():
        assert f"\r\n{name}: {value}\r\n" in request
        assert f"wrk.headers[ [[{name}]] ] = [[{value}]]" in lua(target)
