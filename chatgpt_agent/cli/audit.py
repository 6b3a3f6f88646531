"""The commands `chatgpt-agent audit …`."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import click
import msgspec

from chatgpt_agent.admin.administration import LedgerAdministration
from chatgpt_agent.admin.audit import OBJECTS, AuditRow
from chatgpt_agent.cli.common import CSV_FORMS, FORMATS, echo_csv, echo_json, with_ledger
from chatgpt_agent.cli.effects import reads
from chatgpt_agent.cli.formats import format_option
from chatgpt_agent.cli.tables import Columns, echo_rows, newest
from chatgpt_agent.cli.types import DATE, ID
from chatgpt_agent.core.moments import show_second

MAX_CELL = 60  # characters of a change in a table

COLUMNS: Columns[AuditRow] = {
    "at (UTC)": lambda row: show_second(row.at),
    "actor": lambda row: row.actor,
    "from": lambda row: f"{row.via} {row.address}",
    "what": lambda row: f"{row.action} {row.object}",
    "id": lambda row: row.object_id,
    "name": lambda row: row.name,
    "change": lambda row: _shortened(_change(row)),
}


@click.group()
def audit() -> None:
    """The audit log of every change.

    It has changes of users, tokens, prices, budgets and admins, and corrections of the ledger.
    """


@audit.command(name="list")
@click.option("--since", type=DATE, metavar="DATE", help="Changes from this time on, UTC.")
@click.option("--actor", metavar="NAME", help="Changes by this admin or account.")
@click.option("--object", "object_", type=click.Choice(OBJECTS), help="Changes of this kind of object.")
@click.option("--object-id", type=ID, metavar="ID", help="Changes of the object with this ID.")
@click.option(
    "--limit", type=click.IntRange(1, 1_000_000), default=50, show_default=True, help="The maximum number of changes."
)
@format_option(*FORMATS)
@with_ledger
@reads
async def list_(
    ledger: LedgerAdministration,
    *,
    since: datetime | None,
    actor: str | None,
    object_: str | None,
    object_id: int | None,
    limit: int,
    form: str,
) -> None:
    """List changes, the newest first.

    Each has its actor, time and origin, and the values before and after.

    Example: chatgpt-agent audit list --object prices --since 2026-11-01
    """
    changes = await ledger.audit.list(since=since, actor=actor, object=object_, object_id=object_id, limit=limit + 1)
    rows = newest(changes, limit)
    if form == "json":
        echo_json(rows)
    elif form in CSV_FORMS:
        echo_csv([field.name for field in msgspec.structs.fields(AuditRow)], map(_csv_cells, rows), form)
    else:
        echo_rows(COLUMNS, rows, keep=("at (UTC)", "actor", "what", "name", "change"))
        if any(len(_change(row)) > MAX_CELL for row in rows):
            click.echo("Some changes are cut off; --format json has them whole.", err=True)


def _csv_cells(row: AuditRow) -> list[object]:
    texts = {"at": row.at.isoformat(), "before": _json(row.before), "after": _json(row.after)}
    return [*(msgspec.structs.asdict(row) | texts).values()]


def _json(value: dict[str, Any] | None) -> str | None:
    return None if value is None else msgspec.json.encode(value, enc_hook=str).decode()


def _change(row: AuditRow) -> str:
    return ", ".join(_changes(row.before or {}, row.after or {}))


def _changes(before: dict[str, Any], after: dict[str, Any]) -> Iterator[str]:
    """Yields `name: old → new` for each changed column; for a row that was added or deleted, the columns with a
    value."""
    for name in {**before, **after}:
        old, new = before.get(name), after.get(name)
        if name in before and name in after:
            yield f"{name}: {_text(old)} → {_text(new)}"
        elif name not in ("id", "created_at") and (value := old if new is None else new) not in (None, "", []):
            yield f"{name}: {_text(value)}"


def _text(value: object) -> str:
    return "none" if value is None else str(value)


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_CELL else f"{text[: MAX_CELL - 1]}…"
