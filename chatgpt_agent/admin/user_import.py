"""People in bulk: all of a table, or nobody. Every face (commands, REST) calls these."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import msgspec

from chatgpt_agent.adapters.keyring import Keyring
from chatgpt_agent.adapters.postgres import users as accounts
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.core.access.tokens import SHOWN
from chatgpt_agent.core.access.user_import import NewUserRow, ReportLine, Result, report
from chatgpt_agent.core.audit import Actor
from chatgpt_agent.core.errors import Conflict, StoreBadValue


class FirstToken(msgspec.Struct, frozen=True):
    """A newcomer's token in the clear: this is the only time that it is seen."""

    user: str
    token: str


class Imported(msgspec.Struct, frozen=True):
    """What became of each line of a table, and the tokens of those who were added. `bad`: how many lines have a fault;
    where there is one, nobody is added."""

    lines: list[ReportLine]
    tokens: list[FirstToken]
    bad: int


class UserImport:
    """Who is there, and how others come."""

    def __init__(self, store: Store, keyring: Keyring, actor: Actor) -> None:
        self._store = store.with_actor(actor)
        self._keyring = keyring

    async def import_table(
        self,
        people: Sequence[NewUserRow],
        faults: Sequence[ReportLine],
        *,
        skip_existing: bool,
        dry_run: bool,
        keep: Callable[[list[FirstToken]], None] = lambda tokens: None,
    ) -> Imported:
        """Adds all people of a table, or nobody where a line has a fault. Raises as `add` does."""
        there = await self.who_is_there(people, skip=skip_existing)
        names = {line.name for line in there}
        newcomers = [newcomer for newcomer in people if newcomer.name not in names]
        bad = len(faults) + (0 if skip_existing else len(there))
        issued: list[FirstToken] = []
        if not bad and not dry_run and newcomers:
            issued = await self.add(newcomers, keep)
        result = Result.NOT_ADDED if bad else Result.WOULD_BE_ADDED if dry_run else Result.ADDED
        return Imported(report(newcomers, faults, there, result), issued, bad)

    async def who_is_there(self, people: Sequence[NewUserRow], *, skip: bool) -> list[ReportLine]:
        """The lines of those whose names are taken: faults, or people to be skipped."""
        taken = await accounts.taken_names(self._store, [newcomer.name for newcomer in people])
        return [
            ReportLine(newcomer.line, newcomer.name, Result.SKIPPED)
            if skip
            else ReportLine(newcomer.line, newcomer.name, Result.FAULT, f"user {newcomer.name!r} already exists")
            for newcomer in people
            if newcomer.name in taken
        ]

    async def add(self, people: Sequence[NewUserRow], keep: Callable[[list[FirstToken]], None]) -> list[FirstToken]:
        """Adds all of them in one transaction, each with a token and a budget. `keep` gets the tokens before that:
        nobody could show them again. Raises Conflict where somebody else was faster; nobody is added then."""
        ids = await accounts.next_user_ids(self._store, len(people))
        # Apart, because it takes 5,000 of them long enough for others to notice.
        rows, issued = await asyncio.to_thread(self._made, people, ids)
        keep(issued)
        try:
            await accounts.add_users(self._store, rows, datetime.now(UTC))
        except StoreBadValue:
            if await self.who_is_there(people, skip=False):
                raise Conflict("somebody else has just added one of these users: nobody is added, try again") from None
            raise
        return issued

    def _made(
        self, people: Sequence[NewUserRow], ids: Sequence[int]
    ) -> tuple[list[accounts.NewUser], list[FirstToken]]:
        """The newcomers as they are written, and their tokens."""
        rows, issued = [], []
        for id_, newcomer in zip(ids, people, strict=True):
            token, digest = self._keyring.new_token()
            row = accounts.NewUser(
                id=id_,
                name=newcomer.name,
                comment=newcomer.comment,
                upstream_key=self._keyring.encrypt(id_, newcomer.upstream_key).hex(),
                digest=digest.hex(),
                token_prefix=token[:SHOWN],
                allowed_models=newcomer.allowed_models,
                amount=None if newcomer.budget is None else f"{newcomer.budget:f}",
                period=newcomer.period,
            )
            rows.append(row)
            issued.append(FirstToken(newcomer.name, token))
        return rows, issued
