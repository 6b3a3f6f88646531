"""The blocks of code in the documentation, and the commands in them."""

import re
import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click

from chatgpt_agent.cli.main import main
from tests.support.commands import leaf_commands

ROOT = Path(__file__).parent.parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "benchmarks/README.md"])
BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"(?:\S*/)?chatgpt-agent")
ASSIGNMENT = re.compile(r"\w+=\S*")
OPERATORS = {"|", "||", "&&", ";", "&", "(", ")"}


class Snippet(NamedTuple):
    """A block of code, and where it begins."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def snippets(*languages: str) -> list[Snippet]:
    """Returns the blocks of these languages in all pages, without their indentation; "console" and "sh" among them."""
    return [snippet for page in PAGES for snippet in _blocks(page) if snippet.language in languages]


def _blocks(page: Path) -> Iterator[Snippet]:
    text = page.read_text("utf-8")
    for match in BLOCK.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        yield Snippet(str(page.relative_to(ROOT)), line, match[2], textwrap.dedent(match[3]))


def shell_lines(snippet: Snippet) -> list[str]:
    """Returns what is typed: in a console all after a `$`, else each line; lines that end in a backslash go on."""
    text = re.sub(r"\\\n\s*", " ", snippet.text)
    prompt = "$ " if snippet.language == "console" else ""
    return [line.removeprefix(prompt) for line in text.splitlines() if line.startswith(prompt) and line.strip()]


def simple_commands(line: str) -> Iterator[list[str]]:
    """Yields the words of each command of a line, without comments."""
    lexer = shlex.shlex(re.sub(r"\$\([^()]*\)", "VALUE", line), posix=True, punctuation_chars="|&;<>()")
    lexer.whitespace_split = True
    command: list[str] = []
    for word in lexer:
        if word in OPERATORS:
            yield command
            command = []
        else:
            command.append(word)
    yield command


def our_commands(line: str) -> Iterator[list[str]]:
    """Yields the arguments of each `chatgpt-agent` in a line, also behind assignments and `sudo -u NAME`."""
    for command in simple_commands(line):
        redirected = next((at for at, word in enumerate(command) if word in ("<", ">", ">>")), len(command))
        rest = command[:redirected]
        while rest and ASSIGNMENT.fullmatch(rest[0]):
            rest = rest[1:]
        if rest[:2] == ["sudo", "-u"]:
            rest = rest[3:]
        if rest and COMMAND.fullmatch(rest[0]):
            yield rest[1:]


def faults(args: list[str], *, placeholders: bool = False) -> str:
    """Returns what is wrong with the arguments of a command, or "". Nothing is run and no file is opened. With
    `placeholders`, values such as NAME and a missing argument are accepted."""
    if args[:1] and args[0].startswith("-"):
        return "" if args[0] in ("--version", "--help") else f"no option {args[0]}"
    leaves = leaf_commands()
    name = next((" ".join(args[:size]) for size in (3, 2, 1) if " ".join(args[:size]) in leaves), "")
    if not name:
        return "" if placeholders and _is_group(args) else f"no command {' '.join(args)}"
    command, rest = leaves[name], args[len(name.split()) :]
    try:
        _parse(command, rest, placeholders=placeholders)
    except click.ClickException as error:
        return error.format_message()
    return ""


def _is_group(args: list[str]) -> bool:
    return len(args) == 1 and isinstance(main.commands.get(args[0]), click.Group)


def _parse(command: click.Command, args: list[str], *, placeholders: bool) -> None:
    context = click.Context(command, info_name=command.name)
    options, rest, _ = command.make_parser(context).parse_args(list(args))
    if rest:
        raise click.UsageError(f"unexpected arguments {rest}")
    for param in command.params:
        value = options.get(param.name)
        is_absent = value in (None, ()) or repr(value) == "Sentinel.UNSET"  # click 8.2 has None, 8.3 that
        if placeholders or isinstance(param.type, click.File) or param.is_eager:
            continue
        if is_absent and param.required:
            raise click.MissingParameter(ctx=context, param=param)
        if not is_absent:
            param.type_cast_value(context, value)
