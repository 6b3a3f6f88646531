"""A token that has just been issued: shown once, with what its user needs to begin."""

import contextlib

from chatgpt_agent.admin.users import IssuedToken
from chatgpt_agent.core.access.model_patterns import compile_patterns
from chatgpt_agent.core.errors import AgentError
from chatgpt_agent.web.console.parts import Code, Link, Message, View
from chatgpt_agent.web.console.recipes import MODEL, api_url, model_for_recipes, own_page_url, recipes
from chatgpt_agent.web.console.routing import ConsoleRequest, page_url


async def issued_view(request: ConsoleRequest, issued: IssuedToken, title: str, note: str = "") -> View:
    """Returns the page that shows a new token. It can be printed as a sheet for the user. `note`: for the admin."""
    _ = request._
    return View(
        title=title,
        section="users",
        up=Link(issued.user, page_url("users", issued.user)),
        parts=[
            Message(
                text=_("Copy the token now, or print this page for the user: it cannot be shown again."),
                items=[note] if note else [],
                level="warning",
            ),
            Code(title=_("Token of %(name)s") % {"name": issued.user}, text=issued.token, secret=True),
            *recipes(request, issued.token, await example_model(request, issued)),
            Message(
                title=_("Usage"),
                text=_("With the token, this page shows what it has used and what is left, and can replace it: %(url)s")
                % {"url": own_page_url(api_url(request))},
            ),
        ],
    )


async def example_model(request: ConsoleRequest, issued: IssuedToken) -> str:
    """Returns a model that the token may use, so that its recipes work; one for text, as far as its name tells. The
    token has been issued, so no error here may keep it from being shown."""
    with contextlib.suppress(AgentError):
        return model_for_recipes(await _allowed_models(request, issued))
    return MODEL


async def _allowed_models(request: ConsoleRequest, issued: IssuedToken) -> list[str]:
    administration = request.administration
    user, token = await administration.users.get(issued.user), await administration.tokens.get(issued.id)
    models = [price.model for price in await administration.prices.in_force()]
    for patterns in (user.allowed_models, token.allowed_models):
        if patterns is not None:
            models = list(filter(compile_patterns(patterns).fullmatch, models))
    return models
