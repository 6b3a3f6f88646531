"""Differences between the ledger and OpenAI's figures in words."""

from collections.abc import Iterable, Mapping
from decimal import Context, Decimal

from chatgpt_agent.core.money.exact import format_usd
from chatgpt_agent.core.money.kinds import TOKEN_KINDS
from chatgpt_agent.core.openai_usage import Counts, Kind, Number, size
from chatgpt_agent.core.reconcile.lines import NOISE, ChargedItem, ComparedLine, Finding

KIND_NAMES = {
    Kind.COMPLETIONS: "completions",
    Kind.DECISIONS: "decisions",
    Kind.EMBEDDINGS: "embeddings",
    Kind.IMAGES: "images",
    Kind.TRANSCRIPTIONS: "transcriptions",
    Kind.MODERATIONS: "moderations",
    Kind.WEB_SEARCH: "web search",
    Kind.FILE_SEARCH: "file search",
    Kind.CODE_INTERPRETER: "code interpreter",
    Kind.SPEECHES: "speech",
    Kind.VECTOR_STORES: "vector stores",
    Kind.COSTS: "all costs",
}
# The nouns of counts, without the plural's s.
_NOUNS = {
    "requests": "request",
    **{kind.name: kind.noun for kind in TOKEN_KINDS},
    "calls": "call",
    "seconds": "second",
}
_ENDS = {
    Finding.NOT_IN_LEDGER: "not in the ledger",
    Finding.NOT_AT_OPENAI: "not at OpenAI",
    Finding.NOT_THROUGH_AGENT: "not through this agent",
    Finding.NOT_RECOGNIZED: "not recognized, so not compared with the ledger",
}


def sentence(line: ComparedLine) -> str:
    """Returns a difference in words: `web search: 320 calls, 3.20 USD, user ann: not in the ledger`."""
    place = [f"user {line.user}"] if line.user else []
    if line.day:
        place.append(str(line.day))
    if line.finding is Finding.DIFFERS:
        return f"{_subject(line)}: {', '.join([_both_sides(line), *place])}"
    return f"{_subject(line)}: {', '.join([*_one_side(line), *place])}: {_ENDS[line.finding]}"


def total_text(total: ComparedLine) -> str:
    """Returns by how much OpenAI or the ledger has more of everything that was compared."""
    amounts = ""
    if total.ledger_cost is not None and total.openai_cost is not None:
        amounts = f" ({amount_text(total.openai_cost)} at OpenAI, {amount_text(total.ledger_cost)} in the ledger)"
    return (_both_sides(total) or "as much at OpenAI as in the ledger") + amounts


def sums_text(total: ComparedLine) -> str:
    """Returns the sums of the ledger."""
    parts = _count_texts(None, total.ledger.nonzero() if total.ledger else {})
    if total.ledger_cost is not None:
        parts.append(f"{format_usd(total.ledger_cost)} USD")
    return ", ".join(parts) or "no usage"


def item_text(item: ChargedItem) -> str:
    """Returns a line item of the bill in words: `gpt-6-sol, input: 0.02 USD for 10,000 tokens`."""
    quantity = "" if item.quantity is None else f" for {_quantity(item.quantity, item.unit)}"
    return f"{item.line_item}: {amount_text(item.amount)}{quantity}"


def amount_text(amount: Decimal) -> str:
    """Returns an amount for reading: rounded to what is compared, with cents at least."""
    text = format_usd(amount.quantize(NOISE, context=Context(prec=200)))
    whole, _, decimals = text.partition(".")
    sign, digits = ("-", whole[1:]) if whole.startswith("-") else ("", whole)
    return f"{sign}{int(digits):,}.{decimals:0<2} USD"


def _subject(line: ComparedLine) -> str:
    kind = KIND_NAMES[line.kind] if line.kind else None
    if line.kind is Kind.COSTS:
        return line.name or "all costs"
    if line.model is None:
        return ", ".join(filter(None, [kind, line.name]))
    detail = line.name or (None if line.kind is Kind.COMPLETIONS else kind)
    return f"{line.model} ({detail})" if detail else line.model


def _one_side(line: ComparedLine) -> list[str]:
    """Returns what the one side has that has something."""
    if line.finding is Finding.NOT_AT_OPENAI:
        counts, amount = line.ledger, line.ledger_cost
    else:
        counts, amount = line.openai, line.openai_cost
    parts = _count_texts(line.kind, (counts or Counts()).nonzero())
    if len(line.models) > 1 and parts:
        parts[0] += f" ({_model_texts(line.models)})"
    if line.quantity and line.finding is not Finding.NOT_AT_OPENAI:
        parts.append(_quantity(line.quantity, line.unit))
    if amount:
        parts.append(amount_text(amount))
    return parts


def _both_sides(line: ComparedLine) -> str:
    """Returns by how much one side has more, for each side that has more of something."""
    texts = []
    for sign, end in ((1, "more at OpenAI than in the ledger"), (-1, "more in the ledger than at OpenAI")):
        counts = {name: size(value) for name, value in line.differences.items() if value * sign > 0}
        parts = _count_texts(line.kind, counts)
        models = {model: size(value) for model, value in line.models.items() if value * sign > 0}
        if len(line.models) > 1 and models:
            text = f"({_model_texts(models)})"
            parts = [f"{parts[0]} {text}", *parts[1:]] if parts else [f"calls {text}"]
        cost = line.missing_cost
        if cost is not None and cost * sign > NOISE:
            parts.append(amount_text(abs(cost)))
        if parts:
            texts.append(f"{', '.join(parts)} {end}")
    return "; ".join(texts)


def _count_texts(kind: Kind | None, counts: Mapping[str, Number]) -> list[str]:
    return [
        _count_text(value, "session" if _is_session(kind, name) else _NOUNS[name]) for name, value in counts.items()
    ]


def _is_session(kind: Kind | None, name: str) -> bool:
    return kind is Kind.CODE_INTERPRETER and name == "calls"


def _count_text(value: Number, noun: str) -> str:
    return f"{_number(value)} {noun}" if value == 1 else f"{_number(value)} {noun}s"


def _model_texts(models: Mapping[str, Number]) -> str:
    return ", ".join(f"{model} {_number(size(calls))}" for model, calls in sorted(models.items()))


def _quantity(quantity: Number, unit: str | None) -> str:
    """Returns a quantity with its unit, which OpenAI names `1000_tokens` or `duration_seconds`."""
    factor = 1
    unit = unit or ""
    if unit.startswith("1000_"):
        factor, unit = 1000, unit.removeprefix("1000_")
    return f"{_number(quantity * factor)} {unit.removeprefix('duration_').replace('_', ' ')}".strip()


def _number(value: Number) -> str:
    whole, _, decimals = format_usd(Decimal(value)).partition(".")
    return f"{int(whole):,}" + (f".{decimals}" if decimals else "")


def kinds_text(kinds: Iterable[Kind]) -> str:
    """Returns the names of kinds."""
    return ", ".join(KIND_NAMES[kind] for kind in kinds)
