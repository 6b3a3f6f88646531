"""Single checks of `doctor`, on a configuration of the test's own."""

import os
from pathlib import Path
from typing import Any

import pytest

from chatgpt_agent.adapters.config import Config
from chatgpt_agent.admin.doctor.checks import CHECKS
from chatgpt_agent.admin.doctor.examination import Examination
from chatgpt_agent.admin.doctor.results import Outcome, Result

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another account")


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


def set_mode(path: Path, mode: int) -> None:
    """Sets a mode."""
    path.chmod(mode)


def names_in(folder: Path) -> list[str]:
    """Returns what is in a folder."""
    return [path.name for path in folder.iterdir()]


def write(path: Path, text: str = "", mode: int = 0o600) -> Path:
    """Writes a file with a mode."""
    path.write_text(text)
    path.chmod(mode)
    return path
