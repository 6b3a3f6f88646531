"""`doctor` on files: modes, owners, the disk, the outbox, the limit of open files."""

import fcntl
import os
import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from chatgpt_agent.adapters.config import Config, with_sources
from chatgpt_agent.adapters.disk import Room
from chatgpt_agent.adapters.outbox import Outbox
from chatgpt_agent.admin.doctor.examination import Examination
from chatgpt_agent.admin.doctor.files import check_files, of_room
from chatgpt_agent.admin.doctor.results import Outcome
from chatgpt_agent.core.errors import SetupError
from tests.support.doctor import run_check, run_one
from tests.support.factories import make_intent, make_row
from tests.support.full_disk import UNPRIVILEGED, full_disk, without_root
from tests.support.postgres_server import server_folder

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another account")


@pytest.fixture
def parent() -> Iterator[Path]:
    """A folder that every account can enter."""
    with server_folder() as folder:
        yield folder


@pytest.fixture
def data_dir(parent: Path) -> Path:
    """A private folder."""
    folder = parent / "data"
    folder.mkdir(mode=0o700)
    return folder


def set_mode(path: Path, mode: int) -> None:
    """Sets a mode."""
    path.chmod(mode)


def names_in(folder: Path) -> list[str]:
    """Returns what is in a folder."""
    return [path.name for path in folder.iterdir()]


def write(path: Path, text: str = "", mode: int = 0o600) -> Path:
    """Writes a file with a mode."""
    path.write_text(text)
    path.chmod(mode)
    return path


# Modes and owners.


async def test_private_folder_is_ok(data_dir: Path) -> None:
    """Its owner and its mode are shown."""
    outcome, text, _ = await run_one("files", data_dir=data_dir)
    assert (outcome, text.endswith("mode 700")) == (Outcome.OK, True)


async def test_missing_folder_is_ok(parent: Path) -> None:
    """The first start creates it."""
    outcome, text, _ = await run_one("files", data_dir=parent / "data")
    assert (outcome, text) == (Outcome.OK, f"{parent}/data does not exist yet; the first start creates it")


@as_root
async def test_folder_that_cannot_be_created_is_a_failure(parent: Path) -> None:
    """The advice creates it."""
    with without_root():
        outcome, _, advice = await run_one("files", data_dir=parent / "data")
    assert (outcome, advice) == (Outcome.FAILURE, f"mkdir -m 700 {parent}/data")


@pytest.mark.parametrize(("mode", "expected"), [(0o770, Outcome.WARNING), (0o777, Outcome.FAILURE)])
async def test_folder_that_others_can_write_is_reported(data_dir: Path, mode: int, expected: Outcome) -> None:
    """They could replace the master key."""
    set_mode(data_dir, mode)
    outcome, _, advice = await run_one("files", data_dir=data_dir)
    assert (outcome, advice) == (expected, f"chmod go-w {data_dir}")


@pytest.mark.parametrize(("mode", "text"), [(0o640, "k" * 44), (0o600, "short")])
async def test_unusable_master_key_is_a_failure(data_dir: Path, mode: int, text: str) -> None:
    """Its rule is that of the start."""
    write(data_dir / "master.key", text, mode)
    outcome, text, _ = await run_one("files", data_dir=data_dir)
    assert outcome is Outcome.FAILURE
    assert text.startswith("the master key ")


async def test_invalid_secret_of_the_webhook_is_a_failure(data_dir: Path) -> None:
    """Its rule is that of the start."""
    outcome, text, _ = await run_one("files", data_dir=data_dir, webhook_secret_file=write(data_dir / "secret", "x"))
    assert outcome is Outcome.FAILURE
    assert text.startswith("the webhook's secret ")


@pytest.mark.parametrize(("mode", "expected"), [(0o644, Outcome.FAILURE), (0o640, Outcome.OK)])
async def test_private_key_of_the_listener_must_be_private(data_dir: Path, mode: int, expected: Outcome) -> None:
    """A group such as ssl-cert may read it."""
    key = write(data_dir.parent / "tls.key", mode=mode)
    assert (await run_one("files", data_dir=data_dir, tls_key=key))[0] is expected


async def test_outbox_that_others_can_read_is_a_warning(data_dir: Path) -> None:
    """The advice makes it private."""
    write(data_dir / "outbox.db", mode=0o644)
    outcome, _, advice = await run_one("files", data_dir=data_dir)
    assert (outcome, advice) == (Outcome.WARNING, f"chmod 600 {data_dir}/outbox.db")


@as_root
async def test_file_of_another_account_is_a_failure(data_dir: Path) -> None:
    """The agent's account could not open it."""
    os.chown(write(data_dir / "outbox.db"), UNPRIVILEGED, -1)
    outcome, _, advice = await run_one("files", data_dir=data_dir)
    assert (outcome, advice) == (Outcome.FAILURE, f"chown root {data_dir}/outbox.db")


@as_root
async def test_another_account_is_named(data_dir: Path) -> None:
    """Only the agent's account sees what the agent sees."""
    with without_root():
        outcome, _, advice = await run_one("files", data_dir=data_dir)
    assert (outcome, advice) == (Outcome.WARNING, "sudo -u root chatgpt-agent doctor")


@pytest.mark.parametrize(("mode", "expected"), [(0o644, Outcome.FAILURE), (0o640, Outcome.OK)])
async def test_configuration_with_secrets_must_be_private(data_dir: Path, mode: int, expected: Outcome) -> None:
    """A group of administrators may read it."""
    file = write(data_dir.parent / "config.yml", mode=mode)
    config = with_sources(Config(data_dir=data_dir, database_password="made up"), {"database_password": str(file)})
    [result] = await check_files(Examination(config, file))
    assert result.outcome is expected
    assert "made up" not in result.text


