"""One row of the ledger, which proves itself: how its cost comes about, and what corrected it."""

from typing import Any
from uuid import UUID

from chatgpt_agent.admin.proofs import CostPart, RowProof
from chatgpt_agent.core.errors import InvalidRequest, NotFound
from chatgpt_agent.core.ledger import State
from chatgpt_agent.core.money.kinds import TOKEN_KINDS, RightCounts
from chatgpt_agent.web.console.kind_names import part_names
from chatgpt_agent.web.console.parts import (
    Also,
    Column,
    Fact,
    Facts,
    Field,
    Form,
    Input,
    Kind,
    Link,
    Mark,
    Message,
    Notice,
    Part,
    Redirect,
    Result,
    Table,
    View,
)
from chatgpt_agent.web.console.requests import row_cells, row_columns, state_mark
from chatgpt_agent.web.console.routing import ConsoleRequest, Page, page_url

CORRECTED = ("input", "cached", "output", "reasoning")  # counts that are corrected here; REST has all
REQUIRED = ("input", "output")
CORRECTABLE = frozenset(State) - {State.CORRECTION, State.IMPORTED}


def _id(request: ConsoleRequest) -> UUID:
    try:
        return UUID(request.path["id"])
    except ValueError:
        raise NotFound(request._("This is not the id of a request.")) from None


async def show_row(request: ConsoleRequest) -> Result:
    """The row and its proof."""
    _ = request._
    proof = await request.administration.proofs.prove(_id(request))
    row = proof.row
    parts: list[Part] = [*_messages(request, proof), _facts(request, proof)]
    if proof.parts:
        parts.append(_parts(request, proof))
    elif row.state not in (State.CORRECTION, State.IMPORTED):
        parts.append(Message(text=_("The tokens or the price are not known, so there is nothing to compute.")))
    if proof.correction is not None:
        correction = Table(
            name="corrections",
            title=_("Corrected by"),
            columns=row_columns(request),
            rows=[row_cells(request, proof.correction)],
            note=_("With the correction, the request costs %(cost)s. %(reason)s")
            % {"cost": request.formats.usd(proof.corrected_cost), "reason": proof.correction.reason or ""},
        )
        parts.append(correction)
    elif row.state in CORRECTABLE and proof.price_id is not None:
        parts.append(_correction_form(request, proof))
    return View(
        title=_("Request of %(user)s") % {"user": row.user},
        subtitle=request.formats.time(row.started_at),
        section="requests",
        up=Link(_("Requests"), page_url("requests")),
        parts=parts,
    )


def _messages(request: ConsoleRequest, proof: RowProof) -> list[Part]:
    row = proof.row
    text = state_sentences(request)[row.state]
    level = {"good": "good", "bad": "bad", "warning": "warning"}.get(state_mark(request, row.state).level, "plain")
    parts: list[Part] = [Message(text=text, level=level)]
    if row.uncertain_reason is not None:
        reason = uncertain_sentences(request).get(row.uncertain_reason, row.uncertain_reason)
        parts.append(Message(title=request._("Why the cost may differ from OpenAI's"), text=reason, level="warning"))
    return parts


def _facts(request: ConsoleRequest, proof: RowProof) -> Facts:
    _, row = request._, proof.row
    facts = [
        Fact(_("State"), state_mark(request, row.state)),
        Fact(_("User"), Link(row.user, page_url("users", row.user))),
        Fact(_("Token"), row.token),
        Fact(_("Endpoint"), row.endpoint, Kind.CODE),
        Fact(_("Model asked for"), row.model),
        Fact(_("Model that answered"), row.served_model),
        Fact(_("Service tier"), row.service_tier),
        Fact(_("OpenAI's status"), row.status, Kind.NUMBER),
        Fact(_("Error"), row.error),
        Fact(_("Streamed"), row.streamed, Kind.FLAG),
        Fact(_("The client disconnected before the end"), row.client_closed, Kind.FLAG),
        Fact(_("First byte after"), proof.first_byte_ms, Kind.MILLISECONDS),
        Fact(_("Ended after"), proof.duration_ms, Kind.MILLISECONDS),
        Fact(_("Cost"), row.cost, Kind.EXACT_USD),
        Fact(_("It may have cost up to this much more"), row.uncertain_cost or None, Kind.USD),
        Fact(_("Price"), _price(request, proof)),
        Fact(_("Id of this request"), str(row.request_id), Kind.CODE),
        Fact(_("OpenAI's id of the exchange"), proof.openai_request_id, Kind.CODE),
        Fact(_("OpenAI's id of the answer"), row.upstream_id, Kind.CODE),
    ]
    if row.corrects is not None:
        facts.append(Fact(_("Corrects"), Link(str(row.corrects), page_url("requests", row.corrects))))
        facts.append(Fact(_("Reason"), row.reason))
    also = Also(rest=f"GET /api/v1/ledger/rows/{row.request_id}")
    return Facts(facts=[fact for fact in facts if fact.value is not None], also=also)


def _price(request: ConsoleRequest, proof: RowProof) -> Any:
    model = proof.row.charged_model
    if model is None or proof.price_since is None:
        return None
    text = request._("%(model)s, version %(id)d, since %(since)s") % {
        "model": model,
        "id": proof.price_id,
        "since": request.formats.time(proof.price_since),
    }
    return Link(text, page_url("prices", model))


