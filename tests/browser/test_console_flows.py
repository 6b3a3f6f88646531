"""What administrators do in the console, from end to end in a real browser, as a person does it: by links, buttons and
fields. What came of it is looked up in the ledger and in the database."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from openai import AsyncOpenAI

from tests.browser.conftest import Browse
from tests.support.agent import MODEL, Agent
from tests.support.browser import Visit
from tests.support.canaries import SECRETS
from tests.support.client import Answer, fetch
from tests.support.console import PASSWORD, sign_in
from tests.support.upstream import MODEL_SERVED, Received, Reply, Script, Upstream, completion

pytestmark = pytest.mark.shared_agent

DAY_SECONDS = 86_400
STARTER = "gpt-6-sol"
PRICES = b"model,input,output,cached_input\ngpt-6-luna,0.30,1.20,0.15\ngpt-6-new,1,2,\n"
without_script_too = pytest.mark.parametrize("script", [True, False], ids=["script", "no-script"])


async def visit_of(browse: Browse, agent: Agent, path: str, admin: str = "carol", **device: Any) -> Visit:
    """Begins the visit of an admin who is signed in with a page."""
    session = (await sign_in(agent, admin)).cookies["__Host-session"]
    visit: Visit = await browse(**device)
    await visit.set_cookie(agent.admin_url, "__Host-session", session)
    await visit.open(f"{agent.admin_url}/console{path}")
    return visit


async def unfold(visit: Visit, title: str) -> None:
    """Opens the form with this title."""
    await visit.act(lambda page: page.locator("details.folded > summary", has_text=title).click())


async def choose_file(visit: Visit, name: str, content: bytes) -> None:
    """Chooses a file in the field of the page that takes one, or in the first of several."""
    file: Any = {"name": name, "mimeType": "application/octet-stream", "buffer": content}
    await visit.act(lambda page: page.locator('input[type="file"]').first.set_input_files(file))


async def value_of(visit: Visit, name: str) -> str:
    """What is typed into a field."""
    return await visit.act(lambda page: page.locator(f'[name="{name}"]:visible').input_value())


async def new_token(visit: Visit) -> str:
    """The token that the page shows once."""
    token = (await visit.text(".code.secret code")).strip()
    SECRETS.add(token)
    return token


async def ask(agent: Agent, token: str) -> str | None:
    """Sends a request as a user does, with OpenAI's SDK; returns the text of the answer."""
    async with AsyncOpenAI(base_url=f"{agent.url}/v1", api_key=token, max_retries=0) as client:
        answer = await client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "Hello"}])
    return answer.choices[0].message.content


