"""`/me/page`: a user sees what a token has used and what is left, and replaces it, in a browser without script."""

from decimal import Decimal
from urllib.parse import urlencode

import pytest

from chatgpt_agent.core.budget.period import Period
from tests.conftest import MakeAgent
from tests.support.agent import MODEL, Agent
from tests.support.budgets import set_budget
from tests.support.canaries import SECRETS
from tests.support.client import fetch
from tests.support.console import PageAnswer
from tests.support.database import connected

pytestmark = pytest.mark.shared_agent

FORM = {"form": "show", "days": "30", "scope": "token"}


async def get(agent: Agent, path: str = "/me/page", **headers: str) -> PageAnswer:
    """Asks for the page."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return PageAnswer(await fetch(agent.url + path, "GET", fields))


async def send(agent: Agent, /, *, source: str | None = None, path: str = "/me/page", **values: str) -> PageAnswer:
    """Sends a form of the page; without `token` that of alice."""
    body = urlencode({"token": agent.token, **values}).encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Host": agent.url.removeprefix("http://")}
    answer = await fetch(agent.url + path, "POST", headers, body, source=source)
    return PageAnswer(answer)


def figures(page: PageAnswer) -> dict[str, str]:
    """The figures by their labels."""
    section = page.root.one("section", class_="figures")
    return {each.one("dt").text: each.one("dd").one("span").text for each in section.one("dl").all("div")}


async def test_page_asks_for_the_token(agent: Agent) -> None:
    """Nothing else is needed to see it, and the token's field is like that of a password."""
    page = await get(agent)
    field = page.root.one("form", id="show").one("input", name="token")
    assert (page.status, field.attributes["type"], field.attributes["autocomplete"]) == (200, "password", "off")


async def test_page_is_not_kept_and_sets_no_cookie(agent: Agent) -> None:
    """Neither the form nor the answer to it."""
    for page in (await get(agent), await send(agent, **FORM)):
        assert page.header("Cache-Control") == "no-store"
        assert page.header("Set-Cookie") is None
        assert str(page.header("Content-Security-Policy")).startswith("default-src 'none'; ")


async def test_usage_of_the_token_is_shown(agent: Agent) -> None:
    """The sums of the last days, by day and by model."""
    await agent.chat()
    await agent.rows(1)
    page = await send(agent, **FORM)
    assert figures(page)["Requests"] == "1"
    [[model, requests, *_]] = page.rows("models")
    assert (model, requests) == (MODEL, "1")
    assert len(page.rows("spend")) == 30


async def test_usage_of_all_tokens_is_shown(agent: Agent) -> None:
    """The scope `user` has the requests with the user's other tokens, too."""
    await agent.chat()
    await agent.rows(1)
    other = await agent.add_user("alice")
    assert figures(await send(agent, **FORM, token=other))["Requests"] == "0"
    assert figures(await send(agent, **{**FORM, "scope": "user"}, token=other))["Requests"] == "1"


async def test_what_is_left_of_a_budget_is_shown(agent: Agent) -> None:
    """With its period, and when it resets."""
    await set_budget(agent, Decimal("2.5"), period=Period.MONTH)
    page = await send(agent, **FORM)
    [[owner, period, amount, _spent, _reserved, left, resets]] = page.rows("budgets")
    assert (owner, period, amount, left) == ("all of my tokens", "a month", "$2.50", "$2.50")
    assert resets


async def test_limits_and_models_are_shown(agent: Agent) -> None:
    """A missing limit is named, and differs from an unknown value."""
    await agent.store.fetch("UPDATE users SET rpm = 5")
    await agent.until(lambda: agent.server.directory.identify(agent.token).user.limits.rpm == 5)
    page = await send(agent, **FORM)
    assert page.rows("limits")[1][:3] == ["all of my tokens", "5", "5"]
    assert page.rows("limits")[0][1] == "no limit"
    assert MODEL in page.root.one("section", class_="facts").text


async def test_examples_have_the_address_of_the_request(agent: Agent) -> None:
    """A client reaches the agent where the browser does. The token is not in the page."""
    page = await send(agent, **FORM)
    assert f"curl {agent.url}/v1/chat/completions" in page.html
    assert agent.token not in page.html


async def test_examples_name_a_model_of_the_token(agent: Agent) -> None:
    """It is one whose name is plain: another could end the quotes of a shell."""
    await agent.administration.prices.remove(MODEL)
    for model in ("a'; made-up", "b-model"):
        await agent.set_price(model, "1", "2")
    assert '"model": "b-model"' in (await send(agent, **FORM)).root.all("pre")[0].text


@pytest.mark.parametrize(("trusted", "scheme"), [(("127.0.0.1",), "https"), ((), "http")])
async def test_examples_have_the_scheme_of_a_trusted_proxy(
    make_agent: MakeAgent, trusted: tuple[str, ...], scheme: str
) -> None:
    """Another client's header field is ignored."""
    agent = await make_agent(trusted_proxies=trusted)
    headers = {"Content-Type": "application/x-www-form-urlencoded", "X-Forwarded-Proto": "https", "Host": "ai.example"}
    answer = await fetch(agent.url + "/me/page", "POST", headers, urlencode({**FORM, "token": agent.token}).encode())
    assert f"curl {scheme}://ai.example/v1/chat" in answer.body.decode()


async def test_examples_have_the_public_url(make_agent: MakeAgent) -> None:
    """It is set where clients reach the agent at another address than the browser."""
    agent = await make_agent(public_url="https://ai.example.com")
    assert "curl https://ai.example.com/v1/chat" in (await send(agent, **FORM)).html


