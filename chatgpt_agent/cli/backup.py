"""The commands `chatgpt-agent backup` and `chatgpt-agent restore`."""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import click

from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.logs import set_up_logging
from chatgpt_agent.admin import backup as backups
from chatgpt_agent.admin import restore as restores
from chatgpt_agent.cli.common import caller, config_option, echo_findings, echo_json, read_passphrase, usd, warn
from chatgpt_agent.cli.effects import reads_with
from chatgpt_agent.cli.formats import json_option
from chatgpt_agent.core.backup import Manifest
from chatgpt_agent.core.moments import show_second

passphrase_option = click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="With --with-key: a file with the passphrase, which only its owner can read; default: a prompt.",
)


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--with-key", is_flag=True, help="Add the master key, encrypted by a passphrase.")
@passphrase_option
@click.option("--force", is_flag=True, help="Replace the file if it exists.")
@json_option
@config_option
def backup(
    config: Config, *, file: Path, with_key: bool, passphrase_file: Path | None, force: bool, json: bool
) -> None:
    """Write a backup to a file.

    It has the database, the outbox of this data_dir and the configuration without secrets. Agents may run meanwhile.
    Without the master key, which --with-key adds, a backup cannot be used: keep a copy of the key elsewhere.

    Example: chatgpt-agent backup /var/backups/agent.tar
    """
    set_up_logging("warning")
    passphrase = _passphrase(passphrase_file, twice=True) if _wants_key(with_key, passphrase_file) else None
    with _stopped_by_sigterm():
        done = backups.back_up(config, file, actor=caller(), force=force, passphrase=passphrase)
    for warning in done.warnings:
        warn(warning)
    if json:
        echo_json(done)
        return
    click.echo(f"{file} has been written: {done.size} bytes. It has what was recorded before {_moment(done.manifest)}.")
    click.echo(_summary(done.manifest))
    if not with_key:
        click.echo("It does not have the master key: keep a copy of that elsewhere.")
    if done.manifest.contents.archives:
        click.echo("It does not have the rows of archived months: back up the folder of their files, too.")


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--check", is_flag=True, help="Restore into a temporary database, verify it, and drop it.")
@click.option("--with-key", is_flag=True, help="Restore the master key, too; with --check: try its passphrase.")
@passphrase_option
@click.option("--database-only", is_flag=True, help="Leave data_dir as it is: for an agent whose outbox is intact.")
@json_option
@config_option
@reads_with(check=True)
def restore(
    config: Config,
    *,
    file: Path,
    check: bool,
    with_key: bool,
    passphrase_file: Path | None,
    database_only: bool,
    json: bool,
) -> None:
    """Restore a backup, or check it.

    The database and data_dir must be empty. All checksums are compared first. An older backup is migrated. At the end
    the ledger is verified; exit code 1 if there is a finding. If a restore is interrupted, the same command goes on; no
    agent starts before it is finished.

    Example: chatgpt-agent restore /var/backups/agent.tar --check
    """
    if check and database_only:
        raise click.UsageError("give --check or --database-only, not both: a check writes nothing to data_dir")
    if with_key and database_only:
        raise click.UsageError("give --with-key or --database-only, not both: the key is in data_dir")
    set_up_logging("warning")
    passphrase = _passphrase(passphrase_file, twice=False) if _wants_key(with_key, passphrase_file) else None
    with _stopped_by_sigterm():
        if check:
            done = restores.check(config, file, actor=caller(), passphrase=passphrase)
        else:
            done = restores.restore(config, file, actor=caller(), passphrase=passphrase, database_only=database_only)
    _echo_restored(done, check=check, json=json)
    if done.findings:
        sys.exit(1)


def _echo_restored(done: restores.Restored, *, check: bool, json: bool) -> None:
    for warning in done.warnings:
        warn(warning)
    if json:
        echo_json(done)
        return
    outcome = "can be restored" if check else f"has been restored into the database {done.database}"
    click.echo(f"The backup of {_moment(done.manifest)} {outcome}.")
    click.echo(_summary(done.manifest))
    if done.migrated:
        click.echo(f"Migrated: {', '.join(done.migrated)}")
    echo_findings(done.findings)


def _summary(manifest: Manifest) -> str:
    contents, outbox = manifest.contents, manifest.outbox
    cost = "" if contents.cost is None else f", {usd(contents.cost)} USD"
    shipped = "" if outbox is None else f"; outbox: {outbox.rows} rows to ship, {outbox.intents} requests in progress"
    return f"Ledger: {contents.requests} rows{cost}{shipped}"


def _moment(manifest: Manifest) -> str:
    return f"{show_second(manifest.at)} UTC"


def _wants_key(with_key: bool, passphrase_file: Path | None) -> bool:
    if passphrase_file is not None and not with_key:
        raise click.UsageError("--passphrase-file is the passphrase of --with-key")
    return with_key


def _passphrase(file: Path | None, *, twice: bool) -> str:
    return read_passphrase(twice=twice) if file is None else backups.passphrase_in(file)


@contextlib.contextmanager
def _stopped_by_sigterm() -> Iterator[None]:
    """Lets SIGTERM do what Ctrl-C does, so that no temporary file or database is left."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
