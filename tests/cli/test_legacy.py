"""`chatgpt-agent import-legacy`: a database of the original program becomes ours, as often as it is asked for."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from chatgpt_agent.adapters.keyring import read_master_key
from chatgpt_agent.admin import legacy_import as service
from chatgpt_agent.core.legacy import IMPORTED_USER
from tests.cli.commands import Cli
from tests.conftest import MakeAgent
from tests.support.client import fetch
from tests.support.database import query
from tests.support.legacy import KEY, TOKEN, Legacy
from tests.support.oracle import DAILY_SUMS, SUMS_OF_ROWS


@pytest.fixture
def old(empty_dsn: str) -> Legacy:
    """A database of the original program with a user, a price, and a request of that price."""
    found = Legacy(empty_dsn)
    found.user(comment="head of sales", create_time="2023-06-01T00:00:00Z")
    found.price("gpt-3.5-turbo-0301_input", "0.0015")
    found.price("gpt-3.5-turbo-0301_output", "0.002")
    found.request()
    return found


def move(cli: Cli, old: Legacy, *words: str, code: int = 0) -> Any:
    """Runs it, with the URL piped in, and what it prints as JSON."""
    result = cli.run("import-legacy", "-", "--json", *words, stdin=old.dsn)
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def counts(found: Any) -> dict[str, tuple[int, ...]]:
    """Rows that were read, added, here already, and refused, by table."""
    return {table: tuple(line.values()) for table, line in found["tables"].items()}


def ours(cli: Cli, sql: str) -> list[tuple[Any, ...]]:
    """Rows of our database."""
    return query(cli.settings["DATABASE_URL"], sql)


def tables(cli: Cli) -> list[list[tuple[Any, ...]]]:
    """Everything that an import could change."""
    return [ours(cli, f"SELECT * FROM {name} t ORDER BY t::text") for name in ("users", "tokens", "prices", "usage")]


ONE = {"sys_user_token": (1, 1, 0, 0), "sys_config": (2, 2, 0, 0), "sys_model_request": (1, 1, 0, 0)}
AGAIN = {"sys_user_token": (1, 0, 1, 0), "sys_config": (2, 0, 2, 0), "sys_model_request": (1, 0, 1, 0)}


def test_everything_is_taken_over(cli: Cli, old: Legacy) -> None:
    """Users, prices, history; the numbers say so."""
    assert counts(move(cli, old)) == ONE
    assert ours(cli, "SELECT name, comment, created_at::date::text FROM users WHERE removed_at IS NULL") == [
        ("alice", "head of sales", "2023-06-01")
    ]
    assert ours(cli, "SELECT model, input, output, effective_at::date::text FROM prices") == [
        ("gpt-3.5-turbo-0301", Decimal("1.5"), Decimal("2"), "2023-07-01")
    ]


def test_tokens_and_keys_are_sealed(cli: Cli, old: Legacy) -> None:
    """The token as what it is found by, the key as it is kept; four characters are shown."""
    move(cli, old)
    keyring = read_master_key(Path(cli.settings["DATA_DIR"]) / "master.key")
    [(digest, token_prefix, user, sealed)] = ours(
        cli, "SELECT t.digest, t.token_prefix, u.id, u.upstream_key FROM tokens t JOIN users u ON u.id = t.user_id"
    )
    assert (bytes(digest), token_prefix) == (keyring.digest(TOKEN), TOKEN[:4])
    assert keyring.decrypt(user, bytes(sealed)) == KEY
    kept = [
        str(line) for name in ("users", "tokens", "audit_log") for line in ours(cli, f"SELECT t::text FROM {name} t")
    ]
    assert [line for line in kept if TOKEN in line or KEY in line] == []


def test_the_history_keeps_its_costs(cli: Cli, old: Legacy) -> None:
    """As the original program computed them, on their day, of nobody in particular."""
    move(cli, old)
    assert ours(
        cli, "SELECT state, cost, input_tokens, output_tokens, upstream_id, tableoid::regclass::text FROM usage"
    ) == [("imported", Decimal("0.000025"), 10, 5, "chatcmpl-2023-07-01-10", "usage_2023_07")]
    found = json.loads(cli.ok("usage", "report", "--by", "user,token,day", "--format", "json"))
    assert [(line["user"], line["token"], line["day"]) for line in found["rows"]] == [
        (IMPORTED_USER, "(none)", "2023-07-01")
    ]
    assert (found["total"]["cost_usd"], found["total"]["not_done"]) == ("0.000025", 0)


def test_imported_rows_are_grouped_with_chat_completions(cli: Cli, old: Legacy) -> None:
    """The endpoint of imported rows is the one that requests to `POST /chat` are stored under."""
    move(cli, old)
    report = json.loads(cli.ok("usage", "report", "--by", "endpoint", "--format", "json"))
    assert [row["endpoint"] for row in report["rows"]] == ["/v1/chat/completions"]


def test_the_books_are_right_afterwards(cli: Cli, old: Legacy) -> None:
    """`ledger verify` finds nothing, and the roll-up is the sum of the rows."""
    move(cli, old)
    ours(cli, "SELECT ensure_usage_partition(now() + n * interval '1 month') FROM generate_series(0, 1) n")
    cli.ok("ledger", "verify")
    dsn = cli.settings["DATABASE_URL"]
    assert query(dsn, DAILY_SUMS) == query(dsn, SUMS_OF_ROWS) != []


def test_it_can_be_run_again(cli: Cli, old: Legacy) -> None:
    """Nothing is there twice, and what is new there is added."""
    move(cli, old)
    before = tables(cli)
    assert counts(move(cli, old)) == AGAIN
    assert tables(cli) == before
    old.user("bob", "old-token-of-bob-0123456789", "sk-old-key-of-bob")
    old.request("2023-08-01")
    old.price("gpt-4_input", "0.03")
    old.price("gpt-4_output", "0.06")
    found = counts(move(cli, old))
    assert [line[1:3] for line in found.values()] == [(1, 1), (2, 2), (1, 1)]


def test_a_copy_of_the_old_database_is_the_same_rows(cli: Cli, old: Legacy, postgres: str) -> None:
    """A dump that was restored somewhere else."""
    move(cli, old)
    name = old.dsn.split("dbname=")[1].split()[0]
    query(postgres, f'CREATE DATABASE "{name}_copy" TEMPLATE "{name}"')
    try:
        result = cli.run("import-legacy", "-", "--json", stdin=old.dsn.replace(name, f"{name}_copy"))
    finally:
        query(postgres, f'DROP DATABASE "{name}_copy" WITH (FORCE)')
    assert counts(json.loads(result.stdout)) == AGAIN


def test_a_dry_run_changes_nothing(cli: Cli, old: Legacy) -> None:
    """It says what would be, before and after."""
    cli.ok("user", "list")
    before = tables(cli), ours(cli, "SELECT * FROM directory_version"), ours(cli, "SELECT relname FROM pg_class")
    assert counts(move(cli, old, "--dry-run")) == ONE
    assert before == (
        tables(cli),
        ours(cli, "SELECT * FROM directory_version"),
        ours(cli, "SELECT relname FROM pg_class"),
    )
    move(cli, old)
    assert counts(move(cli, old, "--dry-run")) == AGAIN


def test_the_old_database_stays_as_it_is(cli: Cli, old: Legacy) -> None:
    """To go back to, if need be."""
    move(cli, old)
    assert query(old.dsn, "SELECT name, local_token, gpt_token FROM sys_user_token") == [("alice", TOKEN, KEY)]


def test_one_name_with_one_key_is_one_user(cli: Cli, old: Legacy) -> None:
    """With two tokens; with two keys it is two users, and that is told."""
    old.user("alice", "old-token-two-0123456789", KEY)
    old.user("alice", "old-token-three-0123456789", "sk-another")
    found = move(cli, old)
    assert ours(
        cli, "SELECT u.name, count(*) FROM users u JOIN tokens t ON t.user_id = u.id GROUP BY 1 ORDER BY 1"
    ) == [("alice", 2), ("alice-2", 1)]
    assert [(note["row"], note["text"]) for note in found["warnings"]] == [("3", "its user is named 'alice-2' here")]
    old.user("alice", "old-token-four-0123456789", "sk-another")
    move(cli, old)
    assert ours(cli, "SELECT count(*) FROM tokens t JOIN users u ON u.id = t.user_id WHERE u.name = 'alice-2'") == [
        (2,)
    ]


def test_a_user_who_is_here_already_is_joined(cli: Cli, old: Legacy) -> None:
    """Where the key is the same; another key is somebody else."""
    cli.add_user("alice", KEY)
    move(cli, old)
    assert ours(cli, "SELECT count(*) FROM tokens") == [(2,)]
    assert ours(cli, "SELECT name FROM users WHERE removed_at IS NULL") == [("alice",)]


def test_a_price_that_is_here_already_stays(cli: Cli, old: Legacy) -> None:
    """An administrator set it."""
    cli.ok("price", "set", "gpt-3.5-turbo-0301", "--input", "9", "--output", "9")
    assert counts(move(cli, old))["sys_config"] == (2, 0, 2, 0)
    assert ours(cli, "SELECT count(*) FROM prices") == [(1,)]


def test_what_cannot_be_taken_over_is_told(cli: Cli, old: Legacy) -> None:
    """Row by row, with exit code 1, and everything else is taken."""
    old.user("bob", None)
    old.user("carol", TOKEN, "sk-x")
    old.price("gpt-4_input", "0.03")
    old.price("greeting", "hello", group="texts")
    old.request(timestamp=None)
    found = move(cli, old, code=1)
    assert [line[1:] for line in counts(found).values()] == [(1, 0, 2), (2, 0, 1), (1, 0, 1)]
    assert [(note["table"], note["row"]) for note in found["warnings"] if note["refused"]] == [
        ("sys_user_token", "2"),
        ("sys_user_token", "3"),
        ("sys_config", "gpt-4"),
        ("sys_model_request", "2"),
    ]
    assert TOKEN not in json.dumps(found)


def test_a_short_token_works_and_is_told(cli: Cli, old: Legacy) -> None:
    """Nothing of it is shown."""
    old.user("bob", "123123", "sk-old-key-of-bob")
    found = move(cli, old)
    assert found["warnings"][0]["text"] == "its token has only 6 characters: issue another one for bob"
    assert ours(cli, "SELECT t.token_prefix FROM tokens t JOIN users u ON u.id = t.user_id WHERE u.name = 'bob'") == [
        ("",)
    ]


def test_a_row_without_a_price_costs_nothing(cli: Cli, old: Legacy) -> None:
    """As there; how many there were is told."""
    old.request("2023-07-02", price=None, define_price=None)
    found = move(cli, old)
    assert found["warnings"][-1]["text"] == "1 rows have no price there, and cost nothing here"
    assert ours(cli, "SELECT sum(cost) FROM usage") == [(Decimal("0.000025"),)]


def test_a_later_version_knew_whose_a_request_was(cli: Cli, old: Legacy) -> None:
    """A column that names the row of the user; a row of nobody stays nobody's."""
    query(old.dsn, "ALTER TABLE sys_model_request ADD COLUMN user_id int4")
    old.request("2023-07-02", user_id=1)
    old.request("2023-07-03", user_id=99)
    move(cli, old)
    found = json.loads(cli.ok("usage", "report", "--by", "user", "--format", "json"))["rows"]
    assert [(line["user"], line["requests"]) for line in found] == [(IMPORTED_USER, 2), ("alice", 1)]
    assert ours(cli, "SELECT count(*) FROM usage WHERE token_id = 1") == [(1,)]