async def test_wrong_token_keeps_what_was_typed(agent: Agent, source_address: str) -> None:
    """The error is at the field, which is empty again; the token is nowhere in the page."""
    page = await send(agent, source=source_address, **{**FORM, "days": "90"}, token="cga_made-up-and-wrong")
    assert page.status == 401
    assert "This token is not valid here" in page.root.one("small", id="show-token-error").text
    assert page.form("show")["days"] == "90"
    assert "made-up-and-wrong" not in page.html


async def test_no_token_is_no_guess(agent: Agent, source_address: str) -> None:
    """It is asked for again, however often."""
    for _ in range(12):
        page = await send(agent, source=source_address, **FORM, token=" ")
    assert (page.status, page.root.one("small", id="show-token-error").text) == (400, "Fill this in.")


async def test_wrong_tokens_are_limited(agent: Agent, source_address: str) -> None:
    """They count as those of clients; a valid one from the same address still works."""
    for _ in range(10):
        assert (await send(agent, source=source_address, **FORM, token="cga_wrong")).status == 401
    page = await send(agent, source=source_address, **FORM, token="cga_wrong")
    assert (page.status, page.header("Retry-After") is not None) == (429, True)
    assert (await send(agent, source=source_address, **FORM)).status == 200


@pytest.mark.own_agent
async def test_token_is_replaced(agent: Agent) -> None:
    """The new token is shown once, with the end of the old one; both work until then."""
    page = await send(agent, form="rotate", grace_seconds="3600")
    token = page.root.one("section", class_="secret").one("code").text
    SECRETS.add(token)
    await agent.until(lambda: agent.works(token))
    assert (page.status, page.title) == (200, "Your new token")
    assert agent.works(agent.token)
    assert page.root.all("time")
    [(actor, via)] = await agent.store.fetch("SELECT DISTINCT actor, via FROM audit_log WHERE via = 'own_token'")
    assert (actor, via) == ("alice", "own_token")


@pytest.mark.own_agent
async def test_replaced_token_is_not_replaced_again(agent: Agent) -> None:
    """The form is open, with the reason."""
    first = await send(agent, form="rotate", grace_seconds="3600")
    SECRETS.add(first.root.one("section", class_="secret").one("code").text)
    page = await send(agent, form="rotate", grace_seconds="3600")
    assert page.status == 409
    assert "is replaced already" in page.root.one("form", id="rotate").one("p", role="alert").text


@pytest.mark.parametrize("grace", ["-1", "soon", "99999999999"])
async def test_wrong_grace_period_is_refused(agent: Agent, grace: str) -> None:
    """Nothing is changed."""
    page = await send(agent, form="rotate", grace_seconds=grace)
    rows = await agent.store.fetch("SELECT count(*) FROM tokens")
    assert (page.status == 200, rows) == (False, [(1,)])


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("application/json", b"{}", 400),
        ("application/x-www-form-urlencoded", b"token=%ff", 400),
        ("application/x-www-form-urlencoded", b"token=a%00b", 400),
        ("application/x-www-form-urlencoded", b"x" * 10_000, 413),
    ],
)
async def test_bad_body_is_answered_with_a_page(agent: Agent, content_type: str, body: bytes, status: int) -> None:
    """The answer is HTML, with the status of the error."""
    answer = await fetch(agent.url + "/me/page", "POST", {"Content-Type": content_type}, body)
    assert (answer.status, answer.header("Content-Type")) == (status, "text/html; charset=utf-8")


@pytest.mark.own_agent
async def test_slow_postgresql_is_named_on_the_page(agent: Agent, dsn: str) -> None:
    """The form is shown again, to try once more."""
    with connected(dsn) as cursor:
        cursor.execute("BEGIN; LOCK TABLE usage_daily IN ACCESS EXCLUSIVE MODE")
        page = await send(agent, **FORM)
        cursor.execute("COMMIT")
    assert (page.status, page.header("Retry-After")) == (503, "1")
    assert page.root.one("form", id="show").one("p", role="alert").text


async def test_hostile_names_are_text(agent: Agent) -> None:
    """A label cannot bring elements into the page."""
    await agent.store.fetch("UPDATE tokens SET label = '<script>alert(1)</script>'")
    page = await send(agent, **FORM)
    assert page.title == "Token <script>alert(1)</script>"
    assert not page.main.all("script")


async def test_language_is_that_of_the_browser_or_of_the_address(agent: Agent) -> None:
    """There is no cookie for it."""
    assert (await get(agent, Accept_Language="zh-CN")).root.one("html").attributes["lang"] == "zh-Hans"
    chosen = await get(agent, "/me/page?language=zh")
    assert chosen.root.one("html").attributes["lang"] == "zh-Hans"
    assert chosen.root.one("form", id="show").attributes["action"] == "/me/page?language=zh"
    for unknown in ("xx", "%ff", "../zh"):
        page = await get(agent, f"/me/page?language={unknown}")
        assert (page.status, page.root.one("html").attributes["lang"]) == (200, "en")


async def test_files_of_the_page_are_served(agent: Agent) -> None:
    """Those of the console, on the clients' port."""
    page = await get(agent)
    links = [each.attributes["href"] for each in page.root.all("link")]
    assert len(links) == 3
    for link in links:
        answer = await fetch(agent.url + link, "GET", {})
        assert (answer.status, "immutable" in str(answer.header("Cache-Control"))) == (200, True)
    assert (await fetch(agent.url + "/me/static/../page.html", "GET", {})).status == 404
