"""`GET /proxyz`: the stream by which doctor learns what a proxy in front does. Unsigned, it is an unknown URL."""

import asyncio
import time
from pathlib import Path

import pytest

from chatgpt_agent.core.proxy_probe import HEADER, PATH, read_event, signed_value
from chatgpt_agent.runtime.tuning import Tuning
from tests.conftest import MakeAgent
from tests.support.agent import Agent
from tests.support.client import Answer, Connection, fetch, request_bytes

pytestmark = pytest.mark.shared_agent(tuning=Tuning(proxy_probe=0.01))


def signed(agent: Agent, seconds: int = 0) -> dict[str, str]:
    """Returns the header of a probe that was signed so many seconds ago."""
    at = int(time.time()) - seconds
    return {HEADER: signed_value(at, agent.server.admin_authenticator.keyring.probe_signatures(at)[-1])}


def is_unknown(answer: Answer) -> bool:
    """Whether an answer is that to an unknown URL."""
    message = f"Unknown request URL: GET {PATH}."
    return (answer.status, answer.error["code"], answer.error["message"]) == (404, "unknown_url", message)


async def test_signed_request_gets_three_events(agent: Agent) -> None:
    """They say what the agent sees of the client; a proxy that is not trusted is not believed."""
    answer = await fetch(agent.url + PATH, headers={**signed(agent), "X-Forwarded-For": "192.0.2.7, 192.0.2.8"})
    assert (answer.status, answer.header("content-type")) == (200, "text/event-stream")
    assert (answer.header("x-accel-buffering"), answer.header("cache-control")) == ("no", "no-cache")
    events = [event for each in answer.body.split(b"\n\n") if (event := read_event(each)) is not None]
    first = events[0]
    assert (first.client, first.peer, first.trusted, first.forwarded) == ("127.0.0.1", "127.0.0.1", False, 2)
    assert events[0].ms < events[1].ms < events[2].ms


async def test_events_are_sent_one_by_one(make_agent: MakeAgent) -> None:
    """The first has arrived while the second waits."""
    agent = await make_agent(tuning=Tuning(proxy_probe=60.0))
    connection = await Connection.open(agent.url)
    await connection.send(request_bytes("GET", PATH, signed(agent), b""))
    await connection.head()
    assert (await connection.chunk()).count(b"data: ") == 1
    await connection.close()
    await agent.until(lambda: not agent.server.proxy_probe.running)  # and it notices that its client has left


@pytest.mark.parametrize("value", ["", "1.2", "x" * 9000, "-1." + "0" * 64, "9" * 12 + "." + "0" * 64])
async def test_unsigned_request_is_one_of_an_unknown_url(agent: Agent, value: str) -> None:
    """The answer is the same as to any other URL that there is not."""
    assert is_unknown(await fetch(agent.url + PATH, headers={HEADER: value} if value else {}))


async def test_wrong_signature_is_one_of_an_unknown_url(agent: Agent) -> None:
    """It counts for one second alone, and for a minute."""
    [value] = signed(agent).values()
    seconds, _, signature = value.partition(".")
    for wrong in (f"{int(seconds) - 1}.{signature}", f"{seconds}.{signature[::-1]}"):
        assert is_unknown(await fetch(agent.url + PATH, headers={HEADER: wrong}))
    for age in (65, -65):
        assert is_unknown(await fetch(agent.url + PATH, headers=signed(agent, age)))


async def test_other_method_is_one_of_an_unknown_url(agent: Agent) -> None:
    """There is nothing to be changed."""
    assert (await fetch(agent.url + PATH, "POST", signed(agent))).error["code"] == "unknown_url"


async def test_url_is_not_named(agent: Agent) -> None:
    """It is no URL that a client could mean."""
    assert "Did you mean" not in (await fetch(agent.url + "/proxy")).error["message"]


async def test_admin_port_has_no_probe(agent: Agent) -> None:
    """Clients do not come there."""
    assert (await fetch(agent.admin_url + PATH, headers=signed(agent))).status == 404


async def test_only_a_few_run_at_once(agent: Agent) -> None:
    """The fifth is refused."""
    agent.server.proxy_probe.running += 4
    answer = await fetch(agent.url + PATH, headers=signed(agent))
    agent.server.proxy_probe.running -= 4
    assert (answer.status, answer.error["code"]) == (503, "overloaded")


async def test_client_of_http_1_0_gets_the_stream(agent: Agent) -> None:
    """nginx speaks HTTP/1.0 to what is behind it, by default."""
    reader, writer = await asyncio.open_connection("127.0.0.1", agent.server.port)
    [value] = signed(agent).values()
    writer.write(f"GET {PATH} HTTP/1.0\r\n{HEADER}: {value}\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    assert (answer.count(b"data: "), b"chunked" in answer) == (3, False)


async def test_proxy_on_a_unix_socket_is_believed(make_agent: MakeAgent, short_folder: Path) -> None:
    """It has no address."""
    address = f"unix:{short_folder}/api.sock"
    agent = await make_agent(bind_address=address, tuning=Tuning(proxy_probe=0.01))
    connection = await Connection.open(address)
    await connection.send(request_bytes("GET", PATH, {**signed(agent), "X-Forwarded-For": "192.0.2.7"}, b""))
    event = read_event((await connection.answer()).body.partition(b"\n\n")[0])
    await connection.close()
    assert event is not None
    assert (event.client, event.peer, event.port, event.trusted, event.forwarded) == ("192.0.2.7", "", 0, True, 1)
