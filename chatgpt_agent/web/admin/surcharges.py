"""Surcharges over REST. As a price, one is never changed, only superseded."""

from decimal import Decimal
from typing import Annotated

from msgspec import Meta

from chatgpt_agent.admin.surcharges import SurchargeRecord, surcharge_record
from chatgpt_agent.core.access.settings import Moment, Name
from chatgpt_agent.core.money.surcharges import SURCHARGE_KINDS
from chatgpt_agent.web.admin import cursors
from chatgpt_agent.web.admin.cursors import Page
from chatgpt_agent.web.admin.routing import AdminRequest, Route
from chatgpt_agent.web.admin.schemas import Empty, IdPage, IdPath, Strict

_KINDS = ", ".join(SURCHARGE_KINDS)
SurchargeKind = Annotated[
    str,
    Meta(pattern=f"^({'|'.join(SURCHARGE_KINDS)})$", extra={"words": f"one of {_KINDS}", "example": '"web_search"'}),
]
# As many digits as the largest allowed amount has: a larger one is refused by the same rule as a command's.
AmountText = Annotated[
    str,
    Meta(
        pattern=r"^(0|[1-9][0-9]{0,3})(\.[0-9]{1,10})?$",
        extra={"words": "a number as text, with at most 10 decimal places", "example": '"0.01"'},
    ),
]


class SurchargeQuery(IdPage, frozen=True, kw_only=True):
    """`history`: every surcharge that was ever set; `upcoming`: only those of later dates."""

    history: bool = False
    upcoming: bool = False


class SurchargeBody(Strict, frozen=True, kw_only=True):
    """`amount`: USD per call of a tool, or the factor of a multiplier; null: none from then on. `host`: of a
    multiplier, that of the upstream by default; `model`: else of every model without one of its own. `effective_at`:
    from when it is in force; else from now."""

    kind: SurchargeKind
    amount: AmountText | None
    host: Name | None = None
    model: Name | None = None
    effective_at: Moment | None = None


async def list_surcharges(request: AdminRequest[Empty, SurchargeQuery, None]) -> Page[SurchargeRecord]:
    query, use_case = request.query, request.administration.surcharges
    if query.upcoming:
        listed = await use_case.upcoming()
    else:
        listed = await (use_case.history() if query.history else use_case.in_force())
    after = cursors.id_of(query.after) or 0
    rows = sorted((each for each in listed if each.id > after), key=lambda each: each.id)
    return cursors.page(
        [surcharge_record(each) for each in rows[: query.limit + 1]],
        query.limit,
        lambda each: cursors.id_cursor(each.id),
    )


async def set_surcharge(request: AdminRequest[Empty, Empty, SurchargeBody]) -> SurchargeRecord:
    body = request.body
    amount = None if body.amount is None else Decimal(body.amount)
    return surcharge_record(
        await request.administration.surcharges.set(
            body.kind, amount, host=body.host, model=body.model or "", since=body.effective_at
        )
    )


async def cancel_surcharge(request: AdminRequest[IdPath, Empty, None]) -> SurchargeRecord:
    return surcharge_record(await request.administration.surcharges.cancel(request.path.id))


ROUTES = [
    Route(
        method="GET", path="/surcharges", handler=list_surcharges,
        summary="List the surcharges in force: fees of tools, and factors of hosts",
        query=SurchargeQuery, answer=Page[SurchargeRecord], tag="prices",
    ),
    Route(
        method="POST", path="/surcharges", handler=set_surcharge,
        summary="Set a surcharge, which supersedes the one before",
        body=SurchargeBody, answer=SurchargeRecord, status=201, tag="prices",
    ),
    Route(
        method="POST", path="/surcharges/{id}/cancel", handler=cancel_surcharge,
        summary="Cancel a surcharge of a later date",
        path_params=IdPath, answer=SurchargeRecord, tag="prices",
    ),
]  # fmt: skip
