"""Differences between the ledger and OpenAI's figures in words: in English, or in the language of a page."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Context, Decimal
from functools import reduce
from typing import Protocol

from chatgpt_agent.core.money.exact import format_usd
from chatgpt_agent.core.money.kinds import TOKEN_KINDS
from chatgpt_agent.core.openai_usage import Counts, Kind, Number, size
from chatgpt_agent.core.reconcile.costs import NO_LINE_ITEM
from chatgpt_agent.core.reconcile.lines import NOISE, OTHERS, ChargedItem, ComparedLine, Finding

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
# The texts of counts: of one, and of several.
_NOUNS = {
    "requests": "request",
    **{kind.name: kind.noun for kind in TOKEN_KINDS},
    "calls": "call",
    "seconds": "second",
    "sessions": "session",
}
COUNT_TEXTS = {name: (f"%(n)s {noun}", f"%(n)s {noun}s") for name, noun in _NOUNS.items()}


class Texts(Protocol):
    """A language: the console's pages are such, too. `scripts/messages` collects the texts."""

    def _(self, text: str) -> str:
        """Returns a text in this language."""

    def ngettext(self, one: str, several: str, count: int) -> str:
        """Returns the form of a text for this number."""


class _English:
    def _(self, text: str) -> str:
        return text

    def ngettext(self, one: str, several: str, count: int) -> str:
        return one if count == 1 else several


ENGLISH = _English()


def sentence(line: ComparedLine, texts: Texts = ENGLISH) -> str:
    """Returns a difference in words: `web search: 320 calls, 3.20 USD, user ann: not in the ledger`."""
    _ = texts._
    place = [_("user %(name)s") % {"name": _(line.user) if line.user == OTHERS else line.user}] if line.user else []
    if line.day:
        place.append(str(line.day))
    if line.finding is Finding.DIFFERS:
        parts = _listed([_both_sides(line, texts), *place], texts)
        return _("%(subject)s: %(parts)s") % {"subject": _subject(line, texts), "parts": parts}
    return _("%(subject)s: %(parts)s: %(finding)s") % {
        "subject": _subject(line, texts),
        "parts": _listed([*_one_side(line, texts), *place], texts),
        "finding": _finding(line.finding, texts),
    }


def _finding(finding: Finding, texts: Texts) -> str:
    _ = texts._
    return {
        Finding.DIFFERS: "",
        Finding.NOT_IN_LEDGER: _("not in the ledger"),
        Finding.NOT_AT_OPENAI: _("not at OpenAI"),
        Finding.NOT_THROUGH_AGENT: _("not through this agent"),
        Finding.NOT_RECOGNIZED: _("not recognized, so not compared with the ledger"),
    }[finding]


def total_text(total: ComparedLine, texts: Texts = ENGLISH) -> str:
    """Returns by how much OpenAI or the ledger has more of everything that was compared."""
    _ = texts._
    text = _both_sides(total, texts) or _("as much at OpenAI as in the ledger")
    if total.ledger_cost is None or total.openai_cost is None:
        return text
    return _("%(difference)s (%(openai)s at OpenAI, %(ledger)s in the ledger)") % {
        "difference": text,
        "openai": amount_text(total.openai_cost, texts),
        "ledger": amount_text(total.ledger_cost, texts),
    }


def sums_text(total: ComparedLine, texts: Texts = ENGLISH) -> str:
    """Returns the sums of the ledger."""
    parts = _count_texts(None, total.ledger.nonzero() if total.ledger else {}, texts)
    if total.ledger_cost is not None:
        parts.append(texts._("%(amount)s USD") % {"amount": format_usd(total.ledger_cost)})
    return _listed(parts, texts) or texts._("no usage")


def item_text(item: ChargedItem, texts: Texts = ENGLISH) -> str:
    """Returns a line item of the bill in words: `gpt-6-sol, input: 0.02 USD for 10,000 tokens`."""
    _ = texts._
    amount = amount_text(item.amount, texts)
    if item.quantity is not None:
        amount = _("%(amount)s for %(quantity)s") % {"amount": amount, "quantity": _quantity(item.quantity, item.unit)}
    return _("%(subject)s: %(parts)s") % {"subject": _item_name(item.line_item, texts), "parts": amount}


