"""OpenAI's organization API over real sockets: all pages are fetched, over the configured proxy, without showing the
key."""

import asyncio
import json
import logging
import ssl
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import get_type_hints
from urllib.parse import urlsplit

import pytest
import trustme
from tornado.ioloop import IOLoop

from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.curl.get import get
from chatgpt_agent.adapters.openai_organization_api import FetchedPages, fetch_figures, read_admin_key
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
from chatgpt_agent.core.openai_usage import Figures, Kind, merge
from tests.support.openai_organization import KEY, START, answering, key_file, organization, page, query_of, usage_type
from tests.support.upstream import Received, Reply, Upstream

FIRST, LAST = date(2026, 11, 1), date(2026, 11, 30)
PAGES = 12  # one of nine kinds, and three of completions
VARIABLES = ("http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")


@pytest.fixture
def fake(io_loop: IOLoop) -> Iterator[Upstream]:
    """A server with OpenAI's organization API."""
    fake = Upstream()
    fake.script = organization
    io_loop.run_sync(fake.start)
    yield fake
    io_loop.run_sync(fake.stop)


@pytest.fixture
def config(fake: Upstream) -> Config:
    """A configuration with the URL of the server."""
    return Config(openai_url=fake.url)


async def fetch(config: Config) -> FetchedPages:
    """Fetches the figures of a month."""
    return await fetch_figures(config.upstream, KEY, FIRST, LAST)


async def merged(config: Config) -> Figures:
    """Fetches the figures of a month and merges them."""
    fetched = await fetch(config)
    return merge(fetched.pages, fetched.unavailable)


async def test_all_pages_of_usage_and_costs_are_fetched(config: Config) -> None:
    """The pages of usage and of costs are returned together."""
    figures = await merged(config)
    assert [figure.day.day for figure in figures.usage] == [1, 2, 3]
    assert [str(figure.amount) for figure in figures.costs] == ["0.06"]


async def test_usage_of_every_endpoint_and_tool_is_fetched(config: Config) -> None:
    """Kinds without figures are known to have none."""
    kinds = set(Kind) - {Kind.COSTS, Kind.SPEECHES, Kind.VECTOR_STORES}
    assert set((await merged(config)).usage_days) == kinds


@pytest.mark.parametrize(
    ("kind", "groups"),
    [
        (Kind.COMPLETIONS, ["model", "api_key_id", "project_id", "batch"]),
        (Kind.DECISIONS, ["model", "api_key_id", "project_id", "batch"]),
        (Kind.EMBEDDINGS, ["model", "api_key_id", "project_id"]),
        (Kind.WEB_SEARCH, ["model", "api_key_id", "project_id"]),
        (Kind.FILE_SEARCH, ["api_key_id", "project_id"]),
        (Kind.CODE_INTERPRETER, ["project_id"]),
        (Kind.COSTS, ["line_item", "api_key_id", "project_id"]),
    ],
)
async def test_figures_are_requested_by_day_and_group(
    config: Config, fake: Upstream, kind: Kind, groups: list[str]
) -> None:
    """The query covers the whole month with 31 days a page, and carries the admin key."""
    await fetch(config)
    path = f"/v1/organization/{'' if kind is Kind.COSTS else 'usage/'}{kind}"
    request = next(request for request in fake.requests if urlsplit(request.target).path == path)
    assert (request.method, request.header("authorization")) == ("GET", f"Bearer {KEY}")
    assert query_of(request) == {
        "start_time": [str(START)],
        "end_time": [str(START + 30 * 86_400)],
        "bucket_width": ["1d"],
        "limit": ["31"],
        "group_by": groups,
    }


async def test_groups_are_those_of_the_sdk(config: Config, fake: Upstream) -> None:
    """OpenAI refuses a group that a path does not have."""
    await fetch(config)
    for request in fake.requests:
        kind = urlsplit(request.target).path.rpartition("/")[2]
        allowed = str(get_type_hints(usage_type(Kind(kind), "Params"))["group_by"])
        assert all(f"'{group}'" in allowed for group in query_of(request)["group_by"])


async def test_kind_that_openai_does_not_have_is_unavailable(config: Config, fake: Upstream) -> None:
    """A path that is new or gone does not end the comparison of the others."""

    async def script(request: Received, reply: Reply) -> None:
        if "/usage/decisions" in request.target:
            await reply.whole(b"{}", 404)
        else:
            await organization(request, reply)

    fake.script = script
    figures = await merged(config)
    assert (figures.unavailable, Kind.DECISIONS in figures.usage_days) == ((Kind.DECISIONS,), False)


async def test_a_cursor_is_sent_unchanged(config: Config, fake: Upstream) -> None:
    """A cursor may contain any character."""
    await fetch(config)
    assert [query_of(request).get("page") for request in fake.requests[:4]] == [None, ["page=1"], ["page=2"], None]


@pytest.mark.parametrize("following", ["same", None])
async def test_pages_that_do_not_end_are_refused(config: Config, fake: Upstream, following: str | None) -> None:
    """A repeated cursor, or a missing one with more pages promised, is an error."""
    fake.script = answering(json.dumps(page(Kind.COMPLETIONS, 0, following) | {"has_more": True}).encode())
    with pytest.raises(UpstreamInvalid, match="do not end"):
        await fetch(config)
    assert len(fake.requests) <= 2


@pytest.mark.parametrize("status", [401, 403])
async def test_a_rejected_key_is_reported(config: Config, fake: Upstream, status: int) -> None:
    """The error omits OpenAI's text, which contains a part of the key."""
    fake.script = answering(f'{{"error":{{"message":"Incorrect API key: {KEY}"}}}}'.encode(), status)
    with pytest.raises(UpstreamKeyRejected, match=f"refuses the admin key \\({status}\\)") as caught:
        await fetch(config)
    assert "sk-admin-made" not in caught.value.message


