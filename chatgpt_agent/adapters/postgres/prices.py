"""The table `prices`, and the cost of tokens at a price, in SQL."""

import logging
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from chatgpt_agent.adapters.postgres.connection import AnyStore
from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.moments import check_moment
from chatgpt_agent.core.money.kinds import (
    CALL_COLUMNS,
    IMAGE_TOOL_COLUMNS,
    IMAGE_TOOL_KINDS,
    RATE_CHAINS,
    RATE_NAMES,
    SIDES,
    TIME_COLUMN,
    TIME_RATE,
    TOKEN_RATES,
    Rates,
    TokenKind,
    charged_parts,
)
from chatgpt_agent.core.money.pricing import TIME_PLACES, NewPrice, Price, Tier
from chatgpt_agent.core.money.surcharges import MULTIPLIER

log = logging.getLogger(__name__)

MAX_DIGITS = 40  # of an amount, before and after the point

_RATES_OF_P = ", ".join(f"p.{kind}" for kind in RATE_NAMES)
PRICE_COLUMNS = f"p.id, p.model, p.effective_at, {_RATES_OF_P}, p.tiers::text, p.cancelled_at, p.created_at"

_tiers = msgspec.json.Decoder(tuple[Tier, ...])
_encoder = msgspec.json.Encoder(decimal_format="string")


def price_from(row: Sequence[Any]) -> Price:
    """Returns the price of a row with `PRICE_COLUMNS`."""
    id_, model, effective_at, *rates, tiers, cancelled_at, created_at = row
    return Price(
        id=id_,
        model=model,
        effective_at=effective_at,
        rates=Rates(**dict(zip(RATE_NAMES, rates, strict=True))),
        tiers=_tiers.decode(tiers),
        cancelled_at=cancelled_at,
        created_at=created_at,
    )


def read_price(row: Sequence[Any]) -> Price:
    """As `price_from`. Raises InvalidValue or ValueError for a price that cannot be charged, which only an edit in SQL
    can store."""
    price = price_from(row)
    check_moment("effective_at", price.effective_at)
    for rates in (price.rates, *price.tiers):
        amounts = rates.set_rates()
        if isinstance(rates, Tier) and rates.multiplier is not None:
            amounts["multiplier"] = rates.multiplier
        elif not price.is_removed and (rates.input is None or rates.output is None):
            raise ValueError("both input and output must have a rate")
        for name, amount in amounts.items():
            check_amount(name, amount)
    return price


def check_amount(name: str, amount: Decimal) -> None:
    """Raises ValueError for an amount that cannot be computed with exactly."""
    exponent = amount.as_tuple().exponent
    if not isinstance(exponent, int) or amount < 0 or amount.adjusted() > MAX_DIGITS or exponent < -MAX_DIGITS:
        raise ValueError(f"{name}: {str(amount)[:40]} is not an amount")


async def add_prices(store: AnyStore, prices: Sequence[NewPrice], *, now: datetime) -> list[Price]:
    """Adds prices, all or none, and returns them as stored. A price supersedes earlier ones of its model from its date
    on, or from now on if it has none; a price without rates removes the model's price."""
    return [price_from(row) for row in await store.fetch(*add_prices_sql(prices, now=now))]


def add_prices_sql(prices: Sequence[NewPrice], *, now: datetime) -> tuple[str, list[Any]]:
    """Returns the statement of `add_prices`, and its parameters."""
    sql = f"""
        INSERT INTO prices AS p (model, effective_at, {", ".join(RATE_NAMES)}, tiers, created_at)
        SELECT new.*, %s FROM unnest(%s::text[], %s::timestamptz[], {", ".join(["%s::numeric[]"] * len(RATE_NAMES))},
                                     %s::jsonb[]) AS new
        RETURNING {PRICE_COLUMNS}"""
    columns = [[new.model for new in prices], [new.effective_at or now for new in prices], *price_columns(prices)]
    return sql, [now, *columns]


def price_columns(prices: Sequence[NewPrice]) -> list[list[Any]]:
    """Returns the values of rates and tiers, a list for each column."""
    tiers = [_encoder.encode(new.tiers).decode() for new in prices]
    return [*([new.rates.get(name) for new in prices] for name in RATE_NAMES), tiers]


