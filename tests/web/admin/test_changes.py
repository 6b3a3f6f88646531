"""What is changed over REST is in force, and what is read there is what is so."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from urllib.parse import quote

import pytest

from chatgpt_agent.admin.tokens import MAX_GRACE
from tests.conftest import MakeAgent
from tests.support.administrator import KEY, Administrator
from tests.support.agent import MODEL
from tests.support.client import fetch
from tests.support.upstream import Upstream

pytestmark = pytest.mark.shared_agent


async def test_token_of_a_new_user_works(admin: Administrator, upstream: Upstream) -> None:
    """OpenAI gets that user's key."""
    agent = admin.agent
    agent.token = (await admin.ask("POST", "/users", {"name": "dora", "openai_key": KEY})).json["token"]
    await agent.until(lambda: agent.works(agent.token))
    assert (await agent.chat()).status == 200
    assert upstream.requests[-1].header("authorization") == f"Bearer {KEY}"


async def test_revoked_token_is_rejected(admin: Administrator) -> None:
    """The running agent learns of the revocation."""
    await admin.ask("POST", "/tokens/1/revoke")
    await admin.agent.until(lambda: not admin.agent.works(admin.agent.token))
    assert (await admin.agent.chat()).status == 401


async def test_usage_of_a_removed_user_stays(admin: Administrator) -> None:
    """The rows keep the name, which cannot be used again."""
    before = (await admin.ask("GET", "/usage?by=user")).json
    assert (await admin.ask("POST", "/users/alice/remove")).status == 204
    assert (await admin.ask("GET", "/usage?by=user")).json == before
    assert before["rows"][0]["group"] == {"user": "alice"}
    assert (await admin.ask("POST", "/users", {"name": "alice", "openai_key": KEY})).status == 409


async def test_price_with_tiers_keeps_every_digit(admin: Administrator) -> None:
    """Amounts are texts in the request and in the answer."""
    tiers = [{"service_tier": "flex", "multiplier": "0.5"}, {"above": 200_000, "input": "5", "output": "0.0000000001"}]
    body = {"model": "gpt-6-sol/x", "input": "2.50", "output": "10", "cached_input": "0.1234567891", "tiers": tiers}
    created = (await admin.ask("POST", "/prices", body)).json
    [listed] = [price for price in (await admin.ask("GET", "/prices")).json["data"] if price["model"] == "gpt-6-sol/x"]
    assert listed == {**created, "shutdown_date": None, "shutdown_soon": False}
    assert (listed["input"], listed["cached_input"], listed["audio_input"]) == ("2.5", "0.1234567891", None)
    assert [tier["multiplier"] for tier in listed["tiers"]] == ["0.5", None]
    assert listed["tiers"][1]["output"] == "0.0000000001"


async def test_removed_price_stays_in_the_history(admin: Administrator) -> None:
    """The price is no longer in force."""
    assert (await admin.ask("DELETE", f"/prices/{MODEL}")).status == 204
    assert (await admin.ask("GET", "/prices")).json["data"] == []
    history = (await admin.ask("GET", f"/price-history?model={MODEL}")).json["data"]
    assert [price["input"] for price in history] == ["0.15", None]
    assert (await admin.ask("DELETE", f"/prices/{MODEL}")).status == 404


async def test_price_of_a_later_date_can_be_cancelled(admin: Administrator) -> None:
    """It is in the list of what is to come until then; one in force is a conflict, an unknown one is not found."""
    [upcoming] = (await admin.ask("GET", "/price-history?upcoming=true")).json["data"]
    assert (upcoming["model"], upcoming["cancelled_at"]) == ("scheduled", None)
    cancelled = (await admin.ask("POST", f"/prices/{upcoming['id']}/cancel")).json
    assert cancelled["cancelled_at"] is not None
    assert (await admin.ask("GET", "/price-history?upcoming=true")).json["data"] == []
    [price] = (await admin.ask("GET", "/prices")).json["data"]
    assert (await admin.ask("POST", f"/prices/{price['id']}/cancel")).status == 409
    assert (await admin.ask("POST", "/prices/99/cancel")).status == 404


async def test_sums_equal_the_rows(admin: Administrator) -> None:
    """The report and the budget are exact."""
    await admin.agent.chat()
    await admin.agent.rows(2)
    rows = (await admin.ask("GET", "/ledger/rows")).json["data"]
    cost = sum(Decimal(row["cost"]) for row in rows)
    report = (await admin.ask("GET", "/usage?by=model,user")).json
    assert (report["by"], Decimal(report["total"]["cost"])) == (["model", "user"], cost)
    assert Decimal((await admin.ask("GET", "/budgets/1")).json["spent"]) == cost > 0


async def test_report_rejects_a_repeated_group(admin: Administrator) -> None:
    """A group that is named twice is answered with 422, as the command rejects it."""
    answer = await admin.ask("GET", "/usage?by=model,user,model")
    assert (answer.status, answer.error["message"]) == (422, "the group 'model' is named twice")


