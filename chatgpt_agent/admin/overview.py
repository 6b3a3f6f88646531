"""One look at everything: what is spent, which users spend it, how fast answers are, and what needs attention."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum

import msgspec

from chatgpt_agent.adapters.postgres import overview as figures
from chatgpt_agent.adapters.postgres.agents import AgentState, agent_states
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.ledger_checks import LedgerCheck, last_checks
from chatgpt_agent.adapters.postgres.model_dates import list_dates
from chatgpt_agent.adapters.postgres.overview import ModelDay, RefusedKey, Spend, UserSpend
from chatgpt_agent.adapters.postgres.prices import list_prices
from chatgpt_agent.adapters.postgres.usage import count_dead_letters
from chatgpt_agent.adapters.postgres.users import names_of_users
from chatgpt_agent.admin.backups import BACKUP_AGE, LastBackup, last_backup
from chatgpt_agent.admin.checks import VERIFY
from chatgpt_agent.admin.reports import today
from chatgpt_agent.core.budget.budget_state import Status
from chatgpt_agent.core.money.exact import ZERO, exact_sum
from chatgpt_agent.core.money.pricing import PriceBook
from chatgpt_agent.core.percentiles import percentile

__all__ = ["Attention", "Concern", "DayLatency", "Overview", "OverviewReader", "Spend", "UserSpend"]

DAYS = 30  # of the charts
TOP = 10  # users and models in lists
SERIES = 7  # in charts; the others are one more
NEARLY_SPENT = 80  # percent of a budget
SHUTDOWN_DAYS = 90
PROOF_DAYS = 7  # after which the books should be checked again
WAITING_SECONDS = 60.0  # that a row may wait to be shipped
KEY_DAYS = 7
OTHERS = ""  # the name of all that are not shown apart


class DayCost(msgspec.Struct, frozen=True):
    """The cost of a day in USD, of a model or user; `name` OTHERS: of all that are not shown apart."""

    day: date
    name: str
    cost: Decimal


class DayLatency(msgspec.Struct, frozen=True, kw_only=True):
    """Durations of the answered requests of a day in milliseconds, within 7.5 %; None: there were none."""

    day: date
    requests: int
    first_byte: float | None
    first_byte_95: float | None
    duration: float | None
    duration_95: float | None


class Concern(StrEnum):
    """What needs attention."""

    UNCERTAIN_COST = "uncertain_cost"
    BUDGET = "budget"
    UNPRICED_MODEL = "unpriced_model"
    SHUTDOWN = "shutdown"
    KEY_REFUSED = "key_refused"
    OUTBOX = "outbox"
    DEAD_LETTERS = "dead_letters"
    NOT_VERIFIED = "not_verified"
    OLD_BACKUP = "old_backup"
    FINDINGS = "findings"
    UNKNOWN_FIELDS = "unknown_fields"


class Attention(msgspec.Struct, frozen=True, kw_only=True):
    """Something that needs attention. `subject`: a user, a model, an agent or a field; `amount`, `of`: USD; `count`:
    requests, rows, users or findings; `at`: since when, or until when."""

    concern: Concern
    subject: str = ""
    amount: Decimal | None = None
    of: Decimal | None = None
    count: int | None = None
    at: datetime | date | None = None


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """The figures, with days in the time zone of reports. `last_month_so_far`: the same days of the last month.
    `in_progress`: requests of all agents, when they reported last."""

    today: date
    today_spend: Spend
    month: Spend
    last_month_so_far: Spend
    last_month: Spend
    in_progress: int
    agents: int
    models_by_day: list[DayCost]
    users_by_day: list[DayCost]
    top_users: list[UserSpend]
    top_models: list[tuple[str, Spend]]
    latencies: list[DayLatency]
    last_verify: LedgerCheck | None
    attention: list[Attention]


class OverviewReader:
    """The use case. It reads sums alone, so that it takes as long for a large ledger as for a small one."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def read(self, nearly_spent: Sequence[tuple[int, Status]]) -> Overview:
        """Returns the figures of now. `nearly_spent`: the budgets of which NEARLY_SPENT percent or more are spent, with
        their users; a running agent knows them, and to sum up all users' days for them takes a third of the page."""
        store, now = self._store, datetime.now(UTC)
        day = await today(store)
        month, last_month = first_of_month(day), first_of_month(first_of_month(day) - timedelta(days=1))
        begin = day - timedelta(days=DAYS - 1)
        rows = await figures.spend_by_model(store, min(last_month, begin), day)
        users = await figures.top_users(store, month, day, TOP)
        checks = await last_checks(store)
        agents = [agent for agent in await agent_states(store) if agent.runs(now)]
        last_same = min(last_month + (day - month), month - timedelta(days=1))
        return Overview(
            today=day,
            today_spend=total(row for row in rows if row.day == day),
            month=total(row for row in rows if row.day >= month),
            last_month_so_far=total(row for row in rows if last_month <= row.day <= last_same),
            last_month=total(row for row in rows if last_month <= row.day < month),
            in_progress=sum(agent.in_progress for agent in agents),
            agents=len(agents),
            models_by_day=_models_by_day([row for row in rows if row.day >= begin]),
            users_by_day=await self._users_by_day(rows, users, begin, day),
            top_users=users,
            top_models=_top_models([row for row in rows if row.day >= month]),
            latencies=_latencies(await figures.latencies(store, begin, day)),
            last_verify=checks.get(VERIFY),
            attention=await self._attention(rows, month, agents, checks, nearly_spent, now),
        )

    async def _users_by_day(
        self, rows: Sequence[ModelDay], users: Sequence[UserSpend], begin: date, day: date
    ) -> list[DayCost]:
        names = {user.user_id: user.user for user in users[:SERIES]}
        costs = await figures.cost_by_user(self._store, list(names), begin, day) if names else []
        others: dict[date, list[Decimal]] = defaultdict(list)
        for row in rows:
            if row.day >= begin:
                others[row.day].append(row.cost)
        for when, _, cost in costs:
            others[when].append(-cost)
        costs_shown = [DayCost(when, names[user], cost) for when, user, cost in costs]
        rest = [DayCost(when, OTHERS, exact_sum(amounts)) for when, amounts in others.items()]
        return sorted(costs_shown + [each for each in rest if each.cost], key=lambda each: (each.day, each.name))

    # What needs attention.

    async def _attention(
        self,
        rows: Sequence[ModelDay],
        month: date,
        agents: Sequence[AgentState],
        checks: dict[str, LedgerCheck],
        nearly_spent: Sequence[tuple[int, Status]],
        now: datetime,
    ) -> list[Attention]:
        refused = await figures.refused_keys(self._store, now - timedelta(days=KEY_DAYS))
        priced = {price.model for price in PriceBook(await list_prices(self._store)).models(now)}
        return [
            *_of_proofs(checks.get(VERIFY), bool(rows), now),
            *_of_backup(await last_backup(self._store), now),
            *_of_dead_letters(await count_dead_letters(self._store)),
            *_of_agents(agents, priced, now),
            *map(_of_refused_key, refused),
            *_of_budgets(nearly_spent, await names_of_users(self._store, [user for user, _ in nearly_spent])),
            *await shutdowns(self._store, priced, now.date()),
            *_of_uncertain_cost(row for row in rows if row.day >= month),
        ]


