"""Imports the users, prices and history of the original program. A repeated import adds what is new there and changes
nothing else."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal

import msgspec

from chatgpt_agent.adapters.keyring import Keyring
from chatgpt_agent.adapters.postgres import legacy, legacy_import
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.legacy import LegacyStore, has_password
from chatgpt_agent.adapters.postgres.legacy_import import ImportedRequest, ImportedToken, ImportedUser, UserKey
from chatgpt_agent.adapters.postgres.prices import add_prices, priced_models
from chatgpt_agent.adapters.postgres.usage import ensure_partition
from chatgpt_agent.adapters.postgres.users import next_user_ids
from chatgpt_agent.core import legacy as rules
from chatgpt_agent.core.audit import Actor
from chatgpt_agent.core.errors import KeyUnusable
from chatgpt_agent.core.legacy import IMPORTED_USER, OldRequest, OldUser

__all__ = ["TableCounts", "ImportResult", "RowWarning", "LegacyImport", "has_password"]

BATCH = 2000  # rows of the history in one transaction
LABEL = "imported"  # of imported tokens
LEGACY_SECONDS = 600.0  # for one statement on the original program's database


class TableCounts(msgspec.Struct, kw_only=True):
    """How many rows of a table were read, and of these added, here already, and refused."""

    read: int = 0
    added: int = 0
    existing: int = 0
    refused: int = 0


class RowWarning(msgspec.Struct, frozen=True):
    """Something about a row that an administrator should know. `refused`: the row was not imported."""

    table: str
    row: str
    text: str
    refused: bool = False


class ImportResult(msgspec.Struct):
    """What was imported, or would be."""

    tables: dict[str, TableCounts]
    warnings: list[RowWarning]

    @property
    def refused(self) -> bool:
        """Whether any row could not be imported."""
        return any(counts.refused for counts in self.tables.values())


class LegacyImport:
    """The use case that imports the original program's database."""

    def __init__(self, store: Store, keyring: Keyring, actor: Actor, *, batch: int = BATCH) -> None:
        self._store = store
        self._keyring = keyring
        self._actor = actor
        self._batch = batch

    async def run(
        self, url: str, *, dry_run: bool, begin: Callable[[int], None], advance: Callable[[int], None]
    ) -> ImportResult:
        """Imports everything; with `dry_run` nothing is changed, and the counts are of what would be. `begin` gets the
        number of rows in the history, `advance` how many more are done. After an error, what was imported by then
        stays, and the next run continues. Raises InvalidValue, SetupError, StoreError."""
        async with LegacyStore(url, seconds=LEGACY_SECONDS) as old:
            run = _Run(old, self._store, self._keyring, self._actor, dry_run=dry_run)
            await old.check()
            await run.import_users()
            await run.import_prices()
            begin(await old.count_requests())
            await run.import_history(self._batch, advance)
            return run.result


