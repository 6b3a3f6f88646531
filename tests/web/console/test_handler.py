"""What holds for all pages: sign-in, roles, forged forms, headers, languages, errors."""

from decimal import Decimal

import pytest

from chatgpt_agent.core.budget.period import Period
from chatgpt_agent.web.console.assets import FOLDER
from tests.support.console import ConsoleClient

pytestmark = pytest.mark.shared_agent

NEW = {"name": "dora", "openai_key": "sk-made-up-key-of-dora"}


async def test_page_needs_a_sign_in(stranger: ConsoleClient) -> None:
    """A stranger is sent to the form, which leads back to the page."""
    answer = await stranger.fetch("GET", "/audit?actor=x")
    assert (answer.status, answer.header("Location")) == (303, "/console/login?next=%2Fconsole%2Faudit%3Factor%3Dx")
    page = await stranger.get("/login?next=%2Fconsole%2Faudit%3Factor%3Dx")
    assert page.form("login")["next"] == "/console/audit?actor=x"


@pytest.mark.parametrize("url", ["https://evil.example/", "//evil.example", "/api/v1", "/console\\..", "javascript:1"])
async def test_login_leads_to_pages_of_the_console_only(stranger: ConsoleClient, url: str) -> None:
    """Any other address becomes the overview."""
    page = await stranger.get(f"/login?next={url}")
    assert page.form("login")["next"] == "/console"


async def test_form_adds_a_user(admin: ConsoleClient) -> None:
    """The answer shows the new token, which works, and the audit log names the admin and the console."""
    page = await admin.submit("/new-user", "new", **NEW)
    assert page.title == "dora has been added"
    token = page.root.all("code")[0].text
    await admin.agent.until(lambda: admin.agent.works(token))
    changes = (await admin.get("/audit?object=users")).rows("changes")
    assert changes[0][1:3] == ["carol", "console"]


async def test_overview_names_a_spent_budget(admin: ConsoleClient) -> None:
    """A budget of 0 USD is spent from the start."""
    await admin.agent.administration.budgets.set(user="alice", period=Period.MONTH, amount=Decimal(0))
    await admin.agent.follow()
    assert "alice has spent" in (await admin.get("")).root.text


async def test_error_is_shown_at_its_field(admin: ConsoleClient) -> None:
    """What was typed is still there, except secrets."""
    page = await admin.submit("/new-user", "new", **NEW, rpm="many", comment="<b>")
    assert page.status == 400
    form = page.form("new")
    assert (form["name"], form["comment"], form["rpm"], form["openai_key"]) == ("dora", "<b>", "many", "")
    assert page.root.one("small", id="new-rpm-error").text == "'many' is not a whole number"


async def test_name_that_is_taken_is_refused(admin: ConsoleClient) -> None:
    """The form says so."""
    page = await admin.submit("/new-user", "new", **{**NEW, "name": "alice"})
    assert (page.status, page.root.one("p", role="alert").text) == (409, "user 'alice' already exists")


async def test_viewer_sees_no_forms(viewer: ConsoleClient) -> None:
    """A form that changes something, and the button that leads to it, are missing."""
    assert "Add a user" not in (await viewer.get("/users")).text
    assert (await viewer.get("/new-user")).status == 403


async def test_viewer_cannot_send_a_form(admin: ConsoleClient, viewer: ConsoleClient) -> None:
    """A form of another page is refused, and nothing is changed."""
    form = {**(await viewer.get("/audit")).form("filter"), **NEW}
    page = await viewer.send("/new-user", form)
    assert page.status == 403
    assert "dora" not in (await admin.get("/users")).text


async def test_forged_form_is_refused(admin: ConsoleClient, stranger: ConsoleClient) -> None:
    """A form needs the token of the browser in which it was shown."""
    page = await admin.send("/new-user", {"form": "new", **NEW})
    assert page.status == 403
    other = (await stranger.get("/login")).form("login")["_xsrf"]
    page = await admin.send("/new-user", {"form": "new", **NEW, "_xsrf": other})
    assert (page.status, page.title) == (403, "Not allowed")


