"""`GET /metrics`: it counts what happens, only those who may read it do, and no client adds a series."""

import asyncio
import time
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

from chatgpt_agent.adapters.postgres.backups import LastBackup, record_backup
from chatgpt_agent.adapters.postgres.ledger_checks import RECONCILE, VERIFY, LedgerCheck, add_check
from chatgpt_agent.admin.admins import Role
from chatgpt_agent.core.metrics import METRICS, PREFIX
from chatgpt_agent.runtime.tuning import Tuning
from tests.conftest import MakeAgent
from tests.support.agent import MODEL, Agent
from tests.support.client import Connection, fetch, request_bytes
from tests.support.metrics import Series, parse, read, scrape, series
from tests.support.monitoring import needs_promtool, promtool, used_series
from tests.support.upstream import Received, Reply, Upstream

pytestmark = pytest.mark.shared_agent(tuning=Tuning(stored_figures=0.05))

CHAT = "/v1/chat/completions"
NOW = datetime(2026, 11, 28, 3, tzinfo=UTC)


async def growth(agent: Agent, before: dict[Series, float], key: Series) -> float:
    """By how much a counter has grown."""
    return (await read(agent))[key] - before.get(key, 0.0)


async def test_counters_agree_with_the_ledger(agent: Agent) -> None:
    """Requests, token counts and cost of a model are those of the rows."""
    before = await read(agent)
    await agent.chat()
    await agent.chat(stream=True)
    rows, after = await agent.rows(2), await read(agent)
    grown = {key: value - before.get(key, 0.0) for key, value in after.items()}
    assert grown[series("requests_total", endpoint=CHAT, state="done")] == 2
    for name, kind, column in (
        ("tokens_total", "input", "input_tokens"),
        ("tokens_total", "output", "output_tokens"),
        ("token_parts_total", "cached", "cached_tokens"),
    ):
        assert grown[series(name, model=MODEL, kind=kind)] == sum(row[column] for row in rows)
    cost = float(sum((row["cost"] for row in rows), Decimal(0)))
    assert grown[series("cost_usd_total", model=MODEL)] == pytest.approx(cost, rel=1e-6)


async def test_durations_are_counted_once_a_request(agent: Agent) -> None:
    """A stream's end may be seen twice, in its last event and in its framing."""
    before = await read(agent)
    await agent.chat(stream=True)
    await agent.chat()
    for key in (
        series("request_duration_seconds_count", endpoint=CHAT),
        series("first_byte_seconds_count", endpoint=CHAT),
        series("own_seconds_count"),
    ):
        assert await growth(agent, before, key) == 2


async def test_time_of_openai_is_not_the_agents_own(agent: Agent) -> None:
    """OpenAI takes half a second, in which the agent waits."""
    before, began = await read(agent), time.monotonic()
    await agent.chat("delay=0.5")
    elapsed = time.monotonic() - began
    assert await growth(agent, before, series("request_duration_seconds_sum", endpoint=CHAT)) >= 0.45
    assert 0 < await growth(agent, before, series("own_seconds_sum")) <= elapsed - 0.45


async def test_request_in_progress_is_counted(agent: Agent, upstream: Upstream) -> None:
    """From its admission to its end."""
    released = asyncio.Event()

    async def wait(request: Received, reply: Reply) -> None:
        await released.wait()
        await upstream.openai(request, reply)

    upstream.script = wait
    connection = await agent.begin()
    await agent.until(lambda: upstream.requests)
    assert (await read(agent))[series("requests_in_progress")] == 1
    released.set()
    await connection.answer()
    await connection.close()
    await agent.until(lambda: agent.server.admissions.running == 0)
    assert (await read(agent))[series("requests_in_progress")] == 0


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"GET /v1/oops HTTP/1.1\r\nHost: a\r\n\r\n", "unknown_url"),
        (b"GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n", "invalid_api_key"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 40_000 + b"\r\n\r\n", "request_head_too_large"),
    ],
)
async def test_refusal_is_counted_by_its_code(agent: Agent, raw: bytes, reason: str) -> None:
    """By a handler, and where no handler is reached."""
    before = await read(agent)
    connection = await Connection.open(agent.url)
    await connection.send(raw)
    answer = await connection.answer()
    await connection.close()
    assert answer.error["code"] == reason
    assert await growth(agent, before, series("refusals_total", reason=reason)) == 1


async def test_errors_of_administration_are_not_clients_refusals(agent: Agent) -> None:
    """The other port has other users."""
    before = await read(agent)
    await fetch(f"{agent.admin_url}/api/v1/users")
    assert await growth(agent, before, series("refusals_total", reason="invalid_api_key")) == 0


