"""TLS of the agent's own listeners: everything is as without it, and clients without it get an answer."""

import asyncio
import contextlib
import socket
import ssl
from pathlib import Path

import msgspec
import pytest

from chatgpt_agent.core.errors import ConfigError
from chatgpt_agent.web.client_stream import ConnectionLimits
from tests.conftest import MakeAgent
from tests.faults.processes import Flood
from tests.support.agent import MODEL, Agent
from tests.support.client import Connection, fetch, request_bytes
from tests.support.console import sign_in
from tests.support.tls import Files, issue
from tests.support.upstream import Received, Reply, Upstream, stream_events


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return issue(tmp_path)


async def test_requests_are_answered(make_agent: MakeAgent, files: Files) -> None:
    """Whole answers and streams, one after the other on a connection."""
    agent: Agent = await make_agent(**files.settings)
    connection = await agent.begin("hello")
    assert (await connection.answer()).complete
    body = agent.body("chunks=5", stream=True)
    await connection.send(request_bytes("POST", "/v1/chat/completions", agent.headers(), body))
    answer = await connection.answer()
    assert (answer.status, answer.complete, answer.body[-14:]) == (200, True, b"data: [DONE]\n\n")
    await connection.close()
    assert len(await agent.rows(2)) == 2


async def test_large_body_and_large_answer(make_agent: MakeAgent, files: Files, upstream: Upstream) -> None:
    """They take more than one record of TLS, and more than a socket's buffer."""
    agent: Agent = await make_agent(**files.settings)
    answer = await agent.chat("x" * 3_000_000)
    assert (answer.status, len(upstream.requests[0].body) > 3_000_000) == (200, True)
    upstream.script = Flood(30)
    answer = await agent.chat(stream=True)
    assert (answer.complete, len(answer.body) > 3_000_000) == (True, True)


async def test_protocol_and_versions(make_agent: MakeAgent, files: Files) -> None:
    """HTTP/1.1 is chosen of what a client offers, and TLS 1.1 is refused."""
    agent: Agent = await make_agent(**files.settings)
    connection = await Connection.open(agent.url)
    tls = connection.writer.get_extra_info("ssl_object")
    assert (tls.selected_alpn_protocol(), tls.version()) == ("http/1.1", "TLSv1.3")
    await connection.close()
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError):
        await asyncio.open_connection("127.0.0.1", agent.server.port, ssl=old)


async def test_client_that_leaves_is_noticed(make_agent: MakeAgent, files: Files, upstream: Upstream) -> None:
    """Where its answer may not be read on, the request to OpenAI is aborted, which never ends by itself."""

    async def script(_: Received, reply: Reply) -> None:
        await reply.stream_head()
        await reply.chunk(stream_events(1, (1, 0, 1, 0))[0])
        await reply.writer.wait_closed()

    upstream.script = script
    agent: Agent = await make_agent(**files.settings, drain_after_disconnect=0)
    connection = await agent.begin(stream=True)
    await connection.head()
    connection.writer.transport.abort()
    await agent.until(lambda: not agent.server.upstream.running)
    [row] = await agent.rows(1)
    assert (row["state"], row["client_closed"]) == ("incomplete", True)


async def test_slow_client_slows_the_upstream_down(make_agent: MakeAgent, files: Files, upstream: Upstream) -> None:
    """While the client reads nothing, the upstream can send only what buffers hold; then it gets all."""
    agent: Agent = await make_agent(**files.settings)
    flood = upstream.script = Flood(300)
    connection = await agent.begin(stream=True)
    connection.writer.transport.pause_reading()  # type: ignore[attr-defined]
    await flood.until_blocked()
    assert 0 < flood.sent < 250
    connection.writer.transport.resume_reading()  # type: ignore[attr-defined]
    assert (await connection.answer()).complete
    await connection.close()


async def test_refused_body_does_not_cut_the_answer_off(make_agent: MakeAgent, files: Files) -> None:
    """A client that still sends reads the whole error: what it sends is dropped, not reset."""
    agent: Agent = await make_agent(**files.settings, max_body_size=10_000)
    connection = await Connection.open(agent.url)
    await connection.send(request_bytes("POST", "/v1/chat/completions", agent.headers(), b"x" * 5_000_000))
    answer = await connection.answer()
    assert (answer.status, answer.complete) == (413, True)
    assert await connection.reader.read() == b""  # the end is one of TLS: otherwise this raises
    await connection.close()


async def test_answer_without_a_length_ends_with_a_notice(make_agent: MakeAgent, files: Files) -> None:
    """A client of HTTP/1.0 could not tell the end of a stream from a connection that is cut."""
    agent: Agent = await make_agent(**files.settings)
    connection = await Connection.open(agent.url)
    request = request_bytes("POST", "/chat", agent.headers(), agent.body(stream=True))
    await connection.send(request.replace(b"HTTP/1.1", b"HTTP/1.0", 1))
    assert (await connection.reader.read()).endswith(b"data: [DONE]\n\n")
    await connection.close()


