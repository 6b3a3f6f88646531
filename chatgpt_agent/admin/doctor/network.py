"""Checks of other servers: OpenAI and the proxy to it, the reverse proxy in front, the receiver of alerts.

No key and no event is sent, and nothing that costs."""

import os
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import msgspec

from chatgpt_agent import __version__
from chatgpt_agent.adapters.curl.get import WholeAnswer, get_answer
from chatgpt_agent.adapters.own_listener import served_certificate
from chatgpt_agent.adapters.own_thread import in_own_thread
from chatgpt_agent.adapters.tls import read_certificate
from chatgpt_agent.admin.doctor.examination import Examination
from chatgpt_agent.admin.doctor.results import Result, failure, ok, skipped, warning
from chatgpt_agent.core.errors import ProxyError, UpstreamError, UpstreamTls, WebhookFailed
from chatgpt_agent.core.moments import show_minute
from chatgpt_agent.runtime.alerts import open_webhook

SECONDS = 4.0  # for an answer
CERTIFICATE_AGE = timedelta(days=14)  # programs that renew certificates do so a month before
CHAT = "/chat/completions"
_HEADERS = {"User-Agent": f"chatgpt-agent/{__version__}"}
_PROXY_VARIABLES = ("https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")


# OpenAI.


async def check_openai(examination: Examination) -> list[Result]:
    """OpenAI is reached over verified TLS, through the proxy if there is one."""
    settings = examination.config.upstream
    url, through = _models_url(settings.url), ""
    if settings.proxy is not None:
        through = f" through the proxy {settings.proxy.host}:{settings.proxy.port}"
    try:
        answer = await get_answer(settings, url, _HEADERS, timeout=SECONDS)
    except UpstreamError as error:
        text = f"{examination.config.openai_host} cannot be reached{through}: {error.cause or error.message}"
        return [failure(text, _openai_advice(error, has_proxy=bool(through), has_ca=settings.ca_file is not None))]
    _note_clock(examination, answer)
    return [_of_openai(answer.status, f"{examination.config.openai_host} answers{through}")]


def _models_url(url: str) -> str:
    return url.removesuffix(CHAT) + "/models" if url.endswith(CHAT) else url


def _openai_advice(error: UpstreamError, *, has_proxy: bool, has_ca: bool) -> str:
    if isinstance(error, ProxyError):
        return "correct openai_proxy, or start the proxy"
    if isinstance(error, UpstreamTls):
        file = "correct openai_ca_file" if has_ca else "name its CA in openai_ca_file"
        return f"see `clock`; if a proxy on the way inspects TLS, {file}"
    if has_proxy:
        return "see whether the proxy reaches OpenAI"
    if name := next((name for name in _PROXY_VARIABLES if os.environ.get(name)), None):
        return f"the variable {name} has no effect: set openai_proxy"
    return "look for a firewall, the name server, or a proxy that must be set in openai_proxy"


def _of_openai(status: int, text: str) -> Result:
    if status >= 500:
        return warning(f"{text}, with status {status}", "see https://status.openai.com")
    if status == 403:
        return warning(f"{text}, with status 403", "it may not serve this country, or a proxy refuses it")
    if 300 <= status < 400:
        return warning(f"{text} with a redirect ({status}), which is not followed", "correct openai_url")
    asks = (
        ", and asks for a key as it should" if status == 401 else f", with status {status} to a request without a key"
    )
    return ok(text + asks)


def _note_clock(examination: Examination, answer: WholeAnswer) -> None:
    try:
        server = parsedate_to_datetime(answer.fields.get("Date", ""))
    except ValueError:
        return
    # It has whole seconds: on average it is half a second more.
    ahead = (datetime.now(UTC) - server.replace(tzinfo=UTC)).total_seconds() - 0.5
    examination.clocks[f"that of {examination.config.openai_host}"] = ahead


# The reverse proxy in front.


