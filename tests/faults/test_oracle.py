"""The oracle detects every kind of error in the ledger; otherwise its silence would mean nothing."""

import json

import pytest

from tests.support.agent import MODEL, Agent
from tests.support.client import Answer
from tests.support.database import connected
from tests.support.oracle import check, verify
from tests.support.upstream import Upstream

pytestmark = [pytest.mark.shared_agent, pytest.mark.slow]

ERRORS = {
    "I2: more than one row": """
        CREATE TEMP TABLE again AS SELECT * FROM usage;
        UPDATE again SET started_at = started_at + interval '1 microsecond';
        INSERT INTO usage SELECT * FROM again""",
    "I3: sent, but without a row": "DELETE FROM usage",
    "I3: it was sent": "UPDATE usage SET state = 'not_sent'",
    "I5: not OpenAI's counts": "UPDATE usage SET output_tokens = output_tokens + 1",
    "I5: done without counts": "UPDATE usage SET input_tokens = NULL",
    "I6: it must cost": "UPDATE usage SET cost = cost + 0.0000000001",
    "I6: another model's price": "UPDATE usage SET model = 'other', served_model = 'another'",
    "I6: a price of a later date": "UPDATE prices SET effective_at = effective_at + interval '1 hour'",
    "usage_daily": "UPDATE usage_daily SET requests = requests + 1",
}


@pytest.fixture
def dsn_of(agent: Agent) -> str:
    """The connection string of the agent's database."""
    assert agent.config.database_url is not None
    return agent.config.database_url


def clear_ledger(dsn: str, upstream: Upstream, agent: Agent) -> None:
    """Removes every record of a request, because the ledger is checked again after the test."""
    with connected(dsn) as cursor:
        cursor.execute("TRUNCATE usage, usage_daily")
    upstream.requests.clear()
    upstream.billed.clear()
    upstream.counts.clear()
    agent.answers.clear()


@pytest.mark.parametrize("kind", ERRORS)
async def test_an_error_in_the_ledger_is_detected(agent: Agent, dsn_of: str, upstream: Upstream, kind: str) -> None:
    """The message names the invariant that does not hold."""
    await verify(agent, upstream, [await agent.chat()])
    with connected(dsn_of) as cursor:
        cursor.execute("ALTER TABLE usage DISABLE TRIGGER usage_is_final")
        cursor.execute(ERRORS[kind])
    with pytest.raises(AssertionError, match=kind):
        check(dsn_of, upstream)
    clear_ledger(dsn_of, upstream, agent)


KINDS = [
    "cached_tokens", "cache_write_tokens", "audio_input_tokens", "image_input_tokens", "reasoning_tokens",
    "audio_output_tokens", "image_output_tokens",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
async def test_a_wrong_count_of_any_kind_is_detected(agent: Agent, dsn_of: str, upstream: Upstream, kind: str) -> None:
    """Each kind of token is compared, even one whose count is 0."""
    await agent.post(json.dumps({"model": MODEL, "input": "x"}).encode(), "/v1/responses")
    await verify(agent, upstream)
    with connected(dsn_of) as cursor:
        cursor.execute("ALTER TABLE usage DISABLE TRIGGER usage_is_final")
        cursor.execute(f"UPDATE usage SET {kind} = {kind} + 1")
    with pytest.raises(AssertionError, match="I5: not OpenAI's counts"):
        check(dsn_of, upstream)
    clear_ledger(dsn_of, upstream, agent)


@pytest.mark.parametrize(
    "wrong", ["cached_input = 9", "cache_write = 9", 'tiers = \'[{"above": 9, "multiplier": "2"}]\'']
)
async def test_a_wrong_price_is_detected(agent: Agent, dsn_of: str, upstream: Upstream, wrong: str) -> None:
    """Rates of each kind of token and tiers are checked."""
    await agent.post(json.dumps({"model": MODEL, "input": "x"}).encode(), "/v1/responses")
    await verify(agent, upstream)
    with connected(dsn_of) as cursor:
        cursor.execute(f"UPDATE prices SET {wrong}")
    with pytest.raises(AssertionError, match="I6: it must cost"):
        check(dsn_of, upstream)
    clear_ledger(dsn_of, upstream, agent)


async def test_a_request_that_was_sent_twice_is_detected(agent: Agent, dsn_of: str, upstream: Upstream) -> None:
    """The upstream received two requests with one id, which invariant I4 forbids."""
    await verify(agent, upstream, [await agent.chat()])
    upstream.requests *= 2
    with pytest.raises(AssertionError, match="I4: sent more than once"):
        check(dsn_of, upstream)
    clear_ledger(dsn_of, upstream, agent)


async def test_an_answer_without_a_row_is_detected(agent: Agent, dsn_of: str, upstream: Upstream) -> None:
    """A client received an answer that is not in the ledger, which invariant I1 forbids."""
    answer = Answer(200, [("X-Agent-Request-Id", "unknown")], b"", True)
    with pytest.raises(AssertionError, match="I1: answered, but without a row"):
        check(dsn_of, upstream, [answer])