async def shutdowns(store: Store, priced: set[str], day: date) -> list[Attention]:
    """Returns the models with a price that OpenAI shuts down soon after a day, or has, and that were used until then;
    `count` is the number of their users."""
    soon = {
        model: when
        for model, when in (await list_dates(store)).items()
        if model in priced and when - day <= timedelta(days=SHUTDOWN_DAYS)
    }
    users = await figures.users_of_models(store, list(soon), day - timedelta(days=DAYS)) if soon else {}
    return [
        Attention(concern=Concern.SHUTDOWN, subject=model, at=when, count=users.get(model, 0))
        for model, when in sorted(soon.items(), key=lambda item: item[1])
        if users.get(model)
    ]


def first_of_month(day: date) -> date:
    """Returns the first day of a day's month."""
    return day.replace(day=1)


def total(rows: Iterable[Spend]) -> Spend:
    """Returns the exact sums of several sums."""
    listed = list(rows)
    return Spend(
        requests=sum(row.requests for row in listed),
        not_done=sum(row.not_done for row in listed),
        tokens=sum(row.tokens for row in listed),
        cost=exact_sum(row.cost for row in listed),
        uncertain_cost=exact_sum(row.uncertain_cost for row in listed),
    )


def _top_models(rows: Sequence[ModelDay]) -> list[tuple[str, Spend]]:
    by_model: dict[str, list[Spend]] = defaultdict(list)
    for row in rows:
        by_model[row.model].append(row)
    sums = [(model, total(each)) for model, each in by_model.items()]
    return sorted(sums, key=lambda item: (-item[1].cost, item[0]))[:TOP]


