"""The guide from an empty installation to the first answered request."""

import pytest

from chatgpt_agent.admin.starter_prices import starter_prices
from tests.support.agent import MODEL
from tests.support.console import ConsoleClient
from tests.support.upstream import Upstream

pytestmark = pytest.mark.shared_agent


async def test_picked_models_get_their_prices(admin: ConsoleClient) -> None:
    """Others do not."""
    await admin.agent.administration.prices.remove(MODEL)
    page = await admin.submit("/setup", "prices", **{"model:gpt-6-sol": "true"})
    assert "Prices are set for: gpt-6-sol" in page.text
    [price] = await admin.agent.administration.prices.in_force()
    assert (price.model, str(price.rates.input), len(price.tiers)) == ("gpt-6-sol", "2", 7)


async def test_no_model_is_refused(admin: ConsoleClient) -> None:
    """The form says what to do."""
    await admin.agent.administration.prices.remove(MODEL)
    page = await admin.submit("/setup", "prices")
    assert page.root.one("p", role="alert").text == "Pick at least one model."


async def test_first_request_is_answered_and_has_a_row(admin: ConsoleClient, upstream: Upstream) -> None:
    """The page shows the answer, and the address of the row."""
    page = await admin.submit("/setup", "first", token=admin.agent.token, model=MODEL, message="Hi")
    assert "The request has been answered." in page.text
    [link] = [each for each in page.main.all("a") if "/console/requests/" in each.attributes["href"]]
    await admin.agent.flush()
    row = await admin.agent.administration.ledger.rows(limit=1)
    assert link.attributes["href"].endswith(str(row[0].request_id))


async def test_wrong_token_is_refused(admin: ConsoleClient) -> None:
    """The page shows the status and the error."""
    page = await admin.submit("/setup", "first", token="cga_wrong", model=MODEL, message="Hi")
    assert "The request was refused." in page.text
    assert "invalid_api_key" in page.text


async def test_token_is_not_in_the_page(admin: ConsoleClient, upstream: Upstream) -> None:
    """Neither of an error nor of an answer."""
    page = await admin.submit("/setup", "first", token=admin.agent.token, model=MODEL, message="")
    assert admin.agent.token not in page.html
    page = await admin.submit("/setup", "first", token=admin.agent.token, model=MODEL, message="Hi")
    assert admin.agent.token not in page.html


def test_starter_prices_can_be_charged() -> None:
    """Each has input and output."""
    prices = starter_prices().prices
    assert len(prices) > 8
    assert all(price.rates.input is not None and price.rates.output is not None for price in prices)
