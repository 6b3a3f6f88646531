"""Measures the page of requests with every filter and pair of filters: `python -m benchmarks.ledger_list [--rows N]
[--runs N] [--only TEXT] [--browser]`.

The ledger is that of benchmarks.console, with 2,000,000 rows. Each page is loaded over HTTP on a kept connection, as a
signed-in admin: the newest rows, and a page in the middle of the ledger by a cursor. There are filters that match many
rows, few and none: a model is only used with one of the two frequent endpoints, and a user with three models. With
--browser the ten most usual pages are loaded in Chromium, too. Exit code 1 if a median over HTTP is over its bound.
"""

import argparse
import asyncio
import itertools
import random
import shutil
import statistics
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode
from uuid import UUID

from benchmarks.console import MODELS, Examples, Visitor, fill_ledger, sign_in
from benchmarks.fleet import Fleet, free_port
from benchmarks.growth import Size, fill
from benchmarks.loss import command_line, server_version, surroundings
from benchmarks.proc_stats import Tree, cpu_seconds
from benchmarks.upstream import Upstream
from chatgpt_agent.web.admin.cursors import row_cursor
from chatgpt_agent.web.console.cookies import SESSION
from chatgpt_agent.web.console.routing import PREFIX

BOUND_MS = 50.0
MIDDLE = timedelta(days=30)  # of the sixty days of the ledger
USUAL = 10  # pages that are loaded in a browser
BROWSERS = ("chromium-headless-shell", "chromium", "google-chrome")
# Milliseconds from the request until the last byte, and until the page is complete.
TIMES = "(() => { const [n] = performance.getEntriesByType('navigation'); return [n.responseEnd, n.loadEventEnd]; })()"

Query = tuple[tuple[str, str], ...]


def values(examples: Examples, now: datetime) -> dict[str, list[str]]:
    """Returns the values of each filter, the most usual first."""
    number = int(examples.model.removeprefix("model"))
    return {
        "since": [f"{now - timedelta(days=days):%Y-%m-%dT%H:%M}" for days in (7, 40)],
        "until": [f"{now - timedelta(days=20):%Y-%m-%dT%H:%M}"],
        "user": [examples.user],
        "token": [str(examples.token)],
        "model": [examples.model, f"model{1 + number % MODELS}"],
        "endpoint": ["/v1/chat/completions", "/v1/responses", "/v1/images/edits"],
        "state": ["done", "upstream_error", "incomplete", "not_sent"],
    }


def queries(examples: Examples, now: datetime) -> Iterator[Query]:
    """Yields no filter, each filter, and each pair of filters of two kinds."""
    chosen = values(examples, now)
    yield ()
    for name, texts in chosen.items():
        yield from (((name, text),) for text in texts)
    for one, other in itertools.combinations(chosen, 2):
        yield from itertools.product(((one, text) for text in chosen[one]), ((other, text) for text in chosen[other]))


def address(query: Query, *, middle: datetime | None = None) -> str:
    """Returns the address of a page below the console; `middle`: the page that begins before this moment."""
    cursor = () if middle is None else (("after", row_cursor(middle, UUID(int=0))),)
    text = urlencode([*query, *cursor])
    return f"/requests?{text}" if text else "/requests"


async def load(visitor: Visitor, path: str, runs: int) -> list[float]:
    """Returns the milliseconds of a page, without those of the first time."""
    await visitor.load(path)
    return [await visitor.load(path) for _ in range(runs)]


