"""Moving over from the original program: its users, prices and history become ours. Taking them over again adds what is
new there and changes nothing else."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal

import msgspec

from chatgpt_agent.adapters.keyring import Keyring
from chatgpt_agent.adapters.postgres import legacy, legacy_import
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.legacy import LegacyStore
from chatgpt_agent.adapters.postgres.legacy_import import ImportedRequest, ImportedToken, ImportedUser, UserKey
from chatgpt_agent.adapters.postgres.prices import add_prices, priced_models
from chatgpt_agent.adapters.postgres.usage import ensure_partition
from chatgpt_agent.adapters.postgres.users import next_user_ids
from chatgpt_agent.core import legacy as rules
from chatgpt_agent.core.audit import Actor
from chatgpt_agent.core.errors import KeyUnusable
from chatgpt_agent.core.legacy import IMPORTED_USER, OldRequest, OldUser
from chatgpt_agent.core.money.pricing import NewPrice

BATCH = 2000  # rows of the history in one transaction
LABEL = "imported"


class Counts(msgspec.Struct):
    """What became of a table's rows."""

    read: int = 0
    added: int = 0
    there: int = 0
    refused: int = 0


class ImportWarning(msgspec.Struct, frozen=True):
    """Something about a row that an administrator should know. `refused`: it was not taken over."""

    table: str
    row: str
    text: str
    refused: bool = False


class ImportResult(msgspec.Struct):
    """What was taken over, or would be."""

    tables: dict[str, Counts]
    notes: list[ImportWarning]
    cost: Decimal = Decimal(0)  # USD, of the rows of the history that were added

    @property
    def refused(self) -> bool:
        """Whether any row could not be taken over."""
        return any(counts.refused for counts in self.tables.values())


