"""What a new configuration changes in a running agent, key by key."""

import asyncio
import inspect
import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlencode

import msgspec
import pytest
import trustme
from tornado.ioloop import IOLoop

from chatgpt_agent import wiring
from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.config_reload import RELOADABLE
from chatgpt_agent.core.errors import SetupError
from chatgpt_agent.listening import Listening, connection_limits, within_file_limit
from chatgpt_agent.runtime.alerts import open_webhook
from chatgpt_agent.server import Server
from chatgpt_agent.web.admin.routes import PREFIX
from chatgpt_agent.wiring import Wiring
from tests.conftest import MakeAgent
from tests.support.agent import Agent
from tests.support.budgets import set_budget
from tests.support.client import fetch
from tests.support.metrics import scrape
from tests.support.upstream import Received, Reply, Upstream, stream_events
from tests.support.waiting import until

pytestmark = pytest.mark.shared_agent

Change = Callable[..., tuple[str, ...]]


@pytest.fixture
def change(agent: Agent, io_loop: IOLoop) -> Iterator[Change]:
    """Takes over values of some keys, and returns the keys that changed. After the test the first values are back."""

    def take_over(**values: Any) -> tuple[str, ...]:
        return agent.server.take_over(msgspec.structs.replace(agent.config, **values)).changed

    async def restore() -> None:
        agent.server.take_over(agent.config)

    yield take_over
    io_loop.run_sync(restore)


async def test_largest_body(agent: Agent, change: Change) -> None:
    """The limit is in force for the next request, also on a connection that is open."""
    assert change(max_body_size=2000) == ("max_body_size",)
    assert (await agent.chat("x" * 3000)).status == 413


async def test_requests_at_once(agent: Agent, change: Change, upstream: Upstream) -> None:
    """A request in progress stays, and one more is refused."""
    go = asyncio.Event()

    async def script(_: Received, reply: Reply) -> None:
        await go.wait()
        await reply.stream_head()
        for event in stream_events(1, (1, 0, 1, 0)):
            await reply.chunk(event)
        await reply.end()

    upstream.script = script
    first = await agent.begin(stream=True)
    await agent.until(lambda: agent.server.admissions.running == 1)
    change(max_concurrent_requests=1)
    assert (await agent.chat()).status == 503
    go.set()
    assert (await first.answer()).complete
    await first.close()


async def test_origins(agent: Agent, change: Change) -> None:
    """Pages of an origin get access, and lose it."""
    origin = {"Origin": "https://chat.example.com"}
    assert (await fetch(f"{agent.url}/healthz", headers=origin)).header("Vary") is None
    change(cors_origins=("https://chat.example.com",))
    answer = await fetch(f"{agent.url}/healthz", headers=origin)
    assert answer.header("Access-Control-Allow-Origin") == "https://chat.example.com"


async def test_trusted_proxies(agent: Agent, change: Change) -> None:
    """The client behind a new proxy is the one that it names."""
    change(trusted_proxies=("127.0.0.0/8",))
    wrong = {"Authorization": "Bearer cga_wrong", "X-Forwarded-For": "192.0.2.1"}
    for _ in range(11):
        answer = await fetch(f"{agent.url}/v1/models", headers=wrong)
    assert answer.status == 429
    assert (await fetch(f"{agent.url}/v1/models", headers={**wrong, "X-Forwarded-For": "192.0.2.2"})).status == 401


async def test_hosts_of_the_console(agent: Agent, change: Change) -> None:
    """A name is accepted from then on."""
    host = {"Host": "console.example.com"}
    assert (await fetch(f"{agent.admin_url}/console", headers=host)).status == 421
    change(admin_hosts=("console.example.com",))
    assert (await fetch(f"{agent.admin_url}/console", headers=host)).status == 303


async def test_networks_of_the_metrics(agent: Agent, change: Change) -> None:
    """This machine may no longer read them without a token."""
    assert (await scrape(agent)).status == 200
    change(metrics_networks=("192.0.2.0/24",))
    assert (await scrape(agent)).status == 401


