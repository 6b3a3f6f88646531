"""OpenAI's organization API over real sockets: all pages, the configured way, and nothing of the key anywhere."""

import asyncio
import json
import logging
import ssl
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import trustme
from tornado.ioloop import IOLoop

from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.curl.get import get
from chatgpt_agent.adapters.openai_organization_api import fetch_figures, read_admin_key
from chatgpt_agent.core.errors import (
    AgentError,
    ProxyError,
    SetupError,
    UpstreamError,
    UpstreamInvalid,
    UpstreamKeyRejected,
    UpstreamTimeout,
    UpstreamTls,
    UpstreamUnreachable,
)
from chatgpt_agent.core.openai_usage import Kind, Page, merge
from tests.support.upstream import Received, Reply, Upstream

KEY = "sk-admin-made-up-0123456789"
FIRST, LAST = date(2026, 11, 1), date(2026, 11, 30)
START = 1_793_491_200  # the first of November 2026
VARIABLES = ("http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")


def page(kind: Kind, number: int = 0, following: str | None = None) -> dict[str, Any]:
    """A page with one day, so many days after the first."""
    usage = {
        "object": "organization.usage.completions.result",
        "input_tokens": 10,
        "output_tokens": 2,
        "input_cached_tokens": 1,
        "num_model_requests": 1,
        "model": "gpt-4o-mini-2024-07-18",
        "api_key_id": "key_a",
    }
    cost = {"object": "organization.costs.result", "amount": {"value": 0.06, "currency": "usd"}}
    start = START + number * 86_400
    results = [usage if kind is Kind.USAGE else cost]
    data = [{"object": "bucket", "start_time": start, "end_time": start + 86_400, "results": results}]
    return {"object": "page", "data": data, "has_more": following is not None, "next_page": following}


def asked(request: Received) -> dict[str, list[str]]:
    """The query of a request."""
    return parse_qs(urlsplit(request.target).query)


async def organization(request: Received, reply: Reply) -> None:
    """Three pages of usage, one of costs."""
    path = urlsplit(request.target).path
    if path == "/v1/organization/costs":
        await reply.whole(json.dumps(page(Kind.COSTS)).encode())
        return
    number = int(asked(request).get("page", ["page=0"])[0].removeprefix("page="))
    following = f"page={number + 1}" if number < 2 else None
    await reply.whole(json.dumps(page(Kind.USAGE, number, following)).encode())


@pytest.fixture
def fake(io_loop: IOLoop) -> Iterator[Upstream]:
    """OpenAI's organization API."""
    fake = Upstream()
    fake.script = organization
    io_loop.run_sync(fake.start)
    yield fake
    io_loop.run_sync(fake.stop)


@pytest.fixture
def config(fake: Upstream) -> Config:
    """A configuration that leads to it."""
    return Config(openai_url=fake.url)


async def fetch(config: Config) -> list[Page]:
    """The figures of a month."""
    return await fetch_figures(config, KEY, FIRST, LAST)


def answering(body: bytes, status: int = 200, **headers: str) -> Any:
    """A script that answers everything like this."""

    async def script(request: Received, reply: Reply) -> None:
        await reply.whole(body, status, **headers)

    return script


async def test_all_pages_of_both_are_fetched(config: Config) -> None:
    """As one account."""
    figures = merge(await fetch(config))
    assert [figure.day.day for figure in figures.usage] == [1, 2, 3]
    assert [str(figure.amount) for figure in figures.costs] == ["0.06"]


async def test_it_asks_for_the_month_by_day_model_and_key(config: Config, fake: Upstream) -> None:
    """From its first second to the first of the next, 31 days a page, with the admin key."""
    await fetch(config)
    assert fake.requests[0].method == "GET"
    assert urlsplit(fake.requests[0].target).path == "/v1/organization/usage/completions"
    assert fake.requests[0].header("authorization") == f"Bearer {KEY}"
    assert asked(fake.requests[0]) == {
        "start_time": [str(START)],
        "end_time": [str(START + 30 * 86_400)],
        "bucket_width": ["1d"],
        "limit": ["31"],
        "group_by": ["model", "api_key_id"],
    }


async def test_costs_are_asked_for_by_day(config: Config, fake: Upstream) -> None:
    """In one sum a day."""
    await fetch(config)
    assert asked(fake.requests[-1]) == {
        "start_time": [str(START)],
        "end_time": [str(START + 30 * 86_400)],
        "bucket_width": ["1d"],
        "limit": ["31"],
    }


async def test_a_cursor_is_sent_as_it_came(config: Config, fake: Upstream) -> None:
    """Whatever characters it has."""
    await fetch(config)
    assert [asked(request).get("page") for request in fake.requests] == [None, ["page=1"], ["page=2"], None]


@pytest.mark.parametrize("following", ["same", None])
async def test_pages_that_do_not_end_are_refused(config: Config, fake: Upstream, following: str | None) -> None:
    """A cursor that came before, or none where more is promised."""
    fake.script = answering(json.dumps(page(Kind.USAGE, 0, following) | {"has_more": True}).encode())
    with pytest.raises(UpstreamInvalid, match="do not end"):
        await fetch(config)
    assert len(fake.requests) <= 2


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_key_is_said_so(config: Config, fake: Upstream, status: int) -> None:
    """Without what OpenAI says, which holds a part of the key."""
    fake.script = answering(f'{{"error":{{"message":"Incorrect API key: {KEY}"}}}}'.encode(), status)
    with pytest.raises(UpstreamKeyRejected, match=f"refuses the admin key \\({status}\\)") as caught:
        await fetch(config)
    assert "sk-admin-made" not in caught.value.message


