"""One GET the way that requests to OpenAI go, for commands, which have no client of their own."""

import logging

import pycurl
from tornado.curl_httpclient import CurlAsyncHTTPClient, CurlError
from tornado.httpclient import HTTPClientError, HTTPRequest

from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.curl.options import CurlOptions
from chatgpt_agent.core.errors import ProxyError

# At DEBUG this logger prints the Authorization header.
logging.getLogger("tornado.curl_httpclient").setLevel(logging.WARNING)


async def get(config: Config, url: str, headers: dict[str, str], *, timeout: float) -> tuple[int, bytes]:
    """Its status and its body, up to `max_response_size`. Raises UpstreamError."""
    way = CurlOptions(config)

    def prepare(curl: pycurl.Curl) -> None:
        way.apply(curl)
        curl.setopt(pycurl.MAXFILESIZE, config.max_response_size)

    request = HTTPRequest(
        url,
        headers=headers,
        request_timeout=timeout,
        follow_redirects=False,
        decompress_response=False,
        ca_certs=str(config.openai_ca_file) if config.openai_ca_file else None,
        prepare_curl_callback=prepare,
    )
    client = CurlAsyncHTTPClient(force_instance=True, max_clients=1)
    try:
        response = await client.fetch(request, raise_error=False)
    except HTTPClientError as error:
        raise way.get_error(error.errno if isinstance(error, CurlError) else None, str(error)) from None
    finally:
        client.close()
    if response.code == 407 and config.openai_proxy is not None:
        raise ProxyError(sent=False)
    return response.code, response.body
