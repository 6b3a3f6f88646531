"""`completion`: the scripts of the shells, and what they complete."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.commands import Cli

ROOT = Path(__file__).parents[2]

# What readline does when the user presses Tab after these words.
PRESS_TAB = """
source ./script
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
$(complete -p chatgpt-agent | sed 's/.*-F \\([^ ]*\\).*/\\1/') chatgpt-agent 2>/dev/null
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def press_tab(tmp_path: Path) -> "Tab":
    """A bash that has read the script, with the program in its path."""
    if shutil.which("bash") is None:
        pytest.skip("there is no bash")
    return Tab(tmp_path)


class Tab:
    """A bash in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        program = folder / "chatgpt-agent"
        program.write_text(f"#!{sys.executable}\nfrom chatgpt_agent.__main__ import run\nrun()\n")  # as pip writes it
        program.chmod(0o755)
        (folder / "script").write_text(Cli({}).ok("completion", "bash"))

    def after(self, *line: str) -> list[str]:
        """The completions of the last word of a command line."""
        done = subprocess.run(
            ["bash", "--norc", "-c", PRESS_TAB, "-", *line],
            cwd=self._folder,
            env=os.environ | {"PATH": f"{self._folder}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "completions"),
    [
        (["chatgpt-agent", "user", "re"], ["remove", "rename"]),
        (["chatgpt-agent", "completion", ""], ["bash", "zsh", "fish"]),
        (["chatgpt-agent", "healthcheck", "--re"], ["--ready"]),
    ],
)
def test_bash_completes_commands_values_and_options(press_tab: Tab, line: list[str], completions: list[str]) -> None:
    """As Tab does."""
    assert press_tab.after(*line) == completions


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_script_is_of_the_shell(shell: str) -> None:
    """It asks the program by the variable that click reads."""
    assert f"_CHATGPT_AGENT_COMPLETE={shell}_complete" in Cli({}).ok("completion", shell)


def test_other_shells_are_refused() -> None:
    """The error names those that there are."""
    assert Cli({}).refused("completion", "tcsh", code=2)[-1].endswith("is not one of 'bash', 'zsh', 'fish'.")
