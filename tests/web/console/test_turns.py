"""Pages wait while a request of a client is in progress, and do not wait otherwise.

Here no page begins because time has passed: four begin at once, and the others wait until the request has ended."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlencode

import pytest

from chatgpt_agent.runtime.page_brake import BrakeTimes
from chatgpt_agent.runtime.tuning import Tuning
from chatgpt_agent.web.console import requests_export
from tests.conftest import MakeAgent
from tests.support.agent import Agent
from tests.support.client import Connection, request_bytes
from tests.support.console import PASSWORD, ConsoleClient, sign_in
from tests.support.upstream import Received, Reply, Upstream

TUNING = Tuning(page_brake=BrakeTimes(interval=600.0, apart=0.0, quiet=0.01, look=0.02, refusal=0.0))

pytestmark = pytest.mark.shared_agent(tuning=TUNING)


@asynccontextmanager
async def request_in_progress(browser: ConsoleClient, upstream: Upstream, pages: int = 4) -> AsyncIterator[None]:
    """A client waits for OpenAI's answer until this ends. So many pages have begun before."""
    received, answer = asyncio.Event(), asyncio.Event()

    async def script(request: Received, reply: Reply) -> None:
        received.set()
        await answer.wait()
        await upstream.openai(request, reply)

    for _ in range(pages):
        assert (await browser.get("/password")).status == 200
    upstream.script = script
    chat = asyncio.create_task(browser.agent.chat())
    await received.wait()
    try:
        yield
    finally:
        answer.set()
        await chat


async def until_waiting(agent: Agent, count: int) -> None:
    """Waits until so many pages wait for their turn."""
    await agent.until(lambda: agent.server.page_brake.waiting == count)


async def test_page_waits_while_a_request_is_in_progress(admin: ConsoleClient, upstream: Upstream) -> None:
    """It is answered when the request has ended."""
    async with request_in_progress(admin, upstream):
        page = asyncio.create_task(admin.get("/password"))
        await until_waiting(admin.agent, 1)
        assert not page.done()
    assert (await page).status == 200


async def test_no_page_waits_without_a_request(admin: ConsoleClient) -> None:
    """A request that has ended delays none."""
    await admin.agent.chat()
    assert [(await admin.get("/password")).status for _ in range(4)] == [200] * 4


async def test_files_and_the_sign_in_do_not_wait(admin: ConsoleClient, upstream: Upstream) -> None:
    """Files cost little, and the sign-in has waits of its own."""
    form = (await ConsoleClient(admin.agent).get("/login")).form("login")
    async with request_in_progress(admin, upstream):
        assert (await admin.fetch("GET", "/static/console.css")).status == 200
        stranger = ConsoleClient(admin.agent)
        stranger.cookies["__Host-xsrf"] = form["_xsrf"]
        body = urlencode({**form, "name": "carol", "password": PASSWORD}).encode()
        answer = await stranger.fetch("POST", "/login", body, Content_Type="application/x-www-form-urlencoded")
        assert (answer.status, admin.agent.server.page_brake.waiting) == (303, 0)


@pytest.mark.parametrize(
    ("language", "text"), [("en", "Too many pages wait"), ("zh", "等待中的页面过多")], ids=["English", "Chinese"]
)
async def test_one_page_too_many_is_refused(admin: ConsoleClient, upstream: Upstream, language: str, text: str) -> None:
    """Its page says so in the language of the browser, and when to try again."""
    async with request_in_progress(admin, upstream):
        pages = [asyncio.create_task(admin.get("/password")) for _ in range(6)]
        await until_waiting(admin.agent, 6)
        refused = await admin.get("/password", Accept_Language=language)
        assert (refused.status, refused.header("Retry-After"), text in refused.text) == (503, "1", True)
    assert [page.status for page in await asyncio.gather(*pages)] == [200] * 6


