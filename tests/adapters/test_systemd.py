"""Messages to systemd: where they go, and what becomes of those that it does not read."""

import os
from pathlib import Path
from uuid import uuid4

import pytest

from chatgpt_agent.adapters.systemd import ServiceManager, service_manager
from tests.support.systemd import NotifySocket, notify_socket


def test_lines_arrive_in_one_message(tmp_path: Path) -> None:
    """systemd reads the lines of a message together."""
    with notify_socket(tmp_path) as listening:
        manager = ServiceManager(listening.address)
        manager.send("READY=1", "STATUS=serving")
        assert listening.next_within(5) == b"READY=1\nSTATUS=serving"
        manager.close()


def test_abstract_name_begins_with_an_at_sign() -> None:
    """A socket with such a name is in no folder."""
    listening = NotifySocket(f"@{uuid4()}")
    manager = ServiceManager(listening.address)
    manager.send("READY=1")
    assert listening.read() == ["READY=1"]
    manager.close()
    listening.close()


def test_without_a_socket_nothing_is_sent() -> None:
    """An agent that a shell has started knows no service manager."""
    manager = service_manager({})
    manager.send("READY=1")
    assert (manager.is_present, manager.watchdog_seconds) == (False, None)


def test_other_address_is_no_socket() -> None:
    """Newer versions of systemd may name an address of VSOCK, for virtual machines."""
    assert not service_manager({"NOTIFY_SOCKET": "vsock:2:1234"}).is_present


def test_full_queue_delays_a_line(tmp_path: Path) -> None:
    """It goes out with the first message that the socket takes: READY=1 may not be lost."""
    with notify_socket(tmp_path) as listening:
        manager = ServiceManager(listening.address)
        for number in range(5000):
            manager.send(f"STATUS={number}")
        assert len(listening.read()) < 5000
        manager.send("READY=1")
        assert listening.read() == ["STATUS=4999", "READY=1"]
        manager.close()


def test_processes_that_it_starts_do_not_inherit_the_variables(tmp_path: Path) -> None:
    """An embedded PostgreSQL is not the service."""
    environ = {"NOTIFY_SOCKET": str(tmp_path / "none"), "WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}
    manager = service_manager(environ)
    assert (manager.is_present, manager.watchdog_seconds, environ) == (True, 60.0, {})
    manager.send("READY=1")  # there is no socket: no error
    manager.close()


@pytest.mark.parametrize(
    "environ",
    [{"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "x"}, {}],
)
def test_watchdog_of_another_process_is_ignored(environ: dict[str, str]) -> None:
    """A shell may have started the agent, and inherited the variables from its service."""
    assert service_manager({"NOTIFY_SOCKET": "/none", **environ}).watchdog_seconds is None
