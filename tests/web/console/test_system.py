"""The system: versions, configuration, health; the documentation of REST."""

import json
from datetime import UTC, datetime
from uuid import UUID

import pytest

from chatgpt_agent import __version__
from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.postgres.agents import AgentReport, report_agent
from chatgpt_agent.adapters.postgres.backups import LastBackup, record_backup
from chatgpt_agent.web.admin.routes import ROUTES
from tests.support.console import ConsoleClient
from tests.support.upstream import Upstream

pytestmark = pytest.mark.shared_agent


async def test_versions_are_shown(admin: ConsoleClient) -> None:
    """They are those of this program and of what it runs on."""
    names = [term.text for term in (await admin.get("/system")).main.all("dt")]
    assert {"chatgpt-agent", "Python", "Tornado", "libcurl", "OpenSSL (libcurl)", "SQLite", "PostgreSQL"} <= set(names)


async def test_every_key_has_its_value_and_source(viewer: ConsoleClient) -> None:
    """A viewer sees them, too; no secret is in the page."""
    page = await viewer.get("/system")
    settings = {row[0]: row[1:] for row in page.rows("settings")}
    assert list(settings) == list(Config.__struct_fields__)
    assert settings["openai_http_version"] == ["1.1", "default"]
    assert settings["database_password"] == ["not shown", "default"]
    assert settings["openai_proxy"] == ["–", "default"]
    assert str(viewer.agent.config.database_url) not in page.html


async def test_database_and_outbox_have_their_sizes(admin: ConsoleClient, upstream: Upstream) -> None:
    """Those of tables, too, the largest first."""
    page = await admin.get("/system")
    facts = {item.one("dt").text: item.one("dd").text for item in page.main.all("div") if len(item.all("dt")) == 1}
    assert facts["Size"].endswith("MiB")
    assert facts["Rows that wait to be shipped"] == "0"
    assert "usage" in [row[0] for row in page.rows("tables")]


async def test_last_backup_is_shown(admin: ConsoleClient) -> None:
    """With its file and machine."""
    last = LastBackup(at=datetime.now(UTC), host="vm", path="/backups/b.tar", size=1, with_key=False, actor="carol")
    await record_backup(admin.agent.store, last)
    assert "/backups/b.tar (vm)" in (await admin.get("/system")).text


async def test_answer_of_openai_is_noted(admin: ConsoleClient, upstream: Upstream) -> None:
    """Before, it was not asked."""
    admin.agent.server.figures.upstream.answered_at = admin.agent.server.figures.upstream.failed_at = None
    assert "not asked since the start" in (await admin.get("/system")).text
    await admin.agent.chat()
    page = await admin.get("/system")
    assert ("answers" in page.text, "not asked" in page.text) == (True, False)


async def test_failure_of_openai_is_marked(admin: ConsoleClient, upstream: Upstream) -> None:
    """With the error's code, until it answers again."""
    contact = admin.agent.server.figures.upstream
    contact.failed_at, contact.error = datetime.now(UTC), "upstream_timeout"
    page = await admin.get("/system")
    assert ("fails" in page.text, "upstream_timeout" in page.text) == (True, True)
    await admin.agent.chat()
    page = await admin.get("/system")
    assert page.main.all("mark", class_="good")[0].text == "answers"


async def test_agent_that_ended_does_not_run(admin: ConsoleClient) -> None:
    """It is listed."""
    await report_agent(admin.agent.store, UUID(int=9), AgentReport(backlog=0, oldest_age=None, lost_rows=0, ended=True))
    page = await admin.get("/system")
    states = {row[0].split()[0]: row[1] for row in page.rows("agents")}
    assert states[str(UUID(int=9))] == "stopped"


@pytest.mark.parametrize("page", ["admins", "setup"])
async def test_viewer_sees_no_link_to_a_closed_page(admin: ConsoleClient, viewer: ConsoleClient, page: str) -> None:
    """Admins do."""
    assert (await admin.get("/system")).main.all("a", href=f"/console/{page}")
    assert not (await viewer.get("/system")).main.all("a", href=f"/console/{page}")


async def test_every_request_of_rest_is_documented(viewer: ConsoleClient) -> None:
    """With what it does."""
    page = await viewer.get("/system/rest")
    assert len(page.rows("requests")) == len(ROUTES)


async def test_openapi_document_is_a_file(viewer: ConsoleClient) -> None:
    """The same as over REST, without a token."""
    answer = await viewer.file("/system/openapi.json")
    document = json.loads(answer.body)
    assert (answer.header("Content-Type"), document["info"]["version"]) == ("application/json", __version__)
    assert "/api/v1/system" in document["paths"]
