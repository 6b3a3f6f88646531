"""The table of endpoints, and what requests to each of them say."""

import json
from typing import Any

import pytest

from chatgpt_agent.core.cooperative import run_to_end
from chatgpt_agent.core.errors import InvalidRequest
from chatgpt_agent.core.http.endpoints import (
    CHAT,
    COMPLETIONS,
    EMBEDDINGS,
    ENDPOINTS,
    IMAGES,
    RESPONSES,
    TRANSCRIPTIONS,
    Endpoint,
    upstream_urls,
)
from chatgpt_agent.core.http.request import ApiRequest, parse_request


def parse(endpoint: Endpoint, **body: Any) -> ApiRequest:
    return run_to_end(parse_request(endpoint, json.dumps({"model": "x", **body}).encode()))


def test_siblings_stand_beside_chat() -> None:
    """Under the same prefix, whatever it is."""
    assert upstream_urls("https://api.openai.com/v1/chat/completions") == {
        endpoint.path: f"https://api.openai.com{endpoint.path}" for endpoint in ENDPOINTS
    }
    found = upstream_urls("https://host/eu/v2/chat/completions")
    assert found["/v1/audio/transcriptions"] == "https://host/eu/v2/audio/transcriptions"


@pytest.mark.parametrize("url", ["https://host/chat", "https://host/v1/chat/completions/", "https://host/completions"])
def test_another_url_has_no_siblings(url: str) -> None:
    """Where chat is not where OpenAI has it, nobody knows where the others are."""
    assert upstream_urls(url) == {"/v1/chat/completions": url}


@pytest.mark.parametrize(
    ("endpoint", "body", "limit"),
    [
        (CHAT, {}, None),
        (CHAT, {"max_tokens": 5}, 5),
        (CHAT, {"max_completion_tokens": 7}, 7),
        (CHAT, {"max_tokens": 5, "max_completion_tokens": 7}, 7),
        (CHAT, {"max_tokens": 5, "max_completion_tokens": None}, 5),
        (CHAT, {"max_output_tokens": 5}, None),
        (COMPLETIONS, {"max_tokens": 5}, 5),
        (RESPONSES, {"max_output_tokens": 5, "max_tokens": 9}, 5),
        (EMBEDDINGS, {}, 0),
        (IMAGES, {}, None),
    ],
)
def test_the_limit_of_the_output(endpoint: Endpoint, body: dict[str, Any], limit: int | None) -> None:
    """The request's own, by the endpoint's name for it; the larger of two."""
    assert parse(endpoint, **body).output_limit == limit


@pytest.mark.parametrize(
    ("endpoint", "body", "choices"),
    [
        (CHAT, {}, 1),
        (CHAT, {"n": None}, 1),
        (CHAT, {"n": 3}, 3),
        (COMPLETIONS, {"n": 2, "best_of": 5}, 5),
        (COMPLETIONS, {"n": 2, "prompt": ["a", "b", "c"]}, 6),
        (COMPLETIONS, {"prompt": [1, 2, 3]}, 1),
        (COMPLETIONS, {"prompt": [[1, 2], [3]]}, 2),
        (COMPLETIONS, {"prompt": "abc"}, 1),
        (IMAGES, {"n": 10}, 10),
        (IMAGES, {"n": 128}, 128),
    ],
)
def test_the_number_of_outputs(endpoint: Endpoint, body: dict[str, Any], choices: int) -> None:
    """For each prompt as many as it asks for."""
    assert parse(endpoint, **body).choices == choices


@pytest.mark.parametrize("number", [0, -1, 129, 1.0, 1.5, "1", True, [], 10**20])
@pytest.mark.parametrize("key", ["n", "best_of"])
def test_an_odd_number_of_outputs_is_refused(key: str, number: object) -> None:
    """A budget could not rely on it."""
    with pytest.raises(InvalidRequest) as caught:
        parse(COMPLETIONS, **{key: number})
    assert caught.value.param == key