@pytest.mark.parametrize("status", [302, 404, 429, 500])
async def test_another_status_is_said(config: Config, fake: Upstream, status: int) -> None:
    """One line; a redirect is not followed, for the key would go along."""
    fake.script = answering(b"<html>", status, location="/elsewhere")
    with pytest.raises(UpstreamError, match=f"OpenAI answered {status} to /v1/organization/usage/completions"):
        await fetch(config)
    assert len(fake.requests) == 1


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b"null", b'{"data":[1]}', b"\xff"])
async def test_an_answer_that_is_no_page_is_refused(config: Config, fake: Upstream, body: bytes) -> None:
    """As OpenAI's fault, with the path."""
    fake.script = answering(body)
    with pytest.raises(UpstreamInvalid, match="/v1/organization/usage/completions"):
        await fetch(config)


async def test_costs_in_place_of_usage_are_refused(config: Config, fake: Upstream) -> None:
    """Each address has its own figures."""
    fake.script = answering(json.dumps(page(Kind.COSTS)).encode())
    with pytest.raises(UpstreamInvalid, match="usage and costs"):
        await fetch(config)


async def test_an_answer_has_a_limit(fake: Upstream) -> None:
    """So that a server that never ends fills nothing."""
    fake.script = answering(b" " * 4096)
    with pytest.raises(UpstreamInvalid, match="over the limit of size"):
        await fetch(Config(openai_url=fake.url, max_response_size=2048))


async def test_a_server_that_is_silent_is_left(config: Config, fake: Upstream) -> None:
    """After the time that a page may take."""

    async def silent(request: Received, reply: Reply) -> None:
        await asyncio.Event().wait()

    fake.script = silent
    with pytest.raises(UpstreamTimeout):
        await get(config, fake.url, {}, timeout=0.2)


async def test_nobody_is_there(config: Config, fake: Upstream) -> None:
    """It is one error, and not curl's."""
    await fake.stop()
    with pytest.raises(UpstreamUnreachable):
        await fetch(config)
    await fake.start()


async def test_https_to_a_server_without_tls() -> None:
    """The scheme is that of openai_url: nothing is sent in the clear."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(UpstreamTls):
            await fetch(Config(openai_url=f"https://127.0.0.1:{port}/v1/chat/completions"))


async def test_the_configured_authority_is_trusted(tmp_path: Path) -> None:
    """That of openai_ca_file, which nobody else knows."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    fake = Upstream(context)
    fake.script = organization
    await fake.start()
    await fetch(Config(openai_url=fake.url, openai_ca_file=tmp_path / "ca.pem"))
    await fake.stop()
    assert len(fake.requests) == 4


async def test_the_environments_proxy_is_not_used(
    config: Config, fake: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the configured one is."""
    for name in VARIABLES:
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    await fetch(config)
    assert len(fake.requests) == 4


async def test_the_configured_proxy_is_used(fake: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever no_proxy says: it is asked for the whole address."""
    monkeypatch.setenv("no_proxy", "*")
    proxy = f"http://user:made-up@127.0.0.1:{fake.port}"
    await fetch(Config(openai_url="http://openai.test/v1/chat/completions", openai_proxy=proxy))
    assert fake.requests[0].target.startswith("http://openai.test/v1/organization/usage/completions?")


async def test_a_proxy_that_is_away_is_named_as_the_fault() -> None:
    """And not OpenAI."""
    with pytest.raises(ProxyError):
        await fetch(Config(openai_proxy="http://127.0.0.1:1"))


async def test_a_proxy_that_wants_another_password(fake: Upstream) -> None:
    """Its 407 is not taken for OpenAI's."""
    fake.script = answering(b"", 407)
    with pytest.raises(ProxyError):
        await fetch(Config(openai_url="http://openai.test/v1/x", openai_proxy=f"http://127.0.0.1:{fake.port}"))


async def test_the_key_is_not_logged(config: Config, fake: Upstream, caplog: pytest.LogCaptureFixture) -> None:
    """Not even at DEBUG, where Tornado's client prints headers."""
    with caplog.at_level(logging.DEBUG):
        await fetch(config)
    assert KEY not in caplog.text


# The key's file.


def key_file(path: Path, data: bytes = KEY.encode() + b"\n", mode: int = 0o600) -> Path:
    """A file with a key."""
    path.write_bytes(data)
    path.chmod(mode)
    return path


def test_a_key_is_read_without_its_line_end(tmp_path: Path) -> None:
    """As an editor leaves it."""
    assert read_admin_key(key_file(tmp_path / "key")) == KEY


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601])
def test_a_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    """With the command that mends it."""
    path = key_file(tmp_path / "key", mode=mode)
    with pytest.raises(SetupError, match=f"run `chmod 600 {path}`"):
        read_admin_key(path)


@pytest.mark.parametrize("data", [b"", b" \n", b"two words", "schlüssel".encode(), b"a\nb", b"x" * 513, b"\x00"])
def test_a_file_without_a_key_is_refused(tmp_path: Path, data: bytes) -> None:
    """What is in it is not repeated."""
    path = key_file(tmp_path / "key", data)
    with pytest.raises(SetupError) as caught:
        read_admin_key(path)
    assert caught.value.message == f"the admin key {path} must hold 1 to 512 printable ASCII characters without spaces"


@pytest.mark.parametrize("name", ["missing", "."])
def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path, name: str) -> None:
    """With its name."""
    with pytest.raises(AgentError, match=r"^the admin key .* cannot be read: "):
        read_admin_key(tmp_path / name)