async def list_prices(store: AnyStore, model: str | None = None) -> list[Price]:
    """Returns every price that was ever set, of all models or of one, by model and date; without those that cannot be
    read, which the log names."""
    sql = f"""
        SELECT {PRICE_COLUMNS} FROM prices p WHERE %s::text IS NULL OR p.model = %s
        ORDER BY p.model, p.effective_at, p.id"""
    prices = []
    for row in await store.fetch(sql, [model, model]):
        try:
            prices.append(read_price(row))
        except (InvalidValue, ValueError) as error:
            log.warning("prices: the row with id %d cannot be read and is left out: %s", row[0], error)
    return prices


async def price_by_id(store: AnyStore, id: int) -> Price | None:
    """Returns a price, or None if it does not exist."""
    rows = await store.fetch(f"SELECT {PRICE_COLUMNS} FROM prices p WHERE p.id = %s", [id])
    return price_from(rows[0]) if rows else None


async def cancel_price(store: AnyStore, id: int, now: datetime) -> Price | None:
    """Cancels a price of a later date, and returns it; None: there is none with this id."""
    sql = f"""
        UPDATE prices p SET cancelled_at = %s WHERE p.id = %s AND p.effective_at > %s AND p.cancelled_at IS NULL
        RETURNING {PRICE_COLUMNS}"""
    rows = await store.fetch(sql, [now, id, now])
    return price_from(rows[0]) if rows else None


async def end_prices(store: AnyStore, model: str, *, now: datetime, in_force: bool) -> list[Price]:
    """Cancels all prices of a model that are of a later date, and returns them; if one is `in_force`, ends it."""
    sql = f"""
        WITH cancelled AS (
            UPDATE prices p SET cancelled_at = %s WHERE p.model = %s AND p.effective_at > %s AND p.cancelled_at IS NULL
            RETURNING {PRICE_COLUMNS}
        ), ended AS (
            INSERT INTO prices (model, effective_at, created_at) SELECT %s, %s, %s WHERE %s
        )
        SELECT * FROM cancelled ORDER BY effective_at, id"""
    return [price_from(row) for row in await store.fetch(sql, [now, model, now, model, now, now, in_force])]


async def priced_models(store: AnyStore) -> set[str]:
    """Returns the models that have or had a price."""
    return {str(model) for (model,) in await store.fetch("SELECT DISTINCT model FROM prices")}


def _chain(relation: str, name: str) -> str:
    return f"coalesce({', '.join(f'{relation}.{each}' for each in RATE_CHAINS[name])})"


def _tier(price: str, names: str, inputs: str) -> str:
    """Returns a subquery with the tier of a price that charges an answer with so many input tokens: one of the service
    tiers that `names` is true for."""
    return f"""(
        SELECT t.* FROM jsonb_to_recordset({price}.tiers) AS t(
            service_tier text, above bigint, multiplier numeric, {", ".join(f"{name} numeric" for name in TOKEN_RATES)}
        )
        WHERE ({names}) AND (coalesce(t.above, 0) = 0 OR t.above < {inputs})
        ORDER BY coalesce(t.above, 0) DESC, t.service_tier IS NOT NULL DESC LIMIT 1
    )"""


def _rate(price: str, tier: str, name: str) -> str:
    """Returns the rate of this name: that of the tier if it has rates of its own, else that of the price."""
    return f"CASE WHEN {tier}.input IS NULL THEN {_chain(price, name)} ELSE {_chain(tier, name)} END"


def _left(side: str, parts: Sequence[TokenKind]) -> str:
    """Returns the tokens of a side without these parts."""
    return " - ".join([f"r.{side}_tokens", *(f"part_{part.name}.count" for part in parts)])


def _part(kind: TokenKind) -> str:
    """Returns a join with the count of this kind, at most what the parts charged before it leave."""
    parts = charged_parts(kind.side)
    left = _left(kind.side, parts[: parts.index(kind)])
    names = (kind.column, *(f"{name}_tokens" for name in kind.without))
    count = " - ".join(f"coalesce(r.{name}, 0)" for name in names)
    if kind.without:
        count = f"greatest({count}, 0)"
    return f"""CROSS JOIN LATERAL (
        SELECT least({count}, {left}) AS count
    ) part_{kind.name}"""


