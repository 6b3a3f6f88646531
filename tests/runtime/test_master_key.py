"""The keyring of a data directory and a database: made together, refused apart."""

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
    """A database that no key was made for yet."""
    store = Store(dsn)
    yield store
    io_loop.run_sync(store.close)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """A data directory that is not there yet."""
    return Config(data_dir=tmp_path / "data")


@pytest.fixture
def elsewhere(tmp_path: Path) -> Config:
    """A master key that is somewhere else, and not there yet."""
    return Config(data_dir=tmp_path / "data", master_key_file=tmp_path / "credentials" / "key")


async def test_the_first_start_makes_a_key(config: Config, store: Store) -> None:
    """In the data directory."""
    keyring = await open_keyring(config, store)
    assert keyring.check_value == read_master_key(config.data_dir / "master.key").check_value


async def test_the_next_start_finds_it(config: Config, store: Store) -> None:
    """It is the same key."""
    first = await open_keyring(config, store)
    assert (await open_keyring(config, store)).check_value == first.check_value


async def test_the_database_remembers_no_more_than_a_check_value(config: Config, store: Store) -> None:
    """From which no key can be had."""
    keyring = await open_keyring(config, store)
    assert await store.fetch("SELECT name, value FROM settings WHERE name <> 'time_zone'") == [
        ("master_key_check", keyring.check_value)
    ]


async def test_a_missing_key_of_a_database_that_has_one_is_refused(config: Config, store: Store) -> None:
    """A new one would make all tokens and keys useless, without a word; and none is made."""
    await open_keyring(config, store)
    master_key_path(config).unlink()
    with pytest.raises(SetupError, match=r"master\.key is missing, and this database was set up with one: restore it"):
        await open_keyring(config, store)
    assert not master_key_path(config).exists()


async def test_the_key_of_another_database_is_refused(config: Config, store: Store) -> None:
    """The database keeps the check value that it has."""
    first = await open_keyring(config, store)
    master_key_path(config).unlink()
    make_master_key(master_key_path(config))
    with pytest.raises(SetupError, match="is not the one that this database was set up with"):
        await open_keyring(config, store)
    assert await store.fetch("SELECT value FROM settings WHERE name <> 'time_zone'") == [(first.check_value,)]


async def test_a_key_that_is_there_sets_up_a_fresh_database(config: Config, store: Store) -> None:
    """As after a loss of the database."""
    config.data_dir.mkdir()
    make_master_key(master_key_path(config))
    keyring = await open_keyring(config, store)
    assert await store.fetch("SELECT value FROM settings WHERE name <> 'time_zone'") == [(keyring.check_value,)]


async def test_a_key_of_another_place_is_used(elsewhere: Config, store: Store) -> None:
    """A credential of systemd, say; the data directory is left alone."""
    assert elsewhere.master_key_file
    elsewhere.master_key_file.parent.mkdir()
    make_master_key(elsewhere.master_key_file)
    keyring = await open_keyring(elsewhere, store)
    assert keyring.check_value == read_master_key(elsewhere.master_key_file).check_value
    assert not elsewhere.data_dir.exists()


async def test_a_key_of_another_place_is_never_made(elsewhere: Config, store: Store) -> None:
    """Whoever names a file has one."""
    with pytest.raises(SetupError, match="credentials/key cannot be read"):
        await open_keyring(elsewhere, store)
    assert await store.fetch("SELECT * FROM settings WHERE name <> 'time_zone'") == []


def test_before_the_first_start_there_is_nothing_to_check(config: Config) -> None:
    """And nothing is made."""
    check_master_key_file(config)
    assert not config.data_dir.exists()


def test_a_bad_key_is_found_before_anything_else_is_started(config: Config) -> None:
    """Before the listeners are there, say."""
    config.data_dir.mkdir()
    master_key_path(config).write_bytes(b"short")
    master_key_path(config).chmod(0o600)
    with pytest.raises(SetupError, match="too short"):
        check_master_key_file(config)


def test_a_named_key_that_is_missing_is_found_as_early(elsewhere: Config) -> None:
    """It is named, so it must be there."""
    with pytest.raises(SetupError, match="cannot be read: No such file"):
        check_master_key_file(elsewhere)


def test_a_data_directory_of_another_account_is_refused(config: Config) -> None:
    """Whoever starts it as the wrong account is told so, in one line."""
    config.data_dir.mkdir(mode=0o000)
    with without_root(), pytest.raises(SetupError, match=r"master\.key cannot be read: Permission denied"):
        check_master_key_file(config)
