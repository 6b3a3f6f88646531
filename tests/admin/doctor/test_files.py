"""`doctor` on files: who may read and change them."""

import os
from pathlib import Path

import pytest

from chatgpt_agent.adapters.config import Config, with_sources
from chatgpt_agent.admin.doctor.examination import Examination
from chatgpt_agent.admin.doctor.files import check_files
from chatgpt_agent.admin.doctor.results import Outcome
from tests.support.doctor import as_root, run_one, set_mode, write
from tests.support.full_disk import UNPRIVILEGED, without_root


async def test_private_folder_is_ok(data_dir: Path) -> None:
    """Its owner and its mode are shown."""
    outcome, text, _ = await run_one("files", data_dir=data_dir)
    assert (outcome, text.endswith("mode 700")) == (Outcome.OK, True)


async def test_folder_with_a_key_is_ok(data_dir: Path) -> None:
    """The files of an agent are private."""
    write(data_dir / "master.key", "k" * 44)
    write(data_dir / "outbox.db")
    assert (await run_one("files", data_dir=data_dir))[0] is Outcome.OK


async def test_outbox_that_its_owner_cannot_write_is_a_failure(data_dir: Path) -> None:
    """No agent starts on it."""
    path = write(data_dir / "outbox.db", mode=0o400)
    assert (await run_one("files", data_dir=data_dir))[::2] == (Outcome.FAILURE, f"chmod 600 {path}")


@pytest.mark.parametrize("mode", [0o602, 0o666])
async def test_configuration_that_others_can_change_is_a_failure(data_dir: Path, mode: int) -> None:
    """They could send keys and messages to another server."""
    file = write(data_dir.parent / "config.yml", mode=mode)
    outcome, _, advice = await run_one("files", file, data_dir=data_dir)
    assert (outcome, advice) == (Outcome.FAILURE, f"chmod o-w {file}")


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


async def test_configuration_with_the_values_of_the_example_is_ok(data_dir: Path) -> None:
    """A first start with a copy of config.example.yml has no secret yet."""
    file = write(data_dir.parent / "config.yml", mode=0o644)
    example = {"database_password": str(file), "database_address": str(file)}
    [result] = await check_files(Examination(with_sources(Config(data_dir=data_dir), example), file))
    assert result.outcome is Outcome.OK
