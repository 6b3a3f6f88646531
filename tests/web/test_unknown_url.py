"""URLs without a handler: the answer names the one that was probably meant."""

import pytest

from chatgpt_agent.web.unknown_url import similar_path
from tests.support.agent import Agent

PATHS = ["/chat", "/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/models", "/me", "/me/usage"]


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/chat/completions", "/v1/chat/completions"),
        ("/v1/chat/completions/", "/v1/chat/completions"),
        ("/v1/v1/chat/completions", "/v1/chat/completions"),
        ("/openai/v1/chat/completions", "/v1/chat/completions"),
        ("//v1/chat/completions", "/v1/chat/completions"),
        ("/v1/chat/completion", "/v1/chat/completions"),
        ("/V1/chat/completions", "/v1/chat/completions"),
        ("/completions", "/v1/completions"),
        ("/api/embeddings", "/v1/embeddings"),
        ("/models", "/v1/models"),
        ("/me/usages", "/me/usage"),
        ("/v1/files", None),
        ("/v1", None),
        ("/", None),
        ("/favicon.ico", None),
    ],
)
def test_path_that_was_probably_meant_is_named(path: str, meant: str | None) -> None:
    """What stands before it, a slash at the end and small mistakes do not matter."""
    assert similar_path(path, PATHS) == meant


async def test_answer_says_what_was_probably_meant(agent: Agent) -> None:
    """The base URL of a client has a prefix that the agent has not."""
    answer = await agent.post(agent.body(), "/api/chat/completions/")
    assert answer.status == 404
    assert answer.error["message"] == (
        "Unknown request URL: POST /api/chat/completions/. Did you mean /v1/chat/completions?"
    )
