"""The first run: the first admin by a one-time link, then a guide to the first answered request."""

from datetime import UTC, datetime

from chatgpt_agent.admin.starter_prices import DATE, starter_prices
from chatgpt_agent.core.errors import InvalidRequest
from chatgpt_agent.core.money.pricing import NewPrice
from chatgpt_agent.web.console.first_request import send_first_request, show_first_request
from chatgpt_agent.web.console.parts import (
    Also,
    Button,
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
from chatgpt_agent.web.console.passwords import password_fields, typed_password
from chatgpt_agent.web.console.routing import PREFIX, ConsoleRequest, Page, page_url

CODE = "code"
MODEL = "model:"  # begins the name of a model's checkbox


# The first admin.


async def show_first_run(request: ConsoleRequest) -> Result:
    """The form that makes the first admin."""
    _ = request._
    if not await request.services.access.needs_first_run():
        return Redirect(href=PREFIX)
    fields = [
        Field(name=CODE, input=Input.HIDDEN, value=request.query.get(CODE) or request.sent.get(CODE, "")),
        Field(name="name", label=_("Your name"), required=True, autocomplete="username"),
        *password_fields(request),
    ]
    form = Form(
        name="first",
        action=page_url("first-run"),
        fields=fields,
        submit=_("Create the admin"),
        for_viewers=True,
        also=Also(command="chatgpt-agent admin password NAME"),
    )
    text = _("Choose a name and a password for the first admin. This page works once.")
    return View(title=_("Welcome"), parts=[Message(text=text), form], bare=True)


async def claim_first_run(request: ConsoleRequest) -> Result:
    """Makes the first admin, who is signed in then."""
    session = await request.services.access.claim_first_run(
        request.sent.get(CODE, ""), request.text("name"), typed_password(request), request.address
    )
    return Redirect(href=page_url("setup"), session=session.secret)


# The guide.


async def show_setup(request: ConsoleRequest) -> Result:
    """What is still to be done until the first request is answered."""
    _ = request._
    administration = request.administration
    users = await administration.users.list(limit=1)
    prices = await administration.prices.in_force()
    rows = await administration.ledger.rows(limit=1)
    signed_in = _("You are signed in as %(name)s.") % {"name": request.admin.admin.name}
    bring = _("Users bring their own OpenAI key and get a token of this agent.")
    priced = _("A model can be used once it has a price, so that each request has a cost.")
    add = Button(_("Add a user"), page_url("new-user"))
    steps: list[Part] = [
        _step(request, 1, _("The first admin"), signed_in, done=True),
        _step(request, 2, _("The first user"), bring, done=bool(users), button=add),
        _step(request, 3, _("The first price"), priced, done=bool(prices)),
    ]
    if not prices:
        steps.append(_starter_form(request))
    send = _("Send a request with the token that you have issued, and see its row.")
    steps.append(_step(request, 4, _("The first request"), send, done=bool(rows)))
    if users and prices and not rows:
        steps += show_first_request(request, [price.model for price in prices])
    return View(title=_("Setting up"), section="overview", up=Link(_("Overview"), PREFIX), parts=steps)


def _step(
    request: ConsoleRequest, number: int, title: str, text: str, *, done: bool, button: Button | None = None
) -> Message:
    return Message(
        title=f"{number}. {title} ✓" if done else f"{number}. {title}",
        text=request._("Done.") if done and number > 1 else text,
        level="good" if done else "plain",
        button=None if done else button,
    )


def _starter_form(request: ConsoleRequest) -> Form:
    _ = request._
    fields = [
        Field(name=MODEL + price.model, label=_model_label(request, price), input=Input.FLAG)
        for price in starter_prices().prices
    ]
    return Form(
        name="prices",
        action=page_url("setup", "prices"),
        title=_("Pick models"),
        effects=[
            _("These are OpenAI's prices of %(month)s; compare them with openai.com, or import a newer list.")
            % {"month": DATE},
            _("USD per 1,000,000 tokens"),
        ],
        fields=fields,
        submit=_("Set these prices"),
        also=Also(command="chatgpt-agent price import FILE", rest="POST /api/v1/price-import?apply=true"),
    )


def _model_label(request: ConsoleRequest, price: NewPrice) -> str:
    usd = request.formats.usd
    assert price.rates.input is not None
    assert price.rates.output is not None
    return request._("%(model)s: %(input)s input, %(output)s output") % {
        "model": price.model,
        "input": usd(price.rates.input),
        "output": usd(price.rates.output),
    }


async def set_starter_prices(request: ConsoleRequest) -> Result:
    """Sets the prices of the models that were picked."""
    models = tuple(sorted(name.removeprefix(MODEL) for name in request.sent if name.startswith(MODEL)))
    if not models:
        raise InvalidRequest(request._("Pick at least one model."))
    use_case = request.administration.price_import
    changes = await use_case.compare(starter_prices(models), since=datetime.now(UTC))
    await use_case.apply(changes)
    text = request._("Prices are set for: %(models)s") % {"models": ", ".join(models)}
    return Redirect(href=page_url("setup"), notice=Notice(text=text))


PAGES = [
    Page(path="/first-run", get=show_first_run, post=claim_first_run, public=True),
    Page(path="/setup", get=show_setup, admins_only=True),
    Page(path="/setup/prices", get=show_setup, post=set_starter_prices, admins_only=True),
    Page(path="/setup/request", get=show_setup, post=send_first_request, admins_only=True),
]