async def test_rows_can_be_filtered(admin: Administrator) -> None:
    """Rows are selected by state, user and time; `until` is exclusive."""
    [row] = (await admin.ask("GET", "/ledger/rows?state=done&user=alice")).json["data"]
    assert row["request_id"] == admin.row
    assert (await admin.ask("GET", f"/ledger/rows?since={row['started_at']}")).json["data"] == [row]
    for query in ("state=unknown", "user=bob", f"until={row['started_at']}"):
        assert (await admin.ask("GET", f"/ledger/rows?{query}")).json["data"] == []


@pytest.mark.parametrize(
    "moment",
    ["2999-12-31T18:00:00Z", "2999-12-31T19:00:00.000000+01:00", "2999-12-31 18:00:00", "2999-12-31 18:00"],
)
async def test_every_form_of_a_time_is_read(admin: Administrator, moment: str) -> None:
    """Commands print times in these forms; without an offset they are UTC."""
    answer = await admin.ask("PATCH", "/tokens/1", {"expires_at": moment})
    assert answer.json["expires_at"] == "2999-12-31T18:00:00Z"
    assert (await admin.ask("GET", f"/audit?since={quote(moment)}")).json["data"] == []


@pytest.mark.parametrize("form", ["%Y-%m-%d", "%Y%m%d", "%Y-%m", "%G-W%V"])
async def test_every_form_of_a_day_is_read(admin: Administrator, form: str) -> None:
    """Reports print months and weeks, whose days they choose as `since` and `until`."""
    today = datetime.now(UTC)
    days = f"since={today - timedelta(days=1):{form}}&until={today:{form}}"
    [row] = (await admin.ask("GET", f"/usage?by=model&{days}")).json["rows"]
    assert row["requests"] == 1


@pytest.mark.parametrize("moment", ["tomorrow", "2026-02-30", "23.11.2026", "infinity", ""])
async def test_text_that_is_no_time_is_rejected(admin: Administrator, moment: str) -> None:
    """The answer names the field and shows an example."""
    answer = await admin.ask("PATCH", "/tokens/1", {"expires_at": moment})
    assert (answer.status, answer.error["param"]) == (400, "expires_at")
    assert f'expires_at: "{moment}" is not a date such as 2026-11-23' in answer.error["message"]


async def test_wrong_sum_is_a_finding(admin: Administrator) -> None:
    """`ledger verify` reports the same."""
    assert (await admin.ask("GET", "/ledger/findings")).json == {"findings": []}
    await admin.agent.store.fetch("UPDATE usage_daily SET cost = cost + 1")
    findings = (await admin.ask("GET", "/ledger/findings")).json["findings"]
    assert [finding["check"] for finding in findings] == ["daily sums", "sums by model"]
    await admin.agent.store.fetch("UPDATE usage_daily SET cost = cost - 1")


async def test_audit_log_has_the_address_behind_a_trusted_proxy(make_agent: MakeAgent) -> None:
    """X-Forwarded-For counts only from `trusted_proxies`."""
    agent = await make_agent(trusted_proxies=("127.0.0.1",))
    headers = {"Authorization": f"Bearer {await agent.admin_token('carol')}", "X-Forwarded-For": "192.0.2.7"}
    body = json.dumps({"comment": "x"}).encode()
    fields = {**headers, "Content-Type": "application/json"}
    assert (await fetch(f"{agent.admin_url}/api/v1/users/alice", "PATCH", fields, body)).status == 200
    [line] = (await fetch(f"{agent.admin_url}/api/v1/audit?limit=1", headers=headers)).json["data"]
    assert line["address"] == "192.0.2.7"


async def test_second_rotation_is_a_conflict(admin: Administrator) -> None:
    """The answer names the token that has replaced it, as the token itself does."""
    assert (await admin.ask("POST", "/tokens/1/rotate", {})).status == 201
    answer = await admin.ask("POST", "/tokens/1/rotate", {})
    assert (answer.status, "by token 4" in answer.error["message"]) == (409, True)
    assert (await admin.ask("GET", "/tokens/1")).json["replaced_by"] == 4
    assert (await admin.ask("GET", "/tokens/4")).json["replaces"] == 1


async def test_rotation_has_the_same_grace_period_as_the_command(admin: Administrator) -> None:
    """Without a grace period, the old token works for 24 hours; 366 days are the maximum."""
    assert (await admin.ask("POST", "/tokens/1/rotate", {})).status == 201
    expires_at = datetime.fromisoformat((await admin.ask("GET", "/tokens/1")).json["expires_at"])
    assert timedelta(hours=23) < expires_at - datetime.now(UTC) <= timedelta(hours=24)
    for grace, status in ((MAX_GRACE, 201), (MAX_GRACE + timedelta(seconds=1), 400)):
        body = {"grace_seconds": int(grace.total_seconds())}
        assert (await admin.ask("POST", "/tokens/2/rotate", body)).status == status
