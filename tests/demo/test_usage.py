"""The made-up requests follow from their seed."""

from datetime import UTC, datetime
from decimal import Decimal

from chatgpt_agent.core.budget.period import Period
from chatgpt_agent.core.ledger import Row, State
from chatgpt_agent.core.money.kinds import Rates
from chatgpt_agent.core.money.pricing import Price, PriceBook
from chatgpt_agent.demo.contents import budget_amount
from chatgpt_agent.demo.team import TEAM, BudgetShare
from chatgpt_agent.demo.usage import MODELS, Client, made_up_rows
from tests.support.shutdowns import SHUTDOWNS

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)  # a Thursday
BEFORE = datetime(2026, 1, 1, tzinfo=UTC)
RATES = Rates(input=Decimal(1), output=Decimal(2))


def rows(seed: int, days: int = 90) -> list[Row]:
    """Returns the requests of one user."""
    book = PriceBook(
        Price(id=number, model=model, effective_at=BEFORE, rates=RATES) for number, model in enumerate(MODELS, 1)
    )
    client = Client(user_id=1, token_ids=(1, 2), requests=20, models=tuple(MODELS))
    return list(made_up_rows([client], book, days=days, busy=1, seed=seed, now=NOW))


def test_same_seed_gives_the_same_rows() -> None:
    """Ids, counts, costs and times are the same; another seed gives others."""
    assert rows(1, days=7) == rows(1, days=7)
    assert not {row.cost for row in rows(1, days=7)} <= {row.cost for row in rows(2, days=7)}


def test_usage_grows_and_rests_at_weekends() -> None:
    """The last month has more requests than the first, and a Sunday fewer than a Monday; none is of the future."""
    times = [row.intent.started_at for row in rows(1)]
    assert sum(time.month == 11 for time in times) > sum(time.month == 9 for time in times)
    assert sum(time.weekday() == 6 for time in times) * 3 < sum(time.weekday() == 0 for time in times)
    assert max(times) < NOW


def test_states_have_what_an_agent_would_write() -> None:
    """Each state occurs; only answered requests have counts, and rows of unknown cost say what they cost at most."""
    every = rows(1)
    assert {row.state for row in every} == {*State} - {State.CORRECTION, State.IMPORTED}
    assert all((row.usage is not None) == (row.state is State.DONE) for row in every)
    assert all(row.uncertain_cost > 0 for row in every if row.state in (State.INCOMPLETE, State.UNKNOWN))


def test_budget_has_spent_its_share() -> None:
    """At the beginning of a month, when nothing is spent, it leaves room for requests all the same."""
    spent = sum(row.budget_cost for row in rows(1))
    total, month = (BudgetShare(period, Decimal("0.5")) for period in (Period.TOTAL, Period.MONTH))
    assert abs(budget_amount(total, rows(1), NOW) - 2 * spent) < Decimal("0.01")
    assert budget_amount(month, rows(1), datetime(2026, 12, 1, tzinfo=UTC)) == 5


def test_models_of_the_demonstration_last() -> None:
    """OpenAI shuts none of them down within a year."""
    assert not {*MODELS} & {*SHUTDOWNS}


def test_users_cannot_be_taken_for_people() -> None:
    """Their names are those of teams, programs and examples."""
    kinds = {"team", "bot", "platform", "batch", "example"}
    assert all(kinds & {*member.name.split("-")} for member in TEAM)
