"""Codex through the agent: OpenAI receives what it would receive from Codex itself, and finds the same in its cache."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.agent import Agent
from tests.support.client import fetch
from tests.support.codex import CACHED, PROGRAM, STATE, TEXT, CodexUpstream, run_codex, without_ids
from tests.support.upstream import Received, Upstream

ROOT = Path(__file__).parents[2]
CAPTURED = Path(__file__).parent / "codex" / "responses-0.171.0.txt"  # a request of a turn, with its texts cut
PASS = {
    "session-id",
    "thread-id",
    "x-codex-beta-features",
    "x-codex-turn-state",
    "x-codex-window-id",
    "x-openai-internal-codex-responses-lite",
}

needs_codex = pytest.mark.skipif(PROGRAM is None, reason="codex is not installed (npm install -g @openai/codex)")
pytestmark = pytest.mark.shared_agent


def captured(token: str) -> tuple[dict[str, str], bytes]:
    """Returns the header fields and the body of the recorded request, with a token."""
    head, body = CAPTURED.read_bytes().split(b"\n\n", 1)
    return dict(line.split(": ", 1) for line in head.decode().replace("TOKEN", token).splitlines()), body


def ids(request: Received | Mapping[str, str]) -> dict[str, str]:
    """Returns the header fields of a request by which OpenAI may find a conversation, or read it in another way."""
    fields = dict(request.headers) if isinstance(request, Received) else request
    pattern = re.compile(r"session|thread|conversation|x-codex-|x-openai-|openai-|version", re.IGNORECASE)
    return {name.lower(): value for name, value in fields.items() if pattern.match(name)}


async def test_request_of_codex_reaches_openai(agent: Agent, upstream: Upstream) -> None:
    """OpenAI receives the body's bytes and the ids of the conversation, but not where the user works."""
    fake = CodexUpstream(upstream)
    upstream.script = fake.answer
    fields, body = captured(agent.token)
    answer = await fetch(f"{agent.url}/v1/responses", "POST", fields, body)
    [request] = upstream.requests
    assert (answer.status, answer.body, request.body) == (200, upstream.sent(), body)
    assert ids(request) == {name: fields[name] for name in PASS}
    assert "project" not in str(request.headers)
    assert answer.header("x-codex-turn-state") == STATE


async def test_conversation_of_codex_is_found_in_the_cache(agent: Agent, upstream: Upstream) -> None:
    """The second request of a conversation is charged with its cached tokens."""
    fake = CodexUpstream(upstream)
    upstream.script = fake.answer
    fields, body = captured(agent.token)
    for _ in range(2):
        await fetch(f"{agent.url}/v1/responses", "POST", fields, body)
    assert [row["cached_tokens"] for row in await agent.rows(2)] == [0, CACHED]


def config(url: str) -> str:
    """Returns the configuration file that docs/codex.md shows, with another URL."""
    [block] = re.findall(r"^```toml\n(.*?)^```$", (ROOT / "docs/codex.md").read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert "http://127.0.0.1:8080/v1" in block
    return str(block).replace("http://127.0.0.1:8080/v1", url)


@needs_codex
@pytest.mark.gen_test(timeout=130)
async def test_codex_itself(agent: Agent, upstream: Upstream, tmp_path: Path) -> None:
    """With the documented configuration Codex works, and OpenAI receives the same from it as without the agent."""
    received: list[list[Received]] = []
    for url, token in ((f"http://127.0.0.1:{upstream.port}/v1", "made-up"), (f"{agent.url}/v1", agent.token)):
        await upstream.reset()
        fake = CodexUpstream(upstream)
        upstream.script = fake.answer
        assert await run_codex(tmp_path, config(url), token, "Say hello.") == f"{TEXT}\n"
        received.append([request for request in upstream.requests if request.method == "POST"])
        assert fake.cached_tokens == [0, CACHED]
    direct, relayed = received
    for one, other in zip(direct, relayed, strict=True):
        assert one.target == other.target
        assert without_ids(one.json) == without_ids(other.json)
        expected = {name: value for name, value in ids(one).items() if name != "x-codex-turn-metadata"}
        assert without_ids(ids(other)) == without_ids(expected)
    rows = [(row["endpoint"], row["state"], row["cached_tokens"]) for row in await agent.rows(2)]
    assert rows == [("/v1/responses", "done", 0), ("/v1/responses", "done", CACHED)]


@needs_codex
@pytest.mark.gen_test(timeout=70)
@pytest.mark.parametrize(("name", "last_input"), [("chatgpt-agent", "message"), ("OpenAI", "compaction_trigger")])
async def test_codex_compacts_a_conversation(
    agent: Agent, upstream: Upstream, tmp_path: Path, name: str, last_input: str
) -> None:
    """Codex compacts in the middle of a turn, itself or by OpenAI, and goes on; each request has its row."""
    fake = CodexUpstream(upstream)
    upstream.script = fake.answer
    text = config(f"{agent.url}/v1").replace('"chatgpt-agent"', f'"{name}"')
    text = f"model_auto_compact_token_limit = 4000\n{text}"
    assert await run_codex(tmp_path, text, agent.token, "Say hello.") == f"{TEXT}\n"
    _, compaction, after = upstream.requests
    assert compaction.json["input"][-1]["type"] == last_input
    assert after.header("x-codex-window-id") == f"{compaction.header('session-id')}:1"
    assert [(row["state"], row["cached_tokens"]) for row in await agent.rows(3)] == [
        ("done", 0),
        ("done", CACHED),
        ("done", CACHED),
    ]
