"""A list of prices in the console: what it changes is shown, then set."""

import base64
import json
import zlib
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from chatgpt_agent.core.errors import InvalidRequest
from chatgpt_agent.core.money.kinds import Rates
from chatgpt_agent.web.console.packed_files import pack, unpack
from tests.support.agent import MODEL
from tests.support.console import ConsoleClient, PageAnswer
from tests.support.litellm import LIST
from tests.support.upstream import Upstream

pytestmark = pytest.mark.shared_agent

CSV = b"model,input,output,cached_input,tiers\ngpt-6-luna,0.30,0.60,0.075,flex:x0.5\ngpt-new,1,2,,\n"
REMOVAL = b"model,input,output\ngpt-6-luna,,\n"


async def show(browser: ConsoleClient, content: bytes = CSV, **values: str) -> PageAnswer:
    """Sends a file, whose answer is the difference."""
    return await browser.send_file("/price-import", "import", "file", content, **values)


async def set_all(browser: ConsoleClient, page: PageAnswer, **values: str) -> PageAnswer:
    """Sends the second form."""
    return await browser.send("/price-import/apply", {**page.form("import"), **values})


async def models(browser: ConsoleClient) -> list[str]:
    """The models with a price."""
    return [price.model for price in await browser.agent.administration.prices.in_force()]


async def test_difference_is_shown_first(admin: ConsoleClient) -> None:
    """Old and new rates with the change in percent; nothing is set."""
    page = await show(admin)
    assert [row[:5] for row in page.rows("changed")] == [
        [MODEL, "Input", "$0.15", "$0.30", "+100%"],
        [MODEL, "Tier: + flex:x0.5", "–", "–", "–"],
    ]
    assert [row[:4] for row in page.rows("new")] == [["gpt-new", "$1.00", "–", "$2.00"]]
    assert "gpt-new" not in await models(admin)


async def test_list_is_set_as_it_was_shown(admin: ConsoleClient) -> None:
    """By the admin, through the console."""
    page = await set_all(admin, await show(admin))
    assert "2 prices are set." in page.text
    assert "gpt-new" in await models(admin)
    rows = await admin.agent.administration.audit.list(object="prices", limit=2)
    assert [(row.actor, row.via) for row in rows] == [("carol", "console")] * 2


async def test_file_is_not_on_disk_between_the_steps(admin: ConsoleClient) -> None:
    """It is in the form, compressed."""
    packed = (await show(admin)).form("import")["packed_file"]
    assert zlib.decompress(base64.urlsafe_b64decode(packed)) == CSV


async def test_list_of_litellm_is_shown_with_surcharges_and_dates(admin: ConsoleClient) -> None:
    """What is skipped has a reason."""
    day = datetime.now(UTC).date() + timedelta(days=99)
    content = {**LIST, "gpt-one": {**LIST["gpt-one"], "deprecation_date": str(day)}}
    page = await show(admin, json.dumps(content).encode())
    assert "gpt-one" in [row[0] for row in page.rows("new")]
    assert page.rows("surcharges")
    assert [row[0] for row in page.rows("shutdowns")] == ["gpt-one"]
    assert page.rows("skipped")
    assert sum(int(row[1]) for row in page.rows("reasons")) >= len(page.rows("skipped"))


async def test_only_chosen_models_are_taken(admin: ConsoleClient) -> None:
    """The choice is part of the second form."""
    page = await show(admin, only="gpt-new")
    assert page.rows("changed") == []
    await set_all(admin, page)
    current = await admin.agent.administration.prices.current(MODEL)
    assert current is not None
    assert current.rates.input == Decimal("0.15")
    assert "gpt-new" in await models(admin)


async def test_list_takes_effect_on_a_date(admin: ConsoleClient) -> None:
    """Until then, the prices of now are in force."""
    tomorrow = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(days=1)
    await set_all(admin, await show(admin, since=f"{tomorrow:%Y-%m-%dT%H:%M}"))
    assert "gpt-new" not in await models(admin)
    upcoming = await admin.agent.administration.prices.upcoming()
    assert {price.effective_at for price in upcoming} == {tomorrow}


async def test_removal_stands_apart(admin: ConsoleClient) -> None:
    """With the price that ends."""
    page = await show(admin, REMOVAL)
    assert [row[:4] for row in page.rows("removed")] == [[MODEL, "$0.15", "$0.075", "$0.60"]]
    assert "Requests for these models are refused from then on." in page.text


async def test_past_requests_are_computed_at_the_list(admin: ConsoleClient, upstream: Upstream) -> None:
    """Those of the last 30 days; the input rate is twice as high."""
    await admin.agent.chat()
    [row] = await admin.agent.rows(1)
    page = await show(admin, b"model,input,output,cached_input\ngpt-6-luna,0.30,1.20,0.15\n")
    [title] = [each for each in page.main.all("h2") if each.text.startswith("All requests of the last 30 days")]
    assert title.parent is not None
    assert "Requests 1" in title.parent.text
    assert "+100%" in title.parent.text
    assert row["cost"] > 0
    assert "All requests" not in (await show(admin, what_if="")).text


async def test_changed_prices_are_not_set_unseen(admin: ConsoleClient) -> None:
    """A price that was set meanwhile makes another difference."""
    page = await show(admin)
    prices = admin.agent.administration.prices
    await prices.set(MODEL, Rates(input=Decimal(5), output=Decimal(5)))
    page = await set_all(admin, page)
    assert page.status == 409
    assert "have changed since you saw" in page.text
    assert "gpt-new" not in await models(admin)


async def test_list_in_force_has_nothing_to_set(admin: ConsoleClient) -> None:
    """There is no second form."""
    await set_all(admin, await show(admin))
    page = await show(admin)
    assert "There is nothing to set" in page.text
    assert page.root.all("form", id="import") == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{}", "is not LiteLLM's list"),
        (b"\xff", "is not UTF-8 text"),
        (b"a,b\n", "is not a list of prices"),
        (b"", "Choose a file"),
    ],
)
async def test_wrong_file_is_refused(admin: ConsoleClient, content: bytes, message: str) -> None:
    """The form says why."""
    page = await show(admin, content)
    assert page.status in (400, 422)
    assert message in page.root.one("form", id="import").text


@pytest.mark.parametrize("packed", ["", "x", "eJw=", base64.b64encode(zlib.compress(b"{}"))[:-4].decode()])
async def test_damaged_form_is_refused(admin: ConsoleClient, packed: str) -> None:
    """Nothing is set."""
    page = await set_all(admin, await show(admin), packed_file=packed)
    assert page.status == 400
    assert "gpt-new" not in await models(admin)


async def test_viewer_imports_nothing(admin: ConsoleClient, viewer: ConsoleClient) -> None:
    """Neither step is allowed."""
    form = {
        **(await show(admin)).form("import"),
        "_xsrf": (await viewer.get("/prices")).form("filter").get("_xsrf", ""),
    }
    assert (await viewer.get("/price-import")).status == 403
    assert (await viewer.send("/price-import/apply", form)).status == 403


async def test_file_that_unpacks_to_too_much_is_refused() -> None:
    """At most `max_size` bytes are unpacked."""
    packed = await pack(bytes(10_000))
    assert packed is not None
    assert await unpack(packed, max_size=10_000) == bytes(10_000)
    with pytest.raises(InvalidRequest):
        await unpack(packed, max_size=9_999)
