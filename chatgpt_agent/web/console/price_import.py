"""Importing a list of prices: what it would change is shown first, and set by a second form."""

import hashlib
from datetime import datetime

import msgspec

from chatgpt_agent.admin import price_import
from chatgpt_agent.admin.model_use import MONTH
from chatgpt_agent.admin.price_import import ListDifference
from chatgpt_agent.admin.price_what_if import WhatIfQuery
from chatgpt_agent.core.access.settings import Moment, Name
from chatgpt_agent.core.errors import Conflict, InvalidRequest
from chatgpt_agent.core.money.litellm_surcharges import REGIONS
from chatgpt_agent.core.money.price_files import MAX_FILE, PriceFile
from chatgpt_agent.web.admin.price_schemas import Region
from chatgpt_agent.web.console.also import command_line, rest_request
from chatgpt_agent.web.console.packed_files import MAX_PACKED, pack, unpack
from chatgpt_agent.web.console.parts import (
    Also,
    Field,
    Form,
    Input,
    Link,
    Message,
    Notice,
    Part,
    Redirect,
    Result,
    View,
)
from chatgpt_agent.web.console.price_difference import difference_figures, difference_tables, skipped_parts
from chatgpt_agent.web.console.price_preview import preview
from chatgpt_agent.web.console.routing import ConsoleRequest, Page, page_url

FORM_BYTES = 64 * 1024  # of the other fields
FILE, PACKED_FILE, DIGEST = "file", "packed_file", "digest"


