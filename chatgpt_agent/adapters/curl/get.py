"""One GET over the same path as requests to OpenAI, for commands, which have no client of their own."""

from collections.abc import Mapping

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
    check_libcurl()
    check_ca_file(settings.ca_file)
    configure_handle, has_proxy = handle_options(settings), settings.proxy is not None

    def prepare(curl: pycurl.Curl) -> None:
        configure_handle(curl)
        curl.setopt(pycurl.MAXFILESIZE, settings.max_response_size)

    options = request_options(settings) | {"request_timeout": timeout}
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
