"""The proxies of docs/reverse-proxies.md in front of an agent, with the configurations that stand there."""

import asyncio
import contextlib
import re
import shutil
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import trustme

from chatgpt_agent.core.access.settings import TokenSettings
from tests.conftest import MakeAgent
from tests.support.agent import Agent
from tests.support.canaries import SECRETS
from tests.support.client import Answer, Connection, request_bytes
from tests.support.proxies import free_port, nginx_command
from tests.support.smuggling import corpus
from tests.support.upstream import Received, Reply, Upstream, completion, stream_events, without_null_usage
from tests.web.test_smuggling import chat, contents, marked

PAGE = (Path(__file__).parents[2] / "docs/reverse-proxies.md").read_text("utf-8")
HOST = "agent.example.com"
ADDRESS = "127.0.0.2"  # of the clients
CHAT = "/v1/chat/completions"
FRAMING = ("6.1", "6.3", "7.1", "9.3.2", "9.6")  # sections of RFC 9112
PROXIES = ("nginx", "haproxy", "caddy", "traefik")


def block(language: str, number: int = 0) -> str:
    """Returns a configuration of the page."""
    blocks: list[str] = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return blocks[number]


class Proxy:
    """Where a proxy runs: its folder with `agent.pem` and `agent.key`, its port, and the agent's."""

    def __init__(self, folder: Path, port: int, agent_port: int) -> None:
        self.folder, self.port, self.agent_port = folder, port, agent_port

    def write(self, name: str, text: str) -> str:
        """Writes a configuration of the page for this test's ports and files; returns its path."""
        text = text.replace("127.0.0.1:8080", f"127.0.0.1:{self.agent_port}")
        text = re.sub(r"listen 443|(?<=bind ):443|(?<=\"):443", lambda match: self._listen(match[0]), text)
        text = re.sub(r"/etc/\w+/(agent\.\w+)", rf"{self.folder}/\1", text)
        path = self.folder / name
        path.write_text(text)
        return str(path)

    def _listen(self, text: str) -> str:
        return text.replace(":443", f"127.0.0.1:{self.port}").replace(" 443", f" 127.0.0.1:{self.port}")


def nginx(proxy: Proxy) -> list[str]:
    """Returns the command that runs nginx."""
    site = proxy.write("site.conf", block("nginx"))
    return nginx_command(proxy.folder, f"include {site};")


def haproxy(proxy: Proxy) -> list[str]:
    """Returns the command that runs HAProxy."""
    return ["haproxy", "-db", "-f", proxy.write("haproxy.cfg", block("haproxy"))]


def caddy(proxy: Proxy) -> list[str]:
    """Returns the command that runs Caddy, with our certificate and without its administration."""
    files = f"tls {proxy.folder}/agent.pem {proxy.folder}/agent.key"
    site = block("caddy").replace(f"{HOST} {{", f"https://{HOST}:{proxy.port} {{\n\tbind 127.0.0.1\n\t{files}", 1)
    path = proxy.write("Caddyfile", f"{{\n\tadmin off\n\tauto_https disable_redirects\n}}\n{site}")
    return ["caddy", "run", "--config", path, "--adapter", "caddyfile"]


def traefik(proxy: Proxy) -> list[str]:
    """Returns the command that runs Traefik."""
    proxy.write("agent.yml", block("yaml", 2))
    return ["traefik", f"--configFile={proxy.write('traefik.yml', block('yaml', 1))}"]


COMMANDS: dict[str, Callable[[Proxy], list[str]]] = {
    "nginx": nginx,
    "haproxy": haproxy,
    "caddy": caddy,
    "traefik": traefik,
}


class Client:
    """Clients of a proxy, over TLS."""

    def __init__(self, port: int, authority: trustme.CA) -> None:
        self._port = port
        self._context = ssl.create_default_context()
        authority.configure_trust(self._context)

    async def connect(self) -> Connection:
        """Returns a connection to the proxy."""
        streams = await asyncio.open_connection(
            "127.0.0.1", self._port, local_addr=(ADDRESS, 0), ssl=self._context, server_hostname=HOST
        )
        return Connection(*streams)

    async def ask(self, method: str, path: str, fields: dict[str, str], body: bytes = b"") -> Answer:
        """Sends a request and returns its answer."""
        connection = await self.connect()
        await connection.send(request_bytes(method, path, {"Host": HOST, **fields}, body))
        answer = await connection.answer()
        connection.writer.transport.abort()  # without TLS's own goodbye, for which some proxies wait
        return answer

    async def until_ready(self) -> None:
        """Waits until the agent answers through the proxy."""
        async with asyncio.timeout(20):
            while True:
                with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                    if (await self.ask("GET", "/readyz", {})).status == 200:
                        return
                await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def running(name: str, folder: Path, agent: Agent) -> AsyncIterator[Client]:
    """Runs a proxy in front of an agent; yields its clients."""
    authority = trustme.CA()
    certificate = authority.issue_cert(HOST)
    chain = b"".join(blob.bytes() for blob in certificate.cert_chain_pems)
    (folder / "agent.key").write_bytes(certificate.private_key_pem.bytes())
    key = certificate.private_key_pem.bytes() if name == "haproxy" else b""
    (folder / "agent.pem").write_bytes(chain + key)
    proxy = Proxy(folder, free_port(), agent.server.port)
    home = {"HOME": str(folder), "PATH": "/usr/sbin:/usr/bin:/bin", "XDG_DATA_HOME": str(folder)}
    with (folder / "log").open("wb") as log:
        command = COMMANDS[name](proxy)
        command[0] = shutil.which(command[0]) or command[0]
        process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log, env=home)
    try:
        client = Client(proxy.port, authority)
        await client.until_ready()
        yield client
    finally:
        process.kill()  # a polite end would wait for the agent's connections
        await process.wait()


