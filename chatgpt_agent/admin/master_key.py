"""A change of the master key while agents run.

A new key comes into the key file; once every agent has it, it is the one that encrypts; stored values are encrypted
again; and the former key leaves the file. Each step can be repeated after the process was killed.
"""

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from chatgpt_agent.adapters.key_file import KeyFile, new_key, only_changer, save_key, write_keys
from chatgpt_agent.adapters.keyring import Keyring
from chatgpt_agent.adapters.postgres.agents import AgentState, agents_without_key
from chatgpt_agent.adapters.postgres.connection import AnyStore
from chatgpt_agent.adapters.postgres.settings import announce_key, change_key, read_key_state
from chatgpt_agent.adapters.postgres.users import encrypted_keys, keys_after, reencrypt
from chatgpt_agent.core.errors import Conflict, KeyUnusable, SetupError

BATCH = 100  # OpenAI keys that are encrypted again in one transaction
POLL_SECONDS = 0.2  # between two looks at what agents have reported

Say = Callable[[str], object]


class KeyCheck(msgspec.Struct, frozen=True, kw_only=True):
    """Which stored values open with the newest key of the file alone. `key_ids`: of the keys in the file, the newest
    first; `encrypting`: the id of the key that the database uses; `openai_keys`: how many are stored; `former`: ids of
    users whose key opens with a former key only; `unusable`: of those whose key opens with none; `tokens`: whether the
    secrets by which tokens are hashed open; `agents_without`: running agents that do not have the newest key."""

    key_ids: list[str]
    encrypting: str
    openai_keys: int
    former: list[int]
    unusable: list[int]
    tokens: bool
    agents_without: list[str]

    @property
    def is_complete(self) -> bool:
        """Whether no stored value needs a former key."""
        return self.tokens and not self.former and self.encrypting == self.key_ids[0]

    @property
    def is_right(self) -> bool:
        """Whether every stored value opens, and every running agent can open it."""
        return self.is_complete and not self.unusable and not self.agents_without


class MasterKeyChange:
    """The use cases on the key file at `path`. `store` has the actor of changes, `checks` may take long."""

    def __init__(self, store: AnyStore, checks: AnyStore, keyring: Keyring, path: Path) -> None:
        self._store = store
        self._checks = checks
        self._keyring = keyring
        self._path = path

    async def rotate(self, *, wait: float, say: Say, batch: int = BATCH) -> KeyCheck:
        """Changes to a new key, or goes on with a change that was not completed. Waits up to `wait` seconds for running
        agents to have the key. `say` gets a sentence about each step. Raises SetupError: an agent does not have the
        key, the file cannot be written; Conflict: another change came first; StoreError."""
        with only_changer(self._path):
            self._add_key(say)
            if self._keyring.check_value != self._keyring.check_values[0]:
                await self._wait_for_agents(wait)
                await self._change(say)
            count = await self._reencrypt(batch)
            say(f"{count} OpenAI keys have been encrypted with the new key.")
            return await self.check()

    async def check(self) -> KeyCheck:
        """Opens every stored value with the newest key alone. Raises SetupError, StoreError."""
        masters = KeyFile(self._path).read()
        newest, every = Keyring(masters[0]), Keyring(*masters)
        state = await read_key_state(self._checks)
        tokens = True
        try:
            newest.use(state or newest.state)
        except SetupError:
            tokens = False
        keys = await encrypted_keys(self._checks)
        closed = await asyncio.to_thread(_closed, newest, keys)
        unusable = dict.fromkeys(await asyncio.to_thread(_closed, every, {id_: keys[id_] for id_ in closed}))
        return KeyCheck(
            key_ids=every.key_ids,
            encrypting=self._keyring.key_id,
            openai_keys=len(keys),
            former=[id_ for id_ in closed if id_ not in unusable],
            unusable=list(unusable),
            tokens=tokens,
            agents_without=[str(agent.id) for agent in await agents_without_key(self._checks, newest.key_ids[0])],
        )

    async def finish(self) -> list[Path]:
        """Takes the former keys out of the key file, and saves each in a file beside it: older backups need them.
        Returns these files. Raises SetupError if a stored value needs a former key; StoreError."""
        with only_changer(self._path):
            masters = KeyFile(self._path).read()
            check = await self.check()
            if not check.is_complete:
                raise SetupError(
                    f"the change is not complete, {len(check.former)} stored keys need a former master key: run "
                    "`chatgpt-agent master-key rotate`"
                )
            saved = []
            for former, id_ in zip(masters[1:], check.key_ids[1:], strict=True):
                saved.append(self._path.with_name(f"{self._path.name}.former-{id_}"))
                save_key(saved[-1], former)
            if saved:
                write_keys(self._path, masters[:1])
                await announce_key(self._store)
            return saved

    def _add_key(self, say: Say) -> None:
        masters = KeyFile(self._path).read()
        if len(masters) == 1:
            write_keys(self._path, [new_key(), *masters])
            say(f"A new key has been added to {self._path}.")
        self._keyring.refresh()

    async def _wait_for_agents(self, seconds: float) -> None:
        key_id = self._keyring.key_ids[0]
        await announce_key(self._store)
        clock = asyncio.get_running_loop().time
        until = clock() + seconds
        while agents := await agents_without_key(self._store, key_id):
            if clock() >= until:
                raise SetupError(_missing(agents, self._path))
            await asyncio.sleep(POLL_SECONDS)

    async def _change(self, say: Say) -> None:
        before, after = self._keyring.state, self._keyring.next_state()
        if not await change_key(self._store, before, after):
            if agents := await agents_without_key(self._store, after.key_id):  # one that has just started
                raise SetupError(_missing(agents, self._path))
            raise Conflict("another command has changed the master key meanwhile: run `chatgpt-agent master-key check`")
        self._keyring.use(after)
        say("All agents have the new key, and encrypt with it from now on. Admins sign in to the console again.")

    async def _reencrypt(self, batch: int) -> int:
        count, last = 0, 0
        while keys := await keys_after(self._store, last, batch):
            last = max(keys)
            pairs = await asyncio.to_thread(_pairs, self._keyring, keys)
            count += await reencrypt(self._store, pairs) if pairs else 0
        return count


def _pairs(keyring: Keyring, keys: dict[int, bytes]) -> dict[int, tuple[bytes, bytes]]:
    """Returns what is to be encrypted again, and what it becomes; without what no key opens, which `check` names."""
    pairs = {}
    for id_, sealed in keys.items():
        if not keyring.is_current(sealed):
            try:
                pairs[id_] = (sealed, keyring.encrypt(id_, keyring.decrypt(id_, sealed)))
            except KeyUnusable:
                continue
    return pairs


def _closed(keyring: Keyring, keys: dict[int, bytes]) -> list[int]:
    """Returns the ids of users whose key a keyring does not open."""
    closed = []
    for id_, sealed in keys.items():
        try:
            keyring.decrypt(id_, sealed)
        except KeyUnusable:
            closed.append(id_)
    return closed


def _missing(agents: Iterable[AgentState], path: Path) -> str:
    names = ", ".join(f"{agent.id} (version {agent.version or 'unknown'})" for agent in agents)
    return (
        f"nothing was changed yet: these running agents do not have the new key yet: {names}; copy {path} to their "
        "machines, wait half a minute or restart them, and run this again"
    )
