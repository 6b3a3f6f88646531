"""The page on the books, the check of the ledger, and the comparison with OpenAI's figures."""

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from chatgpt_agent.adapters.postgres.agents import AgentReport, report_agent
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.ledger_checks import LedgerCheck, add_check
from tests.support.agent import MODEL
from tests.support.console import ConsoleClient, PageAnswer
from tests.support.upstream import Upstream

pytestmark = pytest.mark.shared_agent

HOSTILE = "<script>alert(1)</script> " + "数" * 150 + " دعم 🤖"
DAY_SECONDS = 86_400


async def checked(browser: ConsoleClient) -> PageAnswer:
    """Checks the ledger; returns the page with the result."""
    page = await browser.get("/books")
    xsrf = page.root.all("input", name="_xsrf")[0].attributes["value"]
    page = await browser.send("/books/check", {"_xsrf": xsrf})
    await browser.agent.server.verification.wait()
    return await browser.get("/books/check")


def today() -> int:
    return int(datetime.now(UTC).timestamp()) // DAY_SECONDS * DAY_SECONDS


def costs(amount: float, line_item: str = "gpt-6-luna, input") -> bytes:
    """A page of OpenAI's costs of today."""
    result = {
        "object": "organization.costs.result",
        "amount": {"value": amount, "currency": "usd"},
        "line_item": line_item,
        "api_key_id": "key_alice",
    }
    day = today()
    return json.dumps({"data": [{"start_time": day, "end_time": day + DAY_SECONDS, "results": [result]}]}).encode()


def usage(**counts: Any) -> bytes:
    """A page of OpenAI's usage of today."""
    result = {
        "object": "organization.usage.completions.result", "model": MODEL, "num_model_requests": 1,
        "input_tokens": 5, "output_tokens": 1, "api_key_id": "key_alice", **counts,
    }  # fmt: skip
    day = today()
    return json.dumps({"data": [{"start_time": day, "end_time": day + DAY_SECONDS, "results": [result]}]}).encode()


# The page.


AN_ARCHIVE = """
    INSERT INTO archived_months
    VALUES ('2024-01-01', 'usage-2024-01-abcd.csv.gz', repeat('0', 64), 9, 7, 7, 1.5, 0, '{}', 'UTC', now(), 'carol')"""


async def test_archived_month_is_listed(admin: ConsoleClient) -> None:
    """With its file; the list of requests says at its end that older rows are archived."""
    await admin.agent.store.fetch(AN_ARCHIVE)
    for path in ("/books", "/requests"):
        page = await admin.get(path)
        assert "2024-01" in page.text
        assert "Archived months" in page.text
    assert "usage-2024-01-abcd.csv.gz" in (await admin.get("/books")).text
    assert "archived" not in (await admin.get("/requests?since=2024-02-01T00:00")).text
    assert b"the rows of 2024-01 are archived" in (await admin.get("/requests.csv")).answer.body


async def test_empty_books_say_what_to_do(admin: ConsoleClient) -> None:
    """Nothing was checked, nothing compared."""
    page = await admin.get("/books")
    assert "The ledger has not been checked yet." in page.text
    assert "have not been compared" in page.text
    assert page.main.all("a", href="/console/books/compare")


async def test_rows_are_shown_by_state(admin: ConsoleClient, upstream: Upstream) -> None:
    """Each state leads to its rows."""
    await admin.agent.chat()
    await admin.agent.flush()
    page = await admin.get("/books")
    [row] = page.rows("states")
    assert (row[0], row[2]) == ("done", "1")
    month = f"{datetime.now(UTC):%Y-%m}-01T00%3A00"
    assert page.main.all("a", href=f"/console/requests?state=done&since={month}")


async def test_agent_that_is_late_is_marked(admin: ConsoleClient) -> None:
    """Its rows wait for longer than a minute."""
    await report_agent(admin.agent.store, UUID(int=9), AgentReport(backlog=4, oldest_age=90.0, lost_rows=0))
    page = await admin.get("/books")
    [late] = [row for row in page.rows("agents") if row[0].startswith(str(UUID(int=9)))]
    assert (late[1], late[5]) == ("late", "4")


