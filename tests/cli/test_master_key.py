"""`chatgpt-agent master-key`: the key is changed while agents run, and a change that was interrupted goes on."""

import asyncio
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.key_file import new_key, only_changer, write_keys
from chatgpt_agent.adapters.keyring import read_master_key
from chatgpt_agent.adapters.migrate import known_migrations, rollback
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.admin.master_key import MasterKeyChange
from chatgpt_agent.core.access.settings import NewUser
from chatgpt_agent.core.errors import SetupError, StoreBadValue
from chatgpt_agent.runtime.master_key import master_key_path, open_keyring
from tests.conftest import MakeAgent
from tests.support.administration import ROOT
from tests.support.agent import OPENAI_KEY, Agent
from tests.support.commands import Cli, stored_key
from tests.support.database import query
from tests.support.postgres_server import url_of
from tests.support.upstream import Upstream

ROTATE = ("master-key", "rotate")
SILENT_AGENT = "INSERT INTO agents (id, seen_at, backlog) VALUES (gen_random_uuid(), now(), 0)"
MIGRATION = "0016.changed-master-key"


class Killed(Exception):
    """The end of a process, at a chosen place."""


class FailingStore:
    """A store that ends the process before a statement that encrypts keys again, after some of them."""

    def __init__(self, store: Any, encrypted: int) -> None:
        self._store = store
        self._left = encrypted

    async def fetch(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        """Runs a statement."""
        if "reencrypting" in sql:
            self._left -= 1
            if self._left < 0:
                raise Killed
        return await self._store.fetch(sql, parameters)


def beside(agent: Agent) -> Cli:
    """The program, set up as the running agent is."""
    assert agent.config.database_url is not None
    return Cli({"DATABASE_URL": url_of(agent.config.database_url), "DATA_DIR": str(agent.config.data_dir)})


async def change_of(agent: Agent, store: Any = None) -> MasterKeyChange:
    """The use case as a new command has it."""
    keyring = await open_keyring(agent.config, agent.store)
    changes = store or agent.store.with_actor(ROOT)
    return MasterKeyChange(changes, agent.store, keyring, master_key_path(agent.config))


async def sends_its_key(agent: Agent, upstream: Upstream) -> bool:
    """Whether a request of alice is answered, and OpenAI gets her key."""
    answer = await agent.chat()
    return answer.status == 200 and upstream.requests[-1].header("authorization") == f"Bearer {OPENAI_KEY}"


def key_ids(agent: Agent) -> list[str]:
    """The ids of the keys in the file."""
    return read_master_key(master_key_path(agent.config)).key_ids


# A change.


async def test_key_is_changed_while_an_agent_serves(agent: Agent, upstream: Upstream) -> None:
    """Tokens go on, every value opens with the new key alone, and the file has that one at the end."""
    [former] = key_ids(agent)
    change = asyncio.create_task(beside(agent).in_thread(*ROTATE), name="change")
    while not change.done():
        assert await sends_its_key(agent, upstream)
    await change
    check = json.loads(await beside(agent).in_thread("master-key", "check", "--json"))
    assert (check["former"], check["unusable"], check["openai_keys"], check["key_ids"][1]) == ([], [], 1, former)
    out = await beside(agent).in_thread(*ROTATE, "--finish")
    assert f"master.key.former-{former}: only backups from before the change need it" in out
    assert key_ids(agent) == check["key_ids"][:1]
    assert await sends_its_key(agent, upstream)
    assert await beside(agent).in_thread(*ROTATE, "--finish") == "Nothing to do: the key file has one key.\n"


async def test_agent_encrypts_with_the_new_key(agent: Agent, dsn: str) -> None:
    """A user who is added over REST or in the console afterwards needs no former key."""
    await (await change_of(agent)).rotate(wait=20, say=str)
    await agent.follow()
    keyring = agent.server.admin_authenticator.keyring
    [(encrypted,)] = query(dsn, "SELECT upstream_key FROM users")
    assert keyring.is_current(bytes(encrypted))
    assert keyring.is_current(keyring.encrypt(2, "sk-made-up"))


@pytest.mark.parametrize("step", ["the key is in the file", "the database uses it", "some are encrypted again"])
async def test_interrupted_change_goes_on(agent: Agent, upstream: Upstream, step: str) -> None:
    """Wherever the command was killed, requests are served, and the same command completes the change."""
    await agent.add_user("bob", "sk-made-up-key-of-bob")
    sentence = {"the key is in the file": "A new key", "the database uses it": "All agents"}.get(step)

    def say(text: str) -> None:
        if sentence and text.startswith(sentence):
            raise Killed

    store = FailingStore(agent.store.with_actor(ROOT), encrypted=1)
    with pytest.raises(Killed):
        await (await change_of(agent, store)).rotate(wait=20, say=say, batch=1)
    assert await sends_its_key(agent, upstream)
    ids = key_ids(agent)
    check = await (await change_of(agent)).rotate(wait=20, say=str)
    assert (check.is_right, check.key_ids) == (True, ids)
    assert await sends_its_key(agent, upstream)


async def test_tokens_survive_two_changes(dsn: str, cli: Cli) -> None:
    """Digests of users' and admins' tokens stay, although no former key is left."""
    token = (await cli.in_thread("user", "add", "alice", "--openai-key-stdin", stdin=OPENAI_KEY)).strip()
    admin = (await cli.in_thread("admin", "token", "carol")).strip()
    for _ in range(2):
        await cli.in_thread(*ROTATE)
        await cli.in_thread(*ROTATE, "--finish")
    async with Store(dsn) as store:
        keyring = await open_keyring(Config(data_dir=Path(cli.settings["DATA_DIR"])), store)
    assert query(dsn, "SELECT digest = %s FROM tokens", [keyring.digest(token)]) == [(True,)]
    assert query(dsn, "SELECT digest = %s FROM admins", [keyring.admin_digest(admin)]) == [(True,)]
    assert stored_key(cli) == OPENAI_KEY


def test_audit_log_has_one_entry(cli: Cli) -> None:
    """Keys that are only encrypted again are not changed."""
    cli.add_user("alice")
    before = len(json.loads(cli.ok("audit", "list", "--json")))
    cli.ok(*ROTATE)
    [newest, *others] = json.loads(cli.ok("audit", "list", "--json"))
    assert (newest["object"], newest["name"], len(others)) == ("settings", "master key", before)


async def test_reload_reads_the_key_file(agent: Agent, dsn: str) -> None:
    """The agent reports the keys at once."""
    path = master_key_path(agent.config)
    write_keys(path, [new_key(), path.read_bytes().strip()])
    agent.server.take_over(agent.config)
    await agent.until(lambda: query(dsn, "SELECT master_keys FROM agents") == [(key_ids(agent),)])


# What is refused.


def test_agent_without_the_new_key_stops_the_change(cli: Cli) -> None:
    """Nothing is encrypted with a key that a running agent does not have."""
    cli.add_user("alice")
    query(cli.settings["DATABASE_URL"], SILENT_AGENT)
    *_, line = cli.refused(*ROTATE, "--wait", "0")
    assert "these running agents do not have the new key yet: " in line
    assert "(version unknown); copy " in line
    assert query(cli.settings["DATABASE_URL"], "SELECT 1 FROM settings WHERE name = 'digest_secrets'") == []
    query(cli.settings["DATABASE_URL"], "UPDATE agents SET ended_at = now()")
    cli.ok(*ROTATE)


async def test_key_file_is_copied_to_other_machines(
    agent: Agent, make_agent: MakeAgent, upstream: Upstream, tmp_path: Path
) -> None:
    """The change waits for each running agent; with its copy it goes on, and both serve."""
    copy = tmp_path / "copy.key"
    shutil.copy(master_key_path(agent.config), copy)
    other = await make_agent(data_dir=tmp_path / "other", master_key_file=copy)
    with pytest.raises(SetupError, match=r"these running agents do not have the new key yet: .*; copy "):
        await (await change_of(agent)).rotate(wait=0.2, say=str)
    shutil.copy(master_key_path(agent.config), copy)
    assert (await (await change_of(agent)).rotate(wait=20, say=str)).is_right
    assert await sends_its_key(agent, upstream)
    assert await sends_its_key(other, upstream)


async def test_former_key_is_not_dropped_while_a_value_needs_it(agent: Agent) -> None:
    """`check` and `--finish` say what to do first."""
    store = FailingStore(agent.store.with_actor(ROOT), encrypted=0)
    with pytest.raises(Killed):
        await (await change_of(agent, store)).rotate(wait=20, say=str)
    result = await asyncio.to_thread(beside(agent).run, "master-key", "check")
    assert (result.exit_code, "1 open with a former key only" in result.stdout) == (1, True)
    with pytest.raises(SetupError, match="1 stored keys need a former master key"):
        await (await change_of(agent)).finish()
    assert len(key_ids(agent)) == 2


async def test_command_that_began_before_the_change_cannot_encrypt_with_the_former_key(agent: Agent) -> None:
    """Its key would be lost with the former master key."""
    await (await change_of(agent)).rotate(wait=20, say=str)
    with pytest.raises(StoreBadValue, match="the master key was changed a moment ago: try again"):
        await agent.administration.users.add(NewUser(name="bob", openai_key="sk-made-up"))


def test_start_with_the_former_key_alone_is_refused(cli: Cli) -> None:
    """Its machine has not got the key file."""
    cli.add_user("alice")
    path = Path(cli.settings["DATA_DIR"]) / "master.key"
    former = path.read_bytes()
    cli.ok(*ROTATE)
    path.write_bytes(former)
    assert "is not the one that this database was set up with" in cli.refused("user", "list")[-1]


async def test_second_change_at_the_same_time_is_refused(agent: Agent) -> None:
    """It could overwrite the key of the first one."""
    with (
        only_changer(master_key_path(agent.config)),
        pytest.raises(SetupError, match="another command changes the master key"),
    ):
        await (await change_of(agent)).rotate(wait=20, say=str)
    assert len(key_ids(agent)) == 1


def test_schema_is_not_rolled_back_after_a_change(cli: Cli) -> None:
    """The older program could read neither tokens nor keys."""
    cli.add_user("alice")
    cli.ok(*ROTATE)
    names = known_migrations()
    with pytest.raises(SetupError, match="the master key was changed, which the older program does not know"):
        rollback(cli.settings["DATABASE_URL"], len(names) - names.index(MIGRATION))


async def test_sessions_of_the_console_end(agent: Agent, dsn: str) -> None:
    """Their secrets were hashed with the former key."""
    insert = "INSERT INTO admin_sessions VALUES (decode(repeat('00', 32), 'hex'), %s, now(), now())"
    await agent.admin_token("carol")
    [(admin,)] = query(dsn, "SELECT id FROM admins")
    query(dsn, insert, [admin])
    await (await change_of(agent)).rotate(wait=20, say=str)
    assert query(dsn, "SELECT count(*) FROM admin_sessions") == [(0,)]
