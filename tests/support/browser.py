"""A real browser for tests: Chromium without a window, and what is checked on each page that it visits.

Playwright runs on a loop of its own in a thread: its tasks live as long as the browser, and the loop of a test must be
left without any. So one browser serves all tests of a process, and the pages of an agent on the test's own loop.
"""

import asyncio
import os
import shutil
import threading
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec
from playwright.async_api import BrowserContext, ConsoleMessage, Page, Request, async_playwright

T = TypeVar("T")

# Chromium without a window is the same engine, and a page takes a third of the processor time.
CHROMIUM = next(filter(None, map(shutil.which, ("chromium-headless-shell", "chromium", "google-chrome"))), None)
AXE = (Path(__file__).parent.parent / "browser/vendor/axe.min.js").read_text("utf-8")
HEIGHT = 900  # pixels of a page without scrolling
PATIENCE = 60_000  # milliseconds that an action may take
OPTIONS = [
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",  # nothing leaves this machine
    *(["--no-sandbox"] if os.geteuid() == 0 else []),  # Chromium does not start as root otherwise
]

# Of a long table the first rows are enough: the others are alike, and each takes as long. Neither a second copy of the
# style sheets nor selectors of what is faulty are needed, which take a fifth of its time.
RUN_AXE = """axe.run({include: ["html"], exclude: ["tbody tr:nth-child(n+9)"]},
  {resultTypes: ["violations"], preload: false, selectors: false}).then(
  results => results.violations.map(each =>
  `axe: ${each.id} (${each.impact}): ${each.help}: ${each.nodes.slice(0, 3).map(node => node.html).join(" ")}`))"""

# What axe-core looks at: elements, their attributes, and where there is text, but not which.
SHAPE = r"""document.documentElement.outerHTML
  .replace(/>[^<]*[^<\s][^<]*</g, ">x<")
  .replace(/ (data-[a-z]+|href|title|value|content|datetime|nonce|action)="[^"]+"/g, ' $1="x"')"""

# The elements that stand out to the right, but for those that an element around them scrolls or hides.
TOO_WIDE = """(() => {
  const root = document.documentElement, width = root.clientWidth;
  if (root.scrollWidth <= width) return [];
  const clipped = (node) => node && node !== document.body &&
    (getComputedStyle(node).overflowX !== "visible" || clipped(node.parentElement));
  const wide = [...document.body.querySelectorAll("*")].filter(
    (node) => node.getBoundingClientRect().right > width + 0.5 && !clipped(node.parentElement));
  const names = wide.slice(-3).map((node) => node.outerHTML.slice(0, 80)).join(" ");
  return [`too wide: ${root.scrollWidth} of ${width} pixels: ${names}`];
})()"""

NEXT_LABEL = """(button) => {
  window.nextLabel = new Promise((resolve) =>
    new MutationObserver(() => resolve(button.textContent)).observe(button, {childList: true}));
}"""


class Browser:
    """A running Chromium. Its methods may be called from any thread and any loop."""

    def __init__(self) -> None:
        self.accessible: set[tuple[int, bool, str]] = set()  # shapes of pages without fault, by width and colors
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="browser", daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(timeout=60)

    async def _start(self) -> None:
        self._playwright = await async_playwright().start()
        self._chromium = await self._playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=OPTIONS)

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine on the browser's own loop, and returns its result."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    async def new_context(self, **options: Any) -> BrowserContext:
        """A context that shares nothing with others. Call it on the browser's own loop."""
        return await self._chromium.new_context(**options)

    async def _stop(self) -> None:
        await self._chromium.close()
        await self._playwright.stop()

    def close(self) -> None:
        """Ends the browser."""
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(timeout=60)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """How a page is looked at. `width`: pixels."""

    width: int = 1440
    dark: bool = False
    language: str = "en"
    script: bool = True


