"""What all commands share: help, configuration, and errors of one line."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import click
import pytest

from chatgpt_agent import __version__
from tests.support.commands import KEY, Cli, leaf_commands

COMMANDS = list(leaf_commands())
# Without `demo`, which reads none, and `doctor`, which makes an invalid configuration one of its results.
CONFIGURED = [command for command in COMMANDS if command not in ("completion", "demo", "doctor")]
# The arguments that each of them requires.
ARGUMENTS = {
    "import-legacy": ["-"],
    "user add": ["alice", "--openai-key-stdin"],
    "user show": ["alice"],
    "user disable": ["alice"],
    "user enable": ["alice"],
    "user set-key": ["alice", "--openai-key-stdin"],
    "user set": ["alice", "--rpm", "1"],
    "user remove": ["alice", "--yes"],
    "user rename": ["alice", "bob"],
    "user import": ["-"],
    "token issue": ["alice"],
    "token set": ["1", "--rpm", "1"],
    "token rotate": ["1"],
    "token revoke": ["1"],
    "admin token": ["carol"],
    "admin password": ["carol", "--password-stdin"],
    "admin revoke": ["carol"],
    "price set": ["m", "--input", "1", "--output", "1"],
    "price remove": ["m"],
    "price cancel": ["1"],
    "budget set": ["1", "--user", "alice"],
    "budget raise": ["9", "--user", "alice", "--until", f"{datetime.now(UTC) + timedelta(days=2):%Y-%m-%d}"],
    "budget remove": ["1"],
    "price import": ["prices.csv"],
    "price check": ["prices.csv"],
    "price surcharge set": ["web_search", "0.01"],
    "price surcharge cancel": ["1"],
    "price what-if": ["--all", "--since", "2026-11-01"],
    "backup": ["/nowhere/b.tar"],
    "restore": ["/nowhere/b.tar"],
    "ledger reconcile": ["usage.json"],
    "ledger prune": ["--before", "2025-01"],
    "ledger correct": [str(UUID(int=1)), "--input", "1", "--output", "1", "--reason", "why"],
}
WITHOUT_A_DATABASE = {
    "serve", "demo", "healthcheck", "config check", "config show", "completion", "doctor", "backup", "restore",
    "database upgrade", "version",
}  # fmt: skip
ON_A_DATABASE = [command for command in COMMANDS if command not in WITHOUT_A_DATABASE]
ON_A_MASTER_KEY = [
    command for command in ON_A_DATABASE if command.split()[0] not in ("migrate", "usage", "ledger", "audit", "budget")
]


def arguments_of(command: str) -> list[str]:
    """Returns a valid command line."""
    return [*command.split(), *ARGUMENTS.get(command, [])]


def key_file(path: Path, text: str = "k" * 44, mode: int = 0o600) -> str:
    """Writes a file like a master key and returns its name."""
    path.write_text(text)
    path.chmod(mode)
    return str(path)


# Help.


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command: str) -> None:
    """The help of every command has an example that begins with the command, in one line that can be copied."""
    help_ = Cli({}).ok(*command.split(), "--help")
    _, _, example = (leaf_commands()[command].help or "").partition("Example: ")
    assert example.startswith(f"chatgpt-agent {command}")
    assert f"  Example: {example.strip()}" in help_


@pytest.mark.parametrize("command", sorted({*COMMANDS} - {"serve", "completion"}))
def test_every_command_can_print_json(command: str) -> None:
    """Programs read JSON; `serve` prints nothing, and `completion` a script. Both options are accepted everywhere."""
    choices = [parameter.type for parameter in leaf_commands()[command].params if "--format" in parameter.opts]
    formats = [name for choice in choices if isinstance(choice, click.Choice) for name in choice.choices]
    options = {option for parameter in leaf_commands()[command].params for option in parameter.opts}
    assert "--json" in options
    assert "json" in formats


@pytest.mark.parametrize("command", ["", *sorted({command.split()[0] for command in COMMANDS if " " in command})])
def test_help_of_a_group_lists_its_commands(command: str) -> None:
    """Each command has a line that says what it does."""
    help_ = Cli({}).ok(*command.split(), "-h" if not command else "--help")
    below = {name.removeprefix(command).split()[0] for name in COMMANDS if name.startswith(command)}
    listed = [line.split() for line in help_.partition("Commands:")[2].splitlines() if line.strip()]
    assert {args[0] for args in listed} == below
    assert all(len(args) > 1 for args in listed)


@pytest.mark.parametrize("command", ["", *sorted({command.split()[0] for command in COMMANDS if " " in command})])
def test_help_of_a_group_shows_whole_sentences(command: str) -> None:
    """click cuts a first sentence that is too long for the list."""
    assert "..." not in Cli({}).ok(*command.split(), "--help").partition("Commands:")[2]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ("token revoke abc", "'abc' is not an ID, a whole number from 1"),
        ("usage report --token 0", "'0' is not an ID, a whole number from 1"),
        ("usage report --since 2026-13-01", "'2026-13-01' is not a day such as 2026-11-23"),
        ("audit list --since today", "'today' is not a date such as 2026-11-23 or 2026-11-23T18:00:00"),
        ("ledger reconcile x.json --month 11", "'11' is not a month such as 2026-11"),
    ],
)
def test_invalid_argument_is_refused_with_an_example(arguments: str, text: str) -> None:
    """The message says what was found and what is allowed, without Python's format codes."""
    assert Cli({}).refused(*arguments.split(), code=2)[-1].endswith(text)