def test_a_long_history_goes_page_by_page(cli: Cli, old: Legacy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is lost between two of them."""
    monkeypatch.setattr(service, "BATCH", 7)
    for n in range(20):
        old.request(f"2023-{1 + n % 9:02}-01", (n, n))
    assert counts(move(cli, old))["sys_model_request"] == (21, 21, 0, 0)
    assert ours(cli, "SELECT sum(requests)::int, sum(input_tokens)::int FROM usage_daily") == [(21, 200)]


def test_changes_are_in_the_audit_log(cli: Cli, old: Legacy) -> None:
    """As those of whoever ran the command, without a secret."""
    move(cli, old)
    found = ours(cli, "SELECT object, actor <> '', via, coalesce(after::text, '') FROM audit_log ORDER BY id")
    assert {line[:3] for line in found} == {(name, True, "command") for name in ("users", "tokens", "prices")}
    assert KEY not in "".join(line[3] for line in found)


# How it is called.


def test_for_people_it_prints_a_table(cli: Cli, old: Legacy) -> None:
    """And a line for each thing to know."""
    old.user("bob", "123123", "sk-old-key-of-bob")
    lines = cli.run("import-legacy", "-", "--dry-run", stdin=old.dsn).stdout.splitlines()
    assert lines[0].split("  ")[0] == "table"
    assert "would be added" in lines[0]
    assert lines[-1] == "sys_user_token 2: its token has only 6 characters: issue another one for bob"


def test_the_url_can_come_from_a_file_or_the_environment(
    cli: Cli, old: Legacy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or, without a password, from the command line."""
    file = tmp_path / "old.url"
    file.write_text(f"{old.dsn}\n")
    cli.ok("import-legacy", "--dry-run", "--database-url-file", str(file))
    cli.ok("import-legacy", "--dry-run", old.dsn)
    monkeypatch.setenv("LEGACY_DATABASE_URL", old.dsn)
    cli.ok("import-legacy", "--dry-run")


def test_a_password_on_the_command_line_is_warned_of(cli: Cli, old: Legacy) -> None:
    """It works all the same, because the original program was called so."""
    result = cli.run("import-legacy", "--dry-run", f"{old.dsn} password=x")
    assert (result.exit_code, result.stderr.splitlines()[0][:8]) == (0, "Warning:")


@pytest.mark.parametrize(
    "words", [[], ["-"], [""], ["--database-url-file", "/nowhere"], ["x", "--database-url-file", "/nowhere"]]
)
def test_without_a_url_it_is_called_wrongly(shared_cli: Cli, words: list[str]) -> None:
    """Exit code 2, with the ways to give one."""
    assert shared_cli.refused("import-legacy", *words, code=2)[-1].startswith("Error: ")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://nobody:secret@127.0.0.1:1/none", "the legacy database: "),
        ("mysql://nobody:secret@127.0.0.1/none", "the legacy database: give a postgresql:// URL"),
        ("host=127.0.0.1 port=secret", "the legacy database"),
    ],
)
def test_a_database_that_cannot_be_read_is_one_line(shared_cli: Cli, url: str, words: str) -> None:
    """Which does not hold the password."""
    lines = shared_cli.refused("import-legacy", "-", stdin=url)
    assert len(lines) == 1
    assert words in lines[0]