@pytest.mark.parametrize("status", [302, 404, 429, 500])
async def test_another_status_is_reported(config: Config, fake: Upstream, status: int) -> None:
    """A redirect is not followed, because the key would be sent along."""
    fake.script = answering(b"<html>", status, location="/elsewhere")
    with pytest.raises(UpstreamError, match=f"OpenAI answered {status} to /v1/organization/usage/completions"):
        await fetch(config)
    assert len(fake.requests) == 1


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b"null", b'{"data":[1]}', b"\xff"])
async def test_an_answer_that_is_not_a_page_is_refused(config: Config, fake: Upstream, body: bytes) -> None:
    """The error names OpenAI and the path."""
    fake.script = answering(body)
    with pytest.raises(UpstreamInvalid, match="/v1/organization/usage/completions"):
        await fetch(config)


async def test_costs_in_place_of_usage_are_refused(config: Config, fake: Upstream) -> None:
    """Each path must return its own kind of figures."""
    fake.script = answering(json.dumps(page(Kind.COSTS)).encode())
    with pytest.raises(UpstreamInvalid, match="a page mixes completions and costs"):
        await fetch(config)


async def test_a_large_answer_is_refused(fake: Upstream) -> None:
    """An endless answer cannot fill the memory."""
    fake.script = answering(b" " * 4096)
    with pytest.raises(UpstreamInvalid, match="over the limit of size"):
        await fetch(Config(openai_url=fake.url, max_response_size=2048))


async def test_a_silent_server_is_a_timeout(config: Config, fake: Upstream) -> None:
    """The request ends after the time limit of a page."""

    async def silent(request: Received, reply: Reply) -> None:
        await asyncio.Event().wait()

    fake.script = silent
    with pytest.raises(UpstreamTimeout):
        await get(config.upstream, fake.url, {}, timeout=0.2)


async def test_an_unreachable_server_is_an_error(config: Config, fake: Upstream) -> None:
    """A refused connection is an UpstreamUnreachable."""
    await fake.stop()
    with pytest.raises(UpstreamUnreachable):
        await fetch(config)
    await fake.start()


async def test_https_to_a_server_without_tls() -> None:
    """A server without TLS receives nothing over an https URL."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(UpstreamTls):
            await fetch(Config(openai_url=f"https://127.0.0.1:{port}/v1/chat/completions"))


async def test_the_configured_authority_is_trusted(tmp_path: Path) -> None:
    """A certificate of the CA in openai_ca_file is accepted."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    fake = Upstream(context)
    fake.script = organization
    await fake.start()
    await fetch(Config(openai_url=fake.url, openai_ca_file=tmp_path / "ca.pem"))
    await fake.stop()
    assert len(fake.requests) == PAGES


async def test_the_environments_proxy_is_not_used(
    config: Config, fake: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proxies in environment variables are ignored."""
    for name in VARIABLES:
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    await fetch(config)
    assert len(fake.requests) == PAGES


async def test_the_configured_proxy_is_used(fake: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    """The configured proxy receives the request, whatever no_proxy contains."""
    monkeypatch.setenv("no_proxy", "*")
    proxy = f"http://user:made-up@127.0.0.1:{fake.port}"
    await fetch(Config(openai_url="http://openai.test/v1/chat/completions", openai_proxy=proxy))
    assert fake.requests[0].target.startswith("http://openai.test/v1/organization/usage/completions?")


async def test_an_unreachable_proxy_is_a_proxy_error() -> None:
    """The error names the proxy, not OpenAI."""
    with pytest.raises(ProxyError):
        await fetch(Config(openai_proxy="http://127.0.0.1:1"))


async def test_a_407_is_a_proxy_error(fake: Upstream) -> None:
    """The status 407 of the proxy is not reported as OpenAI's."""
    fake.script = answering(b"", 407)
    with pytest.raises(ProxyError):
        await fetch(Config(openai_url="http://openai.test/v1/x", openai_proxy=f"http://127.0.0.1:{fake.port}"))


async def test_the_key_is_not_logged(config: Config, fake: Upstream, caplog: pytest.LogCaptureFixture) -> None:
    """The key is not in the log at DEBUG, where Tornado's client prints headers."""
    with caplog.at_level(logging.DEBUG):
        await fetch(config)
    assert KEY not in caplog.text


# The key's file.


def test_a_key_is_read_without_its_line_end(tmp_path: Path) -> None:
    """The line break that an editor adds is not part of the key."""
    assert read_admin_key(key_file(tmp_path / "key")) == KEY


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601])
def test_a_key_file_accessible_to_other_accounts_is_refused(tmp_path: Path, mode: int) -> None:
    """The error contains the command that closes the file."""
    path = key_file(tmp_path / "key", mode=mode)
    with pytest.raises(SetupError, match=f"run `chmod 600 {path}`"):
        read_admin_key(path)


@pytest.mark.parametrize("data", [b"", b" \n", b"two words", "schlüssel".encode(), b"a\nb", b"x" * 513, b"\x00"])
def test_a_file_without_a_key_is_refused(tmp_path: Path, data: bytes) -> None:
    """The error does not repeat the content."""
    path = key_file(tmp_path / "key", data)
    with pytest.raises(SetupError) as caught:
        read_admin_key(path)
    assert caught.value.message == f"the admin key {path} must hold 1 to 512 printable ASCII characters without spaces"


@pytest.mark.parametrize("name", ["missing", "."])
def test_an_unreadable_key_file_is_an_error(tmp_path: Path, name: str) -> None:
    """The error is one line with the path."""
    with pytest.raises(AgentError, match=r"^the admin key .* cannot be read: "):
        read_admin_key(tmp_path / name)
