"""Are the books right? When they were checked, what waits, what is not certain. Sums are read, and no whole ledger."""

from datetime import date
from decimal import Decimal

import msgspec

from chatgpt_agent.adapters.postgres import books
from chatgpt_agent.adapters.postgres.agents import AgentState, agent_states
from chatgpt_agent.adapters.postgres.archives import list_archives
from chatgpt_agent.adapters.postgres.books import DeadLetter, UncertainSum
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.usage import count_dead_letters
from chatgpt_agent.adapters.postgres.usage_rows import StateSum, UsageRow, list_rows
from chatgpt_agent.admin.checks import RECONCILE, VERIFY, CheckLog, LedgerCheck, ReconciledDay
from chatgpt_agent.admin.ledger import added_counts
from chatgpt_agent.admin.reports import today
from chatgpt_agent.core.archive import Archive
from chatgpt_agent.core.ledger import State
from chatgpt_agent.core.money.exact import exact_sum

__all__ = ["Books", "BooksReader", "DeadLetter", "ReconciledDay", "UncertainSum"]

CORRECTIONS = 10  # that are listed
DEAD_LETTERS = 20


class Books(msgspec.Struct, frozen=True, kw_only=True):
    """How sure the books are. `month`: the first day of this month in the time zone of reports, of which `states` and
    `uncertain` are. `dead_letters` has the newest of `dead_letter_count`, `corrections` the newest ones;
    `unknown_usage_fields`: names in OpenAI's usages that no agent knows, and how many answers had each;
    `archives`: archived months, the oldest first."""

    month: date
    last_verify: LedgerCheck | None
    last_reconcile: LedgerCheck | None
    days: list[ReconciledDay]
    agents: list[AgentState]
    states: list[StateSum]
    uncertain: list[UncertainSum]
    dead_letter_count: int
    dead_letters: list[DeadLetter]
    corrections: list[UsageRow]
    unknown_usage_fields: dict[str, int]
    archives: list[Archive]

    @property
    def waiting(self) -> int:
        """Rows that agents have not shipped yet, when they reported last."""
        return sum(agent.backlog for agent in self.agents)

    @property
    def uncertain_cost(self) -> Decimal:
        """The most that rows of this month may have cost beyond their cost, in USD."""
        return exact_sum([each.uncertain_cost for each in self.uncertain])


class BooksReader:
    """The use case. It changes nothing."""

    def __init__(self, store: Store, checks: CheckLog) -> None:
        self._store = store
        self._checks = checks

    async def read(self) -> Books:
        """Returns the figures of now."""
        store = self._store
        month = (await today(store)).replace(day=1)
        begin = await books.begin_of(store, month)
        checks = await self._checks.last()
        agents = await agent_states(store)
        count = await count_dead_letters(store)
        return Books(
            month=month,
            last_verify=checks.get(VERIFY),
            last_reconcile=checks.get(RECONCILE),
            days=await self._checks.reconciled_days(),
            agents=agents,
            states=await books.states_since(store, month, begin),
            uncertain=await books.uncertain_since(store, begin),
            dead_letter_count=count,
            dead_letters=await books.dead_letters(store, DEAD_LETTERS) if count else [],
            corrections=await list_rows(store, states=[State.CORRECTION], limit=CORRECTIONS),
            unknown_usage_fields=added_counts(agent.unknown_usage_fields for agent in agents),
            archives=await list_archives(store),
        )
