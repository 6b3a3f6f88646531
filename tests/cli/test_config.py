"""`chatgpt-agent config`: whether the configuration is valid, and what is in force."""

import json
from pathlib import Path

from chatgpt_agent.adapters.config import FIELDS
from tests.support.commands import Cli

PASSWORD = "made-up-password"


def config_file(folder: Path, text: str) -> str:
    """Writes a configuration file and returns its name."""
    path = folder / "config.yml"
    path.write_text(text)
    return str(path)


def test_valid_configuration_is_ok(tmp_path: Path) -> None:
    """No database is needed, and no folder is created."""
    file = config_file(tmp_path, "database_url: postgresql://agent@127.0.0.1:1/none\ndata_dir: data\n")
    assert Cli({}).ok("config", "check", "--config", file) == "ok\n"
    assert json.loads(Cli({}).ok("config", "check", "--config", file, "--json")) == {"ok": True}
    assert not (tmp_path / "data").exists()


def test_check_prints_every_error_of_file_and_environment(tmp_path: Path) -> None:
    """Each error is one line."""
    file = config_file(tmp_path, "port: high\nprot: 1\n")
    lines = Cli({"LOG_LEVEL": "loud"}).refused("config", "check", "--config", file, code=2)
    assert [line.split(": ")[1] for line in lines] == ["prot", "port", "log_level"]


def test_check_reads_the_files_that_are_named(tmp_path: Path) -> None:
    """A missing file and an invalid connection string are reported together."""
    settings = {
        "OPENAI_CA_FILE": str(tmp_path / "ca.pem"),
        "DATABASE_URL": f"host=127.0.0.1 password={PASSWORD} no_option=1",
    }
    lines = Cli(settings).refused("config", "check", code=2)
    assert [line.split(": ")[0] for line in lines] == ["openai_ca_file", "database_url"]
    assert PASSWORD not in "".join(lines)


def test_show_has_the_source_of_every_value(tmp_path: Path) -> None:
    """It is the file, a variable of the environment, or the default."""
    file = config_file(tmp_path, "port: 9000\nadmin_port: 9001\n")
    rows = json.loads(Cli({"ADMIN_PORT": "9002"}).ok("config", "show", "--config", file, "--json"))
    assert [row["key"] for row in rows] == list(FIELDS)
    by_key = {row["key"]: (row["value"], row["source"]) for row in rows}
    expected = {
        "port": ("9000", file),
        "admin_port": ("9002", "environment ADMIN_PORT"),
        "data_dir": (by_key["data_dir"][0], "default"),
    }
    assert {key: by_key[key] for key in expected} == expected


def test_show_masks_secrets() -> None:
    """Passwords and URLs that may hold one are not shown, as text or as JSON."""
    settings = {"DATABASE_PASSWORD": PASSWORD, "OPENAI_PROXY": f"http://team:{PASSWORD}@proxy.example:7890"}
    for form in ("table", "json"):
        output = Cli(settings).ok("config", "show", "--format", form)
        assert PASSWORD not in output
        assert "proxy.example" not in output
    [line] = [line for line in Cli(settings).ok("config", "show").splitlines() if line.startswith("openai_proxy")]
    assert line.split(maxsplit=1)[1].startswith("(not shown)")


def test_show_refuses_an_invalid_configuration() -> None:
    """What is in force is not known then."""
    assert len(Cli({"PORT": "high"}).refused("config", "show", code=2)) == 1
