"""The five minutes of the README are real: its commands run in order and print what the README shows."""

import asyncio
import json
import os
import re
import shlex
import sys
from pathlib import Path

import pytest

from tests.support.canaries import SECRETS
from tests.support.client import fetch
from tests.support.commands import Cli
from tests.support.postgres_server import url_of
from tests.support.serving import Serve
from tests.support.upstream import Received, Reply, Upstream, completion, stream_events
from tests.support.waiting import until
from tests.test_readme import ENGLISH, blocks

USAGE = (19, 0, 100, 0)  # input, cached, output and reasoning tokens, as the README shows them
TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")


def console_block(start: str) -> tuple[list[str], str]:
    """Returns the last command of the console block that begins with a text, split, and the output that it shows."""
    [block] = [block for block in blocks(ENGLISH, "console") if block.startswith(f"$ {start}")]
    command, output = re.findall(r"^\$ ((?:.*\\\n)*.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)[-1]
    return shlex.split(command.replace("\\\n", " ")), output


def as_shown(text: str) -> str:
    """Returns an expression for the shown output: `…` stands for any text, times differ."""
    return re.escape(TIME.sub("TIME", text)).replace("…", ".*")


def shows(expected: str, printed: str) -> bool:
    """Returns whether a command printed what the README shows."""
    return re.fullmatch(as_shown(expected), TIME.sub("TIME", printed)) is not None


async def answer_as_shown(request: Received, reply: Reply) -> None:
    """Answers a chat with the usage that the README shows."""
    if not request.json.get("stream"):
        await reply.whole(json.dumps(json.loads(completion(*USAGE)), separators=(",", ":")).encode())
        return
    await reply.stream_head()
    for event in stream_events(3, USAGE):
        await reply.chunk(event)
    await reply.end()


@pytest.fixture
def cli(empty_dsn: str, tmp_path: Path, upstream: Upstream) -> Cli:
    """The program on an empty database, with a fake OpenAI that answers as the README shows."""
    upstream.script = answer_as_shown
    return Cli({"DATABASE_URL": url_of(empty_dsn), "DATA_DIR": str(tmp_path / "data"), "OPENAI_URL": upstream.url})


async def send_with_curl(url: str, token: str) -> tuple[str, str]:
    """Sends the curl command's request; returns the shown output and the answer."""
    arguments, expected = console_block("export TOKEN")
    command = " ".join(arguments).replace("http://127.0.0.1:8080", url).replace("$TOKEN", token)
    assert f"curl {url}/v1/chat/completions -H Authorization: Bearer {token} " in command
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    answer = await fetch(f"{url}/v1/chat/completions", "POST", headers, arguments[arguments.index("-d") + 1].encode())
    return expected, f"{answer.body.decode()}\n"


async def run_python_block(url: str, token: str) -> str:
    """Runs the README's program; returns what it prints."""
    [program] = blocks(ENGLISH, "python")
    source = program.replace("http://127.0.0.1:8080", url)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", source, env={**os.environ, "TOKEN": token}, stdout=asyncio.subprocess.PIPE
    )
    return (await process.communicate())[0].decode()


async def test_five_minutes(cli: Cli) -> None:
    """A user, a price, two requests and a report: each command prints what the README shows."""
    async with Serve(cli.settings) as serve:
        url = await serve.ready()

        arguments, expected = console_block("chatgpt-agent user add")
        result = cli.process(*arguments[1:], "--openai-key-stdin", stdin=b"sk-of-the-five-minutes")
        token = result.stdout.decode().strip()
        SECRETS.add(token)
        assert shows(expected.removeprefix("OpenAI key:\n"), result.stdout.decode() + result.stderr.decode())

        arguments, expected = console_block("chatgpt-agent price set")
        assert shows(expected, await cli.command(*arguments[1:]))

        await until(
            lambda: fetch(f"{url}/v1/models", headers={"Authorization": f"Bearer {token}"}),
            lambda answer: b"gpt" in answer.body,
        )
        expected, printed = await send_with_curl(url, token)
        assert shows(expected, printed)
        assert await run_python_block(url, token) == "word0 é word1 é word2 é "

        arguments, expected = console_block("chatgpt-agent usage report")
        await until(lambda: cli.command(*arguments[1:]), lambda printed: shows(expected, printed))
