"""The admission decision: a test for each reason to refuse, and what an admitted request holds."""

import re
from decimal import Decimal
from typing import Any, cast

import msgspec
import pytest

from chatgpt_agent.core.access.identity import COUNTED_MODEL, Identity, RateLimits, Token, User
from chatgpt_agent.core.budget.max_cost import Assumptions
from chatgpt_agent.core.budget.period import Budget, Period
from chatgpt_agent.core.cooperative import run_to_end
from chatgpt_agent.core.errors import (
    AgentError,
    DirectoryStale,
    InsufficientQuota,
    ModelNotFound,
    Overloaded,
    RateLimited,
)
from chatgpt_agent.core.http.endpoints import CHAT
from chatgpt_agent.core.http.request import ApiRequest, parse_request
from chatgpt_agent.core.ledger import Outcome, State, settle
from chatgpt_agent.core.money.pricing import PriceBook, Tier
from chatgpt_agent.core.name_counter import NameCounter
from chatgpt_agent.runtime.admission import Admission, Admissions
from chatgpt_agent.runtime.budgets import Budgets
from chatgpt_agent.runtime.directory import Directory
from chatgpt_agent.runtime.rate_limiter import RateLimiter
from tests.support.factories import BOOK, NOON, PRICE, make_outcome, request_id
from tests.support.observers import ignore

LIMITED = RateLimits(rpm=100, tpm=100_000, concurrency=2)
ALICE = Identity(
    User(id=1, name="alice", upstream_key=b"", disabled=False, limits=LIMITED),
    Token(id=11, user_id=1, digest=b"", revoked=False),
)


class FakeDirectory:
    """A directory with one price."""

    book = BOOK


def parse(**fields: Any) -> ApiRequest:
    """A request for the priced model."""
    body = {"model": PRICE.model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1000, **fields}
    return run_to_end(parse_request(CHAT, msgspec.json.encode(body)))


@pytest.fixture
def budgets() -> Budgets:
    """Budgets of which nothing was spent; there is none before a test sets one."""
    budgets = Budgets(on_threshold=ignore, now=lambda: NOON)
    budgets.loaded = True
    return budgets


@pytest.fixture
def limiter() -> RateLimiter:
    """A rate limiter whose clock stands still."""
    return RateLimiter(lambda: 0.0)


@pytest.fixture
def admissions(budgets: Budgets, limiter: RateLimiter) -> Admissions:
    """Admissions of at most three requests at once."""
    return Admissions(
        directory=cast(Directory, FakeDirectory()),
        rate_limiter=limiter,
        budgets=budgets,
        assumptions=Assumptions(attachment_tokens=1000, output_tokens=1000),
        max_requests=3,
        unpriced_models=NameCounter(COUNTED_MODEL),
        now=lambda: NOON,
    )


def admit(admissions: Admissions, number: int = 1, identity: Identity = ALICE, **fields: Any) -> Admission:
    """Asks for the admission of the request with this number."""
    return admissions.admit(identity, parse(**fields), request_id=request_id(number))


def set_budget(budgets: Budgets, amount: str) -> None:
    """Sets Alice's budget, in USD."""
    budgets.set_budgets(
        [Budget(id=1, user_id=1, token_id=None, period=Period.TOTAL, amount=Decimal(amount))], lambda _: 1, "UTC"
    )


def left(limiter: RateLimiter) -> list[Any]:
    """What is left of Alice's limits: requests, tokens, and the requests at once."""
    status = limiter.status(ALICE)["user"]
    return [status["requests_left"], status["tokens_left"], status["requests_in_progress"]]


def test_admitted_request_has_the_price_and_the_intent(admissions: Admissions) -> None:
    """An admission names who asked for what, the price in force, and the most that the request can cost."""
    admission = admit(admissions)
    intent = admission.intent
    assert (admission.price, admission.book) == (PRICE, BOOK)
    assert (intent.user_id, intent.token_id, intent.model, intent.price_id) == (1, 11, PRICE.model, PRICE.id)
    assert (intent.started_at, intent.max_cost > 0) == (NOON, True)


