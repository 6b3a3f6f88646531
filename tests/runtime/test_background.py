"""Background tasks that end, die and are cancelled; warnings that repeat."""

import asyncio
import logging

import pytest

from chatgpt_agent.runtime.background import MAX_REASONS, Background, Throttle

log = logging.getLogger("chatgpt_agent.test")


async def fail() -> None:
    """Ends by an exception."""
    raise ZeroDivisionError


async def test_dead_task_is_logged_and_reported(caplog: pytest.LogCaptureFixture) -> None:
    """The owner of the service gets the task's name and its exception."""
    deaths: list[tuple[str, Exception]] = []
    background = Background(lambda name, error: deaths.append((name, error)))
    background.start("shipper", fail())
    await asyncio.sleep(0.01)
    [(name, error)] = deaths
    assert (name, type(error)) == ("shipper", ZeroDivisionError)
    assert [record.getMessage() for record in caplog.records] == ["the task shipper died"]


async def test_dead_task_without_an_owner_reaches_the_event_loop() -> None:
    """A service that was made without a reaction does not lose the exception."""
    contexts: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: contexts.append(context))
    Background().start("shipper", fail())
    await asyncio.sleep(0.01)
    assert [context["message"] for context in contexts] == ["the task shipper died"]


async def test_close_cancels_tasks_and_waits_for_them() -> None:
    """A cancelled task has finished its cleanup when `close` returns, and is not reported as dead."""
    events: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)
            events.append("cleaned up")

    background = Background(lambda name, error: events.append(name))
    background.start("work", work())
    await asyncio.sleep(0)
    await background.close()
    assert events == ["cleaned up"]


async def test_task_that_returns_is_not_reported() -> None:
    """Work that is finished is no failure."""
    deaths: list[str] = []
    background = Background(lambda name, error: deaths.append(name))
    background.start("connect", asyncio.sleep(0))
    await asyncio.sleep(0.01)
    assert (deaths, "connect" in background, "shipper" in background) == ([], True, False)


def test_repeated_warning_is_logged_once_in_its_interval(caplog: pytest.LogCaptureFixture) -> None:
    """The first warning is logged at once, the next one after the interval."""
    now = [0.0]
    throttle = Throttle(log, seconds=60, clock=lambda: now[0])
    for second in (0, 30, 59, 60, 61):
        now[0] = second
        throttle.warning("%d s", second)
    assert [record.getMessage() for record in caplog.records] == ["0 s", "60 s"]


def test_warning_after_a_reset_is_logged_at_once(caplog: pytest.LogCaptureFixture) -> None:
    """A new failure after a recovery is not hidden by the warning about the one before."""
    throttle = Throttle(log, seconds=60, clock=lambda: 0.0)
    throttle.warning("first")
    throttle.reset()
    throttle.warning("second")
    assert [record.getMessage() for record in caplog.records] == ["first", "second"]


def test_warning_with_another_reason_is_logged_at_once(caplog: pytest.LogCaptureFixture) -> None:
    """A changed reason is news, and the former one, if it comes again, is not."""
    throttle = Throttle(log, seconds=60, by_reason=True, clock=lambda: 0.0)
    for number, reason in enumerate(("refused", "refused", "no password", "refused")):
        throttle.warning("not ready since %d s: %s", number, reason)
    messages = [record.getMessage() for record in caplog.records]
    assert messages == ["not ready since 0 s: refused", "not ready since 2 s: no password"]


def test_ever_new_reasons_are_logged_ten_times(caplog: pytest.LogCaptureFixture) -> None:
    """A reason with a number in it, for example, cannot fill the log."""
    throttle = Throttle(log, seconds=60, by_reason=True, clock=lambda: 0.0)
    for number in range(100):
        throttle.warning("not ready: %s", f"process {number} does not answer")
    assert len(caplog.records) == MAX_REASONS == 10