@pytest.mark.parametrize(("content", "status"), [("status=429", "429"), ("status=418", "other"), ("status=401", "401")])
async def test_error_of_openai_is_counted_by_its_status(agent: Agent, content: str, status: str) -> None:
    """A status that has no series of its own is counted as other ones, a refused key by its status."""
    before = await read(agent)
    await agent.chat(content)
    assert await growth(agent, before, series("upstream_errors_total", status=status)) == 1
    assert await growth(agent, before, series("refusals_total", reason="upstream_key_rejected")) == 0


async def test_lost_exchange_is_counted_by_its_code(agent: Agent, upstream: Upstream) -> None:
    """There is no status where the connection ends before an answer."""

    async def hang_up(_: Received, reply: Reply) -> None:
        await reply.close()

    upstream.script = hang_up
    before = await read(agent)
    await agent.chat()
    assert await growth(agent, before, series("upstream_errors_total", status="upstream_lost")) == 1


async def test_no_client_adds_a_series(agent: Agent) -> None:
    """Models, paths, methods, tokens and statuses are any text. A fine-tuned model counts for that of its price."""
    await agent.set_price(f"ft:{MODEL}", "3", "6")
    for model in (MODEL, f"ft:{MODEL}:acme::one"):
        assert (await agent.chat(model=model)).status == 200
    before = set(await read(agent))
    connection = await Connection.open(agent.url)
    for number in range(1000):
        body = agent.body(model=f"model-{number}", user=f"user-{number}")
        await connection.send(request_bytes("POST", CHAT, agent.headers(), body))
        await connection.answer()
    for number in range(1000):
        await connection.send(request_bytes("GET", f"/v1/{number}", agent.headers(**{f"X-{number}": "1"}), b""))
        await connection.answer()
    await connection.close()
    for number in range(50):
        await agent.chat(f"status={400 + number}")
        await fetch(agent.url + CHAT, f"ODD{number}", agent.headers())
    assert (await agent.chat(model=f"ft:{MODEL}:acme::other")).status == 200
    assert set(await read(agent)) == before


async def test_shipped_row_is_no_longer_in_the_outbox(agent: Agent) -> None:
    """It is counted as shipped, and nothing waits."""
    before = await read(agent)
    await agent.chat()
    await agent.rows(1)
    after = await read(agent)
    shipped = series("ledger_shipped_rows_total")
    assert after[shipped] - before[shipped] == 1
    assert [after[series(name)] for name in ("outbox_rows", "outbox_oldest_seconds", "ledger_writable")] == [0, 0, 1]


@pytest.mark.own_agent
async def test_directory_that_is_not_read_is_seen(agent: Agent) -> None:
    """The database does not answer, and the copy gets older."""
    directory = agent.server.directory
    assert (await read(agent))[series("database_up")] == 1
    await directory.background.close()
    directory.connected = False
    lags = [await read(agent) for _ in range(2)]
    assert [each[series("database_up")] for each in lags] == [0, 0]
    assert lags[0][series("directory_lag_seconds")] < lags[1][series("directory_lag_seconds")]


@pytest.mark.parametrize(("model", "unpriced"), [(MODEL, 0), ("gpt-6-lunar", 1)])
@pytest.mark.own_agent
async def test_model_without_a_price_is_counted(agent: Agent, model: str, unpriced: int) -> None:
    """Until it has one."""
    await agent.post(agent.body(model=model))
    assert (await read(agent))[series("unpriced_models")] == unpriced
    await agent.set_price(model, "1", "2")
    assert (await read(agent))[series("unpriced_models")] == 0


# Who may read them.


async def test_openmetrics_is_answered_where_it_is_asked_for(agent: Agent) -> None:
    """Prometheus asks for it by default."""
    answer = await scrape(agent, Accept="application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5")
    assert answer.header("Content-Type") == (
        "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores"
    )
    families = parse_openmetrics(answer.body.decode())  # type: ignore[no-untyped-call]
    assert f"{PREFIX}requests" in {family.name for family in families}


@needs_promtool
async def test_promtool_has_no_objection(agent: Agent) -> None:
    """Names, types and units are as Prometheus wants them."""
    await agent.chat()
    answer = await scrape(agent)
    await asyncio.to_thread(promtool, "check", "metrics", stdin=answer.body.decode())


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded"])
async def test_client_of_an_unknown_proxy_needs_a_token(agent: Agent, header: str) -> None:
    """Its connection comes from this machine, it itself from anywhere."""
    assert (await scrape(agent, **{header: "192.0.2.1"})).status == 401


@pytest.mark.shared_agent(metrics_networks=("192.0.2.0/24",), trusted_proxies=("127.0.0.1",))
@pytest.mark.parametrize(("client", "status"), [("192.0.2.9", 200), ("192.0.3.9", 401)])
async def test_client_behind_a_trusted_proxy_counts_by_its_address(agent: Agent, client: str, status: int) -> None:
    """The proxy's own address plays no part."""
    assert (await scrape(agent, **{"X-Forwarded-For": client})).status == status


