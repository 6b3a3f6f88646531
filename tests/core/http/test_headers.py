"""Header fields: an allow-list for each direction."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatgpt_agent.core.errors import InvalidRequest, UnsupportedMediaType
from chatgpt_agent.core.http.headers import RESPONSE_ADDED, check_request_media, request_headers, response_headers

ALLOWED = {
    "content-type",
    "content-encoding",
    "retry-after",
    "retry-after-ms",
    "x-should-retry",
    "x-request-id",
    "openai-processing-ms",
    "openai-version",
    "x-ratelimit-remaining-tokens",
}

ratelimits = st.text().map("X-Ratelimit-".__add__)


def sent(accept: str | None, **client: str) -> list[tuple[str, str]]:
    client |= {"Accept": accept} if accept is not None else {}
    return request_headers(client=client, upstream_key="sk-1", request_id="id-1", agent="chatgpt-agent/1")


@pytest.mark.parametrize("content_type", [None, "", "application/json", " Application/JSON ; charset=utf-8"])
@pytest.mark.parametrize("content_encoding", [None, "", "identity", " Identity "])
def test_plain_json_is_accepted(content_type: str | None, content_encoding: str | None) -> None:
    """Uncompressed JSON is accepted, and so is a body without a Content-Type."""
    check_request_media(content_type, content_encoding)


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/jsonp", "application/json, text/html", "multipart/form-data", "json"]
)
def test_other_types_are_refused(content_type: str) -> None:
    """A body with a Content-Type other than JSON is refused."""
    with pytest.raises(UnsupportedMediaType, match="Content-Type"):
        check_request_media(content_type, None)


@pytest.mark.parametrize("content_encoding", ["gzip", "br", "deflate", "identity, gzip"])
def test_compressed_body_is_refused(content_encoding: str) -> None:
    """A compressed body is refused: it could be ambiguous, or grow without bound."""
    with pytest.raises(UnsupportedMediaType, match="Content-Encoding"):
        check_request_media("application/json", content_encoding)


def test_openai_gets_our_header_fields() -> None:
    """OpenAI gets the user's key, JSON, our request id, and a request for an uncompressed answer."""
    assert sent(None) == [
        ("Authorization", "Bearer sk-1"),
        ("Content-Type", "application/json"),
        ("Accept", "*/*"),
        ("Accept-Encoding", "identity"),
        ("User-Agent", "chatgpt-agent/1"),
        ("X-Client-Request-Id", "id-1"),
    ]


def test_accept_is_forwarded() -> None:
    """Accept reaches OpenAI unchanged."""
    assert ("Accept", "text/event-stream") in sent("text/event-stream")
    assert len(sent("text/event-stream")) == len(sent(None))


@pytest.mark.parametrize("name", ["Session-Id", "session_id", "X-CODEX-TURN-STATE", "Conversation_id"])
def test_ids_of_a_conversation_are_forwarded(name: str) -> None:
    """Fields by which OpenAI finds a conversation in its cache reach it unchanged, whatever the case of their names."""
    assert sent(None, **{name: "a b"})[len(sent(None)) :] == [(name.lower(), "a b")]


@pytest.mark.parametrize(
    "name", ["X-Codex-Turn-Metadata", "X-Codex-Installation-Id", "Originator", "Cookie", "OpenAI-Organization", "X"]
)
def test_other_fields_of_a_client_are_dropped(name: str) -> None:
    """What may hold a folder, a repository or a device, or is not known, does not reach OpenAI; nor an empty value."""
    assert sent(None, **{name: "a", "session-id": ""}) == sent(None)


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "\x00", "é", "a" * 8193])
def test_invalid_id_of_a_conversation_is_refused(value: str) -> None:
    """A value that is too long, not ASCII, or has control characters is refused, with the name of its field."""
    with pytest.raises(InvalidRequest, match="session-id"):
        sent(None, **{"Session-Id": value})


@pytest.mark.parametrize("accept", ["*/*\r\nX-Evil: 1", "*/*\n", "\x00", "text/é", "a" * 257])
def test_invalid_accept_is_refused(accept: str) -> None:
    """An Accept that is too long, not ASCII, or has control characters is refused."""
    with pytest.raises(InvalidRequest, match="Accept"):
        sent(accept)


@given(st.text())
def test_accept_never_adds_a_line(accept: str) -> None:
    """Whatever Accept holds, no value that is sent has a control character."""
    try:
        values = [value for _, value in sent(accept)]
    except InvalidRequest:
        return
    assert all(value.isascii() and value.isprintable() for value in values)


def test_allowed_fields_are_forwarded_unchanged() -> None:
    """Allowed fields of an answer keep their spelling, order and repeats."""
    fields = [("X-Request-ID", "b"), ("content-type", "a/b"), ("x-RateLimit-limit-tokens", "1"), ("X-Request-ID", "a")]
    assert response_headers(fields) == fields


@pytest.mark.parametrize(
    "name",
    [
        "Set-Cookie",
        "Server",
        "Location",
        "Refresh",
        "Alt-Svc",
        "Content-Length",
        "Transfer-Encoding",
        "Connection",
        "Trailer",
        "Link",
        "Clear-Site-Data",
        "Content-Security-Policy",
        "Access-Control-Allow-Origin",
        "openai-organization",
        "openai-project",
        "X-Http-Reason",
        "X-Agent-Error",
        "X-Agent-Request-Id",
        "",
    ],
)
def test_other_fields_are_not_forwarded(name: str) -> None:
    """A field that could set a cookie, redirect the client, frame the answer or name the account is not forwarded."""
    assert response_headers([(name, "1")]) == []


@given(st.lists(st.tuples(st.sampled_from(sorted(ALLOWED)) | st.text() | ratelimits, st.text())))
def test_only_allowed_fields_are_forwarded(fields: list[tuple[str, str]]) -> None:
    """Whatever OpenAI or a proxy sends, only allowed fields are forwarded, and none can split our answer."""
    for name, value in response_headers(fields):
        assert name.lower() in ALLOWED or name.lower().startswith("x-ratelimit-")
        assert name.isascii()
        assert (name + value).isprintable()


@pytest.mark.parametrize("value", ["a\r\nSet-Cookie: b", "a\nb", "a\x00", "\x1b[2J", "\x85"])
def test_value_with_control_characters_is_dropped(value: str) -> None:
    """A field whose value could split our answer is dropped, and no other."""
    assert response_headers([("x-request-id", value), ("retry-after", "1")]) == [("retry-after", "1")]


@pytest.mark.parametrize("suffix", ["a b", "a\r\nSet-Cookie", "é", "\u212a", "a:", "(", "\x00", "\n"])
def test_invalid_name_is_dropped(suffix: str) -> None:
    """A field whose name HTTP does not allow is dropped, because our own server would fail on it."""
    assert response_headers([("x-ratelimit-" + suffix, "1"), ("retry-after", "1")]) == [("retry-after", "1")]


def test_answers_are_untrusted_by_browsers() -> None:
    """Every forwarded answer tells browsers not to guess its type and not to run anything in it."""
    assert dict(RESPONSE_ADDED) == {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox"}
