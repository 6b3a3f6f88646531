"""The use cases of administrators on a database, without an agent."""

from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.keyring import Keyring
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.admin.administration import Administration, Stores
from chatgpt_agent.core.audit import Actor, Via

KEYRING = Keyring(b"m" * 32)
ROOT = Actor("root", Via.COMMAND, "test")


def administration_on(dsn: str, keyring: Keyring = KEYRING, actor: Actor = ROOT) -> Administration:
    """Use cases on one connection; close `administration.stores` at the end."""
    store = Store(dsn)
    return Administration(Config(), Stores(changes=store, reports=store, proofs=store, checks=store), actor, keyring)
