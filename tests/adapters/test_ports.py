"""The addresses on which the agent listens: one or several, of IPv4, IPv6 or both."""

import contextlib
import socket
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from chatgpt_agent.adapters.config_checks import addresses_in
from chatgpt_agent.adapters.config_loading import load_config
from chatgpt_agent.adapters.ports import bind, resolve
from chatgpt_agent.core.errors import ConfigError, SetupError
from tests.conftest import MakeAgent
from tests.support.agent import Agent
from tests.support.ports import has_ipv6, needs_ipv6, unused_port
from tests.support.waiting import SECONDS


@contextlib.asynccontextmanager
async def bound(port: int, addresses: Sequence[str]) -> AsyncIterator[int]:
    """Listens on addresses; yields the port."""
    sockets = bind("port", port, await resolve("port", addresses))
    try:
        assert len({listening.getsockname()[1] for listening in sockets}) == 1
        yield sockets[0].getsockname()[1]
    finally:
        for listening in sockets:
            listening.close()


def accepts(host: str, port: int) -> bool:
    """Returns whether a connection to an address is accepted."""
    try:
        socket.create_connection((host, port), timeout=SECONDS).close()
    except ConnectionRefusedError:
        return False
    return True


@pytest.mark.parametrize("text", ["127.0.0.1", "0.0.0.0", "127.0.0.1, 127.0.0.1"])
async def test_addresses_of_ipv4(text: str) -> None:
    """No address of IPv6 has the port."""
    async with bound(unused_port(), addresses_in(text)) as port:
        assert accepts("127.0.0.1", port)
        assert not (has_ipv6() and accepts("::1", port))


@needs_ipv6
@pytest.mark.parametrize(
    ("text", "ipv4"),
    [
        ("[::1]", False),
        ("::1", False),
        ("[::]", True),
        ("::", True),
        ("0.0.0.0, [::]", True),
        ("[::],0.0.0.0", True),
        ("127.0.0.1, ::1", True),
        ("[::1], 127.0.0.2", False),
        ("[::], ::", True),
    ],
)
async def test_addresses_of_ipv6_or_both_families(text: str, ipv4: bool) -> None:
    """The port is the same on each address, and no other address has it."""
    async with bound(unused_port(), addresses_in(text)) as port:
        assert (accepts("127.0.0.1", port), accepts("::1", port)) == (ipv4, True)


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["127.0.0.1", "127.0.0.2"]])
async def test_port_zero_is_any_free_port(addresses: list[str]) -> None:
    """It is the same on each address."""
    async with bound(0, addresses) as port:
        assert port > 0


async def test_port_in_use_on_one_of_several_addresses_is_an_error() -> None:
    """The error names the address, and the other address is free again."""
    async with bound(unused_port(), ["127.0.0.2"]) as port:
        with pytest.raises(SetupError, match=f"^port: cannot listen on 127.0.0.2:{port}: Address already in use"):
            bind("port", port, await resolve("port", ["127.0.0.1", "127.0.0.2"]))
        async with bound(port, ["127.0.0.1"]):
            pass


@pytest.mark.parametrize("name", ["no-such-host.invalid", "a..b"])
async def test_unknown_host_is_an_error(name: str) -> None:
    """A host name without an address is named."""
    with pytest.raises(SetupError, match=f"^port: cannot listen on {name}: "):
        await resolve("port", [name])


@pytest.mark.parametrize("key", ["BIND_ADDRESS", "ADMIN_BIND_ADDRESS"])
@pytest.mark.parametrize("value", ["127.0.0.1:80", "[::", "http://a", "a b", "0.0.0.0,", "u:secret@host", "*"])
def test_other_texts_are_refused(key: str, value: str) -> None:
    """Ports, URLs and empty members of the list are refused, and what looks like a password is not shown."""
    with pytest.raises(ConfigError) as caught:
        load_config(None, {key: value, "DATABASE_URL": "embedded"})
    assert "such as 0.0.0.0 or [::], separated by commas" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("value", ["[::]", "::"])
def test_address_without_quotes_in_the_file_is_explained(tmp_path: Path, value: str) -> None:
    """YAML reads the brackets and colons of IPv6 as its own: the error shows how to write them."""
    file = tmp_path / "config.yml"
    file.write_text(f"bind_address: {value}\n")
    with pytest.raises(ConfigError, match=r'such as "\[::\]"$'):
        load_config(file, {})


@pytest.mark.parametrize("value", ['"[::]"', "0.0.0.0, [::]", '[0.0.0.0, "::"]', "\n  - 0.0.0.0\n  - '[::]'"])
def test_addresses_in_the_file(tmp_path: Path, value: str) -> None:
    """The file may have a text with commas or a list."""
    file = tmp_path / "config.yml"
    file.write_text(f"bind_address: {value}\n")
    assert addresses_in(load_config(file, {}).bind_address)[-1] == "::"


@needs_ipv6
async def test_agent_serves_both_families(make_agent: MakeAgent) -> None:
    """The API and the administration listen on each of their addresses."""
    agent: Agent = await make_agent(bind_address="127.0.0.1, [::1]", admin_bind_address="[::]")
    for port in (agent.server.port, agent.server.admin_port):
        assert accepts("127.0.0.1", port)
        assert accepts("::1", port)
