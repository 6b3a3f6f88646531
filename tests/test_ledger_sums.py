"""After 200 mixed requests the sums of the ledger are exactly those of the upstream."""

import asyncio
import json
import random
from decimal import Decimal
from fractions import Fraction

from tests.support.agent import Agent
from tests.support.commands import Cli
from tests.support.postgres_server import url_of
from tests.support.upstream import Upstream

KINDS = ("chat", "stream", "stream with usage", "error", "disconnect before the answer", "disconnect in mid-stream")
PRICE = (Fraction("0.15"), Fraction("0.075"), Fraction("0.60"))  # input, cached input, output


async def send(agent: Agent, kind: str) -> None:
    """Sends a request of a kind."""
    if kind == "chat":
        assert (await agent.chat("delay=0.01")).status == 200
    elif kind == "stream":
        assert (await agent.chat("chunks=5 gap=0.002", stream=True)).complete
    elif kind == "stream with usage":
        assert (await agent.chat("chunks=5", stream=True, stream_options={"include_usage": True})).complete
    elif kind == "error":
        assert (await agent.chat("status=429")).status == 429
    else:
        before = kind == "disconnect before the answer"
        connection = await agent.begin("delay=0.2" if before else "chunks=20 gap=0.01", stream=not before)
        if before:
            await asyncio.sleep(0.05)
        else:
            await connection.head()
            await connection.chunk()
        await connection.close()


async def test_sums_of_200_mixed_requests(agent: Agent, upstream: Upstream) -> None:
    """Each request that was sent has one row with OpenAI's tokens and cost, and the report has the same sums."""
    kinds = [KINDS[n % len(KINDS)] for n in range(200)]
    random.Random(4).shuffle(kinds)
    places = asyncio.Semaphore(16)

    async def limited(kind: str) -> None:
        async with places:
            await send(agent, kind)

    await asyncio.gather(*map(limited, kinds))
    await agent.until(lambda: agent.server.lifecycle.in_progress == 0)
    rows = await agent.rows()

    dispatched = [str(request.header("x-client-request-id")) for request in upstream.requests]
    # A client that left before its request was sent has a row that says so, and cost nothing.
    assert sorted(row["request_id"] for row in rows if row["state"] != "not_sent") == sorted(dispatched)
    billed = list(upstream.billed.values())
    tokens = [sum(row[f"{name}_tokens"] or 0 for row in rows) for name in ("input", "cached", "output")]
    assert tokens == [sum(counts) for counts in zip(*billed, strict=True)]
    cost = sum(
        ((inputs - cached) * PRICE[0] + cached * PRICE[1] + outputs * PRICE[2]) / 1_000_000
        for inputs, cached, outputs in billed
    )
    assert sum(Fraction(row["cost"]) for row in rows) == cost

    assert agent.config.database_url is not None
    cli = Cli({"DATABASE_URL": url_of(agent.config.database_url), "DATA_DIR": str(agent.config.data_dir)})
    report = json.loads(await cli.command("usage", "report", "--format", "json"))
    assert Fraction(Decimal(report["total"]["cost"])) == cost
    assert (report["total"]["requests"], report["total"]["input_tokens"]) == (len(rows), tokens[0])
