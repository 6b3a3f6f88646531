"""The table of endpoints, and how requests to each of them are read."""

import json
from typing import Any

import pytest

from chatgpt_agent.core.cooperative import run_to_end
from chatgpt_agent.core.errors import InvalidRequest
from chatgpt_agent.core.http.endpoints import (
    CHAT,
    COMPLETIONS,
    DECISIONS,
    EDITS,
    EMBEDDINGS,
    ENDPOINTS,
    IMAGES,
    METERED,
    RESPONSES,
    TRANSCRIPTIONS,
    Endpoint,
    upstream_urls,
)
from chatgpt_agent.core.http.request import ApiRequest, parse_request


def parse(endpoint: Endpoint, **body: Any) -> ApiRequest:
    return run_to_end(parse_request(endpoint, json.dumps({"model": "x", **body}).encode(), "application/json"))


def test_urls_are_derived_from_that_of_chat() -> None:
    """The URLs of all endpoints have the prefix of the configured chat URL."""
    assert upstream_urls("https://api.openai.com/v1/chat/completions") == {
        endpoint.name: f"https://api.openai.com{endpoint.path}" for endpoint in ENDPOINTS
    }
    urls = upstream_urls("https://host/eu/v2/chat/completions")
    assert urls["/v1/audio/transcriptions"] == "https://host/eu/v2/audio/transcriptions"


@pytest.mark.parametrize("url", ["https://host/chat", "https://host/v1/chat/completions/", "https://host/completions"])
def test_other_url_serves_chat_only(url: str) -> None:
    """From a chat URL that does not end as OpenAI's, no other URL is derived."""
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
def test_output_limit_is_read(endpoint: Endpoint, body: dict[str, Any], limit: int | None) -> None:
    """The output limit is read under the endpoint's own name for it; of two the larger counts."""
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
def test_number_of_outputs_is_read(endpoint: Endpoint, body: dict[str, Any], choices: int) -> None:
    """The number of outputs is that asked for, times the number of prompts."""
    assert parse(endpoint, **body).choices == choices


@pytest.mark.parametrize("number", [0, -1, 129, 1.0, 1.5, "1", True, [], 10**20])
@pytest.mark.parametrize("key", ["n", "best_of"])
def test_invalid_number_of_outputs_is_refused(key: str, number: object) -> None:
    """A number of outputs on which a budget could not rely is refused."""
    with pytest.raises(InvalidRequest) as caught:
        parse(COMPLETIONS, **{key: number})
    assert caught.value.param == key


@pytest.mark.parametrize("number", [-1, 1.0, "1", True, [], 10**20])
def test_invalid_output_limit_is_refused(number: object) -> None:
    """An output limit that parsers may read differently is refused."""
    with pytest.raises(InvalidRequest) as caught:
        parse(RESPONSES, max_output_tokens=number)
    assert caught.value.param == "max_output_tokens"


def test_predicted_output_is_beyond_the_limit() -> None:
    """A predicted output adds to the output limit, because OpenAI charges what it does not use of it as output."""
    prediction = {"type": "content", "content": [{"type": "text", "text": "x" * 5000}]}
    for stored in (prediction, {"type": "content", "content": "x" * 5000}):
        assert 5100 <= (parse(CHAT, max_tokens=100, prediction=stored).output_limit or 0) <= 5120
    assert parse(CHAT, max_tokens=100, prediction=None).output_limit == 100
    assert parse(CHAT, prediction=prediction).output_limit is None


@pytest.mark.parametrize("tier", [None, "flex", "auto"])
def test_service_tier_is_read(tier: str | None) -> None:
    """The service tier is read from the request."""
    assert parse(CHAT, service_tier=tier).service_tier == tier


@pytest.mark.parametrize("tier", [1, True, "", "FLEX ", "x" * 40, ["flex"]])
def test_invalid_service_tier_is_refused(tier: object) -> None:
    """A service tier that is not a word is refused."""
    with pytest.raises(InvalidRequest) as caught:
        parse(CHAT, service_tier=tier)
    assert caught.value.param == "service_tier"


@pytest.mark.parametrize(
    ("body", "attachments"),
    [
        ({"input": "x"}, 0),
        ({"previous_response_id": None, "conversation": None, "prompt": None}, 0),
        ({"previous_response_id": "resp_1"}, 1),
        ({"conversation": {"id": "conv_1"}, "prompt": {"id": "pmpt_1"}}, 2),
        ({"input": [{"id": "msg_1"}], "tools": [{"type": "web_search"}]}, 2),
    ],
)
def test_references_of_a_response_are_attachments(body: dict[str, Any], attachments: int) -> None:
    """Earlier responses, stored prompts and items, and tools are attachments, because their tokens are input, too."""
    assert parse(RESPONSES, **body).attachments == attachments


def test_prompt_of_completions_is_text() -> None:
    """The prompt of legacy completions is text, not a reference to a stored prompt."""
    request = parse(COMPLETIONS, prompt="x")
    assert (request.attachments, request.input_bytes) == (0, len(request.body))


