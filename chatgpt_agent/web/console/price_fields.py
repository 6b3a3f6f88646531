"""The fields of a price in forms, and the price that was typed into them."""

import contextlib
from collections.abc import Iterator, Mapping
from decimal import Decimal

from msgspec import Struct

from chatgpt_agent.core.access.settings import Moment, Name
from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.money.exact import format_usd
from chatgpt_agent.core.money.kinds import RATE_CHAINS, RATE_NAMES, Rates
from chatgpt_agent.core.money.pricing import NewPrice, Price, Tier, check_rates, parse_usd
from chatgpt_agent.core.money.tier_syntax import parse_tier, show_tier
from chatgpt_agent.web.console.kind_names import rate_labels
from chatgpt_agent.web.console.parts import Field, Input
from chatgpt_agent.web.console.routing import ConsoleRequest

FIRST = ("input", "cached_input", "output")  # the rates that nearly every price has
TIERS = "tiers"
SINCE = "effective_at"


class PriceSubject(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a price is for, and from when."""

    model: Name
    effective_at: Moment | None = None


def subject_fields(request: ConsoleRequest, values: Mapping[str, str], models: list[str]) -> list[Field]:
    """Returns the fields of the model and the date. `models`: names to choose from."""
    _ = request._
    return [
        Field(name="model", label=_("Model"), required=True, value=values.get("model"), suggestions=models),
        Field(
            name=SINCE,
            label=_("From"),
            input=Input.TIME,
            value=values.get(SINCE),
            hint=_("In the time zone %(zone)s. Empty: from now.") % {"zone": request.zone},
        ),
    ]


def rate_fields(
    request: ConsoleRequest, values: Mapping[str, str], *, required: bool, always: bool = True
) -> list[Field]:
    """Returns the fields of the rates and tiers, the usual ones first. `always`: these are not folded away."""
    labels = rate_labels(request)
    names = [*FIRST, *(name for name in RATE_NAMES if name not in FIRST)]
    return [
        *(
            Field(
                name=name,
                label=labels[name],
                input=Input.USD,
                value=values.get(name),
                required=required and name in ("input", "output"),
                hint=_hint(request, name),
                advanced=not always or name not in FIRST,
            )
            for name in names
        ),
        tiers_field(request, values.get(TIERS)),
    ]


def tiers_field(request: ConsoleRequest, value: str | None) -> Field:
    """Returns the field of the tiers, one in a line."""
    return Field(
        name=TIERS,
        label=request._("Tiers"),
        input=Input.LONG_TEXT,
        value=value,
        advanced=True,
        hint=request._(
            "Other rates in a service tier, or for long requests, one in a line: flex:x0.5 (half the price), or "
            "above=272000:input=5,output=22.5."
        ),
    )


def _hint(request: ConsoleRequest, name: str) -> str:
    _ = request._
    chain = RATE_CHAINS.get(name, ())
    if name == "minute":
        return _("USD per minute of audio that OpenAI charges by time. Empty: it has no price.")
    if len(chain) > 1:
        return _("Empty: as %(name)s.") % {"name": rate_labels(request)[chain[1]]}
    return _("USD per 1,000,000 tokens.")


def typed_rates(values: Mapping[str, str]) -> tuple[Rates, tuple[Tier, ...]]:
    """Returns the rates and tiers of what was typed. Raises InvalidValue, with the field as `param`."""
    rates: dict[str, Decimal] = {}
    for name in RATE_NAMES:
        if text := values.get(name, "").strip().removeprefix("$").strip():
            with _errors_at(name):
                rates[name] = parse_usd(text, name)
    for name in ("input", "output"):
        if name not in rates:
            raise InvalidValue(f"{name}: give USD per 1,000,000 tokens; 0 if they cost nothing", param=name)
    lines = [part for line in values.get(TIERS, "").splitlines() for part in line.split(";") if part.strip()]
    with _errors_at(TIERS):
        tiers = tuple(parse_tier(line, "tier") for line in lines)
        check_rates(Rates(**rates), tiers)
    return Rates(**rates), tiers


@contextlib.contextmanager
def _errors_at(field: str) -> Iterator[None]:
    try:
        yield
    except InvalidValue as error:
        error.param = field
        raise


def typed_price(request: ConsoleRequest) -> NewPrice:
    """Returns the price of the form that was sent. Raises InvalidRequest, InvalidValue."""
    subject = request.read(subject_fields(request, {}, []), PriceSubject)
    rates, tiers = typed_rates(request.sent)
    return NewPrice(subject.model, rates, tiers, subject.effective_at)


def price_values(price: Price | NewPrice) -> dict[str, str]:
    """Returns a price as its fields have it, without its date."""
    rates = {name: format_usd(rate) for name, rate in price.rates.set_rates().items()}
    return {"model": price.model, **rates, **({TIERS: "\n".join(map(show_tier, price.tiers))} if price.tiers else {})}


def has_rates(values: Mapping[str, str]) -> bool:
    """Whether any rate or tier was typed."""
    return any(values.get(name, "").strip() for name in (*RATE_NAMES, TIERS))