async def test_hostile_field_is_text(admin: ConsoleClient) -> None:
    """Names of fields come from OpenAI."""
    report = AgentReport(backlog=0, oldest_age=None, lost_rows=0, unknown_usage_fields={HOSTILE: 3})
    await report_agent(admin.agent.store, UUID(int=9), report)
    page = await admin.get("/books")
    assert "<script>alert" not in page.html
    assert page.rows("unknown-fields")[0][1] == "3"


async def test_correction_is_listed_with_its_reason(admin: ConsoleClient, upstream: Upstream) -> None:
    """It leads to its row."""
    id_ = (await admin.agent.chat()).header("X-Agent-Request-Id")
    await admin.agent.flush()
    await admin.submit(f"/requests/{id_}", "correct", input="70", output="3", reason=HOSTILE)
    page = await admin.get("/books")
    [row] = page.rows("corrections")
    assert ("🤖" in row[-1], "<script>alert" in page.html) == (True, False)
    assert page.main.all("a", href=f"/console/requests/{id_}")


async def test_figures_are_a_file(admin: ConsoleClient, upstream: Upstream) -> None:
    """A table of several on a page."""
    await admin.agent.chat()
    await admin.agent.flush()
    answer = await admin.file("/books?csv=states")
    [row] = csv.DictReader(io.StringIO(answer.body.decode()))
    assert (row["state"], row["rows"]) == ("done", "1")


# The check.


async def test_check_without_findings(admin: ConsoleClient) -> None:
    """The page names the admin; the page on the books is green."""
    page = await checked(admin)
    assert "by carol (console): every row adds up" in page.text
    assert (await admin.get("/books")).main.all("section", class_="good")


async def test_old_check_is_marked(admin: ConsoleClient) -> None:
    """The books should be checked each week."""
    at = datetime.now(UTC) - timedelta(days=8)
    await add_check(admin.agent.store, LedgerCheck(kind="verify", at=at, actor="carol", findings=0, summary=""))
    page = await admin.get("/books")
    [message] = page.main.all("section", class_="warning")
    assert "more than a week ago" in message.text


async def test_viewer_may_check(viewer: ConsoleClient) -> None:
    """It changes nothing."""
    page = await checked(viewer)
    assert "by vera (console): every row adds up" in page.text


async def test_findings_lead_to_their_rows(admin: ConsoleClient, upstream: Upstream) -> None:
    """Each with what is wrong."""
    id_ = (await admin.agent.chat()).header("X-Agent-Request-Id")
    await admin.agent.flush()
    [(cost,)] = await admin.agent.store.fetch("SELECT cost FROM usage")
    await admin.agent.store.fetch("ALTER TABLE usage DISABLE TRIGGER USER; UPDATE usage SET cost = cost + 1")
    try:
        page = await checked(admin)
    finally:
        await admin.agent.store.fetch("UPDATE usage SET cost = %s; ALTER TABLE usage ENABLE TRIGGER USER", [cost])
    assert {row[0] for row in page.rows("findings")} == {"cost", "daily sums"}
    assert page.main.all("a", href=f"/console/requests/{id_}")
    assert "2 findings (cost, daily sums)" in (await admin.get("/books")).text