def _side_cost(side: str) -> str:
    """Returns the cost of the tokens of a side in USD times a million, each token charged once."""
    parts = charged_parts(side)
    own = (f"part_{part.name}.count * rate.{part.rate}" for part in parts)
    return " + ".join([*own, f"({_left(side, parts)}) * rate.{side}"])


def _image_tool_cost() -> str:
    """Returns the cost of the image tool's tokens at the price `ip`, in USD times a million. The kinds of one side are
    parts of it that come one after the other, as in `_side_cost`."""
    terms = []
    for side in SIDES:
        left = f"coalesce(r.image_tool_{side}_tokens, 0)"
        for kind in charged_parts(side):
            if kind not in IMAGE_TOOL_KINDS:
                continue
            names = (kind.column, *(f"{name}_tokens" for name in kind.without))
            count = " - ".join(
                f"coalesce(r.image_tool_{name}, 0)" for name in names if f"image_tool_{name}" in IMAGE_TOOL_COLUMNS
            )
            part = f"least(greatest({count}, 0), {left})"
            terms.append(f"{part} * {_rate('ip', 'image_tier', str(kind.rate))}")
            left = f"({left} - {part})"
        terms.append(f"{left} * {_rate('ip', 'image_tier', side)}")
    return " + ".join(terms)


_TIME_SCALE, _TIME_UNIT = 10**TIME_PLACES, Decimal(1).scaleb(-TIME_PLACES)
# Selects the model that drew for the image tool in a row `r`, and the cost of its tokens in USD, without a multiplier.
IMAGE_TOOL_SQL = f"""
        SELECT ip.model, 0.000001 * coalesce(image_tier.multiplier, 1) * ({_image_tool_cost()}) AS cost
        FROM prices ip
        LEFT JOIN LATERAL {_tier("ip", "t.service_tier IS NULL", "r.image_tool_input_tokens")} image_tier
            ON ip.tiers <> '[]'
        WHERE ip.id = r.image_price_id"""
_CALLS = "\n".join(f"WHEN '{kind}' THEN s.amount * coalesce(r.{column}, 0)" for kind, column in CALL_COLUMNS.items())

# Computes `due.cost` for rows `r` with the columns of usage and their price `p`. It repeats the rule of core/money: the
# check of the ledger compares the two implementations.
COST_SQL = f"""
    LEFT JOIN LATERAL {_tier("p", "t.service_tier IS NULL OR t.service_tier = r.service_tier", "r.input_tokens")} tier
        ON p.tiers <> '[]'
    CROSS JOIN LATERAL (SELECT {", ".join(f"{_rate('p', 'tier', name)} AS {name}" for name in TOKEN_RATES)}) rate
    {" ".join(_part(kind) for side in SIDES for kind in charged_parts(side))}
    LEFT JOIN LATERAL (
        SELECT sum(s.amount) FILTER (WHERE s.kind = '{MULTIPLIER}') AS multiplier,
               sum(CASE s.kind {_CALLS} END) AS calls
        FROM surcharges s WHERE s.id = ANY(r.surcharge_ids)
    ) extra ON r.surcharge_ids IS NOT NULL
    LEFT JOIN LATERAL ({IMAGE_TOOL_SQL}
    ) drawn ON r.image_price_id IS NOT NULL
    CROSS JOIN LATERAL (
        SELECT coalesce(extra.multiplier, 1) * (
            coalesce(0.000001 * coalesce(tier.multiplier, 1) * (
                {" + ".join(map(_side_cost, SIDES))}
            ), 0)
            + CASE WHEN r.{TIME_COLUMN} IS NULL OR p.{TIME_RATE} IS NULL THEN 0
                   ELSE div(r.{TIME_COLUMN} * p.{TIME_RATE} * {_TIME_SCALE} + 30, 60) * {_TIME_UNIT:f} END
            + coalesce(drawn.cost, 0)
        ) + coalesce(extra.calls, 0) AS cost
    ) due"""
