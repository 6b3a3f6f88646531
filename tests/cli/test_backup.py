"""`chatgpt-agent backup` and `restore`: what is in the file, what comes out of it, and what is refused."""

import asyncio
import gzip
import hashlib
import io
import json
import stat
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from chatgpt_agent.adapters.migrate import known_migrations, rollback
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.programs import find_program
from chatgpt_agent.adapters.postgres.targets import PREFIX
from chatgpt_agent.admin.backups import LastBackup, last_backup
from tests.support.backups import contents, elsewhere, manifest, members
from tests.support.commands import KEY, Cli, stored_key
from tests.support.database import query
from tests.support.ledger_rows import november_row, ship_rows
from tests.support.postgres_server import MIGRATED, temporary_database

PASSPHRASE = "made-up passphrase"
CHANGED_BY_RESTORE = {"settings", "ledger_checks"}  # the last backup, and the check at the end
RELATIONS = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"


@pytest.fixture(scope="module")
def source(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """The program with a user, a price, a budget and a row, which the module's tests share."""
    with temporary_database(postgres, MIGRATED) as dsn:
        cli = Cli({"DATABASE_URL": dsn, "DATA_DIR": str(tmp_path_factory.mktemp("source") / "data")})
        cli.add_user("alice")
        cli.ok("price", "set", "gpt-6-luna", "--input", "0.15", "--output", "0.60", "--cached-input", "0.075")
        cli.ok("budget", "set", "5", "--user", "alice")
        ship_rows(dsn, [november_row(1, 1, 3)])
        yield cli


@pytest.fixture(scope="module")
def file(source: Cli, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of it, with the master key."""
    folder = tmp_path_factory.mktemp("backups")
    path = folder / "backup.tar"
    source.ok("backup", str(path), "--with-key", "--passphrase-file", str(passphrase_file(folder)))
    return path


@pytest.fixture
def empty(empty_cli: Cli) -> Cli:
    """The program on an empty database, and without a data directory."""
    return empty_cli


def passphrase_file(folder: Path, text: str = PASSPHRASE) -> Path:
    """Writes a file with a passphrase."""
    path = folder / "passphrase"
    path.write_text(f"{text}\n")
    path.chmod(0o600)
    return path


def dsn_of(cli: Cli) -> str:
    """The database of a program."""
    return cli.settings["DATABASE_URL"]


# The file.


def test_backup_is_one_file_with_sums(source: Cli, file: Path) -> None:
    """Only its owner can read it; its sums are those of database and members."""
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    content, head = members(file), manifest(file)
    assert list(content) == [
        "master-key.json",
        "database.dump",
        "configuration.json",
        "manifest.json",
        "manifest.sha256",
    ]
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in content.items()}
    assert {name: member["sha256"] for name, member in head["members"].items()} == {
        name: digests[name] for name in head["members"]
    }
    assert content["manifest.sha256"].decode() == f"{digests['manifest.json']}  manifest.json\n"
    assert head["contents"]["migrations"] == known_migrations()
    [(rows, cost)] = query(dsn_of(source), "SELECT count(*), sum(cost)::text FROM usage")
    assert (head["contents"]["tables"]["usage"]["rows"], head["contents"]["cost"]) == (rows, cost)


def test_backup_has_no_secret_in_the_clear(source: Cli, file: Path) -> None:
    """Neither in the members, nor in the text of the dump; the configuration has names without secret values."""
    key = (Path(source.settings["DATA_DIR"]) / "master.key").read_bytes().strip()
    dump = members(file)["database.dump"]
    done = subprocess.run([find_program("pg_restore", 18).path, "-f", "-"], input=dump, capture_output=True, check=True)
    assert b"alice" in done.stdout
    for content in (done.stdout, *members(file).values()):
        assert KEY.encode() not in content
        assert key not in content
    settings = {each["key"]: each["value"] for each in json.loads(members(file)["configuration.json"])}
    assert (settings["database_url"], settings["keep_shipped"]) == ("(not shown)", "3600")


def test_last_backup_is_recorded(source: Cli, tmp_path: Path) -> None:
    """With its time, path, size and author; `admin.backups.last_backup` reads it."""
    file = tmp_path / "last.tar"
    source.ok("backup", str(file), "--with-key", "--passphrase-file", str(passphrase_file(tmp_path)))

    async def read() -> LastBackup | None:
        async with Store(dsn_of(source)) as store:
            return await last_backup(store)

    last = asyncio.run(read())
    assert last is not None
    assert (last.path, last.size, last.with_key) == (str(file), file.stat().st_size, True)
    assert abs((datetime.now(UTC) - last.at).total_seconds()) < 600


def test_existing_file_is_not_replaced_without_force(source: Cli, tmp_path: Path) -> None:
    """One line; --force replaces it, and no temporary file is left."""
    path = tmp_path / "b.tar"
    path.write_text("mine")
    [line] = source.refused("backup", str(path))
    assert line == f"Error: {path} exists: give another name, or --force to replace it"
    assert path.read_text() == "mine"
    source.ok("backup", str(path), "--force")
    assert next(iter(members(path))) == "database.dump"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "reason"), [("nowhere/b.tar", "cannot be written: No such file or directory"), ("", "is a folder")]
)
def test_unusable_path_is_one_line(source: Cli, tmp_path: Path, name: str, reason: str) -> None:
    """Nothing is dumped before."""
    [line] = source.refused("backup", str(tmp_path / name))
    assert reason in line


def test_backup_without_an_outbox_says_so(source: Cli, tmp_path: Path) -> None:
    """The agents may run on other machines; theirs are named with the rows that they have to ship."""
    query(dsn_of(source), "INSERT INTO agents (id, seen_at, backlog) VALUES (gen_random_uuid(), now(), 7)")
    result = source.run("backup", str(tmp_path / "b.tar"))
    query(dsn_of(source), "DELETE FROM agents")
    first, second = result.stderr.splitlines()
    assert first.startswith("Warning: there is no outbox in ")
    assert "had 7 rows to ship: back it up on its machine, too" in second


# The restore.


def test_restore_brings_everything_back(source: Cli, file: Path, empty: Cli, tmp_path: Path) -> None:
    """All tables, the master key, which opens the stored keys; the backup is the last one that the database knows."""
    text = empty.ok("restore", str(file), "--with-key", "--passphrase-file", str(passphrase_file(tmp_path)))
    assert text.endswith("The ledger is consistent.\n")
    before, after = contents(dsn_of(source)), contents(dsn_of(empty))
    assert {name for name in before | after if before.get(name) != after.get(name)} <= CHANGED_BY_RESTORE
    assert stored_key(empty) == KEY
    folder = Path(empty.settings["DATA_DIR"])
    assert [path.name for path in folder.iterdir()] == ["master.key"]
    assert stat.S_IMODE((folder / "master.key").stat().st_mode) == 0o600
    assert empty.add_user("bob")


def test_check_leaves_nothing(source: Cli, file: Path) -> None:
    """It works beside the database that is in use, and reads nothing of the data directory."""
    before, name = contents(dsn_of(source)), f"{PREFIX}left"
    query(dsn_of(source), f"CREATE DATABASE {name}")  # as a check that was killed
    result = source.run("restore", str(file), "--check")
    assert (result.exit_code, "can be restored" in result.stdout) == (0, True)
    assert result.stderr == f"Warning: an interrupted check has left the database {name}: drop it\n"
    assert contents(dsn_of(source)) == before
    names = "SELECT datname FROM pg_database WHERE starts_with(datname, %s)"
    assert query(dsn_of(source), names, [PREFIX]) == [(name,)]
    query(dsn_of(source), f"DROP DATABASE {name}")


def test_restore_without_the_key_names_its_place(file: Path, empty: Cli) -> None:
    """The agent would not start without it."""
    result = empty.run("restore", str(file))
    path = Path(empty.settings["DATA_DIR"]) / "master.key"
    assert f"put the master key back as {path} before you start the agent" in result.stderr
    assert result.exit_code == 0


def test_restore_of_the_database_alone_leaves_the_data_directory(file: Path, source: Cli, empty: Cli) -> None:
    """For a machine that has lost its database, and not its outbox."""
    other = elsewhere(empty, dsn_of(empty), Path(source.settings["DATA_DIR"]))
    before = sorted(Path(source.settings["DATA_DIR"]).iterdir())
    assert "has been restored" in other.ok("restore", str(file), "--database-only")
    assert sorted(Path(source.settings["DATA_DIR"]).iterdir()) == before


def test_older_backup_is_migrated(cli: Cli, empty_dsn: str, tmp_path: Path) -> None:
    """A program restores backups of its earlier versions."""
    rollback(dsn_of(cli), 2)
    cli.ok("backup", str(tmp_path / "b.tar"))
    text = elsewhere(cli, empty_dsn, tmp_path / "new").ok("restore", str(tmp_path / "b.tar"))
    assert f"Migrated: {', '.join(known_migrations()[-2:])}\n" in text


def test_findings_end_with_exit_code_1(source: Cli, empty: Cli, tmp_path: Path) -> None:
    """A backup of wrong books can be restored, and says that they are wrong."""
    query(dsn_of(source), "INSERT INTO dead_letters VALUES (gen_random_uuid(), '{}', 'made up', now())")
    source.ok("backup", str(tmp_path / "b.tar"))
    query(dsn_of(source), "DELETE FROM dead_letters")
    result = empty.run("restore", str(tmp_path / "b.tar"), "--check", "--json")
    assert result.exit_code == 1
    assert [finding["check"] for finding in json.loads(result.stdout)["findings"]] == ["dead letter"]


def by_hand(file: Path, folder: Path, dsn: str, *options: str) -> None:
    """Restores the dump in a backup with PostgreSQL's own program, which must succeed without a warning."""
    with tarfile.open(file) as tar:
        tar.extract("database.dump", folder, filter="data")
    command = [str(find_program("pg_restore", 18).path), *options, f"--dbname={dsn}", str(folder / "database.dump")]
    done = subprocess.run(command, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_dump_can_be_restored_by_hand(file: Path, empty: Cli, source: Cli, tmp_path: Path) -> None:
    """As the documentation says."""
    by_hand(file, tmp_path, dsn_of(empty), "--no-owner", "--schema=public")
    before, after = contents(dsn_of(source)), contents(dsn_of(empty))
    assert {name for name in before if before[name] != after[name]} <= {"settings"}


def test_data_alone_can_be_restored_by_hand(file: Path, cli: Cli, source: Cli, tmp_path: Path) -> None:
    """Into truncated tables with the partitions of its months, as the documentation says."""
    dsn = dsn_of(cli)
    names = ", ".join(
        f'"{name}"' for (name,) in query(dsn, f"{RELATIONS} AND relkind IN ('r', 'p') AND NOT relispartition")
    )
    query(dsn, f"TRUNCATE {names}")
    query(dsn, "SELECT ensure_usage_partition(started_at) FROM (SELECT '2026-11-01'::timestamptz AS started_at) x")
    by_hand(file, tmp_path, dsn, "--data-only", "--disable-triggers")
    before, after = contents(dsn_of(source)), contents(dsn)
    assert {name for name in before if before[name] != after[name]} <= {"settings"}


def test_tables_in_a_schema_of_their_own_are_restored_there(
    cli: Cli, empty_dsn: str, spare: str, tmp_path: Path
) -> None:
    """The schema is created; what the database has beside it is not in the backup."""
    options = " options='-c search_path=agent'"
    query(
        dsn_of(cli), "DROP SCHEMA public CASCADE; CREATE SCHEMA public; CREATE TABLE customers (); CREATE SCHEMA agent"
    )
    own = elsewhere(cli, dsn_of(cli) + options, tmp_path / "data")
    own.add_user("alice")
    own.ok("backup", str(tmp_path / "b.tar"))
    line = refusal(own, spare, tmp_path, tmp_path / "b.tar")
    assert "are in the schema agent, and database_url uses the schema public: add ?options=" in line
    restored = elsewhere(cli, empty_dsn + options, tmp_path / "new")
    restored.ok("restore", str(tmp_path / "b.tar"))
    assert query(empty_dsn, "SELECT name FROM agent.users") == [("alice",)]
    assert query(empty_dsn, RELATIONS) == []


def test_check_names_a_right_that_the_account_lacks(source: Cli, file: Path, postgres: str, tmp_path: Path) -> None:
    """It needs a database beside the configured one."""
    query(postgres, "CREATE ROLE bookkeeper LOGIN")
    dsn = dsn_of(source).replace("user=postgres", "user=bookkeeper")
    [line] = elsewhere(source, dsn, tmp_path).refused("restore", str(file), "--check")
    query(postgres, "DROP ROLE bookkeeper")
    assert "run `ALTER ROLE bookkeeper CREATEDB`, or check with the variable DATABASE_URL=embedded" in line


# Refusals: one line, and nothing is changed.


@pytest.fixture(scope="module")
def spare(postgres: str) -> Iterator[str]:
    """An empty database that refused restores share."""
    with temporary_database(postgres, "template0") as dsn:
        yield dsn


def refusal(cli: Cli, spare: str, folder: Path, path: Path, *options: str) -> str:
    """The line of a refused restore, which has changed nothing."""
    other = elsewhere(cli, spare, folder / "other")
    [line] = other.refused("restore", str(path), *options)
    assert query(spare, RELATIONS) == []
    return line.removeprefix(f"Error: {path} ")


def test_database_with_tables_is_refused(file: Path, source: Cli, tmp_path: Path) -> None:
    """Even one that is the same as the backup."""
    before = contents(dsn_of(source))
    other = elsewhere(source, dsn_of(source), tmp_path / "other")
    [line] = other.refused("restore", str(file))
    assert line.endswith("is not empty: restore into an empty one; nothing was changed")
    assert contents(dsn_of(source)) == before


def test_data_directory_with_an_outbox_is_refused(file: Path, source: Cli, spare: str, tmp_path: Path) -> None:
    """Its rows belong to another ledger, or are newer than the backup."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "outbox.db").touch()
    line = refusal(source, spare, tmp_path, file)
    assert "is not empty, it has outbox.db: restore into an empty one, or only the database with" in line


def test_wrong_passphrase_is_refused(file: Path, source: Cli, spare: str, tmp_path: Path) -> None:
    """Before anything is restored."""
    options = ("--with-key", "--passphrase-file", str(passphrase_file(tmp_path, "another passphrase")))
    assert refusal(source, spare, tmp_path, file, *options) == "Error: the passphrase is wrong"


def test_passphrase_must_be_long_and_private(source: Cli, tmp_path: Path) -> None:
    """A guess takes 0.4 s, which only helps if there are many to be made."""
    path = passphrase_file(tmp_path, "short")
    command = ("backup", str(tmp_path / "b.tar"), "--with-key", "--passphrase-file", str(path))
    assert source.refused(*command) == ["Error: passphrase: must have at least 12 characters"]
    path.chmod(0o644)
    assert source.refused(*command)[0].endswith(f"is accessible to other accounts: run `chmod 600 {path}`")
    assert source.refused("backup", "b.tar", "--with-key", code=2)[-1].endswith("give --passphrase-file")


def rewritten(path: Path, change: Callable[[dict[str, bytes]], None]) -> bytes:
    """A backup with other members."""
    content = members(path)
    change(content)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in content.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def with_manifest(path: Path, change: Callable[[Any], None]) -> bytes:
    """A backup with another manifest, whose sum is right."""

    def replace(content: dict[str, bytes]) -> None:
        head = json.loads(content["manifest.json"])
        change(head)
        content["manifest.json"] = json.dumps(head).encode()
        digest = hashlib.sha256(content["manifest.json"]).hexdigest()
        content["manifest.sha256"] = f"{digest}  manifest.json\n".encode()

    return rewritten(path, replace)


def flipped(path: Path, name: str) -> bytes:
    """A backup with one other bit in a member."""
    data = bytearray(path.read_bytes())
    with tarfile.open(path) as tar:
        member = tar.getmember(name)
    data[member.offset_data + member.size // 2] ^= 1
    return bytes(data)


NO_BACKUP = "is not a backup of chatgpt-agent"
INCOMPLETE = "is incomplete or damaged: its manifest is missing"
BAD_FILES: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "empty": (lambda file: b"", NO_BACKUP),
    "text": (lambda file: b"hello\n" * 1000, NO_BACKUP),
    "zeros": (lambda file: bytes(10240), NO_BACKUP),
    "dump": (lambda file: members(file)["database.dump"], NO_BACKUP),
    "compressed": (lambda file: gzip.compress(file.read_bytes()), NO_BACKUP),
    "other tar": (lambda file: rewritten(file, dict.clear), NO_BACKUP),
    "half": (lambda file: file.read_bytes()[: file.stat().st_size // 2], INCOMPLETE),
    "nearly all": (lambda file: file.read_bytes()[:-4096], INCOMPLETE),
    "flipped dump": (
        lambda file: flipped(file, "database.dump"),
        "is damaged: the SHA-256 of database.dump is not that of the manifest",
    ),
    "flipped manifest": (
        lambda file: flipped(file, "manifest.json"),
        "is damaged: the SHA-256 of its manifest is wrong",
    ),
    "missing member": (
        lambda file: rewritten(file, lambda content: content.pop("database.dump")),  # type: ignore[arg-type]
        "is damaged: database.dump does not have the size that the manifest says",
    ),
    "strange member": (
        lambda file: with_manifest(file, lambda head: head["members"].update({"../x": {"size": 0, "sha256": ""}})),
        "is damaged: its manifest names other members than a backup has",
    ),
    "no manifest": (
        lambda file: with_manifest(file, lambda head: head.pop("contents")),
        "is damaged: its manifest cannot be read",
    ),
    "newer format": (
        lambda file: with_manifest(file, lambda head: head.update(format=2, contents=None)),
        "is a backup of a newer program: install a newer chatgpt-agent",
    ),
    "newer schema": (
        lambda file: with_manifest(file, lambda head: head["contents"]["migrations"].append("9999.later")),
        "it has 9999.later",
    ),
    "newer server": (
        lambda file: with_manifest(file, lambda head: head["contents"].update(server=99)),
        "the backup is of PostgreSQL 99, and the server of database_url is older",
    ),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_file_is_refused(file: Path, source: Cli, spare: str, tmp_path: Path, case: str) -> None:
    """Foreign, incomplete, damaged or newer: one line says which."""
    make, reason = BAD_FILES[case]
    path = tmp_path / "bad.tar"
    path.write_bytes(make(file))
    assert reason in refusal(source, spare, tmp_path, path)


def test_file_without_the_key_is_refused_with_key(source: Cli, spare: str, tmp_path: Path) -> None:
    """The option is not ignored."""
    path = tmp_path / "b.tar"
    source.ok("backup", str(path))
    options = ("--with-key", "--passphrase-file", str(passphrase_file(tmp_path)))
    assert refusal(source, spare, tmp_path, path, *options).startswith("has no master key: restore without --with-key")
