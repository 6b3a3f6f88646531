"""The master key of a data directory and of a database: made at the first start, and refused if they do not match."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop

from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.keyring import make_master_key, read_master_key
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.core.errors import SetupError
from chatgpt_agent.runtime.master_key import check_master_key_file, master_key_path, open_keyring
from tests.support.full_disk import without_root


@pytest.fixture
def store(io_loop: IOLoop, dsn: str) -> Iterator[Store]:
    """A database without a master key."""
    store = Store(dsn)
    yield store
    io_loop.run_sync(store.close)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """A data directory that does not exist yet."""
    return Config(data_dir=tmp_path / "data")


@pytest.fixture
def elsewhere(tmp_path: Path) -> Config:
    """A configured path of the master key where no file exists yet."""
    return Config(data_dir=tmp_path / "data", master_key_file=tmp_path / "credentials" / "key")


async def test_the_first_start_creates_a_key(config: Config, store: Store) -> None:
    """The key is written to the data directory."""
    keyring = await open_keyring(config, store)
    assert keyring.check_value == read_master_key(config.data_dir / "master.key").check_value


async def test_the_next_start_uses_the_same_key(config: Config, store: Store) -> None:
    """The key of the first start is read again."""
    first = await open_keyring(config, store)
    assert (await open_keyring(config, store)).check_value == first.check_value


async def test_the_database_stores_only_a_check_value(config: Config, store: Store) -> None:
    """The key itself is not in the database."""
    keyring = await open_keyring(config, store)
    assert await store.fetch("SELECT name, value FROM settings WHERE name <> 'time_zone'") == [
        ("master_key_check", keyring.check_value)
    ]


async def test_a_missing_key_of_a_database_that_has_one_is_refused(config: Config, store: Store) -> None:
    """No new key is created: it would make all tokens and OpenAI keys unusable."""
    await open_keyring(config, store)
    master_key_path(config).unlink()
    with pytest.raises(SetupError, match=r"master\.key is missing, and this database was set up with one: restore it"):
        await open_keyring(config, store)
    assert not master_key_path(config).exists()


async def test_the_key_of_another_database_is_refused(config: Config, store: Store) -> None:
    """The check value in the database stays as it is."""
    first = await open_keyring(config, store)
    master_key_path(config).unlink()
    make_master_key(master_key_path(config))
    with pytest.raises(SetupError, match="is not the one that this database was set up with"):
        await open_keyring(config, store)
    assert await store.fetch("SELECT value FROM settings WHERE name <> 'time_zone'") == [(first.check_value,)]


async def test_an_existing_key_sets_up_a_fresh_database(config: Config, store: Store) -> None:
    """After the loss of a database, a new one is set up with the old key."""
    config.data_dir.mkdir()
    make_master_key(master_key_path(config))
    keyring = await open_keyring(config, store)
    assert await store.fetch("SELECT value FROM settings WHERE name <> 'time_zone'") == [(keyring.check_value,)]


async def test_a_key_file_from_the_configuration_is_used(elsewhere: Config, store: Store) -> None:
    """With a key file such as a systemd credential, none is created in the data directory."""
    assert elsewhere.master_key_file
    elsewhere.master_key_file.parent.mkdir()
    make_master_key(elsewhere.master_key_file)
    keyring = await open_keyring(elsewhere, store)
    assert keyring.check_value == read_master_key(elsewhere.master_key_file).check_value
    assert not elsewhere.data_dir.exists()


async def test_a_key_file_from_the_configuration_is_never_created(elsewhere: Config, store: Store) -> None:
    """A configured file that is missing is an error."""
    with pytest.raises(SetupError, match="credentials/key cannot be read"):
        await open_keyring(elsewhere, store)
    assert await store.fetch("SELECT * FROM settings WHERE name <> 'time_zone'") == []


def test_check_before_the_first_start_passes(config: Config) -> None:
    """The check creates neither a key nor a directory."""
    check_master_key_file(config)
    assert not config.data_dir.exists()


def test_check_refuses_an_invalid_key(config: Config) -> None:
    """A bad key is found before the agent listens."""
    config.data_dir.mkdir()
    master_key_path(config).write_bytes(b"short")
    master_key_path(config).chmod(0o600)
    with pytest.raises(SetupError, match="too short"):
        check_master_key_file(config)


def test_check_refuses_a_missing_key_file_from_the_configuration(elsewhere: Config) -> None:
    """A configured file must exist."""
    with pytest.raises(SetupError, match="cannot be read: No such file"):
        check_master_key_file(elsewhere)


def test_check_refuses_a_data_directory_of_another_account(config: Config) -> None:
    """An agent that runs as the wrong account fails with one line that says so."""
    config.data_dir.mkdir(mode=0o000)
    with without_root(), pytest.raises(SetupError, match=r"master\.key cannot be read: Permission denied"):
        check_master_key_file(config)
