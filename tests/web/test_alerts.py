"""Alerts: a budget at 80 or 100 percent is logged, and sent to a webhook once."""

import base64
import logging
import time
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop

from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.webhook import read_webhook_secret
from chatgpt_agent.core.budget.period import Period
from chatgpt_agent.core.errors import SetupError
from chatgpt_agent.runtime.alerts import AlertTimes, open_webhook
from chatgpt_agent.runtime.tuning import Tuning
from tests.conftest import MakeAgent
from tests.support.agent import MODEL, Agent
from tests.support.budgets import chat, max_cost_of, set_budget, states_of
from tests.support.receiver import SECRET, Receiver, signed
from tests.support.upstream import Received, Reply, Upstream, completion
from tests.support.waiting import until


@pytest.fixture
def tuning() -> Tuning:
    """Agents that retry failed alerts at once, three times."""
    return Tuning(alerts=AlertTimes(poll=0.05, retry_delays=(timedelta(0),) * 3))


@pytest.fixture
def receiver(io_loop: IOLoop) -> Iterator[Receiver]:
    """A receiver of webhooks."""

    async def make() -> Receiver:
        return Receiver()

    receiver = io_loop.run_sync(make)
    yield receiver
    io_loop.run_sync(receiver.close)


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    """The file with the webhook's secret."""
    path = tmp_path / "webhook.secret"
    path.touch(0o600)
    path.write_text("whsec_" + base64.b64encode(SECRET).decode() + "\n")
    return path


async def spend(agent: Agent, upstream: Upstream, percent: int) -> None:
    """Sets a budget of 0.1 USD of which a request has spent a percentage."""

    async def script(_: Received, reply: Reply) -> None:
        await reply.whole(completion(percent * 1000, 0, 0, 0))

    upstream.script = script
    await agent.set_price(MODEL, "1", "1")
    assert (await chat(agent)).status == 200
    await agent.rows(1)
    await set_budget(agent, Decimal("0.1"), period=Period.MONTH)


@pytest.mark.parametrize(("percent", "sent"), [(79, []), (80, [80]), (99, [80]), (100, [80, 100]), (500, [80, 100])])
async def test_crossed_threshold_is_sent_once(
    make_agent: MakeAgent,
    upstream: Upstream,
    receiver: Receiver,
    secret_file: Path,
    percent: int,
    sent: list[int],
) -> None:
    """Each crossed threshold is sent once in a window, signed, with the user's name and the amounts."""
    began = int(time.time())
    agent = await make_agent(webhook_url=receiver.url, webhook_secret_file=secret_file)
    await spend(agent, upstream, percent)
    await receiver.wait(len(sent))
    for _ in range(3):
        await agent.server.budget_sync.refresh_all()
    await agent.until(lambda: agent.server.alerts.unstored == 0)
    assert sorted(message["data"]["percent"] for message in receiver.messages) == sent
    for (headers, body), message in zip(receiver.posts, receiver.messages, strict=True):
        assert signed(headers, body)
        assert began <= int(headers["webhook-timestamp"]) <= time.time()
        assert message["type"] == ("budget.exhausted" if message["data"]["percent"] == 100 else "budget.threshold")
        assert (message["data"]["user"], message["data"]["period"]) == ("alice", "month")
        assert Decimal(message["data"]["spent_usd"]) > 0


async def test_refusal_is_an_event_of_its_own(make_agent: MakeAgent, upstream: Upstream, receiver: Receiver) -> None:
    """The first refusal in a window is sent as such, with what is spent and needed; later ones are not."""
    agent = await make_agent(webhook_url=receiver.url)
    await set_budget(agent, max_cost_of(agent) / 2)
    assert [(await chat(agent)).status for _ in range(3)] == [429] * 3
    await receiver.wait(1)
    await agent.until(lambda: agent.server.alerts.unstored == 0)
    [message] = receiver.messages
    data = message["data"]
    assert message["type"] == "budget.refused"
    assert (data["percent"], data["spent_usd"], data["reserved_usd"]) == (0, "0", "0")
    assert Decimal(data["needed_usd"]) == max_cost_of(agent)
    assert "webhook-signature" not in receiver.posts[0][0]


