"""Rows, their corrections, and the comparison with OpenAI's figures over REST."""

import asyncio
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from chatgpt_agent.adapters.postgres.export import EXPORT_COLUMNS
from chatgpt_agent.admin.ledger import UsageRow
from tests.support.administrator import Administrator
from tests.support.agent import MODEL, Agent
from tests.support.database import query

pytestmark = pytest.mark.shared_agent

CORRECTION = {"input": 1000, "output": 100, "cached": 200, "reason": "as OpenAI counts it"}


async def row_of(admin: Administrator) -> dict[str, Any]:
    row: dict[str, Any] = (await admin.ask("GET", f"/ledger/rows/{admin.row}")).json
    return row


async def correct(admin: Administrator, **other: Any) -> Any:
    return await admin.ask("POST", f"/ledger/rows/{admin.row}/correction", {**CORRECTION, **other})


def figures(row: dict[str, Any], **other: Any) -> dict[str, Any]:
    """OpenAI's page with the day of a row, as it counts it, or otherwise."""
    day = int(datetime.now(UTC).timestamp()) // 86_400 * 86_400
    result = {
        "object": "organization.usage.completions.result",
        "num_model_requests": 1,
        "input_tokens": row["input_tokens"],
        "input_cached_tokens": row["cached_tokens"],
        "output_tokens": row["output_tokens"],
        "model": row["served_model"],
        "api_key_id": "key_alice",
        **other,
    }
    return {"data": [{"start_time": day, "end_time": day + 86_400, "results": [result]}]}


# Rows.


def test_row_has_every_column_of_the_export() -> None:
    """The day is missing, which depends on the configured time zone."""
    assert {*EXPORT_COLUMNS} - {*UsageRow.__struct_fields__} == {"day"}


async def test_row_names_its_token_and_endpoint(admin: Administrator) -> None:
    """A row shows what was requested."""
    row = await row_of(admin)
    assert (row["token_id"], row["endpoint"], row["model"]) == (1, "/v1/chat/completions", MODEL)
    assert row["token"].startswith("cga_")
    assert (row["uncertain_cost"], row["corrects"], row["reason"]) == ("0", None, None)


# Verification.


async def test_findings_include_rows_that_wait_too_long(admin: Administrator) -> None:
    """GET /ledger/findings reports an agent whose oldest row has waited for more than `waiting` seconds."""
    agent = UUID(int=7)
    query(
        str(admin.agent.config.database_url),
        "INSERT INTO agents VALUES (%s, now(), NULL, 5, now() - interval '1 hour') RETURNING 1",
        [str(agent)],
    )
    [finding] = (await admin.ask("GET", "/ledger/findings")).json["findings"]
    assert (finding["check"], finding["subject"]) == ("outbox", f"agent {agent}")
    assert finding["text"].startswith("5 rows wait to be shipped; the oldest began at ")
    assert (await admin.ask("GET", "/ledger/findings?waiting=7200")).json == {"findings": []}
    query(str(admin.agent.config.database_url), "DELETE FROM agents WHERE id = %s", [str(agent)])


async def test_rows_of_several_states_are_listed(admin: Administrator) -> None:
    """`state` may be repeated: rows in any of the states are listed."""
    for states, count in (("state=done&state=unknown", 1), ("state=unknown&state=incomplete", 0)):
        assert len((await admin.ask("GET", f"/ledger/rows?{states}")).json["data"]) == count


async def test_status_counts_rows_since_a_time(admin: Administrator) -> None:
    """`since` leaves out older rows."""
    assert [row["rows"] for row in (await admin.ask("GET", "/ledger/status")).json["rows"]] == [1]
    assert (await admin.ask("GET", "/ledger/status?since=2999-01-01T00:00:00Z")).json["rows"] == []


async def test_status_has_unknown_usage_fields(admin: Administrator, agent: Agent) -> None:
    """The answers of all agents are added."""
    sql = "INSERT INTO agents (id, seen_at, backlog, unknown_usage_fields) VALUES (gen_random_uuid(), now(), 0, %s)"
    for fields in ({"a": 2, "b": 1}, {"a": 3}):
        await agent.store.fetch(sql, [json.dumps(fields)])
    assert (await admin.ask("GET", "/ledger/status")).json["unknown_usage_fields"] == {"a": 5, "b": 1}


# Corrections.