def test_python_dash_m_runs_the_program(shared_cli: Cli) -> None:
    """`python -m chatgpt_agent` is the same program."""
    done = shared_cli.process("--version")
    assert (done.returncode, done.stdout.decode().splitlines()[0]) == (0, f"chatgpt-agent, version {__version__}")


# Where the configuration comes from.


@pytest.mark.parametrize("command", CONFIGURED)
def test_every_command_has_the_option_config(command: str) -> None:
    """A missing file is one line that names it, exit code 2."""
    [line] = Cli({}).refused(*arguments_of(command), "--config", "/nowhere/config.yml", code=2, stdin=KEY)
    assert line == "/nowhere/config.yml: cannot be read: No such file or directory"


@pytest.mark.parametrize("command", CONFIGURED)
def test_environment_names_the_file_without_an_option(command: str, tmp_path: Path) -> None:
    """Every command reads CHATGPT_AGENT_CONFIG."""
    file = tmp_path / "config.yml"
    file.write_text("port: high")
    [line] = Cli({"CHATGPT_AGENT_CONFIG": str(file)}).refused(*arguments_of(command), code=2, stdin=KEY)
    assert line.startswith(f"{file}: port: found 'high'; allowed: ")


def test_option_overrides_the_environment(shared_cli: Cli, tmp_path: Path) -> None:
    """The file that the environment names is not read then."""
    file = tmp_path / "config.yml"
    file.write_text("log_level: error")
    args = ["user", "list", "--config", str(file)]
    result = shared_cli.run(*args, settings={"CHATGPT_AGENT_CONFIG": "/nowhere/config.yml"})
    assert result.exit_code == 0


def test_configuration_file_is_sufficient(cli: Cli, tmp_path: Path) -> None:
    """Folders in the file are relative to it."""
    file = tmp_path / "config.yml"
    file.write_text(f'database_url: "{cli.settings["DATABASE_URL"]}"\ndata_dir: kept here\n')
    Cli({}).ok("user", "list", "--config", str(file))
    assert (tmp_path / "kept here" / "master.key").exists()


def test_variable_overrides_the_file(shared_cli: Cli, tmp_path: Path) -> None:
    """DATABASE_URL is taken from the environment, not from the file."""
    file = tmp_path / "config.yml"
    file.write_text(f"database_url: host={tmp_path}/nowhere")
    assert shared_cli.ok("user", "list", "--config", str(file))


# Errors in the configuration.


def test_all_errors_are_reported_at_once(tmp_path: Path) -> None:
    """Each error of file and environment is one line, and the exit code is 2."""
    file = tmp_path / "config.yml"
    file.write_text("port: 70000\nprot: 1\nopenai_url: ftp://x\ndrain_timeout: soon\n")
    lines = Cli({"LOG_LEVEL": "loud"}).refused("user", "list", "--config", str(file), code=2)
    assert len(lines) == 5
    assert {line.split(": ")[1] for line in lines} == {"port", "prot", "openai_url", "drain_timeout", "log_level"}


BAD_FILES = [
    "port: [",
    "- a\n- b",
    "just text",
    "port: 1\nport: 2",
    "port: 1: 2",
    "\x00",
    "\t- a",
    "? [a]\n: b",
    "&a [*a]",
]


@pytest.mark.parametrize("text", BAD_FILES)
def test_invalid_configuration_file_is_one_line(tmp_path: Path, text: str) -> None:
    """The line names the file."""
    file = tmp_path / "config.yml"
    file.write_text(text)
    [line] = Cli({}).refused("user", "list", "--config", str(file), code=2)
    assert line.startswith(f"{file}:")


def test_folder_instead_of_a_file_is_one_line(tmp_path: Path) -> None:
    """The line names the folder."""
    [line] = Cli({}).refused("user", "list", "--config", str(tmp_path), code=2)
    assert line == f"{tmp_path}: cannot be read: Is a directory"


