"""The sign-in at a running agent, from the first admin on."""

import logging
import re

import pytest

from tests.conftest import MakeAgent
from tests.support.agent import Agent
from tests.support.client import Connection, request_bytes
from tests.support.console import PASSWORD, ConsoleClient, add_admin
from tests.support.upstream import Upstream

LINK = re.compile(r"^open http://127\.0\.0\.1:(\d+)/console(/first-run\?code=[\w-]{43}) to create the first admin$")
TYPED = {"name": "carol", "password": PASSWORD, "again": PASSWORD}


@pytest.fixture(autouse=True)
def info(caplog: pytest.LogCaptureFixture) -> None:
    """The log has what `serve` shows by default."""
    caplog.set_level(logging.INFO)


async def start(make_agent: MakeAgent, caplog: pytest.LogCaptureFixture, **settings: object) -> tuple[Agent, list[str]]:
    """Starts an agent; returns it with the links that it has logged, as paths below /console."""
    caplog.clear()
    agent = await make_agent(**settings)
    await agent.until(lambda: "ready" in [record.getMessage() for record in caplog.records])
    matches = [match for record in caplog.records if (match := LINK.match(record.getMessage()))]
    assert {int(match[1]) for match in matches} <= {agent.server.admin_port}
    return agent, [match[2] for match in matches]


async def test_link_in_the_log_creates_the_first_admin(make_agent: MakeAgent, caplog: pytest.LogCaptureFixture) -> None:
    """The browser that opened it is signed in, and any other one can sign in with the password."""
    agent, [link] = await start(make_agent, caplog)
    client, other = ConsoleClient(agent), ConsoleClient(agent)
    await client.submit(link, "first", **TYPED)
    assert (await client.get("/users")).title == "Users"
    page = await other.submit("/login?next=/console/users", "login", name="carol", password=PASSWORD)
    assert page.title == "Users"


async def test_link_works_once(make_agent: MakeAgent, caplog: pytest.LogCaptureFixture) -> None:
    """A form that was opened before is refused afterwards."""
    agent, [link] = await start(make_agent, caplog)
    late = ConsoleClient(agent)
    form = (await late.get(link)).form("first")
    await ConsoleClient(agent).submit(link, "first", **TYPED)
    answer = await late.send("/first-run", {**form, **TYPED, "name": "eve"})
    assert [admin.name for admin in await agent.administration.admins.list()] == ["carol"]
    assert (answer.status, (await late.get("/users")).status) == (410, 303)
    assert "This link has been used" in answer.text


async def test_secrets_are_not_logged(make_agent: MakeAgent, caplog: pytest.LogCaptureFixture) -> None:
    """The log has the link once, from the start: no query string, password or session."""
    caplog.set_level(logging.DEBUG)
    agent, [link] = await start(make_agent, caplog)
    client = ConsoleClient(agent)
    await client.submit(link, "first", **TYPED)
    await ConsoleClient(agent).submit("/login", "login", name="carol", password="another password")
    assert caplog.text.count(link.partition("=")[2]) == 1
    assert "GET /console/first-run 200" in caplog.text
    for secret in (PASSWORD, "another password", client.cookies["__Host-session"]):
        assert secret not in caplog.text


async def test_agent_with_an_admin_logs_no_link(make_agent: MakeAgent, caplog: pytest.LogCaptureFixture) -> None:
    """Another agent on the database finds the admin with a password; a token alone does not sign in."""
    first, links = await start(make_agent, caplog)
    assert len(links) == 1
    key, folder = first.config.data_dir / "master.key", first.config.data_dir
    await first.admin_token("dave")
    _, links = await start(make_agent, caplog, data_dir=folder.with_name("second"), master_key_file=key)
    assert len(links) == 1
    await add_admin(first)
    _, links = await start(make_agent, caplog, data_dir=folder.with_name("third"), master_key_file=key)
    assert links == []


async def test_proxy_signs_in_at_a_running_agent(
    make_agent: MakeAgent, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a password; the header is never sent to OpenAI, nor believed by the API for clients."""
    settings = {"admin_user_header": "Remote-User", "admin_user_header_from": ("127.0.0.1",)}
    agent, _ = await start(make_agent, caplog, **settings)
    await agent.admin_token("carol")
    assert (await ConsoleClient(agent, Remote_User="carol").get("/users")).title == "Users"
    assert (await ConsoleClient(agent, Remote_User="mallory").get("/users")).status == 403
    assert (await ConsoleClient(agent).get("/users")).status == 303
    await agent.post(agent.body(), **{"Remote-User": "carol"})
    assert upstream.requests[0].header("Remote-User") is None


async def test_other_host_is_refused(make_agent: MakeAgent, caplog: pytest.LogCaptureFixture) -> None:
    """A page of another site that gives the console's address to its own name (DNS rebinding) gets 421."""
    agent, _ = await start(make_agent, caplog, admin_hosts=("console.example.com",))
    statuses = []
    for host in ("console.example.com", "127.0.0.1", "localhost:8081", "evil.example"):
        connection = await Connection.open(agent.admin_url)
        await connection.send(request_bytes("GET", "/console/login", {"Host": host}, b""))
        statuses.append((await connection.answer()).status)
        await connection.close()
    assert statuses == [200, 200, 200, 421]