async def test_row_is_corrected(admin: Administrator) -> None:
    """The correction is a row with the reason, and its cost is computed at the price of the corrected row."""
    before = await row_of(admin)
    answer = await correct(admin)
    done = answer.json
    assert (answer.status, done["corrects"]) == (201, admin.row)
    assert done["after"].items() >= {"input": 1000, "cached": 200, "output": 100}.items()
    rows = (await admin.ask("GET", "/ledger/rows?state=correction")).json["data"]
    assert [(row["request_id"], row["corrects"], row["reason"]) for row in rows] == [
        (done["request_id"], admin.row, CORRECTION["reason"])
    ]
    assert rows[0]["input_tokens"] == 1000 - before["input_tokens"]
    assert Decimal(rows[0]["cost"]) == Decimal(done["cost_after"]) - Decimal(done["cost_before"])


async def test_every_count_is_corrected(admin: Administrator, agent: Agent) -> None:
    """Calls are charged what was in force, and counts that are not named stay."""
    await agent.administration.surcharges.set("web_search", Decimal("0.01"), since=datetime(2020, 1, 1, tzinfo=UTC))
    before = await row_of(admin)
    right = {"input": before["input_tokens"], "output": before["output_tokens"], "cached": before["cached_tokens"]}
    answer = await correct(admin, **right, cache_write=1, web_search_calls=3)
    assert (answer.status, answer.json["after"]["web_search_calls"], answer.json["after"]["cache_write"]) == (201, 3, 1)
    assert answer.json["after"]["reasoning"] == before["reasoning_tokens"]
    [row] = (await admin.ask("GET", "/ledger/rows?state=correction")).json["data"]
    assert (row["web_search_calls"], row["surcharges"], row["seconds"]) == (3, {"web_search": "0.01"}, "0")
    assert (await admin.ask("GET", "/usage")).json["total"]["web_search_calls"] == 3
    assert (await admin.ask("GET", "/ledger/findings")).json == {"findings": []}


@pytest.mark.parametrize("seconds", [1.5, "1e3", "-1", "NaN", "", "0." + "0" * 20 + "1"])
async def test_seconds_are_read_exactly(admin: Administrator, seconds: object) -> None:
    """They are text in plain decimal notation, as they are written."""
    answer = await correct(admin, seconds=seconds)
    assert (answer.status, "seconds as text" in answer.error["message"]) == (400, True)


async def test_report_includes_corrections(admin: Administrator) -> None:
    """The ledger stays consistent."""
    done = (await correct(admin)).json
    assert (await admin.ask("GET", "/usage")).json["total"]["cost"] == done["cost_after"]
    assert (await admin.ask("GET", "/ledger/findings")).json == {"findings": []}


async def test_row_is_corrected_once(admin: Administrator) -> None:
    """A second correction is answered with 409, also if two are sent at once."""
    answers = await asyncio.gather(correct(admin), correct(admin, input=5000))
    assert sorted(answer.status for answer in answers) == [201, 409]
    assert (await correct(admin, input=6000)).error["code"] == "conflict"


async def test_invalid_correction_is_rejected(admin: Administrator) -> None:
    """The answer is 422 for too many cached tokens, an empty reason or unchanged counts; 404 for an unknown row."""
    row = await row_of(admin)
    same = {name: row[f"{name}_tokens"] for name in ("input", "output", "cached")}
    for other in ({"cached": 1001}, {"reason": " "}, same):
        assert (await correct(admin, **other)).status == 422
    answer = await admin.ask("POST", f"/ledger/rows/{UUID(int=7)}/correction", CORRECTION)
    assert (answer.status, answer.error["code"]) == (404, "not_found")


async def test_correction_is_in_the_audit_log(admin: Administrator) -> None:
    """The log has the actor and the reason."""
    await correct(admin)
    [line] = (await admin.ask("GET", "/audit?object=usage")).json["data"]
    assert (line["actor"], line["via"], line["after"]["reason"]) == ("carol", "rest", CORRECTION["reason"])


# OpenAI's figures.


async def test_equal_figures_are_reported(admin: Administrator) -> None:
    """The answer has the compared sums."""
    row = await row_of(admin)
    answer = (await admin.ask("POST", "/ledger/reconcile", figures(row))).json
    assert (answer["equal"], answer["lines"], answer["cost_days"]) == (True, [], None)
    assert answer["total"]["ledger_input"] == answer["total"]["openai_input"] == row["input_tokens"]


