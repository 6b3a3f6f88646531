"""`doctor` on what admins have set: prices, users, tokens and OpenAI keys."""

from datetime import UTC, datetime, timedelta

import pytest

from chatgpt_agent.admin.doctor.results import Outcome, Result
from chatgpt_agent.core.access.settings import UserChanges
from tests.support.agent import MODEL, Agent
from tests.support.doctor import run_check

pytestmark = pytest.mark.shared_agent


async def results(agent: Agent, check: str) -> list[Result]:
    """Runs a check on the agent's database."""
    return await run_check(check, database_url=agent.config.database_url, data_dir=agent.config.data_dir)


@pytest.mark.parametrize("check", ["prices", "shutdowns", "openai-keys", "tokens"])
async def test_agent_that_is_set_up_is_ok(agent: Agent, check: str) -> None:
    """It has a user, a price, and a request."""
    await agent.chat()
    await agent.rows(1)
    assert [result.outcome for result in await results(agent, check)] == [Outcome.OK]


# Prices.


async def test_no_price_at_all_is_a_warning(agent: Agent) -> None:
    """Every request is refused then."""
    await agent.administration.prices.remove(MODEL)
    [result] = await results(agent, "prices")
    assert (result.outcome, "no model has a price" in result.text) == (Outcome.WARNING, True)


async def test_model_that_was_asked_for_without_a_price_is_a_warning(agent: Agent) -> None:
    """The advice is the command that sets it."""
    sql = """
        INSERT INTO agents (id, seen_at, backlog, unpriced_models)
        VALUES (gen_random_uuid(), now(), 0, '{"gpt-6-lunar": 3}')"""
    await agent.store.fetch(sql)
    [result] = await results(agent, "prices")
    await agent.store.fetch("DELETE FROM agents WHERE unpriced_models <> '{}'")
    assert (result.outcome, result.text) == (Outcome.WARNING, "gpt-6-lunar has no price: 3 requests were refused")
    assert result.advice.startswith("chatgpt-agent price set gpt-6-lunar ")


@pytest.mark.parametrize(("models", "expected"), [("gpt-5*", Outcome.WARNING), ("gpt-6-*", Outcome.OK)])
async def test_user_without_any_model_with_a_price_is_a_warning(agent: Agent, models: str, expected: Outcome) -> None:
    """Nothing that the user may use has a price."""
    await agent.administration.users.change("alice", UserChanges(allowed_models=(models,)))
    [result] = await results(agent, "prices")
    assert result.outcome is expected


# Shutdowns.


async def test_model_in_use_that_is_shut_down_is_a_warning(agent: Agent) -> None:
    """The day, and the number of its users, are shown."""
    await agent.chat()
    await agent.rows(1)
    await agent.store.fetch("INSERT INTO model_dates VALUES (%s, current_date + 20)", [MODEL])
    [result] = await results(agent, "shutdowns")
    assert result.outcome is Outcome.WARNING
    assert result.text.startswith(f"OpenAI shuts down {MODEL} on ")
    assert result.text.endswith("; 1 user has used it in the last 30 days")


# OpenAI keys.


async def test_key_that_openai_refuses_is_a_warning(agent: Agent) -> None:
    """It is one no more once the key works again."""
    await agent.chat("status=401")
    await agent.rows(1)
    [result] = await results(agent, "openai-keys")
    assert (result.outcome, result.advice) == (Outcome.WARNING, "chatgpt-agent user set-key alice")
    await agent.chat()
    await agent.rows(2)
    [result] = await results(agent, "openai-keys")
    assert result.outcome is Outcome.OK


# Tokens.


async def expire(agent: Agent, days: float) -> None:
    """Lets alice's token expire in some days."""
    at = datetime.now(UTC) + timedelta(days=days)
    await agent.store.fetch("UPDATE tokens SET expires_at = %s WHERE id = 1", [at])


@pytest.mark.parametrize(
    ("days", "advice"),
    [(13, "chatgpt-agent token rotate 1, or token set 1 --expires …"), (-1, "chatgpt-agent token issue alice")],
)
async def test_token_that_expires_is_a_warning(agent: Agent, days: int, advice: str) -> None:
    """The advice is a command."""
    await agent.store.fetch("UPDATE tokens SET label = 'laptop' WHERE id = 1")
    await expire(agent, days)
    [result] = await results(agent, "tokens")
    assert (result.outcome, result.advice) == (Outcome.WARNING, advice)
    assert result.text.startswith("token 1 of user alice (laptop) ")


@pytest.mark.parametrize("days", [15, -4])
async def test_token_that_expires_later_or_earlier_is_ok(agent: Agent, days: int) -> None:
    """Two weeks ahead and three days back are looked at."""
    await expire(agent, days)
    assert [result.outcome for result in await results(agent, "tokens")] == [Outcome.OK]


async def test_token_that_is_not_in_use_may_expire(agent: Agent) -> None:
    """The token of a disabled user, and one that another has replaced, are left out."""
    await expire(agent, 1)
    await agent.administration.users.change("alice", UserChanges(disabled=True))
    assert [result.outcome for result in await results(agent, "tokens")] == [Outcome.OK]
    await agent.administration.users.change("alice", UserChanges(disabled=False))
    await agent.store.fetch("UPDATE tokens SET replaced_by = 1 WHERE id = 1")
    assert [result.outcome for result in await results(agent, "tokens")] == [Outcome.OK]


async def test_many_tokens_are_counted(agent: Agent) -> None:
    """Ten have a line of their own."""
    for _ in range(12):
        await agent.administration.tokens.issue("alice")
    await agent.store.fetch("UPDATE tokens SET expires_at = now() + interval '1 day'")
    lines = await results(agent, "tokens")
    assert (len(lines), lines[-1].text) == (11, "3 more like the one above")
