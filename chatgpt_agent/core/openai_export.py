"""Reads CSV exports of OpenAI's dashboard as pages of figures."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation

from chatgpt_agent.core.csv_reader import NotCsv, csv_rows
from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.moments import OutsideYears, parse_moment
from chatgpt_agent.core.openai_pages import BATCHES, read_pages
from chatgpt_agent.core.openai_usage import (
    MAX_COUNT,
    MAX_TIME,
    CostFigure,
    FigurePage,
    Kind,
    UsageFigure,
    is_sane,
    main_counts,
    usd,
)

MAX_FILE = 256 * 1024 * 1024  # bytes

# The names of columns. The first of each is that of 2025; names with `n_` are those of the export before it.
COLUMNS = {
    "day": ("start_time", "start_time_iso", "date", "day", "timestamp", "usage_timestamp", "aggregation_timestamp"),
    "model": ("model", "model_name", "snapshot_id"),
    "requests": ("num_model_requests", "num_requests", "n_requests", "requests"),
    "input": ("input_tokens", "n_context_tokens_total", "context_tokens", "prompt_tokens"),
    "output": ("output_tokens", "n_generated_tokens_total", "generated_tokens", "completion_tokens"),
    "cached": ("input_cached_tokens", "n_cached_context_tokens_total", "cached_context_tokens", "cached_tokens"),
    "key": ("api_key_id", "key_id"),
    "project": ("project_id",),
    "batch": ("batch",),
    "line_item": ("line_item",),
    "quantity": ("quantity",),
    "unit": ("quantity_unit",),
    "amount": ("amount_value", "amount", "cost", "cost_usd", "cost_in_usd"),
    "currency": ("amount_currency", "currency"),
}
_USAGE_COLUMNS = ("day", "model", "requests", "input", "output")


def read_figures(data: bytes, name: str) -> list[FigurePage]:
    """Returns the figures in a trimmed file: JSON of OpenAI's API or an export of its dashboard. Raises InvalidValue
    with the file's name."""
    if data[:1] in b"{[":
        return read_pages(data, name)
    try:
        rows = [cells for _, cells in csv_rows(data.decode("utf-8"))]
    except UnicodeDecodeError:
        raise InvalidValue(f"{name}: is neither JSON nor CSV: it is not UTF-8 text") from None
    except NotCsv as error:
        raise InvalidValue(f"{name}: is neither JSON nor CSV: {error.reason}") from None
    return [read_table(rows, name)]


def read_table(rows: Sequence[Sequence[str]], name: str) -> FigurePage:
    """Returns the figures of an export of activity or costs, whose first row is the header
    (https://help.openai.com/en/articles/8554956-understanding-your-api-usage). Columns are found by name in any order;
    optional ones may be missing. Raises InvalidValue with the name, and with the column or line."""
    header = [cell.strip().lower().replace(" ", "_").replace("-", "_") for cell in rows[0]] if rows else []
    at = {column: header.index(title) for column, names in COLUMNS.items() if (title := _first(names, header))}
    kind = Kind.COSTS if "amount" in at and not {"input", "output"} & at.keys() else Kind.COMPLETIONS
    needed = ("day", "amount") if kind is Kind.COSTS else _USAGE_COLUMNS
    missing = [COLUMNS[column][0] for column in needed if column not in at]
    if missing:
        problem = (
            "is neither JSON nor an export of OpenAI's dashboard" if len(missing) == len(needed) else "is incomplete"
        )
        raise InvalidValue(f"{name}: {problem}: the column {' and the column '.join(missing)} is missing")
    days, groups = set(), []
    usage: list[UsageFigure] = []
    costs: list[CostFigure] = []
    for number, row in enumerate(rows[1:], 2):
        where = f"{name}: line {number}"
        cells = {column: row[index].strip() if index < len(row) else "" for column, index in at.items()}
        if not any(cells.values()):
            continue
        day = _export_day(cells["day"], where)
        days.add(day)
        if kind is Kind.COSTS and cells["amount"]:
            costs.append(_export_cost(day, cells, where))
            groups.append(tuple(row))
        elif kind is Kind.COMPLETIONS and (cells["requests"] or cells["input"] or cells["output"]):
            usage.append(_export_usage(day, cells, where))
            groups.append(tuple(row))
    return FigurePage(
        name=name,
        kind=kind,
        days=frozenset(days),
        groups=frozenset(groups),
        usage=usage,
        costs=costs,
        exported=True,
    )


def _first(names: Iterable[str], header: Sequence[str]) -> str | None:
    return next((name for name in names if name in header), None)


def _export_day(text: str, where: str) -> date:
    try:
        if text.isascii() and text.isdigit() and int(text) <= MAX_TIME:
            return datetime.fromtimestamp(int(text), UTC).date()
        return parse_moment(text, where).date()
    except OutsideYears:
        raise
    except (ValueError, InvalidValue):
        raise InvalidValue(f"{where}: {text[:40]!r} is neither a date nor Unix seconds") from None


def _export_usage(day: date, cells: Mapping[str, str], where: str) -> UsageFigure:
    counts = {column: _export_count(cells[column], column, where) for column in ("requests", "input", "output")}
    cached = _export_count(cells["cached"], "cached", where) if cells.get("cached") else None
    if cached is not None and cached > counts["input"]:
        raise InvalidValue(f"{where}: more cached tokens than input tokens")
    figures = main_counts(counts["requests"], counts["input"], cached, counts["output"])
    return UsageFigure(
        day,
        cells["model"] or None,
        cells.get("key") or None,
        figures,
        project=cells.get("project") or None,
        source=BATCHES if cells.get("batch", "").lower() == "true" else None,
    )


def _export_cost(day: date, cells: Mapping[str, str], where: str) -> CostFigure:
    quantity = cells.get("quantity")
    return CostFigure(
        day,
        _export_amount(cells, where),
        line_item=cells.get("line_item") or None,
        key=cells.get("key") or None,
        project=cells.get("project") or None,
        quantity=_export_quantity(quantity, where) if quantity else None,
        unit=cells.get("unit") or None,
    )


def _export_quantity(text: str, where: str) -> Decimal:
    try:
        quantity = Decimal(text)
    except InvalidOperation:
        quantity = Decimal("NaN")
    if not is_sane(quantity):
        raise InvalidValue(f"{where}: quantity: {text[:40]!r} is not a number")
    return quantity


def _export_count(text: str, column: str, where: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 16 and int(text) <= MAX_COUNT):
        raise InvalidValue(f"{where}: {COLUMNS[column][0]}: {text[:40]!r} is not a count")
    return int(text)


def _export_amount(cells: Mapping[str, str], where: str) -> Decimal:
    try:
        value = Decimal(cells["amount"])
    except InvalidOperation:
        raise InvalidValue(f"{where}: {COLUMNS['amount'][0]}: {cells['amount'][:40]!r} is not an amount") from None
    return usd(value, cells.get("currency") or "usd", where)
