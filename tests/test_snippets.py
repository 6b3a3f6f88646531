"""Every command and snippet of the documentation can be parsed. tests/support/snippet_rules.py says which tests run
them; besides, examples of prices run in cli/test_price.py, those of a reconciliation in cli/test_reconcile_example.py.
"""

import configparser
import csv
import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from chatgpt_agent.adapters.config import FIELDS
from chatgpt_agent.adapters.config_loading import load_config
from chatgpt_agent.cli.main import main
from chatgpt_agent.web.admin.routes import ROUTES
from tests.support.database import connected
from tests.support.snippets import PAGES, Snippet, faults, our_commands, shell_lines, snippets
from tests.test_docs import HISTORY, prose

# Keys of other programs' files: Prometheus, Traefik, LibreChat, Continue, LiteLLM, Any-LLM.
OTHER_PROGRAMS = {"rule_files", "scrape_configs", "entryPoints", "providers", "http", "version", "name", "model_list"}
FILES = re.compile(r"/etc/chatgpt-agent/\S+")


def commands_of(language: str) -> list[str]:
    """Returns what is wrong with each command of ours in the blocks of a language."""
    return [
        f"{snippet}: {' '.join(args)}: {fault}"
        for snippet in snippets(language)
        for line in shell_lines(snippet)
        for args in our_commands(line)
        if (fault := faults(args))
    ]


@pytest.mark.parametrize("language", ["sh", "console"])
def test_commands_exist(language: str) -> None:
    """Each command has the options and arguments that it is shown with, and their values are valid."""
    assert commands_of(language) == []


def test_commands_in_sentences_exist() -> None:
    """Commands in the text have them, too; there values may be placeholders."""
    spans = [
        (page.name, span.split())
        for page in PAGES
        if page not in HISTORY
        for span in re.findall(r"`chatgpt-agent ([a-z][^`]*)`", re.sub(r"\s+", " ", prose(page)))
    ]
    assert [(page, args) for page, args in spans if faults(args, placeholders=True)] == []
    assert len(spans) > 20


def test_short_names_of_commands_exist() -> None:
    """What the text calls `user add` is a command of the group `user`."""
    pattern = re.compile(rf"`({'|'.join(name for name in main.commands)}) ([a-z][a-z-]+)\b[^`]*`")
    for page in PAGES:
        for group, name in [] if page in HISTORY else pattern.findall(prose(page)):
            assert name in getattr(main.commands[group], "commands", [name]), (page.name, group, name)


def test_wrong_command_is_noticed() -> None:
    """The checks see a command, an option, a value and an argument that do not exist, and none that does."""
    line = "PORT=1 chatgpt-agent user ad x && sudo -u a /opt/chatgpt-agent token list --jsn | chatgpt-agent price set m"
    wrong = [bool(faults(args)) for args in our_commands(f"{line} --input x > file")]
    assert wrong == [True, True, True]
    assert faults(["budget", "set", "5", "--user", "alice", "--period", "year"])
    assert not faults(["budget", "set", "5", "--user", "alice", "--period", "month"])


def test_shell_syntax() -> None:
    """bash can read each block of commands."""
    for snippet in snippets("sh"):
        check = subprocess.run(["bash", "-n"], input=snippet.text, capture_output=True, text=True, check=False)
        assert (check.returncode, check.stderr) == (0, ""), str(snippet)


def is_ours(content: object) -> bool:
    """Whether the content of a block is a configuration of the agent."""
    return isinstance(content, dict) and not set(content) & OTHER_PROGRAMS


@pytest.mark.parametrize("snippet", snippets("yaml"), ids=str)
def test_yaml(snippet: Snippet, tmp_path: Path) -> None:
    """YAML can be read, and what belongs into the agent's file is a valid configuration."""
    content = yaml.safe_load(snippet.text)
    if not is_ours(content):
        return
    assert set(content) <= set(FIELDS)
    for name in FILES.findall(snippet.text):
        (tmp_path / Path(name).name).touch()
    path = tmp_path / "config.yml"
    path.write_text(FILES.sub(lambda match: str(tmp_path / Path(match[0]).name), snippet.text))
    load_config(path, {})


@pytest.mark.parametrize("snippet", snippets("json", "toml", "ini", "csv", "python"), ids=str)
def test_syntax(snippet: Snippet) -> None:
    """JSON, TOML, INI, CSV and Python can be read. JSON with `…` is cut."""
    match snippet.language:
        case "json":
            assert "…" in snippet.text or json.loads(snippet.text)
        case "toml":
            assert tomllib.loads(snippet.text)
        case "ini":
            configparser.ConfigParser(strict=False).read_string(snippet.text)
        case "csv":
            assert len({len(row) for row in csv.reader(snippet.text.splitlines())}) == 1
        case _:
            compile(snippet.text, str(snippet), "exec")


@pytest.mark.parametrize("snippet", snippets("js"), ids=str)
def test_javascript_syntax(snippet: Snippet, tmp_path: Path) -> None:
    """Node.js can read the block as a module."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("there is no Node.js")
    path = tmp_path / "snippet.mjs"
    path.write_text(snippet.text)
    assert subprocess.run([node, "--check", str(path)], check=False).returncode == 0


def test_crontab_lines_have_five_fields_and_a_command() -> None:
    """A line of a crontab begins with five fields of a time; its commands exist."""
    for snippet in snippets("crontab"):
        for line in snippet.text.splitlines():
            *times, command = line.split(None, 5)
            assert all(re.fullmatch(r"[\d*,/-]+", field) for field in times)
            assert [faults(args) for args in our_commands(command)] == [""]


def test_requests_to_the_rest_api_have_a_route() -> None:
    """Each curl at `$B` of docs/admin-api.md is for a method and path that exist."""
    routes = [(route.method, re.compile(re.sub(r"\{\w+\}", "[^/]+", route.path))) for route in ROUTES]
    lines = [
        line for snippet in snippets("console") for line in shell_lines(snippet) if "curl" in line and "$B/" in line
    ]
    for line in lines:
        path = re.findall(r"\$B(/[^\s?\"]*)", line)[0]
        method = (re.findall(r"-X (\w+)", line) or ["POST" if "--json" in line or "--data" in line else "GET"])[0]
        assert any(method == verb and pattern.fullmatch(path) for verb, pattern in routes), line
    assert len(lines) > 15


def test_sql_creates_role_and_database(postgres: str) -> None:
    """The statements of docs/deployment.md give a role that can sign in a database of its own."""
    [snippet] = [each for each in snippets("sql") if each.page == "docs/deployment.md"]
    statements = re.sub(r"\bagent\b", "documented_agent", snippet.text).split(";")[:-1]
    owner = """SELECT rolcanlogin FROM pg_roles JOIN pg_database ON datdba = pg_roles.oid
        WHERE datname = rolname AND rolname = 'documented_agent'"""
    with connected(postgres) as cursor:
        try:
            for statement in statements:
                cursor.execute(statement)
            cursor.execute(owner)
            assert cursor.fetchall() == [(True,)]
        finally:
            cursor.execute("DROP DATABASE IF EXISTS documented_agent")
            cursor.execute("DROP ROLE IF EXISTS documented_agent")
