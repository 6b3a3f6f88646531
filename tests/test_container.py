"""The Containerfile and the compose file: what can be known of them without a container engine.

tests/test_packaging.py builds and installs what the image has."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from chatgpt_agent.adapters.config import FIELDS, Config
from chatgpt_agent.adapters.config_loading import load_config
from tests.support.container import CONTAINERFILE, ROOT, arguments_of, program_of, service

PASSWORD = "made-up-password"
EXAMPLE = yaml.safe_load((ROOT / "config.example.yml").read_text())


def environment_of_agent() -> dict[str, str]:
    """The variables of the agent, with a password."""
    variables = service("agent")["environment"]
    return {name: PASSWORD if value.startswith("${DATABASE_PASSWORD:?") else value for name, value in variables.items()}


def test_hadolint_finds_nothing() -> None:
    """The linter of Dockerfiles has no objection."""
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed: its wheel is for Linux on x86-64")
    done = subprocess.run([hadolint, CONTAINERFILE], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.returncode) == ("", 0)


def test_image_runs_as_an_account_with_a_fixed_number() -> None:
    """Kubernetes and other engines can see that it is not root, and files in volumes keep their owner."""
    [user] = arguments_of("USER")
    assert user == "10001:10001"


def test_image_has_one_volume_with_all_data() -> None:
    """The rest of the file system is never written."""
    [volume], [folder] = arguments_of("VOLUME"), arguments_of("WORKDIR")[1:]
    [environment] = arguments_of("ENV")
    assert f"DATA_DIR={volume}" in environment.split()
    assert folder == volume


def test_image_serves_on_the_default_ports() -> None:
    """Those that it declares."""
    assert arguments_of("EXPOSE") == [f"{Config().port} {Config().admin_port}"]
    assert [*program_of("ENTRYPOINT"), *program_of("CMD")] == ["chatgpt-agent", "serve"]


def test_compose_sets_keys_that_there_are() -> None:
    """Each variable of the agent is a key of config.example.yml, and all values together are a valid configuration."""
    environment = environment_of_agent()
    assert {name.lower() for name in environment} <= set(EXAMPLE) & set(FIELDS)
    config = load_config(None, environment)
    assert config.database_password == PASSWORD
    assert not config.embedded


def test_compose_lets_both_services_agree_on_the_database() -> None:
    """Its name, user and password, and where the agent reaches it."""
    database = service("database")["environment"]
    agent = service("agent")["environment"]
    for ours, theirs in (("NAME", "DB"), ("USERNAME", "USER"), ("PASSWORD", "PASSWORD")):
        assert agent[f"DATABASE_{ours}"] == database[f"POSTGRES_{theirs}"]
    assert agent["DATABASE_ADDRESS"] == "database:5432"
    assert service("database")["image"].endswith("/postgres:18")


def test_compose_publishes_ports_on_this_machine_alone() -> None:
    """Who opens them to others puts TLS in front first."""
    ports = (Config().port, Config().admin_port)
    assert service("agent")["ports"] == [f"127.0.0.1:{port}:{port}" for port in ports]
    assert "ports" not in service("database")


def test_compose_gives_the_agent_no_more_than_it_needs() -> None:
    """A file system that is read-only but for the volume, and no capability."""
    agent = service("agent")
    assert (agent["read_only"], agent["cap_drop"]) == (True, ["ALL"])
    assert agent["volumes"] == [f"data:{arguments_of('VOLUME')[0]}"]


def test_compose_waits_for_requests_in_progress() -> None:
    """An agent that drains is not killed."""
    assert int(service("agent")["stop_grace_period"].removesuffix("s")) > Config().drain_timeout