async def test_plain_http_is_answered(make_agent: MakeAgent, files: Files) -> None:
    """The error says what to do, and the connection ends."""
    agent: Agent = await make_agent(**files.settings)
    answer = await fetch(f"http://127.0.0.1:{agent.server.port}/v1/models", headers=agent.headers())
    assert (answer.status, answer.complete) == (400, True)
    assert "This port speaks TLS" in answer.error["message"]


@pytest.mark.parametrize("first", [b"", b"\x16\x03\x01", b"\x16\x03\x01\x02\x00\x01"])
async def test_handshake_that_does_not_go_on_is_cut_off(make_agent: MakeAgent, files: Files, first: bytes) -> None:
    """It has the time of a request's head, and others are served meanwhile."""
    agent: Agent = await make_agent(**files.settings, limits=ConnectionLimits(head_seconds=0.3))
    reader, writer = await asyncio.open_connection("127.0.0.1", agent.server.port)
    writer.write(first)
    assert (await agent.chat()).status == 200
    assert await reader.read() == b""
    writer.close()
    await agent.until(lambda: agent.server.listeners[0].connections == 0)


async def test_handshakes_count_as_connections(make_agent: MakeAgent, files: Files) -> None:
    """Over the limit the oldest of them makes room."""
    agent: Agent = await make_agent(
        **files.settings, limits=ConnectionLimits(connections=20), max_concurrent_requests=1
    )
    clients = [socket.create_connection(("127.0.0.1", agent.server.port)) for _ in range(20)]
    await agent.until(lambda: agent.server.listeners[0].connections == 20)
    assert (await agent.chat()).status == 200
    for client in clients:
        client.close()


async def test_what_is_not_tls_ends_the_connection(
    make_agent: MakeAgent, files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    """It leaves no line in the log, which a port scanner could fill."""
    agent: Agent = await make_agent(**files.settings)
    for garbage in (b"\x00" * 100, b"\xff" * 20_000, b"\x16\x03\x01\x00\x05hello"):
        reader, writer = await asyncio.open_connection("127.0.0.1", agent.server.port)
        writer.write(garbage)
        with contextlib.suppress(ConnectionResetError):
            assert not (await reader.read()).startswith(b"HTTP")
        writer.close()
    of_connections = ("asyncio", "chatgpt_agent.web", "tornado")  # threads of other tests may log, too
    lines = [record for record in caplog.records if record.name.startswith(of_connections)]
    assert [record for record in lines if record.levelname != "DEBUG"] == []


# The console.


async def test_console_over_tls(make_agent: MakeAgent, files: Files) -> None:
    """Forms are accepted from its own pages, and the first request reaches the API, whose certificate is checked."""
    agent: Agent = await make_agent(**files.settings, admin_tls=True)
    admin = await sign_in(agent)
    admin.headers |= {"Origin": agent.admin_url, "Sec-Fetch-Site": "same-origin"}
    page = await admin.submit("/setup", "first", token=agent.token, model=MODEL, message="Hi")
    assert "The request has been answered." in page.text
    assert f"https://127.0.0.1:{agent.server.port}/v1" in page.html


async def test_console_is_without_tls_by_default(make_agent: MakeAgent, files: Files) -> None:
    """It listens on this machine alone, under names that the certificate does not have."""
    agent: Agent = await make_agent(**files.settings)
    assert (await fetch(f"{agent.admin_url}/healthz")).status == 200
    assert (await (await sign_in(agent)).get("/users")).status == 200


# A reload.


async def test_new_certificate_is_for_new_connections(make_agent: MakeAgent, files: Files, tmp_path: Path) -> None:
    """The file has the same name; a connection that is open goes on."""
    agent: Agent = await make_agent(**files.settings)
    before = await Connection.open(agent.url)
    issue(tmp_path)
    agent.server.take_over(agent.config)
    after = await Connection.open(agent.url)
    assert certificate_of(before) != certificate_of(after)
    for connection in (before, after):
        await connection.send(request_bytes("GET", "/healthz", {}, b""))
        assert (await connection.answer()).status == 200
        await connection.close()


def certificate_of(connection: Connection) -> bytes:
    """The certificate that the agent has shown."""
    certificate: bytes = connection.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    return certificate


async def test_tls_begins_and_ends_with_a_reload(make_agent: MakeAgent, files: Files) -> None:
    """New connections speak it, or do not."""
    agent: Agent = await make_agent()
    agent.config = msgspec.structs.replace(agent.config, **files.settings)
    agent.server.take_over(agent.config)
    assert (await agent.chat()).status == 200
    agent.config = msgspec.structs.replace(agent.config, tls_certificate=None, tls_key=None)
    agent.server.take_over(agent.config)
    assert (await agent.chat()).status == 200


async def test_key_of_another_certificate_changes_nothing(make_agent: MakeAgent, files: Files, tmp_path: Path) -> None:
    """The certificate in force stays, and with it all other keys."""
    agent: Agent = await make_agent(**files.settings)
    other = msgspec.structs.replace(agent.config, tls_key=issue(tmp_path, "other").key, max_body_size=2000)
    with pytest.raises(ConfigError, match="does not belong to"):
        agent.server.take_over(other)
    assert (await agent.chat("x" * 3000)).status == 200