@pytest.mark.parametrize(
    "fields",
    [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec_Fetch_Site": "cross-site"}],
)
async def test_form_of_another_site_is_refused(admin: ConsoleClient, fields: dict[str, str]) -> None:
    """Its page says so, even with the right token."""
    form = (await admin.get("/new-user")).form("new")
    page = await admin.send("/new-user", {**form, **NEW}, **fields)
    assert (page.status, "another site" in page.text) == (403, True)


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:8081", ""])
async def test_unknown_host_name_is_refused(admin: ConsoleClient, host: str) -> None:
    """A page of a name that an attacker has pointed at this address gets nothing."""
    assert (await admin.get("/users", Host=host)).status in (400, 421)


async def test_form_after_the_session_has_ended_is_kept(agent_session: tuple[ConsoleClient, str]) -> None:
    """The sign-in page has what was typed."""
    browser, _ = agent_session
    form = {**(await browser.get("/new-user")).form("new"), **NEW}
    browser.cookies.pop("__Host-session")
    page = await browser.send("/new-user", form)
    assert (page.status, page.title) == (401, "Sign in")
    assert "name=dora" in page.form("login")["draft"]
    assert page.form("login")["next"] == "/console/new-user"


@pytest.fixture
def agent_session(admin: ConsoleClient) -> tuple[ConsoleClient, str]:
    """A browser, and the secret of its session."""
    return admin, admin.cookies["__Host-session"]


SEALED = {
    "Cache-Control": "no-store", "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin", "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
}  # fmt: skip


async def test_headers_keep_other_sites_out(admin: ConsoleClient) -> None:
    """Nothing of other sites is loaded, and nothing is kept."""
    page = await admin.get("/users")
    assert (page.header("Content-Security-Policy") or "").split("; ") == [
        "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' data:", "connect-src 'self'",
        "form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'",
    ]  # fmt: skip
    assert {name: page.header(name) for name in SEALED} == SEALED
    assert page.root.all("style") == []
    assert all("src" in script.attributes for script in page.root.all("script"))


async def test_cookies_are_bound_to_this_host(stranger: ConsoleClient) -> None:
    """They are sent over https or to this machine, not to scripts, and not by other sites."""
    answer = await stranger.fetch("GET", "/login")
    [cookie] = [value for name, value in answer.headers if name.lower() == "set-cookie"]
    assert cookie.startswith("__Host-xsrf=")
    assert {part.strip().lower() for part in cookie.split(";")[1:]} == {
        "httponly", "path=/", "samesite=strict", "secure",
    }  # fmt: skip


async def test_names_are_escaped(admin: ConsoleClient) -> None:
    """A name with HTML is text."""
    await admin.agent.add_user("<script>alert(1)</script>")
    page = await admin.get("/users")
    assert "<script>alert(1)</script>" in page.text
    assert "<script>alert" not in page.html


async def test_table_is_a_file_too(admin: ConsoleClient) -> None:
    """`csv` names the table."""
    answer = await admin.file("/users?csv=users")
    assert answer.header("Content-Disposition") == 'attachment; filename="users.csv"'
    lines = answer.body.decode().splitlines()
    assert lines[0] == "name,state,cost,budget,requests,last_used_at,tokens,created_at,comment"
    assert lines[1].startswith("alice,active,0,,0,,1,20")


async def test_unknown_table_and_page_are_404(admin: ConsoleClient) -> None:
    """Each is a page that says so."""
    assert (await admin.get("/users?csv=x")).status == 404


@pytest.mark.parametrize("path", ["/nowhere", "/users/alice/nowhere", "/static"])
async def test_unknown_address_is_a_page(admin: ConsoleClient, path: str) -> None:
    """The page has the navigation."""
    page = await admin.get(path)
    assert (page.status, page.title) == (404, "Page not found")
    assert page.root.all("nav")


async def test_asset_is_kept_by_browsers(stranger: ConsoleClient) -> None:
    """Its address contains its hash; an address with another hash is not kept."""
    page = await stranger.get("/login")
    [href] = [link.attributes["href"] for link in page.root.all("link") if "console.css" in link.attributes["href"]]
    answer = await stranger.fetch("GET", href.removeprefix("/console"))
    assert (answer.status, answer.header("Content-Type")) == (200, "text/css; charset=utf-8")
    assert "immutable" in (answer.header("Cache-Control") or "")
    assert (await stranger.fetch("GET", "/static/console.css?v=0")).header("Cache-Control") == "no-cache"
    assert (await stranger.fetch("GET", "/static/../handler.py")).status == 404


async def test_language_and_colors_are_kept(stranger: ConsoleClient) -> None:
    """The browser sends the choice with each request."""
    form = {"_xsrf": (await stranger.get("/login")).form("login")["_xsrf"], "theme": "dark", "language": "zh"}
    page = await stranger.send("/preferences", {**form, "next": "/console/login"})
    html = page.root.one("html")
    assert (html.attributes["data-theme"], html.attributes["lang"]) == ("dark", "zh-Hans")


def test_own_script_is_small() -> None:
    """Pages work without it, and it stays so: 5 KB at most."""
    assert (FOLDER / "console.js").stat().st_size <= 5 * 1024
