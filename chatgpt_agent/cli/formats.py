"""`--format` and `--json`, which every command has: `--json` is `--format json`."""

from collections.abc import Callable
from typing import Any, TypeVar

import click
from click.core import ParameterSource

F = TypeVar("F", bound=Callable[..., Any])


def format_option(*forms: str) -> Callable[[F], F]:
    """The command gets `form`: one of these forms, the first by default."""

    def decorated(command: F) -> F:
        command = click.option(
            "--json", "as_json", is_flag=True, expose_value=False, callback=_choose_json, help="As --format json."
        )(command)
        return click.option(
            "--format",
            "form",
            type=click.Choice(forms),
            default=forms[0],
            show_default=True,
            is_eager=True,  # so that --json, which may stand before it, is read after it
            help="How to print.",
        )(command)

    return decorated


def _choose_json(context: click.Context, _: click.Parameter, chosen: bool) -> None:
    if not chosen:
        return
    form = context.params["form"]
    if form != "json" and context.get_parameter_source("form") is ParameterSource.COMMANDLINE:
        raise click.UsageError(f"give --json or --format {form}, not both")
    context.params["form"] = "json"


def json_or(text: str) -> Callable[[F], F]:
    """The command gets `json`: whether it prints JSON, and not its text or table."""

    def decorated(command: F) -> F:
        command = click.option(
            "--format",
            "form",
            type=click.Choice((text, "json")),
            default=text,
            show_default=True,
            expose_value=False,
            callback=_merge,
            help="How to print.",
        )(command)
        return click.option("--json", "json", is_flag=True, is_eager=True, help="As --format json.")(command)

    return decorated


def _merge(context: click.Context, parameter: click.Parameter, form: str) -> None:
    explicit = context.get_parameter_source(str(parameter.name)) is ParameterSource.COMMANDLINE
    if context.params["json"] and explicit and form != "json":
        raise click.UsageError(f"give --json or --format {form}, not both")
    context.params["json"] = context.params["json"] or form == "json"


json_option = json_or("text")
table_option = json_or("table")
