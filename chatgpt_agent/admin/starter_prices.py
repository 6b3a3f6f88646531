"""Prices of common models to begin with, so that a new installation need not look for a list.

The rates are those of LiteLLM's list of November 2026 (litellm 1.110.2, `model_prices_and_context_window`, MIT), in the
format of `price export`. They are a start: an admin compares them with OpenAI's own page, or imports a newer list."""

import functools
from pathlib import Path

from chatgpt_agent.core.money.price_files import PriceFile, read_prices, select_models

DATE = "2026-11"  # of the list
FILE = Path(__file__).with_name("starter_prices.csv")


@functools.cache
def starter_prices(models: tuple[str, ...] = ()) -> PriceFile:
    """Returns the prices of these models, or of all, for `PriceImport.compare`."""
    return read_prices(FILE.read_bytes(), FILE.name, select_models(models))
