"""`doctor` on the reverse proxy in front: real proxies before a real agent, with what may be wrong with them."""

import contextlib
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from chatgpt_agent.adapters.config import Config
from chatgpt_agent.admin.doctor.examination import Examination
from chatgpt_agent.admin.doctor.network import check_public_url
from chatgpt_agent.admin.doctor.proxy import check_proxy
from chatgpt_agent.admin.doctor.results import Outcome, Result
from chatgpt_agent.runtime.tuning import Tuning
from tests.support.agent import Agent
from tests.support.doctor import run_check, run_one
from tests.support.proxies import free_port, nginx_command, running
from tests.support.upstream import Received, Reply, Upstream

pytestmark = pytest.mark.slow

needs_nginx = pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
needs_haproxy = pytest.mark.skipif(shutil.which("haproxy") is None, reason="HAProxy is not installed")
TUNING = Tuning(proxy_probe=0.3)
trusting = pytest.mark.shared_agent(tuning=TUNING, trusted_proxies=("127.0.0.1",))
not_trusting = pytest.mark.shared_agent(tuning=TUNING)

FORWARD = "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;"
BUFFER = "proxy_buffering on; proxy_ignore_headers X-Accel-Buffering;"


@contextlib.asynccontextmanager
async def nginx(agent: Agent, folder: Path, location: str, more: str = "") -> AsyncIterator[str]:
    """Runs nginx with these directives for what it passes to the agent; yields its URL."""
    port = free_port()
    passed = f"location / {{ proxy_pass {agent.url}; {location} }}"
    command = nginx_command(folder, f"server {{ listen 127.0.0.1:{port}; {more} {passed} }}")
    url = f"http://127.0.0.1:{port}"
    async with running(command, folder, url):
        yield url


async def examine(agent: Agent, url: str, **settings: Any) -> list[Result]:
    """Returns the results for an agent that is reached at a URL."""
    examination = Examination(Config(public_url=url, data_dir=agent.config.data_dir, **settings), None)
    assert [result.outcome for result in await check_public_url(examination)] == [Outcome.OK]
    return await check_proxy(examination)


@needs_nginx
@trusting
@pytest.mark.parametrize("buffering", ["proxy_buffering off;", "proxy_buffering on;"])
async def test_proxy_that_passes_streams_and_addresses_is_ok(agent: Agent, tmp_path: Path, buffering: str) -> None:
    """nginx buffers no stream for which the agent has forbidden it, unless it ignores that."""
    async with nginx(agent, tmp_path, FORWARD + buffering) as url:
        [result] = await examine(agent, url)
    assert result.outcome is Outcome.OK
    assert result.text.startswith("the proxy at 127.0.0.1 passes streams as they come, and names the client's address")


@needs_nginx
@trusting
async def test_proxy_that_buffers_is_a_warning(agent: Agent, tmp_path: Path) -> None:
    """All events arrive at once."""
    async with nginx(agent, tmp_path, FORWARD + BUFFER) as url:
        [result] = await examine(agent, url)
    assert (result.outcome, "in one piece" in result.text) == (Outcome.WARNING, True)
    assert result.advice.startswith("nginx: proxy_buffering off")


@needs_nginx
@not_trusting
async def test_proxy_without_forwarded_address_is_a_warning(agent: Agent, tmp_path: Path) -> None:
    """Both things that are wrong have a line, with the address that the agent must trust."""
    async with nginx(agent, tmp_path, BUFFER) as url:
        buffers, address = await examine(agent, url)
    assert [buffers.outcome, address.outcome] == [Outcome.WARNING, Outcome.WARNING]
    assert address.text.startswith("requests come from 127.0.0.1 without X-Forwarded-For")
    assert address.advice.endswith("and add 127.0.0.1 to trusted_proxies")


@needs_nginx
@not_trusting
async def test_proxy_that_is_not_trusted_is_a_warning(agent: Agent, tmp_path: Path) -> None:
    """It names the client's address, and the agent ignores that."""
    async with nginx(agent, tmp_path, FORWARD) as url:
        [result] = await examine(agent, url)
    assert (result.outcome, result.advice) == (Outcome.WARNING, "add 127.0.0.1 to trusted_proxies")
    assert "sets X-Forwarded-For and is not in trusted_proxies" in result.text


@needs_nginx
@trusting
async def test_proxy_that_passes_on_what_clients_claim_is_a_warning(agent: Agent, tmp_path: Path) -> None:
    """A client could choose its address."""
    async with nginx(agent, tmp_path, "") as url:
        [result] = await examine(agent, url)
    assert (result.outcome, "they can claim any address" in result.text) == (Outcome.WARNING, True)


@needs_nginx
@trusting
async def test_proxy_that_compresses_streams_is_ok(agent: Agent, tmp_path: Path) -> None:
    """Events of a compressed stream arrive one by one."""
    async with nginx(agent, tmp_path, f"{FORWARD} gzip on; gzip_types *; gzip_min_length 0;") as url:
        [result] = await examine(agent, url)
    assert result.outcome is Outcome.OK


