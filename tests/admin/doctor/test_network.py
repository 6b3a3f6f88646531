"""`doctor` on other servers: OpenAI, the proxy to it, the reverse proxy in front, the receiver of alerts."""

import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from tornado.ioloop import IOLoop

from chatgpt_agent.adapters.config import Config
from chatgpt_agent.admin.doctor.examination import Examination
from chatgpt_agent.admin.doctor.network import check_openai
from chatgpt_agent.admin.doctor.results import Outcome
from tests.conftest import MakeAgent
from tests.support.doctor import run_check, run_one
from tests.support.receiver import Receiver
from tests.support.tls import issue
from tests.support.upstream import Received, Reply, Upstream

SECRET_PATH = "/made-up-secret-path"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """A certificate authority of the tests' own."""
    return trustme.CA()


@pytest.fixture
def tls_openai(authority: trustme.CA, io_loop: IOLoop) -> Iterator[Upstream]:
    """A fake OpenAI over TLS that asks for a key."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    fake = Upstream(context)
    answer(fake, 401)
    io_loop.run_sync(fake.start)
    yield fake
    io_loop.run_sync(fake.stop)


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port on which nothing listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        yield int(listener.getsockname()[1])


@pytest.fixture
def receiver(io_loop: IOLoop) -> Iterator[Receiver]:
    """A receiver of webhooks that answers with 404 first."""

    async def start() -> Receiver:
        return Receiver(404)

    started = io_loop.run_sync(start)
    yield started
    io_loop.run_sync(started.close)


@pytest.fixture(autouse=True)
def no_proxy_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of the test run may have a proxy."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def answer(upstream: Upstream, status: int, body: bytes = b"{}", **fields: str) -> None:
    """Lets the fake server answer every request so."""

    async def script(_: Received, reply: Reply) -> None:
        await reply.whole(body, status, **fields)

    upstream.script = script


# OpenAI.


@pytest.mark.parametrize(
    ("status", "expected"),
    [(401, Outcome.OK), (200, Outcome.OK), (404, Outcome.OK), (403, Outcome.WARNING), (302, Outcome.WARNING)],
)
async def test_openai_that_answers(upstream: Upstream, status: int, expected: Outcome) -> None:
    """401 is what OpenAI answers without a key."""
    answer(upstream, status)
    assert (await run_one("openai", openai_url=upstream.url))[0] is expected


async def test_openai_gets_no_key_and_nothing_that_costs(upstream: Upstream) -> None:
    """It is one GET of the list of models."""
    answer(upstream, 401)
    await run_check("openai", openai_url=upstream.url)
    [request] = upstream.requests
    assert (request.method, request.target, request.header("authorization")) == ("GET", "/v1/models", None)


async def test_failing_openai_is_a_warning(upstream: Upstream) -> None:
    """The advice is OpenAI's page."""
    answer(upstream, 503)
    outcome, _, advice = await run_one("openai", openai_url=upstream.url)
    assert (outcome, advice) == (Outcome.WARNING, "see https://status.openai.com")


async def test_clock_of_openai_is_noted(upstream: Upstream) -> None:
    """It is the field Date of the answer."""
    answer(upstream, 401, Date="Sun, 06 Nov 1994 08:49:37 GMT")
    examination = Examination(Config(openai_url=upstream.url), None)
    await check_openai(examination)
    assert examination.clocks["that of 127.0.0.1"] > 1e9


async def test_date_that_cannot_be_read_is_ignored(upstream: Upstream) -> None:
    """The clock is then compared with PostgreSQL's alone."""
    answer(upstream, 401, Date="tomorrow")
    examination = Examination(Config(openai_url=upstream.url), None)
    assert [result.outcome for result in await check_openai(examination)] == [Outcome.OK]
    assert examination.clocks == {}


async def test_untrusted_certificate_is_a_failure(tls_openai: Upstream) -> None:
    """libcurl's words are shown."""
    outcome, text, advice = await run_one("openai", openai_url=tls_openai.url)
    assert (outcome, "certificate" in text, "(libcurl error 60)" in text) == (Outcome.FAILURE, True, True)
    assert advice.endswith("name its CA in openai_ca_file")


async def test_certificate_of_the_configured_authority_is_ok(
    tls_openai: Upstream, authority: trustme.CA, tmp_path: Path
) -> None:
    """It is the one in openai_ca_file."""
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    outcome, *_ = await run_one("openai", openai_url=tls_openai.url, openai_ca_file=tmp_path / "ca.pem")
    assert outcome is Outcome.OK


