"""Forms as HTTP libraries send them, through a running agent."""

from pathlib import Path

import pytest

from tests.support.agent import Agent
from tests.support.client import fetch
from tests.support.upstream import Upstream

FORMS = sorted((Path(__file__).parents[1] / "core" / "http" / "forms").glob("*.form"))
PATH = "/v1/audio/transcriptions"

pytestmark = pytest.mark.shared_agent


async def test_forms_of_http_libraries_pass_unchanged(agent: Agent, upstream: Upstream) -> None:
    """The form of each library is answered, and OpenAI receives its bytes and its Content-Type."""
    await agent.set_price("gpt-4o-transcribe", "2.5", "10")
    assert len(FORMS) > 20
    for path in FORMS:
        content_type, body = path.read_bytes().split(b"\r\n\r\n", 1)
        headers = agent.headers(**{"Content-Type": content_type.decode()})
        answer = await fetch(agent.url + PATH, "POST", headers, body)
        agent.answers.append(answer)
        assert answer.status == 200, (path.name, answer.body)
        received = upstream.requests[-1]
        assert (received.body, received.header("content-type")) == (body, content_type.decode()), path.name


async def test_refused_form_names_the_rule(agent: Agent, upstream: Upstream) -> None:
    """A form that can be read in two ways is refused with the rule that it breaks, and is not sent."""
    body = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a\\"; name="model"\r\n\r\nx\r\n--b--'
    answer = await agent.post(body, PATH, **{"Content-Type": "multipart/form-data; boundary=b"})
    assert (answer.status, answer.error["code"], upstream.requests) == (400, "invalid_request", [])
    assert "the Content-Disposition of a part must be" in answer.error["message"]
