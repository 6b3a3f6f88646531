"""The table `model_dates`: when OpenAI shuts models down."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from chatgpt_agent.adapters.postgres.connection import AnyStore


async def list_dates(store: AnyStore) -> dict[str, date]:
    """Returns the day on which each model is shut down, of those with one."""
    rows = await store.fetch("SELECT model, shutdown_on FROM model_dates ORDER BY model")
    return {str(model): day for model, day in rows}


def set_dates_sql(dates: Mapping[str, date | None]) -> tuple[str, Sequence[Any]]:
    """Returns statements that set the days of models and remove those of models without one, and their parameters."""
    days = {model: day for model, day in dates.items() if day is not None}
    sql = """
        INSERT INTO model_dates (model, shutdown_on) SELECT new.* FROM unnest(%s::text[], %s::date[]) AS new
        ON CONFLICT (model) DO UPDATE SET shutdown_on = EXCLUDED.shutdown_on"""
    parameters: list[Any] = [list(days), list(days.values())]
    if len(days) < len(dates):
        sql += "; DELETE FROM model_dates WHERE model = ANY(%s)"
        parameters.append([model for model, day in dates.items() if day is None])
    return sql, parameters