async def test_webhook_goes_through_the_proxy_where_a_setting_says_so(
    make_agent: MakeAgent, upstream: Upstream, receiver: Receiver, secret_file: Path
) -> None:
    """With `webhook_through_proxy` the post goes to the proxy, with its credentials and the whole URL."""
    await make_refusal(
        await make_agent(
            webhook_url="http://hooks.example/hook",
            webhook_secret_file=secret_file,
            webhook_through_proxy=True,
            openai_proxy=receiver.url.replace("http://", "http://user:made-up@").removesuffix("/hook"),
        )
    )
    await receiver.wait(1)
    [(headers, body)] = receiver.posts
    assert (headers["host"], signed(headers, body)) == ("hooks.example", True)
    assert headers["proxy-authorization"] == "Basic " + base64.b64encode(b"user:made-up").decode()


async def make_refusal(agent: Agent) -> None:
    """Causes an alert without a request to OpenAI."""
    await set_budget(agent, max_cost_of(agent) / 2)
    assert (await chat(agent)).status == 429


async def test_refusal_silences_no_threshold(make_agent: MakeAgent, upstream: Upstream, receiver: Receiver) -> None:
    """After a refusal, 80 and 100 percent of the same window are still sent, also by an agent that starts later."""
    agent = await make_agent(webhook_url=receiver.url)
    await spend(agent, upstream, 10)
    assert (await chat(agent, "x" * 100_000)).status == 429
    await receiver.wait(1)
    for percent in (75, 20):

        async def script(_: Received, reply: Reply, tokens: int = percent * 1000) -> None:
            await reply.whole(completion(tokens, 0, 0, 0))

        upstream.script = script
        assert (await chat(agent)).status == 200
    await receiver.wait(3)
    types = [message["type"] for message in receiver.messages]
    assert types == ["budget.refused", "budget.threshold", "budget.exhausted"]


async def test_refusal_is_logged(agent: Agent, upstream: Upstream, caplog: pytest.LogCaptureFixture) -> None:
    """The log says what was needed and what is spent, and does not call the budget exhausted."""
    with caplog.at_level(logging.WARNING):
        await set_budget(agent, Decimal(0), period=Period.DAY)
        assert (await chat(agent)).status == 429
        await agent.until(lambda: "the budget of user alice has refused a request" in caplog.text)
    assert "of 0 USD, 0 are spent and 0 reserved (day)" in caplog.text


async def test_failed_delivery_is_retried(make_agent: MakeAgent, upstream: Upstream, receiver: Receiver) -> None:
    """A webhook that fails or redirects gets the alert again with the same id."""
    receiver.statuses = [500, 307, 404]
    agent = await make_agent(webhook_url=receiver.url)
    await spend(agent, upstream, 85)
    await receiver.wait(4)
    assert len({headers["webhook-id"] for headers, _ in receiver.posts}) == 1
    sql = "SELECT attempts, sent_at IS NOT NULL FROM budget_alerts"

    async def is_recorded() -> bool:
        return await agent.store.fetch(sql) == [(4, True)]

    await until(is_recorded)


async def test_two_agents_send_an_alert_once(
    make_agent: MakeAgent, upstream: Upstream, receiver: Receiver, tmp_path: Path
) -> None:
    """Only one of two agents that see a crossed threshold sends the alert."""
    first = await make_agent(webhook_url=receiver.url)
    second = await make_agent(
        webhook_url=receiver.url, data_dir=tmp_path / "second", master_key_file=first.config.data_dir / "master.key"
    )
    await spend(first, upstream, 90)
    await receiver.wait(1)
    await second.until(lambda: any(state.last_threshold for state in states_of(second)))
    await second.until(lambda: second.server.alerts.unstored == 0)
    assert len(receiver.posts) == 1


async def test_threshold_is_logged_without_a_webhook(
    agent: Agent, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a webhook, a crossed threshold is logged once."""
    with caplog.at_level(logging.WARNING):
        await spend(agent, upstream, 80)
        await agent.until(lambda: "the budget of user alice is at 80%" in caplog.text)
        await agent.server.budget_sync.refresh_all()
    assert caplog.text.count("the budget of") == 1


@pytest.mark.parametrize("text", ["", "whsec_", "whsec_c2hvcnQ=", "whsec_***", "c2VjcmV0" * 9])
def test_invalid_secret_is_refused(tmp_path: Path, text: str) -> None:
    """A secret that is too short, not base64 or without its prefix is refused."""
    path = tmp_path / "secret"
    path.touch(0o600)
    path.write_text(text)
    with pytest.raises(SetupError, match="must be whsec_"):
        read_webhook_secret(path)


def test_secret_readable_by_others_is_refused(secret_file: Path) -> None:
    """A secret file that other accounts can read is refused."""
    secret_file.chmod(0o644)
    with pytest.raises(SetupError, match="chmod 600"):
        open_webhook(Config(webhook_url="https://hooks.example/x", webhook_secret_file=secret_file))