async def test_difference_has_both_sides(admin: Administrator) -> None:
    """Differences are by day, model and user; several pages are compared together."""
    row = await row_of(admin)
    pages = [figures(row, input_tokens=row["input_tokens"] + 7), figures(row, model="other", num_model_requests=2)]
    answer = (await admin.ask("POST", "/ledger/reconcile?key=key_alice=alice", pages)).json
    [line] = [line for line in answer["lines"] if line["model"] == row["served_model"]]
    assert (answer["equal"], len(answer["lines"])) == (False, 2)
    assert (line["user"], line["openai_input"] - line["ledger_input"], line["ledger_requests"]) == ("alice", 7, 1)


async def test_line_items_of_the_bill_are_named(admin: Administrator) -> None:
    """A difference has a sentence, its finding and what OpenAI charged; the largest amount comes first."""
    day = int(datetime.now(UTC).timestamp()) // 86_400 * 86_400
    items = {"something new": 0.5, "web search tool calls": 3.2}
    results = [
        {
            "object": "organization.costs.result",
            "amount": {"value": value, "currency": "usd"},
            "line_item": name,
            "api_key_id": "key_alice",
            "quantity": 320.0,
        }
        for name, value in items.items()
    ]
    page = {"data": [{"start_time": day, "end_time": day + 86_400, "results": results}]}
    answer = (await admin.ask("POST", "/ledger/reconcile?key=key_alice=alice", page)).json
    search, unknown = [line for line in answer["lines"] if line["kind"] and not line["model"]]
    date = f"{datetime.now(UTC):%Y-%m-%d}"
    assert search["text"] == f"web search: 320 calls, 3.20 USD, user alice, {date}: not in the ledger"
    assert (search["finding"], search["openai_calls"], search["openai_cost"]) == ("not_in_ledger", 320, "3.2")
    assert search["line_items"] == [
        {"line_item": "web search tool calls", "amount": "3.2", "quantity": "320", "unit": None}
    ]
    assert (unknown["finding"], unknown["name"], unknown["openai_cost"]) == ("not_recognized", "something new", "0.5")


async def test_amounts_of_openai_are_exact(admin: Administrator) -> None:
    """Every digit of the JSON is kept."""
    day = int(datetime.now(UTC).timestamp()) // 86_400 * 86_400
    cost = '{"object": "organization.costs.result", "amount": {"value": 0.12345678901234567890123, "currency": "usd"}}'
    body = f'{{"data": [{{"start_time": {day}, "end_time": {day + 86_400}, "results": [{cost}]}}]}}'.encode()
    answer = (await admin.ask("POST", "/ledger/reconcile", body)).json
    assert answer["total"]["openai_cost"] == "0.12345678901234567890123"


async def test_export_of_the_dashboard_is_read(admin: Administrator) -> None:
    """CSV is accepted, and `month` compares all of it."""
    body = f"start_time,model,num_model_requests,input_tokens,output_tokens\n{datetime.now(UTC).date()},m,0,0,0\n"
    month = f"{datetime.now(UTC):%Y-%m}"
    answer = await admin.ask("POST", f"/ledger/reconcile?month={month}", body.encode(), Content_Type="text/csv")
    assert answer.json["usage_days"]["first"] == f"{month}-01"


async def test_invalid_figures_are_rejected(admin: Administrator) -> None:
    """The answer is 422 for invalid figures, 404 for an unknown user, 400 for an invalid month."""
    for body in (b"{", b"[]", b"{}", b"a,b\n", b"\xff"):
        assert (await admin.ask("POST", "/ledger/reconcile", body)).status == 422
    body = json.dumps(figures(await row_of(admin))).encode()
    assert (await admin.ask("POST", "/ledger/reconcile?key=key_x=zoe", body)).status == 404
    assert (await admin.ask("POST", "/ledger/reconcile?key=a=alice&key=a=bob", body)).status == 422
    assert (await admin.ask("POST", "/ledger/reconcile?month=2026-13", body)).status == 400


async def test_viewer_may_compare_figures(viewer: Administrator) -> None:
    """A comparison changes nothing; a correction is not permitted."""
    assert (await viewer.ask("POST", "/ledger/reconcile", figures(await row_of(viewer)))).status == 200
    assert (await correct(viewer)).status == 403
