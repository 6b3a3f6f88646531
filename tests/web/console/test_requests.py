"""The list of requests, and a row that proves itself."""

import csv
import io
import re
from decimal import Decimal

import pytest

from chatgpt_agent.core.ledger import State
from tests.support.agent import MODEL
from tests.support.console import ConsoleClient
from tests.support.upstream import Upstream

pytestmark = pytest.mark.shared_agent


async def request_ids(browser: ConsoleClient, number: int = 1, content: str = "hello") -> list[str]:
    """Sends requests, and returns their ids, the newest first."""
    ids = [(await browser.agent.chat(content)).header("X-Agent-Request-Id") for _ in range(number)]
    await browser.agent.flush()
    return [id_ for id_ in reversed(ids) if id_]


async def test_newest_request_is_first(admin: ConsoleClient, upstream: Upstream) -> None:
    """Each row has its time, user, model, state, tokens and cost."""
    newest, _ = await request_ids(admin, 2)
    page = await admin.get("/requests")
    [row, _] = page.rows("rows")
    assert row[1:2] + row[3:6] == ["alice", MODEL, "chat/completions", "done"]
    assert page.main.all("a", href=f"/console/requests/{newest}")


async def test_pages_of_fifty_follow_each_other(admin: ConsoleClient, upstream: Upstream) -> None:
    """No row is missing or doubled."""
    await request_ids(admin, 53)
    first = await admin.get("/requests")
    [link] = first.main.all("a", rel="next")
    second = await admin.get(link.attributes["href"].removeprefix("/console"))
    hrefs = [a.attributes["href"] for page in (first, second) for a in page.main.one("table").all("a")]
    rows = [href for href in hrefs if "/requests/" in href]
    assert (len(first.rows("rows")), len(second.rows("rows")), len(set(rows))) == (50, 3, 53)


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("user=alice", 1), ("user=bob", 1), ("token=1", 1), ("model=gpt-6-luna", 2), ("state=done", 2),
        ("state=unknown", 0), ("endpoint=/v1/responses", 0), ("endpoint=/v1/chat/completions", 2),
        ("since=2026-01-01T00:00", 2), ("until=2026-01-01T00:00", 0), ("user=", 2),
    ],
)  # fmt: skip
async def test_filters_choose_rows(admin: ConsoleClient, upstream: Upstream, query: str, count: int) -> None:
    """An empty field does not filter."""
    await request_ids(admin)
    token, admin.agent.token = admin.agent.token, await admin.agent.add_user("bob")
    await request_ids(admin)
    admin.agent.token = token
    assert len((await admin.get(f"/requests?{query}")).rows("rows")) == count


@pytest.mark.parametrize("query", ["user=nadia", "token=77", "model=gpt-0", "state=well", "since=soon", "endpoint=x"])
async def test_impossible_filter_is_explained(admin: ConsoleClient, query: str) -> None:
    """The page is an error, and keeps its navigation."""
    page = await admin.get(f"/requests?{query}")
    assert page.status in (400, 404, 422)
    assert page.main.all("section", class_="bad")


async def test_times_are_in_the_zone_of_reports(admin: ConsoleClient, upstream: Upstream) -> None:
    """The REST request beside the table has their offset."""
    page = await admin.get("/requests?since=2026-01-01T00:00")
    assert "since=2026-01-01T00%3A00%3A00%2B00%3A00" in page.html


async def test_file_has_all_rows_of_the_filter(admin: ConsoleClient, upstream: Upstream) -> None:
    """The file is not limited to the page; amounts are exact."""
    await request_ids(admin, 51)
    answer = await admin.file("/requests.csv?user=alice")
    rows = list(csv.DictReader(io.StringIO(answer.body.decode())))
    assert len(rows) == 51
    [row] = await admin.agent.administration.ledger.rows(limit=1)
    assert Decimal(rows[0]["cost"]) == row.cost


async def test_row_proves_itself(admin: ConsoleClient, upstream: Upstream) -> None:
    """The parts add up to the cost of the row."""
    [id_] = await request_ids(admin)
    page = await admin.get(f"/requests/{id_}")
    table = page.root.one("table", id="parts-rows")
    amounts = [Decimal(row.all("td")[-1].attributes["data-value"]) for row in table.one("tbody").all("tr")]
    [row] = await admin.agent.administration.ledger.rows(limit=1)
    assert sum(amounts) == row.cost
    assert "equals the cost of the row" in table.one("tfoot").text


async def test_tokens_that_are_not_known_are_not_zero(admin: ConsoleClient, upstream: Upstream) -> None:
    """The list shows a dash, and the row says why."""
    [id_] = await request_ids(admin, content="status=500")
    [row] = (await admin.get("/requests")).rows("rows")
    assert (row[5], row[6], row[7]) == ("OpenAI's error", "–", "–")
    assert "OpenAI answered with an error" in (await admin.get(f"/requests/{id_}")).text


async def test_every_state_and_reason_is_explained(admin: ConsoleClient) -> None:
    """In words."""
    page = await admin.get("/requests")
    [select] = page.main.all("select", name="state")
    assert {option.attributes["value"] for option in select.all("option")} == {"", *State}


async def test_counts_are_corrected_once(admin: ConsoleClient, upstream: Upstream) -> None:
    """The row then shows its correction, and the form is gone."""
    [id_] = await request_ids(admin)
    page = await admin.submit(f"/requests/{id_}", "correct", input="120", output="30", reason="OpenAI says so")
    assert "Corrected: " in page.text
    assert page.root.all("form", id="correct") == []
    rows = await admin.agent.administration.ledger.rows(states=[State.CORRECTION], limit=9)
    assert [row.reason for row in rows] == ["OpenAI says so"]


async def test_correction_without_a_reason_is_refused(admin: ConsoleClient, upstream: Upstream) -> None:
    """What was typed is kept."""
    [id_] = await request_ids(admin)
    page = await admin.submit(f"/requests/{id_}", "correct", input="120", reason="")
    assert (page.status, page.form("correct")["input"]) == (400, "120")
    assert page.root.all("small", id="correct-reason-error")


@pytest.mark.parametrize("id_", ["x", "01930000-0000-7000-8000-000000000001"])
async def test_unknown_request_is_not_found(admin: ConsoleClient, id_: str) -> None:
    """Whatever the id is."""
    assert (await admin.get(f"/requests/{id_}")).status == 404


async def test_page_shows_no_text_of_messages(admin: ConsoleClient, upstream: Upstream) -> None:
    """There is none in the ledger."""
    [id_] = await request_ids(admin)
    html = (await admin.get(f"/requests/{id_}")).html
    assert not re.search("hello", html, re.IGNORECASE)