async def test_page_of_a_client_that_leaves_is_not_made(admin: ConsoleClient, upstream: Upstream) -> None:
    """It leaves the queue."""
    async with request_in_progress(admin, upstream):
        connection = await begin(admin, "GET", "/password")
        await until_waiting(admin.agent, 1)
        await connection.close()
        await until_waiting(admin.agent, 0)


async def test_form_of_a_client_that_leaves_is_done(admin: ConsoleClient, upstream: Upstream) -> None:
    """As if it had not waited."""
    form = (await admin.get("/new-user")).form("new")
    async with request_in_progress(admin, upstream):
        values = {**form, "name": "dora", "openai_key": "sk-made-up-key-of-dora"}
        connection = await begin(admin, "POST", "/new-user", values)
        await until_waiting(admin.agent, 1)
        await connection.close()
    await admin.agent.until(lambda: admin.agent.store.fetch("SELECT id FROM users WHERE name = 'dora'"))


async def test_admin_who_is_removed_while_a_form_waits_changes_nothing(
    admin: ConsoleClient, upstream: Upstream
) -> None:
    """The form is not done, and a page that waits leads to the sign-in."""
    form = (await admin.get("/new-user")).form("new")
    async with request_in_progress(admin, upstream):
        sent = asyncio.create_task(admin.send("/new-user", {**form, "name": "dora", "openai_key": "sk-made-up-key"}))
        page = asyncio.create_task(admin.get("/password"))
        await until_waiting(admin.agent, 2)
        await admin.agent.administration.admins.revoke("carol")
    assert (await page).header("Location") == "/console/login?next=%2Fconsole%2Fpassword"
    assert (await sent).status == 401
    assert await admin.agent.store.fetch("SELECT id FROM users WHERE name = 'dora'") == []


@pytest.mark.own_agent
async def test_form_and_the_page_to_which_it_leads_count_once(make_agent: MakeAgent, upstream: Upstream) -> None:
    """Where one more page may begin, both do."""
    admin = await sign_in(await make_agent(tuning=TUNING))
    user = await admin.get("/users/alice")
    async with request_in_progress(admin, upstream, pages=2):
        assert (await admin.press(user, "Disable")).notice.startswith("alice has been disabled")
        page = asyncio.create_task(admin.get("/password"))
        await until_waiting(admin.agent, 1)
    assert (await page).status == 200


@pytest.mark.own_agent
async def test_each_part_of_a_long_file_waits(
    make_agent: MakeAgent, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one begins with the page, and the next one has to wait for its own turn."""
    monkeypatch.setattr(requests_export, "BATCH", 1)
    admin = await sign_in(await make_agent(tuning=TUNING))
    await admin.agent.chat()
    await admin.agent.rows(1)
    async with request_in_progress(admin, upstream, pages=3):
        file = asyncio.create_task(admin.file("/requests.csv"))
        await until_waiting(admin.agent, 1)
        assert not file.done()
    assert (await file).body.count(b"\n") >= 2


@pytest.mark.own_agent
async def test_stop_does_not_wait_for_turns(make_agent: MakeAgent, upstream: Upstream) -> None:
    """Pages that wait are answered at once, while the requests in progress end."""
    agent = await make_agent(tuning=TUNING)
    admin = await sign_in(agent)
    async with request_in_progress(admin, upstream):
        page = asyncio.create_task(admin.get("/password"))
        await until_waiting(agent, 1)
        stop = asyncio.create_task(agent.server.stop())
        assert (await page).status == 200
        assert not stop.done()
    await stop


async def begin(browser: ConsoleClient, method: str, path: str, values: dict[str, str] | None = None) -> Connection:
    """Sends a request of the browser, and leaves the answer to the caller."""
    connection = await Connection.open(browser.agent.admin_url)
    headers = {
        "Host": browser.agent.admin_url.partition("://")[2],
        "Cookie": "; ".join(f"{name}={value}" for name, value in browser.cookies.items()),
    }
    body = urlencode(values or {}).encode()
    if values is not None:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    await connection.send(request_bytes(method, f"/console{path}", headers, body))
    return connection
