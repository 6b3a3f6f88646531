"""A budget at 80 and at 100 percent: a line in the log, and a webhook that is told once."""

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
from tests.support.receiver import SECRET, Receiver, signed
from tests.support.upstream import Received, Reply, Upstream, completion
from tests.web.test_budgets import ask, largest, set_budget


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
    """The file with the secret."""
    path = tmp_path / "webhook.secret"
    path.touch(0o600)
    path.write_text("whsec_" + base64.b64encode(SECRET).decode() + "\n")
    return path


async def spend(agent: Agent, upstream: Upstream, percent: int) -> None:
    """A budget of 0.1 USD of which one call has spent so many percent."""

    async def script(request: Received, reply: Reply) -> None:
        await reply.whole(completion(percent * 1000, 0, 0, 0))

    upstream.script = script
    await agent.set_price(MODEL, "1", "1")
    assert (await ask(agent)).status == 200
    await agent.rows(1)
    await set_budget(agent, Decimal("0.1"), period=Period.MONTH)


@pytest.mark.parametrize(("percent", "marks"), [(79, []), (80, [80]), (99, [80]), (100, [80, 100]), (500, [80, 100])])
async def test_a_mark_is_told_once(
    make_agent: MakeAgent, upstream: Upstream, receiver: Receiver, secret_file: Path, percent: int, marks: list[int]
) -> None:
    """Signed, with names and amounts; and again only in another window."""
    agent = await make_agent(webhook_url=receiver.url, webhook_secret_file=secret_file)
    await spend(agent, upstream, percent)
    await receiver.wait(len(marks))
    for _ in range(3):
        await agent.server.budget_sync.refresh_all()
    await agent.until(lambda: agent.server.alerts.unstored == 0)
    assert sorted(message["data"]["percent"] for message in receiver.messages) == marks
    for (headers, body), message in zip(receiver.posts, receiver.messages, strict=True):
        assert signed(headers, body)
        assert abs(int(headers["webhook-timestamp"]) - time.time()) < 10
        assert message["type"] == ("budget.exhausted" if message["data"]["percent"] == 100 else "budget.threshold")
        assert (message["data"]["user"], message["data"]["period"]) == ("alice", "month")
        assert Decimal(message["data"]["spent_usd"]) > 0


async def test_a_refusal_tells_that_it_is_spent(make_agent: MakeAgent, upstream: Upstream, receiver: Receiver) -> None:
    """Though a few cents may be left: they are too few for what is asked."""
    agent = await make_agent(webhook_url=receiver.url)
    await set_budget(agent, largest(agent, agent.body(max_completion_tokens=100)) / 2)
    assert (await ask(agent)).status == 429
    await receiver.wait(1)
    assert [message["data"]["percent"] for message in receiver.messages] == [100]
    assert "webhook-signature" not in receiver.posts[0][0]


async def test_a_receiver_that_fails_is_asked_again(
    make_agent: MakeAgent, upstream: Upstream, receiver: Receiver
) -> None:
    """With the same id, so that it can tell; a redirect is no answer."""
    receiver.statuses = [500, 307, 404]
    agent = await make_agent(webhook_url=receiver.url)
    await spend(agent, upstream, 85)
    await receiver.wait(4)
    assert len({headers["webhook-id"] for headers, _ in receiver.posts}) == 1
    sql = "SELECT attempts, sent_at IS NOT NULL FROM budget_alerts"
    for _ in range(200):
        if (found := await agent.store.fetch(sql)) == [(4, True)]:
            break
        await agent.until(lambda: True)
    assert found == [(4, True)]


async def test_two_agents_tell_it_once(
    make_agent: MakeAgent, upstream: Upstream, receiver: Receiver, tmp_path: Path
) -> None:
    """Both see it."""
    one = await make_agent(webhook_url=receiver.url)
    other = await make_agent(
        webhook_url=receiver.url, data_dir=tmp_path / "other", master_key_file=one.config.data_dir / "master.key"
    )
    await spend(one, upstream, 90)
    await receiver.wait(1)
    await other.until(lambda: any(s.last_threshold for a in other.server.budgets.by_user.values() for s in a.states))
    await other.until(lambda: other.server.alerts.unstored == 0)
    assert len(receiver.posts) == 1


async def test_without_a_webhook_the_log_says_so(
    agent: Agent, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    """Once."""
    with caplog.at_level(logging.WARNING):
        await spend(agent, upstream, 80)
        await agent.until(lambda: "the budget of user alice is at 80%" in caplog.text)
        await agent.server.budget_sync.refresh_all()
    assert caplog.text.count("the budget of") == 1


@pytest.mark.parametrize("text", ["", "whsec_", "whsec_c2hvcnQ=", "whsec_***", "c2VjcmV0" * 9])
def test_what_is_no_secret_is_refused(tmp_path: Path, text: str) -> None:
    """Too short, not base64, or without its prefix."""
    path = tmp_path / "secret"
    path.touch(0o600)
    path.write_text(text)
    with pytest.raises(SetupError, match="must be whsec_"):
        read_webhook_secret(path)


def test_a_secret_that_others_can_read_is_refused(secret_file: Path) -> None:
    """As the other secrets."""
    secret_file.chmod(0o644)
    with pytest.raises(SetupError, match="chmod 600"):
        open_webhook(Config(webhook_url="https://hooks.example/x", webhook_secret_file=secret_file))
