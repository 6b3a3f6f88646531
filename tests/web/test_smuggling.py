"""Request smuggling: bytes that programs have read as different requests are one request to the agent, or none, on both
of its listeners."""

import asyncio
import re
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest

from tests.support.agent import MODEL, Agent
from tests.support.client import Connection
from tests.support.smuggling import HIDDEN_MARK, LAST_REQUEST, MARK, Case, Site, corpus
from tests.support.upstream import Upstream

pytestmark = pytest.mark.shared_agent

AT_ONCE = 16  # connections

Effects = Callable[[], Awaitable["Counter[bytes]"]]


def marked(case: Case, number: int) -> bytes:
    """The bytes of a case with marks of its own, and the request behind it."""
    own, hidden = b"m%05d" % number, b"h%05d" % number
    return case.data.replace(MARK, own).replace(HIDDEN_MARK, hidden) + LAST_REQUEST


def chat(agent: Agent) -> Site:
    """The URL of chats, for a user of an agent."""
    fields = f"Authorization: Bearer {agent.token}", "Content-Type: application/json"
    body = b'{"model":"%b","messages":[{"role":"user","content":"%b"}]}' % (MODEL.encode(), MARK)
    return Site("/v1/chat/completions", fields, body, 200, takes_query=True)


async def talk(url: str, source: str, data: bytes) -> tuple[int, ...]:
    """Sends bytes; returns the statuses that come back until the agent closes the connection."""
    connection = await Connection.open(url, source)
    received = b""
    try:
        async with asyncio.timeout(20):
            await connection.send(data)
            while piece := await connection.reader.read(65536):
                received += piece
    except ConnectionError:
        pass
    finally:
        await connection.close()
    assert received.count(b"\r\nX-Agent-Request-Id: ") == received.count(b"HTTP/1.1 ")
    return tuple(map(int, re.findall(rb"HTTP/1\.1 (\d{3}) ", received)))


def contents(upstream: Upstream) -> list[bytes]:
    """What stands in the messages that OpenAI received: the marks."""
    return [request.json["messages"][0]["content"].encode() for request in upstream.requests]


async def faults(url: str, site: Site, effects: Effects) -> list[str]:
    """Plays the corpus; returns a line for each case that was not read as it must be."""
    cases = list(corpus(site))
    places = asyncio.Semaphore(AT_ONCE)

    async def play(number: int) -> tuple[int, ...]:
        async with places:
            # Wrong tokens are counted by address, and those of one address would be refused after some.
            return await talk(url, f"127.1.{number // 250}.{number % 250 + 1}", marked(cases[number], number))

    statuses = await asyncio.gather(*map(play, range(len(cases))))
    marks = await effects()
    lines = []
    for number, case in enumerate(cases):
        result = statuses[number], marks[b"m%05d" % number], marks[b"h%05d" % number]
        if result != (case.statuses, case.effects, case.hidden_effects):
            lines.append(f"{case.name} (§{case.section}): {result}, not {case[3:]}")
    assert sum(marks.values()) == sum(case.effects + case.hidden_effects for case in cases) or lines
    return lines


async def test_clients_cannot_smuggle(agent: Agent, upstream: Upstream) -> None:
    """Each case is refused, and the connection ends, or is exactly one request: one at OpenAI, and one row."""

    async def sent() -> "Counter[bytes]":
        marks = Counter(contents(upstream))
        assert len(await agent.rows()) == marks.total()
        return marks

    assert "\n".join(await faults(agent.url, chat(agent), sent)) == ""


async def test_admins_cannot_smuggle(agent: Agent) -> None:
    """The administrators' API reads the same bytes alike: one change, or none."""
    token = f"Authorization: Bearer {await agent.admin_token('eve')}"
    body = b'{"name":"%b","openai_key":"sk-made-up-key"}' % MARK
    site = Site("/api/v1/users", (token, "Content-Type: application/json"), body, 201, takes_query=False)

    async def added() -> "Counter[bytes]":
        names = await agent.store.fetch("SELECT name FROM users WHERE name ~ '^[mh][0-9]{5}$'")
        return Counter(name.encode() for (name,) in names)

    assert "\n".join(await faults(agent.admin_url, site, added)) == ""
