"""The line of a request as JSON, and the same as text."""

import json
import logging
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from chatgpt_agent.adapters.logs import JsonFormatter
from tests.support.agent import MODEL, Agent
from tests.support.client import fetch

pytestmark = pytest.mark.shared_agent


@pytest.fixture(autouse=True)
def at_info(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """The log has its usual level."""
    with caplog.at_level(logging.INFO, "chatgpt_agent.access"):
        yield


def access_records(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """The records of requests."""
    return [record for record in caplog.records if record.name == "chatgpt_agent.access"]


def fields(caplog: pytest.LogCaptureFixture) -> dict[str, Any]:
    """The JSON object of the only request, without its time."""
    [record] = access_records(caplog)
    line: dict[str, Any] = json.loads(JsonFormatter().format(record))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    return line


async def test_line_of_an_answer_has_typed_fields(agent: Agent, caplog: pytest.LogCaptureFixture) -> None:
    """Numbers are numbers; the cost is a text, so that no reader rounds it."""
    answer = await agent.chat(stream=True)
    line = fields(caplog)
    assert Decimal(line.pop("cost")) > 0
    assert [type(line.pop(name)) for name in ("duration_ms", "first_byte_ms", "token_id")] == [float, int, int]
    assert line.pop("request_id") == answer.header("X-Agent-Request-Id")
    assert min(line.pop("input_tokens"), line.pop("output_tokens")) > 0
    assert line == {
        "level": "INFO",
        "logger": "chatgpt_agent.access",
        "message": "POST /v1/chat/completions 200",
        "method": "POST",
        "path": "/v1/chat/completions",
        "status": 200,
        "user": "alice",
        "error": None,
        "reason": None,
        "model": MODEL,
        "streamed": True,
        "state": "done",
    }


async def test_line_of_a_refusal_has_the_same_fields(agent: Agent, caplog: pytest.LogCaptureFixture) -> None:
    """What is not known is null: there is neither a row nor a user."""
    await fetch(f"{agent.url}/v1/models?q=secret", "GET")
    line = fields(caplog)
    assert (line["user"], line["token_id"], line["error"]) == (None, None, "invalid_api_key")
    assert (line["path"], line["reason"]) == ("/v1/models", "missing or malformed")
    assert {line[name] for name in ("model", "state", "cost", "input_tokens", "first_byte_ms")} == {None}


async def test_line_as_text_is_one_line_of_words(agent: Agent, caplog: pytest.LogCaptureFixture) -> None:
    """Programs that read the log rely on it."""
    answer = await agent.chat()
    [record] = access_records(caplog)
    assert re.fullmatch(
        rf"POST /v1/chat/completions 200 \d+\.\dms id={answer.header('X-Agent-Request-Id')} user=alice token=\d+ "
        rf"model={MODEL} state=done tokens=\d+\+\d+ cost=0\.\d+",
        record.getMessage(),
    )
