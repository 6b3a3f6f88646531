"""Snippets run as they stand in the documentation, but for address and token: those of docs/clients.md, which are the
console's, and each curl of other pages."""

import asyncio
import contextlib
import io
import json
import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from chatgpt_agent.admin.admins import Role
from chatgpt_agent.web.console.parts import Code
from chatgpt_agent.web.console.recipes import client_recipes
from tests.support.agent import Agent
from tests.support.snippets import ROOT, Snippet, shell_lines, snippets

PAGE = "docs/clients.md"
URL, TOKEN = "http://127.0.0.1:8080/v1", "cga_…"
ANSWER = "Hello there, how can I help?"
NODE_MODULES = next(filter(None, os.environ.get("NODE_PATH", "").split(":")), "/usr/local/lib/node_modules")

pytestmark = pytest.mark.shared_agent


class English:
    """The console's texts, as they stand in the source."""

    def _(self, text: str) -> str:
        """Returns the text itself."""
        return text


def of_page(language: str, part: str) -> list[Snippet]:
    """Returns the blocks of the page in a language with a text in them."""
    blocks = [each for each in snippets(language) if each.page == PAGE and part in each.text]
    assert blocks, (language, part)
    return blocks


def for_agent(text: str, agent: Agent) -> str:
    """Returns a snippet with the address and the token of an agent."""
    return text.replace(URL, f"{agent.url}/v1").replace(TOKEN, agent.token)


def run_python(text: str) -> str:
    """Runs a program in this process; returns what it prints."""
    with contextlib.redirect_stdout(io.StringIO()) as output:
        exec(compile(text, PAGE, "exec"), {"__name__": "__main__"})
    return output.getvalue()


async def run(*command: str, folder: Path | None = None) -> str:
    """Runs a program that must succeed; returns what it prints."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe, cwd=folder)
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return output.decode()


def test_page_has_the_recipes_of_the_console() -> None:
    """What the console shows for curl, Python, Node.js and Codex stands in the page."""
    page = (ROOT / PAGE).read_text("utf-8")
    codes = [part for part in client_recipes(English(), URL, TOKEN) if isinstance(part, Code)]
    assert [part.title for part in codes] == ["curl", "Python", "Node.js", "Codex"]
    assert [part.title for part in codes if part.text.partition("\n\n# CHATGPT_AGENT_TOKEN")[0] not in page] == []


async def test_curl_works(agent: Agent) -> None:
    """The command prints the answer."""
    if shutil.which("curl") is None:
        pytest.skip("there is no curl")
    [snippet] = of_page("sh", "curl http")
    assert ANSWER in await run("bash", "-c", for_agent(snippet.text, agent))


async def test_python_sdk_works(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    """With arguments and with the environment, the program prints the answer."""
    monkeypatch.setenv("OPENAI_BASE_URL", f"{agent.url}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", agent.token)
    for snippet in of_page("python", "from openai"):
        assert (await asyncio.to_thread(run_python, for_agent(snippet.text, agent))).strip() == ANSWER
    [row, other] = await agent.rows(2)
    assert (row["endpoint"], other["endpoint"]) == ("/v1/chat/completions", "/v1/responses")


async def test_python_sdk_reports_the_id_of_a_failed_request(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program prints status, code and id."""
    monkeypatch.setenv("OPENAI_BASE_URL", f"{agent.url}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", agent.token)
    [snippet] = of_page("python", "APIStatusError")
    text = snippet.text.replace("gpt-6-luna", "no-such-model")
    printed = (await asyncio.to_thread(run_python, text)).split()
    assert printed[:2] == ["404", "model_not_found"]
    assert re.fullmatch(r"[0-9a-f-]{36}", printed[2])


async def test_langchain_works(agent: Agent) -> None:
    """The program prints an answer and a stream."""
    pytest.importorskip("langchain_openai", reason="langchain-openai is not installed")
    [snippet] = of_page("python", "langchain")
    # In a process of its own: its import leaves warnings.
    assert (await run(sys.executable, "-c", for_agent(snippet.text, agent))).startswith(f"{ANSWER}\nword0 ")
    assert len(await agent.rows(2)) == 2


