"""Nothing of yours is kept: canaries in all that is secret, then a search through everything that is left behind."""

import asyncio
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.agent import MODEL, files_below
from tests.support.client import Connection, fetch, request_bytes
from tests.support.process import Serving, run_command
from tests.support.upstream import Received, Reply, Upstream, completion

ASKED = "canary-question-7f3a"
ANSWERED = "canary-answer-91bc"
BOUNDARY = "canary-boundary-2c8e"
OTHERS: dict[str, dict[str, object]] = {
    "/v1/responses": {"input": ASKED, "instructions": ASKED},
    "/v1/completions": {"prompt": ASKED},
    "/v1/embeddings": {"input": [ASKED]},
    "/v1/images/generations": {"prompt": ASKED},
}
FORM = (
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="model"\r\n\r\n{MODEL}\r\n'
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n{ASKED}\r\n'
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{ASKED}.mp3"\r\n'
    f"Content-Type: audio/mpeg\r\n\r\n{ASKED}\r\n--{BOUNDARY}--\r\n"
).encode()
KEY = "sk-canary-made-up-key-5d2e"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that the account of PostgreSQL can enter."""
    path = Path(tempfile.mkdtemp(prefix="cga"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


async def talk(url: str, token: str, upstream: Upstream) -> None:
    """Every way in which a message can pass, or fail to."""

    async def answer(request: Received, reply: Reply) -> None:
        await reply.whole(completion(10, 0, 5, text=ANSWERED))

    async def key_in_error(request: Received, reply: Reply) -> None:
        await reply.whole(f'{{"error": {{"message": "Incorrect API key {KEY}"}}}}'.encode(), 401)

    async def cut(request: Received, reply: Reply) -> None:
        await reply.head(200, content_length="9999", content_type="application/json")
        await reply.raw(ANSWERED.encode())
        await asyncio.sleep(0.05)
        await reply.reset()

    body = {"model": MODEL, "messages": [{"role": "user", "content": f"{ASKED} chunks=3"}]}
    good = json.dumps(body).encode()
    stream = json.dumps({**body, "stream": True}).encode()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    for script in (answer, key_in_error, cut, upstream.openai):
        upstream.script = script
        await fetch(url + "/chat", "POST", headers, good)
        await fetch(url + "/chat", "POST", headers, stream)
    await fetch(url + "/chat", "POST", headers, good[:-1])  # not JSON
    await fetch(f"{url}/chat?q={ASKED}", "POST", headers, json.dumps({**body, "model": ASKED}).encode())
    await fetch(url + "/chat", "POST", {**headers, "Authorization": f"Bearer {token[:-1]}_"}, good)
    await fetch(url + "/chat", "POST", {**headers, "Cookie": ASKED, "Accept": "\x80" + ASKED}, good)
    for path, more in OTHERS.items():
        for streamed in (False, True):
            asked = json.dumps({"model": MODEL, "stream": streamed, **more}).encode()
            await fetch(url + path, "POST", headers, asked)
            await fetch(url + path, "POST", headers, asked[:-1])
    for form in (FORM, FORM[:-9]):
        type_ = f"multipart/form-data; boundary={BOUNDARY}"
        await fetch(url + "/v1/audio/transcriptions", "POST", {**headers, "Content-Type": type_}, form)
    for path in ("/me", "/me/usage", "/data/week", f"/me/usage?by={ASKED}"):
        await fetch(url + path, headers=headers)
    connection = await Connection.open(url)  # a header that Tornado refuses, and would log
    await connection.send(request_bytes("POST", "/chat", {**headers, "X-Bad": f"{token}\x00{ASKED}"}, good))
    await connection.reader.read()
    await connection.close()
    connection = await Connection.open(url)  # a hang-up in mid-stream
    await connection.send(request_bytes("POST", "/chat", headers, stream))
    await connection.head()
    await connection.close()


async def test_no_file_and_no_log_holds_a_message_or_a_secret(upstream: Upstream, folder: Path) -> None:
    """Database, its write-ahead log and server log, outbox, our log at its most talkative: nothing is found."""
    data, log = folder / "data", folder / "serve.log"
    settings = {"database_url": "embedded", "data_dir": data, "openai_url": upstream.url, "log_level": "debug"}
    serving = await Serving(log, **settings).start()
    issued = await run_command(
        "user", "add", "alice", "--openai-key-stdin", environment=serving.environment, stdin=KEY.encode()
    )
    token = issued.strip().splitlines()[-1]
    await run_command("price", "set", MODEL, "--input", "1", "--output", "2", environment=serving.environment)
    async with asyncio.timeout(5):
        while (
            await fetch(f"{serving.url}/v1/models/{MODEL}", headers={"Authorization": f"Bearer {token}"})
        ).status != 200:
            await asyncio.sleep(0.05)
    for whose in (["--user", "alice"], ["--token", "1"]):
        await run_command("budget", "set", "5", *whose, "--period", "day", environment=serving.environment)
    await talk(serving.url, token, upstream)
    assert {*OTHERS, "/v1/audio/transcriptions"} <= {request.target for request in upstream.requests}
    assert len(upstream.requests) >= 16
    await run_command("usage", "report", environment=serving.environment)
    assert await serving.stop() == 0

    files = files_below(folder)
    contents = {path: path.read_bytes() for path in files}
    for canary in (ASKED, ANSWERED, BOUNDARY, KEY, KEY[3:], token, token[4:40]):
        hits = [str(path) for path, content in contents.items() if canary.encode() in content]
        assert hits == [], canary
    assert len(files) > 500
    assert any(b"alice" in content for content in contents.values()), "the search must be able to find"
