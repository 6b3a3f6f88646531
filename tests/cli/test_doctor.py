"""`chatgpt-agent doctor`: its lines, exit codes and JSON."""

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from chatgpt_agent.admin.doctor.checks import CHECKS
from tests.support.agent import Agent
from tests.support.commands import Cli
from tests.support.database import query
from tests.support.upstream import Received, Reply, Upstream

PASSWORD = "made-up-password"
NAMES = ["configuration", *(check.name for check in CHECKS)]


@pytest.fixture
def checked(agent: Agent, io_loop: IOLoop) -> Iterator[Cli]:
    """The program with the configuration of an agent that runs, and another OpenAI, which asks for a key: the agent's
    own must only get what has a row."""

    async def script(_: Received, reply: Reply) -> None:
        await reply.whole(b"{}", 401)

    fake = Upstream()
    fake.script = script
    io_loop.run_sync(fake.start)
    settings = {
        "DATABASE_URL": str(agent.config.database_url),
        "DATA_DIR": str(agent.config.data_dir),
        "OPENAI_URL": fake.url,
        "PORT": str(agent.server.port),
    }
    yield Cli(settings)
    io_loop.run_sync(fake.stop)


async def lines(cli: Cli, *args: str, code: int) -> list[str]:
    """Runs doctor in a process of its own beside the loop of the test, and returns its lines."""
    result = await asyncio.to_thread(cli.run, "doctor", *args)
    assert (result.exit_code, result.stderr) == (code, "")
    return result.stdout.splitlines()


@pytest.mark.shared_agent
async def test_running_agent_is_healthy(agent: Agent, checked: Cli) -> None:
    """Each check has a line, the last line has their number, and the exit code is 0."""
    await agent.until(lambda: partitions(agent) >= 2)
    *results, summary = await lines(checked, code=0)
    assert [line[12:].partition(":")[0] for line in results] == NAMES
    assert summary.startswith(f"{len(NAMES) - 4} ok, 4 skipped (")
    assert f"process {os.getpid()} runs on it" in "".join(results)


def partitions(agent: Agent) -> int:
    """The number of months that have a partition."""
    [(count,)] = query(
        str(agent.config.database_url), "SELECT count(*) FROM pg_inherits WHERE inhparent = 'usage'::regclass"
    )
    return int(count)


@pytest.mark.shared_agent
async def test_warning_is_exit_code_1(agent: Agent, checked: Cli) -> None:
    """The line has mark, check, text and advice."""
    await agent.store.fetch("UPDATE tokens SET expires_at = now() + interval '1 day'")
    [line] = [line for line in await lines(checked, code=1) if "[ warning ]" in line]
    assert line.startswith("[ warning ] tokens: token 1 of user alice expires at ")
    assert line.endswith("; chatgpt-agent token rotate 1, or token set 1 --expires …")


@pytest.mark.shared_agent
async def test_failure_is_exit_code_2(agent: Agent, checked: Cli) -> None:
    """A warning beside it does not matter."""
    await agent.store.fetch("UPDATE tokens SET expires_at = now() + interval '1 day'")
    await agent.store.fetch(
        "INSERT INTO dead_letters (request_id, rejected_at, error, record) VALUES (gen_random_uuid(), now(), 'x', '{}')"
    )
    *_, summary = await lines(checked, code=2)
    assert ", 1 warning, 1 failure, " in summary


@pytest.mark.shared_agent
async def test_json_has_every_result(agent: Agent, checked: Cli) -> None:
    """The document has the worst outcome, and of each check name, time and results."""
    await agent.store.fetch("UPDATE tokens SET expires_at = now() + interval '1 day'")
    document: Any = json.loads("\n".join(await lines(checked, "--json", code=1)))
    assert (document["outcome"], [check["name"] for check in document["checks"]]) == ("warning", NAMES)
    [tokens] = [check for check in document["checks"] if check["name"] == "tokens"]
    [result] = tokens["results"]
    assert (result["outcome"], result["advice"].startswith("chatgpt-agent token rotate 1")) == ("warning", True)


@pytest.mark.shared_agent
async def test_skip_leaves_checks_out(agent: Agent, checked: Cli) -> None:
    """It may be repeated, and what needs such a check is left out, too."""
    await agent.store.fetch("UPDATE tokens SET expires_at = now() + interval '1 day'")
    results = await lines(checked, "--skip", "tokens", "--skip", "openai", code=0)
    assert "[ skipped ] tokens: left out by --skip" in results


def test_unknown_check_is_refused() -> None:
    """The error lists the names; the exit code is that of a wrong command line."""
    line = Cli({}).refused("doctor", "--skip", "tea", code=2)[-1]
    assert all(check.name in line for check in CHECKS)


def test_list_names_every_check() -> None:
    """None is made."""
    rows = Cli({}).ok("doctor", "--list").splitlines()[2:]
    assert [row.split()[0] for row in rows] == NAMES
    assert [row["name"] for row in json.loads(Cli({}).ok("doctor", "--list", "--json"))] == NAMES


def test_invalid_configuration_is_a_failure() -> None:
    """The checks that need it, all of them, are skipped."""
    result = Cli({"PORT": "high", "LOG_LEVEL": "loud"}).run("doctor")
    first, second, *others = result.stdout.splitlines()
    assert result.exit_code == 2
    assert first.startswith("[ failure ] configuration: environment PORT: port: found 'high'; allowed: ")
    assert second.startswith("[ failure ] configuration: environment LOG_LEVEL: ")
    assert others[-1].startswith(f"2 failures, {len(CHECKS)} skipped (")


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    """Neither passwords nor the URL of the webhook are in the output, whatever fails."""
    settings = {
        "DATABASE_URL": f"postgresql://agent:{PASSWORD}@127.0.0.1:1/none",
        "OPENAI_PROXY": f"http://team:{PASSWORD}@127.0.0.1:1",
        "WEBHOOK_URL": f"http://127.0.0.1:1/{PASSWORD}",
        "DATA_DIR": str(tmp_path),
    }
    result = Cli(settings).run("doctor")
    assert result.exit_code == 2
    assert result.stdout.count("[ failure ]") == 3
    assert PASSWORD not in result.output
