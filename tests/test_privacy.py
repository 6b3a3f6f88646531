"""No secret is stored: canaries in every message, token and key, then a search through all files and logs."""

import asyncio
import itertools
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support.agent import MODEL, files_below
from tests.support.client import Connection, fetch, request_bytes
from tests.support.commands import Cli
from tests.support.postgres_server import server_folder
from tests.support.serving import Serve
from tests.support.upstream import Received, Reply, Upstream, completion
from tests.support.waiting import until

QUESTION = "canary-question-7f3a"
ANSWER = "canary-answer-91bc"
BOUNDARY = "canary-boundary-2c8e"
PASSWORD = "canary-password-6d1f"
OTHERS: dict[str, dict[str, object]] = {
    "/v1/responses": {"input": QUESTION, "instructions": QUESTION},
    "/v1/completions": {"prompt": QUESTION},
    "/v1/embeddings": {"input": [QUESTION]},
    "/v1/images/generations": {"prompt": QUESTION},
    "/v1/images/edits": {"prompt": QUESTION, "images": [{"file_id": QUESTION}]},
    "/v1/responses/compact": {"input": QUESTION},
    "/v1/decisions": {"input": QUESTION, "questions": [{"type": "predicate", "instructions": QUESTION}]},
    "/v1/moderations": {"input": QUESTION},
    "/v1/responses/input_tokens": {"input": QUESTION},
    "/v1/conversations": {"items": [{"role": "user", "content": QUESTION}]},
    f"/v1/conversations/conv_{QUESTION}/items": {"items": [{"role": "user", "content": QUESTION}]},
}
STORED = (f"/v1/responses/resp_{QUESTION}", f"/v1/conversations/conv_{QUESTION}/items/msg_{QUESTION}")
FORM = (
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="model"\r\n\r\n{MODEL}\r\n'
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n{QUESTION}\r\n'
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{QUESTION}.mp3"\r\n'
    f"Content-Type: audio/mpeg\r\n\r\n{QUESTION}\r\n--{BOUNDARY}--\r\n"
).encode()
KEY = "sk-canary-made-up-key-5d2e"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that the account of PostgreSQL can enter."""
    with server_folder() as folder:
        yield folder


async def talk(url: str, token: str, upstream: Upstream) -> None:
    """Sends messages to every endpoint, with success and with each kind of error."""

    async def answer(request: Received, reply: Reply) -> None:
        await reply.whole(completion(10, 0, 5, text=ANSWER))

    async def key_in_error(request: Received, reply: Reply) -> None:
        await reply.whole(f'{{"error": {{"message": "Incorrect API key {KEY}"}}}}'.encode(), 401)

    async def cut(request: Received, reply: Reply) -> None:
        await reply.head(200, content_length="9999", content_type="application/json")
        await reply.raw(ANSWER.encode())
        await asyncio.sleep(0.05)
        await reply.reset()

    body = {"model": MODEL, "messages": [{"role": "user", "content": f"{QUESTION} chunks=3"}]}
    good = json.dumps(body).encode()
    stream = json.dumps({**body, "stream": True}).encode()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    for script in (answer, key_in_error, cut, upstream.openai):
        upstream.script = script
        await fetch(url + "/chat", "POST", headers, good)
        await fetch(url + "/chat", "POST", headers, stream)
    await fetch(url + "/chat", "POST", headers, good[:-1])  # not JSON
    other = {**body, "model": f"What is {QUESTION}?"}
    await fetch(f"{url}/chat?q={QUESTION}", "POST", headers, json.dumps(other).encode())
    await fetch(url + "/chat", "POST", {**headers, "Authorization": f"Bearer {token[:-1]}_"}, good)
    await fetch(url + "/chat", "POST", {**headers, "Cookie": QUESTION, "Accept": "\x80" + QUESTION}, good)
    for (path, more), streamed in itertools.product(OTHERS.items(), (False, True)):
        data = json.dumps({"model": MODEL, "stream": streamed, **more}).encode()
        await fetch(url + path, "POST", headers, data)
        await fetch(url + path, "POST", headers, data[:-1])
    for method, path in itertools.product(("GET", "DELETE", "PUT"), STORED):
        await fetch(f"{url}{path}?after={QUESTION}", method, headers)
    for form in (FORM, FORM[:-9]):
        type_ = f"multipart/form-data; boundary={BOUNDARY}"
        await fetch(url + "/v1/audio/transcriptions", "POST", {**headers, "Content-Type": type_}, form)
    for path in ("/me", "/me/usage", "/data/week", f"/me/usage?by={QUESTION}"):
        await fetch(url + path, headers=headers)
    await fetch(url + "/me/rotate", "POST", headers, good)
    form_headers = {"Content-Type": "application/x-www-form-urlencoded"}
    for fields in (f"token={token}", f"token={token}&{QUESTION}", f"token={QUESTION}&form=rotate"):
        await fetch(url + "/me/page", "POST", form_headers, fields.encode())
    connection = await Connection.open(url)  # a header that Tornado refuses, and would log
    await connection.send(request_bytes("POST", "/chat", {**headers, "X-Bad": f"{token}\x00{QUESTION}"}, good))
    await connection.reader.read()
    await connection.close()
    connection = await Connection.open(url)  # a hang-up in mid-stream
    await connection.send(request_bytes("POST", "/chat", headers, stream))
    await connection.head()
    await connection.close()


async def test_no_file_and_no_log_holds_a_message_or_a_secret(upstream: Upstream, folder: Path) -> None:
    """The database, its write-ahead log and server log, the outbox and our log at level DEBUG hold no canary."""
    settings = {"DATABASE_URL": "embedded", "DATA_DIR": str(folder / "data"), "OPENAI_URL": upstream.url}
    cli = Cli({**settings, "LOG_LEVEL": "debug"})
    async with Serve(cli.settings) as serve:
        url = await serve.ready()
        issued = await cli.in_thread("user", "add", "alice", "--openai-key-stdin", stdin=KEY)
        token = issued.strip().splitlines()[-1]
        await cli.in_thread("admin", "password", "carol", "--password-stdin", stdin=PASSWORD)
        tier = ["--tier", "decisions:x0.5"]
        await cli.in_thread("price", "set", MODEL, "--input", "1", "--output", "2", *tier)
        bearer = {"Authorization": f"Bearer {token}"}
        await until(partial(fetch, f"{url}/v1/models/{MODEL}", headers=bearer), lambda answer: answer.status == 200)
        for owner in (["--user", "alice"], ["--token", "1"]):
            await cli.in_thread("budget", "set", "5", *owner, "--period", "day")
        await talk(url, token, upstream)
        await cli.in_thread("usage", "report")
        assert await serve.stopped() == 0
    (folder / "serve.log").write_text("\n".join(serve.lines))
    targets = {request.target.partition("?")[0] for request in upstream.requests}
    assert {*OTHERS, *STORED, "/v1/audio/transcriptions"} <= targets
    assert len(upstream.requests) >= 16

    files = files_below(folder)
    contents = {path: path.read_bytes() for path in files}
    for canary in (QUESTION, ANSWER, BOUNDARY, KEY, KEY[3:], token, token[4:40], PASSWORD):
        hits = [str(path) for path, content in contents.items() if canary.encode() in content]
        assert hits == [], canary
    assert len(files) > 500
    assert any(b"alice" in content for content in contents.values()), "the search must be able to find"