def test_configuration_error_of_a_process_is_one_line() -> None:
    """The exit code is 2, and there is no traceback."""
    done = Cli({"PORT": "high"}).process("serve")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode().splitlines() == [
        "environment PORT: port: found 'high'; allowed: a port, 0 to 65535 (0: any that is free)"
    ]


@pytest.mark.parametrize("url", ["postgresql://u:geheim@[::1/x", "geheim", "postgresql://u:geheim@h/x?what=1"])
def test_error_in_a_database_url_does_not_show_it(url: str, tmp_path: Path) -> None:
    """The URL may contain a password."""
    [line] = Cli({"DATABASE_URL": url, "DATA_DIR": str(tmp_path)}).refused("user", "list", code=2)
    assert "database_url" in line
    assert "geheim" not in line


# Errors of the environment.


@pytest.mark.parametrize("command", ON_A_DATABASE)
def test_unreachable_database_is_one_line(command: str, tmp_path: Path, refused_port: int) -> None:
    """The exit code is 1, and the error does not show the password."""
    url = f"postgresql://agent:geheim@127.0.0.1:{refused_port}/books"
    [line] = Cli({"DATABASE_URL": url, "DATA_DIR": str(tmp_path)}).refused(*arguments_of(command), stdin=KEY)
    assert line.startswith("Error: the database cannot be reached: ")
    assert "geheim" not in line


def test_database_password_is_not_shown(tmp_path: Path, refused_port: int) -> None:
    """DATABASE_PASSWORD does not appear in the output."""
    settings = {"DATABASE_ADDRESS": f"127.0.0.1:{refused_port}", "DATABASE_PASSWORD": "geheim"}
    [line] = Cli({**settings, "DATA_DIR": str(tmp_path)}).refused("user", "list")
    assert line.startswith("Error: the database cannot be reached: ")
    assert "geheim" not in line


def test_missing_database_is_one_line(cli: Cli) -> None:
    """The exit code is 1."""
    dsn = f"{cli.settings['DATABASE_URL']}_missing"
    [line] = cli.refused("user", "list", settings={"DATABASE_URL": dsn})
    assert line.startswith("Error: the database cannot be reached: ")


@pytest.mark.parametrize("command", ON_A_MASTER_KEY)
def test_another_master_key_is_one_line(shared_cli: Cli, command: str, tmp_path: Path) -> None:
    """The exit code is 1, and nothing is done: the database's keys could not be decrypted."""
    shared_cli.ok("user", "list")
    other = {"MASTER_KEY_FILE": key_file(tmp_path / "other.key")}
    [line] = shared_cli.refused(*arguments_of(command), stdin=KEY, settings=other)
    assert line.startswith("Error: the master key ")
    assert "not the one" in line


def test_missing_master_key_is_one_line(cli: Cli, tmp_path: Path) -> None:
    """A database that has a master key gets no new one."""
    cli.ok("user", "list")
    [line] = cli.refused("user", "list", settings={"DATA_DIR": str(tmp_path / "elsewhere")})
    assert "is missing" in line
    assert not (tmp_path / "elsewhere" / "master.key").exists()


@pytest.mark.parametrize(("text", "mode"), [("short", 0o600), ("", 0o600), ("k" * 44, 0o640), ("k" * 44, 0o604)])
def test_insecure_master_key_is_one_line(shared_cli: Cli, tmp_path: Path, text: str, mode: int) -> None:
    """A key that is too short or readable by others: exit code 1."""
    file = key_file(tmp_path / "bad.key", text, mode)
    [line] = shared_cli.refused("user", "list", settings={"MASTER_KEY_FILE": file})
    assert line.startswith("Error: the master key ")


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_data_folder_that_cannot_be_created_is_one_line(cli: Cli, tmp_path: Path, place: str) -> None:
    """The exit code is 1; the line names the folder."""
    (tmp_path / "file").write_text("in the way")
    [line] = cli.refused("user", "list", settings={"DATA_DIR": str(tmp_path / place)})
    assert str(tmp_path / place) in line


def test_unreachable_database_without_a_file_hints_at_the_file(tmp_path: Path) -> None:
    """A second terminal often lacks the configuration file."""
    cli = Cli({"DATABASE_ADDRESS": str(tmp_path), "DATA_DIR": str(tmp_path)})
    [line] = cli.refused("user", "list")
    assert line.endswith("(without a configuration file: give --config FILE or CHATGPT_AGENT_CONFIG)")


def test_database_url_that_is_not_text_is_an_error() -> None:
    """A process ends with exit code 2, and without a traceback."""
    done = Cli({"DATABASE_URL": "postgresql://u:\udcff@127.0.0.1/x"}).process("user", "list")
    assert (done.returncode, b"Traceback" in done.stderr) == (2, False)
