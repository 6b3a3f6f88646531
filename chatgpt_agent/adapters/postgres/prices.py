"""Prices as PostgreSQL keeps them, and what tokens cost at them, said in SQL."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from chatgpt_agent.adapters.postgres.connection import AnyStore
from chatgpt_agent.core.money.pricing import KINDS, NewPrice, Price, Rates, Tier

PRICE_COLUMNS = f"p.id, p.model, p.effective_at, {', '.join(f'p.{kind}' for kind in KINDS)}, p.tiers::text"

_tiers = msgspec.json.Decoder(tuple[Tier, ...])
_encoder = msgspec.json.Encoder(decimal_format="string")


def price_of(line: Sequence[Any]) -> Price:
    """The price of a line of `PRICE_COLUMNS`."""
    id_, model, effective_at, *rates, tiers = line
    return Price(id_, model, effective_at, **dict(zip(KINDS, rates, strict=True)), tiers=_tiers.decode(tiers))


async def add_price(
    store: AnyStore, *, model: str, effective_at: datetime, rates: Rates, tiers: Sequence[Tier] = (), now: datetime
) -> None:
    """Adds a price that supersedes earlier ones from its date on; with no rates, it takes the price away."""
    await add_prices(store, [NewPrice(model, rates, tuple(tiers), effective_at)], now=now)


async def add_prices(store: AnyStore, prices: Sequence[NewPrice], *, now: datetime) -> None:
    """Adds prices in one statement: all of them, or none. Without a date they take effect now."""
    sql = f"""
        INSERT INTO prices (model, effective_at, {", ".join(KINDS)}, tiers, created_at)
        SELECT new.*, %s FROM unnest(%s::text[], %s::timestamptz[], {", ".join(["%s::numeric[]"] * len(KINDS))},
                                     %s::jsonb[]) AS new"""
    columns = [[new.model for new in prices], [new.effective_at or now for new in prices], *price_columns(prices)]
    await store.fetch(sql, [now, *columns])


def price_columns(prices: Sequence[NewPrice]) -> list[list[Any]]:
    """The columns of rates and tiers."""
    tiers = [_encoder.encode(new.tiers).decode() for new in prices]
    return [*([getattr(new.rates, kind) for new in prices] for kind in KINDS), tiers]


async def list_prices(store: AnyStore) -> list[Price]:
    """Every price that ever was, by model and date."""
    sql = f"SELECT {PRICE_COLUMNS} FROM prices p ORDER BY p.model, p.effective_at, p.id"
    return [price_of(line) for line in await store.fetch(sql)]


def _rate(kind: str) -> str:
    """The rate of a kind of token: that of the tier which has rates of its own, else the price's."""
    side = "output" if kind.endswith("output") else "input"
    return f"""CASE WHEN tier.input IS NULL THEN coalesce(p.{kind}, p.{side})
                    ELSE coalesce(tier.{kind}, tier.{side}) END AS {kind}"""


# For rows `r` with the columns of usage and their price `p`: `due.cost`, as core.pricing computes it. The proof of the
# ledger relies on it being said twice, in two languages.
DUE = f"""
    LEFT JOIN LATERAL (
        SELECT t.* FROM jsonb_to_recordset(p.tiers)
            AS t(service_tier text, above bigint, multiplier numeric, {", ".join(f"{kind} numeric" for kind in KINDS)})
        WHERE (t.service_tier IS NULL OR t.service_tier = r.service_tier)
          AND (coalesce(t.above, 0) = 0 OR t.above < r.input_tokens)
        ORDER BY coalesce(t.above, 0) DESC, t.service_tier IS NOT NULL DESC LIMIT 1
    ) tier ON p.tiers <> '[]'
    CROSS JOIN LATERAL (SELECT {", ".join(map(_rate, KINDS))}) rate
    CROSS JOIN LATERAL (
        SELECT least(coalesce(r.cached_tokens, 0), r.input_tokens) AS cached
    ) c CROSS JOIN LATERAL (
        SELECT least(coalesce(r.cache_write_tokens, 0), r.input_tokens - c.cached) AS written
    ) w CROSS JOIN LATERAL (
        SELECT least(coalesce(r.audio_input_tokens, 0), r.input_tokens - c.cached - w.written) AS heard,
               least(coalesce(r.audio_output_tokens, 0), r.output_tokens) AS spoken
    ) a CROSS JOIN LATERAL (
        SELECT least(coalesce(r.image_input_tokens, 0), r.input_tokens - c.cached - w.written - a.heard) AS seen,
               least(coalesce(r.image_output_tokens, 0), r.output_tokens - a.spoken) AS drawn
    ) i CROSS JOIN LATERAL (
        SELECT coalesce(0.000001 * coalesce(tier.multiplier, 1) * (
            c.cached * rate.cached_input + w.written * rate.cache_write + a.heard * rate.audio_input
            + i.seen * rate.image_input + (r.input_tokens - c.cached - w.written - a.heard - i.seen) * rate.input
            + a.spoken * rate.audio_output + i.drawn * rate.image_output
            + (r.output_tokens - a.spoken - i.drawn) * rate.output), 0) AS cost
    ) due"""