class _Run:
    """One import, from one database."""

    def __init__(self, old: LegacyStore, store: Store, keyring: Keyring, actor: Actor, *, dry_run: bool) -> None:
        self._old = old
        self._store = store
        self._acting = store.with_actor(actor)
        self._keyring = keyring
        self._dry_run = dry_run
        self._now = datetime.now(UTC)
        self._owners: dict[int, tuple[int, int]] = {}  # ids of our user and token, by the id in sys_user_token
        self.result = ImportResult({table: TableCounts() for table in legacy.TABLES}, [])

    # Users and tokens.

    async def import_users(self) -> None:
        counts = self.result.tables["sys_user_token"]
        rows = self._importable_users(await self._old.users())
        owners = await legacy_import.token_owners(self._store, rows)
        users, tokens = await self._plan({digest: old for digest, old in rows.items() if digest not in owners})
        counts.existing, counts.added = len(owners), len(tokens)
        if tokens and not self._dry_run:
            await legacy_import.add_imported_users(self._acting, users, tokens)
            owners = await legacy_import.token_owners(self._store, rows)
        self._owners = {rows[digest].id: ids for digest, ids in owners.items()}

    def _importable_users(self, users: Sequence[OldUser]) -> dict[bytes, OldUser]:
        """The rows that have no error, by the digests of their tokens."""
        counts = self.result.tables["sys_user_token"]
        counts.read = len(users)
        rows: dict[bytes, OldUser] = {}
        for old in users:
            error = rules.user_error(old)
            digest = b"" if error else self._keyring.digest(old.local_token or "")
            if digest in rows:
                error = f"it has the same local_token as row {rows[digest].id}"
            if error:
                counts.refused += 1
                self._warn("sys_user_token", old.id, error, refused=True)
            else:
                rows[digest] = old
        return rows

    async def _plan(self, rows: dict[bytes, OldUser]) -> tuple[list[ImportedUser], list[ImportedToken]]:
        """The users and tokens to add. A row whose name and key an existing user has adds a token to that user."""
        users_by_name = await legacy_import.user_keys(self._store)
        keys: dict[str, str | None] = {}  # OpenAI keys of the names that were compared
        ids = await next_user_ids(self._store, len(rows)) if rows and not self._dry_run else []
        free_ids = iter(ids)
        users: list[ImportedUser] = []
        tokens: list[ImportedToken] = []
        for digest, old in rows.items():
            token, key = old.local_token or "", (old.gpt_token or "").strip()
            for name in rules.numbered(rules.user_name(old)):
                if name not in users_by_name:
                    keys[name] = key
                    users_by_name[name] = UserKey(next(free_ids, 0), b"")
                    users.append(self._imported_user(users_by_name[name].id, name, key, old))
                    break
                if name not in keys:
                    keys[name] = self._decrypt_key(users_by_name[name])
                if keys[name] == key:
                    break
            self._warn_of_user(old, name)
            tokens.append(
                ImportedToken(
                    user_id=users_by_name[name].id,
                    digest=digest,
                    token_prefix=rules.token_prefix(token),
                    label=LABEL,
                    created_at=old.create_time or self._now,
                )
            )
        return users, tokens

    def _warn_of_user(self, old: OldUser, name: str) -> None:
        token = old.local_token or ""
        if name != (old.name or ""):
            self._warn("sys_user_token", old.id, f"its user is named {name!r} here")
        if rules.is_weak(token):
            self._warn(
                "sys_user_token", old.id, f"its token has only {len(token)} characters: issue another one for {name}"
            )

    def _imported_user(self, id: int, name: str, key: str, old: OldUser) -> ImportedUser:
        comment = "".join(char for char in old.comment or "" if char.isprintable()).strip()
        return ImportedUser(
            id=id,
            name=name,
            upstream_key=self._keyring.encrypt(id, key),
            comment=comment,
            created_at=old.create_time or self._now,
        )

    def _decrypt_key(self, user: UserKey) -> str | None:
        try:
            return self._keyring.decrypt(user.id, user.encrypted) if user.encrypted else None
        except KeyUnusable:  # undecryptable: treat it as a different key
            return None

    # Prices.

    async def import_prices(self) -> None:
        counts = self.result.tables["sys_config"]
        config = await self._old.config()
        listed, errors = rules.prices(config, await self._old.old_prices(), self._now)
        priced = await priced_models(self._store)
        for name, error in errors.items():
            self._warn("sys_config", name, error, refused=True)
        models = {price.model for price in listed}
        counts.read = len(config)
        for line in config:
            model = line.key.removesuffix("_input").removesuffix("_output")
            if line.key in errors or model not in models:
                counts.refused += 1
            elif model in priced:
                counts.existing += 1
            else:
                counts.added += 1
        new = [price for price in listed if price.model not in priced]
        if new and not self._dry_run:
            await add_prices(self._acting, new, now=self._now)

    # The history.

    async def import_history(self, batch: int, advance: Callable[[int], None]) -> None:
        counts = self.result.tables["sys_model_request"]
        owner_column = await self._old.owner_column()
        months: set[tuple[int, int]] = set()
        after: int | None = None
        unpriced = 0
        while page := await self._old.requests(after, batch, owner_column):
            after = page[-1].id
            counts.read += len(page)
            requests = self._importable_requests(page)
            unpriced += sum(old.price is None for old in requests)
            has_unowned = any(old.owner not in self._owners for old in requests)
            placeholder = await self._placeholder_user() if has_unowned and not self._dry_run else 0
            rows = [self._imported_request(old, placeholder) for old in requests]
            new = await self._add(rows, months)
            counts.added += new
            counts.existing += len(rows) - new
            advance(len(page))
        if unpriced:
            self._warn("sys_model_request", "", f"{unpriced} rows have no price there, and cost nothing here")

    def _importable_requests(self, page: Sequence[OldRequest]) -> list[OldRequest]:
        requests = []
        for old in page:
            error = rules.request_error(old)
            if error:
                self.result.tables["sys_model_request"].refused += 1
                self._warn("sys_model_request", old.id, error, refused=True)
            else:
                requests.append(old)
        return requests

    def _imported_request(self, old: OldRequest, placeholder: int) -> ImportedRequest:
        assert old.timestamp is not None
        assert old.model is not None
        user_id, token_id = self._owners.get(old.owner or 0, (placeholder, 0))
        return ImportedRequest(
            request_id=rules.row_id(old),
            user_id=user_id,
            token_id=token_id,
            model=old.model,
            upstream_id=old.remote_id,
            input_tokens=old.prompt_tokens,
            output_tokens=old.completion_tokens,
            cost=old.price or Decimal(0),
            started_at=old.timestamp,
        )

    async def _add(self, rows: list[ImportedRequest], months: set[tuple[int, int]]) -> int:
        """Adds rows, unless this is a dry run, and returns how many of them are new."""
        if self._dry_run:
            return len(rows) - await legacy_import.count_imported_requests(self._store, rows)
        for row in rows:
            moment = row.started_at.astimezone(UTC)
            if (moment.year, moment.month) not in months:
                await ensure_partition(self._store, moment)
                months.add((moment.year, moment.month))
        return await legacy_import.add_imported_requests(self._store, rows) if rows else 0

    async def _placeholder_user(self) -> int:
        """The placeholder for rows without an owner, created as removed so that it cannot be used."""
        user = (await legacy_import.user_keys(self._store)).get(IMPORTED_USER)
        if user is not None:
            return user.id
        [id_] = await next_user_ids(self._store, 1)
        comment = "requests that the original program recorded without a user"
        placeholder = ImportedUser(
            id=id_,
            name=IMPORTED_USER,
            upstream_key=b"",
            comment=comment,
            created_at=self._now,
            removed_at=self._now,
        )
        await legacy_import.add_imported_users(self._acting, [placeholder], [])
        return id_

    def _warn(self, table: str, row: object, text: str, *, refused: bool = False) -> None:
        self.result.warnings.append(RowWarning(table, str(row), text, refused))
