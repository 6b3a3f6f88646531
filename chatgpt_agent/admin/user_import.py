"""Adds all users of a CSV file, or none of them if a line has an error."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from chatgpt_agent.adapters.files import remove_file, write_secret
from chatgpt_agent.adapters.keyring import Keyring
from chatgpt_agent.adapters.postgres import users
from chatgpt_agent.adapters.postgres.connection import AnyStore
from chatgpt_agent.admin.warnings import Warn, no_warning, taken_message, warn_of_look_alikes, warn_of_unpriced
from chatgpt_agent.core.access.tokens import PREFIX_LENGTH
from chatgpt_agent.core.access.user_import import NewUserRow, ReportLine, Result, read_users, report
from chatgpt_agent.core.csv_reader import MAX_FILE, read_rows
from chatgpt_agent.core.csv_writer import csv_text
from chatgpt_agent.core.errors import AgentError, Conflict, StoreBadValue, StoreUnavailable

__all__ = ["MAX_FILE", "NewUserToken", "ImportedUsers", "UserImport", "tokens_csv"]


class NewUserToken(msgspec.Struct, frozen=True):
    """The token of an imported user in the clear, which cannot be shown again."""

    user: str
    token: str


class ImportedUsers(msgspec.Struct, frozen=True):
    """The result for each line of a file, and the tokens of the users who were added."""

    lines: list[ReportLine]
    tokens: list[NewUserToken]

    @property
    def errors(self) -> list[ReportLine]:
        """The lines with an error. If there is one, no user was added."""
        return [line for line in self.lines if line.result is Result.ERROR]


class UserImport:
    """The import of users."""

    def __init__(self, store: AnyStore, keyring: Keyring, warn: Warn = no_warning) -> None:
        self._store = store
        self._keyring = keyring
        self._warn = warn

    async def run(
        self,
        file: bytes,
        *,
        skip_existing: bool = False,
        dry_run: bool = False,
        tokens_file: Path | None = None,
        publish: Callable[[ImportedUsers], None] = lambda imported: None,
    ) -> ImportedUsers:
        """Adds the users of a CSV file, each with a token and a budget. Users who exist are errors, unless
        `skip_existing`. The tokens cannot be shown again: they are written to the new file `tokens_file`, if one is
        named, and the result is given to `publish`, before the users are added. Raises InvalidValue, Conflict, and
        what `publish` raises."""
        # In a thread: 5,000 lines would hold the event loop up.
        new, errors = await asyncio.to_thread(lambda: read_users(read_rows(file)))
        existing = await self._existing(new, Result.SKIPPED if skip_existing else Result.ERROR)
        names = {line.name for line in existing}
        new = [user for user in new if user.name not in names]
        failed = bool(errors) or (bool(existing) and not skip_existing)
        await self._warn_of(new)
        result = Result.NOT_ADDED if failed else Result.WOULD_BE_ADDED if dry_run else Result.ADDED
        lines = report(new, errors, existing, result)
        if not new or failed or dry_run:
            publish(ImportedUsers(lines, []))
            return ImportedUsers(lines, [])
        ids = await users.next_user_ids(self._store, len(new))
        # In a thread: encrypting 5,000 keys would hold the event loop up.
        rows, tokens = await asyncio.to_thread(self._rows, new, ids)
        imported = ImportedUsers(lines, tokens)
        await self._add(new, rows, imported, tokens_file, publish)
        return imported

    async def _warn_of(self, new: Sequence[NewUserRow]) -> None:
        """Warns of names that look like another one, here or in the file, and of models that match no price."""
        await warn_of_look_alikes(self._store, [user.name for user in new], self._warn)
        models = sorted({model for user in new for model in user.allowed_models or ()})
        await warn_of_unpriced(self._store, models, self._warn, if_any=True)

    async def _existing(self, new: Sequence[NewUserRow], result: Result) -> list[ReportLine]:
        names = await users.taken_names(self._store, [user.name for user in new])
        return [
            ReportLine(
                user.line,
                user.name,
                result,
                taken_message(user.name, names[user.name]) if result is Result.ERROR else None,
            )
            for user in new
            if user.name in names
        ]

    async def _add(
        self,
        new: Sequence[NewUserRow],
        rows: Sequence[users.UserInsert],
        imported: ImportedUsers,
        tokens_file: Path | None,
        publish: Callable[[ImportedUsers], None],
    ) -> None:
        if tokens_file is None:
            publish(imported)
            await self._insert(new, rows)
            return
        write_secret(tokens_file, tokens_csv(imported.tokens))
        try:
            publish(imported)
            await self._insert(new, rows)
        except StoreUnavailable as error:  # the rows may have been committed
            raise StoreUnavailable(
                f"{error.message}; see with `user list` whether the users were added: their tokens are in {tokens_file}"
            ) from None
        except (AgentError, OSError):
            remove_file(tokens_file)
            raise

    async def _insert(self, new: Sequence[NewUserRow], rows: Sequence[users.UserInsert]) -> None:
        """Inserts all users in one transaction."""
        try:
            await users.add_users(self._store, rows, datetime.now(UTC))
        except StoreBadValue:
            if await self._existing(new, Result.ERROR):
                raise Conflict(
                    "one of these users was added at the same time by another admin: no user was added, try again"
                ) from None
            raise

    def _rows(self, new: Sequence[NewUserRow], ids: Sequence[int]) -> tuple[list[users.UserInsert], list[NewUserToken]]:
        rows, tokens = [], []
        for id_, user in zip(ids, new, strict=True):
            token, digest = self._keyring.new_token()
            row = users.UserInsert(
                id=id_,
                name=user.name,
                comment=user.comment,
                upstream_key=self._keyring.encrypt(id_, user.upstream_key).hex(),
                digest=digest.hex(),
                token_prefix=token[:PREFIX_LENGTH],
                allowed_models=user.allowed_models,
                amount=None if user.budget is None else f"{user.budget:f}",
                period=user.period,
                standard_tier_only=user.standard_tier_only,
            )
            rows.append(row)
            tokens.append(NewUserToken(user.name, token))
        return rows, tokens


def tokens_csv(tokens: Iterable[NewUserToken]) -> str:
    """Returns tokens as CSV."""
    return csv_text(["name", "token"], [(token.user, token.token) for token in tokens])