async def test_public_url(agent: Agent, change: Change) -> None:
    """The page for users has it."""
    change(public_url="https://ai.example.com")
    form = urlencode({"form": "show", "days": "30", "scope": "token", "token": agent.token}).encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    page = await fetch(f"{agent.url}/me/page", "POST", headers, form)
    assert b"https://ai.example.com/v1" in page.body


async def test_assumptions_of_budgets(agent: Agent, change: Change) -> None:
    """A request without an output limit may cost more than is left, by the new numbers."""
    await set_budget(agent, Decimal(1))
    assert (await agent.chat()).status == 200
    change(budget_output_tokens=10_000_000)
    assert (await agent.chat()).error["code"] == "insufficient_quota"


async def test_configuration_in_force_is_shown(agent: Agent, change: Change) -> None:
    """The administrators' API reads the values of the last reload."""
    change(stale_after=77.0, port=1)
    headers = {"Authorization": f"Bearer {await agent.admin_token('root')}"}
    system = (await fetch(f"{agent.admin_url}{PREFIX}/system", headers=headers)).json
    values = {setting["key"]: setting["value"] for setting in system["settings"]}
    assert (values["stale_after"], values["port"]) == ("77", "0")


async def test_unreadable_secret_changes_nothing(agent: Agent, change: Change, tmp_path: Path) -> None:
    """No other key of a configuration that is refused is in force."""
    with pytest.raises(SetupError, match="webhook"):
        change(webhook_url="http://127.0.0.1:9/", webhook_secret_file=tmp_path / "missing", max_body_size=2000)
    assert (await agent.chat("x" * 3000)).status == 200


@pytest.mark.own_agent
async def test_request_in_progress_keeps_its_proxy(make_agent: MakeAgent, upstream: Upstream) -> None:
    """The next one goes through the new proxy, and the former client is closed once it has nothing to do."""
    go = asyncio.Event()

    async def script(_: Received, reply: Reply) -> None:
        await reply.stream_head()
        first, *others = stream_events(2, (1, 0, 1, 0))
        await reply.chunk(first)
        await go.wait()
        for event in others:
            await reply.chunk(event)
        await reply.end()

    upstream.script = script
    agent: Agent = await make_agent()
    connection = await agent.begin(stream=True)
    await connection.head()
    await connection.chunk()
    former = agent.server.upstream.http_client
    agent.server.take_over(msgspec.structs.replace(agent.config, openai_proxy="http://127.0.0.1:9"))
    assert (await agent.chat()).error["code"] == "proxy_error"
    assert not former.is_closed
    go.set()
    while await connection.chunk():
        pass
    await until(lambda: former.is_closed)
    await connection.close()


@pytest.mark.own_agent
async def test_certificates_are_read_again(make_agent: MakeAgent, tmp_path: Path) -> None:
    """With a file of CA certificates, each reload makes new connections: libcurl keeps what it has read for a day."""
    path = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(path)
    agent: Agent = await make_agent(openai_ca_file=path)
    former = agent.server.upstream.http_client
    agent.server.take_over(agent.config)
    assert former.is_closed
    assert (await agent.chat()).status == 200


# Each key of the table reaches a service.


WHEN_NEEDED = {"drain_timeout", "public_url"}  # are read from the configuration in force


def names_after(word: str, source: str) -> set[str]:
    return set(re.findall(rf"\b{word}\.(\w+)", source))


def test_every_reloadable_key_is_handed_out() -> None:
    """It is read in the steps of a reload, or in a property of the configuration that is."""
    helpers = [part for part in vars(wiring).values() if getattr(part, "__module__", "") == wiring.__name__]
    steps: list[Any] = [Server.take_over, Listening, connection_limits, within_file_limit, open_webhook]
    steps += [Wiring.reload, *filter(inspect.isfunction, helpers)]
    source = "".join(inspect.getsource(step) for step in steps)
    read = names_after("config", source) | WHEN_NEEDED
    for name, part in vars(Config).items():
        if name in read and isinstance(part, property):
            read |= names_after("self", inspect.getsource(cast(Any, part.fget)))
    assert frozenset() == RELOADABLE - read
