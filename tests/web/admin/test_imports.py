"""Imports of users and prices over REST, and prices that are only tried."""

from datetime import UTC, datetime
from decimal import Decimal
from functools import partial

import pytest

from tests.support.administrator import CSV, KEY, Administrator
from tests.support.agent import MODEL
from tests.support.client import Answer
from tests.support.litellm import LIST

pytestmark = pytest.mark.shared_agent

PRICES = b"model,input,output\ngpt-6-sol,2.50,10\n"
FAULTY = f"name,openai_key\nalice,{KEY}\ndora,not a key\ngood,{KEY}\n".encode()


async def send_csv(admin: Administrator, path: str, body: bytes) -> Answer:
    return await admin.ask("POST", path, body, Content_Type="text/csv")


async def names(admin: Administrator) -> list[str]:
    return [user["name"] for user in (await admin.ask("GET", "/users")).json["data"]]


# Users.


async def test_imported_users_have_working_tokens(admin: Administrator) -> None:
    """The answer has a result for each line."""
    answer = (await send_csv(admin, "/user-import", CSV)).json
    assert [(line["line"], line["name"], line["result"]) for line in answer["lines"]] == [
        (2, "emil", "added"),
        (3, "frieda", "added"),
    ]
    assert [issued["user"] for issued in answer["tokens"]] == ["emil", "frieda"]
    for issued in answer["tokens"]:
        await admin.agent.until(partial(admin.agent.works, issued["token"]))


async def test_import_sets_budgets(admin: Administrator) -> None:
    """The default period is a month."""
    await send_csv(admin, "/user-import", CSV)
    [budget] = (await admin.ask("GET", "/budgets?user=emil")).json["data"]
    assert (budget["period"], budget["amount"]) == ("month", "12.5")


async def test_error_in_a_line_adds_no_user(admin: Administrator) -> None:
    """The answer is 422 with every invalid line, without a key."""
    answer = await send_csv(admin, "/user-import", FAULTY)
    assert (answer.status, answer.error["code"]) == (422, "invalid_value")
    assert (
        "2 of 3 lines have an error, so no user was added: line 2: user 'alice' already exists" in answer.body.decode()
    )
    assert "line 3: " in answer.body.decode()
    assert KEY not in answer.body.decode()
    assert await names(admin) == ["alice", "bob", "carl"]


async def test_dry_run_adds_no_user(admin: Administrator) -> None:
    """The report has every line, with its error."""
    answer = await send_csv(admin, "/user-import?dry_run=true", FAULTY)
    assert [line["result"] for line in answer.json["lines"]] == ["error", "error", "not added"]
    assert (answer.status, answer.json["tokens"]) == (200, [])
    assert await names(admin) == ["alice", "bob", "carl"]


async def test_existing_users_can_be_skipped(admin: Administrator) -> None:
    """A growing file can be imported again with `skip_existing`."""
    await send_csv(admin, "/user-import", CSV)
    answer = await send_csv(admin, "/user-import?skip_existing=true", CSV + f"gina,{KEY},\n".encode())
    assert [line["result"] for line in answer.json["lines"]] == ["skipped", "skipped", "added"]
    assert [issued["user"] for issued in answer.json["tokens"]] == ["gina"]


async def test_file_of_another_media_type_is_rejected(admin: Administrator) -> None:
    """The answer is 415: a browser's form can send other types without a preflight request."""
    for kind in ("application/json", "text/plain", "multipart/form-data"):
        assert (await admin.ask("POST", "/user-import", CSV, Content_Type=kind)).status == 415


async def test_file_may_be_larger_than_other_bodies(admin: Administrator) -> None:
    """The answer is 413 over 8 MiB."""
    padding = b"\n" * (2 * 1024 * 1024)
    assert (await send_csv(admin, "/price-import", PRICES + padding)).status == 200
    assert (await send_csv(admin, "/price-import", PRICES + 4 * padding)).status == 413


# Prices.


async def test_price_list_is_only_compared_without_apply(admin: Administrator) -> None:
    """The answer has new, changed and unchanged prices."""
    body = f"model,input,output,cached_input\ngpt-6-sol,2.50,10,\n{MODEL},1,2,\n".encode()
    answer = (await send_csv(admin, "/price-import", body)).json
    [new], [changed] = answer["new"], answer["changed"]
    assert (new["model"], new["input"], new["before"]) == ("gpt-6-sol", "2.5", None)
    assert (changed["model"], changed["before"]["input"]) == (MODEL, "0.15")
    assert (answer["removed"], answer["unchanged"], answer["applied"]) == ([], 0, False)
    assert [price["model"] for price in (await admin.ask("GET", "/prices")).json["data"]] == [MODEL]