@pytest.mark.parametrize("name", PROXIES)
async def test_proxy_passes_what_the_agent_serves(
    make_agent: MakeAgent, upstream: Upstream, tmp_path: Path, name: str
) -> None:
    """The proxy passes whole answers, chunks of a stream as they come, large bodies, a disconnect, the client's address
    and a WebSocket's 426."""
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    agent = await make_agent(trusted_proxies=("127.0.0.1",), max_body_size=64 * 1024 * 1024)
    async with running(name, tmp_path, agent) as client:
        await check_answers(client, agent)
        await check_stream(client, agent, upstream)
        await check_disconnect(client, agent, upstream)
        await check_framing(client, agent, upstream)


async def check_answers(client: Client, agent: Agent) -> None:
    """Whole answers, a large upload, the client's address, and the refusal of a WebSocket."""
    assert (await client.ask("POST", CHAT, agent.headers(), agent.body())).status == 200
    large = agent.body("x" * 20_000_000)
    assert (await client.ask("POST", CHAT, agent.headers(), large)).status == 200
    # The proxy names the client's address: what the client itself writes there does not count.
    settings = TokenSettings(allowed_networks=(ADDRESS,))
    local = (await agent.administration.tokens.issue("alice", settings)).token
    SECRETS.add(local)
    await agent.follow()
    forged = {"Authorization": f"Bearer {local}", "X-Forwarded-For": "192.0.2.1"}
    assert (await client.ask("GET", "/v1/models", forged)).status == 200
    handshake = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
                 "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}  # fmt: skip
    assert (await client.ask("GET", "/v1/responses", agent.headers(**handshake))).status == 426


async def check_stream(client: Client, agent: Agent, upstream: Upstream) -> None:
    """The first chunk of a stream arrives before the second is sent."""
    arrived = asyncio.Event()
    first, *rest = stream_events(2, (20, 5, 7, 3))

    async def script(_: Received, reply: Reply) -> None:
        await reply.stream_head()
        await reply.chunk(first)
        await arrived.wait()
        for chunk in rest:
            await reply.chunk(chunk)
        await reply.end()

    upstream.script = script
    connection = await client.connect()
    await connection.send(request_bytes("POST", CHAT, {"Host": HOST, **agent.headers()}, agent.body(stream=True)))
    assert (await connection.head())[0] == 200
    async with asyncio.timeout(10):
        assert await connection.chunk() == without_null_usage(first)
    arrived.set()
    while await connection.chunk():
        pass
    connection.writer.transport.abort()
    upstream.script = upstream.openai


async def check_disconnect(client: Client, agent: Agent, upstream: Upstream) -> None:
    """The agent notices that a client has left its proxy."""
    before, closed = len(upstream.requests), asyncio.Event()

    async def script(_: Received, reply: Reply) -> None:
        await closed.wait()
        await reply.whole(completion(10, 2, 5))

    upstream.script = script
    connection = await client.connect()
    await connection.send(request_bytes("POST", CHAT, {"Host": HOST, **agent.headers()}, agent.body()))
    await agent.until(lambda: len(upstream.requests) > before)
    connection.writer.transport.abort()
    await agent.until(lambda: agent.server.relay.abandoned.running)
    closed.set()
    assert (await agent.rows())[-1]["client_closed"]
    upstream.script = upstream.openai


async def check_framing(client: Client, agent: Agent, upstream: Upstream) -> None:
    """Proxy and agent see the same requests in bytes that programs read differently: each that the agent runs is one
    that the proxy has sent, so that its client has got an answer with 200 for it."""
    # Some proxies wait for the rest of a body that is too long, or has no last chunk.
    cases = [case for case in corpus(chat(agent)) if case.section in FRAMING and 413 not in case.statuses]
    cases = [case for case in cases if not case.name.startswith("last chunk")]
    places, before = asyncio.Semaphore(16), len(upstream.requests)

    async def play(number: int) -> int:
        async with places:
            connection, received = await client.connect(), b""
            with contextlib.suppress(ConnectionError):
                async with asyncio.timeout(20):
                    await connection.send(marked(cases[number], number))
                    while piece := await connection.reader.read(65536):
                        received += piece
            connection.writer.transport.abort()
            return received.count(b"HTTP/1.1 200 ")

    answers = await asyncio.gather(*map(play, range(len(cases))))
    marks = Counter(contents(upstream)[before:])
    effects = [(marks[b"m%05d" % number], marks[b"h%05d" % number]) for number in range(len(cases))]
    assert max(map(max, effects)) == 1
    wrong = [case.name for case, effect, count in zip(cases, effects, answers, strict=True) if sum(effect) > count]
    assert (wrong, sum(map(sum, effects))) == ([], sum(marks.values()))
