"""Runs all checks at once, each within its time, and yields their reports in the order of the table."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from pathlib import Path

from chatgpt_agent.adapters.config_loading import config_path, load_config
from chatgpt_agent.admin.configuration import check_configuration
from chatgpt_agent.admin.doctor.checks import CHECKS, Check
from chatgpt_agent.admin.doctor.examination import Examination
from chatgpt_agent.admin.doctor.results import Report, Result, counted, failure, ok, skipped
from chatgpt_agent.core.errors import AgentError, ConfigError, StoreUnavailable, UpstreamError

log = logging.getLogger(__name__)

CONFIGURATION = "configuration"  # the first check, which all others need
TOTAL_SECONDS = 15.0  # for all checks together
_NOT_ALLOWED = "run doctor as the agent's account, which must be able to enter the folders of data_dir"


async def examine(
    file: str | None, environ: Mapping[str, str], skip: Collection[str] = (), *, checks: Sequence[Check] = CHECKS
) -> AsyncIterator[Report]:
    """Yields the report of each check as soon as it and all before it have ended. `file`: the configuration file, as in
    `--config`; `skip`: names of checks that are left out."""
    path = config_path(file, environ)
    try:
        config = load_config(path, environ)
        check_configuration(config)
    except ConfigError as error:
        yield Report(check=CONFIGURATION, seconds=0.0, results=[failure(line) for line in error.errors])
        for check in checks:
            yield _skipped(check, f"needs {CONFIGURATION}")
        return
    yield Report(check=CONFIGURATION, seconds=0.0, results=[ok(_sources(path, config.sources))])
    examination = Examination(config, path)
    run = _Run(examination, checks, skip)
    try:
        for task in run.start():
            yield await task
    finally:
        await run.end()
        await examination.close()


def _sources(path: Path | None, sources: Mapping[str, str]) -> str:
    file = "no file" if path is None else str(path)
    variables = sum(source.startswith("environment ") for source in sources.values())
    return f"{file}, and {counted(variables, 'variable')} of the environment" if variables else file


def _skipped(check: Check, text: str) -> Report:
    return Report(check=check.name, seconds=0.0, results=[skipped(text)])


class _Run:
    """The tasks of one run, by the name of the check."""

    def __init__(self, examination: Examination, checks: Sequence[Check], skip: Collection[str]) -> None:
        self._examination = examination
        self._checks = checks
        self._skip = skip
        self._deadline = time.monotonic() + TOTAL_SECONDS
        self._tasks: dict[str, asyncio.Task[Report]] = {}

    def start(self) -> list["asyncio.Task[Report]"]:
        """Starts every check; each waits for those that it needs."""
        for check in self._checks:
            self._tasks[check.name] = asyncio.create_task(self._report(check), name=f"check {check.name}")
        return list(self._tasks.values())

    async def end(self) -> None:
        """Cancels what still runs, if the reports are not wanted any more."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _report(self, check: Check) -> Report:
        if check.name in self._skip:
            return _skipped(check, "left out by --skip")
        for name in (*check.needs, *check.after):
            if (await self._tasks[name]).blocks and name in check.needs:
                return _skipped(check, f"needs {name}")
        started = time.monotonic()
        if started >= self._deadline:
            return _skipped(check, "the checks before it have taken too long")
        results = await self._results(check, min(check.seconds, self._deadline - started))
        return Report(check=check.name, seconds=time.monotonic() - started, results=results)

    async def _results(self, check: Check, seconds: float) -> list[Result]:
        try:
            return await asyncio.wait_for(check.run(self._examination), seconds)
        except TimeoutError:
            return [failure(f"did not end within {seconds:.1f} s", check.hangs)]
        except StoreUnavailable as error:
            return [failure(_one_line(error).replace("TimeoutError", "it does not answer in time"), check.hangs)]
        except AgentError as error:
            return [failure(_one_line(error))]
        except OSError as error:
            place = "" if error.filename is None else f"{error.filename}: "
            advice = _NOT_ALLOWED if isinstance(error, PermissionError) else ""
            return [failure(f"{place}{error.strerror or type(error).__name__}", advice)]
        except Exception as error:  # one check that fails does not hide the results of the others
            log.debug("the check %s failed", check.name, exc_info=True)
            return [failure(f"the check itself failed: {type(error).__name__}", "report this bug")]


def _one_line(error: AgentError) -> str:
    cause = f" {error.cause}" if isinstance(error, UpstreamError) and error.cause else ""
    return " ".join(error.message.splitlines()) + cause
