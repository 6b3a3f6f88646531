"""Reading the configuration again: one time after the other, and without effect where it has a fault."""

import asyncio
import logging
import threading
from collections.abc import Callable

import pytest

from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.config_reload import Reload, compare
from chatgpt_agent.core.errors import ConfigError, SetupError
from chatgpt_agent.runtime.reloading import Reloading
from tests.support.waiting import until


def accept(config: Config) -> Reload:
    return compare(Config(), config)


def raiser(error: Exception) -> Callable[[], Config]:
    def load() -> Config:
        raise error

    return load


@pytest.mark.parametrize(
    ("error", "faults"),
    [
        (ConfigError(["port: found x", "log_level: found y"]), ["port: found x", "log_level: found y"]),
        (SetupError("a file cannot be read"), ["a file cannot be read"]),
        (RuntimeError("a bug"), ["the agent has failed to take it over"]),
    ],
)
async def test_fault_refuses_the_configuration(
    error: Exception, faults: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Each fault is a line of the log, and nothing is accepted over."""
    accepted: list[Config] = []

    def take_over(config: Config) -> Reload:
        accepted.append(config)
        return accept(config)

    assert not await Reloading(raiser(error), take_over).reload()
    assert [record.getMessage().partition("stays: ")[2] for record in caplog.records] == faults
    assert accepted == []


async def test_keys_are_named_without_their_values(caplog: pytest.LogCaptureFixture) -> None:
    """A value may be a password."""
    caplog.set_level(logging.INFO)
    new = Config(openai_proxy="http://u:made-up-password@127.0.0.1:1", port=1, admin_port=2)
    assert await Reloading(lambda: new, accept).reload()
    assert caplog.messages == [
        "the configuration is read again; changed: openai_proxy",
        "these keys need a restart: port, admin_port",
    ]


async def test_signals_during_a_reload_lead_to_one_more() -> None:
    """Each load ends before the next begins, and the last begins after the last signal."""
    go, loads = threading.Event(), list[int]()

    def load() -> Config:
        loads.append(len(loads))
        go.wait()
        return Config()

    reloading = Reloading(load, accept)
    task = asyncio.create_task(reloading.run())
    reloading.ask()
    await until(lambda: len(loads) == 1)
    reloading.ask()
    reloading.ask()
    go.set()
    await until(lambda: len(loads) == 2)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert len(loads) == 2
