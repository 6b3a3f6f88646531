"""`chatgpt-agent user import`."""

import csv
import io
import json
import stat
from pathlib import Path
from typing import Any

import pytest

from chatgpt_agent.core.access.tokens import is_well_formed
from tests.support.commands import KEY, Cli, names, show, stored_key
from tests.support.database import query

TABLE = f"""name;openai_key;comment;budget;models;budget_period;standard_tier_only
alice;{KEY}-a;Sales;12.50;gpt-6*, gpt-5.5;;yes
bob;{KEY}-b;"Legal; Berlin";;;;no
zoe;{KEY}-z;;5;;day;
"""


@pytest.fixture
def table(tmp_path: Path) -> str:
    """A file of three users."""
    return written(tmp_path, TABLE)


def written(folder: Path, text: str) -> str:
    """A file with this text."""
    path = folder / "team.csv"
    path.write_text(text, encoding="utf-8-sig")
    return str(path)


def printed(text: str) -> dict[str, str]:
    """The tokens of a CSV text, by name."""
    header, *rows = csv.reader(io.StringIO(text))
    assert header == ["name", "token"]
    return {name: token for name, token in rows}  # noqa: C416 - dict() does not know that rows are pairs


def test_import_adds_every_user(cli: Cli, table: str) -> None:
    """Each user gets the key, models, comment and budget of the file, and a token."""
    tokens = printed(cli.ok("user", "import", table))
    assert list(tokens) == names(cli) == ["alice", "bob", "zoe"]
    assert all(map(is_well_formed, tokens.values()))
    assert [stored_key(cli, name) for name in tokens] == [f"{KEY}-a", f"{KEY}-b", f"{KEY}-z"]
    alice, bob = show(cli, "alice"), show(cli, "bob")
    assert alice["user"]["allowed_models"] == ["gpt-6*", "gpt-5.5"]
    assert [user["user"]["standard_tier_only"] for user in (alice, bob)] == [True, False]
    assert (bob["user"]["comment"], bob["user"]["allowed_models"]) == ("Legal; Berlin", None)
    assert alice["tokens"][0]["token_prefix"] == tokens["alice"][:8]
    budgets = "SELECT name, period, amount::text FROM budgets b JOIN users u ON u.id = b.user_id ORDER BY name"
    assert query(cli.settings["DATABASE_URL"], budgets) == [("alice", "month", "12.50"), ("zoe", "day", "5")]


def test_report_goes_to_standard_error(cli: Cli, table: str) -> None:
    """The report has a line for each user, without a secret."""
    lines = cli.run("user", "import", table).stderr.splitlines()
    assert lines[:4] == ["line 2: alice: added", "line 3: bob: added", "line 4: zoe: added", "added: 3"]
    assert KEY not in "".join(lines)
    assert "cga_" not in "".join(lines)


