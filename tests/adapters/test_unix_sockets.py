"""Unix sockets that the agent listens on: who may connect, and what becomes of their files."""

import socket
import stat
from pathlib import Path

import pytest

from chatgpt_agent.adapters.config_checks import addresses_in
from chatgpt_agent.adapters.config_loading import load_config
from chatgpt_agent.adapters.ports import bind, resolve
from chatgpt_agent.core.errors import ConfigError, SetupError
from tests.support.ports import needs_ipv6


async def listen(*addresses: str) -> list[socket.socket]:
    """Listens on addresses, and on any free port where one needs a port."""
    return bind("port", 0, await resolve("port", addresses))


def close(sockets: list[socket.socket]) -> None:
    for listening in sockets:
        listening.close()


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def connects(path: Path) -> bool:
    """Whether a process listens on a path."""
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
    return True


async def test_account_and_group_may_connect(short_folder: Path) -> None:
    """Other accounts may not, whatever the umask is."""
    path = short_folder / "api.sock"
    sockets = await listen(f"unix:{path}")
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert connects(path)
    close(sockets)


async def test_file_is_removed_at_the_end(short_folder: Path) -> None:
    """The next start finds nothing."""
    close(await listen(f"unix:{short_folder}/api.sock"))
    assert names_in(short_folder) == []


async def test_file_of_a_killed_agent_is_replaced(short_folder: Path) -> None:
    """It stays behind, and refuses connections."""
    path = short_folder / "api.sock"
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
    assert not connects(path)
    sockets = await listen(f"unix:{path}")
    assert connects(path)
    close(sockets)


async def test_socket_of_another_process_is_an_error(short_folder: Path) -> None:
    """It goes on listening, and its file stays."""
    path = short_folder / "api.sock"
    sockets = await listen(f"unix:{path}")
    with pytest.raises(SetupError, match=f"^port: cannot listen on unix:{path}: another process listens on {path}$"):
        await listen(f"unix:{path}")
    assert connects(path)
    close(sockets)


async def test_other_file_is_an_error(short_folder: Path) -> None:
    """It is not removed."""
    path = short_folder / "notes"
    path.write_text("kept")
    with pytest.raises(SetupError, match=f"^port: cannot listen on unix:{path}: {path} exists and is not a socket$"):
        await listen(f"unix:{path}")
    assert path.read_text() == "kept"


async def test_file_that_another_agent_has_replaced_stays(short_folder: Path) -> None:
    """Only one's own is removed."""
    path = short_folder / "api.sock"
    first = await listen(f"unix:{path}")
    path.unlink()
    second = await listen(f"unix:{path}")
    close(first)
    assert connects(path)
    close(second)


async def test_error_leaves_no_file(short_folder: Path) -> None:
    """A later address may not be free."""
    with pytest.raises(SetupError, match="No such file or directory"):
        await listen(f"unix:{short_folder}/api.sock", "unix:/no-such-folder/api.sock")
    assert names_in(short_folder) == []


@needs_ipv6
async def test_beside_ports(short_folder: Path) -> None:
    """All addresses have one port, and `::` alone is still both families."""
    sockets = await listen(f"unix:{short_folder}/api.sock", "::")
    port = sockets[1].getsockname()[1]
    for host in ("127.0.0.1", "::1"):
        socket.create_connection((host, port)).close()
    close(sockets)


def test_path_in_a_list() -> None:
    """The path is taken as it is."""
    assert addresses_in("unix:/run/a b/api.sock, [::1]") == ["unix:/run/a b/api.sock", "::1"]


@pytest.mark.parametrize("value", ["unix:", "unix:api.sock", f"unix:/{'x' * 107}", "unix:/a\tb", "/run/api.sock"])
def test_other_paths_are_refused(value: str) -> None:
    """A relative path depends on the folder of the start; Linux has a limit."""
    with pytest.raises(ConfigError, match="unix:/path of a socket"):
        load_config(None, {"BIND_ADDRESS": value})