@needs_nginx
@trusting
async def test_proxy_that_answers_the_probe_itself_is_a_failure(agent: Agent, tmp_path: Path) -> None:
    """It does not forward every path."""
    async with nginx(agent, tmp_path, "", "location = /proxyz { return 404; }") as url:
        [result] = await examine(agent, url)
    assert (result.outcome, "status 404, but not by the agent" in result.text) == (Outcome.FAILURE, True)


@needs_nginx
@trusting
async def test_another_master_key_is_a_warning(agent: Agent, tmp_path: Path) -> None:
    """The agent does not answer a probe that is not signed with its own."""
    key = tmp_path / "other.key"
    key.write_bytes(b"made-up-master-key-of-a-test-with-32-bytes")
    key.chmod(0o600)
    async with nginx(agent, tmp_path, FORWARD) as url:
        [result] = await examine(agent, url, master_key_file=key)
    assert (result.outcome, "does not know this check" in result.text) == (Outcome.WARNING, True)


@needs_haproxy
@trusting
async def test_haproxy_that_delays_and_believes_its_clients_is_a_warning(agent: Agent, tmp_path: Path) -> None:
    """It holds pieces back for 0.2 s by default, and `if-none` leaves what a client has written."""
    port = free_port()
    config = tmp_path / "haproxy.cfg"
    config.write_text(
        "defaults\n mode http\n option forwardfor if-none\n"
        " timeout connect 5s\n timeout client 9s\n timeout server 9s\n"
        f"frontend clients\n bind 127.0.0.1:{port}\n default_backend agents\n"
        f"backend agents\n server agent1 127.0.0.1:{agent.server.port}\n"
    )
    url = f"http://127.0.0.1:{port}"
    async with running(["haproxy", "-db", "-f", str(config)], tmp_path, url):
        delays, address = await examine(agent, url)
    assert (delays.outcome, delays.advice.startswith("HAProxy: option http-no-delay")) == (Outcome.WARNING, True)
    assert (address.outcome, "they can claim any address" in address.text) == (Outcome.WARNING, True)


@not_trusting
async def test_agent_without_a_proxy_is_ok(agent: Agent) -> None:
    """The connection that the agent has is that of the check."""
    [result] = await examine(agent, agent.url)
    assert (result.outcome, result.text.startswith("no proxy is in front")) == (Outcome.OK, True)


@trusting
async def test_trusted_clients_are_a_warning(agent: Agent) -> None:
    """What is trusted is no proxy."""
    [result] = await examine(agent, agent.url)
    assert (result.outcome, "no proxy is in front, and 127.0.0.1 is in trusted_proxies" in result.text) == (
        Outcome.WARNING,
        True,
    )


@trusting
async def test_full_agent_is_skipped(agent: Agent) -> None:
    """Other runs make the check now."""
    agent.server.proxy_probe.running += 4
    [result] = await examine(agent, agent.url)
    agent.server.proxy_probe.running -= 4
    assert result.outcome is Outcome.SKIPPED


@pytest.fixture
def stranger(io_loop: IOLoop) -> Iterator[Upstream]:
    """Another program."""
    fake = Upstream()
    io_loop.run_sync(fake.start)
    yield fake
    io_loop.run_sync(fake.stop)


@not_trusting
async def test_stream_of_another_program_is_a_failure(agent: Agent, stranger: Upstream) -> None:
    """It is no stream of an agent."""

    async def script(request: Received, reply: Reply) -> None:
        await reply.whole(b'{"status":"ok"}' if request.target == "/healthz" else b"<html>")

    stranger.script = script
    [result] = await examine(agent, f"http://127.0.0.1:{stranger.port}")
    assert (result.outcome, "not by the agent" in result.text) == (Outcome.FAILURE, True)


# Where the probe cannot be made.


async def test_no_public_url_is_skipped() -> None:
    """There is nothing to check."""
    assert (await run_one("proxy"))[0] is Outcome.SKIPPED


async def test_unknown_proxy_is_a_warning_without_a_probe() -> None:
    """X-Forwarded-For is ignored then."""
    outcome, _, advice = await run_one("proxy", public_url="https://no-such-host.invalid")
    assert (outcome, advice) == (Outcome.WARNING, "set trusted_proxies to the address of the proxy")
    trusted = await run_one("proxy", public_url="https://no-such-host.invalid", trusted_proxies=("::1",))
    assert trusted[:2] == (Outcome.SKIPPED, "needs an answer of the agent at public_url")


@pytest.mark.parametrize("address", ["unix:/run/agent.sock", "127.0.0.1"])
async def test_proxy_on_a_unix_socket_is_trusted(address: str) -> None:
    """It needs no line of trusted_proxies."""
    [result] = await run_check("proxy", public_url="https://no-such-host.invalid", bind_address=address)
    assert result.outcome is (Outcome.SKIPPED if address.startswith("unix:") else Outcome.WARNING)


@trusting
async def test_missing_master_key_is_skipped(agent: Agent, tmp_path: Path) -> None:
    """The probe cannot be signed."""
    [result] = await examine(agent, agent.url, master_key_file=tmp_path / "none", trusted_proxies=("127.0.0.1",))
    assert (result.outcome, result.text) == (Outcome.SKIPPED, "needs the master key: see `files`")
