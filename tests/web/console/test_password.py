"""Sign-in, the first admin, and an admin's own password."""

from urllib.parse import urlencode

import pytest

from chatgpt_agent.admin.admins import Role
from tests.support.agent import Agent
from tests.support.console import ConsoleClient

pytestmark = pytest.mark.shared_agent

PASSWORD, OTHER = "nine blue bicycles", "seven green kettles"


@pytest.fixture
def browser(agent: Agent) -> ConsoleClient:
    """A browser that is not signed in."""
    return ConsoleClient(agent)


async def add_admin(agent: Agent, name: str = "carol", role: Role = Role.ADMIN) -> None:
    """Adds an admin with a password."""
    await agent.administration.admins.set_password(name, PASSWORD, role)


async def log_in(browser: ConsoleClient, password: str = PASSWORD, path: str = "/login") -> None:
    """Signs carol in."""
    await browser.submit(path, "login", name="carol", password=password)


async def test_sign_in_leads_to_the_page_that_was_asked_for(browser: ConsoleClient) -> None:
    """The session is new, and ends with the sign-out."""
    await add_admin(browser.agent)
    page = await browser.submit("/login?next=/console/audit", "login", name="carol", password=PASSWORD)
    assert page.title == "Audit"
    form = page.root.one("form", action="/console/logout")
    fields = {each.attributes["name"]: each.attributes["value"] for each in form.all("input")}
    page = await browser.send("/logout", fields)
    assert page.title == "Sign in"
    assert (await browser.fetch("GET", "/audit")).status == 303


async def test_session_is_bound_to_this_host(browser: ConsoleClient) -> None:
    """Its cookie goes over https or to this machine, not to scripts, not with requests of other sites, and ends with
    the browser."""
    await add_admin(browser.agent)
    form = {**(await browser.get("/login")).form("login"), "name": "carol", "password": PASSWORD}
    fields = {"Content_Type": "application/x-www-form-urlencoded"}
    answer = await browser.fetch("POST", "/login", urlencode(form).encode(), **fields)
    cookies = [value for name, value in answer.headers if name.lower() == "set-cookie"]
    [session] = [cookie for cookie in cookies if cookie.startswith("__Host-session=")]
    assert {part.strip().lower() for part in session.split(";")[1:]} == {
        "httponly", "path=/", "samesite=strict", "secure",
    }  # fmt: skip


@pytest.mark.own_agent
@pytest.mark.parametrize(("name", "password"), [("carol", "wrong words here"), ("nadia", PASSWORD), ("carol", "")])
async def test_wrong_sign_in_is_refused_with_one_text(browser: ConsoleClient, name: str, password: str) -> None:
    """The answer does not say whether a name exists; the name stays in the form, the password does not."""
    await add_admin(browser.agent)
    page = await browser.submit("/login", "login", name=name, password=password)
    assert page.status == 401
    assert page.form("login")["name"] == name
    assert page.root.one("p", role="alert").text == "The name or the password is not right."


async def test_form_is_sent_again_after_the_sign_in(browser: ConsoleClient) -> None:
    """What was typed before the session ended is sent when the admin says so."""
    await add_admin(browser.agent)
    await log_in(browser)

    form = {**(await browser.get("/new-user")).form("new"), "name": "dora", "openai_key": "sk-made-up-key-of-dora"}
    browser.cookies.pop("__Host-session")
    page = await browser.send("/new-user", form)
    assert page.status == 401
    page = await browser.send("/login", {**page.form("login"), "name": "carol", "password": PASSWORD})
    assert "has not been sent yet" in page.text
    again = page.main.one("form")
    assert again.attributes["action"] == "/console/new-user"
    page = await browser.send("/new-user", page.form(again.attributes["id"]))
    assert page.title == "dora has been added"


@pytest.mark.own_agent
async def test_first_admin_is_made_once(browser: ConsoleClient) -> None:
    """By the link that the agent has written to its log; then the guide begins."""
    code = browser.agent.server.console_access.first_run_code
    page = await browser.submit(f"/first-run?code={code}", "first", name="carol", password=PASSWORD, again=PASSWORD)
    assert page.title == "Setting up"
    assert (await browser.fetch("GET", f"/first-run?code={code}")).status == 303


@pytest.mark.own_agent
async def test_wrong_link_makes_no_admin(browser: ConsoleClient) -> None:
    """Two passwords that differ, or one that is too short, make none either."""
    page = await browser.submit("/first-run?code=wrong", "first", name="carol", password=PASSWORD, again=PASSWORD)
    assert page.status in (403, 410)
    code = browser.agent.server.console_access.first_run_code
    page = await browser.submit(f"/first-run?code={code}", "first", name="carol", password=PASSWORD, again=OTHER)
    assert page.root.one("small", id="first-again-error").text == "The two passwords differ."
    page = await browser.submit(f"/first-run?code={code}", "first", name="carol", password="short", again="short")
    assert page.root.all("small", id="first-password-error")
    assert await browser.agent.administration.admins.list() == []


@pytest.mark.parametrize("role", list(Role))
async def test_password_is_changed(browser: ConsoleClient, role: Role) -> None:
    """This browser stays signed in, others are not; the old password is no longer valid."""
    await add_admin(browser.agent, role=role)
    await log_in(browser)
    other = ConsoleClient(browser.agent)
    await log_in(other)
    page = await browser.submit("/password", "password", current=PASSWORD, password=OTHER, again=OTHER)
    assert "Your password has been changed." in page.text
    assert (await other.fetch("GET", "/audit")).status == 303
    page = await other.submit("/login", "login", name="carol", password=PASSWORD)
    assert page.status == 401


@pytest.mark.own_agent
async def test_present_password_is_needed(browser: ConsoleClient) -> None:
    """A browser that was left open cannot lock its admin out."""
    await add_admin(browser.agent)
    await log_in(browser)
    page = await browser.submit("/password", "password", current="x" * 12, password=OTHER, again=OTHER)
    assert page.root.one("small", id="password-current-error").text == "This is not your present password."
