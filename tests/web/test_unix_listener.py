"""An agent behind a Unix socket: everything is as on a port, and its client is a proxy that is believed."""

from pathlib import Path

import pytest

from chatgpt_agent.web.client_stream import ConnectionLimits
from tests.conftest import MakeAgent
from tests.faults.processes import Flood
from tests.support.agent import MODEL, Agent
from tests.support.client import Answer, Connection, request_bytes
from tests.support.console import sign_in
from tests.support.upstream import Received, Reply, Upstream, stream_events


@pytest.fixture
def address(short_folder: Path) -> str:
    return f"unix:{short_folder}/api.sock"


async def send(address: str, agent: Agent, body: bytes, **headers: str) -> Connection:
    """Sends a chat request, and leaves the answer to the caller."""
    connection = await Connection.open(address)
    fields = agent.headers(**{name.replace("_", "-"): value for name, value in headers.items()})
    await connection.send(request_bytes("POST", "/v1/chat/completions", fields, body))
    return connection


async def models(address: str, **headers: str) -> Answer:
    """Asks for the models."""
    connection = await Connection.open(address)
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    await connection.send(request_bytes("GET", "/v1/models", fields, b""))
    answer = await connection.answer()
    await connection.close()
    return answer


async def test_requests_are_answered(make_agent: MakeAgent, address: str, upstream: Upstream) -> None:
    """Whole answers, and streams of more than buffers hold."""
    agent: Agent = await make_agent(bind_address=address)
    connection = await send(address, agent, agent.body())
    assert (await connection.answer()).status == 200
    upstream.script = Flood(30)
    await connection.send(request_bytes("POST", "/chat", agent.headers(), agent.body(stream=True)))
    answer = await connection.answer()
    assert (answer.complete, len(answer.body) > 3_000_000) == (True, True)
    await connection.close()


async def test_client_that_leaves_is_noticed(make_agent: MakeAgent, address: str, upstream: Upstream) -> None:
    """Where its answer may not be read on, the request to OpenAI is aborted, which never ends by itself."""

    async def script(_: Received, reply: Reply) -> None:
        await reply.stream_head()
        await reply.chunk(stream_events(1, (1, 0, 1, 0))[0])
        await reply.writer.wait_closed()

    upstream.script = script
    agent: Agent = await make_agent(bind_address=address, drain_after_disconnect=0)
    connection = await send(address, agent, agent.body(stream=True))
    await connection.head()
    await connection.close()
    await agent.until(lambda: not agent.server.upstream.running)
    assert [row["client_closed"] for row in await agent.rows(1)] == [True]


async def test_client_that_reads_nothing_is_reset(make_agent: MakeAgent, address: str, upstream: Upstream) -> None:
    """As on a port, by the bytes that wait in the socket."""
    agent: Agent = await make_agent(bind_address=address, limits=ConnectionLimits(stall_seconds=0.3))
    upstream.script = Flood(100)
    connection = await send(address, agent, agent.body(stream=True))
    connection.writer.transport.pause_reading()  # type: ignore[attr-defined]
    [row] = await agent.rows(1)
    assert (row["state"], row["client_closed"]) == ("done", True)
    await connection.close()


async def test_forwarded_address_is_believed(make_agent: MakeAgent, address: str) -> None:
    """Wrong tokens of one client do not shut out another."""
    await make_agent(bind_address=address)
    for _ in range(11):
        answer = await models(address, Authorization="Bearer cga_wrong", X_Forwarded_For="192.0.2.1")
    assert answer.status == 429
    assert (await models(address, Authorization="Bearer cga_wrong", X_Forwarded_For="192.0.2.2")).status == 401


async def test_requests_at_once_are_limited_by_forwarded_address(
    make_agent: MakeAgent, address: str, upstream: Upstream
) -> None:
    """Without X-Forwarded-For they all count for one."""
    agent: Agent = await make_agent(bind_address=address, limits=ConnectionLimits(connections_per_address=1))
    may_answer = upstream.hold()
    first = await send(address, agent, agent.body(), X_Forwarded_For="192.0.2.1")
    await agent.until(lambda: agent.server.admissions.running == 1)
    token = {"Authorization": f"Bearer {agent.token}"}
    assert (await models(address, **token, X_Forwarded_For="192.0.2.1")).status == 429
    assert (await models(address, **token, X_Forwarded_For="192.0.2.2")).status == 200
    may_answer.set()
    assert (await first.answer()).status == 200
    await first.close()


async def test_console_reaches_an_api_without_a_port(make_agent: MakeAgent, address: str) -> None:
    """Its first request goes through the socket."""
    agent: Agent = await make_agent(bind_address=address)
    page = await (await sign_in(agent)).submit("/setup", "first", token=agent.token, model=MODEL, message="Hi")
    assert "The request has been answered." in page.text


async def test_administration_on_a_socket(make_agent: MakeAgent, address: str) -> None:
    """Beside the API on a port."""
    await make_agent(admin_bind_address=address)
    connection = await Connection.open(address)
    await connection.send(request_bytes("GET", "/readyz", {}, b""))
    assert (await connection.answer()).status == 200
    await connection.close()
