"""What is refused before anything is done, and how."""

import asyncio
import json
from uuid import UUID

import pytest

from tests.support.administrator import KEY, Administrator
from tests.support.client import Connection, fetch, request_bytes

pytestmark = pytest.mark.shared_agent

USER = {"name": "dora", "openai_key": KEY}


ERRORS = [
    ({**USER, "limits": 1}, None, "unknown field `limits`"),
    ({"name": "dora"}, None, "missing required field `openai_key`"),
    ({**USER, "rpm": "10"}, "rpm", 'rpm: "10" is not a whole number from 1 to 1000000000000, such as 60, or null'),
    ({**USER, "rpm": 0}, "rpm", "rpm: 0 is not a whole number from 1 to"),
    (
        b'{"name": "dora", "openai_key": "x", "tpm": 60, "rpm": 1e400}',
        "rpm",
        "rpm: 1E+400 is not a whole number from 1 to",
    ),
    (b'{"name": "dora", "openai_key": "x", "rpm": 1%s}' % (b"0" * 5000), "rpm", "…"),
    ({**USER, "rpm": 10**12 + 1}, "rpm", "rpm: 1000000000001 is not a whole number from 1 to 1000000000000"),
    ({**USER, "openai_key": f"{KEY} "}, "openai_key", "openai_key: a value (not shown) is not an OpenAI key"),
    ({**USER, "rpm": 1.5}, "rpm", "rpm: 1.5 is not a whole number"),
    ({**USER, "rpm": True}, "rpm", "rpm: true is not a whole number"),
    (
        {**USER, "allowed_models": ["a", 1]},
        "allowed_models[1]",
        "allowed_models[1]: 1 is not text of 1 to 128 printable characters",
    ),
    (
        {**USER, "allowed_models": []},
        "allowed_models",
        "allowed_models: a list of 0 is not a list of 1 to 1000, each text",
    ),
    ([USER], None, "the body: a list of 1 is not an object; its fields: "),
]


async def test_body_that_does_not_match_the_schema_is_rejected(admin: Administrator) -> None:
    """The answer is 400, with the path to the invalid value."""
    for body, param, text in ERRORS:
        answer = await admin.ask("POST", "/users", body)
        assert (answer.status, answer.error["code"], answer.error["param"]) == (400, "invalid_request", param)
        assert text in answer.error["message"]


async def test_body_that_is_not_json_is_rejected(admin: Administrator) -> None:
    """The answer is 400, with a code of its own."""
    for body in (b"{", b"\xff", b'{"name": "\\ud800"}', b"NaN", b"[" * 100_000):
        answer = await admin.ask("POST", "/users", body)
        assert (answer.status, answer.error["code"]) == (400, "invalid_json")


async def test_value_that_breaks_a_rule_is_rejected(admin: Administrator) -> None:
    """The answer is 422: the body matches the schema."""
    answer = await admin.ask("POST", "/users", {**USER, "name": " dora"})
    assert (answer.status, answer.error["code"]) == (422, "invalid_value")


async def test_rejected_key_is_not_repeated(admin: Administrator) -> None:
    """Neither the answer nor the log contains the key; the fixture searches the log."""
    answer = await admin.ask("POST", "/users", {"name": "dora", "openai_key": f"{KEY} "})
    assert answer.status == 400
    assert KEY.encode() not in answer.body


async def test_existing_name_is_rejected(admin: Administrator) -> None:
    """The answer is 409 for a name that another user has."""
    answer = await admin.ask("POST", "/users", {**USER, "name": "alice"})
    assert (answer.status, answer.error["code"]) == (409, "conflict")


async def test_unknown_object_is_not_found(admin: Administrator) -> None:
    """The answer is 404 for an unknown user, token or row."""
    for path in ("/users/dora", "/users/dora/tokens", "/tokens/99", f"/ledger/rows/{UUID(int=0)}"):
        answer = await admin.ask("GET", path)
        assert (answer.status, answer.error["code"]) == (404, "not_found")


async def test_name_with_a_slash_can_be_escaped(admin: Administrator) -> None:
    """An escaped name is one segment of the path."""
    await admin.ask("POST", "/users", {**USER, "name": "团队/dora"})
    answer = await admin.ask("GET", "/users/%E5%9B%A2%E9%98%9F%2Fdora")
    assert answer.json["name"] == "团队/dora"


async def test_body_of_another_media_type_is_rejected(admin: Administrator) -> None:
    """The answer is 415: a browser's form can send other types without a preflight request."""
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""):
        assert (await admin.ask("POST", "/users", USER, Content_Type=kind)).status == 415


async def test_large_body_is_rejected(admin: Administrator) -> None:
    """The answer is 413 over 1 MiB, and the sender can read the answer."""
    answer = await admin.ask("POST", "/users", b" " * (1024 * 1024 + 1))
    assert (answer.status, answer.error["code"]) == (413, "request_too_large")


async def test_huge_body_is_cut_off(admin: Administrator) -> None:
    """The agent does not read on after it has refused a request without a token."""
    connection = await Connection.open(admin.agent.admin_url)
    head = request_bytes("POST", "/api/v1/users", {"Content-Length": str(10**10)}, b"")
    with pytest.raises(ConnectionError):
        await connection.send(head + b" " * 40_000_000)
    await connection.close()


