"""All rows that a filter matches, as one CSV file."""

from chatgpt_agent.admin.archives import archived_text
from chatgpt_agent.admin.ledger import ROW_FIELDS, UsageRow
from chatgpt_agent.admin.reports import surcharges_text
from chatgpt_agent.core.csv_writer import Amount, csv_text
from chatgpt_agent.core.money.exact import format_usd
from chatgpt_agent.web.admin import cursors
from chatgpt_agent.web.admin.ledger import RowQuery, rows_of
from chatgpt_agent.web.admin.schemas import or_none
from chatgpt_agent.web.console.aside import aside, give_way
from chatgpt_agent.web.console.parts import Download, Result
from chatgpt_agent.web.console.routing import ConsoleRequest

BATCH = 2000  # rows that are read at once
MAX_ROWS = 100_000  # in one file; `usage export` has no limit
AMOUNTS = ("cost", "uncertain_cost", "seconds")


async def export_requests(request: ConsoleRequest) -> Result:
    """The file. The rows are written in a thread, a batch at a time, so that requests are not delayed: each batch costs
    as much as a page or two."""
    query = request.filter(RowQuery)
    after = cursors.row_of(query.after)
    parts = [csv_text(ROW_FIELDS, [])]
    count = 0
    while count < MAX_ROWS:
        rows = await rows_of(request.administration, query, after=after, limit=BATCH)
        parts.append(await aside(_lines, rows))
        count += len(rows)
        if len(rows) < BATCH:
            archives = await request.administration.archives.between(or_none(query.since), or_none(query.until))
            if archives:
                parts.append(csv_text([f"({archived_text(archives)})"], []))
            return Download(name="requests.csv", content="".join(parts).encode())
        after = (rows[-1].started_at, rows[-1].request_id)
        await request.wait_for_turn()
    note = request._("only the newest %(n)d rows: filter, or run chatgpt-agent usage export") % {"n": MAX_ROWS}
    parts.append(csv_text([f"({note})"], []))
    return Download(name="requests.csv", content="".join(parts).encode())


def _lines(rows: list[UsageRow]) -> str:
    text = csv_text(ROW_FIELDS, map(_cells, rows))
    return text.partition("\n")[2]


def _cells(row: UsageRow) -> list[object]:
    give_way()
    return [_cell(row, name) for name in ROW_FIELDS]


def _cell(row: UsageRow, name: str) -> object:
    value = getattr(row, name)
    if value is None:
        return ""
    if name in AMOUNTS:
        return Amount(format_usd(value))
    if name == "surcharges":
        return surcharges_text(value)
    if name == "started_at":
        return value.isoformat()
    return "true" if value is True else "false" if value is False else value
