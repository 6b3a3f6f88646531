"""Migration 0011, up and down, leaves what a database had before as it was: rows, prices, sums, costs and exports."""

import csv
import io
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from psycopg2.extras import Json

from chatgpt_agent.adapters.migrate import known_migrations, migrate, rollback
from chatgpt_agent.core.money.kinds import Rates
from chatgpt_agent.core.money.pricing import NewPrice, Tier
from chatgpt_agent.core.usage import Usage
from tests.support.commands import Cli
from tests.support.database import query
from tests.support.factories import NOON, request_id, this_month_and_next
from tests.support.postgres_server import url_of
from tests.support.prices import amounts, counts, exact_cost, multipliers

pytestmark = pytest.mark.slow

NEW = len(known_migrations()) - known_migrations().index("0011.kinds-of-2026")  # migrations from this one on
OLD_RATES = (
    "cached_input", "cache_write", "audio_input", "image_input", "audio_output", "image_output",
)  # fmt: skip
INPUT_PARTS = ("cached", "cache_write", "audio_input", "image_input")
OUTPUT_PARTS = ("reasoning", "audio_output", "image_output")
TIERS = (None, "flex", "priority", "fast", "batch")
# Rows of all examples stay in one database, so that a smaller example would be another one: nothing is shrunk.
KEEP = settings(max_examples=4, phases=[Phase.explicit, Phase.generate])


@st.composite
def old_rates(draw: st.DrawFn) -> dict[str, Decimal]:
    """Draws rates that the version before could store."""
    kinds = draw(st.lists(st.sampled_from(OLD_RATES), unique=True))
    return {kind: draw(amounts) for kind in ("input", "output", *kinds)}


@st.composite
def old_prices(draw: st.DrawFn) -> NewPrice:
    """Draws a price that the version before could store."""
    when = st.tuples(st.sampled_from(TIERS), st.sampled_from([0, 10, 272_000])).filter(lambda each: each != (None, 0))
    effect: Any = st.fixed_dictionaries({"multiplier": multipliers}) | old_rates()
    conditions = draw(st.lists(when, unique=True, max_size=3))
    tiers = tuple(Tier(service_tier=name, above=above, **draw(effect)) for name, above in conditions)
    return NewPrice("m", Rates(**draw(old_rates())), tiers)


@st.composite
def old_usages(draw: st.DrawFn) -> Usage:
    """Draws counts that the version before could store."""
    inputs, outputs = draw(counts), draw(counts)
    parts: dict[str, Any] = {kind: min(draw(counts), inputs) for kind in INPUT_PARTS}
    parts |= {kind: min(draw(counts), outputs) for kind in OUTPUT_PARTS}
    return Usage(input=inputs, output=outputs, **parts)


class OldRow(NamedTuple):
    """A row of the version before: its state, counts where they are known, the service tier of the answer."""

    state: str
    usage: Usage | None
    service_tier: str | None


old_rows = st.lists(
    st.builds(OldRow, st.just("done"), old_usages(), st.sampled_from(TIERS))
    | st.builds(OldRow, st.sampled_from(["unknown", "usage_unknown", "not_sent"]), st.none(), st.none()),
    min_size=1,
    max_size=12,
)


