"""Which keys a running agent takes over, and which wait for a restart."""

from pathlib import Path

import pytest

from chatgpt_agent.adapters.config import FIELDS, Config
from chatgpt_agent.adapters.config_loading import load_config
from chatgpt_agent.adapters.config_reload import RELOADABLE, compare


def test_reloadable_keys_exist() -> None:
    """The table has no key that the configuration has not."""
    assert set(FIELDS) >= RELOADABLE


@pytest.mark.parametrize(
    "keys",
    [
        {"openai_url", "openai_allow_http"},
        {"max_body_size", "max_buffered_size"},
        {"admin_user_header", "admin_user_header_from"},
    ],
)
def test_keys_that_are_checked_together_are_of_one_kind(keys: set[str]) -> None:
    """Otherwise a valid file could put an invalid pair in force."""
    assert keys <= RELOADABLE or not keys & RELOADABLE


def test_changed_keys_are_in_force_or_named() -> None:
    """A port stays until the next start; a limit does not."""
    reload = compare(Config(port=1, stale_after=5.0), Config(port=2, stale_after=6.0, data_dir=Path("/other")))
    assert reload.changed == ("stale_after",)
    assert reload.restart == ("port", "data_dir")
    assert (reload.config.port, reload.config.stale_after) == (1, 6.0)


def test_key_that_waits_is_named_again() -> None:
    """The second reload of the same file compares with what is in force."""
    new = Config(port=2)
    assert compare(compare(Config(port=1), new).config, new).restart == ("port",)


def test_sources_are_those_of_the_values_in_force(tmp_path: Path) -> None:
    """The console shows where each value comes from."""
    file = tmp_path / "config.yml"
    file.write_text("port: 2\nstale_after: 6\n")
    config = compare(load_config(None, {"PORT": "1", "STALE_AFTER": "5"}), load_config(file, {})).config
    assert config.sources == {"port": "environment PORT", "stale_after": str(file)}
