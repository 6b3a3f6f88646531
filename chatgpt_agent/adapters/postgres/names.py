"""The names that exist, for messages about one that does not."""

from chatgpt_agent.adapters.postgres.connection import AnyStore

_MODELS = "SELECT model FROM prices UNION SELECT model FROM usage_daily"
_ACTORS = "SELECT actor FROM audit_log UNION SELECT name FROM admins"


async def user_names(store: AnyStore) -> list[str]:
    """Returns the names of all users, also of removed ones."""
    return await _names(store, "SELECT name FROM users")


async def model_names(store: AnyStore) -> list[str]:
    """Returns the models that have or had a price, or usage."""
    return await _names(store, _MODELS)


async def actor_names(store: AnyStore) -> list[str]:
    """Returns the administrators and accounts that have changed something, or could."""
    return await _names(store, _ACTORS)


async def has_model(store: AnyStore, model: str) -> bool:
    """Returns whether a model has or had a price, or usage."""
    # Without EXISTS, of which PostgreSQL drops the columns: Citus cannot collect rows without any from its servers.
    sql = """
        SELECT model FROM prices WHERE model = %s
        UNION ALL SELECT model FROM usage_daily WHERE model = %s LIMIT 1"""
    return bool(await store.fetch(sql, [model, model]))


async def _names(store: AnyStore, sql: str) -> list[str]:
    return sorted(str(name) for (name,) in await store.fetch(sql))