class ListChoice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is taken of a list, and from when. `what_if`: show what past requests would have cost."""

    since: Moment | None = None
    only: tuple[Name, ...] = ()
    region: Region | None = None
    what_if: bool = False


async def show_import(request: ConsoleRequest) -> Result:
    """The form for the file."""
    _ = request._
    form = Form(
        name="import",
        action=page_url("price-import"),
        fields=[
            Field(
                name=FILE,
                label=_("File"),
                input=Input.FILE,
                required=True,
                hint=_("LiteLLM's model_prices_and_context_window.json, or the CSV of an export."),
            ),
            *_choice_fields(request),
        ],
        submit=_("Show what it changes"),
        effects=[_("Nothing is set before you have seen what changes.")],
        cancel=page_url("prices"),
        also=Also(
            command=command_line("price", "import", "model_prices_and_context_window.json"),
            rest=rest_request("POST", "price-import"),
        ),
    )
    return _view(request, [form])


def _choice_fields(request: ConsoleRequest) -> list[Field]:
    _ = request._
    return [
        Field(
            name="only",
            label=_("Only these models"),
            input=Input.LINES,
            hint=_("One name or pattern, such as gpt-6*, on each line. Empty: every model of OpenAI in the list."),
        ),
        Field(
            name="since",
            label=_("From"),
            input=Input.TIME,
            hint=_("In the time zone %(zone)s. Empty: from now, or as the list says.") % {"zone": request.zone},
        ),
        Field(
            name="region",
            label=_("Region"),
            input=Input.CHOICE,
            choices={"": _("none"), **{region: region for region in REGIONS}},
            hint=_("That of the upstream, whose host then has the factors of the list."),
        ),
        Field(
            name="what_if",
            label=_("Also show what the requests of the last 30 days would have cost"),
            input=Input.FLAG,
            value=True,
        ),
    ]


def _view(request: ConsoleRequest, parts: list[Part]) -> View:
    _ = request._
    up = Link(_("Prices"), page_url("prices"))
    return View(title=_("Import a list of prices"), section="prices", up=up, parts=parts)


async def compare(request: ConsoleRequest) -> Result:
    """What the list would change. Nothing is set yet."""
    _ = request._
    choice = request.read(_choice_fields(request), ListChoice)
    data = request.file(FILE)
    file, changes = await _read(request, data, choice)
    parts: list[Part] = [difference_figures(request, changes)]
    if changes.prices.changes and choice.what_if:
        query = WhatIfQuery(
            by=["month"],
            since=await request.administration.model_use.since(MONTH),
            listed=[change.new for change in changes.prices.changes],
        )
        parts.append(await preview(request, query, title=_("All requests of the last 30 days, at the new prices")))
    parts += difference_tables(request, changes)
    parts.append(await _confirm(request, data, choice, changes))
    return _view(request, [*_warnings(request), *parts, *skipped_parts(request, file)])


async def _read(request: ConsoleRequest, data: bytes, choice: ListChoice) -> tuple[PriceFile, ListDifference]:
    file = await price_import.read_body(data, choice.only)
    use_case = request.administration.price_import
    return file, await use_case.compare(file, since=choice.since, region=choice.region)


def _warnings(request: ConsoleRequest) -> list[Part]:
    """The warnings as a part of the page, above what they are about."""
    items = list(request.warnings)
    request.warnings.clear()
    return [Message(title=request._("Please check"), items=items, level="warning")] if items else []


async def _confirm(request: ConsoleRequest, data: bytes, choice: ListChoice, changes: ListDifference) -> Part:
    _ = request._
    if changes.is_empty:
        return Message(text=_("There is nothing to set: all of it is in force."), level="good")
    packed = await pack(data)
    if packed is None:
        text = _("The file is too large to be imported here; use `chatgpt-agent price import`.")
        return Message(text=text, level="warning")
    values = {
        PACKED_FILE: packed,
        DIGEST: digest_of(changes, choice.since),
        **{name: request.sent.get(name, "") for name in ("only", "since", "region")},
    }
    options = [text for name in choice.only for text in ("--only", name)]
    return Form(
        name="import",
        action=page_url("price-import", "apply"),
        fields=[Field(name=name, input=Input.HIDDEN, value=value) for name, value in values.items()],
        submit=_("Set all of it"),
        effects=[_("All of it is set, or nothing. Recorded requests keep the cost that they were charged.")],
        cancel=page_url("price-import"),
        also=Also(
            command=command_line("price", "import", "FILE", *options, "--yes"),
            rest=rest_request("POST", "price-import", apply="true"),
        ),
    )


def digest_of(changes: ListDifference, since: datetime | None) -> str:
    """Returns a digest of what a list changes, so that no more is set than was shown. Without `since`, changes are of
    the moment at which they are computed."""
    prices = [
        (each.new.model, each.new.rates, each.new.tiers, None if each.before is None else each.before.id)
        for each in changes.prices.changes
    ]
    surcharges = [(*each.new.scope, each.new.amount, each.before) for each in changes.surcharges.changes]
    content = msgspec.json.encode((prices, surcharges, changes.shutdown_dates, since))
    return hashlib.sha256(content).hexdigest()


async def apply(request: ConsoleRequest) -> Result:
    """Sets what was shown."""
    _ = request._
    choice = request.read(_choice_fields(request), ListChoice)
    packed = request.sent.get(PACKED_FILE, "")
    if not packed:
        raise InvalidRequest(_("Choose the file again."), param=FILE)
    data = await unpack(packed, max_size=MAX_FILE)
    _file, changes = await _read(request, data, choice)
    request.warnings.clear()  # they were shown
    if digest_of(changes, choice.since) != request.sent.get(DIGEST):
        raise Conflict(_("The prices have changed since you saw what the list changes; choose the file again."))
    await request.administration.price_import.apply(changes)
    prices, surcharges = len(changes.prices.changes), len(changes.surcharges.changes)
    text = request.ngettext("%(n)d price is set.", "%(n)d prices are set.", prices) % {"n": prices}
    if surcharges:
        more = request.ngettext("%(n)d surcharge is set.", "%(n)d surcharges are set.", surcharges)
        text = f"{text} {more % {'n': surcharges}}"
    return Redirect(href=page_url("prices"), notice=Notice(text=text))


PAGES = [
    Page(
        path="/price-import",
        get=show_import,
        post=compare,
        admins_only=True,
        max_body=MAX_FILE + FORM_BYTES,
    ),
    Page(
        path="/price-import/apply",
        get=show_import,
        post=apply,
        admins_only=True,
        max_body=MAX_PACKED + FORM_BYTES,
    ),
]
