"""Single checks of `doctor`, on a configuration of the test's own."""

from pathlib import Path
from typing import Any

from chatgpt_agent.adapters.config import Config
from chatgpt_agent.admin.doctor.checks import CHECKS
from chatgpt_agent.admin.doctor.examination import Examination
from chatgpt_agent.admin.doctor.results import Outcome, Result


async def run_check(name: str, file: Path | None = None, **settings: Any) -> list[Result]:
    """Returns the results of one check, as if all that it needs had succeeded."""
    [check] = [check for check in CHECKS if check.name == name]
    examination = Examination(Config(**settings), file)
    try:
        if "schema" in check.needs or name == "schema":
            await examination.open_database()
        return await check.run(examination)
    finally:
        await examination.close()


async def run_one(name: str, file: Path | None = None, **settings: Any) -> tuple[Outcome, str, str]:
    """Returns outcome, text and advice of the only result of a check."""
    [result] = await run_check(name, file, **settings)
    return result.outcome, result.text, result.advice
