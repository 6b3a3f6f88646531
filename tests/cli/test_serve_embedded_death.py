"""The embedded PostgreSQL dies while the agent serves."""

import json
import os
import signal
from pathlib import Path

import pytest

from tests.support.client import fetch
from tests.support.commands import Cli
from tests.support.database import query
from tests.support.serving import Serve, chat, postmaster, with_user
from tests.support.upstream import Upstream
from tests.support.waiting import until

pytestmark = pytest.mark.slow


async def test_killed_database_is_started_again_and_loses_nothing(
    embedded: Cli, folder: Path, upstream: Upstream
) -> None:
    """Requests are served meanwhile; their rows arrive once it runs again, and readiness shows both."""
    embedded.settings["OPENAI_URL"] = upstream.url
    async with Serve(embedded.settings) as agent:
        url = await agent.ready()
        token = await with_user(embedded)
        await until(lambda: chat(url, token), lambda answer: answer.status == 200)
        os.kill(int(postmaster(folder).read_text().splitlines()[0]), signal.SIGKILL)
        assert (await chat(url, token)).status == 200
        await agent.logged("the embedded PostgreSQL runs again")

        async def state() -> tuple[str, int]:
            body = json.loads((await fetch(f"{url}/readyz")).body)
            return body["database"], body["backlog"]

        await until(state, lambda state: state == ("connected", 0))
        assert (await chat(url, token)).status == 200
        host = postmaster(folder).parent
        dsn = f"host='{host}' port=5432 user=postgres dbname=postgres"
        await until(
            lambda: query(dsn, "SELECT count(*), count(DISTINCT request_id) FROM usage"), lambda r: r == [(3, 3)]
        )
        assert await agent.stopped() == 0
    assert not postmaster(folder).exists()