async def status_with(agent: Agent, token: str) -> int:
    """Sends a request with a token; returns the status."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    answer: Answer = await fetch(f"{agent.url}/v1/chat/completions", "POST", headers, agent.body())
    return answer.status


async def actions(agent: Agent, object: str) -> list[str]:
    """What carol has done to objects of a kind in the console, the oldest first."""
    entries = await agent.administration.audit.list(object=object, limit=50)
    return [entry.action for entry in reversed(entries) if (entry.actor, entry.via) == ("carol", "console")]


@pytest.mark.own_agent
@without_script_too
async def test_first_run_ends_with_an_answered_request(
    browse: Browse, agent: Agent, upstream: Upstream, script: bool
) -> None:
    """The first admin, the first user, the first price, the first request, and the proof of its cost."""
    await agent.store.fetch("DELETE FROM tokens; DELETE FROM users; DELETE FROM prices")
    await agent.follow()
    visit: Visit = await browse(script=script)
    code = agent.server.console_access.first_run_code
    await visit.open(f"{agent.admin_url}/console/first-run?code={code}")
    await visit.fill(name="carol", password=PASSWORD, again=PASSWORD)
    await visit.press("Create the admin")
    assert await visit.text("h1") == "Setting up"

    await visit.press("Add a user")
    await visit.fill(name="dora", openai_key="sk-made-up-key-of-dora")
    await visit.press("Add the user")
    token = await new_token(visit)
    if script:
        assert await visit.copy(".code.secret button.copy") == token

    await visit.press("Go on with the guide")
    await visit.act(lambda page: page.get_by_label(f"{STARTER}:").check())
    await visit.press("Set these prices")
    await visit.fill(token=token)
    await visit.press("Send the request")
    assert "The request has been answered." in await visit.text("main")

    [row] = await agent.rows(1)
    await visit.press(row["request_id"])
    assert await visit.text("h1") == "Request of dora"
    assert "equals the cost of the row" in await visit.text("tfoot")
    tokens = row["input_tokens"] - row["cached_tokens"], row["cached_tokens"], row["output_tokens"]
    rates = Decimal("2"), Decimal("0.2"), Decimal("10")
    assert row["cost"] == sum(n * rate for n, rate in zip(tokens, rates, strict=True)) / 1_000_000 > 0


@without_script_too
async def test_token_is_issued_rotated_and_revoked(
    browse: Browse, agent: Agent, upstream: Upstream, script: bool
) -> None:
    """During the grace period both tokens work; a revoked one is refused at once."""
    visit = await visit_of(browse, agent, "/users", script=script)
    await visit.press("alice")
    await visit.press("Issue a token")
    await visit.fill(label="night jobs")
    await visit.press("Issue the token")
    first = await new_token(visit)
    await agent.follow()
    assert await ask(agent, first)

    await visit.press("alice")
    await visit.press("night jobs")
    await visit.press("Rotate")
    await visit.act(lambda page: page.get_by_label("The old token").select_option("works for 1 hour"))
    await visit.press("Issue the new token")
    second = await new_token(visit)
    await agent.follow()
    assert await ask(agent, first)
    assert await ask(agent, second)

    [old] = [row for row in await agent.administration.tokens.list("alice") if row.replaced_by is not None]
    await visit.open(f"{agent.admin_url}/console/tokens/{old.id}")
    await visit.press("Revoke")
    await visit.fill(confirm="laptop")
    await visit.press("Revoke the token")
    assert "nothing has been changed" in await visit.text("main")
    assert await status_with(agent, first) == 200
    await visit.fill(confirm=str(old.token_prefix))
    await visit.press("Revoke the token")
    assert await visit.text("h1") == "alice"
    await agent.follow()
    assert (await status_with(agent, first), await status_with(agent, second)) == (401, 200)

    used = [row["token_id"] for row in await agent.rows()]
    assert used == [old.id, old.id, old.replaced_by, old.id, old.replaced_by]
    assert [action for action in await actions(agent, "tokens") if action == "insert"] == ["insert", "insert"]


async def test_price_list_is_shown_then_set(browse: Browse, agent: Agent, upstream: Upstream) -> None:
    """Nothing is set by the upload; the next request costs what the list says."""
    visit = await visit_of(browse, agent, "/prices")
    await visit.press("Import a list")
    await choose_file(visit, "prices.csv", PRICES)
    await visit.press("Show what it changes")
    assert "$0.15 $0.30 +100%" in " ".join((await visit.text("#changed tbody")).split())
    assert "gpt-6-new" in await visit.text("#new tbody")
    assert [price.model for price in await agent.administration.prices.in_force()] == [MODEL]
    await agent.chat()

    await visit.press("Set all of it")
    await agent.follow()
    assert "2 prices are set." in await visit.text("main")
    await visit.press("Prices")
    assert "$1.20" in await visit.text(f"#prices tr:has-text('{MODEL}')")
    await agent.chat()

    rows = await agent.rows(2)
    for row, rates in zip(rows, (("0.15", "0.075", "0.60"), ("0.30", "0.15", "1.20")), strict=True):
        tokens = row["input_tokens"] - row["cached_tokens"], row["cached_tokens"], row["output_tokens"]
        assert row["cost"] == sum(n * Decimal(rate) for n, rate in zip(tokens, rates, strict=True)) / 1_000_000
    assert await actions(agent, "prices") == ["insert", "insert"]


async def test_spent_budget_refuses_until_it_is_raised(browse: Browse, agent: Agent, upstream: Upstream) -> None:
    """The page says that it is spent; raised until tomorrow, the next request is answered."""
    upstream.script = long_answers(upstream)
    visit = await visit_of(browse, agent, "/budgets")
    await unfold(visit, "Set a budget")
    await visit.act(lambda page: page.locator("form#new [name=user]").fill("alice"))
    await visit.fill(amount="0.001")
    await visit.press("Set the budget")
    await agent.follow()
    answers = [await agent.chat(max_tokens=1) for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert answers[-1].error["code"] == "insufficient_quota"

    await agent.flush()
    await visit.press("Budgets")
    assert "spent" in await visit.text("#budgets tbody mark")
    await visit.press("Open")
    await unfold(visit, "Raise it for a time")
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    await visit.act(lambda page: page.locator("form#raise [name=amount]").fill("5"))
    await visit.fill(until=f"{tomorrow:%Y-%m-%dT%H:%M}")
    await visit.press("Raise")
    await agent.follow()
    assert (await agent.chat(max_tokens=1)).status == 200

    rows = await agent.rows()
    [budget] = await agent.administration.budgets.list(user="alice")
    assert (budget.amount, budget.raised_amount) == (Decimal("0.001"), Decimal(5))
    assert budget.spent == sum(row["cost"] for row in rows)
    assert len(rows) == len(answers)  # the refused request has no row, and there is one after the raise


def long_answers(upstream: Upstream) -> Script:
    """Answers that cost more than the request allowed, 0.0006 USD each."""

    async def script(request: Received, reply: Reply) -> None:
        upstream.billed[request.header("x-client-request-id") or ""] = (0, 0, 1000)
        await reply.whole(completion(0, 0, 1000))

    return script


async def without_usage(request: Received, reply: Reply) -> None:
    """An answer whose token counts are missing."""
    answer = json.loads(completion())
    del answer["usage"]
    await reply.whole(json.dumps(answer).encode())


async def test_difference_to_the_bill_leads_to_a_row(browse: Browse, agent: Agent, upstream: Upstream) -> None:
    """A file of OpenAI's costs has more than the ledger; the page names the difference, and a row to look at."""
    upstream.script = without_usage
    id_ = (await agent.chat()).header("X-Agent-Request-Id")
    [row] = await agent.rows(1)
    visit = await visit_of(browse, agent, "/books")
    await visit.press("Compare with OpenAI's figures")
    await choose_file(visit, "costs.json", bill_of_today(0.5))
    await visit.fill(key="key_alice=alice")
    await visit.press("Compare")
    assert "The ledger and OpenAI differ" in await visit.text("main")
    assert "user alice" in await visit.text("#differences tbody")
    await visit.press(str(id_))
    assert await visit.text("h1") == "Request of alice"

    [day] = (await agent.administration.books.read()).days
    assert (day.ledger_cost, day.openai_cost) == (row["cost"], Decimal("0.5"))