@pytest.mark.parametrize("number", [-1, 1.0, "1", True, [], 10**20])
def test_an_odd_limit_is_refused(number: object) -> None:
    """It may be read in another way elsewhere."""
    with pytest.raises(InvalidRequest) as caught:
        parse(RESPONSES, max_output_tokens=number)
    assert caught.value.param == "max_output_tokens"


@pytest.mark.parametrize(("tier", "found"), [(None, None), ("flex", "flex"), ("auto", "auto")])
def test_the_tier_that_is_asked_for(tier: str | None, found: str | None) -> None:
    """As the request says it."""
    assert parse(CHAT, service_tier=tier).service_tier == found


@pytest.mark.parametrize("tier", [1, True, "", "FLEX ", "x" * 40, ["flex"]])
def test_an_odd_tier_is_refused(tier: object) -> None:
    """Nobody would know what it costs."""
    with pytest.raises(InvalidRequest) as caught:
        parse(CHAT, service_tier=tier)
    assert caught.value.param == "service_tier"


@pytest.mark.parametrize(
    ("body", "links"),
    [
        ({"input": "x"}, 0),
        ({"previous_response_id": None, "conversation": None, "prompt": None}, 0),
        ({"previous_response_id": "resp_1"}, 1),
        ({"conversation": {"id": "conv_1"}, "prompt": {"id": "pmpt_1"}}, 2),
        ({"input": [{"id": "msg_1"}], "tools": [{"type": "web_search"}]}, 2),
    ],
)
def test_what_a_response_refers_to(body: dict[str, Any], links: int) -> None:
    """Turns before, stored prompts and items, tools: their tokens are input, too."""
    assert parse(RESPONSES, **body).attachments == links


def test_a_prompt_of_legacy_completions_is_text() -> None:
    """And no stored one."""
    request = parse(COMPLETIONS, prompt="x")
    assert (request.attachments, request.input_bytes) == (0, len(request.body))


def test_a_stream_is_asked_for_usage_where_that_is_needed() -> None:
    """Only chat and legacy completions leave it out."""
    asked = {endpoint.path: parse(endpoint, stream=True).hides_usage for endpoint in ENDPOINTS if endpoint.can_stream
             and not endpoint.form}  # fmt: skip
    assert [path for path, hides in asked.items() if hides] == ["/v1/chat/completions", "/v1/completions"]
    assert not parse(CHAT, stream=True, stream_options={"include_usage": True}).hides_usage
    assert not parse(CHAT).hides_usage


def test_many_tokens_may_be_given_as_numbers() -> None:
    """OpenAI takes 300,000 in a request for embeddings."""
    assert parse(EMBEDDINGS, input=[[1] * 1000] * 300).output_limit == 0


def test_a_form_says_what_it_may_cost() -> None:
    """Its fields are text, its file is a link."""
    form = (
        b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nx\r\n'
        b'--b\r\nContent-Disposition: form-data; name="stream"\r\n\r\ntrue\r\n'
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n\x00\xff\r\n--b--\r\n'
    )
    request = run_to_end(parse_request(TRANSCRIPTIONS, form, "multipart/form-data; boundary=b"))
    assert (request.model, request.stream, request.hides_usage) == ("x", True, False)
    assert (request.input_bytes, request.attachments, request.output_limit, request.choices) == (5, 1, None, 1)


@pytest.mark.parametrize("model", [b"", b"\xff", b"a\x00", "é".encode() * 129, b"x" * 600])
def test_a_model_in_a_form_is_a_name(model: bytes) -> None:
    """As in JSON."""
    form = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\n' + model + b"\r\n--b--\r\n"
    with pytest.raises(InvalidRequest) as caught:
        run_to_end(parse_request(TRANSCRIPTIONS, form, "multipart/form-data; boundary=b"))
    assert caught.value.param == "model"
