"""Reads the configuration again when a signal asks for it. One that has a fault changes nothing."""

import asyncio
import logging
from collections.abc import Callable

from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.config_reload import Reload
from chatgpt_agent.adapters.own_thread import in_own_thread
from chatgpt_agent.core.errors import ConfigError, SetupError

log = logging.getLogger(__name__)

REFUSED = "the configuration is refused, the one in force stays: %s"


class Reloading:
    """`load` reads and checks the configuration, in a thread; `take_over` puts it in force in one step on the loop, and
    returns what has changed. Both raise ConfigError or SetupError. `on_begin` is called before each reload, `on_end`
    after it, with whether the configuration was accepted."""

    def __init__(
        self,
        load: Callable[[], Config],
        take_over: Callable[[Config], Reload],
        *,
        on_begin: Callable[[], None] = lambda: None,
        on_end: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self._load = load
        self._take_over = take_over
        self._on_begin = on_begin
        self._on_end = on_end
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """Asks for a reload. Calls during a reload lead to one more after it, which reads the newest file."""
        self._asked.set()

    async def run(self) -> None:
        """Reloads one time after the other, as often as it is asked to."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            self._on_begin()
            self._on_end(await self.reload())

    async def reload(self) -> bool:
        """Reads the configuration and takes it over. Returns False where it is refused, with its faults in the log."""
        try:
            reload = self._take_over(await in_own_thread(self._load))
        except ConfigError as error:
            for line in error.errors:
                log.error(REFUSED, line)
            return False
        except SetupError as error:
            log.error(REFUSED, error.message)
            return False
        except Exception:  # a bug: the agent goes on serving
            log.exception(REFUSED, "the agent has failed to take it over")
            return False
        log.info("the configuration is read again; changed: %s", ", ".join(reload.changed) or "nothing")
        if reload.restart:
            log.warning("these keys need a restart: %s", ", ".join(reload.restart))
        return True