def _parts(request: ConsoleRequest, proof: RowProof) -> Table:
    _ = request._
    parts = [part for part in proof.parts if part.count]
    several = len({part.model for part in parts if part.model}) > 1
    multiplied = any(part.multiplier != 1 for part in parts)
    equal = Mark(_("equals the cost of the row"), "good")
    differs = Mark(_("differs from the cost of the row"), "bad")
    return Table(
        name="parts",
        title=_("How the cost comes about"),
        columns=[
            Column("kind", _("What")),
            Column("count", _("Count"), Kind.NUMBER),
            Column("rate", _("Rate"), Kind.EXACT_USD),
            Column("unit", _("for")),
            *([Column("multiplier", _("Times"), Kind.NUMBER)] if multiplied else []),
            Column("amount", _("Cost"), Kind.EXACT_USD),
        ],
        rows=[
            [*_part_cells(request, part, several), *([part.multiplier] if multiplied else []), part.amount]
            for part in parts
        ],
        total=[equal if proof.adds_up else differs, None, None, *([None, None] if multiplied else [None]), proof.total],
        empty=_("No tokens were used."),
    )


def _part_cells(request: ConsoleRequest, part: CostPart, several: bool) -> list[Any]:
    name = part_names(request).get(part.kind, part.kind)
    units = {1_000_000: request._("1,000,000 tokens"), 60: request._("a minute"), 1: request._("a call")}
    return [f"{name} ({part.model})" if several and part.model else name, part.count, part.rate, units[part.unit]]


def state_sentences(request: ConsoleRequest) -> dict[State, str]:
    """Returns what each state means."""
    _ = request._
    return {
        State.DONE: _("Answered, with OpenAI's own token counts."),
        State.USAGE_UNKNOWN: _("Answered in full, but OpenAI's token counts are missing or contradictory."),
        State.UPSTREAM_ERROR: _("OpenAI answered with an error, which costs nothing."),
        State.INCOMPLETE: _("The answer broke off; tokens and cost are what was known by then."),
        State.NOT_SENT: _("Nothing reached OpenAI, so it costs nothing."),
        State.UNKNOWN: _("It may have reached OpenAI, but no answer was seen."),
        State.CORRECTION: _("Not a request: the differences that correct another row."),
        State.IMPORTED: _("A request of the original program, with the cost that it recorded."),
    }


def uncertain_sentences(request: ConsoleRequest) -> dict[str, str]:
    """Returns why a cost may differ from OpenAI's, by `uncertain_reason`."""
    _ = request._
    return {
        "cached_kind": _("Some cached or written tokens may be audio or images, which have other rates."),
        "image_cache": _("The image tool does not report its cached tokens; none were assumed."),
        "image_unknown": _("An image was drawn, and its tokens are not reported."),
        "search_items": _("Searches were counted by items, of which OpenAI may charge fewer."),
        "search_unreported": _("The chat may have searched, which OpenAI does not report."),
        "session_time": _("A container may have cost less than a whole session."),
        "calls_unknown": _("The answer was too large to be held, so calls in it were not counted."),
        "call_multiplier": _("The host has a factor, and OpenAI does not say whether it applies to calls."),
        "no_price": _("A part of the usage has no price."),
    }


# Corrections.


def _correction_form(request: ConsoleRequest, proof: RowProof) -> Form:
    _, row = request._, proof.row
    names = part_names(request)
    counts = {kind.name: getattr(row, kind.column) for kind in TOKEN_KINDS}
    fields = [
        Field(
            name=name, label=names[name], input=Input.NUMBER, value=counts[name], required=name in ("input", "output")
        )
        for name in CORRECTED
    ]
    reason = Field(
        name="reason", label=_("Reason"), required=True, hint=_("Such as: OpenAI's usage page shows 120 tokens.")
    )
    return Form(
        name="correct",
        action=page_url("requests", row.request_id),
        title=_("Correct the token counts"),
        folded=True,
        fields=[*fields, reason],
        submit=_("Correct"),
        effects=[
            _("A row with the differences is added; this row stays as it is. A row can be corrected once."),
            _("Other kinds of tokens can be corrected by command or REST."),
        ],
        also=Also(
            command=f"chatgpt-agent ledger correct {row.request_id} --input N --output N --reason TEXT",
            rest=f"POST /api/v1/ledger/rows/{row.request_id}/correction",
        ),
    )


async def correct_row(request: ConsoleRequest) -> Result:
    """Corrects the counts."""
    _, id_ = request._, _id(request)
    proof = await request.administration.proofs.prove(id_)
    reason = request.text("reason")
    form = _correction_form(request, proof)
    fields = [field for field in form.fields if field.name in CORRECTED and request.sent.get(field.name, "").strip()]
    if not fields:
        raise InvalidRequest(_("Fill in the right counts."), param="input")
    right = request.read(fields, RightCounts)
    correction = await request.administration.corrections.correct(id_, right, reason)
    text = _("Corrected: %(before)s became %(after)s.") % {
        "before": request.formats.usd(correction.cost_before),
        "after": request.formats.usd(correction.cost_after),
    }
    return Redirect(href=page_url("requests", id_), notice=Notice(text=text))


PAGES = [Page(path="/requests/{id}", get=show_row, post=correct_row)]
