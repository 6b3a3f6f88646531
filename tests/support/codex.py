"""Codex, OpenAI's coding agent: runs its command line, and answers it as OpenAI does."""

import asyncio
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

from tests.support.upstream import Received, Reply, Upstream

PROGRAM = shutil.which("codex")
TEXT = "Hello there."
STATE = "made-up-turn-state"
INPUT, CACHED, OUTPUT = 5000, 4096, 7  # tokens of each answer; cached where the conversation is found
VARYING = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d{13}|\d+\.\d+")  # ids, times, durations


async def run_codex(folder: Path, config: str, token: str, prompt: str) -> str:
    """Runs `codex exec` with a configuration file; returns what it prints. It reaches only loopback addresses."""
    home, work = folder / "home", folder / "work"
    for path in (home, work):
        path.mkdir(exist_ok=True)
    (home / "config.toml").write_text(config)
    nowhere = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), "http://127.0.0.1:9")
    environment = {"CODEX_HOME": str(home), "HOME": str(home), "CHATGPT_AGENT_TOKEN": token, "NO_PROXY": "127.0.0.1"}
    process = await asyncio.create_subprocess_exec(
        str(PROGRAM), "exec", "--skip-git-repo-check", prompt,
        cwd=work, env={"PATH": os.environ["PATH"], **nowhere, **environment},
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(60):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, err.decode()
    return out.decode()


def without_ids(value: object) -> str:
    """Returns a value as JSON with sorted members, in which ids, times and durations are replaced."""
    return VARYING.sub("VARYING", json.dumps(value, sort_keys=True))


class CodexUpstream:
    """Answers as OpenAI does: a conversation begins with a call of a tool, and then has a text for each request. It is
    found in the cache by its `session-id` and `prompt_cache_key`, both."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._cached: set[tuple[str | None, str]] = set()
        self.cached_tokens: list[int] = []  # of each answer

    async def answer(self, request: Received, reply: Reply) -> None:
        """The script of the upstream."""
        body, key = request.json, request.header("x-client-request-id") or ""
        conversation = (request.header("session-id"), body["prompt_cache_key"])
        cached = CACHED if conversation in self._cached and conversation[0] else 0
        self._cached.add(conversation)
        self.cached_tokens.append(cached)
        item = _output(body["input"][-1]["type"], first=len(self.cached_tokens) == 1)
        self._upstream.billed[key] = INPUT, cached, OUTPUT
        await reply.stream_head(x_codex_turn_state=STATE)
        for event in _events(item, cached):
            await reply.chunk(event)
        await reply.end()


def _output(last_input: str, *, first: bool) -> dict[str, Any]:
    if last_input == "compaction_trigger":
        return {"type": "compaction", "id": "cmp_1", "encrypted_content": "made up"}
    if first:
        call = {"id": "ctc_1", "call_id": "call_1", "name": "exec", "input": "text('hi')", "status": "completed"}
        return {"type": "custom_tool_call", **call}
    content = [{"type": "output_text", "text": TEXT, "annotations": []}]
    return {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": content}


def _events(item: dict[str, Any], cached: int) -> list[bytes]:
    usage = {
        "input_tokens": INPUT,
        "input_tokens_details": {"cached_tokens": cached},
        "output_tokens": OUTPUT,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": INPUT + OUTPUT,
    }
    response = {"id": "resp_1", "object": "response", "created_at": 1790000000, "model": "gpt-6-luna", "output": []}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": {**response, "status": "in_progress", "usage": None}},
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {
            "type": "response.completed",
            "response": {**response, "status": "completed", "output": [item], "usage": usage},
        },
    ]
    return [
        f"event: {event['type']}\ndata: {json.dumps({**event, 'sequence_number': number})}\n\n".encode()
        for number, event in enumerate(events)
    ]
