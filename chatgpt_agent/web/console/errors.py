"""Errors as pages: what is wrong, and how to go on."""

from chatgpt_agent.core.errors import AgentError, StoreUnavailable
from chatgpt_agent.web.console.languages import MessageTranslator, Translator
from chatgpt_agent.web.console.parts import Button, Message, View
from chatgpt_agent.web.console.routing import PREFIX, ConsoleRequest


def error_view(request: ConsoleRequest, error: AgentError) -> View:
    """Returns the page of an error."""
    button = Button(request._("Overview"), PREFIX, for_viewers=True) if request.signed_in else None
    return View(
        title=error_title(request, error),
        parts=[Message(text=error_text(request, error), level="bad", button=button)],
        status=error.status,
        bare=request.signed_in is None,
    )


def error_title(request: Translator, error: AgentError) -> str:
    """Returns the heading of the page of an error."""
    _ = request._
    titles = {
        400: _("This request cannot be read"),
        401: _("Not signed in"),
        403: _("Not allowed"),
        404: _("Page not found"),
        405: _("Page not found"),
        409: _("This is not possible now"),
        410: _("This link has been used"),
        412: _("This has been changed meanwhile"),
        413: _("This file is too large"),
        421: _("Unknown host name"),
        422: _("A value is not allowed"),
        429: _("Too many attempts"),
        503: _("Not available now"),
    }
    return titles.get(error.status, _("Something went wrong"))


def error_text(request: MessageTranslator, error: AgentError) -> str:
    """Returns what an error says on a page."""
    if isinstance(error, StoreUnavailable):
        return request._(
            "The database cannot be reached. Clients are served for a while nevertheless; try again in a moment."
        )
    return request.message(error.message)