async def test_unreachable_openai_is_a_failure(closed_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy in the environment is mentioned, because it has no effect."""
    url = f"https://127.0.0.1:{closed_port}/v1/chat/completions"
    outcome, text, advice = await run_one("openai", openai_url=url)
    assert (outcome, "libcurl error 7" in text) == (Outcome.FAILURE, True)
    assert "firewall" in advice
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    *_, advice = await run_one("openai", openai_url=url)
    assert advice == "the variable HTTPS_PROXY has no effect: set openai_proxy"


async def test_unreachable_proxy_is_a_failure(closed_port: int) -> None:
    """Its place is shown, and not its password."""
    proxy = f"http://team:made-up-password@127.0.0.1:{closed_port}"
    outcome, text, advice = await run_one("openai", openai_proxy=proxy)
    assert (outcome, advice) == (Outcome.FAILURE, "correct openai_proxy, or start the proxy")
    assert f"through the proxy 127.0.0.1:{closed_port}: " in text
    assert "made-up-password" not in text


async def test_unknown_host_is_a_failure() -> None:
    """libcurl's words name it."""
    outcome, text, _ = await run_one("openai", openai_url="https://no-such-host.invalid/v1/chat/completions")
    assert (outcome, "no-such-host.invalid" in text) == (Outcome.FAILURE, True)


# The reverse proxy in front.


async def test_no_public_url_is_skipped() -> None:
    """There is nothing to check."""
    assert (await run_one("public-url"))[0] is Outcome.SKIPPED


async def test_public_url_is_ok(upstream: Upstream) -> None:
    """The text names the server in front."""
    answer(upstream, 200, b'{"status":"ok"}', Server="nginx")
    outcome, text, _ = await run_one("public-url", public_url=f"http://127.0.0.1:{upstream.port}/")
    assert outcome is Outcome.OK
    assert f"http://127.0.0.1:{upstream.port}/healthz is answered through nginx" in text


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (200, Outcome.FAILURE),
        (301, Outcome.FAILURE),
        (401, Outcome.FAILURE),
        (404, Outcome.FAILURE),
        (502, Outcome.WARNING),
    ],
)
async def test_public_url_of_another_server_is_reported(
    upstream: Upstream, tmp_path: Path, status: int, expected: Outcome
) -> None:
    """A proxy answers with 502 while no agent runs."""
    answer(upstream, status, b"<html>")
    outcome, *_ = await run_one("public-url", public_url=f"http://127.0.0.1:{upstream.port}", data_dir=tmp_path)
    assert outcome is expected


async def test_public_url_that_cannot_be_reached_from_here_is_a_warning(closed_port: int) -> None:
    """Clients may be in another network."""
    outcome, text, _ = await run_one("public-url", public_url=f"http://127.0.0.1:{closed_port}")
    assert (outcome, "cannot be reached from this machine" in text) == (Outcome.WARNING, True)


async def test_public_url_with_an_untrusted_certificate_is_a_warning(tls_openai: Upstream) -> None:
    """The advice is about the certificate."""
    outcome, text, advice = await run_one("public-url", public_url=f"https://localhost:{tls_openai.port}")
    assert (outcome, "libcurl error 60" in text) == (Outcome.WARNING, True)
    assert advice.startswith("give the proxy a certificate for localhost")


# The certificate of the agent's own listener.


async def test_no_certificate_is_skipped() -> None:
    """There is nothing to check."""
    assert (await run_one("certificate"))[0] is Outcome.SKIPPED


@pytest.mark.parametrize(("days", "expected"), [(60, Outcome.OK), (13, Outcome.WARNING), (-1, Outcome.FAILURE)])
async def test_certificate_of_the_listener(tmp_path: Path, days: int, expected: Outcome) -> None:
    """It must be valid for two weeks more."""
    files = issue(tmp_path, not_after=datetime.now(UTC) + timedelta(days=days))
    outcome, _, advice = await run_one("certificate", **files.settings)
    assert (outcome, bool(advice)) == (expected, expected is not Outcome.OK)


async def test_renewed_certificate_that_is_not_in_force_is_a_warning(make_agent: MakeAgent, tmp_path: Path) -> None:
    """A reload ends it."""
    agent = await make_agent(**issue(tmp_path).settings)
    files = {"data_dir": agent.config.data_dir, **issue(tmp_path).settings}
    settings: dict[str, Any] = {**files, "bind_address": "127.0.0.1", "port": agent.server.port}
    outcome, text, _ = await run_one("certificate", **settings)
    assert (outcome, "the agent that runs has another certificate" in text) == (Outcome.WARNING, True)
    agent.server.take_over(agent.config)
    assert (await run_one("certificate", **settings))[0] is Outcome.OK


# Alerts.


async def test_no_webhook_is_skipped() -> None:
    """There is nothing to check."""
    assert (await run_one("webhook"))[0] is Outcome.SKIPPED


async def test_webhook_gets_no_event(receiver: Receiver) -> None:
    """It gets a HEAD; a 404 is a warning, any other answer is not."""
    outcome, text, _ = await run_one("webhook", webhook_url=receiver.url)
    assert (outcome, text) == (Outcome.WARNING, "127.0.0.1 answers a HEAD with status 404")
    outcome, _, _ = await run_one("webhook", webhook_url=receiver.url)
    assert outcome is Outcome.OK
    assert [body for _, body in receiver.posts] == [b"", b""]


async def test_webhook_that_cannot_be_reached_is_a_failure(closed_port: int) -> None:
    """Its path is not shown: it may be a secret."""
    outcome, text, _ = await run_one("webhook", webhook_url=f"http://127.0.0.1:{closed_port}{SECRET_PATH}")
    assert outcome is Outcome.FAILURE
    assert SECRET_PATH not in text
