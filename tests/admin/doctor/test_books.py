"""`doctor` on the ledger and what is stored beside it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from chatgpt_agent.adapters.key_file import KeyFile, new_key, write_keys
from chatgpt_agent.adapters.keyring import make_master_key, read_master_key
from chatgpt_agent.adapters.postgres.backups import LastBackup
from chatgpt_agent.adapters.postgres.ledger_checks import LedgerCheck
from chatgpt_agent.admin.doctor.results import Outcome
from tests.support.database import query
from tests.support.doctor import run_check, run_one
from tests.support.factories import make_row
from tests.support.ledger_rows import ship_rows


@pytest.fixture
def key_file(dsn: str, tmp_path: Path) -> Path:
    """The master key of the database, in its data_dir."""
    path = tmp_path / "master.key"
    make_master_key(path)
    query(dsn, "INSERT INTO settings VALUES ('master_key_check', %s)", [read_master_key(path).check_value])
    return path


def add_user(dsn: str, encrypted: bytes, name: str = "alice") -> None:
    """Adds user 1 with this encrypted key."""
    sql = "INSERT INTO users (id, name, upstream_key, created_at) OVERRIDING SYSTEM VALUE VALUES (1, %s, %s, now())"
    query(dsn, sql, [name, encrypted])


# The master key.


async def test_master_key_opens_every_key(dsn: str, key_file: Path) -> None:
    """It is tried with each of them."""
    add_user(dsn, read_master_key(key_file).encrypt(1, "sk-made-up"))
    assert (await run_one("master-key", database_url=dsn, data_dir=key_file.parent))[0] is Outcome.OK


async def test_key_that_does_not_open_is_a_failure(dsn: str, key_file: Path) -> None:
    """The user is named, and the command that replaces the key."""
    add_user(dsn, b"garbage")
    outcome, text, advice = await run_one("master-key", database_url=dsn, data_dir=key_file.parent)
    expected = ("it does not open the OpenAI key of user alice", "chatgpt-agent user set-key alice")
    assert (outcome, text, advice) == (Outcome.FAILURE, *expected)


async def test_row_that_agents_cannot_read_is_a_failure(dsn: str, key_file: Path) -> None:
    """The table and the id are named."""
    add_user(dsn, read_master_key(key_file).encrypt(1, "sk-made-up"))
    sql = (
        "INSERT INTO tokens (user_id, digest, token_prefix, created_at, allowed_networks) VALUES (1, %s, '', now(), %s)"
    )
    query(dsn, sql, [bytes(32), ["no network"]])
    outcome, text, _ = await run_one("master-key", database_url=dsn, data_dir=key_file.parent)
    assert (outcome, text.startswith("tokens 1: ")) == (Outcome.FAILURE, True)


async def test_many_keys_that_do_not_open_are_counted(dsn: str, key_file: Path) -> None:
    """Five have a line of their own."""
    sql = (
        "INSERT INTO users (name, upstream_key, created_at) SELECT n::text, 'x', now() FROM generate_series(1, 8) AS n"
    )
    query(dsn, sql)
    lines = await run_check("master-key", database_url=dsn, data_dir=key_file.parent)
    assert (len(lines), lines[-1].text) == (6, "3 more")


async def test_change_of_the_master_key_that_is_not_finished_is_a_warning(dsn: str, key_file: Path) -> None:
    """The file has the former key beside the new one."""
    master = KeyFile(key_file).read()
    write_keys(key_file, (new_key(), *master))
    outcome, text, advice = await run_one("master-key", database_url=dsn, data_dir=key_file.parent)
    assert (outcome, "has 2 keys" in text, "--finish" in advice) == (Outcome.WARNING, True, True)


async def test_unusable_master_key_is_reported_by_the_files(dsn: str, key_file: Path) -> None:
    """It is one failure, not two."""
    key_file.chmod(0o644)  # noqa: ASYNC240
    assert (await run_one("master-key", database_url=dsn, data_dir=key_file.parent))[0] is Outcome.SKIPPED


async def test_other_master_key_is_a_failure(dsn: str, key_file: Path, tmp_path: Path) -> None:
    """It is the key of another database."""
    make_master_key(tmp_path / "other.key")
    outcome, text, _ = await run_one("master-key", database_url=dsn, master_key_file=tmp_path / "other.key")
    assert (outcome, text) == (Outcome.FAILURE, f"{tmp_path}/other.key is not the key of this database")


async def test_missing_master_key_is_a_failure(dsn: str, key_file: Path, tmp_path: Path) -> None:
    """The database was set up with one."""
    outcome, _, advice = await run_one("master-key", database_url=dsn, data_dir=tmp_path / "elsewhere")
    assert (outcome, advice) == (Outcome.FAILURE, "restore it from your backup")


async def test_master_key_of_a_new_database_is_ok(dsn: str, tmp_path: Path) -> None:
    """The first start creates it."""
    assert (await run_one("master-key", database_url=dsn, data_dir=tmp_path))[0] is Outcome.OK


# Agents.


def report(dsn: str, version: str = "0.2.0", backlog: int = 0, age: int = 0) -> None:
    """Stores the report of an agent whose oldest row is so many seconds old."""
    sql = """
        INSERT INTO agents (id, seen_at, backlog, oldest_at, version)
        VALUES (gen_random_uuid(), now(), %s, now() - make_interval(secs => %s), %s)"""
    query(dsn, sql, [backlog, age, version])


async def test_agents_are_ok(dsn: str) -> None:
    """Rows may wait for a moment."""
    report(dsn, backlog=3, age=5)
    outcome, text, _ = await run_one("agents", database_url=dsn)
    assert (outcome, text) == (Outcome.OK, "1 agent runs on this database")


async def test_agent_that_ships_nothing_is_a_warning(dsn: str) -> None:
    """Its rows and their age are shown."""
    report(dsn, backlog=3, age=500)
    outcome, text, _ = await run_one("agents", database_url=dsn)
    assert (outcome, "3 rows wait to be shipped since" in text) == (Outcome.WARNING, True)


async def test_agents_of_two_versions_are_a_warning(dsn: str) -> None:
    """Both versions are shown."""
    report(dsn, "0.1.0")
    report(dsn, "0.2.0")
    outcome, text, _ = await run_one("agents", database_url=dsn)
    assert (outcome, text) == (Outcome.WARNING, "agents of different versions run: 0.1.0, 0.2.0")


# Dead letters.


async def test_no_dead_letter_is_ok(dsn: str) -> None:
    """There are none."""
    assert (await run_one("dead-letters", database_url=dsn))[0] is Outcome.OK


async def test_dead_letter_is_a_failure(dsn: str) -> None:
    """Its cost is missing in the ledger."""
    sql = (
        "INSERT INTO dead_letters (request_id, rejected_at, error, record) VALUES (gen_random_uuid(), now(), 'x', '{}')"
    )
    query(dsn, sql)
    assert (await run_one("dead-letters", database_url=dsn))[0] is Outcome.FAILURE


# The last proof, and the last backup.


@pytest.fixture
def row(dsn: str) -> None:
    """A row in the ledger."""
    ship_rows(dsn, [make_row(1)])


def verified(dsn: str, *, days: int, findings: int = 0) -> None:
    """Stores a check of so many days ago."""
    check = LedgerCheck(
        kind="verify",
        at=datetime.now(UTC) - timedelta(days=days),
        actor="carol (command)",
        findings=findings,
        summary="cost" if findings else "",
    )
    sql = "INSERT INTO ledger_checks (kind, at, actor, findings, summary) VALUES (%s, %s, %s, %s, %s)"
    query(dsn, sql, list(msgspec.structs.astuple(check)))


@pytest.mark.parametrize("check", ["verify", "backup"])
async def test_empty_ledger_needs_neither_proof_nor_backup(dsn: str, check: str) -> None:
    """It has no row yet."""
    assert await run_one(check, database_url=dsn) == (Outcome.OK, "the ledger has no row yet", "")


@pytest.mark.parametrize("check", ["verify", "backup"])
async def test_ledger_needs_proof_and_backup(dsn: str, row: None, check: str) -> None:
    """The advice is the command."""
    outcome, _, advice = await run_one(check, database_url=dsn)
    assert outcome is Outcome.WARNING
    assert advice.startswith("chatgpt-agent ")


@pytest.mark.parametrize(
    ("days", "findings", "expected"), [(1, 0, Outcome.OK), (8, 0, Outcome.WARNING), (1, 3, Outcome.FAILURE)]
)
async def test_last_proof(dsn: str, days: int, findings: int, expected: Outcome) -> None:
    """It must be of the last week, and without a finding."""
    verified(dsn, days=days, findings=findings)
    assert [result.outcome for result in await run_check("verify", database_url=dsn)] == [expected]


@pytest.mark.parametrize(("days", "expected"), [(1, Outcome.OK), (3, Outcome.WARNING)])
async def test_last_backup(dsn: str, days: int, expected: Outcome) -> None:
    """It must be of the last two days."""
    at = datetime.now(UTC) - timedelta(days=days)
    backup = LastBackup(at=at, host="vm", path="/backup.tar", size=7, with_key=False, actor="carol")
    query(dsn, "INSERT INTO settings VALUES ('last_backup', %s)", [msgspec.json.encode(backup).decode()])
    outcome, text, _ = await run_one("backup", database_url=dsn)
    assert (outcome, text.endswith("/backup.tar on vm")) == (expected, True)
