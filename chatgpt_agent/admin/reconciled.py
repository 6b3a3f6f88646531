"""A reconciliation as commands and REST show it: each difference in words and in figures."""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from chatgpt_agent.core.money.exact import Usd
from chatgpt_agent.core.openai_usage import COUNT_NAMES, Counts, Kind, Number
from chatgpt_agent.core.reconcile.lines import ComparedLine, Finding, Reconciliation
from chatgpt_agent.core.reconcile.sentences import ENGLISH, Texts, kinds_text, sentence

# In JSON: text in plain decimal notation.
Quantity = Annotated[Decimal, Meta(extra_json_schema={"pattern": r"^-?[0-9]+(\.[0-9]+)?$"})]


class LineItem(msgspec.Struct, frozen=True, kw_only=True):
    """A line item of OpenAI's bill; null: OpenAI does not say how much of what was charged."""

    line_item: str
    amount: Usd
    quantity: Quantity | None
    unit: str | None


class ReconciledLine(msgspec.Struct, frozen=True, kw_only=True):
    """A difference in words (`text`), and a day, kind, model and user on both sides; null: all of them, or not
    compared. A line of several days has no `day`.

    `name`: of what is not served. `models`: by how many calls of a tool OpenAI has
    more, by model. `quantity`, `unit`: what OpenAI counts and the ledger does not. `keys`: ids of OpenAI keys without a
    user. `candidate_rows`: request ids of rows that may explain the difference, the first of `candidate_count`."""

    text: str | None
    finding: Finding | None
    day: date | None
    first_day: date | None
    last_day: date | None
    kind: Kind | None
    model: str | None
    user: str | None
    name: str | None
    ledger_requests: int | None
    openai_requests: int | None
    ledger_input: int | None
    openai_input: int | None
    ledger_cached: int | None
    openai_cached: int | None
    ledger_output: int | None
    openai_output: int | None
    ledger_cache_write: int | None
    openai_cache_write: int | None
    ledger_cache_write_12h: int | None
    openai_cache_write_12h: int | None
    ledger_audio_input: int | None
    openai_audio_input: int | None
    ledger_cached_audio: int | None
    openai_cached_audio: int | None
    ledger_image_input: int | None
    openai_image_input: int | None
    ledger_cached_image: int | None
    openai_cached_image: int | None
    ledger_audio_output: int | None
    openai_audio_output: int | None
    ledger_image_output: int | None
    openai_image_output: int | None
    ledger_calls: int | None
    openai_calls: int | None
    ledger_seconds: Quantity | None
    openai_seconds: Quantity | None
    ledger_cost: Usd | None
    openai_cost: Usd | None
    quantity: Quantity | None
    unit: str | None
    models: dict[str, Quantity]
    line_items: list[LineItem]
    keys: list[str]
    candidate_rows: list[str]
    candidate_count: int


def reconciled_line(line: ComparedLine) -> ReconciledLine:
    """Returns a difference as JSON has it."""
    return _record(line, sentence(line), line.finding)


def reconciled_total(line: ComparedLine) -> ReconciledLine:
    """Returns the sums as JSON has them, without words."""
    return _record(line, None, None)


def notes(result: Reconciliation, texts: Texts = ENGLISH) -> Iterator[str]:
    """Yields what is not compared, in sentences."""
    _ = texts._
    if result.left_out:
        left_out = sorted(result.left_out.items())
        counts = [_("%(n)s of %(endpoint)s") % {"n": count, "endpoint": endpoint} for endpoint, count in left_out]
        text = _("Left out of the usage, because there are no figures of OpenAI for them: %(counts)s (requests).")
        yield text % {"counts": ", ".join(counts)}
    if result.unavailable:
        kinds = kinds_text(result.unavailable, texts)
        yield _("OpenAI's API has no usage of %(kinds)s (404).") % {"kinds": kinds}
    if result.unused_keys:
        text = _("OpenAI has no figures of %(keys)s: check the ids of keys and their users.")
        yield text % {"keys": ", ".join(result.unused_keys)}


def _record(line: ComparedLine, text: str | None, finding: Finding | None) -> ReconciledLine:
    first, last = line.days or (line.day, line.day)
    counts: dict[str, Any] = _counts("ledger", line.ledger) | _counts("openai", line.openai)
    return ReconciledLine(
        text=text,
        finding=finding,
        day=line.day,
        first_day=first,
        last_day=last,
        kind=line.kind,
        model=line.model,
        user=line.user,
        name=line.name,
        **counts,
        ledger_cost=line.ledger_cost,
        openai_cost=line.openai_cost,
        quantity=_exact(line.quantity),
        unit=line.unit,
        models={model: Decimal(calls) for model, calls in sorted(line.models.items())},
        line_items=[
            LineItem(line_item=item.line_item, amount=item.amount, quantity=item.quantity, unit=item.unit)
            for item in line.items
        ],
        keys=line.keys,
        candidate_rows=line.candidate_rows,
        candidate_count=line.candidate_count,
    )


def _counts(side: str, counts: Counts | None) -> dict[str, object]:
    values = {name: None if counts is None else getattr(counts, name) for name in COUNT_NAMES}
    return {f"{side}_{name}": value for name, value in (values | {"seconds": _exact(values["seconds"])}).items()}


def _exact(value: Number | None) -> Decimal | None:
    return None if value is None else Decimal(value)
