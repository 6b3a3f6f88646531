"""The commands and REST requests that pages of users, tokens, admins and prices show do exist."""

import re
import shlex
from datetime import UTC, datetime
from urllib.parse import parse_qsl, unquote, urlsplit

import click
import pytest

from chatgpt_agent.cli.main import main
from chatgpt_agent.web.admin.routes import ROUTES
from chatgpt_agent.web.console.also import command_line, rest_request
from tests.support.console import ConsoleClient, PageAnswer

pytestmark = pytest.mark.shared_agent

# Parallel workers must have the same names of tests, also where a day ends while they collect them.
PAGES = [
    "/users", "/new-user", "/user-import", "/key-import", "/users/alice", "/users/alice/change", "/users/alice/rename",
    "/users/alice/key", "/users/alice/remove", "/users/alice/new-token", "/tokens/1", "/tokens/1/rotate",
    "/tokens/1/revoke", "/admins", "/admins/carol/revoke",
    "/prices", "/new-price", "/prices/gpt-6-luna", "/prices/gpt-6-luna/remove", "/price-import", "/surcharges",
    "/shutdowns", "/price-what-if?first=TODAY",
]  # fmt: skip


def texts(page: PageAnswer) -> list[str]:
    """What a page shows as ready to copy."""
    return [code.text for part in page.root.all("details", class_="also") for code in part.all("code")]


def check_command(text: str) -> None:
    """Fails for a command or an option that does not exist."""
    program, *arguments = shlex.split(text)
    assert program == "chatgpt-agent"
    command: click.Command = main
    while isinstance(command, click.Group):
        command = command.commands[arguments.pop(0)]
    options = {option for parameter in command.params for option in parameter.opts}
    assert {each for each in arguments if each.startswith("--")} <= options


def check_request(text: str) -> None:
    """Fails for a route or a parameter that does not exist."""
    method, url = text.split(" ", 1)
    path = urlsplit(url).path.removeprefix("/api/v1")
    routes = [
        route
        for route in ROUTES
        if route.method == method and re.fullmatch(re.sub(r"{\w+}", "[^/]+", route.path), path)
    ]
    assert routes, text
    parameters = {name for name, _ in parse_qsl(urlsplit(url).query)}
    assert parameters <= set(routes[0].query.__struct_encode_fields__)


@pytest.mark.parametrize("path", PAGES)
async def test_page_shows_commands_and_requests_that_exist(admin: ConsoleClient, path: str) -> None:
    """Each page has at least one of both."""
    copied = texts(await admin.get(path.replace("TODAY", f"{datetime.now(UTC):%Y-%m-%d}")))
    commands = [text for text in copied if text.startswith("chatgpt-agent")]
    requests = [text for text in copied if text not in commands]
    assert commands
    assert requests
    for text in commands:
        check_command(text)
    for text in requests:
        check_request(text)


def test_names_are_quoted_for_a_shell() -> None:
    """Each argument stays one."""
    arguments = ["user", "show", "Anna's; rm *"]
    assert shlex.split(command_line(*arguments)) == ["chatgpt-agent", *arguments]


def test_names_are_encoded_for_rest() -> None:
    """A slash does not begin another segment."""
    request = rest_request("GET", "users", "a/b?c 数", limit=5)
    assert unquote(request.split("/")[-1]) == "a/b?c 数?limit=5"
