"""`healthcheck`: what a container engine runs to learn whether the agent answers."""

import asyncio
import json
import socket
from pathlib import Path

import pytest

from tests.conftest import MakeAgent
from tests.support.agent import Agent
from tests.support.commands import Cli
from tests.support.ports import has_ipv6, needs_ipv6
from tests.support.tls import issue

pytestmark = pytest.mark.shared_agent(bind_address="127.0.0.1, ::1" if has_ipv6() else "127.0.0.1")


def listener(port: int, address: str = "127.0.0.1") -> Cli:
    """The program, configured to listen there."""
    return Cli({"BIND_ADDRESS": address, "PORT": str(port)})


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),
        pytest.param("::1", "[::1]", marks=needs_ipv6),
        pytest.param("[::]", "[::1]", marks=needs_ipv6),
        ("localhost", "localhost"),
        ("0.0.0.0, [::]", "127.0.0.1"),
    ],
)
async def test_agent_that_answers_is_healthy(agent: Agent, address: str, host: str) -> None:
    """It is asked at this machine's own address where it listens on all."""
    line = await listener(agent.server.port, address).in_thread("healthcheck")
    assert line == f"http://{host}:{agent.server.port}/healthz answered 200\n"


async def test_result_can_be_json(agent: Agent) -> None:
    """Programs can read whether it is healthy, and what was answered."""
    answer = json.loads(await listener(agent.server.port).in_thread("healthcheck", "--ready", "--json"))
    assert answer == {"ok": True, "line": f"{agent.url}/readyz answered 200"}


@pytest.mark.own_agent
async def test_agent_that_is_not_ready_is_alive(agent: Agent) -> None:
    """`--ready` asks for more, and says what is missing."""
    agent.server.lifecycle.draining = True
    cli = listener(agent.server.port)
    await cli.in_thread("healthcheck")
    [line] = await asyncio.to_thread(cli.refused, "healthcheck", "--ready")
    assert line == (
        f"Error: {agent.url}/readyz answered 503 (database: connected, directory: loaded, ledger: writable, draining)"
    )


async def test_agent_with_tls_is_asked_over_tls(make_agent: MakeAgent, tmp_path: Path) -> None:
    """The file may have a newer certificate than the agent, which is not reloaded yet."""
    files = issue(tmp_path)
    agent = await make_agent(**files.settings)
    issue(tmp_path)
    cli = listener(agent.server.port, "::1, localhost")  # which the certificate does not name
    cli.settings |= {key.upper(): str(path) for key, path in files.settings.items()}
    assert await cli.in_thread("healthcheck") == f"https://localhost:{agent.server.port}/healthz answered 200\n"


async def test_agent_on_a_unix_socket_is_asked_there(make_agent: MakeAgent, short_folder: Path) -> None:
    """A port is not needed."""
    await make_agent(bind_address=f"unix:{short_folder}/api")
    line = await listener(8080, f"unix:{short_folder}/api").in_thread("healthcheck")
    assert line == f"unix:{short_folder}/api/healthz answered 200\n"


def test_agent_that_does_not_run_is_unhealthy(refused_port: int) -> None:
    """Every address that was asked is in the line."""
    [line] = listener(refused_port, "127.0.0.1, localhost").refused("healthcheck")
    assert line == (
        f"Error: http://127.0.0.1:{refused_port}/healthz: Connection refused; "
        f"http://localhost:{refused_port}/healthz: Connection refused"
    )


def test_address_that_is_no_host_name_is_unhealthy(refused_port: int) -> None:
    """Only the look-up of its address finds that out."""
    [line] = listener(refused_port, "a..b").refused("healthcheck")
    assert line.endswith("/healthz: not a host name")


def test_agent_that_does_not_answer_is_unhealthy() -> None:
    """The kernel accepts the connection of an agent whose event loop hangs."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert listener(port).refused("healthcheck", "--timeout", "0.1") == [
            f"Error: http://127.0.0.1:{port}/healthz: timed out"
        ]


def test_agent_on_any_free_port_cannot_be_asked() -> None:
    """The configuration does not tell its port."""
    [line] = listener(0).refused("healthcheck")
    assert line == "Error: port is 0, any that is free: set a fixed one to ask the agent"
