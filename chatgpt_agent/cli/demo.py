"""`chatgpt-agent demo`."""

import json as json_text
from typing import TYPE_CHECKING

import click

from chatgpt_agent import __version__
from chatgpt_agent.adapters.logs import set_up_logging
from chatgpt_agent.cli.common import echo_json, exit_on_error
from chatgpt_agent.cli.effects import reads
from chatgpt_agent.cli.formats import json_option

if TYPE_CHECKING:
    from chatgpt_agent.demo.run import Started

PORT = click.IntRange(0, 65535)
STARTED = """\
This is a demonstration of chatgpt-agent {version}, with a simulated OpenAI.
All figures, users and answers are made up.

Console     {run.console_url}
            name {run.name}, password {run.password}
Token       {run.token}
            of the user {run.user}; what it has used: {run.api_url}/me/page

A request, whose row is in the console a second later:

curl {run.api_url}/v1/chat/completions \\
  -H "Authorization: Bearer {run.token}" \\
  -H "Content-Type: application/json" \\
  -d '{body}'

Only this machine can reach it. Ctrl-C stops it, and deletes all of it."""


@click.command()
@click.option("--port", type=PORT, metavar="PORT", help="Of the API; default: 8080, or a free one.")
@click.option("--admin-port", type=PORT, metavar="PORT", help="Of the console; default: 8081, or a free one.")
@click.option("--seed", type=int, default=7, show_default=True, metavar="N", help="Another one makes other figures.")
@json_option
@reads
def demo(port: int | None, admin_port: int | None, seed: int, json: bool) -> None:
    """Show an agent with made-up usage, without a key.

    Starts an agent with a simulated OpenAI, users, prices and three months of made-up usage, and prints how to sign in
    to the console, and a request to try. Needs the extra `embedded`. Reads no configuration and no environment,
    listens on 127.0.0.1 alone, and deletes all of it at its end, which is Ctrl-C.

    Example: chatgpt-agent demo
    """

    def announce(run: "Started") -> None:
        if json:
            echo_json(run)
        else:
            body = {"model": run.model, "messages": [{"role": "user", "content": "Say hello."}]}
            click.echo(STARTED.format(version=__version__, run=run, body=json_text.dumps(body)))

    def work() -> None:
        from chatgpt_agent.demo import run  # only here: it imports Tornado and curl

        run.run(port=port, admin_port=admin_port, seed=seed, announce=announce)

    set_up_logging("error")  # the screen stays as it is
    exit_on_error(work)