class Visit:
    """The visit of one person, with cookies of their own, to pages of one or more hosts.

    Each page is checked when it is left, and at the end of the test: no error in its console, none of its scripts, no
    violation of its Content-Security-Policy, no request to another host, nothing wider than the window, and nothing
    that axe-core objects to. An error status of a page itself is no fault.
    """

    def __init__(self, browser: Browser, device: Device) -> None:
        self.device = device
        self._browser = browser
        self._origins: set[str] = set()
        self._faults: list[str] = []
        self._open = True

    async def begin(self) -> None:
        """Opens the window."""
        await self._browser.run(self._begin())

    async def _begin(self) -> None:
        self._context = await self._browser.new_context(
            viewport={"width": self.device.width, "height": HEIGHT},
            color_scheme="dark" if self.device.dark else "light",
            locale=self.device.language,
            reduced_motion="reduce",  # colors that are about to change have another contrast
            permissions=["clipboard-read", "clipboard-write"],
        )
        self._context.set_default_timeout(PATIENCE)
        self._context.on("request", self._on_request)
        self._context.on("console", self._on_console)
        self._context.on("weberror", lambda error: self._add(f"error of a script: {error.error}"))
        self._page = await self._context.new_page()
        self._devtools = await self._context.new_cdp_session(self._page)
        await self._allow_scripts(self.device.script)

    async def _allow_scripts(self, allowed: bool) -> None:
        """Playwright's own option `java_script_enabled` could not be changed for the checks, which are scripts, too."""
        await self._devtools.send("Emulation.setScriptExecutionDisabled", {"value": not allowed})

    def _add(self, fault: str) -> None:
        """Remembers a fault with the page, once."""
        text = f"{urlsplit(self._page.url).path}: {fault}"
        if text not in self._faults:
            self._faults.append(text)

    def _on_request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob") and f"{parts.scheme}://{parts.netloc}" not in self._origins:
            self._add(f"request to another host: {request.url}")

    def _on_console(self, message: ConsoleMessage) -> None:
        own_status = message.text.startswith("Failed to load resource") and message.location["url"] == self._page.url
        if message.type in ("error", "warning") and not own_status:
            violation = "Content Security Policy" in message.text
            kind = "violation of the policy" if violation else f"{message.type} in the console"
            self._add(f"{kind}: {message.text}")

    # What the person does.

    async def open(self, url: str) -> int:
        """Opens a page; returns its status."""
        parts = urlsplit(url)
        self._origins.add(f"{parts.scheme}://{parts.netloc}")

        async def go(page: Page) -> int:
            answer = await page.goto(url, wait_until="load")
            assert answer is not None
            return answer.status

        await self._look()
        return await self.act(go)

    async def fill(self, **values: str) -> None:
        """Fills in fields, by their names."""

        async def type_in(page: Page) -> None:
            for name, value in values.items():
                await page.locator(f'[name="{name}"]:visible').fill(value)

        await self.act(type_in)

    async def press(self, label: str) -> None:
        """Presses the button, or follows the link, with exactly this label, and waits for the next page."""

        async def press(page: Page) -> None:
            button = page.get_by_role("button", name=label, exact=True)
            target = button.or_(page.get_by_role("link", name=label, exact=True)).first
            async with page.expect_navigation(wait_until="load"):
                await target.click()

        await self._look()
        await self.act(press)

    async def act(self, action: Callable[[Page], Awaitable[T]]) -> T:
        """Awaits `action(page)` on the browser's loop, with Playwright's page; returns its result."""

        async def run() -> T:
            return await action(self._page)

        return await self._browser.run(run())

    async def text(self, selector: str = "body") -> str:
        """The text of an element as it is drawn."""
        return await self.act(lambda page: page.locator(selector).inner_text())

    async def evaluate(self, expression: str) -> Any:
        """The value of an expression of JavaScript in the page."""
        return await self.act(lambda page: page.evaluate(expression))

    async def copy(self, button: str) -> str:
        """Presses a button that copies a text, by its selector, or the first of several. Returns what is in the
        clipboard once the button shows that it has copied, which it does for 1.5 s only."""

        async def press(page: Page) -> str:
            target = page.locator(button).first
            await target.evaluate(NEXT_LABEL)
            await target.click()
            assert await page.evaluate("window.nextLabel") == "✓"
            return str(await page.evaluate("navigator.clipboard.readText()"))

        return await self.act(press)

    async def set_cookie(self, url: str, name: str, value: str) -> None:
        """Gives the browser a secure cookie."""
        host = urlsplit(url).hostname or ""
        await self._browser.run(
            self._context.add_cookies(
                [{"name": name, "value": value, "domain": host, "path": "/", "secure": True, "httpOnly": True}]
            )
        )

    async def cookies(self) -> set[str]:
        """The names of all cookies that the browser keeps."""
        return {str(cookie.get("name")) for cookie in await self._browser.run(self._context.cookies())}

    async def screenshot(self, path: Path, height: int | None = None) -> None:
        """Writes a picture of the page, or of its first pixels down to a height."""
        if height is None:
            await self.act(lambda page: page.screenshot(path=path, full_page=True))
            return
        whole = await self.evaluate("Math.ceil(document.body.getBoundingClientRect().bottom + scrollY)")
        clip = {"x": 0, "y": 0, "width": self.device.width, "height": min(height, whole)}
        await self.act(lambda page: page.screenshot(path=path, full_page=True, clip=clip))  # type: ignore[arg-type]

    # Checks.

    async def check(self) -> None:
        """Fails if anything was wrong until now, or is wrong with the page as it is."""
        await self._look()
        faults, self._faults = self._faults, []
        assert not faults, "\n".join(faults)

    async def end(self) -> list[str]:
        """Closes the window; returns what was wrong and has not been reported, each with the path of its page. Does
        nothing the second time."""
        if self._open:
            await self._look()
            self._open = False
            await self._browser.run(self._context.close())
        faults, self._faults = self._faults, []
        return faults

    async def _look(self) -> None:
        for fault in await self._browser.run(self._inspect()):
            self._add(fault)

    async def _inspect(self) -> list[str]:
        if self._page.url == "about:blank":
            return []
        async with asyncio.timeout(PATIENCE / 1000):
            await self._allow_scripts(True)
            world = await self._isolated_world()
            faults = [*await self._run(TOO_WIDE, world), *await self._accessibility(world)]
            await self._allow_scripts(self.device.script)
        return faults

    async def _accessibility(self, world: int) -> list[str]:
        """What axe-core objects to. It takes longer than all else, so a page that has the shape of one without fault is
        not looked at again."""
        shape = (self.device.width, self.device.dark, await self._run(SHAPE, world))
        if shape in self._browser.accessible:
            return []
        await self._run(AXE + ";0", world)
        faults: list[str] = await self._run(RUN_AXE, world)
        if not faults:
            self._browser.accessible.add(shape)
        return faults

    async def _isolated_world(self) -> int:
        """A place for scripts that neither the page's scripts nor its policy reach."""
        tree = await self._devtools.send("Page.getFrameTree")
        frame = tree["frameTree"]["frame"]["id"]
        world = await self._devtools.send("Page.createIsolatedWorld", {"frameId": frame, "worldName": "checks"})
        return int(world["executionContextId"])

    async def _run(self, script: str, world: int) -> Any:
        answer = await self._devtools.send(
            "Runtime.evaluate",
            {"expression": script, "contextId": world, "awaitPromise": True, "returnByValue": True},
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")
