"""The commands `chatgpt-agent master-key …`."""

import sys

import click

from chatgpt_agent.admin.administration import Administration
from chatgpt_agent.admin.master_key import KeyCheck
from chatgpt_agent.cli.common import echo_json, with_administration
from chatgpt_agent.cli.effects import reads
from chatgpt_agent.cli.formats import json_option

WAIT_SECONDS = 60


@click.group(name="master-key")
def master_key() -> None:
    """The master key, with which OpenAI keys are encrypted."""


@master_key.command()
@click.option(
    "--wait",
    type=click.IntRange(0),
    default=WAIT_SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for running agents to have the new key.",
)
@click.option("--finish", is_flag=True, help="Take the former key out of the key file, after the change.")
@json_option
@with_administration
async def rotate(administration: Administration, wait: int, finish: bool, json: bool) -> None:
    """Change the master key while agents run.

    Adds a new key to the key file, waits until every running agent has it, and encrypts the stored OpenAI keys again.
    Tokens stay valid; admins sign in to the console again. A change that was interrupted goes on when the command is
    run again. With several machines, copy the key file to each of them when the command asks for it. At the end, run
    `chatgpt-agent master-key check`, and then this with --finish.

    Example: chatgpt-agent master-key rotate
    """
    if finish:
        saved = await administration.master_key.finish()
        if json:
            echo_json({"former_keys": [str(path) for path in saved]})
            return
        for path in saved:
            click.echo(f"The former key is now in {path}: only backups from before the change need it.")
        click.echo("The key file has one key." if saved else "Nothing to do: the key file has one key.")
        return
    check = await administration.master_key.rotate(wait=wait, say=lambda text: click.echo(text, err=True))
    _echo(check, json=json)


@master_key.command()
@json_option
@with_administration
@reads
async def check(administration: Administration, json: bool) -> None:
    """Check that stored values need no former key.

    Opens each of them with the newest master key alone. Exit code 0 if all of them open, and every running agent has
    that key; else 1.

    Example: chatgpt-agent master-key check
    """
    _echo(await administration.master_key.check(), json=json)


def _echo(check: KeyCheck, *, json: bool) -> None:
    if json:
        echo_json(check)
    else:
        for line in _lines(check):
            click.echo(line)
    if not check.is_right:
        sys.exit(1)


def _lines(check: KeyCheck) -> list[str]:
    newest, *others = check.key_ids
    right = check.openai_keys - len(check.former) - len(check.unusable)
    lines = [f"{right} of {check.openai_keys} OpenAI keys open with the newest master key, {newest}."]
    if check.former:
        lines.append(f"{len(check.former)} open with a former key only: run `chatgpt-agent master-key rotate`.")
    if check.unusable:
        lines.append(f"These users have a key that no master key opens: {', '.join(map(str, check.unusable))}.")
    if not check.tokens or check.encrypting != newest:
        lines.append(f"The database still uses the key {check.encrypting}: run `chatgpt-agent master-key rotate`.")
    if check.agents_without:
        lines.append(f"These running agents do not have the newest key: {', '.join(check.agents_without)}.")
    if others and check.is_complete:
        lines.append("No stored value needs a former key: `chatgpt-agent master-key rotate --finish` takes it out.")
    return lines