def test_another_database_is_refused(cli: Cli) -> None:
    """One without the three tables, such as ours."""
    line = cli.refused("import-legacy", "-", stdin=cli.settings["DATABASE_URL"])[0]
    assert "no table sys_user_token, sys_config, sys_model_request" in line


async def test_an_old_token_is_known_to_a_running_agent(make_agent: MakeAgent, old: Legacy) -> None:
    """By its digest, within a second; it calls, and reads its week, over HTTP as it did."""
    agent = await make_agent()
    cli = Cli({"DATABASE_URL": agent.config.database_url or "", "DATA_DIR": str(agent.config.data_dir)})
    query(old.dsn, "DELETE FROM sys_model_request")
    await cli.command("import-legacy", "-", stdin=old.dsn.encode())
    await agent.until(lambda: agent.works(TOKEN))
    assert agent.server.directory.identify(TOKEN).user.name in ("alice", "alice-2")
    agent.token = TOKEN
    assert (await agent.post(agent.body(), "/chat")).status == 200
    [row] = await agent.rows(1)
    week = await fetch(agent.url + "/data/week", headers={"Authorization": f"Bearer {TOKEN}"})
    [told] = json.loads(week.body, parse_float=Decimal)
    assert (told["remote_id"], told["price"]) == (row["upstream_id"], row["cost"])