async def check_public_url(examination: Examination) -> list[Result]:
    """The agent is reached under public_url. What its proxy does with requests is seen by `proxy`."""
    config = examination.config
    if config.public_url is None:
        return [skipped("public_url is not set")]
    settings = msgspec.structs.replace(config.upstream, proxy=None, ca_file=None)
    url = config.public_url.rstrip("/") + "/healthz"
    try:
        answer = await get_answer(settings, url, _HEADERS, timeout=SECONDS)
    except UpstreamError as error:
        text = f"{url} cannot be reached from this machine: {error.cause or error.message}"
        return [warning(text, _public_advice(error, urlsplit(url).hostname or ""))]
    problem = _of_public_answer(url, answer, runs=await examination.agent_process() is not None)
    if problem is not None:
        return [problem]
    examination.public_url_answers = True
    server = f" through {name}" if (name := answer.fields.get("Server")) else ""
    return [ok(f"{url} is answered{server}")]


def _public_advice(error: UpstreamError, host: str) -> str:
    if isinstance(error, UpstreamTls):
        return f"give the proxy a certificate for {host} with its whole chain, of a CA that clients trust; see `clock`"
    return "clients may reach it nevertheless: try it from where they are"


def _of_public_answer(url: str, answer: WholeAnswer, *, runs: bool) -> Result | None:
    if answer.status == 200 and answer.body.strip() == b'{"status":"ok"}':
        return None
    text = f"{url} is answered with status {answer.status}"
    if answer.status in (502, 503, 504):
        return (
            failure(text, "let the proxy forward to bind_address and port")
            if runs
            else warning(text, "start the agent")
        )
    if answer.status == 200:
        return failure(f"{url} is answered, but not by this agent", "correct public_url, or what the proxy forwards")
    if 300 <= answer.status < 400:
        return failure(f"{text}, a redirect, which clients do not follow with a request", "correct public_url")
    if answer.status in (401, 403):
        return failure(text, "let the proxy pass every request: the agent checks the tokens")
    return failure(text, "let the proxy forward every path to the agent, or correct public_url")


# The certificate of the agent's own listener.


async def check_certificate(examination: Examination) -> list[Result]:
    """The certificate in tls_certificate is valid, and will be for a while, and the agent that runs has it."""
    path = examination.config.tls_certificate
    if path is None:
        return [skipped("tls_certificate is not set")]
    certificate, now = await in_own_thread(lambda: read_certificate(path)), datetime.now(UTC)
    advice = "let the agent read it again (SIGHUP)"
    if (fault := certificate.fault_at(now)) is not None:
        return [failure(f"{path} {fault}", f"renew it, and {advice}")]
    if certificate.ends_at - now < CERTIFICATE_AGE:
        return [warning(f"{path} expires at {show_minute(certificate.ends_at)} UTC", f"renew it, and {advice}")]
    if await examination.agent_process() is not None:
        served = await in_own_thread(lambda: served_certificate(examination.config, SECONDS))
        if served not in (None, certificate.der):
            return [warning(f"the agent that runs has another certificate than {path}", advice)]
    return [ok(f"{path} is valid until {certificate.ends_at:%Y-%m-%d}")]


# Alerts.


async def check_webhook(examination: Examination) -> list[Result]:
    """The receiver of alerts answers. The URL may hold a secret: only its host is named."""
    config = examination.config
    webhook = open_webhook(config)
    if webhook is None:
        return [skipped("webhook_url is not set")]
    host = urlsplit(config.webhook_url or "").hostname
    try:
        status = await webhook.probe(SECONDS)
    except WebhookFailed as error:
        return [
            failure(f"{host} cannot be reached: {error.message}", "correct webhook_url: alerts wait for up to a day")
        ]
    finally:
        webhook.close()
    text = f"{host} answers a HEAD with status {status}"
    if status in (404, 410) or status >= 500:
        return [warning(text, "see whether webhook_url is right")]
    return [ok(f"{text}; no event was sent")]
