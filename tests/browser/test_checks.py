"""The checks of the browser themselves: each one notices what it is for."""

import socket
from collections.abc import Iterator

import pytest
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.web import Application, RequestHandler

from tests.browser.conftest import Browse
from tests.support.agent import Agent
from tests.support.console import PASSWORD, add_admin

pytestmark = pytest.mark.slow

PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>A page</title>
<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,"></head>
<body><main><h1>A page</h1>{content}</main></body></html>"""


class PageHandler(RequestHandler):
    """A page with the content and header fields that a test has set."""

    def initialize(self, site: "Site") -> None:
        self._site = site

    def get(self) -> None:
        """Answers with the page."""
        self.set_status(self._site.status)
        for name, value in self._site.headers.items():
            self.set_header(name, value)
        self.write(PAGE.format(content=self._site.content))


class Site:
    """A web server with one page at every address."""

    def __init__(self) -> None:
        self.content = "<p>Some text.</p>"
        self.status = 200
        self.headers: dict[str, str] = {}
        listening = socket.create_server(("127.0.0.1", 0))
        listening.setblocking(False)
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        self.server = HTTPServer(Application([("/.*", PageHandler, {"site": self})]))
        self.server.add_socket(listening)


@pytest.fixture
def site(io_loop: IOLoop) -> Iterator[Site]:
    """The web server, on the test's loop."""
    site = Site()
    yield site
    site.server.stop()
    io_loop.run_sync(site.server.close_all_connections)


async def faults_of(browse: Browse, site: Site, **device: object) -> list[str]:
    """Visits the page and returns what was wrong with it."""
    visit = await browse(**device)
    await visit.open(site.url)
    return [fault.removeprefix("/: ") for fault in await visit.end()]


async def test_a_good_page_has_no_fault(browse: Browse, site: Site) -> None:
    """Neither wide nor narrow, light nor dark."""
    assert await faults_of(browse, site) == []
    assert await faults_of(browse, site, width=375, dark=True, language="zh-CN") == []


async def test_a_page_without_script_is_checked(browse: Browse, site: Site) -> None:
    """Its scripts do not run, and the checks do."""
    site.content = "<p id='a'>Some text.</p><script>document.body.remove()</script><img src='data:,'>"
    [fault] = await faults_of(browse, site, script=False)
    assert fault.startswith("axe: image-alt (critical)")


async def test_an_error_of_a_script_is_a_fault(browse: Browse, site: Site) -> None:
    """An exception that the page does not catch."""
    site.content = "<script>null.nothing</script>"
    [fault] = await faults_of(browse, site)
    assert "error of a script: Cannot read properties of null" in fault


async def test_an_error_in_the_console_is_a_fault(browse: Browse, site: Site) -> None:
    """What a script logs as an error."""
    site.content = "<script>console.error('made up')</script>"
    assert await faults_of(browse, site) == ["error in the console: made up"]


async def test_a_missing_file_is_a_fault(browse: Browse, site: Site) -> None:
    """The browser writes to the console that it could not load it."""
    site.status = 404
    site.content = "<script src='/missing.js'></script>"
    faults = await faults_of(browse, site)
    assert any("404" in fault for fault in faults)


async def test_an_error_status_of_the_page_is_no_fault(browse: Browse, site: Site) -> None:
    """A refused form is answered with a page of status 422."""
    site.status = 422
    assert await faults_of(browse, site) == []


async def test_a_request_to_another_host_is_a_fault(browse: Browse, site: Site) -> None:
    """Whether it is answered or not."""
    site.content = "<img alt='An image' src='https://images.example.com/a.png'>"
    faults = await faults_of(browse, site)
    assert faults[0] == "request to another host: https://images.example.com/a.png"


async def test_a_request_to_another_port_is_a_fault(browse: Browse, site: Site) -> None:
    """A page has one origin, and another port of the same machine is another one."""
    site.content = "<img alt='An image' src='http://127.0.0.1:9/a.png'>"
    faults = await faults_of(browse, site)
    assert faults[0] == "request to another host: http://127.0.0.1:9/a.png"


async def test_a_violation_of_the_policy_is_a_fault(browse: Browse, site: Site) -> None:
    """A script in the page, where the policy allows files only."""
    site.headers["Content-Security-Policy"] = "default-src 'none'; img-src data:"
    site.content = "<script>document.title = 'changed'</script>"
    [fault] = await faults_of(browse, site)
    assert fault.startswith("violation of the policy: ")


async def test_the_checks_pass_a_policy_that_allows_nothing(browse: Browse, site: Site) -> None:
    """They run in a world of their own."""
    site.headers["Content-Security-Policy"] = "default-src 'none'; img-src data:"
    site.content = "<p>Some text.</p><img src='data:,'>"
    [fault] = await faults_of(browse, site)
    assert fault.startswith("axe: image-alt (critical)")


async def test_what_axe_finds_is_a_fault(browse: Browse, site: Site) -> None:
    """Light grey text on white, by its contrast."""
    site.content = "<p style='color: #bbb'>Some text.</p>"
    [fault] = await faults_of(browse, site)
    assert fault.startswith("axe: color-contrast (serious)")


async def test_a_page_wider_than_the_window_is_a_fault(browse: Browse, site: Site) -> None:
    """On a telephone; it is named by what stands out."""
    site.content = "<div id='wide' style='width: 500px'>Some text.</div>"
    [fault] = await faults_of(browse, site, width=375)
    assert fault.startswith("too wide: 508 of 375 pixels: ")
    assert "wide" in fault
    assert await faults_of(browse, site, width=1440) == []


async def test_an_element_that_scrolls_by_itself_is_no_fault(browse: Browse, site: Site) -> None:
    """Such as the one around a table."""
    site.content = (
        "<div role='region' aria-label='Wide' tabindex='0' style='overflow-x: auto'>"
        "<div style='width: 900px'>Some text.</div></div>"
    )
    assert await faults_of(browse, site, width=375) == []


async def test_each_page_of_a_visit_is_checked(browse: Browse, site: Site) -> None:
    """One that is left before the test ends is checked, too."""
    visit = await browse()
    site.content = "<p>Some text.</p><img src='data:,'>"
    await visit.open(site.url)
    site.content = "<p>Some text.</p>"
    await visit.open(site.url + "next")
    with pytest.raises(AssertionError, match=r"^/: axe: image-alt"):
        await visit.check()
    assert await visit.end() == []


async def test_visits_share_no_cookies(browse: Browse, site: Site) -> None:
    """Each has a profile of its own."""
    site.headers["Set-Cookie"] = "__Host-made-up=1; Path=/; Secure"
    one, two = await browse(), await browse()
    await one.open(site.url)
    site.headers.clear()
    await two.open(site.url)
    assert (await one.cookies(), await two.cookies()) == ({"__Host-made-up"}, set())


@pytest.mark.parametrize("script", [True, False])
async def test_an_admin_signs_in(browse: Browse, agent: Agent, script: bool) -> None:
    """Chromium keeps cookies with the prefix `__Host-` of an address on this machine without TLS."""
    await add_admin(agent)
    visit = await browse(script=script)
    await visit.open(f"{agent.admin_url}/console/login")
    await visit.fill(name="carol", password=PASSWORD)
    await visit.press("Sign in")
    assert await visit.text("h1") == "Overview"
    assert "__Host-session" in await visit.cookies()
