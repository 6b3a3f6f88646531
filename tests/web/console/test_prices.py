"""Prices in the console: the list, one model, setting and removing a price."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from chatgpt_agent.adapters.postgres.agents import AgentReport, report_agent
from chatgpt_agent.core.ids import uuid7
from chatgpt_agent.core.money.kinds import Rates
from tests.support.agent import MODEL
from tests.support.console import ConsoleClient, PageAnswer
from tests.support.upstream import Upstream

pytestmark = pytest.mark.shared_agent

TOMORROW = datetime.now(UTC) + timedelta(days=1)
HOSTILE = ["<script>alert(1)</script>", "价" * 128, "نموذج", "🦊" * 20, 'a/b?c="d"&e']


async def set_price(browser: ConsoleClient, model: str = MODEL, **rates: str) -> None:
    """Sets a price as a command does."""
    prices = browser.agent.administration.prices
    values = {"input": "2", "output": "8", **rates}
    await prices.set(model, Rates(**{name: Decimal(text) for name, text in values.items()}))


async def actions(browser: ConsoleClient) -> list[str]:
    """The actions on prices through the console, the newest first."""
    rows = await browser.agent.administration.audit.list(object="prices", limit=99)
    return [row.action for row in rows if row.via == "console"]


async def test_prices_are_listed(admin: ConsoleClient) -> None:
    """With all digits, and what they were used for."""
    await set_price(admin, "gpt-7-a", cached_input="0.125", cache_write="2.5")
    page = await admin.get("/prices?search=7-A")
    [row] = page.rows("prices")
    assert row[:9] == ["gpt-7-a", "$2.00", "$0.125", "$8.00", "0", "–", "–", "Cache write tokens $2.50", "–"]


async def test_use_of_a_model_is_shown(admin: ConsoleClient, upstream: Upstream) -> None:
    """Requests and cost of the last 30 days."""
    await admin.agent.chat()
    await admin.agent.rows(1)
    [row] = [row for row in (await admin.get("/prices")).rows("prices") if row[0] == MODEL]
    assert row[4] == "1"
    assert row[5].startswith("$0.0")


async def test_search_without_a_match_says_so(admin: ConsoleClient) -> None:
    """Nothing is offered that was not asked for."""
    assert "No model with a price matches." in (await admin.get("/prices?search=unknown")).text


async def test_list_goes_on_after_50(admin: ConsoleClient) -> None:
    """The next page begins with the next model."""
    for number in range(51):
        await set_price(admin, f"m-{number:02}")
    page = await admin.get("/prices?search=m-")
    [link] = page.root.all("a", rel="next")
    more = await admin.get(link.attributes["href"].removeprefix("/console"))
    assert (len(page.rows("prices")), [row[0] for row in more.rows("prices")]) == (50, ["m-50"])


async def test_model_that_was_refused_is_on_top(admin: ConsoleClient) -> None:
    """Its button leads to the form with its name."""
    report = AgentReport(backlog=0, oldest_age=None, lost_rows=0, unpriced_models={"gpt-9": 3, "other": 1, MODEL: 2})
    await report_agent(admin.agent.store, uuid7(1, bytes(10)), report)
    page = await admin.get("/prices")
    assert page.rows("unpriced") == [["gpt-9", "3", "0", "–", "Set a price"]]
    await admin.agent.store.fetch("DELETE FROM agents WHERE unpriced_models ? 'gpt-9'")
    [link] = [link for link in page.root.one("section", id="unpriced").all("a") if link.text == "Set a price"]
    form = await admin.get(link.attributes["href"].removeprefix("/console"))
    assert form.form("price")["model"] == "gpt-9"


async def test_used_model_whose_price_was_removed_is_on_top(admin: ConsoleClient, upstream: Upstream) -> None:
    """With what it cost."""
    await admin.agent.chat()
    await admin.agent.rows(1)
    await admin.agent.administration.prices.remove(MODEL)
    rows = (await admin.get("/prices")).rows("unpriced")
    assert [row[:3] for row in rows if row[0] == MODEL] == [[MODEL, "0", "1"]]


# Setting a price.


async def type_price(browser: ConsoleClient, **values: str) -> PageAnswer:
    """Sends the first form, whose answer is the preview."""
    return await browser.submit("/new-price", "price", **{"model": "gpt-8", "input": "2.50", "output": "10", **values})


async def set_it(browser: ConsoleClient, page: PageAnswer) -> PageAnswer:
    """Sends the second form."""
    return await browser.send("/new-price/set", page.form("price"))


async def test_price_is_set_after_a_preview(admin: ConsoleClient) -> None:
    """The preview sets nothing."""
    page = await type_price(admin, cached_input="0.25", tiers="flex:x0.5\nabove=272000:input=5,output=22.5")
    assert "There is no request to compare." in page.text
    assert await actions(admin) == []
    page = await set_it(admin, page)
    assert "The price of gpt-8 is set" in page.text
    assert page.title == "gpt-8"
    price = await admin.agent.administration.prices.current("gpt-8")
    assert price is not None
    assert price.rates == Rates(input=Decimal("2.50"), output=Decimal(10), cached_input=Decimal("0.25"))
    assert [tier.service_tier for tier in price.tiers] == ["flex", None]
    assert await actions(admin) == ["insert"]


async def test_preview_compares_with_what_was_charged(admin: ConsoleClient, upstream: Upstream) -> None:
    """Rates with their change in percent, and the requests of the last 30 days."""
    await set_price(admin)
    await admin.agent.follow()
    await admin.agent.chat()
    await admin.agent.rows(1)
    page = await type_price(admin, model=MODEL, input="3", output="8")
    assert page.rows("changes") == [["Input", "$2.00", "$3.00", "+50%"]]
    assert page.main.one("section", class_="figures").text.startswith("The requests of the last 30 days for this model")
    assert "Recorded requests keep the cost" in page.text


async def test_preview_can_be_corrected(admin: ConsoleClient) -> None:
    """Cancel leads to the form with what was typed."""
    page = await type_price(admin, tiers="flex:x0.5", effective_at="2027-01-01T00:00")
    [link] = [link for link in page.main.all("a") if link.text == "Cancel"]
    form = (await admin.get(link.attributes["href"].removeprefix("/console"))).form("price")
    assert [form[name] for name in ("model", "input", "tiers", "effective_at")] == [
        "gpt-8", "2.50", "flex:x0.5", "2027-01-01T00:00",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("field", "text", "message"),
    [
        ("input", "much", "'much' is not a number"),
        ("input", "", "give USD per 1,000,000 tokens"),
        ("cache_write", "-1", "-1 is not between 0 and 1000000"),
        ("tiers", "flex", "give WHEN:WHAT"),
        ("tiers", "flex:x1\nflex:x2", "duplicate tier"),
        ("effective_at", "soon", "is not a date"),
        ("model", "", "Fill this in."),
    ],
)
async def test_wrong_field_is_marked(admin: ConsoleClient, field: str, text: str, message: str) -> None:
    """What was typed is kept, and nothing is set."""
    page = await type_price(admin, **{field: text})
    assert page.status in (400, 422)
    assert page.form("price")["output"] == "10"
    assert message in page.root.one("small", id=f"price-{field}-error").text


async def test_price_of_a_later_date_waits(admin: ConsoleClient) -> None:
    """It can be cancelled, and set again."""
    page = await set_it(admin, await type_price(admin, model=MODEL, effective_at=f"{TOMORROW:%Y-%m-%dT%H:%M}"))
    [upcoming] = await admin.agent.administration.prices.upcoming(MODEL)
    assert page.rows("history")[0][2] == "to come"
    page = await press(admin, page, "Cancel")
    assert "is cancelled" in page.text
    assert await admin.agent.administration.prices.upcoming(MODEL) == []
    await press(admin, page, "Undo")
    [again] = await admin.agent.administration.prices.upcoming(MODEL)
    assert (again.rates, again.effective_at) == (upcoming.rates, upcoming.effective_at)


async def press(browser: ConsoleClient, page: PageAnswer, label: str) -> PageAnswer:
    """Sends the form of a button."""
    [form] = [form for form in page.main.all("form") if form.text == label]
    fields = {each.attributes["name"]: each.attributes["value"] for each in form.all("input")}
    return await browser.send(form.attributes["action"].removeprefix("/console"), fields)


async def test_preview_names_the_price_that_follows(admin: ConsoleClient) -> None:
    """A price of a later date would take its place."""
    await admin.agent.administration.prices.set("gpt-8", Rates(input=Decimal(1), output=Decimal(1)), since=TOMORROW)
    assert "another price takes its place" in (await type_price(admin)).text


async def test_preview_has_the_command_that_sets_it(admin: ConsoleClient) -> None:
    """With every rate and tier, quoted for a shell."""
    page = await type_price(admin, cached_audio="0.5", tiers="flex:x0.5")
    commands = [code.text for code in page.root.all("code") if "price set" in code.text]
    assert commands == ["chatgpt-agent price set gpt-8 --input 2.5 --output 10 --cached-audio 0.5 --tier flex:x0.5"]


# One model.


async def test_rates_of_a_model_are_explained(admin: ConsoleClient) -> None:
    """A kind without a rate of its own says which one counts."""
    await set_price(admin, "gpt-8")
    page = await admin.get("/prices/gpt-8")
    assert "Cached input $2.00, as Input" in page.text


async def test_model_without_a_price_is_404(admin: ConsoleClient) -> None:
    """The error names one that is alike."""
    page = await admin.get(f"/prices/{MODEL}x")
    assert (page.status, MODEL in page.text) == (404, True)


async def test_removal_names_the_users_it_stops(admin: ConsoleClient, upstream: Upstream) -> None:
    """The name has to be typed."""
    await admin.agent.chat()
    await admin.agent.rows(1)
    page = await admin.get(f"/prices/{MODEL}/remove")
    assert "it had 1 requests of 1 users with 1 tokens: alice" in page.text
    page = await admin.submit(f"/prices/{MODEL}/remove", "remove", confirm="x")
    assert page.status == 422
    assert await admin.agent.administration.prices.current(MODEL) is not None
    page = await admin.submit(f"/prices/{MODEL}/remove", "remove", confirm=MODEL)
    assert "has been removed" in page.text
    assert "This model has no price now" in page.text
    assert await admin.agent.administration.prices.current(MODEL) is None
    assert await actions(admin) == ["insert"]


async def test_shutdown_stands_out(admin: ConsoleClient) -> None:
    """In the list, on the page of the model, and in the calendar with its users."""
    day = datetime.now(UTC).date() + timedelta(days=20)
    await admin.agent.store.fetch("INSERT INTO model_dates VALUES (%s, %s), ('gpt-0', %s)", [MODEL, day, day])
    [row] = [row for row in (await admin.get("/prices")).rows("prices") if row[0] == MODEL]
    assert row[6] != "–"
    assert f"OpenAI shuts {MODEL} down on" in (await admin.get(f"/prices/{MODEL}")).text
    rows = (await admin.get("/shutdowns")).rows("shutdowns")
    assert [row[2] for row in rows] == [MODEL]
    assert int(rows[0][1]) in (19, 20)
    assert len((await admin.get("/shutdowns?all=true")).rows("shutdowns")) == 2


async def test_calendar_names_the_users(admin: ConsoleClient, upstream: Upstream) -> None:
    """Those of the last 30 days."""
    await admin.agent.store.fetch("INSERT INTO model_dates VALUES (%s, '2030-01-01')", [MODEL])
    await admin.agent.chat()
    await admin.agent.rows(1)
    [row] = (await admin.get("/shutdowns")).rows("shutdowns")
    assert row[4:7] == ["1", "alice", "1"]


@pytest.mark.parametrize("name", HOSTILE)
async def test_any_name_is_shown_and_found(admin: ConsoleClient, name: str) -> None:
    """As text, and with a page of its own."""
    await set_price(admin, name)
    page = await admin.get("/prices")
    [link] = [link for link in page.root.one("table", id="prices-rows").all("a") if link.text == name]
    detail = await admin.get(link.attributes["href"].removeprefix("/console"))
    assert (detail.status, detail.title) == (200, name)
    assert "<script>alert" not in page.html + detail.html


async def test_export_can_be_imported(admin: ConsoleClient) -> None:
    """It is the CSV of `price export`."""
    answer = await admin.file("/price-export")
    assert answer.header("Content-Disposition") == 'attachment; filename="prices.csv"'
    assert answer.body.startswith(b"model,effective_at,input,")


async def test_viewer_looks_only(viewer: ConsoleClient) -> None:
    """No buttons to change prices, and no forms behind them."""
    page = await viewer.get("/prices")
    assert "Set a price" not in page.text
    assert "What if" in page.text
    assert "Remove the price" not in (await viewer.get(f"/prices/{MODEL}")).text
    for path in ("/new-price", "/price-import", f"/prices/{MODEL}/remove"):
        assert (await viewer.get(path)).status == 403


async def test_table_is_csv_with_exact_rates(admin: ConsoleClient) -> None:
    """Without the sign of the currency."""
    await set_price(admin, "gpt-7-a", cached_input="0.125")
    answer = await admin.file("/prices?csv=prices&search=gpt-7-a")
    lines = answer.body.decode().splitlines()
    assert lines[0].startswith("model,input,cached_input,output,requests,cost,shutdown,other_rates,tiers,")
    assert lines[1].startswith("gpt-7-a,2,0.125,8,")