async def test_node_sdk_works(agent: Agent, tmp_path: Path) -> None:
    """The program prints the answer."""
    node = shutil.which("node")
    if node is None or not (Path(NODE_MODULES) / "openai").exists():
        pytest.skip("Node.js or its package openai is not installed (NODE_PATH names the folder of packages)")
    (tmp_path / "node_modules").symlink_to(NODE_MODULES)
    [snippet] = of_page("js", "import OpenAI")
    (tmp_path / "snippet.mjs").write_text(for_agent(snippet.text, agent))
    assert (await run(node, "snippet.mjs", folder=tmp_path)).strip() == ANSWER


async def test_first_steps_of_the_rest_api_work(agent: Agent, tmp_path: Path) -> None:
    """Each curl of "First steps" in docs/admin-api.md succeeds, in this order."""
    if shutil.which("curl") is None:
        pytest.skip("there is no curl")
    (tmp_path / "token").write_text(await agent.admin_token("carol"))
    [block] = [each for each in snippets("console") if each.text.startswith('$ echo "Authorization')]
    script = "\n".join(["set -e", 'curl() { command curl -sSf -o /dev/null "$@"; }', *shell_lines(block)])
    for before, after in (
        ("http://127.0.0.1:8081", agent.admin_url),
        ("alice", "dora"),
        ("sk-…", "sk-made-up-0123456789"),
    ):
        assert before in script
        script = script.replace(before, after)
    assert await run("bash", "-c", script, folder=tmp_path) == ""


# Each curl of these blocks, whose answer has all that is shown.
ANSWERS = {
    "docs/admin-api.md": [
        f"$ curl -H @auth {path}" for path in ('"$B/user-i', '"$B/price-i', '"$B/ledger', "$B/admins")
    ],
    "docs/reports.md": ["$ curl"],
    "docs/users.md": ["$ curl"],
}


async def prepare(agent: Agent, folder: Path) -> str:
    """Writes the files that the blocks name; returns the assignments of their variables."""
    (folder / "auth").write_text(f"Authorization: Bearer {await agent.admin_token('carol')}")
    await agent.administration.admins.issue("dashboard", Role.VIEWER)
    (folder / "team.csv").write_text("name,openai_key\nerna,sk-made-up-0123456789\nfred,sk-made-up-9876543210\n")
    (folder / "prices.csv").write_text("model,input,output\ngpt-6-sol,2,10\n")
    prices = {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 2e-6, "output_cost_per_token": 1e-5}
    (folder / "model_prices_and_context_window.json").write_text(json.dumps({"gpt-6-sol": prices}))
    costs = "date,line_item,amount_value,amount_currency\n2026-11-02,web search tool calls,3.2,usd\n"
    (folder / "costs.csv").write_text(costs)
    assert (await agent.chat()).status == 200
    [row] = await agent.rows(1)
    return f"B={agent.admin_url}/api/v1; TOKEN={agent.token}; ID={row['request_id']}"


async def test_answers_are_those_of_the_page(agent: Agent, tmp_path: Path) -> None:
    """Each answer has all fields, or columns, of the one that is shown."""
    if shutil.which("curl") is None:
        pytest.skip("there is no curl")
    variables = await prepare(agent, tmp_path)
    blocks = [(page, each.text) for page, starts in ANSWERS.items() for each in snippets("console")
              if each.page == page and each.text.startswith(tuple(starts))]  # fmt: skip
    assert len(blocks) == 6
    count = 0
    for page, text in blocks:
        for command, expected in re.findall(r"^\$ (curl .*)\n((?:(?!\$ ).*\n?)*)", text, re.MULTILINE):
            command = command.replace("http://127.0.0.1:8080", agent.url).replace("curl ", "curl -sS ", 1)
            answer = await run("bash", "-c", f"{variables}; {command}", folder=tmp_path)
            names = re.findall(r'"(\w+)":', expected) or expected.partition("\n")[0].split(",")
            assert [name for name in names if name not in answer] == [], (page, command, answer)
            count += 1
    assert count == 14
