"""What all commands share: configuration, database, errors as one line, prompts and output."""

import asyncio
import functools
import getpass
import os
import platform
import signal
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from decimal import Decimal
from typing import Any, TypeVar

import click
import msgspec
from click.shell_completion import CompletionItem

from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.config_loading import config_from
from chatgpt_agent.adapters.logs import set_up_logging
from chatgpt_agent.admin.administration import Administration, LedgerAdministration, Stores, open_stores
from chatgpt_agent.admin.ledger import Finding
from chatgpt_agent.cli.effects import only_reads
from chatgpt_agent.cli.output import OutputFailed, check_output, check_write, echo_error
from chatgpt_agent.cli.tables import echo_table
from chatgpt_agent.core.audit import Actor, Via
from chatgpt_agent.core.csv_writer import Amount, csv_text
from chatgpt_agent.core.errors import AgentError, ConfigError, InvalidValue, StoreUnavailable, UpstreamError
from chatgpt_agent.core.money.exact import format_usd
from chatgpt_agent.core.plain_json import plain_values
from chatgpt_agent.runtime.database import check_schema, database, ensure_schema
from chatgpt_agent.runtime.interruptible import interruptible
from chatgpt_agent.runtime.master_key import open_keyring

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

EXCEL = "csv-excel"
CSV_FORMS = ("csv", EXCEL)
FORMATS = ("table", *CSV_FORMS, "json")


def config_option(command: F) -> F:
    """Adds `--config FILE` to a command, which gets the loaded configuration. Errors end it with one line."""

    @functools.wraps(command)
    def loading(config_file: str | None, **options: Any) -> Any:
        return command(config=config_from(config_file), **options)

    return config_file_option(loading)  # type: ignore[return-value]


def config_file_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds `--config FILE` to a command, which gets its name or None. Errors end it with one line."""

    @click.option(
        "--config",
        "config_file",
        metavar="FILE",
        shell_complete=lambda _, __, text: [CompletionItem(text, "file")],
        help="Configuration file; default: the variable CHATGPT_AGENT_CONFIG.",
    )
    @functools.wraps(command)
    def wrapped(config_file: str | None, **options: Any) -> Any:
        has_file = config_file or os.environ.get("CHATGPT_AGENT_CONFIG")
        hint = "" if has_file else " (without a configuration file: give --config FILE or CHATGPT_AGENT_CONFIG)"
        outcome = "" if only_reads(command, options) else "; the change was made"
        return exit_on_error(lambda: command(config_file=config_file, **options), hint, outcome)

    # Without the mark \b click would wrap the example, which is to be copied.
    wrapped.__doc__ = (command.__doc__ or "").replace("Example:", "\b\n    Example:")
    return wrapped


def with_administration(command: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Runs an async command, which gets an `Administration`. Refuses another installation's database."""

    async def work(config: Config, stores: Stores, options: dict[str, Any]) -> None:
        keyring = await open_keyring(config, stores.changes)
        await command(Administration(config, stores, caller(), keyring, warn=warn), **options)

    return config_option(_on_stores(work, command))


