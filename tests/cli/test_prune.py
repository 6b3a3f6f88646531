"""`chatgpt-agent ledger prune`: rows of old months go to files, sums stay, and an interruption loses nothing."""

import asyncio
import gzip
import hashlib
import io
import json
import shutil
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import psycopg2
import pytest

from chatgpt_agent.adapters.migrate import known_migrations, rollback
from chatgpt_agent.adapters.postgres.archive_months import archive_month
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.settings import set_time_zone
from chatgpt_agent.admin.archives import Archives
from chatgpt_agent.core.errors import Conflict, InvalidValue, SetupError
from chatgpt_agent.core.ids import uuid7
from chatgpt_agent.core.ledger import Row, State
from chatgpt_agent.core.money.kinds import COUNT_COLUMNS
from tests.support.administration import ROOT
from tests.support.commands import Cli
from tests.support.database import connected, query
from tests.support.ledger_rows import november_row, ship_rows

JANUARY, FEBRUARY = date(2026, 1, 1), date(2026, 2, 1)
SUMS = ", ".join(
    f"sum({name}) AS {name}" for name in ("requests", "not_done", *COUNT_COLUMNS, "cost", "uncertain_cost")
)
REPORT = f"SELECT day, user_id, model, {SUMS} FROM usage_daily GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
MANY = 40  # rows of each month
CHANGED = ("archived_daily", "archived_months", "archived_latency", "usage_daily")  # tables that a test changes
ROWS = "SELECT * FROM usage WHERE started_at < '2026-02-01Z'"
RESTORE = "; ".join(f"DELETE FROM {t}; INSERT INTO {t} SELECT * FROM pristine.{t}" for t in CHANGED)