def test_streams_of_two_endpoints_ask_for_usage() -> None:
    """Only streams of chat and legacy completions are edited to report their usage."""
    streaming = [endpoint for endpoint in METERED if endpoint.can_stream and not endpoint.form]
    assert [each for each in streaming if parse(each, stream=True).hides_usage] == [CHAT, COMPLETIONS]
    assert not parse(CHAT, stream=True, stream_options={"include_usage": True}).hides_usage
    assert not parse(CHAT).hides_usage


def test_input_of_300_000_numbers_is_accepted() -> None:
    """A request for embeddings may have 300,000 tokens as numbers, as many as OpenAI accepts."""
    assert parse(EMBEDDINGS, input=[[1] * 1000] * 300).output_limit == 0


def test_form_is_measured() -> None:
    """The fields of a form are text, and its file is an attachment."""
    form = (
        b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nx\r\n'
        b'--b\r\nContent-Disposition: form-data; name="stream"\r\n\r\ntrue\r\n'
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n\x00\xff\r\n--b--\r\n'
    )
    request = run_to_end(parse_request(TRANSCRIPTIONS, form, "multipart/form-data; boundary=b"))
    assert (request.model, request.stream, request.hides_usage) == ("x", True, False)
    assert (request.input_bytes, request.attachments, request.output_limit, request.choices) == (5, 1, None, 1)


def edit_form(*fields: tuple[str, str]) -> bytes:
    """Returns a form with two images, a mask and these fields."""
    texts = [f'form-data; name="{name}"\r\n\r\n{value}' for name, value in (("model", "x"), *fields)]
    files = [f'form-data; name="{name}"; filename="a.png"\r\n\r\nxyz' for name in ("image[]", "image[]", "mask")]
    parts = [f"--b\r\nContent-Disposition: {part}\r\n" for part in (*texts, *files)]
    return "".join([*parts, "--b--\r\n"]).encode()


def parse_edit(*fields: tuple[str, str]) -> ApiRequest:
    return run_to_end(parse_request(EDITS, edit_form(*fields), "multipart/form-data; boundary=b"))


def test_each_file_of_an_edit_is_an_attachment() -> None:
    """Each image of an edit and its mask is an attachment, and it may ask for several outputs."""
    request = parse_edit(("n", "3"), ("size", "1024x1024"), ("response_format", "b64_json"))
    assert (request.attachments, request.choices, request.stream, request.output_limit) == (3, 3, False, None)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ([("output_format", "svg")], "output_format"),
        ([("svg[model]", "x")], "output_format"),
        ([("SVG", "{}")], "output_format"),
        ([("n", "0")], "n"),
        ([("n", "129")], "n"),
        ([("n", "1e2")], "n"),
        ([("n", "\u0662")], "n"),
        ([("n", "")], "n"),
        ([("N", "1")], "n"),
        ([("n", "1"), ("n", "2")], "n"),
        ([("n", "2"), ("stream", "true")], "n"),
        ([("stream", "1")], "stream"),
    ],
)
def test_edit_that_would_not_be_metered_is_refused(fields: list[tuple[str, str]], param: str) -> None:
    """A form whose outputs the answer would not report, or whose number is unclear, is refused."""
    with pytest.raises(InvalidRequest) as caught:
        parse_edit(*fields)
    assert caught.value.param == param


def test_images_of_an_edit_in_json_are_attachments() -> None:
    """In JSON the images of an edit are attachments, and their base64 is no text."""
    data = "data:image/png;base64," + "A" * 100_000
    request = parse(EDITS, images=[{"image_url": data}, {"file_id": "file-1"}], mask={"image_url": data}, n=2)
    assert (request.attachments, request.choices) == (3, 2)
    assert request.input_bytes < 500


def test_images_of_a_question_are_attachments() -> None:
    """Images in the questions of a decision are attachments, as those of its input are, and JSON in it is text."""
    image = {"type": "input_image", "image_url": "data:image/png;base64," + "A" * 100_000}
    json_part = {"type": "input_json", "data": {"Model": "x", "image_url": "y"}}
    message = {"role": "user", "content": [image, json_part]}
    request = parse(DECISIONS, input=[message], questions=[{"type": "predicate", "instructions": [image, json_part]}])
    assert (request.attachments, request.size.service_tier) == (2, "decisions")
    assert request.input_bytes < 1000


@pytest.mark.parametrize("model", [b"", b"\xff", b"a\x00", "é".encode() * 129, b"x" * 600])
def test_model_in_a_form_that_is_not_a_name_is_refused(model: bytes) -> None:
    """The model in a form must be a name, as in JSON."""
    form = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\n' + model + b"\r\n--b--\r\n"
    with pytest.raises(InvalidRequest) as caught:
        run_to_end(parse_request(TRANSCRIPTIONS, form, "multipart/form-data; boundary=b"))
    assert caught.value.param == "model"
