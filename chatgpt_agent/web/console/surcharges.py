"""Surcharges: fees of OpenAI's tools, and factors of hosts."""

from decimal import Decimal
from typing import Any

from msgspec import Struct

from chatgpt_agent.admin.prices import Prices
from chatgpt_agent.core.access.settings import Moment, Name
from chatgpt_agent.core.errors import InvalidValue, NotFound
from chatgpt_agent.core.money.exact import format_usd
from chatgpt_agent.core.money.surcharges import MULTIPLIER, NONE, SURCHARGE_KINDS, Surcharge, parse_amount
from chatgpt_agent.web.admin.surcharges import SurchargeKind
from chatgpt_agent.web.console.also import command_line, rest_request
from chatgpt_agent.web.console.parts import (
    Also,
    Button,
    Column,
    Field,
    Form,
    Input,
    Kind,
    Link,
    Mark,
    Notice,
    Part,
    Redirect,
    Result,
    Table,
    View,
)
from chatgpt_agent.web.console.routing import ConsoleRequest, Page, page_url


class NewSurchargeForm(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fields of a surcharge."""

    kind: SurchargeKind
    amount: str
    per_1000: bool = False
    model: Name | None = None
    host: Name | None = None
    effective_at: Moment | None = None


async def show_surcharges(request: ConsoleRequest) -> Result:
    """The surcharges in force, those to come, and all that were set."""
    _ = request._
    use_case = request.administration.surcharges
    upcoming = await use_case.upcoming()
    columns = _columns(request)
    also = Also(command=command_line("price", "surcharge", "list"), rest=rest_request("GET", "surcharges"))
    parts: list[Part] = [
        Table(
            name="surcharges",
            title=_("In force"),
            columns=[*columns, Column("", "")],
            rows=[[*_cells(request, each), _end_button(request, each)] for each in await use_case.in_force()],
            empty=_("None: calls of OpenAI's tools cost nothing here, and every host has the prices of the list."),
            also=also,
        )
    ]
    if upcoming:
        parts.append(
            Table(
                name="upcoming",
                title=_("To come"),
                columns=[*columns, Column("", "")],
                rows=[[*_cells(request, each), _cancel_button(request, each)] for each in upcoming],
                also=also,
            )
        )
    parts.append(_form(request, await _models(request.administration.prices)))
    history = sorted(await use_case.history(), key=lambda each: each.id, reverse=True)
    parts.append(
        Table(
            name="history",
            title=_("All that were set"),
            columns=[Column("id", _("Id"), Kind.NUMBER), *columns, Column("cancelled_at", _("Cancelled"), Kind.TIME)],
            rows=[[each.id, *_cells(request, each), each.cancelled_at] for each in history],
            also=Also(
                command=command_line("price", "surcharge", "list", "--history"),
                rest=rest_request("GET", "surcharges", history="true"),
            ),
        )
    )
    return View(
        title=_("Surcharges"),
        subtitle=_("What a request costs beside its tokens: calls of OpenAI's tools, and factors of hosts."),
        section="prices",
        up=Link(_("Prices"), page_url("prices")),
        parts=parts,
    )


async def _models(prices: Prices) -> list[str]:
    return [price.model for price in await prices.in_force()]


def kind_names(request: ConsoleRequest) -> dict[str, str]:
    """Returns the names of the kinds."""
    _ = request._
    names = {
        "web_search": _("web search, a call"),
        "file_search": _("file search, a call"),
        "code_interpreter": _("code interpreter, a session"),
        MULTIPLIER: _("factor of a host, for tokens and time"),
    }
    return {kind: names.get(kind, kind) for kind in SURCHARGE_KINDS}


def _columns(request: ConsoleRequest) -> list[Column]:
    _ = request._
    return [
        Column("kind", _("Kind")),
        Column("host", _("Host")),
        Column("model", _("Model")),
        Column("amount", _("USD, or factor")),
        Column("effective_at", _("From"), Kind.TIME),
    ]


def _cells(request: ConsoleRequest, each: Surcharge) -> list[Any]:
    _ = request._
    names = kind_names(request)
    model = Link(each.model, page_url("prices", each.model)) if each.model else _("every model")
    return [names[each.kind], each.host or None, model, amount_cell(request, each.kind, each.amount), each.effective_at]


def amount_cell(request: ConsoleRequest, kind: str, amount: Decimal | None) -> Any:
    """Returns an amount, which is a factor of a host or USD for a call; None: there is none."""
    if amount is None:
        return Mark(request._("none"))
    return f"× {format_usd(amount)}" if kind == MULTIPLIER else request.formats.exact_usd(amount)


def _end_button(request: ConsoleRequest, each: Surcharge) -> Button:
    return Button(request._("End it"), page_url("surcharges"), fields=_values(each, None))


def _cancel_button(request: ConsoleRequest, each: Surcharge) -> Button:
    return Button(request._("Cancel"), page_url("surcharges", "cancel"), fields={"id": str(each.id)})


def _values(each: Surcharge, amount: Decimal | None) -> dict[str, str]:
    """What the form would send for another amount of the same surcharge."""
    text = NONE if amount is None else format_usd(amount)
    return {"kind": each.kind, "amount": text, "model": each.model, "host": each.host}


def _form(request: ConsoleRequest, models: list[str]) -> Form:
    return Form(
        name="new",
        title=request._("Set a surcharge"),
        action=page_url("surcharges"),
        fields=_fields(request, models),
        submit=request._("Set it"),
        folded=True,
        effects=[request._("Recorded requests keep the cost that they were charged.")],
        also=Also(
            command=command_line("price", "surcharge", "set", "web_search", "0.01"),
            rest=rest_request("POST", "surcharges"),
        ),
    )


def _fields(request: ConsoleRequest, models: list[str]) -> list[Field]:
    _ = request._
    host = request.services.api.config.openai_host
    return [
        Field(name="kind", label=_("Kind"), input=Input.CHOICE, required=True, choices=kind_names(request)),
        Field(
            name="amount",
            label=_("USD, or factor"),
            input=Input.USD,
            required=True,
            hint=_("Such as 0.01 for a call, or 1.1 for a host. The word none ends the surcharge."),
        ),
        Field(name="per_1000", label=_("The amount is for 1,000 calls"), input=Input.FLAG),
        Field(
            name="model",
            label=_("Model"),
            empty_is_none=True,
            suggestions=models,
            hint=_("Empty: every model without a surcharge of its own."),
        ),
        Field(
            name="host",
            label=_("Host"),
            empty_is_none=True,
            hint=_("Of a factor alone. Empty: %(host)s.") % {"host": host},
        ),
        Field(
            name="effective_at",
            label=_("From"),
            input=Input.TIME,
            hint=_("In the time zone %(zone)s. Empty: from now.") % {"zone": request.zone},
        ),
    ]


async def set_surcharge(request: ConsoleRequest) -> Result:
    """Sets a surcharge, or ends one."""
    new = request.read(_fields(request, []), NewSurchargeForm)
    if new.per_1000 and new.kind == MULTIPLIER:
        raise InvalidValue(request._("A factor is not for calls."), param="per_1000")
    amount = parse_amount(new.amount, "amount", per_1000=new.per_1000)
    use_case = request.administration.surcharges
    before = {each.scope: each for each in await use_case.in_force()}
    added = await use_case.set(new.kind, amount, host=new.host, model=new.model or "", since=new.effective_at)
    values = {"kind": kind_names(request)[added.kind], "since": request.formats.time(added.effective_at)}
    if added.amount is None:
        text = request._("The surcharge ends at %(since)s: %(kind)s") % values
    else:
        text = request._("The surcharge is set from %(since)s on: %(kind)s") % values
    if new.effective_at is not None:
        return Redirect(href=page_url("surcharges"), notice=Notice(text=text))
    former = before.get(added.scope)
    undo = _values(added, None if former is None else former.amount)
    return Redirect(
        href=page_url("surcharges"), notice=Notice(text=text, undo=page_url("surcharges"), undo_fields=undo)
    )


async def cancel(request: ConsoleRequest) -> Result:
    """Cancels a surcharge of a later date, which can be set again."""
    text = request.text("id")
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise NotFound(request._("This is not the id of a surcharge."))
    cancelled = await request.administration.surcharges.cancel(int(text))
    message = request._("The surcharge from %(since)s is cancelled.") % {
        "since": request.formats.time(cancelled.effective_at)
    }
    undo = {**_values(cancelled, cancelled.amount), "effective_at": cancelled.effective_at.isoformat()}
    return Redirect(
        href=page_url("surcharges"), notice=Notice(text=message, undo=page_url("surcharges"), undo_fields=undo)
    )


PAGES = [
    Page(path="/surcharges", get=show_surcharges, post=set_surcharge),
    Page(path="/surcharges/cancel", post=cancel),
]
