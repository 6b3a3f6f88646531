"""The command `chatgpt-agent doctor`."""

import asyncio
import os
import sys
import time
from collections import Counter

import click

from chatgpt_agent import __version__
from chatgpt_agent.adapters.logs import set_up_logging
from chatgpt_agent.admin.doctor.results import Outcome, Report, Result
from chatgpt_agent.cli.common import config_file_option, echo_json
from chatgpt_agent.cli.effects import reads
from chatgpt_agent.cli.formats import json_option
from chatgpt_agent.cli.tables import echo_table

EXIT_CODES = {Outcome.WARNING: 1, Outcome.FAILURE: 2}  # as of plugins of Nagios, and 0 if all is well
_PLURALS = {Outcome.OK: "ok", Outcome.WARNING: "warnings", Outcome.FAILURE: "failures", Outcome.SKIPPED: "skipped"}


@click.command()
@click.option(
    "--skip",
    "skip",
    metavar="NAME",
    multiple=True,
    callback=lambda context, parameter, names: _existing(names),
    shell_complete=lambda context, parameter, start: [name for name in _names() if name.startswith(start)],
    help="Leave this check out. May be repeated.",
)
@click.option("--list", "listing", is_flag=True, help="List the checks, and make none.")
@json_option
@config_file_option
@reads
def doctor(config_file: str | None, skip: tuple[str, ...], listing: bool, json: bool) -> None:
    """Check what an agent depends on, and say what to do.

    Checks configuration, files, disk, database, master key, ledger, prices, tokens, the way to OpenAI, and what is in
    front. Changes nothing, sends no key, costs nothing, and works beside a running agent as well as without one. Ends
    within about 15 seconds. Exit code 0 if all is well, 1 with a warning, 2 with a failure.

    Example: chatgpt-agent doctor --config config.yml
    """
    if listing:
        _list_checks(json=json)
        return
    set_up_logging("error")
    started = time.monotonic()
    reports = asyncio.run(_examine(config_file, skip, json=json))
    results = [result for report in reports for result in report.results]
    outcome = max((result.outcome for result in results), key=lambda each: EXIT_CODES.get(each, 0))
    seconds = time.monotonic() - started
    if json:
        worst = outcome if outcome in EXIT_CODES else Outcome.OK
        document = {"outcome": worst, "version": __version__, "seconds": round(seconds, 3)}
        echo_json(document | {"checks": list(map(_record, reports))})
    else:
        click.echo(f"{_summary(results)} ({seconds:.1f} s)")
    sys.exit(EXIT_CODES.get(outcome, 0))


def _names() -> list[str]:
    from chatgpt_agent.admin.doctor.checks import CHECKS  # only here: they need much that takes a while to import

    return [check.name for check in CHECKS]


def _existing(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if name not in _names():
            raise click.BadParameter(f"{name!r} is not one of {', '.join(_names())}")
    return names


async def _examine(config_file: str | None, skip: tuple[str, ...], *, json: bool) -> list[Report]:
    from chatgpt_agent.admin.doctor.runner import examine  # only here, as in `_names`

    reports = []
    async for report in examine(config_file, os.environ, skip):
        reports.append(report)
        if not json:
            for result in report.results:
                click.echo(_line(report.check, result))
    return reports


def _line(check: str, result: Result) -> str:
    mark = f"[ {result.outcome} ]"
    advice = f"; {result.advice}" if result.advice else ""
    return f"{mark:<11} {check}: {result.text}{advice}"


def _summary(results: list[Result]) -> str:
    counts = Counter(result.outcome for result in results)
    return ", ".join(
        f"{counts[outcome]} {outcome if counts[outcome] == 1 else _PLURALS[outcome]}"
        for outcome in Outcome
        if counts[outcome]
    )


def _record(report: Report) -> dict[str, object]:
    results = [{"outcome": each.outcome, "text": each.text, "advice": each.advice} for each in report.results]
    return {"name": report.check, "seconds": round(report.seconds, 3), "results": results}


def _list_checks(*, json: bool) -> None:
    from chatgpt_agent.admin.doctor.checks import CHECKS  # only here, as in `_names`
    from chatgpt_agent.admin.doctor.runner import CONFIGURATION

    rows = [(CONFIGURATION, "file and environment, as `config check`"), *((each.name, each.about) for each in CHECKS)]
    if json:
        echo_json([{"name": name, "about": about} for name, about in rows])
    else:
        echo_table(["check", "what it looks at"], rows)
