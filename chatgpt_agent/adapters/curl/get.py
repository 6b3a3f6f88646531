"""One GET over the same path as requests to OpenAI, for commands, which have no client of their own."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import pycurl
from tornado.curl_httpclient import CurlError
from tornado.httpclient import HTTPClientError, HTTPRequest

from chatgpt_agent.adapters.config_files import check_ca_file
from chatgpt_agent.adapters.config_values import UpstreamSettings
from chatgpt_agent.adapters.curl.closing import QuicklyClosedClient
from chatgpt_agent.adapters.curl.errors import get_error
from chatgpt_agent.adapters.curl.options import check_libcurl, handle_options, request_options
from chatgpt_agent.core.errors import ProxyError, UpstreamUnreachable


class WholeAnswer(msgspec.Struct, frozen=True):
    """An answer; the names of header fields are in any case."""

    status: int
    fields: Mapping[str, str]
    body: bytes


async def get(settings: UpstreamSettings, url: str, headers: dict[str, str], *, timeout: float) -> tuple[int, bytes]:
    """Its status and its body, up to `max_response_size` bytes. `timeout`: seconds. Raises UpstreamError,
    ConfigError where the file of CA certificates cannot work."""
    answer = await get_answer(settings, url, headers, timeout=timeout)
    return answer.status, answer.body


async def get_answer(settings: UpstreamSettings, url: str, headers: dict[str, str], *, timeout: float) -> WholeAnswer:
    """As `get`, with the header fields."""
    return await _get(settings, url, headers, {"request_timeout": timeout})


async def get_stream(
    settings: UpstreamSettings,
    url: str,
    headers: dict[str, str],
    *,
    timeout: float,
    on_chunk: Callable[[bytes], None],
    on_connection: Callable[[str, int], None],
) -> WholeAnswer:
    """As `get_answer`, but each piece of the body goes to `on_chunk` as it comes, decompressed; `on_connection` gets
    address and port of the connection's own end."""
    options = {"request_timeout": timeout, "decompress_response": True, "streaming_callback": on_chunk}
    return await _get(settings, url, headers, options, on_connection)


async def _get(
    settings: UpstreamSettings,
    url: str,
    headers: dict[str, str],
    options: dict[str, Any],
    on_connection: Callable[[str, int], None] | None = None,
) -> WholeAnswer:
    check_libcurl()
    check_ca_file(settings.ca_file)
    configure_handle, has_proxy = handle_options(settings), settings.proxy is not None

    def before_request(_peer: str, own: str, _peer_port: int, own_port: int) -> int:
        if on_connection is not None:
            on_connection(own, own_port)
        return int(pycurl.PREREQFUNC_OK)

    def prepare(curl: pycurl.Curl) -> None:
        configure_handle(curl)
        curl.setopt(pycurl.MAXFILESIZE, settings.max_response_size)
        curl.setopt(pycurl.PREREQFUNCTION, before_request)

    options = request_options(settings) | options
    request = HTTPRequest(url, headers=headers, prepare_curl_callback=prepare, **options)
    client = QuicklyClosedClient(force_instance=True, max_clients=1)
    try:
        response = await client.fetch(request, raise_error=False)
    except CurlError as error:
        raise get_error(error, has_proxy=has_proxy) from None
    except HTTPClientError:
        raise UpstreamUnreachable(sent=False) from None
    finally:
        client.close()
    if response.code == 407 and has_proxy:
        raise ProxyError(sent=False, cause="the proxy answered with status 407")
    return WholeAnswer(response.code, response.headers, response.body)