async def test_price_list_is_applied(admin: Administrator) -> None:
    """A second import finds nothing to set."""
    assert (await send_csv(admin, "/price-import?apply=true", PRICES)).json["applied"] is True
    assert "gpt-6-sol" in [price["model"] for price in (await admin.ask("GET", "/prices")).json["data"]]
    again = (await send_csv(admin, "/price-import", PRICES)).json
    assert (again["new"], again["changed"], again["unchanged"]) == ([], [], 1)


async def test_litellms_list_is_read(admin: Administrator) -> None:
    """Prices and tiers are exact; skipped models have a reason."""
    answer = (await admin.ask("POST", "/price-import?only=gpt-one", LIST)).json
    [new] = answer["new"]
    assert (new["model"], new["input"], new["cached_input"]) == ("gpt-one", "2.5", "0.25")
    assert ("flex", 272_000) in [(tier["service_tier"], tier["above"]) for tier in new["tiers"]]
    assert [entry["model"] for entry in answer["skipped"]] == ["openai/gpt-one"]


async def test_litellms_list_sets_fees_and_days(admin: Administrator) -> None:
    """Fees of tools become surcharges; a region has factors for the upstream's host; prices show the days."""
    price = {
        "input_cost_per_token": 1e-06,
        "output_cost_per_token": 2e-06,
        "litellm_provider": "openai",
        "mode": "chat",
    }
    search = {"search_context_cost_per_query": {"search_context_size_low": 0.01}}
    more = {"regional_processing_uplift_multiplier_eu": 1.1, "deprecation_date": "2999-02-26"}
    answer = await admin.ask("POST", "/price-import?apply=true&region=eu", {"m": {**price, **search, **more}})
    assert [(each["kind"], each["host"], each["amount"]) for each in answer.json["surcharges"]] == [
        ("web_search", "", "0.01"),
        ("multiplier", "127.0.0.1", "1.1"),
    ]
    assert answer.json["shutdown_dates"] == [{"model": "m", "shutdown_date": "2999-02-26", "before": None}]
    assert len((await admin.ask("GET", "/surcharges")).json["data"]) == 2
    days = {each["model"]: each["shutdown_date"] for each in (await admin.ask("GET", "/prices")).json["data"]}
    assert days == {MODEL: None, "m": "2999-02-26"}
    assert (await admin.ask("POST", "/price-import?region=mars", {"m": price})).error["param"] == "region"


async def test_imported_factor_is_charged(admin: Administrator) -> None:
    """The next request costs 1.1 times its tokens."""
    price = {
        "input_cost_per_token": 1e-06,
        "output_cost_per_token": 2e-06,
        "litellm_provider": "openai",
        "mode": "chat",
    }
    entries = {MODEL: {**price, "regional_processing_uplift_multiplier_eu": 1.1}}
    agent = admin.agent
    await admin.ask("POST", "/price-import?apply=true&region=eu", entries)
    await agent.until(lambda: agent.server.directory.book.surcharges.at(MODEL, datetime.now(UTC)).multiplier > 1)
    await agent.chat()
    [*_, row] = await agent.rows(2)
    cost = (row["input_tokens"] * Decimal(1) + row["output_tokens"] * Decimal(2)) / 1_000_000 * Decimal("1.1")
    assert row["cost"] == cost


async def test_models_can_be_selected_by_several_patterns(admin: Administrator) -> None:
    """A price that matches one pattern is imported."""
    body = b"model,input,output\na1,1,1\nb1,1,1\nc1,1,1\n"
    answer = (await send_csv(admin, "/price-import?only=a*&only=b*", body)).json
    assert [new["model"] for new in answer["new"]] == ["a1", "b1"]


async def test_prices_can_start_on_a_date(admin: Administrator) -> None:
    """A time without an offset is UTC."""
    answer = (await send_csv(admin, "/price-import?from=2027-01-01T00:00:00Z", PRICES)).json
    assert [new["effective_at"] for new in answer["new"]] == ["2027-01-01T00:00:00Z"]
    plain = (await send_csv(admin, "/price-import?from=2027-01-01", PRICES)).json
    assert plain["new"] == answer["new"]


async def test_time_outside_of_utcs_range_is_rejected(admin: Administrator) -> None:
    """The answer is 422: a price of such a time could not be read again."""
    for moment in ("0001-01-01T00:00:00%2B23:00", "9999-12-31T23:59:59-23:00"):
        for apply in ("true", "false"):
            answer = await send_csv(admin, f"/price-import?apply={apply}&from={moment}", PRICES)
            assert (answer.status, answer.error["code"]) == (422, "invalid_value")