def test_standard_tier_only_reserves_less(admissions: Admissions, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it, the settings of the user's project may have the request served in the dearest tier."""
    fast = msgspec.structs.replace(PRICE, tiers=(Tier(service_tier="priority", multiplier=Decimal(2)),))
    monkeypatch.setattr(FakeDirectory, "book", PriceBook([fast]))
    standard = Identity(msgspec.structs.replace(ALICE.user, standard_tier_only=True), ALICE.token)
    dearest, least = admit(admissions), admit(admissions, 2, identity=standard)
    assert dearest.intent.max_cost == 2 * least.intent.max_cost


def test_full_agent_refuses(admissions: Admissions) -> None:
    """A request over `max_requests` is refused until one of the others is released."""
    unlimited = Identity(
        User(id=2, name="bob", upstream_key=b"", disabled=False), Token(id=12, user_id=2, digest=b"", revoked=False)
    )
    held = [admit(admissions, number, unlimited) for number in range(3)]
    with pytest.raises(Overloaded):
        admit(admissions, 4, unlimited)
    held[0].release()
    assert admit(admissions, 4, unlimited)


@pytest.mark.parametrize(
    ("reason", "identity", "fields"),
    [
        ("no price", ALICE, {"model": "unpriced"}),
        (
            "not allowed",
            Identity(
                ALICE.user, Token(id=11, user_id=1, digest=b"", revoked=False, allowed_models=re.compile("other"))
            ),
            {},
        ),
    ],
)
def test_model_that_may_not_be_used_is_not_found(
    admissions: Admissions, limiter: RateLimiter, reason: str, identity: Identity, fields: dict[str, str]
) -> None:
    """A model without a price, or not allowed for this token, is refused, and nothing is held."""
    with pytest.raises(ModelNotFound):
        admit(admissions, 1, identity, **fields)
    assert (admissions.running, left(limiter)[2]) == (0, 0), reason


def test_rate_limit_refuses(admissions: Admissions, limiter: RateLimiter) -> None:
    """The third request at once of a user who may make two is refused, and is not counted."""
    admit(admissions, 1)
    admit(admissions, 2)
    before = left(limiter)
    with pytest.raises(RateLimited):
        admit(admissions, 3)
    assert (admissions.running, left(limiter)) == (2, before)


@pytest.mark.parametrize(
    ("amount", "loaded", "error"), [("0.0001", True, InsufficientQuota), ("9", False, DirectoryStale)]
)
def test_budget_refusal_returns_the_rate_limits(
    admissions: Admissions, budgets: Budgets, limiter: RateLimiter, amount: str, loaded: bool, error: type[AgentError]
) -> None:
    """A request that its budget refuses, or whose budget is not known yet, takes no tokens and no place."""
    set_budget(budgets, amount)
    budgets.loaded = loaded
    with pytest.raises(error):
        admit(admissions)
    assert (admissions.running, left(limiter)[1:]) == (0, [100_000, 0])


def test_settled_request_counts_its_usage(admissions: Admissions, limiter: RateLimiter) -> None:
    """The estimate of tokens is replaced by the usage, and the budget counts the cost."""
    admission = admit(admissions)
    row = settle(admission.intent, make_outcome(1), PRICE, BOOK)
    admission.settle(row)
    admission.release()
    assert row.usage is not None
    assert left(limiter) == [99, 100_000 - row.usage.input - row.usage.output, 0]


@pytest.mark.parametrize(("state", "counted"), [(State.NOT_SENT, False), (State.UNKNOWN, True)])
def test_request_without_usage_counts_where_it_is_uncertain(
    admissions: Admissions, limiter: RateLimiter, state: State, counted: bool
) -> None:
    """The estimate stands where OpenAI may have billed, and is returned where it has not."""
    admission = admit(admissions)
    admission.settle(settle(admission.intent, Outcome(state=state), PRICE, BOOK))
    admission.release()
    assert (left(limiter)[1] < 100_000) is counted


def test_cancelled_request_leaves_nothing(admissions: Admissions, budgets: Budgets, limiter: RateLimiter) -> None:
    """A request that was admitted and not sent gives back its tokens and its reservation."""
    set_budget(budgets, "0.0016")
    for number in range(5):  # each needs more than half of the budget
        admission = admit(admissions, number)
        admission.cancel()
        admission.release()
    assert (admissions.running, left(limiter)[1:]) == (0, [100_000, 0])