@pytest.mark.parametrize(
    ("path", "token", "length", "status"),
    [("/users", "cgm_wrong", 100, 401), ("/users", None, 100, 401), ("/users", "", 1024 * 1024 + 1, 413)],
    ids=["wrong token", "no token", "too large"],
)
async def test_refusal_does_not_wait_for_the_body(
    admin: Administrator, path: str, token: str | None, length: int, status: int
) -> None:
    """The answer arrives although no byte of the body is sent."""
    headers = {"Content-Length": str(length), "Content-Type": "application/json"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token or admin.token}"
    connection = await Connection.open(admin.agent.admin_url)
    await connection.send(request_bytes("POST", f"/api/v1{path}", headers, b""))
    answer = await asyncio.wait_for(connection.answer(), 5)
    await connection.close()
    assert answer.status == status


async def test_body_without_length_is_refused_at_the_limit(admin: Administrator) -> None:
    """A chunked body that grows over 1 MiB is answered 413."""
    headers = {"Transfer-Encoding": "chunked", "Content-Type": "application/json"}
    headers["Authorization"] = f"Bearer {admin.token}"
    chunk = b"80000\r\n" + b" " * 0x80000 + b"\r\n"
    connection = await Connection.open(admin.agent.admin_url)
    head = request_bytes("PUT", "/api/v1/users/alice/key", headers, b"")
    await connection.send(head + chunk * 3)
    answer = await asyncio.wait_for(connection.answer(), 5)
    await connection.close()
    assert answer.status == 413


async def test_unexpected_body_is_rejected(admin: Administrator) -> None:
    """A client that sends a body expects it to matter."""
    assert (await admin.ask("POST", "/users/alice/remove", {"really": False})).status == 400
    assert (await admin.ask("GET", "/users/alice")).json["removed_at"] is None


async def test_invalid_query_is_rejected(admin: Administrator) -> None:
    """The answer is 400 for an unknown or a repeated name, and for bytes that are not text."""
    for query in ("limt=5", "limit=5&limit=6", "limit=%ff", "user=alice&x="):
        assert (await admin.ask("GET", f"/tokens?{query}")).status == 400


async def test_unknown_method_is_rejected(admin: Administrator) -> None:
    """The answer is 405, with the permitted methods."""
    answer = await admin.ask("PUT", "/users/alice", {})
    assert (answer.status, answer.header("Allow")) == (405, "GET, PATCH, HEAD")


async def test_head_is_get_without_a_body(admin: Administrator) -> None:
    """HEAD answers with the same length and ETag (RFC 9110 §9.3.2)."""
    got = await admin.ask("GET", "/users/alice")
    connection = await Connection.open(admin.agent.admin_url)
    await connection.send(request_bytes("HEAD", "/api/v1/users/alice", {"Authorization": f"Bearer {admin.token}"}, b""))
    status, fields = await connection.head()
    await connection.close()
    same = ("Etag", "Content-Length", "Content-Type")
    assert (status, [dict(fields)[name] for name in same]) == (200, [got.header(name) for name in same])


# Browsers.


@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, {"Sec_Fetch_Site": "cross-site"}])
async def test_page_of_another_origin_is_rejected(admin: Administrator, headers: dict[str, str]) -> None:
    """The answer is 403, with a token or without one."""
    for client in (admin, admin.with_token(None)):
        answer = await client.ask("POST", "/users/alice/remove", **headers)
        assert (answer.status, answer.error["code"]) == (403, "forbidden")
    assert (await admin.ask("GET", "/users/alice")).json["removed_at"] is None


async def test_no_answer_permits_another_origin(admin: Administrator) -> None:
    """A preflight request is refused, and no answer names a permitted origin."""
    preflight = {"Origin": "https://evil.example", "Access_Control_Request_Method": "GET"}
    assert (await admin.ask("OPTIONS", "/users", **preflight)).status == 405
    answer = await admin.ask("GET", "/users", Origin="https://evil.example")
    assert answer.header("Access-Control-Allow-Origin") is None


async def test_answers_are_neither_cached_nor_sniffed(admin: Administrator) -> None:
    """Errors have the same headers."""
    for path in ("/users", "/users/dora", "/tokens/x"):
        answer = await admin.ask("GET", path)
        assert answer.header("Cache-Control") == "no-store"
        assert answer.header("X-Content-Type-Options") == "nosniff"
        assert answer.header("Content-Security-Policy") == "default-src 'none'; frame-ancestors 'none'"


async def test_error_has_openais_format(admin: Administrator) -> None:
    """The answer names the request and the error's code."""
    answer = await admin.ask("GET", "/tokens/99")
    assert json.loads(answer.body) == {
        "error": {
            "message": "there is no token 99",
            "type": "invalid_request_error",
            "param": None,
            "code": "not_found",
        }
    }
    assert answer.header("X-Agent-Error") == "not_found"


async def test_unknown_path_is_not_found(admin: Administrator) -> None:
    """The answer has the same format."""
    answer = await fetch(f"{admin.agent.admin_url}/api/v1/nothing")
    assert (answer.status, answer.error["code"]) == (404, "unknown_url")


@pytest.mark.parametrize("body", [b'{"name":"carol","name":"dave"}', b'{"name":"carol","n\\u0061me":"carol"}'])
async def test_repeated_key_is_refused(admin: Administrator, body: bytes) -> None:
    """A body with a key twice is refused, because readers differ in which of its values counts."""
    answer = await admin.ask("POST", "/users", body)
    assert (answer.status, answer.error["code"]) == (400, "invalid_json")
    assert answer.error["message"] == "Duplicate key 'name' in the request body."
