"""`chatgpt-agent audit …`: who changed what."""

from datetime import UTC, datetime
from typing import Any

import click
import msgspec

from chatgpt_agent.admin.administration import LedgerAdministration
from chatgpt_agent.admin.audit import OBJECTS, AuditRow
from chatgpt_agent.cli.common import echo_csv, echo_json, echo_table, with_ledger

MAX_CELL = 60  # characters of a change in a table


@click.group()
def audit() -> None:
    """The audit log: every change of users, tokens, prices, budgets and administrators, and each correction."""


@audit.command(name="list")
@click.option("--since", type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]), help="From here on, in UTC.")
@click.option("--actor", metavar="NAME", help="By whom.")
@click.option("--object", "object_", type=click.Choice(OBJECTS), help="Of what.")
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=50, show_default=True, help="At most so many.")
@click.option("--format", "form", type=click.Choice(["table", "csv", "json"]), default="table", show_default=True)
@with_ledger
async def list_(
    ledger: LedgerAdministration,
    since: datetime | None,
    actor: str | None,
    object_: str | None,
    limit: int,
    form: str,
) -> None:
    """List changes, the newest first: who, when, from where, and what was before and after.

    Example: chatgpt-agent audit list --object prices --since 2026-11-01
    """
    moment = since.replace(tzinfo=UTC) if since else None
    lines = await ledger.audit.list(since=moment, actor=actor, object=object_, limit=limit)
    if form == "json":
        echo_json(lines)
        return
    if form == "csv":
        headers = [field.name for field in msgspec.structs.fields(AuditRow)]
        echo_csv(headers, map(_cells, lines))
        return
    echo_table(["at (UTC)", "actor", "from", "what", "id", "name", "change"], map(_short_cells, lines))


def _cells(line: AuditRow) -> list[object]:
    cells = msgspec.structs.asdict(line)
    changed = {name: _json(cells[name]) for name in ("before", "after")}
    return [*(cells | changed | {"at": line.at.isoformat()}).values()]


def _json(value: dict[str, Any] | None) -> str | None:
    return None if value is None else msgspec.json.encode(value, enc_hook=str).decode()


def _short_cells(line: AuditRow) -> list[object]:
    change = _change(line.before or {}, line.after or {})
    short = change if len(change) <= MAX_CELL else f"{change[: MAX_CELL - 1]}…"
    origin = f"{line.via} {line.address}"
    what = f"{line.action} {line.object}"
    return [f"{line.at:%Y-%m-%d %H:%M:%S}", line.actor, origin, what, line.object_id, line.name, short]


def _change(before: dict[str, Any], after: dict[str, Any]) -> str:
    """`name: old → new` for each column, and only what there is for one that came or went."""
    names = [name for name in {**before, **after} if name not in ("id", "created_at")]
    parts = []
    for name in names:
        old, new = before.get(name), after.get(name)
        if name in before and name in after:
            parts.append(f"{name}: {_word(old)} → {_word(new)}")
        elif (old if new is None else new) not in (None, "", []):
            parts.append(f"{name}: {_word(old if new is None else new)}")
    return ", ".join(parts)


def _word(value: object) -> str:
    return "none" if value is None else str(value)
