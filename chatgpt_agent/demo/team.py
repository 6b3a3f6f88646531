"""The users of the demonstration, with names that no person has."""

from decimal import Decimal
from typing import Any

import msgspec

from chatgpt_agent.core.access.settings import TokenSettings, UserChanges
from chatgpt_agent.core.budget.period import Period


class BudgetShare(msgspec.Struct, frozen=True):
    """A budget, of which the made-up usage has spent this share."""

    period: Period
    share: Decimal


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A user: how many requests a working day has, settings, budgets, and tokens beside the first one."""

    name: str
    requests: int
    settings: dict[str, Any] = {}  # of UserSettings
    budgets: tuple[BudgetShare, ...] = ()
    tokens: tuple[TokenSettings, ...] = ()
    leaves: UserChanges | None = None  # a change after all of the usage


def _spent(period: Period, share: str) -> tuple[BudgetShare, ...]:
    return (BudgetShare(period, Decimal(share)),)


LAPTOP, CI = TokenSettings(label="laptop"), TokenSettings(label="ci", rpm=20)
DISABLED = UserChanges(disabled=True)

TEAM = (  # the first one sends the request that the command prints
    Member(
        name="design-team",
        requests=2,
        settings={"comment": "Has the printed token"},
        budgets=_spent(Period.MONTH, "0.35"),
    ),
    Member(
        name="search-team",
        requests=9,
        settings={"comment": "Search in the shop", "tpm": 400_000},
        budgets=_spent(Period.MONTH, "0.55"),
        tokens=(LAPTOP, CI),
    ),
    Member(
        name="support-bot",
        requests=4,
        settings={"comment": "Help centre, a fixed sum", "rpm": 120},
        budgets=_spent(Period.TOTAL, "0.87"),
    ),
    Member(
        name="data-platform",
        requests=7,
        settings={"comment": "数据平台"},
        budgets=_spent(Period.MONTH, "0.4"),
        tokens=(LAPTOP,),
    ),
    Member(
        name="nightly-batch",
        requests=5,
        settings={"comment": "Reports at night", "concurrency": 4},
        budgets=_spent(Period.TOTAL, "1.02"),
    ),
    Member(name="feedback-bot", requests=3, settings={"comment": "دعم العملاء"}),
    Member(
        name="code-review-bot",
        requests=6,
        settings={"comment": "Reviews each change 🤖", "rpm": 60, "tpm": 200_000},
        budgets=_spent(Period.WEEK, "0.3"),
        tokens=(CI,),
    ),
    Member(
        name="intern-bot",
        requests=1,
        settings={"comment": "Off until January", "allowed_models": ("gpt-6-luna",)},
        leaves=DISABLED,
    ),
    Member(name="example-alice", requests=2, settings={"concurrency": 2}, tokens=(LAPTOP,)),
)
