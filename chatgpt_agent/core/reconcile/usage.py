"""Compares the ledger with OpenAI's usage, exactly: each endpoint with the usage that OpenAI counts it in, calls of
tools with the usage of that tool."""

from collections.abc import Iterable, Sequence
from datetime import date
from typing import TypeVar

import msgspec

from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.money.kinds import TOKEN_KINDS
from chatgpt_agent.core.openai_usage import (
    NOT_THROUGH_AGENT,
    TOOLS,
    WITHOUT_KEYS,
    Counts,
    Figures,
    Kind,
    Number,
    UsageFigure,
)
from chatgpt_agent.core.reconcile.lines import (
    ComparedLine,
    Finding,
    LedgerSum,
    Lines,
    Place,
    Users,
    days_to_compare,
    keys_without_user,
    model_at_openai,
    within,
)

K = TypeVar("K")

# The counts of each kind that both sides have; of the others all tokens.
_COMPARED = {
    Kind.EMBEDDINGS: ("requests", "input"),
    Kind.MODERATIONS: ("requests",),
    Kind.IMAGES: ("requests",),
    Kind.TRANSCRIPTIONS: ("requests", "seconds"),
    **dict.fromkeys(TOOLS, ("calls",)),
}
# Parts that answers of chats do not tell apart: OpenAI counts them, and a ledger without any has not got them.
_OFTEN_UNREPORTED = tuple(
    kind.name for kind in TOKEN_KINDS if kind.fallback == "cached_input" or kind.name.startswith("image_")
)


def usage_lines(figures: Figures, sums: Sequence[LedgerSum], users: Users, month: date | None) -> Lines:
    """Returns what both sides counted, by place, of every kind of usage that OpenAI's figures have. Raises InvalidValue
    if there are keys and the figures are not grouped by key."""
    with_keys = [figure for figure in figures.usage if figure.kind not in WITHOUT_KEYS]
    if with_keys and users.keys and not users.are_separate(with_keys):
        raise InvalidValue("OpenAI's figures are not grouped by key: get them with group_by=api_key_id, or omit --key")
    lines: Lines = {}
    for kind, span in figures.usage_days.items():
        days = days_to_compare(month, span)
        if days and kind not in NOT_THROUGH_AGENT:
            theirs = [f for f in figures.usage if f.kind is kind and f.source is None and within(days, f.day)]
            ours = [line for line in sums if within(days, line.day)]
            lines |= _lines_of_kind(kind, theirs, _sums_of_kind(kind, theirs, ours), users)
    return lines


def _sums_of_kind(kind: Kind, figures: Sequence[UsageFigure], sums: Sequence[LedgerSum]) -> list[LedgerSum]:
    own = [line for line in sums if line.kind is kind]
    if kind is not Kind.COMPLETIONS:
        return own
    # A model that OpenAI counts among completions, and the ledger has at another endpoint only, such as images: these
    # tokens are the same. Whether its requests are counted here, too, is unknown.
    names = {line.model for line in own}
    moved = {(figure.day, figure.model) for figure in figures if figure.model and figure.model not in names}
    return own + [
        msgspec.structs.replace(line, counts=msgspec.structs.replace(line.counts, requests=None, seconds=0))
        for line in sums
        if line.kind is not kind and line.tool is None and (line.day, model_at_openai(line, moved)) in moved
    ]


def _lines_of_kind(kind: Kind, figures: Sequence[UsageFigure], sums: Sequence[LedgerSum], users: Users) -> Lines:
    # A request for moderations need not name a model, and costs nothing with any.
    by_model = kind is not Kind.MODERATIONS and all(figure.model for figure in figures)
    by_user = users.are_separate(figures)
    models = {(figure.day, figure.model) for figure in figures if figure.model}

    def ledger_place(line: LedgerSum) -> Place:
        model = model_at_openai(line, models) if by_model else None
        return line.day, kind, model, users.of_ledger(line.user) if by_user else None

    def openai_place(figure: UsageFigure) -> Place:
        model = figure.model if by_model else None
        return figure.day, kind, model, users.of_figure(figure) if by_user else None

    ours = _sums((ledger_place(line), _only(kind, line.counts)) for line in sums)
    theirs = _sums((openai_place(figure), _only(kind, figure.counts)) for figure in figures)
    groups: dict[Place, list[UsageFigure]] = {}
    for figure in figures:
        groups.setdefault(openai_place(figure), []).append(figure)
    lines: Lines = {}
    for place in ours.keys() | theirs.keys():
        day, _, model, user = place
        group = groups.get(place, [])
        line = ComparedLine(
            day=day,
            kind=kind,
            model=model,
            user=user,
            ledger=ours.get(place, Counts()),
            openai=theirs.get(place, Counts()),
            quantity=_quantity(kind, group),
            unit=group[0].unit if group else None,
            keys=keys_without_user(group, user),
        )
        lines[place] = _comparable(line)
    return _over_models(lines) if kind in TOOLS else lines


