"""The README says what is so, and both languages say the same."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from chatgpt_agent.core.errors import AgentError, ClientError, Unavailable, UpstreamError
from chatgpt_agent.core.http.endpoints import ENDPOINTS
from tests.cli.commands import leaf_commands

ROOT = Path(__file__).parent.parent
ENGLISH, CHINESE = "README.md", "README.zh-CN.md"


def read(name: str) -> str:
    """A file of the checkout."""
    return (ROOT / name).read_text("utf-8")


def commands(name: str) -> list[tuple[str, list[str]]]:
    """The marked commands of a README, each with the lines of the block right below it."""
    found = re.findall(r"^<!-- command: (\S+) -->\n```sh\n(.*?)^```$", read(name), re.MULTILINE | re.DOTALL)
    return [(marker, block.splitlines()) for marker, block in found]


def rows(name: str) -> Iterator[list[str]]:
    """The cells of every line of a table."""
    for line in read(name).splitlines():
        if line.startswith("|"):
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def error_table(name: str) -> set[tuple[int, str]]:
    """Status and code of every line of the table of errors."""
    return {(int(cells[0]), cells[1].strip("`")) for cells in rows(name) if re.fullmatch(r"[45]\d\d", cells[0])}


def key_table(name: str) -> list[tuple[str, str]]:
    """Key and variable of every line of the table of the configuration."""
    return [
        (cells[0].strip("`"), cells[1].strip("`"))
        for cells in rows(name)
        if len(cells) == 4 and re.fullmatch(r"`[A-Z_]+`", cells[1])
    ]


def command_table(name: str) -> list[tuple[str, list[str]]]:
    """Command and options of every line of the table of commands."""
    cells = [cells[0].strip("`") for cells in rows(name) if len(cells) == 2]
    return [
        (words, re.findall(r"--[a-z-]+", cell))
        for cell in cells
        for words in leaf_commands()
        if f"{cell} ".startswith(f"{words} ")
    ]


def sent_errors() -> set[tuple[int, str]]:
    """Status and code of every error that the API answers with: what nothing is derived from, and the last resort."""
    found, todo = {(AgentError.status, AgentError.code)}, [ClientError, UpstreamError, Unavailable]
    while todo:
        kind = todo.pop()
        todo += kind.__subclasses__()
        if not kind.__subclasses__():
            found.add((kind.status, kind.code))
    return found


def test_there_are_two_commands() -> None:
    """One runs it, one tests it, and both are marked for the tools that read them."""
    assert [marker for marker, _ in commands(ENGLISH)] == ["serve", "test"]
    assert read(ENGLISH).count("<!-- command:") == 2


@pytest.mark.parametrize("name", [ENGLISH, CHINESE])
def test_a_command_is_one_line(name: str) -> None:
    """To be copied as it is."""
    assert [len(lines) for _, lines in commands(name)] == [1, 1]


def test_the_commands_come_first() -> None:
    """Before any other block."""
    first = re.findall(r"^```\w*\n(.*?)^```$", read(ENGLISH), re.MULTILINE | re.DOTALL)[:2]
    assert first == [f"{lines[0]}\n" for _, lines in commands(ENGLISH)]


def test_every_error_of_the_api_is_listed() -> None:
    """With its status, and no other."""
    assert error_table(ENGLISH) == sent_errors()


@pytest.mark.parametrize("name", [ENGLISH, CHINESE, "docs/endpoints.md"])
def test_every_endpoint_is_listed(name: str) -> None:
    """And no other that is forwarded."""
    found = {cells[0].split("`")[1] for cells in rows(name) if cells[0].startswith("`POST /v1/")}
    assert found == {f"POST {endpoint.path}" for endpoint in ENDPOINTS}


def test_every_command_is_listed() -> None:
    """With every option that it has, but for those that all have."""
    options = {
        words: {option for parameter in command.params for option in parameter.opts if option.startswith("--")}
        for words, command in leaf_commands().items()
    }
    assert {words: {*listed, "--config"} for words, listed in command_table(ENGLISH)} == options


def test_both_languages_have_the_same_commands() -> None:
    """To the letter."""
    assert commands(CHINESE) == commands(ENGLISH)


def test_both_languages_have_the_same_keys() -> None:
    """In the same order, with the same variables."""
    assert key_table(CHINESE) == key_table(ENGLISH)


def test_both_languages_have_the_same_errors() -> None:
    """Status and code."""
    assert error_table(CHINESE) == error_table(ENGLISH)


def test_both_languages_have_the_same_command_table() -> None:
    """With the same options."""
    assert command_table(CHINESE) == command_table(ENGLISH)
