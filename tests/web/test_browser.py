"""A page of another origin in a real browser: what it may read of answers, streams and errors."""

import asyncio
import contextlib
import html
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from tests.conftest import MakeAgent
from tests.support.agent import MODEL, Agent
from tests.support.browser import CHROMIUM
from tests.support.upstream import Upstream

# As openai-node asks from a browser (`dangerouslyAllowBrowser`), with the names of its header fields.
SCRIPT = """
const [url, token, model] = CONFIG;
const names = ["arch", "lang", "os", "package-version", "retry-count", "runtime", "runtime-version", "timeout"];
const stainless = Object.fromEntries(names.map(name => ["x-stainless-" + name, "made-up"]));
const post = (body, key = token) => fetch(url + "/v1/chat/completions", {
  method: "POST", body, headers: {"content-type": "application/json", authorization: "Bearer " + key, ...stainless},
});
const chat = more => JSON.stringify({model, messages: [{role: "user", content: "chunks=2"}], ...more});
async function ask(request) {
  try {
    const answer = await request();
    const text = await answer.text();
    const field = name => answer.headers.get(name);
    const id = field("x-request-id") !== null;
    return [answer.status, text.length > 0, id, field("retry-after"), text.includes("[DONE]")];
  } catch (error) {
    return String(error);
  }
}
(async () => {
  const results = {
    whole: await ask(() => post(chat())),
    stream: await ask(() => post(chat({stream: true}))),
    token: await ask(() => post(chat(), "wrong")),
    size: await ask(() => post("x".repeat(3000000))),
    memory: await ask(() => post("x".repeat(1500000))),
    path: await ask(() => fetch(url + "/v1/unknown", {headers: {authorization: "Bearer " + token}})),
    models: await ask(() => fetch(url + "/v1/models", {headers: {authorization: "Bearer " + token, ...stainless}})),
  };
  document.body.textContent = JSON.stringify(results);
})();
"""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")


@pytest.fixture
def page_port(io_loop: IOLoop, pages: dict[str, bytes]) -> Iterator[int]:
    """The port of a web server with one page."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        page = pages["page"]
        head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {len(page)}\r\nConnection: close\r\n\r\n"
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):  # a browser connects in advance, too
            await reader.readuntil(b"\r\n\r\n")
            writer.write(head.encode() + page)
            await writer.drain()
        writer.close()

    server = io_loop.run_sync(lambda: asyncio.start_server(answer, "127.0.0.1", 0))
    yield server.sockets[0].getsockname()[1]
    server.close()


@pytest.fixture
def pages() -> dict[str, bytes]:
    """The page, under the name `page`."""
    return {}


async def run_page(agent: Agent, pages: dict[str, bytes], port: int, folder: Path) -> Any:
    """Opens the page in a browser and returns what it has written."""
    script = SCRIPT.replace("CONFIG", json.dumps([agent.url, agent.token, MODEL]), 1)
    pages["page"] = f"<!doctype html><body><script>{script}</script>".encode()
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=15000", "--dump-dom"]
    process = await asyncio.create_subprocess_exec(
        str(CHROMIUM), *options, f"--user-data-dir={folder}", f"http://127.0.0.1:{port}/",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    out, _ = await process.communicate()
    match = re.search(r"<body>(\{.*\})</body>", out.decode(), re.DOTALL)
    assert match is not None, out
    return json.loads(html.unescape(match[1]))


async def test_page_of_a_listed_origin(
    make_agent: MakeAgent, upstream: Upstream, pages: dict[str, bytes], page_port: int, tmp_path_factory: Any
) -> None:
    """A page of a listed origin reads answers, streams and all errors, with their header fields."""
    agent = await make_agent(
        cors_origins=(f"http://127.0.0.1:{page_port}",), max_body_size=2_000_000, max_buffered_size=4_000_000
    )
    others = agent.server.memory.share("other")
    assert others.grow(1_200_000)
    results = await run_page(agent, pages, page_port, tmp_path_factory.mktemp("browser"))
    others.release()
    assert results == {
        "whole": [200, True, True, None, False],
        "stream": [200, True, True, None, True],
        "token": [401, True, True, None, False],
        "size": [413, True, True, None, False],
        "memory": [503, True, True, "1", False],
        "path": [404, True, True, None, False],
        "models": [200, True, False, None, False],
    }
    assert len(upstream.requests) == 2


async def test_page_of_another_origin(
    make_agent: MakeAgent, upstream: Upstream, pages: dict[str, bytes], page_port: int, tmp_path_factory: Any
) -> None:
    """A page of another origin cannot send a request with a token, and reads nothing."""
    agent = await make_agent(cors_origins=("https://chat.example.com",))
    results = await run_page(agent, pages, page_port, tmp_path_factory.mktemp("browser"))
    assert set(results.values()) == {"TypeError: Failed to fetch"}
    assert upstream.requests == []
