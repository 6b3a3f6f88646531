"""What a route is, and what the function behind it gets."""

from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

import msgspec

from chatgpt_agent.core.audit import Actor
from chatgpt_agent.edges.store.connection import Store
from chatgpt_agent.services.accounts import Accounts
from chatgpt_agent.services.admins import AdminGate
from chatgpt_agent.services.budget_accounts import BudgetAccounts
from chatgpt_agent.services.lifecycle import Lifecycle
from chatgpt_agent.web.admin_api.asked import Nothing

P = TypeVar("P")
Q = TypeVar("Q")
B = TypeVar("B")


class AdminApi(msgspec.Struct, frozen=True):
    """What the API works with: three connections, because one serves a statement after the other. A report does not
    hold up a revocation, and the proof of a large ledger does not hold up reports."""

    gate: AdminGate
    store: Store
    reports: Store
    proofs: Store
    lifecycle: Lifecycle


class Call(msgspec.Struct, Generic[P, Q, B], frozen=True):
    """A request that was let in: who asks for what. `version`: the one that must still be there, from If-Match."""

    api: AdminApi
    actor: Actor
    path: P
    query: Q
    body: B
    version: int | None

    @property
    def accounts(self) -> Accounts:
        """Users, tokens and prices, in the name of who asks."""
        return Accounts(self.api.store, self.api.gate.keyring, self.actor)

    @property
    def budgets(self) -> BudgetAccounts:
        """Budgets, in the name of who asks."""
        return BudgetAccounts(self.api.store, self.actor)


Operation = Callable[[Call[Any, Any, Any]], Awaitable[Any]]


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """A method on a path. `conditional`: it takes If-Match; `answer` None: it answers 204."""

    method: str
    path: str
    does: Operation
    summary: str
    of: type[msgspec.Struct] = Nothing
    query: type[msgspec.Struct] = Nothing
    body: type[msgspec.Struct] | None = None
    answer: Any = None
    status: int = 200
    conditional: bool = False
    conflicts: bool = False
    tag: str

    @property
    def changes(self) -> bool:
        """Whether only an administrator may, and no viewer."""
        return self.method != "GET"

    @property
    def tagged(self) -> bool:
        """Whether its answer has an ETag."""
        return "version" in getattr(self.answer, "__struct_fields__", ())
