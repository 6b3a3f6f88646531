"""The keyring: data directory and database get the same master key at the first start, and must match from then on: the
key file has the key that the database uses, alone or beside others."""

from pathlib import Path

from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.files import file_exists, make_folder
from chatgpt_agent.adapters.keyring import Keyring, make_master_key, read_master_key
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.settings import master_key_check, read_key_state
from chatgpt_agent.core.errors import SetupError


def master_key_path(config: Config) -> Path:
    """The path of the master key."""
    return config.master_key_file or config.data_dir / "master.key"


def check_master_key_file(config: Config) -> None:
    """Raises SetupError if the key file exists and cannot be used, before anything else is started."""
    path = master_key_path(config)
    if config.master_key_file is not None or _exists(path):
        read_master_key(path)


async def open_keyring(config: Config, store: Store) -> Keyring:
    """The keyring; at the very first start, a new one. Raises SetupError if key and database do not match."""
    path = master_key_path(config)
    if not _exists(path) and config.master_key_file is None:
        if await master_key_check(store) is not None:
            raise SetupError(f"the master key {path} is missing, and this database was set up with one: restore it")
        make_folder(path.parent)
        make_master_key(path)
    keyring = read_master_key(path)
    await master_key_check(store, keyring.check_value)
    state = await read_key_state(store)
    if state is not None and state.check_value not in keyring.check_values:
        raise SetupError(f"the master key {path} is not the one that this database was set up with")
    keyring.use(state or keyring.state)
    return keyring


def keyring_if_present(config: Config) -> Keyring | None:
    """The keyring, or None where this account cannot read the master key."""
    try:
        return read_master_key(master_key_path(config))
    except SetupError:
        return None


def _exists(path: Path) -> bool:
    try:
        return file_exists(path)
    except OSError as error:  # such as in a folder of another account
        raise SetupError(f"the master key {path} cannot be read: {error.strerror}") from None
