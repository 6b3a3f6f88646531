"""People in bulk: all of a table, or nobody."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import msgspec

from chatgpt_agent.core.audit import Actor
from chatgpt_agent.core.errors import NameTaken, StoreBadRow
from chatgpt_agent.core.people import Newcomer, ReportLine, Result
from chatgpt_agent.core.tokens import SHOWN
from chatgpt_agent.edges.keyring import Keyring
from chatgpt_agent.edges.store import accounts
from chatgpt_agent.edges.store.connection import Store


class FirstToken(msgspec.Struct, frozen=True):
    """A newcomer's token in the clear: this is the only time that it is seen."""

    user: str
    token: str


class People:
    """Who is there, and how others come."""

    def __init__(self, store: Store, keyring: Keyring, actor: Actor) -> None:
        self._store = store.acting_as(actor)
        self._keyring = keyring

    async def who_is_there(self, people: Sequence[Newcomer], *, skip: bool) -> list[ReportLine]:
        """The lines of those whose names are taken: faults, or people to be skipped."""
        taken = await accounts.taken_names(self._store, [newcomer.name for newcomer in people])
        return [
            ReportLine(newcomer.line, newcomer.name, Result.SKIPPED)
            if skip
            else ReportLine(newcomer.line, newcomer.name, Result.FAULT, f"there is a user {newcomer.name!r} already")
            for newcomer in people
            if newcomer.name in taken
        ]

    async def add(self, people: Sequence[Newcomer], keep: Callable[[list[FirstToken]], None]) -> None:
        """Adds all of them in one transaction, each with a token and a budget. `keep` gets the tokens before that:
        nobody could show them again. Raises NameTaken where somebody else was faster; nobody is added then."""
        ids = await accounts.next_user_ids(self._store, len(people))
        issued = [self._keyring.new_token() for _ in people]
        rows = [
            accounts.NewUser(
                id=id_,
                name=newcomer.name,
                comment=newcomer.comment,
                upstream_key=self._keyring.encrypt(id_, newcomer.upstream_key).hex(),
                digest=digest.hex(),
                shown=token[:SHOWN],
                allowed_models=newcomer.allowed_models,
                amount=None if newcomer.budget is None else f"{newcomer.budget:f}",
                period=newcomer.period,
            )
            for id_, newcomer, (token, digest) in zip(ids, people, issued, strict=True)
        ]
        keep([FirstToken(newcomer.name, token) for newcomer, (token, _) in zip(people, issued, strict=True)])
        try:
            await accounts.add_users(self._store, rows, datetime.now(UTC))
        except StoreBadRow:
            if await self.who_is_there(people, skip=False):
                raise NameTaken("somebody else has just added one of these users: nobody is added, try again") from None
            raise
