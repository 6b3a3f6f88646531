"""Tables as CSV: exact amounts, times with their offset."""

from chatgpt_agent.core.csv_writer import Amount, csv_text
from chatgpt_agent.web.console.formats import plain
from chatgpt_agent.web.console.parts import Column, Kind, Table


def csv_of(table: Table) -> str:
    """Returns a table as CSV, without its columns of buttons."""
    columns = [(place, column) for place, column in enumerate(table.columns) if column.name]
    rows = ([_cell(row[place], column) for place, column in columns] for row in table.rows)
    return csv_text([column.name for _, column in columns], rows)


def _cell(cell: object, column: Column) -> object:
    value = plain(cell)
    return Amount(value) if column.kind in (Kind.USD, Kind.EXACT_USD, Kind.NUMBER) and isinstance(value, str) else value
