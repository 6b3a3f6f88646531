"""The OpenAPI document says what is so: a stranger's fuzzer reads it and asks the running agent."""

import asyncio
import re
import sys
import threading
from pathlib import Path

import msgspec
import pytest

from chatgpt_agent.runtime.tuning import Tuning
from chatgpt_agent.web.admin import routes
from chatgpt_agent.web.admin.routes import PREFIX, ROUTES, openapi
from tests.support.administrator import Administrator

# 422 is what the document cannot say: a name with control characters, an invalid network, an end before the start.
# 412 is for a version that the fuzzer made up.
SETTINGS = """
[checks.positive_data_acceptance]
expected-statuses = [200, 201, 204, 304, 401, 403, 404, 409, 412, 422]

[checks.negative_data_rejection]
expected-statuses = [400, 401, 404, 405, 412, 413, 415, 422]
"""

# How CSV is sent, schemathesis does not know by itself.
HOOKS = """
import schemathesis

schemathesis.serializer.alias("text/csv", "text/plain")
"""


@pytest.fixture
def tuning() -> Tuning:
    """The fuzzer tries many wrong tokens."""
    return Tuning(wrong_token_burst=10**6)


@pytest.mark.slow
@pytest.mark.gen_test(timeout=120)
async def test_fuzzer_finds_no_deviation(admin: Administrator, tmp_path: Path) -> None:
    """Every answer is as documented: valid requests are accepted, and invalid ones are rejected."""
    code, output = await fuzz(admin, openapi(), tmp_path, "--exclude-operation-id", "revoke_admin")
    assert code == 0, output
    assert f"Tested: {len(ROUTES) - 1}" in output
    generated = re.findall(r"(\d+) generated", output)[0]
    assert int(generated) > 1000
    assert (await admin.ask("GET", "/users")).status == 200  # with a token that still worked at the end


@pytest.mark.slow
async def test_fuzzer_finds_no_deviation_in_revocations(admin: Administrator, tmp_path: Path) -> None:
    """This route runs apart: the fuzzer would revoke its own token."""
    code, output = await fuzz(admin, openapi(), tmp_path, "--include-operation-id", "revoke_admin")
    assert code == 0, output
    assert "Tested: 1" in output


@pytest.mark.slow
async def test_fuzzer_detects_an_undocumented_status(admin: Administrator, tmp_path: Path) -> None:
    """The fuzzer fails on a document without the status 404."""
    document = msgspec.json.decode(msgspec.json.encode(openapi()))
    document["paths"] = {f"{PREFIX}/users/{{name}}": document["paths"][f"{PREFIX}/users/{{name}}"]}
    del document["paths"][f"{PREFIX}/users/{{name}}"]["get"]["responses"]["404"]
    code, output = await fuzz(admin, document, tmp_path, "--max-examples", "2", "--phases", "coverage,fuzzing")
    assert code == 1, output
    assert "Undocumented status code" in output


async def fuzz(admin: Administrator, document: object, folder: Path, *options: str) -> tuple[int | None, str]:
    """Runs schemathesis in its own process, because tests treat warnings as errors; returns exit code and output."""
    (folder / "openapi.json").write_bytes(msgspec.json.encode(document))
    (folder / "schemathesis.toml").write_text('hooks = "hooks.py"\n' + SETTINGS)
    (folder / "hooks.py").write_text(HOOKS)
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("schemathesis"), "--config-file", "schemathesis.toml", "run", "openapi.json",
        "--url", admin.agent.admin_url, "--header", f"Authorization: Bearer {admin.token}", "--no-color",
        "--generation-deterministic", "--max-examples", "5", *options,
        cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    return process.returncode, output.decode()


async def test_document_is_served(admin: Administrator) -> None:
    """The agent serves the document of its route table."""
    answer = await admin.ask("GET", "/openapi.json")
    assert answer.json == msgspec.json.decode(msgspec.json.encode(openapi()))


async def test_document_is_made_in_a_thread(admin: Administrator, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes long enough to delay clients' requests."""
    threads: list[threading.Thread] = []

    def openapi_json() -> bytes:
        threads.append(threading.current_thread())
        return b"{}"

    monkeypatch.setattr(routes, "openapi_json", openapi_json)
    assert (await admin.ask("GET", "/openapi.json")).json == {}
    assert threading.main_thread() not in threads


def test_document_has_every_route() -> None:
    """The document has no other route."""
    documented = {(method, path) for path, methods in openapi()["paths"].items() for method in methods}
    assert documented == {(route.method.lower(), PREFIX + route.path) for route in ROUTES}


def test_document_speaks_of_json() -> None:
    """No description has Python's word for null."""
    text = msgspec.json.encode(openapi()).decode()
    assert re.findall(r"(?<!-)\b(?:None|True|False)\b(?!-)", text) == []


def test_docs_name_every_route() -> None:
    """The docs name no other route."""
    text = (Path(__file__).parents[3] / "docs/admin-api.md").read_text("utf-8")
    named = re.findall(r"^\| `(GET|POST|PUT|PATCH|DELETE) (/\S+)` \|", text, re.MULTILINE)
    assert sorted(named) == sorted((route.method, route.path) for route in ROUTES)
