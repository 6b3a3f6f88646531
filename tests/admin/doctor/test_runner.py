"""How `doctor` runs its checks: in order, within their time, and without those that need one that failed."""

import asyncio
import errno
import os
import re
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from chatgpt_agent.adapters.own_thread import in_own_thread
from chatgpt_agent.admin.doctor import runner
from chatgpt_agent.admin.doctor.checks import CHECKS, Check
from chatgpt_agent.admin.doctor.examination import Examination
from chatgpt_agent.admin.doctor.results import Outcome, Result, failure, ok
from chatgpt_agent.admin.doctor.runner import CONFIGURATION, examine
from chatgpt_agent.core.errors import SetupError, StoreUnavailable

Run = Callable[[Examination], Awaitable[list[Result]]]


async def good(_: Examination) -> list[Result]:
    return [ok("fine")]


async def bad(_: Examination) -> list[Result]:
    return [failure("broken")]


async def hanging(_: Examination) -> list[Result]:
    await asyncio.Event().wait()
    return []


async def refused(_: Examination) -> list[Result]:
    raise SetupError("no\nway")


async def faulty(_: Examination) -> list[Result]:
    raise ValueError("a secret")


async def run(*checks: Check, skip: tuple[str, ...] = ()) -> list[tuple[str, Outcome, str]]:
    """Runs checks on the default configuration; name, outcome and text of each result but that of the configuration."""
    reports = [report async for report in examine(None, {}, skip, checks=checks)]
    return [(report.check, result.outcome, result.text) for report in reports[1:] for result in report.results]


def check(name: str, run: Run, **options: object) -> Check:
    """A check."""
    return Check(name=name, about="a test", run=run, **options)  # type: ignore[arg-type]


async def test_check_without_what_it_needs_is_skipped() -> None:
    """What needs that check again is skipped, too; others are made."""
    results = await run(
        check("a", bad), check("b", good, needs=("a",)), check("c", good, needs=("b",)), check("d", good)
    )
    assert results == [
        ("a", Outcome.FAILURE, "broken"),
        ("b", Outcome.SKIPPED, "needs a"),
        ("c", Outcome.SKIPPED, "needs b"),
        ("d", Outcome.OK, "fine"),
    ]


async def test_check_after_another_is_made_however_that_ends() -> None:
    """It only waits for it."""
    results = await run(check("a", bad), check("b", good, after=("a",)))
    assert results[1] == ("b", Outcome.OK, "fine")


async def test_check_that_hangs_is_a_failure() -> None:
    """The others are not kept waiting for longer than its time."""
    [hung, other] = await run(check("a", hanging, seconds=0.1, hangs="look"), check("b", good))
    assert hung == ("a", Outcome.FAILURE, "did not end within 0.1 s")
    assert other == ("b", Outcome.OK, "fine")


async def test_thread_that_hangs_is_a_failure() -> None:
    """As of a disk that does not answer: it is left behind."""
    disk = threading.Event()

    async def blocked(_: Examination) -> list[Result]:
        await in_own_thread(disk.wait)
        return []

    [(_, outcome, text)] = await run(check("a", blocked, seconds=0.1))
    disk.set()
    assert (outcome, text) == (Outcome.FAILURE, "did not end within 0.1 s")


@pytest.mark.parametrize(("work", "text"), [(refused, "no way"), (faulty, "the check itself failed: ValueError")])
async def test_check_that_raises_is_a_failure(work: Run, text: str) -> None:
    """An error of ours is one line; of a bug only its type is shown."""
    assert await run(check("a", work)) == [("a", Outcome.FAILURE, text)]


async def test_folder_of_another_account_is_a_failure_with_advice() -> None:
    """Root's files and those of the agent's account differ."""

    async def closed(_: Examination) -> list[Result]:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/closed")

    reports = [report async for report in examine(None, {}, checks=[check("a", closed)])]
    [result] = reports[1].results
    assert (result.outcome, result.text) == (Outcome.FAILURE, "/closed: Permission denied")
    assert result.advice.startswith("run doctor as the agent's account")


async def test_check_for_which_no_time_is_left_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not said to hang."""
    monkeypatch.setattr(runner, "TOTAL_SECONDS", 0.0)
    assert await run(check("a", good)) == [("a", Outcome.SKIPPED, "the checks before it have taken too long")]


async def test_database_that_does_not_answer_is_a_failure() -> None:
    """The advice is that of a check that hangs."""

    async def waiting(_: Examination) -> list[Result]:
        raise StoreUnavailable("the database is unavailable: TimeoutError")

    assert await run(check("a", waiting)) == [
        ("a", Outcome.FAILURE, "the database is unavailable: it does not answer in time")
    ]


async def test_check_can_be_left_out() -> None:
    """What needs it is left out, too."""
    results = await run(check("a", good), check("b", good, needs=("a",)), skip=("a",))
    assert results == [("a", Outcome.SKIPPED, "left out by --skip"), ("b", Outcome.SKIPPED, "needs a")]


async def test_invalid_configuration_stops_all_checks(tmp_path: Path) -> None:
    """Every error is a failure, and every check is skipped."""
    reports = [report async for report in examine(str(tmp_path / "none.yml"), {})]
    assert [result.outcome for result in reports[0].results] == [Outcome.FAILURE]
    assert {result.text for report in reports[1:] for result in report.results} == {"needs configuration"}
    assert len(reports) == 1 + len(CHECKS)


def test_every_check_is_documented() -> None:
    """The page has a line for each, in the order of the table."""
    page = (Path(__file__).parents[3] / "docs/operations/doctor.md").read_text()
    listed = re.findall(r"^\| `([a-z-]+)` \|", page, re.MULTILINE)
    assert listed == [CONFIGURATION, *(each.name for each in CHECKS)]


def test_table_is_consistent() -> None:
    """Names differ, and a check only waits for checks before it, so that none waits for itself."""
    names = [each.name for each in CHECKS]
    assert len({*names}) == len(names)
    for at, each in enumerate(CHECKS):
        assert {*each.needs, *each.after} <= {*names[:at]}