# The disk.


async def test_disk_is_ok(data_dir: Path) -> None:
    """A file is written and removed."""
    outcome, text, _ = await run_one("disk", data_dir=data_dir)
    assert (outcome, "a write takes" in text) == (Outcome.OK, True)
    assert names_in(data_dir) == []


async def test_disk_without_room_for_a_write_is_a_failure(data_dir: Path) -> None:
    """The system's reason is shown, and nothing is left behind."""
    with full_disk():
        outcome, text, _ = await run_one("disk", data_dir=data_dir)
    assert outcome is Outcome.FAILURE
    assert text.startswith(f"{data_dir} cannot be written: File too large (")
    assert names_in(data_dir) == []


@as_root
async def test_read_only_folder_is_a_failure(data_dir: Path) -> None:
    """The system's reason is shown."""
    set_mode(data_dir, 0o555)
    with without_root():
        outcome, text, _ = await run_one("disk", data_dir=data_dir)
    assert outcome is Outcome.FAILURE
    assert text.startswith(f"{data_dir} cannot be written: Permission denied (")


@pytest.mark.parametrize(
    ("free", "files", "expected"),
    [
        (1 << 30, None, []),
        (1 << 28, 1000, [Outcome.WARNING]),
        (1 << 19, None, [Outcome.FAILURE]),
        (1 << 30, 5, [Outcome.FAILURE]),
    ],
)
def test_room_on_the_disk(free: int, files: int | None, expected: list[Outcome]) -> None:
    """Half a gigabyte is little, and less than a megabyte none."""
    assert [result.outcome for result in of_room(Path("/data"), Room(free=free, free_files=files))] == expected


# The outbox.


async def fill(data_dir: Path, *, rows: int) -> None:
    """Leaves rows to be shipped in an outbox."""
    outbox = Outbox(data_dir)
    await outbox.open()
    for number in range(1, rows + 1):
        await outbox.add_intent(make_intent(number))
        await outbox.settle(make_row(number))
    await outbox.close()


async def test_missing_outbox_is_ok(data_dir: Path) -> None:
    """The first start creates it."""
    assert (await run_one("outbox", data_dir=data_dir))[0] is Outcome.OK


async def test_empty_outbox_is_ok(data_dir: Path) -> None:
    """The text says whether an agent runs."""
    await fill(data_dir, rows=0)
    outcome, text, _ = await run_one("outbox", data_dir=data_dir)
    assert (outcome, text) == (Outcome.OK, "no row waits to be shipped; no agent runs on it")


async def test_waiting_rows_without_an_agent_are_a_warning(data_dir: Path) -> None:
    """An agent ships them."""
    await fill(data_dir, rows=2)
    outcome, text, advice = await run_one("outbox", data_dir=data_dir)
    assert (outcome, advice) == (Outcome.WARNING, "start the agent, which ships them")
    assert text.startswith("2 rows wait to be shipped, the oldest began ")


async def test_rows_that_wait_long_beside_an_agent_are_a_warning(data_dir: Path) -> None:
    """The advice names what may be wrong; the rows of this test are of 2026."""
    await fill(data_dir, rows=1)
    with (data_dir / "outbox.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        outcome, text, advice = await run_one("outbox", data_dir=data_dir)
    assert (outcome, "PostgreSQL" in advice) == (Outcome.WARNING, True)
    assert text.endswith(f"process {os.getpid()} runs on it")


async def test_damaged_outbox_is_an_error(data_dir: Path) -> None:
    """The runner makes a failure of it."""
    write(data_dir / "outbox.db", "no database" * 100)
    with pytest.raises(SetupError, match="cannot be read"):
        await run_check("outbox", data_dir=data_dir)


async def test_outbox_is_not_changed(data_dir: Path) -> None:
    """It is only read."""
    await fill(data_dir, rows=1)
    before = (data_dir / "outbox.db").read_bytes()
    await run_check("outbox", data_dir=data_dir)
    assert (data_dir / "outbox.db").read_bytes() == before
    with sqlite3.connect(data_dir / "outbox.db") as db:
        assert db.execute("SELECT count(*) FROM rows").fetchone() == (1,)


# The agent.


async def test_no_agent_is_ok(data_dir: Path) -> None:
    """There is nothing to ask."""
    outcome, text, _ = await run_one("ready", data_dir=data_dir)
    assert (outcome, text) == (Outcome.OK, f"no agent runs on {data_dir}")


async def test_agent_that_does_not_answer_is_a_failure(data_dir: Path) -> None:
    """Its process has the lock, and nothing listens on its port."""
    with (data_dir / "outbox.lock").open("ab") as lock, socket.socket() as closed:
        fcntl.flock(lock, fcntl.LOCK_EX)
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        outcome, text, _ = await run_one("ready", data_dir=data_dir, bind_address="127.0.0.1", port=port)
        unknown, *_ = await run_one("ready", data_dir=data_dir, port=0)
    assert (outcome, "Connection refused" in text) == (Outcome.FAILURE, True)
    assert unknown is Outcome.SKIPPED


# Open files.


@pytest.mark.parametrize(("requests", "expected"), [(10, Outcome.OK), (100_000_000, Outcome.WARNING)])
async def test_limit_of_open_files(data_dir: Path, requests: int, expected: Outcome) -> None:
    """It must have room for every request and its client."""
    assert (await run_one("open-files", data_dir=data_dir, max_concurrent_requests=requests))[0] is expected