async def test_running_check_is_waited_for(admin: ConsoleClient) -> None:
    """The page asks again by itself, without script; a second check is not started; figures can be compared."""
    database = str(admin.agent.config.database_url)
    async with Store(database) as other, other.transaction():
        await other.fetch("LOCK TABLE usage_latency IN ACCESS EXCLUSIVE MODE")  # so that the check waits
        page = await admin.get("/books")
        xsrf = page.root.all("input", name="_xsrf")[0].attributes["value"]
        for _ in range(2):
            page = await admin.send("/books/check", {"_xsrf": xsrf})
        assert [meta.attributes["content"] for meta in page.root.all("meta", **{"http-equiv": "refresh"})] == ["4"]
        assert page.main.all("form") == []
        assert "is being checked now" in (await admin.get("/books")).text
        page = await admin.send_file("/books/compare", "compare", "files", costs(0.5))
        assert page.title == "Compare with OpenAI's figures"
        assert page.rows("differences")
    await admin.agent.server.verification.wait()
    page = await admin.get("/books/check")
    assert page.root.all("meta", **{"http-equiv": "refresh"}) == []
    sql = "SELECT count(*) FROM ledger_checks WHERE kind = 'verify'"
    [(checks,)] = await admin.agent.store.fetch(sql)
    assert checks == 1


# The comparison.


async def test_equal_figures(admin: ConsoleClient, upstream: Upstream) -> None:
    """The page says so, and a viewer may ask."""
    await admin.agent.chat()
    [row] = await admin.agent.rows()
    content = usage(input_tokens=row["input_tokens"], output_tokens=row["output_tokens"], model=row["served_model"])
    page = await admin.send_file("/books/compare", "compare", "files", content)
    assert "The ledger and OpenAI agree" in page.text


async def test_difference_leads_to_its_rows(viewer: ConsoleClient, upstream: Upstream) -> None:
    """In a sentence, with both amounts."""
    page = await viewer.send_file("/books/compare", "compare", "files", costs(0.5), key="key_alice=alice")
    assert "The ledger and OpenAI differ" in page.text
    [row] = page.rows("differences")
    assert (row[0].startswith("gpt-6-luna: 0.50 USD, user alice"), row[2]) == (True, "$0.50")


async def test_comparison_is_remembered_by_day(admin: ConsoleClient) -> None:
    """The page on the books shows its days."""
    await admin.send_file("/books/compare", "compare", "files", costs(0.5))
    [row] = (await admin.get("/books")).rows("days")
    assert row[2:4] == ["$0.50", "$0.50"]


async def test_several_files_are_compared_together(admin: ConsoleClient) -> None:
    """Usage of one and costs of the other."""
    page = await admin.send_files("/books/compare", "compare", [("files", usage()), ("files", costs(0.5))])
    assert "Days of usage (UTC)" in page.text
    assert "Days of costs (UTC)" in page.text


async def test_table_of_keys_names_users(admin: ConsoleClient) -> None:
    """A file beside the lines."""
    keys = b"user,api_key_id\nalice,key_alice\n"
    page = await admin.send_files("/books/compare", "compare", [("files", costs(0.5)), ("keys", keys)])
    assert "user alice" in page.rows("differences")[0][0]


@pytest.mark.parametrize(
    ("content", "fields", "status", "error"),
    [
        (b"a,b\n", {}, 422, "file: is neither JSON nor an export of OpenAI's dashboard"),
        (b"", {}, 400, "Choose a file that is not empty."),
        (costs(0.5), {"key": "alice"}, 400, "such as key_abc=alice"),
        (costs(0.5), {"key": "key_abc=zoe"}, 404, "zoe"),
        (costs(0.5), {"month": "2026-13"}, 400, "month"),
    ],
)
async def test_wrong_input_is_explained(
    admin: ConsoleClient, content: bytes, fields: dict[str, str], status: int, error: str
) -> None:
    """What was typed is kept."""
    page = await admin.send_file("/books/compare", "compare", "files", content, **fields)
    assert (page.status, error in page.text) == (status, True), page.text
    if status != 404:
        assert page.form("compare")["key"] == fields.get("key", "")


async def test_hostile_line_item_is_text(admin: ConsoleClient) -> None:
    """Names come from a file."""
    page = await admin.send_file("/books/compare", "compare", "files", costs(0.5, HOSTILE))
    assert "<script>alert" not in page.html
    assert len(page.rows("differences")) == 1