async def measure_lists(fleet: Fleet, visitor: Visitor, selected: Sequence[Query], runs: int) -> bool:
    """Prints a line for each filter. Returns whether each median is within the bound."""
    tree = Tree(int((fleet.folder / "p" / "pg" / "postmaster.pid").read_text().split("\n")[0]))
    middle = datetime.now(UTC) - MIDDLE
    heads = ["newest, ms", "middle, ms", "least, ms", "worst, ms", "agent, CPU ms", "PostgreSQL, CPU ms"]
    print(f"| filter | {' | '.join(heads)} |\n|---|{'---:|' * len(heads)}")
    medians: list[float] = []
    least: list[float] = []
    processor: list[float] = []
    for query in selected:
        before = cpu_seconds(fleet.agent.pid), tree.cpu_seconds()
        newest = await load(visitor, address(query), runs)
        late = await load(visitor, address(query, middle=middle), runs)
        after = cpu_seconds(fleet.agent.pid), tree.cpu_seconds()
        agent, postgres = ((end - begin) * 500 / (runs + 1) for begin, end in zip(before, after, strict=True))
        medians += [statistics.median(newest), statistics.median(late)]
        least += [min(newest), min(late)]
        processor.append(agent + postgres)
        name = " ".join(f"{name}={text}" for name, text in query) or "none"
        cells = [*medians[-2:], min(newest + late), max(newest + late), agent, postgres]
        print(f"| `{name}` | {' | '.join(f'{each:.1f}' for each in cells)} |", flush=True)
    print(f"\n| of {len(medians)} pages | middle | longest | over {BOUND_MS:.0f} ms |\n|---|---:|---:|---:|")
    for name, times in {"median": medians, "least": least, "processor time": processor}.items():
        over = sum(each > BOUND_MS for each in times)
        print(f"| {name} | {statistics.median(times):.1f} | {max(times):.1f} | {over} |")
    return max(medians) <= BOUND_MS


async def measure_browser(url: str, secret: str, selected: Sequence[Query], runs: int) -> None:
    """Prints what pages take in Chromium."""
    from playwright.async_api import async_playwright  # of the tests' dependencies

    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    print("\n| in Chromium | last byte, ms | complete, ms |\n|---|---:|---:|")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        context = await browser.new_context()
        # Chromium keeps a cookie with this prefix for an address of this machine without TLS, too.
        await context.add_cookies(
            [{"name": SESSION, "value": secret, "domain": "127.0.0.1", "path": "/", "secure": True, "httpOnly": True}]
        )
        page = await context.new_page()
        for query in selected:
            times = []
            for _ in range(runs + 1):
                answer = await page.goto(f"{url}{PREFIX}{address(query)}", wait_until="load")
                if answer is None or answer.status != 200 or "requests" not in page.url:
                    raise RuntimeError(f"{address(query)}: the browser got {page.url}")
                times.append(await page.evaluate(TIMES))
            last, complete = (statistics.median(each) for each in zip(*times[1:], strict=True))
            name = " ".join(f"{name}={text}" for name, text in query) or "none"
            print(f"| `{name}` | {last:.1f} | {complete:.1f} |", flush=True)
        await browser.close()


def usual(selected: Sequence[Query]) -> list[Query]:
    """Returns no filter, one of each kind, and pairs of a user with others."""
    first = {tuple(name for name, _ in query): query for query in reversed(selected)}
    pairs = [names for names in first if len(names) == 2 and "user" in names and "token" not in names]
    return [first[names] for names in [*sorted(filter(lambda each: len(each) < 2, first)), *pairs]][:USUAL]


async def measure(options: argparse.Namespace) -> bool:
    """Measures everything. Returns whether all pages are within the bound."""
    admin_port = free_port()
    async with (
        Upstream(random.Random(1)) as upstream,
        Fleet(upstream.url, log_level="error", admin_port=str(admin_port)) as fleet,
    ):
        await fleet.set_up(1, {"model1": ("1", "1", "2")})
        await asyncio.to_thread(fill, fleet, Size(users=options.users, prices=MODELS))
        examples = await asyncio.to_thread(fill_ledger, fleet.postgres.dsn, options.rows, options.users)
        secret = await sign_in(fleet)
        await fleet.agent.start()
        await fleet.agent.until_ready()
        url = f"http://127.0.0.1:{admin_port}"
        every = list(queries(examples, datetime.now(UTC)))
        selected = [query for query in every if options.only in address(query)]
        within = await measure_lists(fleet, Visitor(url, secret), selected, options.runs)
        if options.browser:
            await measure_browser(url, secret, usual(every), options.runs)
        print("", *surroundings(command_line("benchmarks.ledger_list"), server_version(fleet.postgres.dsn)), sep="\n")
        return within


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--users", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--only", default="", metavar="TEXT", help="pages with this text in their address")
    parser.add_argument("--browser", action="store_true", help="also load the most usual pages in Chromium")
    if not asyncio.run(measure(parser.parse_args())):
        sys.exit(1)


if __name__ == "__main__":
    main()
