"""No block of code in the documentation is without a test; and the tests of blocks that no other file runs."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import trustme
from psycopg2.extensions import parse_dsn

from tests.cli.test_prune import fill
from tests.support.commands import Cli
from tests.support.database import connected, query
from tests.support.snippet_rules import NOT_RUN, OTHER_PROGRAMS, RUN, Rule, program, untested
from tests.support.snippets import PAGES, ROOT, Snippet, shell_lines, simple_commands, snippets

FENCE = re.compile(r"^ *(`{3,}|~{3,})(.*)$", re.MULTILINE)
LANGUAGES = {match for page in PAGES for _, match in FENCE.findall(page.read_text("utf-8"))}
ALL = snippets(*LANGUAGES)
OURS = re.compile(
    r"(?<![\w/.])(?:(?:packaging|scripts|tests|benchmarks)/[\w./-]+(?![\w./{-])|[\w.-]+\.lock|config\.example\.yml)"
)


def of_page(page: str, language: str, start: str = "") -> str:
    """Returns the only block of a page in a language that begins with a text."""
    [block] = [each.text for each in snippets(language) if each.page == page and each.text.startswith(start)]
    return block


def other_commands() -> list[list[str]]:
    """Returns the commands of other programs."""
    lines = [line for snippet in snippets("sh", "console") for line in shell_lines(snippet)]
    return [args for line in lines for args in simple_commands(line) if program(args) in OTHER_PROGRAMS]


# The rules.


def test_every_block_has_a_test() -> None:
    """Each is parsed, run by a test that is named, or cannot be run for a reason."""
    assert [f"{snippet}: {missing}" for snippet in ALL if (missing := untested(snippet))] == []
    assert len(ALL) > 150


def test_every_block_has_a_language() -> None:
    """A fence opens with one, and closes without."""
    for page in PAGES:
        languages = [language for _, language in FENCE.findall(page.read_text("utf-8"))]
        assert all(languages[::2]), page
        assert not any(languages[1::2]), page


@pytest.mark.parametrize("rule", [*RUN, *NOT_RUN], ids=lambda rule: f"{rule.page}-{rule.language}-{rule.start}")
def test_rule_is_for_a_block(rule: Rule) -> None:
    """A block that is gone takes its rule with it."""
    assert [snippet for snippet in ALL if rule.matches(snippet)]


@pytest.mark.parametrize("value", sorted({rule.value for rule in RUN}))
def test_rule_names_a_test(value: str) -> None:
    """The test that runs a block exists."""
    file, _, name = value.partition("::")
    assert re.search(rf"def {name}\(", (ROOT / file).read_text("utf-8"))


def test_no_program_is_listed_in_vain() -> None:
    """Each program that is not run occurs in a command."""
    assert OTHER_PROGRAMS.keys() - {program(args) for args in other_commands()} == set()


@pytest.mark.parametrize(
    ("language", "text", "missing"),
    [
        ("sql", "SELECT 1", "a block of sql"),
        ("sh", "rsync a b", "rsync"),
        ("console", "$ chatgpt-agent user list\nname", "a block of console"),
        ("sh", "chatgpt-agent user list | sudo -u x tee y", "tee"),
        ("yaml", "a: 1", ""),
        ("sh", "X=1 chatgpt-agent user list", ""),
    ],
)
def test_block_without_a_test_is_noticed(language: str, text: str, missing: str) -> None:
    """A new block needs a rule, unless it is parsed."""
    assert untested(Snippet("docs/new.md", 1, language, text)) == missing


# Commands of other programs.


def test_files_in_commands_exist() -> None:
    """What a command names of this repository is there."""
    names = {name for args in other_commands() for arg in args for name in OURS.findall(arg)}
    assert {name for name in names if not (ROOT / name).exists()} <= {"packaging/.env"}  # which a command writes
    assert len(names) > 5


def test_extras_in_commands_exist() -> None:
    """Every extra that `pip install` names is one of the package."""
    extras_of_setup = (ROOT / "setup.py").read_text("utf-8").partition("extras_require={")[2]
    own = set(re.findall(r'^ {8}"(\w+)":', extras_of_setup, re.MULTILINE))
    extras = [
        name for args in other_commands() for arg in args for name in re.findall(r"^(?:\.|chatgpt-agent)\[(.+)\]$", arg)
    ]
    assert {extra for name in extras for extra in name.split(",")} <= own
    assert extras


def test_log_has_what_journalctl_looks_for() -> None:
    """The pattern of docs/install.md is part of the agent's message."""
    [pattern] = [args[args.index("--grep") + 1] for args in other_commands() if "--grep" in args]
    assert any(pattern in path.read_text("utf-8") for path in (ROOT / "chatgpt_agent").rglob("*.py"))