def bill_of_today(amount: float) -> bytes:
    """Returns a page of OpenAI's costs."""
    today = int(datetime.now(UTC).timestamp()) // DAY_SECONDS * DAY_SECONDS
    result = {
        "object": "organization.costs.result",
        "amount": {"value": amount, "currency": "usd"},
        "line_item": f"{MODEL_SERVED}, input",
        "api_key_id": "key_alice",
    }
    bucket = {"start_time": today, "end_time": today + DAY_SECONDS, "results": [result]}
    return json.dumps({"object": "page", "data": [bucket]}).encode()


async def test_second_of_two_changes_is_refused(browse: Browse, agent: Agent) -> None:
    """Nothing is overwritten, and what the second admin typed is kept; it can be saved then."""
    one = await visit_of(browse, agent, "/users/alice/change")
    other = await visit_of(browse, agent, "/users/alice/change", "dave")
    await one.fill(rpm="60")
    await one.press("Save")
    await other.fill(comment="Search team")
    await other.press("Save")
    assert "Another admin has changed this meanwhile." in await other.text("main")
    assert (await value_of(other, "comment"), await value_of(other, "rpm")) == ("Search team", "60")
    user = await agent.administration.users.get("alice")
    assert (user.comment, user.rpm) == ("", 60)

    await other.press("Save")
    user = await agent.administration.users.get("alice")
    assert (user.comment, user.rpm) == ("Search team", 60)


async def test_form_survives_the_end_of_the_session(browse: Browse, agent: Agent) -> None:
    """What was typed is sent after the sign-in."""
    visit = await visit_of(browse, agent, "/new-user")
    await visit.fill(name="dora", openai_key="sk-made-up-key-of-dora", comment="Data team")
    await agent.store.fetch("DELETE FROM admin_sessions")
    await visit.press("Add the user")
    assert "Your session has ended." in await visit.text("main")
    await visit.fill(name="carol", password=PASSWORD)
    await visit.press("Sign in")
    await visit.press("Send it now")
    assert await visit.text("h1") == "dora has been added"
    await new_token(visit)
    assert (await agent.administration.users.get("dora")).comment == "Data team"
