"""A first request, sent to our own API as a client sends it. Neither its text nor the answer is kept."""

import msgspec
from tornado.httpclient import HTTPError

from chatgpt_agent.core.errors import InvalidRequest
from chatgpt_agent.web.console.parts import (
    Button,
    Code,
    Fact,
    Facts,
    Field,
    Form,
    Input,
    Kind,
    Link,
    Message,
    Part,
    View,
)
from chatgpt_agent.web.console.recipes import recipes
from chatgpt_agent.web.console.routing import PREFIX, ConsoleRequest, page_url

SECONDS = 120.0
MAX_ANSWER = 1024 * 1024  # bytes
MAX_SHOWN = 2000  # characters


class _Message(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Message


class _Completion(msgspec.Struct):
    choices: list[_Choice]


def show_first_request(request: ConsoleRequest, models: list[str]) -> list[Part]:
    """Returns the form of a request."""
    _ = request._
    fields = [
        Field(name="token", label=_("Token"), input=Input.SECRET, required=True),
        Field(name="model", label=_("Model"), input=Input.CHOICE, choices={model: model for model in models}),
        Field(name="message", label=_("Message"), value=_("Say hello in five words."), required=True),
    ]
    return [
        Form(name="first", action=page_url("setup", "request"), fields=fields, submit=_("Send the request")),
    ]


async def send_first_request(request: ConsoleRequest) -> View:
    """Sends the request, and shows its answer and its row."""
    _ = request._
    token, model, text = request.text("token"), request.text("model"), request.text("message")
    if not token.isascii() or not token.isprintable():
        raise InvalidRequest(_("This is not a token."), param="token")
    body = msgspec.json.encode({"model": model, "messages": [{"role": "user", "content": text}]})
    try:
        answer = await request.services.own_api().fetch(
            "/v1/chat/completions",
            max_answer=MAX_ANSWER,
            method="POST",
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
            body=body,
            request_timeout=SECONDS,
        )
    except (OSError, HTTPError) as error:
        raise InvalidRequest(_("The API cannot be reached: %(error)s") % {"error": error}) from None
    request_id = answer.headers.get("X-Agent-Request-Id", "")
    worked = answer.code == 200
    facts = [
        Fact(_("Status"), answer.code, Kind.NUMBER),
        Fact(_("Time"), (answer.request_time or 0) * 1000, Kind.MILLISECONDS),
        Fact(_("Row in the ledger"), Link(request_id, page_url("requests", request_id)), Kind.TEXT),
    ]
    parts: list[Part] = [
        Message(
            text=_("The request has been answered.") if worked else _("The request was refused."),
            level="good" if worked else "bad",
        ),
        Code(title=_("The answer"), text=_shown(answer.body or b"")),
        Facts(facts=facts, buttons=[Button(_("Overview"), PREFIX), Button(_("Try again"), page_url("setup"))]),
    ]
    if worked:
        parts += recipes(request, "cga_…")
    return View(
        title=_("The first request"), section="overview", up=Link(_("Setting up"), page_url("setup")), parts=parts
    )


def _shown(body: bytes) -> str:
    """The text of an answer, or the whole answer where it is an error."""
    try:
        choices = msgspec.json.decode(body, type=_Completion).choices
        return str(choices[0].message.content or "")[:MAX_SHOWN]
    except (msgspec.MsgspecError, IndexError, UnicodeDecodeError):
        return body.decode("utf-8", "replace")[:MAX_SHOWN]