def test_database_of_the_installation_is_created(postgres: str) -> None:
    """The commands of docs/install.md give an account of the service's name a database of its own, in UTF-8."""
    if shutil.which("createdb") is None:
        pytest.skip("PostgreSQL's client is not installed")
    target = parse_dsn(postgres)
    script = of_page("docs/install.md", "sh", "sudo -u postgres")
    name = "chatgpt-agent-of-the-page"
    environ = os.environ | {"PGHOST": target["host"], "PGPORT": target["port"], "PGUSER": target["user"]}
    try:
        text = re.sub(r"\bchatgpt-agent\b", name, script)
        subprocess.run(["bash", "-ec", f'sudo() {{ shift 2; "$@"; }}\n{text}'], env=environ, check=True)
        sql = """SELECT rolname, pg_encoding_to_char(encoding), rolsuper
            FROM pg_roles JOIN pg_database ON datdba = pg_roles.oid WHERE datname = %s"""
        assert query(postgres, sql, [name]) == [(name, "UTF8", False)]
    finally:
        for kind in ("DATABASE", "ROLE"):
            query(postgres, f'DROP {kind} IF EXISTS "{name}"')


# SQL.


def test_trigger_is_the_one_of_the_schema(dsn: str) -> None:
    """What docs/operations/distributed.md creates on the way back is what the migrations have created."""
    statement = "CREATE TRIGGER" + of_page("docs/operations/distributed.md", "sql").partition("CREATE TRIGGER")[2]
    definition = "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgname = 'usage_audit' AND tgparentid = 0"
    before = query(dsn, definition)
    with connected(dsn) as cursor:
        cursor.execute(f"DROP TRIGGER usage_audit ON usage; {statement}")
    assert query(dsn, definition) == before
    assert len(before) == 1


def test_psql_reads_an_archive(dsn: str, tmp_path: Path) -> None:
    """With the commands of docs/operations/retention.md, every row of an archived month is in a table again."""
    if shutil.which("psql") is None:
        pytest.skip("psql is not installed")
    cli = fill(Cli({"DATABASE_URL": dsn, "DATA_DIR": str(tmp_path / "data")}))
    sums = "SELECT count(*), sum(cost) FROM {} WHERE started_at < '2026-02-01Z'"
    expected = query(dsn, sums.format("usage"))
    cli.ok("ledger", "prune", "--before", "2026-02")
    [file] = (tmp_path / "data").rglob("usage-2026-01-*.csv.gz")
    script = of_page("docs/operations/retention.md", "sql").replace("usage-2025-11-1f0c2a9b.csv.gz", file.name)
    command = ["psql", "--quiet", "--no-psqlrc", "--set", "ON_ERROR_STOP=1", dsn]
    subprocess.run(command, input=script, text=True, cwd=file.parent, check=True)
    assert query(dsn, sums.format("usage_2025_11_again")) == expected
    assert expected[0][0] > 10


# Configurations of other programs.


def test_haproxy_accepts_the_balancer(tmp_path: Path) -> None:
    """The configuration of docs/operations/scaling.md has no fault and no warning."""
    haproxy = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
    if haproxy is None:
        pytest.skip("HAProxy is not installed")
    certificate = trustme.CA().issue_cert("agent.example.com")
    certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "agent.pem")
    text = of_page("docs/operations/scaling.md", "haproxy").replace("/etc/haproxy", str(tmp_path))
    (tmp_path / "haproxy.cfg").write_text(text)
    check = subprocess.run(
        [haproxy, "-c", "-f", "haproxy.cfg"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (check.returncode, check.stderr) == (0, "")


def test_prometheus_accepts_its_configuration(tmp_path: Path) -> None:
    """The blocks of docs/operations for it can be read; the files that they name are elsewhere."""
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed")
    blocks = [each.text for each in snippets("yaml") if re.match(r"(scrape_configs|rule_files):", each.text)]
    (tmp_path / "prometheus.yml").write_text("".join(blocks))
    command = ["promtool", "check", "config", "--syntax-only", str(tmp_path / "prometheus.yml")]
    check = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (check.returncode, len(blocks)) == (0, 2), check.stderr


def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    """Units and drop-ins of docs/operations have no line that systemd does not know."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    base = "[Service]\nExecStart=/bin/true\n"
    drop_ins = [each.text for each in snippets("ini") if each.page == "docs/operations/service.md"]
    units = {f"drop-in-{number}.service": base + text for number, text in enumerate(drop_ins)}
    parts = re.split(r"^# /etc/systemd/system/(\S+)\n", of_page("docs/operations/backup.md", "ini"), flags=re.MULTILINE)
    units |= dict(zip(parts[1::2], parts[2::2], strict=True))
    for name, text in units.items():
        # An account that there is.
        (tmp_path / name).write_text(text.replace("User=chatgpt-agent", "User=daemon"))
    paths = [str(tmp_path / name) for name in units]
    result = subprocess.run(
        ["systemd-analyze", "--man=no", "verify", *paths], capture_output=True, text=True, check=False
    )
    assert [line for line in result.stderr.splitlines() if str(tmp_path) in line] == []
    assert len(units) == 4
