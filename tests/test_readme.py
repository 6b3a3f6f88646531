"""The READMEs begin with what this is, the two commands come first, and both languages have the same commands."""

import re
from pathlib import Path

import pytest

from tests.support.commands import leaf_commands

ROOT = Path(__file__).parent.parent
ENGLISH, CHINESE = "README.md", "README.zh-CN.md"
MAX_LINES = 160
CONSOLE_COMMAND = re.compile(r"^\$ ((?:.*\\\n)*.*)$", re.MULTILINE)


def read(name: str) -> str:
    """Returns the text of a file of the checkout."""
    return (ROOT / name).read_text("utf-8")


def blocks(name: str, language: str) -> list[str]:
    """Returns the code blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", read(name), re.MULTILINE | re.DOTALL)


def marked_commands(name: str) -> list[tuple[str, str]]:
    """Returns marker and text of each block that has a marker right above it."""
    pattern = r"^<!-- command: (\S+) -->\n```sh\n(.*?)^```$"
    return re.findall(pattern, read(name), re.MULTILINE | re.DOTALL)


def console_commands(name: str) -> list[str]:
    """Returns each command after a `$` in the console blocks."""
    return [command for block in blocks(name, "console") for command in CONSOLE_COMMAND.findall(block)]


@pytest.mark.parametrize("name", [ENGLISH, CHINESE])
def test_readme_is_short(name: str) -> None:
    """A README has at most 160 lines; the rest is in docs/."""
    assert len(read(name).splitlines()) <= MAX_LINES


@pytest.mark.parametrize("name", [ENGLISH, CHINESE])
def test_readme_marks_the_two_commands(name: str) -> None:
    """One command runs the program and one runs its tests; tools find them by their markers."""
    assert [marker for marker, _ in marked_commands(name)] == ["serve", "test"]
    assert read(name).count("<!-- command:") == 2


@pytest.mark.parametrize("name", [ENGLISH, CHINESE])
def test_marked_command_is_one_line(name: str) -> None:
    """Each of the two commands can be copied as one line."""
    assert [text.count("\n") for _, text in marked_commands(name)] == [1, 1]


@pytest.mark.parametrize("name", [ENGLISH, CHINESE])
def test_the_two_commands_are_the_first_sh_blocks(name: str) -> None:
    """No other command stands before the two."""
    assert blocks(name, "sh")[:2] == [text for _, text in marked_commands(name)]


def test_description_precedes_the_commands() -> None:
    """The README says what the program is, and when not to use it, before it says how to run it."""
    introduction = read(ENGLISH).partition("<!-- command:")[0]
    assert "Do not use it" in introduction


@pytest.mark.parametrize("language", ["sh", "python"])
def test_both_languages_have_the_same_code(language: str) -> None:
    """The Chinese README has the same commands and code, but for comments."""
    assert blocks(CHINESE, language) == blocks(ENGLISH, language)


def test_both_languages_have_the_same_console_commands() -> None:
    """The five minutes are the same in Chinese."""
    assert console_commands(CHINESE) == console_commands(ENGLISH)


@pytest.mark.parametrize("command", console_commands(ENGLISH))
def test_console_command_exists(command: str) -> None:
    """Each `chatgpt-agent` command of the five minutes is a command of the program."""
    name, _, arguments = command.partition(" ")
    assert name in ("export", "curl") or any(f"{arguments} ".startswith(f"{leaf} ") for leaf in leaf_commands())