def test_tokens_file_replaces_standard_output(cli: Cli, table: str, tmp_path: Path) -> None:
    """Only its owner can read the file, and the tokens are printed nowhere else."""
    path = tmp_path / "tokens.csv"
    result = cli.run("user", "import", table, "--tokens-file", str(path))
    assert (result.exit_code, result.stdout) == (0, "")
    assert "cga_" not in result.output
    assert result.stderr.splitlines()[-1] == "The tokens are in the file, and nowhere else."
    assert list(printed(path.read_text())) == ["alice", "bob", "zoe"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_existing_tokens_file_is_not_overwritten(cli: Cli, table: str, tmp_path: Path) -> None:
    """It may hold tokens that cannot be shown again."""
    path = tmp_path / "tokens.csv"
    path.write_text("precious")
    assert cli.refused("user", "import", table, "--tokens-file", str(path)) == [
        f"Error: {path} cannot be created: File exists"
    ]
    assert (path.read_text(), names(cli)) == ("precious", [])


def test_dry_run_changes_nothing(cli: Cli, table: str, tmp_path: Path) -> None:
    """It reports what would happen."""
    path = tmp_path / "tokens.csv"
    result = cli.run("user", "import", table, "--dry-run", "--tokens-file", str(path))
    assert (result.exit_code, result.stdout, names(cli), path.exists()) == (0, "", [], False)
    assert result.stderr.splitlines() == [
        "line 2: alice: would be added",
        "line 3: bob: would be added",
        "line 4: zoe: would be added",
        "would be added: 3",
    ]


def test_error_in_a_line_adds_no_user(cli: Cli, tmp_path: Path) -> None:
    """Every error is reported with its line and what is permitted."""
    table = written(tmp_path, f"name,openai_key,budget\nalice,{KEY},1\nbob,sk bad,1\nzoe,{KEY},much\n")
    assert cli.refused("user", "import", table) == [
        "line 2: alice: not added",
        "line 3: bob: the OpenAI key must be 1 to 512 printable ASCII characters without spaces",
        "line 4: zoe: budget: give USD as a number, such as 50 or 12.50",
        "not added: 1",
        "error: 2",
        "Error: 2 of 3 lines have an error, so no user was added",
    ]
    assert names(cli) == []


def test_existing_user_is_an_error(cli: Cli, table: str) -> None:
    """The existing user keeps the key."""
    cli.add_user("bob")
    lines = cli.refused("user", "import", table)
    assert "line 3: bob: user 'bob' already exists" in lines
    assert (names(cli), stored_key(cli, "bob")) == (["bob"], KEY)


def test_existing_user_can_be_skipped(cli: Cli, table: str) -> None:
    """A growing file can be imported again and again."""
    cli.add_user("bob")
    result = cli.run("user", "import", table, "--skip-existing")
    assert list(printed(result.stdout)) == ["alice", "zoe"]
    assert "line 3: bob: skipped" in result.stderr
    again = cli.run("user", "import", table, "--skip-existing")
    assert (again.exit_code, again.stdout) == (0, "")
    assert stored_key(cli, "bob") == KEY


def test_import_prints_json(cli: Cli, table: str) -> None:
    """The JSON has the lines and the tokens."""
    output: dict[str, Any] = json.loads(cli.ok("user", "import", table, "--json"))
    assert output["lines"][0] == {"line": 2, "name": "alice", "result": "added", "error": None}
    assert [token["user"] for token in output["tokens"]] == ["alice", "bob", "zoe"]


def test_errors_are_printed_as_json(cli: Cli, tmp_path: Path) -> None:
    """The exit code is 1."""
    result = cli.run("user", "import", written(tmp_path, f"name,openai_key\n,{KEY}\n"), "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["lines"][0]["result"] == "error"


def test_file_can_be_piped_in(cli: Cli) -> None:
    """A password manager can write to standard input, without a file of keys."""
    assert list(printed(cli.ok("user", "import", "-", stdin=TABLE))) == ["alice", "bob", "zoe"]


def test_unreadable_file_is_one_line(shared_cli: Cli, tmp_path: Path) -> None:
    """The exit code is 1 for wrong content and 2 for a missing file."""
    path = tmp_path / "team.xlsx"
    path.write_bytes(b"PK\x03\x04\xff")
    [line] = shared_cli.refused("user", "import", str(path))
    assert line.startswith("Error: line 1: is not UTF-8 text")
    shared_cli.refused("user", "import", str(tmp_path / "none.csv"), code=2)


def test_audit_log_records_every_imported_user(cli: Cli, table: str) -> None:
    """The log contains no key."""
    cli.ok("user", "import", table)
    entries = query(cli.settings["DATABASE_URL"], "SELECT object, action, via, after::text FROM audit_log ORDER BY id")
    assert [line[0] for line in entries].count("users") == 3
    assert {line[1:3] for line in entries} == {("insert", "command")}
    assert KEY not in str(entries)