class OldDatabase:
    """A database that is migrated to before 0011, and filled as the version before did, with SQL."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.rows = 0

    def add_price(self, price: NewPrice) -> int:
        """Adds a price; returns its id."""
        rates = price.rates.set_rates()
        tiers = [_plain(tier) for tier in price.tiers]
        sql = f"""
            INSERT INTO prices (model, effective_at, created_at, tiers, {", ".join(rates)})
            VALUES (%s, %s, %s, %s, {", ".join(["%s"] * len(rates))}) RETURNING id"""
        [(id_,)] = query(self.dsn, sql, [price.model, NOON, NOON, Json(tiers), *rates.values()])
        return int(id_)

    def add(self, price_id: int, price: NewPrice, row: OldRow) -> None:
        """Adds a row with its cost at a price."""
        self.rows += 1
        cost = Fraction(0) if row.usage is None else exact_cost(price, row.usage, row.service_tier)
        tokens = {} if row.usage is None else _counts(row.usage)
        values = {
            "request_id": str(request_id(self.rows)),
            "user_id": 1 + self.rows % 3,
            "token_id": 1,
            "endpoint": "/v1/chat/completions",
            "model": price.model,
            "service_tier": row.service_tier,
            "price_id": price_id,
            "cost": _decimal(cost),
            "uncertain_cost": Decimal("0.5") if row.state == "unknown" else Decimal(0),
            "state": row.state,
            "client_closed": False,
            "streamed": False,
            "started_at": NOON + timedelta(minutes=self.rows),
            **tokens,
        }
        places = ", ".join(["%s"] * len(values))
        query(self.dsn, f"INSERT INTO usage ({', '.join(values)}) VALUES ({places})", list(values.values()))

    def content(self, columns: "Columns | None" = None) -> "tuple[Columns, dict[str, list[Any]]]":
        """Returns every row of every table as text; of `columns`, where tables have others since."""
        sql = """
            SELECT table_name::text, array_agg(column_name::text ORDER BY ordinal_position)
            FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name)
            WHERE table_schema = current_schema() AND table_type = 'BASE TABLE' AND table_name NOT LIKE '%%yoyo%%'
              AND table_name NOT LIKE 'usage\\_2%%' GROUP BY 1"""
        columns = dict(query(self.dsn, sql)) if columns is None else columns
        rows = {}
        for table, names in columns.items():
            texts = ", ".join(f"{name}::text" for name in names)
            rows[table] = query(self.dsn, f"SELECT {texts} FROM {table} ORDER BY {texts}")
        return columns, rows


Columns = Mapping[str, list[str]]


def _plain(tier: Tier) -> dict[str, Any]:
    amounts = tier.set_rates() | ({} if tier.multiplier is None else {"multiplier": tier.multiplier})
    return {"service_tier": tier.service_tier, "above": tier.above, **{name: str(usd) for name, usd in amounts.items()}}


def _counts(usage: Usage) -> dict[str, int]:
    names = ("input", "output", *INPUT_PARTS, *OUTPUT_PARTS)
    return {f"{name}_tokens": getattr(usage, name) for name in names}


def _decimal(cost: Fraction) -> Decimal:
    """Returns a fraction whose denominator is a power of ten, exactly."""
    scaled = cost * 10**22
    assert scaled.denominator == 1
    return Decimal(scaled.numerator).scaleb(-22)


def exported(cli: Cli) -> list[str]:
    """Returns the exports of rows and of prices, each as text."""
    return [cli.ok("usage", "export", "--format", "csv"), cli.ok("price", "export", "--history")]


def test_rows_prices_and_exports_of_before_stay_as_they_are(dsn: str, tmp_path: Path) -> None:
    """Upwards nothing changes in any old column, every row costs what it did, and what is exported has the old values;
    downwards everything is as before, and upwards again the exports are the same to the byte."""
    cli = Cli({"DATABASE_URL": url_of(dsn), "DATA_DIR": str(tmp_path)})
    database = OldDatabase(dsn)
    for month in (NOON, *this_month_and_next()):
        query(dsn, "SELECT ensure_usage_partition(%s::date)", [month.date()])
    exported(cli)  # the first command stores a check value of the master key

    @KEEP
    @given(old_prices(), old_rows)
    def check(price: NewPrice, rows: list[OldRow]) -> None:
        assert len(rollback(dsn, NEW)) == NEW
        id_ = database.add_price(price)
        for row in rows:
            database.add(id_, price, row)
        query(dsn, "SELECT rebuild_usage_daily()")
        columns, before = database.content()
        migrate(dsn)
        assert _differences(database.content(columns)[1], before) == {}
        cli.ok("ledger", "verify")
        text = exported(cli)
        assert _values(text[0]) == _values_of(before["usage"], columns["usage"])
        rollback(dsn, NEW)
        columns_again, again = database.content()
        assert columns_again == columns
        assert _differences(again, before) == {}
        migrate(dsn)
        assert exported(cli) == text

    check()


NUMBERS = ("cost", "uncertain_cost", *_counts(Usage(input=0, output=0)))


def _differences(tables: dict[str, list[Any]], before: dict[str, list[Any]]) -> dict[str, Any]:
    return {name: (tables[name], before[name]) for name in before if tables[name] != before[name]}


def _values(text: str) -> list[list[Any]]:
    return sorted(_compared(line) for line in csv.DictReader(io.StringIO(text)))


def _values_of(rows: list[Any], names: list[str]) -> list[list[Any]]:
    return sorted(_compared(dict(zip(names, row, strict=True))) for row in rows)


def _compared(line: Mapping[str, str | None]) -> list[Any]:
    numbers = [None if not line[name] else Decimal(str(line[name])) for name in NUMBERS]
    return [line["request_id"], line["state"], line["service_tier"] or None, *numbers]