def _sums(pairs: Iterable[tuple[K, Counts]]) -> dict[K, Counts]:
    sums: dict[K, Counts] = {}
    for key, counts in pairs:
        sums[key] = sums[key] + counts if key in sums else counts
    return sums


def _quantity(kind: Kind, figures: Sequence[UsageFigure]) -> Number | None:
    quantities = [figure.quantity for figure in figures if figure.quantity is not None]
    if kind is Kind.VECTOR_STORES:  # bytes that are stored on a day
        return max(quantities, default=None)
    return sum(quantities) if quantities else None


def _only(kind: Kind, counts: Counts) -> Counts:
    """Returns the counts that are compared in figures of a kind."""
    names = _COMPARED.get(kind)
    if names is None:
        return msgspec.structs.replace(counts, calls=0, seconds=0)
    return Counts(**{name: getattr(counts, name) for name in names})


def _comparable(line: ComparedLine) -> ComparedLine:
    """Returns a line without the counts of OpenAI that the answers did not report to the ledger."""
    ours, theirs = line.ledger or Counts(), line.openai or Counts()
    unreported = [name for name in _OFTEN_UNREPORTED if not getattr(ours, name)]
    if ours.requests and not ours.seconds:  # the answers reported tokens instead
        unreported.append("seconds")
    unknown = dict.fromkeys((name for name in unreported if getattr(theirs, name)), None)
    return msgspec.structs.replace(line, openai=msgspec.structs.replace(theirs, **unknown))


def _over_models(lines: Lines) -> Lines:
    """Returns the lines of a tool without models, because the bill has none for tools. Calls that differ by model stay
    named."""
    result: Lines = {}
    for (day, kind, model, user), line in lines.items():
        place = (day, kind, None, user)
        calls = line.differences.get("calls")
        models = {model: calls} if model is not None and calls else {}
        whole = result.get(place, ComparedLine(day=day, kind=kind, user=user, ledger=Counts(), openai=Counts()))
        result[place] = msgspec.structs.replace(
            whole,
            ledger=(whole.ledger or Counts()) + (line.ledger or Counts()),
            openai=(whole.openai or Counts()) + (line.openai or Counts()),
            models=whole.models | models,
            keys=sorted({*whole.keys, *line.keys}),
        )
    return result


def other_usage(figures: Figures, users: Users, month: date | None) -> list[ComparedLine]:
    """Returns the usage that the agent does not serve, such as batches and speech, summed up over all days."""
    groups: dict[tuple[Kind, str | None, str | None, str | None], list[UsageFigure]] = {}
    for figure in figures.usage:
        days = days_to_compare(month, figures.usage_days.get(figure.kind))
        if days and within(days, figure.day) and (figure.source or figure.kind in NOT_THROUGH_AGENT):
            user = users.of_figure(figure) if users.are_separate([figure]) else None
            groups.setdefault((figure.kind, figure.model, figure.source, user), []).append(figure)
    lines = []
    for (kind, model, source, user), group in groups.items():
        days_of_group = sorted({figure.day for figure in group})
        lines.append(
            ComparedLine(
                day=days_of_group[0] if len(days_of_group) == 1 else None,
                days=(days_of_group[0], days_of_group[-1]),
                kind=kind,
                model=model,
                user=user,
                finding=Finding.NOT_THROUGH_AGENT,
                name=source,
                openai=_sums((None, figure.counts) for figure in group)[None],
                quantity=_quantity(kind, group),
                unit=group[0].unit,
                keys=keys_without_user(group, user),
            )
        )
    return [line for line in lines if line.quantity or (line.openai and line.openai.nonzero())]