class LegacyImport:
    """One run. With `dry_run` nothing is changed, and the counts are of what would be."""

    def __init__(
        self, old: LegacyStore, store: Store, keyring: Keyring, actor: Actor, *, dry_run: bool = False
    ) -> None:
        self._old = old
        self._store = store
        self._acting = store.with_actor(actor)
        self._keyring = keyring
        self._dry_run = dry_run
        self._now = datetime.now(UTC)
        self._owners: dict[int, tuple[int, int]] = {}  # user and token of ours, by the id in sys_user_token
        self.result = ImportResult({table: Counts() for table in legacy.TABLES}, [])

    async def run(self, begin: Callable[[int], None], advance: Callable[[int], None]) -> ImportResult:
        """Takes everything over. `begin` is told how many rows the history has, `advance` how many more are done.
        Raises SetupError, StoreError; what was taken over by then stays, and the next run goes on."""
        await self._old.check()
        await self._move_users()
        await self._move_prices()
        begin(await self._old.count_requests())
        await self._move_history(advance)
        return self.result

    # Users and tokens.

    async def _move_users(self) -> None:
        counts = self.result.tables["sys_user_token"]
        rows: dict[bytes, OldUser] = {}
        for old in await self._old.users():
            counts.read += 1
            fault = rules.user_fault(old)
            digest = b"" if fault else self._keyring.digest(old.local_token or "")
            if digest in rows:
                fault = f"its local_token is that of row {rows[digest].id}, too"
            if fault:
                counts.refused += 1
                self._note("sys_user_token", old.id, fault, refused=True)
            else:
                rows[digest] = old
        known = await legacy_import.token_owners(self._store, rows)
        users, tokens = await self._plan({digest: old for digest, old in rows.items() if digest not in known})
        counts.there, counts.added = len(known), len(tokens)
        if tokens and not self._dry_run:
            await legacy_import.add_imported_users(self._acting, users, tokens)
            known = await legacy_import.token_owners(self._store, rows)
        self._owners = {rows[digest].id: ids for digest, ids in known.items()}

    async def _plan(self, rows: dict[bytes, OldUser]) -> tuple[list[ImportedUser], list[ImportedToken]]:
        """The users and tokens to add. A name that is there with the same key gets one more token."""
        people = await legacy_import.user_keys(self._store)
        keys: dict[str, str | None] = {}  # of the names that were looked at
        ids = await next_user_ids(self._store, len(rows)) if rows and not self._dry_run else []
        spare = iter(ids)
        users: list[ImportedUser] = []
        tokens: list[ImportedToken] = []
        for digest, old in rows.items():
            token, key = old.local_token or "", (old.gpt_token or "").strip()
            wanted = rules.user_name(old)
            for name in rules.numbered(wanted):
                if name not in people:
                    keys[name] = key
                    people[name] = UserKey(next(spare, 0), b"")
                    users.append(self._new_user(people[name].id, name, key, old))
                    break
                if name not in keys:
                    keys[name] = self._open(people[name])
                if keys[name] == key:
                    break
            if name != (old.name or ""):
                self._note("sys_user_token", old.id, f"its user is {name!r} here")
            if rules.is_weak(token):
                self._note("sys_user_token", old.id, f"its token has only {len(token)} characters: give {name} another")
            tokens.append(
                ImportedToken(
                    user_id=people[name].id,
                    digest=digest,
                    token_prefix=rules.token_prefix(token),
                    label=LABEL,
                    created_at=old.create_time or self._now,
                )
            )
        return users, tokens

    def _new_user(self, id: int, name: str, key: str, old: OldUser) -> ImportedUser:
        comment = "".join(char for char in old.comment or "" if char.isprintable()).strip()
        encrypted = self._keyring.encrypt(id, key)
        return ImportedUser(
            id=id, name=name, upstream_key=encrypted, comment=comment, created_at=old.create_time or self._now
        )

    def _open(self, user: UserKey) -> str | None:
        try:
            return self._keyring.decrypt(user.id, user.encrypted) if user.encrypted else None
        except KeyUnusable:  # counts as a different key
            return None

    # Prices.

    async def _move_prices(self) -> None:
        counts = self.result.tables["sys_config"]
        config = await self._old.config()
        added, faults = rules.prices(config, await self._old.old_prices(), self._now)
        priced = await priced_models(self._store)
        new = [price for price in added if price.model not in priced]
        for name, fault in faults.items():
            self._note("sys_config", name, fault, refused=True)
        models = {price.model for price in added}
        counts.read = len(config)
        for line in config:
            model = line.key.removesuffix("_input").removesuffix("_output")
            if line.key in faults or model not in models:
                counts.refused += 1
            elif model in priced:
                counts.there += 1
            else:
                counts.added += 1
        if new and not self._dry_run:
            prices = [NewPrice(price.model, price.rates, effective_at=price.effective_at) for price in new]
            await add_prices(self._acting, prices, now=self._now)

    # The history.

    async def _move_history(self, advance: Callable[[int], None]) -> None:
        counts = self.result.tables["sys_model_request"]
        owner = await self._old.owner_column()
        months: set[tuple[int, int]] = set()
        after: int | None = None
        unpriced = 0
        while page := await self._old.requests(after, BATCH, owner):
            after = page[-1].id
            counts.read += len(page)
            taken = self._checked(page)
            unpriced += sum(old.price is None for old in taken)
            nobody = any(old.owner not in self._owners for old in taken) and not self._dry_run
            imported = await self._imported_user() if nobody else 0
            rows = [self._new_request(old, imported) for old in taken]
            new = await self._take(rows, months)
            counts.added += new
            counts.there += len(rows) - new
            advance(len(page))
        if unpriced:
            self._note("sys_model_request", "", f"{unpriced} rows have no price there, and cost nothing here")

    def _checked(self, page: Sequence[OldRequest]) -> list[OldRequest]:
        taken = []
        for old in page:
            fault = rules.request_fault(old)
            if fault:
                self.result.tables["sys_model_request"].refused += 1
                self._note("sys_model_request", old.id, fault, refused=True)
            else:
                taken.append(old)
        return taken

    def _new_request(self, old: OldRequest, imported: int) -> ImportedRequest:
        assert old.timestamp is not None
        assert old.model is not None
        user, token = self._owners.get(old.owner or 0, (imported, 0))
        return ImportedRequest(
            request_id=rules.row_id(old),
            user_id=user,
            token_id=token,
            model=old.model,
            upstream_id=old.remote_id,
            input_tokens=old.prompt_tokens,
            output_tokens=old.completion_tokens,
            cost=old.price or Decimal(0),
            started_at=old.timestamp,
        )

    async def _take(self, rows: list[ImportedRequest], months: set[tuple[int, int]]) -> int:
        if self._dry_run:
            return len(rows) - await legacy_import.count_imported_requests(self._store, rows)
        for row in rows:
            moment = row.started_at.astimezone(UTC)
            if (moment.year, moment.month) not in months:
                await ensure_partition(self._store, moment)
                months.add((moment.year, moment.month))
        return await legacy_import.add_imported_requests(self._store, rows) if rows else 0

    async def _imported_user(self) -> int:
        """The user of rows whose own nobody knows: removed, so that nobody can be them."""
        found = (await legacy_import.user_keys(self._store)).get(IMPORTED_USER)
        if found is not None:
            return found.id
        [id_] = await next_user_ids(self._store, 1)
        comment = "requests that the original program kept without a name"
        user = ImportedUser(
            id=id_,
            name=IMPORTED_USER,
            upstream_key=b"",
            comment=comment,
            created_at=self._now,
            removed_at=self._now,
        )
        await legacy_import.add_imported_users(self._acting, [user], [])
        return id_

    def _note(self, table: str, row: object, text: str, *, refused: bool = False) -> None:
        self.result.notes.append(ImportWarning(table, str(row), text, refused))