def with_ledger(command: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Runs an async command that needs no master key; it gets a `LedgerAdministration`."""

    async def work(config: Config, stores: Stores, options: dict[str, Any]) -> None:
        await command(LedgerAdministration(config, stores, caller(), warn=warn), **options)

    return config_option(_on_stores(work, command))


def warn(text: str) -> None:
    """Prints a warning."""
    click.echo(f"Warning: {text}", err=True)


def _on_stores(
    work: Callable[[Config, Stores, dict[str, Any]], Awaitable[None]], command: Callable[..., Any]
) -> Callable[..., None]:
    @functools.wraps(command)
    def wrapped(config: Config, **options: Any) -> None:
        async def main(dsn: str) -> None:
            async with open_stores(dsn) as stores:
                await work(config, stores, options)

        set_up_logging("warning")
        reading = only_reads(command, options)
        with database(config, create=not reading) as dsn:
            if reading:
                interruptible(lambda: check_schema(dsn))
            else:
                interruptible(lambda: ensure_schema(config, dsn))
            asyncio.run(main(dsn))

    return wrapped


def caller() -> Actor:
    """Returns who runs this command, for the audit log: the account, also before sudo, and the machine."""
    try:
        name = os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):  # an account without a name
        name = str(os.getuid())
    return Actor(name, Via.COMMAND, platform.node() or "local")


def exit_on_error(work: Callable[[], Any], hint: str = "", outcome: str = "") -> None:
    """Does the work of a command, and ends it at an error with one line. `hint` follows that of a database that cannot
    be reached, `outcome` that of output that cannot be written."""
    try:
        try:
            work()
        except SystemExit:
            check_output(outcome)
            raise
        except OSError as error:
            check_write(error, outcome)
            raise
        check_output(outcome)
    except ConfigError as error:
        for line in error.errors:
            echo_error(line)
        sys.exit(2)
    except OutputFailed as error:
        if not error.is_silent:
            echo_error(f"Error: {error.message}")
        sys.exit(1)
    except InvalidValue as error:
        message, code = _of_command_line(error)
        echo_error(f"Error: {' '.join(message.splitlines())}")
        sys.exit(code)
    except AgentError as error:
        # The usual reason: the server was started with a configuration file, and this command without it.
        suffix = hint if isinstance(error, StoreUnavailable) else ""
        if isinstance(error, UpstreamError) and error.cause:
            suffix = f" {error.cause}"
        echo_error(f"Error: {' '.join(error.message.splitlines())}{suffix}")
        sys.exit(1)


class WrongOptions(InvalidValue):
    """Options that contradict each other."""


def _of_command_line(error: InvalidValue) -> tuple[str, int]:
    """Returns the message, with the option in the place of its field (`expires_at: …` is `--expires: …`), and the exit
    code: 2 if an option or argument of the current command is wrong; 1 if a name breaks a rule."""
    field, is_field, text = error.message.partition(": ")
    context = click.get_current_context(silent=True)
    for param in context.command.params if context and is_field else ():
        if field == param.name and isinstance(param, click.Option):
            return f"{param.opts[0]}: {text}", 2
        named = isinstance(param, click.Option) and field.partition(" ")[0] in param.opts
        if named or field == str(param.name).upper():
            return error.message, 2
    return error.message, 2 if isinstance(error, WrongOptions) else 1


def read_secret(name: str, *, from_stdin: bool) -> str:
    """Reads a secret from standard input or a prompt. Every account can read the command line of a process."""
    if from_stdin:
        return sys.stdin.buffer.readline().decode("utf-8", "replace").strip()
    if not sys.stdin.isatty():
        raise click.UsageError(f"no terminal for the prompt: pipe the {name} in with --openai-key-stdin")
    return _prompt(name, hide=True).strip()


def read_password(*, from_stdin: bool) -> str:
    """Reads a new password from standard input, or twice from a prompt. Spaces at its ends belong to it."""
    if from_stdin:
        try:
            return sys.stdin.buffer.readline().decode().rstrip("\r\n")
        except UnicodeDecodeError:
            raise InvalidValue("password: standard input is not UTF-8") from None
    if not sys.stdin.isatty():
        raise click.UsageError("no terminal for the prompt: pipe the password in with --password-stdin")
    password = _prompt("Password", hide=True)
    if _prompt("The same again", hide=True) != password:
        raise InvalidValue("the passwords differ: nothing was changed")
    return password


def read_passphrase(*, twice: bool) -> str:
    """Reads the passphrase of a backup from a prompt; `twice`, if it is a new one."""
    if not sys.stdin.isatty():
        raise click.UsageError("no terminal for the prompt: give --passphrase-file")
    passphrase = _prompt("Passphrase", hide=True)
    if twice and _prompt("The same again", hide=True) != passphrase:
        raise InvalidValue("the passphrases differ: nothing was written")
    return passphrase


def confirm_name(prompt: str, name: str, *, yes: bool) -> None:
    """Asks for a name again before something that cannot be undone. Raises InvalidValue if the names differ."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("no terminal for the prompt: give --yes")
    if _prompt(prompt, hide=False).strip() != name:
        raise InvalidValue("the names differ: nothing was changed")


def _prompt(text: str, *, hide: bool) -> str:
    # asyncio's handler would leave Ctrl-C to the event loop, which this prompt blocks.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return str(click.prompt(text, hide_input=hide, err=True))
    finally:
        signal.signal(signal.SIGINT, before)


def usd(amount: Decimal | None) -> Amount:
    """Formats an amount exactly, without trailing zeros."""
    return Amount() if amount is None else Amount(format_usd(amount))


def echo_findings(findings: Sequence[Finding]) -> None:
    """Prints what is wrong with the ledger, or that nothing is."""
    if findings:
        lines = [(finding.check, finding.subject, finding.text) for finding in findings]
        echo_table(["check", "subject", "finding"], lines)
    else:
        click.echo("The ledger is consistent.")


def echo_json(value: object) -> None:
    """Prints JSON; decimals as strings, which no reader rounds."""
    click.echo(msgspec.json.format(msgspec.json.encode(plain_values(value), enc_hook=str), indent=2))


def echo_csv(headers: Sequence[str], lines: Iterable[Sequence[object]], form: str = "csv") -> None:
    """Prints CSV; with the form `csv-excel` as Excel reads it, in UTF-8 whatever the terminal's encoding."""
    if form == EXCEL:
        click.echo(csv_text(headers, lines, excel=True).encode(), nl=False)
    else:
        click.echo(csv_text(headers, lines), nl=False)