def row(month: int, number: int, *, state: State = State.DONE) -> Row:
    """A row of 2026, spread over the month, with its midnights."""
    moment = datetime(2026, month, 1 + number % 28, (23 + number // 28) % 24, 59, 30, tzinfo=UTC)
    base = november_row(number, 1 + number % 2, 1, state)
    id_ = uuid7(int(moment.timestamp() * 1000), bytes(8) + bytes([month, number]))
    intent = msgspec.structs.replace(base.intent, request_id=id_, started_at=moment)
    return msgspec.structs.replace(base, intent=intent, duration_ms=120 + number, first_byte_ms=80, error='odd, "text"')


def fill(cli: Cli) -> Cli:
    """Adds rows of January, February and March 2026, some of them not done."""
    dsn = cli.settings["DATABASE_URL"]
    rates = "(model, input, output, cached_input, effective_at, created_at)"
    query(dsn, f"INSERT INTO prices {rates} VALUES ('gpt-6-luna', 0.15, 0.60, 0.075, '2025-01-01Z', '2025-01-01Z')")
    query(dsn, "INSERT INTO users (name, upstream_key, created_at, removed_at) VALUES ('alice', '', now(), now())")
    query(dsn, "SELECT ensure_usage_partition(now()), ensure_usage_partition(now() + interval '1 month')")
    states = {3: State.UNKNOWN, 5: State.UPSTREAM_ERROR}
    ship_rows(dsn, [row(month, n, state=states.get(n, State.DONE)) for month in (1, 2, 3) for n in range(MANY)])
    return cli


@pytest.fixture
def filled(cli: Cli) -> Cli:
    """The program with rows of three months."""
    return fill(cli)


@pytest.fixture(scope="module")
def pruned(shared_cli: Cli) -> Cli:
    """The same, where January and February are archived: for tests that change nothing, or put it back."""
    dsn = fill(shared_cli).settings["DATABASE_URL"]
    query(
        dsn, f"CREATE SCHEMA pristine; CREATE TABLE pristine.report AS {REPORT}; CREATE TABLE pristine.usage AS {ROWS}"
    )
    prune(shared_cli)
    for table in CHANGED:
        query(dsn, f"CREATE TABLE pristine.{table} AS TABLE public.{table}")
    return shared_cli


@pytest.fixture
def pruned_dsn(pruned: Cli) -> str:
    """Its database."""
    return pruned.settings["DATABASE_URL"]


def prune(cli: Cli, before: str = "2026-03") -> Any:
    """Archives months, and returns what was archived."""
    return json.loads(cli.ok("ledger", "prune", "--before", before, "--json"))


def archives(cli: Cli) -> Any:
    """What is archived."""
    return json.loads(cli.ok("ledger", "archives", "--json"))


def name(cli: Cli) -> str:
    """The name of the last file."""
    return str(archives(cli)[-1]["file"])


def folder(cli: Cli) -> Path:
    """Where the files are."""
    return Path(cli.settings["DATA_DIR"]) / "archive"


def verify(cli: Cli, *options: str) -> list[str]:
    """The checks with a finding."""
    out = cli.run("ledger", "verify", "--json", *options)
    return [finding["check"] for finding in json.loads(out.stdout)]


# What it does.


def test_reports_stay(pruned: Cli, pruned_dsn: str) -> None:
    """They are the same to the last digit, and the ledger is consistent, also with the files."""
    assert query(pruned_dsn, "SELECT min(started_at) >= '2026-03-01Z', count(*) FROM usage") == [(True, MANY)]
    assert query(pruned_dsn, REPORT) == query(pruned_dsn, "SELECT * FROM pristine.report ORDER BY 1, 2, 3")
    assert verify(pruned, "--archive", str(folder(pruned))) == []


def test_file_has_a_manifest_and_its_checksum(pruned: Cli) -> None:
    """Both can be checked without the database."""
    january = archives(pruned)[0]
    data = (folder(pruned) / january["file"]).read_bytes()
    manifest = json.loads((folder(pruned) / january["file"].replace(".csv.gz", ".json")).read_text())
    assert manifest["sha256"] == january["sha256"] == hashlib.sha256(data).hexdigest()
    assert (manifest["bytes"], manifest["sums"]) == (len(data), january["sums"])
    assert {path.stat().st_mode & 0o777 for path in folder(pruned).iterdir()} == {0o600}


def test_file_can_be_copied_back_into_postgresql(pruned: Cli, pruned_dsn: str) -> None:
    """It has every row and every column as PostgreSQL reads it."""
    data = gzip.decompress((folder(pruned) / archives(pruned)[0]["file"]).read_bytes())
    with connected(pruned_dsn) as cursor:
        cursor.execute("CREATE TEMPORARY TABLE again (LIKE usage)")
        cursor.copy_expert("COPY again FROM STDIN (FORMAT csv, HEADER MATCH)", io.BytesIO(data))
        cursor.execute("(TABLE again EXCEPT TABLE pristine.usage) UNION (TABLE pristine.usage EXCEPT TABLE again)")
        assert cursor.fetchall() == []
        cursor.execute("SELECT count(*) FROM again")
        assert cursor.fetchall() == [(MANY,)]


def test_dry_run_changes_nothing(filled: Cli, dsn: str) -> None:
    """It lists months with their rows."""
    plan = json.loads(filled.ok("ledger", "prune", "--before", "2026-03", "--dry-run", "--json"))
    assert [(month["month"], month["rows"]) for month in plan["months"]] == [("2026-01-01", MANY), ("2026-02-01", MANY)]
    assert (query(dsn, "SELECT count(*) FROM usage"), folder(filled).exists()) == ([(3 * MANY,)], False)


def test_second_run_has_nothing_to_do(pruned: Cli) -> None:
    """Archived months are not archived again."""
    assert prune(pruned) == []
    assert "Nothing to do" in pruned.ok("ledger", "prune", "--before", "2026-03")


def test_audit_log_says_who_archived(pruned: Cli) -> None:
    """With the month and the file."""
    entries = json.loads(pruned.ok("audit", "list", "--object", "archived_months", "--limit", "1000", "--json"))
    first = entries[-2:]  # the newer ones are of tests that have put the table back
    assert [(entry["name"], entry["action"]) for entry in first] == [("2026-02", "insert"), ("2026-01", "insert")]
    assert first[0]["after"]["file"] == name(pruned)


def test_sums_survive_rebuilding_in_another_time_zone(pruned: Cli, pruned_dsn: str) -> None:
    """Days of archived months stay those of the former zone; totals do not change."""
    total = f"SELECT {SUMS} FROM usage_daily"
    before = query(pruned_dsn, total)
    for zone in ("Asia/Tokyo", "UTC"):
        asyncio.run(change_zone(pruned_dsn, zone))
        assert query(pruned_dsn, total) == before
        assert verify(pruned) == []
    assert query(pruned_dsn, REPORT) == query(pruned_dsn, "SELECT * FROM pristine.report ORDER BY 1, 2, 3")


async def change_zone(dsn: str, zone: str) -> None:
    """Sets the time zone of the ledger."""
    async with Store(dsn) as store:
        await set_time_zone(store, zone)


def test_total_budget_counts_archived_months(pruned: Cli, pruned_dsn: str) -> None:
    """Budgets read the sums of days."""
    query(pruned_dsn, "INSERT INTO budgets (user_id, period, amount, created_at) VALUES (1, 'total', 5, now())")
    [budget] = json.loads(pruned.ok("budget", "list", "--json"))
    spent = query(pruned_dsn, "SELECT sum(cost + uncertain_cost) FROM usage_daily WHERE user_id = 1")
    assert [(Decimal(budget["spent"]),)] == spent


# Interruptions.


class Killed(Exception):
    """The end of the process."""


@pytest.mark.parametrize("step", ["written", "deleted"])
def test_interrupted_archiving_goes_on(filled: Cli, dsn: str, step: str) -> None:
    """Killed between the file and the commit, or between two months: nothing is lost, and the next run completes it."""
    before = query(dsn, REPORT)

    def say(text: str) -> None:
        if step in text:
            raise Killed

    async def work() -> None:
        async with Store(dsn) as store:
            use_case = Archives(store, ROOT)
            await use_case.prune(await use_case.plan(date(2026, 3, 1), folder(filled)), say=say)

    with pytest.raises(Killed):
        asyncio.run(work())
    archived = {"written": 0, "deleted": 1}[step]
    assert query(dsn, "SELECT count(*) FROM archived_months") == [(archived,)]
    assert query(dsn, "SELECT count(*) FROM usage") == [((3 - archived) * MANY,)]
    assert verify(filled) == []
    assert len(prune(filled)) == 2 - archived
    assert query(dsn, REPORT) == before
    assert verify(filled, "--archive", str(folder(filled))) == []


def test_ledger_in_use_is_left_alone(filled: Cli, dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long report holds the lock that is needed: after some attempts the month stays as it is."""
    monkeypatch.setattr("chatgpt_agent.adapters.postgres.archive_months.LOCK_ATTEMPTS", 1)
    monkeypatch.setattr("chatgpt_agent.adapters.postgres.archive_months.LOCK_SECONDS", 0.05)
    with connected(dsn) as cursor:
        cursor.execute("BEGIN; SELECT count(*) FROM usage")
        with pytest.raises(SetupError, match="other connections read the ledger all the time"):
            archive_month(dsn, JANUARY, tmp_path, ROOT, say=str)
    assert query(dsn, "SELECT count(*) FROM usage") == [(3 * MANY,)]


# What is refused.


def test_recent_months_stay(pruned: Cli, pruned_dsn: str) -> None:
    """Pages and comparisons read them; budgets do not need them."""

    async def plan(now: datetime) -> None:
        async with Store(pruned_dsn) as store:
            await Archives(store, ROOT).plan(FEBRUARY, folder(pruned), now=now)

    with pytest.raises(InvalidValue, match="31 days after their end: 2026-01 is the latest now"):
        asyncio.run(plan(datetime(2026, 3, 3, 23, tzinfo=UTC)))
    asyncio.run(plan(datetime(2026, 3, 4, tzinfo=UTC)))
    assert pruned.refused("ledger", "prune", "--before", "2999-01", code=2)[-1].startswith(
        "Error: --before: months stay"
    )


def test_rows_that_wait_at_an_agent_are_shipped_first(pruned: Cli, pruned_dsn: str) -> None:
    """They could not be added afterwards."""
    agent = "INSERT INTO agents (id, seen_at, backlog, oldest_at) VALUES (gen_random_uuid(), now(), 2, '2026-01-09Z')"
    query(pruned_dsn, agent)
    assert "not shipped yet" in pruned.refused("ledger", "prune", "--before", "2026-03")[-1]
    query(pruned_dsn, "DELETE FROM agents")


def test_month_that_cannot_be_archived_stays(filled: Cli, dsn: str, tmp_path: Path) -> None:
    """Its books are wrong, which its rows would show; or the folder cannot be written."""
    (tmp_path / "file").write_text("not a folder")
    [line] = filled.refused("ledger", "prune", "--before", "2026-03", "--to", str(tmp_path / "file" / "2026"))
    assert line.startswith(f"Error: the folder {tmp_path}/file/2026 cannot be created: ")
    query(dsn, "UPDATE usage_daily SET requests = requests + 1 WHERE day = '2026-01-05' AND user_id = 1")
    [*_, line] = filled.refused("ledger", "prune", "--before", "2026-03")
    assert "the books of 2026-01 are not right (2026-01-05" in line
    assert query(dsn, "SELECT count(*) FROM usage") == [(3 * MANY,)]


def test_late_row_of_an_archived_month_is_refused(pruned_dsn: str) -> None:
    """The database cannot tell whether it has had it: an agent keeps it as a dead letter."""
    with pytest.raises(psycopg2.errors.RestrictViolation, match="the rows of 2026-01 are archived"):
        query(pruned_dsn, "SELECT ensure_usage_partition('2026-01-09Z')")


def test_month_is_archived_once(pruned_dsn: str, tmp_path: Path) -> None:
    """Another process came first."""
    with pytest.raises(Conflict, match="the ledger has no rows of 2026-01"):
        archive_month(pruned_dsn, JANUARY, tmp_path, ROOT, say=str)


def test_schema_is_not_rolled_back_while_a_month_is_archived(pruned_dsn: str) -> None:
    """The older program would report missing rows, and delete the sums with the next time zone."""
    names = known_migrations()
    with pytest.raises(SetupError, match="months are archived, which the older program does not know"):
        rollback(pruned_dsn, len(names) - names.index("0017.archived-months"))


# Messages about archived rows.


@pytest.mark.parametrize("command", [
    "ledger correct {id} --input 1 --output 1 --reason late",
    "usage export --since 2026-01-05 --until 2026-01-06",
    "usage export",
    "price what-if --since 2026-02-05 --model gpt-6-luna",
])  # fmt: skip
def test_command_says_that_rows_are_archived(pruned: Cli, command: str) -> None:
    """An empty answer would look like no usage."""
    [line] = pruned.refused(*command.format(id=row(1, 7).intent.request_id).split())
    assert " are archived" in line
    assert "usage-2026-0" in line


def test_list_notes_archived_months_at_its_end(pruned: Cli) -> None:
    """Only where rows before the last one are archived."""
    at_end = pruned.run("ledger", "list", "--since", "2026-02-10", "--limit", "100").stderr
    assert at_end.startswith(f"Note: the rows of 2026-02 are archived (the last one in {name(pruned)}), ")
    assert at_end.endswith(": choose days from 2026-03-01 UTC on.\n")
    for options in (("--limit", "5"), ("--since", "2026-03-01", "--limit", "100")):
        assert "archived" not in pruned.run("ledger", "list", *options).stderr


def test_comparison_with_openai_is_refused(pruned: Cli, tmp_path: Path) -> None:
    """Every figure of theirs would be missing in the ledger."""
    costs = tmp_path / "costs.json"
    amount = {"object": "organization.costs.result", "amount": {"value": 1.0, "currency": "usd"}, "line_item": None}
    bucket = {"object": "bucket", "start_time": 1767225600, "end_time": 1767312000, "results": [amount]}
    costs.write_text(json.dumps({"object": "page", "data": [bucket], "has_more": False, "next_page": None}))
    [line] = pruned.refused("ledger", "reconcile", str(costs), "--month", "2026-01")
    assert line.startswith("Error: the rows of 2026-01 are archived")


def test_status_counts_archived_rows(pruned: Cli, pruned_dsn: str) -> None:
    """They are not in the table of states, which has the rows of the database."""
    assert "Archived: 80 rows of 2 months" in pruned.ok("ledger", "status")
    rows = json.loads(pruned.ok("ledger", "status", "--json"))["rows"]
    assert [(each["state"], each["rows"]) for each in rows] == [("done", 38), ("upstream_error", 1), ("unknown", 1)]
    assert [(Decimal(rows[0]["cost"]),)] == query(pruned_dsn, "SELECT sum(cost) FROM usage WHERE state = 'done'")


# Verification.


def one_digit(path: Path) -> None:
    """Changes a digit of a cost, and packs the file again."""
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()).replace(b"0.000002625", b"0.000002626", 1)))


@pytest.mark.parametrize(("damage", "text"), [
    (lambda path: path.unlink(), "cannot be read: No such file"),
    (lambda path: path.write_bytes(path.read_bytes()[:-9]), "is damaged"),
    (lambda path: path.write_bytes(path.read_bytes() + b"\0"), "its SHA-256 is"),
    (one_digit, " has cost: 0.000099751 instead of 0.00009975"),
], ids=["missing", "cut", "longer", "changed"])  # fmt: skip
def test_verify_finds_a_wrong_file(pruned: Cli, tmp_path: Path, damage: Any, text: str) -> None:
    """Each file is read from its beginning to its end."""
    shutil.copytree(folder(pruned), tmp_path / "copy")
    damage(tmp_path / "copy" / name(pruned))
    result = pruned.run("ledger", "verify", "--json", "--archive", str(tmp_path / "copy"))
    findings = json.loads(result.stdout)
    assert (result.exit_code, {finding["check"] for finding in findings}) == (1, {"archive"})
    assert any(text in finding["text"] for finding in findings)


@pytest.mark.parametrize(("sql", "checks"), [
    ("UPDATE archived_daily SET cost = cost + 1e-10 WHERE day = '2026-01-05'", {"daily sums", "archived months"}),
    ("DELETE FROM archived_daily WHERE day = '2026-01-05'", {"daily sums", "archived months"}),
    ("UPDATE archived_months SET counts = counts || '{\"input_tokens\": \"1\"}'", {"archived months"}),
    ("DELETE FROM archived_months", {"archived months"}),
    ("DELETE FROM archived_latency WHERE day = '2026-01-05'", {"latencies"}),
    ("UPDATE usage_daily SET requests = 0 WHERE day = '2026-01-05'", {"daily sums", "sums by model"}),
])  # fmt: skip
def test_verify_finds_wrong_sums_of_archived_months(pruned: Cli, pruned_dsn: str, sql: str, checks: set[str]) -> None:
    """What is archived, the sums by day and what reports read must be the same."""
    query(pruned_dsn, sql)
    try:
        assert set(verify(pruned)) == checks
    finally:
        query(pruned_dsn, RESTORE)