@pytest.mark.shared_agent(metrics_networks=("127.0.0.0/8",), trusted_proxies=("127.0.0.1",))
async def test_client_in_a_header_that_is_not_read_needs_a_token(agent: Agent) -> None:
    """A trusted proxy that sends Forwarded alone does not say who its client is."""
    answers = [await scrape(agent, Forwarded="for=192.0.2.1"), await scrape(agent)]
    assert [answer.status for answer in answers] == [401, 200]


@pytest.mark.shared_agent(metrics_networks=())
async def test_admins_token_reads_without_a_network(agent: Agent) -> None:
    """A viewer's is enough; a user's token and none at all are refused."""
    viewer = await agent.admin_token("vic", Role.VIEWER)
    answers = [
        await scrape(agent),
        await scrape(agent, Authorization=f"Bearer {agent.token}"),
        await scrape(agent, Authorization=f"Bearer {viewer}"),
    ]
    assert [answer.status for answer in answers] == [401, 401, 200]


@pytest.mark.parametrize(
    ("host", "status"), [("localhost:8081", 200), ("10.1.2.3:8081", 200), ("[::1]", 200), ("rebound.example", 421)]
)
async def test_foreign_name_is_refused(agent: Agent, host: str, status: int) -> None:
    """A web page may have given this machine's address to its own name, which is read without signing in."""
    assert (await scrape(agent, host)).status == status


async def test_only_get_and_head(agent: Agent) -> None:
    """Nothing can be sent to it."""
    answer = await fetch(f"{agent.admin_url}/metrics", "POST", {"Host": "localhost"}, b"x")
    assert (answer.status, answer.header("Allow")) == (405, "GET, HEAD")


# What only the database knows.


async def test_every_metric_is_exposed(agent: Agent) -> None:
    """All of the table, once each kind of value exists, and no other; the figures of the database are in it."""
    store = agent.store
    await agent.chat()
    for kind, findings in ((VERIFY, 2), (RECONCILE, 0)):
        days = [(NOW.date(), Decimal("1.25"), Decimal("1.5"))] if kind == RECONCILE else []
        check = LedgerCheck(kind=kind, at=NOW, actor="carol", findings=findings, summary="")
        await add_check(store, check, days)
    await record_backup(store, LastBackup(at=NOW, host="vm", path="/b", size=1, with_key=False, actor="carol"))
    await store.fetch("INSERT INTO dead_letters VALUES (gen_random_uuid(), '{}', 'made up', now())")
    token = (await agent.administration.tokens.issue("alice")).id
    await store.fetch("UPDATE tokens SET expires_at = now() + interval '3 days' WHERE id = %s", [token])
    read_at = (await read(agent))[series("database_read_timestamp_seconds")]
    stored = agent.server.stored_figures
    await agent.until(lambda: stored.stored and stored.stored.at > read_at and stored.stored.backup_at)
    values = await read(agent)
    expected = {
        "verify_ok": 0,
        "verify_timestamp_seconds": NOW.timestamp(),
        "reconcile_timestamp_seconds": NOW.timestamp(),
        "reconcile_difference_usd": 0.25,
        "backup_timestamp_seconds": NOW.timestamp(),
        "dead_letters": 1,
        "tokens_expiring": 1,
        "budget_alerts_waiting": 0,
    }
    assert {name: values[series(name)] for name in expected} == expected
    names = {name for name, _ in values if not name.startswith("process_")}
    assert {name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count") for name in names} == {
        metric.full_name for metric in METRICS
    }
    # What is not measured cannot be drawn, and no alert comes of it.
    assert used_series() <= {name for name, _ in values}


async def test_outbox_of_unknown_size_is_left_out(make_agent: MakeAgent) -> None:
    """The reading goes on, and so does the agent; a link that leads to itself can have no size."""
    agent = await make_agent(tuning=Tuning(stored_figures=0.05))
    stored = agent.server.stored_figures
    (agent.config.data_dir / "outbox.db.loop").symlink_to("outbox.db.loop")
    await agent.until(lambda: stored.outbox_bytes is None)
    assert series("outbox_bytes") not in await read(agent)
    (agent.config.data_dir / "outbox.db.loop").unlink()
    await agent.until(lambda: stored.outbox_bytes)


async def test_scrape_does_not_wait_for_postgresql(agent: Agent) -> None:
    """The connection on which the figures are read is busy all the time."""
    slow = asyncio.create_task(agent.server.admin_stores.reports.fetch("SELECT pg_sleep(20)"))
    running = "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%%pg_sleep(20)' AND pid <> pg_backend_pid()"
    while not await agent.store.fetch(running):
        pass
    async with asyncio.timeout(10):
        values = parse(await scrape(agent))
    assert series("dead_letters") in values
    slow.cancel()
    await asyncio.gather(slow, return_exceptions=True)