def _item_name(name: str, texts: Texts) -> str:
    return texts._(name) if name == NO_LINE_ITEM else name


def amount_text(amount: Decimal, texts: Texts = ENGLISH) -> str:
    """Returns an amount for reading: rounded to what is compared, with cents at least."""
    text = format_usd(amount.quantize(NOISE, context=Context(prec=200)))
    whole, _, decimals = text.partition(".")
    sign, digits = ("-", whole[1:]) if whole.startswith("-") else ("", whole)
    return texts._("%(amount)s USD") % {"amount": f"{sign}{int(digits):,}.{decimals:0<2}"}


def _subject(line: ComparedLine, texts: Texts) -> str:
    kind = texts._(KIND_NAMES[line.kind]) if line.kind else None
    name = _item_name(line.name, texts) if line.name else None
    if line.kind is Kind.COSTS:
        return name or texts._("all costs")
    if line.model is None:
        return _listed(list(filter(None, [kind, name])), texts)
    detail = name or (None if line.kind is Kind.COMPLETIONS else kind)
    return texts._("%(model)s (%(detail)s)") % {"model": line.model, "detail": detail} if detail else line.model


def _one_side(line: ComparedLine, texts: Texts) -> list[str]:
    """Returns what the one side has that has something."""
    if line.finding is Finding.NOT_AT_OPENAI:
        counts, amount = line.ledger, line.ledger_cost
    else:
        counts, amount = line.openai, line.openai_cost
    parts = _count_texts(line.kind, (counts or Counts()).nonzero(), texts)
    if len(line.models) > 1 and parts:
        parts[0] = _of_models(parts[0], line.models, texts)
    if line.quantity and line.finding is not Finding.NOT_AT_OPENAI:
        parts.append(_quantity(line.quantity, line.unit))
    if amount:
        parts.append(amount_text(amount, texts))
    return parts


def _both_sides(line: ComparedLine, texts: Texts) -> str:
    """Returns by how much one side has more, for each side that has more of something."""
    _ = texts._
    sides = []
    for sign, end in (
        (1, _("%(parts)s more at OpenAI than in the ledger")),
        (-1, _("%(parts)s more in the ledger than at OpenAI")),
    ):
        counts = {name: size(value) for name, value in line.differences.items() if value * sign > 0}
        parts = _count_texts(line.kind, counts, texts)
        models = {model: size(value) for model, value in line.models.items() if value * sign > 0}
        if len(line.models) > 1 and models:
            parts = [_of_models(parts[0] if parts else _("calls"), models, texts), *parts[1:]]
        cost = line.missing_cost
        if cost is not None and cost * sign > NOISE:
            parts.append(amount_text(abs(cost), texts))
        if parts:
            sides.append(end % {"parts": _listed(parts, texts)})
    return reduce(lambda first, second: _("%(first)s; %(second)s") % {"first": first, "second": second}, sides or [""])


def _listed(parts: Sequence[str], texts: Texts) -> str:
    _ = texts._
    return reduce(lambda first, second: _("%(first)s, %(second)s") % {"first": first, "second": second}, parts or [""])


def _count_texts(kind: Kind | None, counts: Mapping[str, Number], texts: Texts) -> list[str]:
    return [
        _count_text(value, "sessions" if _is_session(kind, name) else name, texts) for name, value in counts.items()
    ]


def _is_session(kind: Kind | None, name: str) -> bool:
    return kind is Kind.CODE_INTERPRETER and name == "calls"


def _count_text(value: Number, name: str, texts: Texts) -> str:
    return texts.ngettext(*COUNT_TEXTS[name], 1 if value == 1 else 2) % {"n": _number(value)}


def _of_models(text: str, models: Mapping[str, Number], texts: Texts) -> str:
    counts = ", ".join(f"{model} {_number(size(calls))}" for model, calls in sorted(models.items()))
    return texts._("%(calls)s (%(models)s)") % {"calls": text, "models": counts}


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


def kinds_text(kinds: Iterable[Kind], texts: Texts = ENGLISH) -> str:
    """Returns the names of kinds."""
    return _listed([texts._(KIND_NAMES[kind]) for kind in kinds], texts)