def _models_by_day(rows: Sequence[ModelDay]) -> list[DayCost]:
    apart = {model for model, _ in _top_models(rows)[:SERIES]}
    costs: dict[tuple[date, str], list[Decimal]] = defaultdict(list)
    for row in rows:
        costs[row.day, row.model if row.model in apart else OTHERS].append(row.cost)
    return [DayCost(day, model, exact_sum(amounts)) for (day, model), amounts in sorted(costs.items())]


def _latencies(rows: Sequence[tuple[date, str, int, int]]) -> list[DayLatency]:
    buckets: dict[date, dict[str, dict[int, int]]] = defaultdict(lambda: {"duration": {}, "first_byte": {}})
    for day, measure, bucket, requests in rows:
        buckets[day][measure][bucket] = requests
    return [
        DayLatency(
            day=day,
            requests=sum(each["duration"].values()),
            first_byte=percentile(each["first_byte"], 0.5),
            first_byte_95=percentile(each["first_byte"], 0.95),
            duration=percentile(each["duration"], 0.5),
            duration_95=percentile(each["duration"], 0.95),
        )
        for day, each in sorted(buckets.items())
    ]


def _of_proofs(last: LedgerCheck | None, has_rows: bool, now: datetime) -> list[Attention]:
    if last is not None and last.findings:
        return [Attention(concern=Concern.FINDINGS, subject=last.summary, count=last.findings, at=last.at)]
    if has_rows and (last is None or now - last.at > timedelta(days=PROOF_DAYS)):
        return [Attention(concern=Concern.NOT_VERIFIED, at=None if last is None else last.at)]
    return []


def _of_backup(last: LastBackup | None, now: datetime) -> list[Attention]:
    """Nothing where none was recorded: another program may make the backups."""
    if last is None or now - last.at <= BACKUP_AGE:
        return []
    return [Attention(concern=Concern.OLD_BACKUP, at=last.at)]


def _of_dead_letters(count: int) -> list[Attention]:
    return [Attention(concern=Concern.DEAD_LETTERS, count=count)] if count else []


def _of_agents(agents: Sequence[AgentState], priced: set[str], now: datetime) -> list[Attention]:
    concerns: list[Attention] = []
    for agent in agents:
        if agent.backlog and agent.oldest_at and (now - agent.oldest_at).total_seconds() > WAITING_SECONDS:
            subject = str(agent.id)
            concerns.append(Attention(concern=Concern.OUTBOX, subject=subject, count=agent.backlog, at=agent.oldest_at))
    for concern, counts in (
        (Concern.UNPRICED_MODEL, [agent.unpriced_models for agent in agents]),
        (Concern.UNKNOWN_FIELDS, [agent.unknown_usage_fields for agent in agents]),
    ):
        sums: dict[str, int] = defaultdict(int)
        for each in counts:
            for name, count in each.items():
                sums[name] += count
        concerns += [
            Attention(concern=concern, subject=name, count=count)
            for name, count in sorted(sums.items())
            if name not in priced
        ]
    return concerns


def _of_refused_key(refused: RefusedKey) -> Attention:
    return Attention(concern=Concern.KEY_REFUSED, subject=refused.user, at=refused.at)


def _of_budgets(nearly_spent: Iterable[tuple[int, Status]], names: Mapping[int, str]) -> list[Attention]:
    budgets = [(names[user], status) for user, status in nearly_spent if user in names]
    budgets.sort(key=lambda each: (-(each[1].spent / each[1].amount if each[1].amount else ZERO), each[0]))
    return [
        Attention(concern=Concern.BUDGET, subject=user, amount=status.spent, of=status.amount, at=status.resets_at)
        for user, status in budgets
    ]


def _of_uncertain_cost(rows: Iterable[ModelDay]) -> list[Attention]:
    amount = exact_sum(row.uncertain_cost for row in rows)
    return [Attention(concern=Concern.UNCERTAIN_COST, amount=amount)] if amount else []
