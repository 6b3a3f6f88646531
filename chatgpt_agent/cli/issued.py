"""How a token is issued: printed once, and only then committed, because one that is lost cannot be shown again."""

import contextlib
from collections.abc import AsyncIterator

import click

from chatgpt_agent.admin.administration import Administration
from chatgpt_agent.admin.admins import IssuedAdminToken
from chatgpt_agent.admin.users import IssuedToken
from chatgpt_agent.cli.common import echo_json
from chatgpt_agent.cli.output import no_change_without_output
from chatgpt_agent.core.errors import StoreError, StoreUnavailable


@contextlib.asynccontextmanager
async def committed_after_output(administration: Administration) -> AsyncIterator[None]:
    """Commits what is changed in a context once its output is written. Raises OutputFailed, StoreError."""
    is_printed = False
    try:
        async with administration.stores.changes.transaction():
            with no_change_without_output():
                yield
            is_printed = True
    except StoreError as error:
        if not is_printed:
            raise
        raise StoreUnavailable(f"{error.message}; see in the list whether the printed token was issued") from None


def echo_issued(issued: IssuedToken | IssuedAdminToken, *, json: bool) -> None:
    """Prints a token alone, or with what belongs to it as JSON."""
    if json:
        echo_json(issued)
    else:
        click.echo(issued.token)