async def test_invalid_price_list_is_rejected(admin: Administrator) -> None:
    """The answer is 422, and nothing is set, not even the lines before the error."""
    for body in (b"{", b"{}", b"[]", b"\xff", b"name,openai_key\n", PRICES + b"x,-1,2\n", b" "):
        assert (await send_csv(admin, "/price-import?apply=true", body)).status == 422
    assert (await admin.ask("GET", "/price-history")).json["data"][2:] == []


async def test_exported_prices_can_be_imported(admin: Administrator) -> None:
    """An import of the export finds no changes."""
    await send_csv(admin, "/price-import?apply=true", PRICES)
    answer = await admin.ask("GET", "/price-export")
    assert answer.header("Content-Type") == "text/csv; charset=utf-8"
    assert answer.body.decode().startswith("model,effective_at,input,output,")
    again = (await send_csv(admin, "/price-import", answer.body)).json
    assert (again["new"], again["changed"], again["removed"], again["unchanged"]) == ([], [], [], 2)


async def test_history_can_be_exported(admin: Administrator) -> None:
    """The history has the superseded prices, and those to come."""
    await send_csv(admin, "/price-import?apply=true", f"model,input,output\n{MODEL},1,2\n".encode())
    for word, lines in (("false", 2), ("true", 4)):
        answer = await admin.ask("GET", f"/price-export?history={word}")
        assert len(answer.body.splitlines()) == lines


async def test_other_words_are_no_booleans(admin: Administrator) -> None:
    """Only `true` and `false` are accepted."""
    for word in ("1", "yes", "True", ""):
        answer = await admin.ask("GET", f"/price-export?history={word}")
        assert (answer.status, answer.error["param"]) == (400, "history")


# What would have been.


async def test_what_if_computes_the_past_at_another_price(admin: Administrator) -> None:
    """The answer has both costs and the difference, and nothing is changed."""
    before = (await admin.ask("GET", "/ledger/rows")).json
    body = {"since": "2020-01-01", "price": {"input": "0", "output": "0"}, "by": ["user", "model"]}
    answer = (await admin.ask("POST", "/price-what-if", body)).json
    cost = before["data"][0]["cost"]
    [row] = answer["rows"]
    assert row["group"] == {"user": "alice", "model": MODEL}
    assert (row["requests"], row["cost"], row["what_if"], row["difference"]) == (1, cost, "0", f"-{cost}")
    assert {**answer["total"], "group": row["group"]} == row
    assert (await admin.ask("GET", "/ledger/rows")).json == before


async def test_what_if_computes_the_past_as_another_model(admin: Administrator) -> None:
    """The model's present price counts; 404 without one."""
    await send_csv(admin, "/price-import?apply=true", b"model,input,cached_input,output\ntwice,0.3,0.15,1.2\n")
    [row] = (await admin.ask("POST", "/price-what-if", {"since": "2020-01-01", "as_model": "twice"})).json["rows"]
    assert row["cost"] == row["difference"]
    assert (await admin.ask("POST", "/price-what-if", {"since": "2020-01-01", "as_model": "none"})).status == 404


async def test_contradictory_what_if_is_rejected(admin: Administrator) -> None:
    """The answer is 422 if the days end before they begin, or for two prices at once."""
    price = {"input": "1", "output": "1"}
    for more in ({"until": "2019-01-01"}, {"price": price, "as_model": MODEL}):
        answer = await admin.ask("POST", "/price-what-if", {"since": "2020-01-01", **more})
        assert (answer.status, answer.error["code"]) == (422, "invalid_value")


async def test_what_if_rejects_a_repeated_group(admin: Administrator) -> None:
    """A group that is named twice is answered with 422, as the command rejects it."""
    answer = await admin.ask("POST", "/price-what-if", {"since": "2020-01-01", "by": ["model", "model"]})
    assert (answer.status, answer.error["message"]) == (422, "the group 'model' is named twice")


async def test_viewer_may_ask_what_if(viewer: Administrator) -> None:
    """It changes nothing; an import is not permitted, even without apply."""
    assert (await viewer.ask("POST", "/price-what-if", {"since": "2020-01-01"})).status == 200
    assert (await send_csv(viewer, "/price-import", PRICES)).status == 403


# OpenAI keys.


async def test_keys_are_replaced_together(admin: Administrator) -> None:
    """A file with an unknown user replaces none."""
    body = f"name,openai_key\nalice,{KEY}-4\nbob,{KEY}-5\n".encode()
    assert (await send_csv(admin, "/key-import", body)).json == {"replaced": ["alice", "bob"]}
    before = await admin.agent.store.fetch("SELECT id, upstream_key FROM users ORDER BY id")
    assert (await send_csv(admin, "/key-import", body + f"mallory,{KEY}\n".encode())).status == 404
    assert await admin.agent.store.fetch("SELECT id, upstream_key FROM users ORDER BY id") == before
