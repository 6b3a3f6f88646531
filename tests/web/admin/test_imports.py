"""People and prices in bulk over REST, and prices that are only tried."""

from tests.support.agent import MODEL
from tests.support.client import Answer
from tests.support.litellm import LIST
from tests.web.admin.conftest import CSV, KEY, Administrator

PRICES = b"model,input,output\ngpt-4o,2.50,10\n"
FAULTY = f"name,openai_key\nalice,{KEY}\ndora,not a key\ngood,{KEY}\n".encode()


async def send_csv(admin: Administrator, path: str, body: bytes) -> Answer:
    return await admin.ask("POST", path, body, Content_Type="text/csv")


async def names(admin: Administrator) -> list[str]:
    return [user["name"] for user in (await admin.ask("GET", "/users")).json["data"]]


# People.


async def test_people_come_with_their_tokens(admin: Administrator) -> None:
    """Each of them works, and each line says what became of it."""
    answer = (await send_csv(admin, "/user-import", CSV)).json
    assert [(line["line"], line["name"], line["result"]) for line in answer["lines"]] == [
        (2, "emil", "added"),
        (3, "frieda", "added"),
    ]
    assert [newcomer["user"] for newcomer in answer["tokens"]] == ["emil", "frieda"]
    for newcomer in answer["tokens"]:
        await admin.agent.until(lambda token=newcomer["token"]: admin.agent.works(token))


async def test_budgets_come_with_people(admin: Administrator) -> None:
    """A month's, where the file does not say."""
    await send_csv(admin, "/user-import", CSV)
    [budget] = (await admin.ask("GET", "/budgets?user=emil")).json["data"]
    assert (budget["period"], budget["amount"]) == ("month", "12.5")


async def test_one_fault_keeps_everybody_out(admin: Administrator) -> None:
    """422 with every line that has one, and never with a key."""
    answer = await send_csv(admin, "/user-import", FAULTY)
    assert (answer.status, answer.error["code"]) == (422, "invalid_value")
    assert (
        "2 of 3 lines have an error, so no user was added: line 2: user 'alice' already exists" in answer.body.decode()
    )
    assert "line 3: " in answer.body.decode()
    assert KEY not in answer.body.decode()
    assert await names(admin) == ["alice", "bob", "carl"]


async def test_a_dry_run_of_people_adds_nobody(admin: Administrator) -> None:
    """It answers with a report of every line, those with faults included."""
    answer = await send_csv(admin, "/user-import?dry_run=true", FAULTY)
    assert [line["result"] for line in answer.json["lines"]] == ["fault", "fault", "not added"]
    assert (answer.status, answer.json["tokens"]) == (200, [])
    assert await names(admin) == ["alice", "bob", "carl"]


async def test_people_who_are_there_can_be_passed_over(admin: Administrator) -> None:
    """With `skip_existing`, so that a file can grow."""
    await send_csv(admin, "/user-import", CSV)
    answer = await send_csv(admin, "/user-import?skip_existing=true", CSV + f"gina,{KEY},\n".encode())
    assert [line["result"] for line in answer.json["lines"]] == ["skipped", "skipped", "added"]
    assert [newcomer["user"] for newcomer in answer.json["tokens"]] == ["gina"]


async def test_a_file_of_people_has_its_media_type(admin: Administrator) -> None:
    """415 for any other: a browser's form can send those without asking first."""
    for kind in ("application/json", "text/plain", "multipart/form-data"):
        assert (await admin.ask("POST", "/user-import", CSV, Content_Type=kind)).status == 415


async def test_a_file_may_be_larger_than_other_bodies(admin: Administrator) -> None:
    """Up to 8 MiB; then 413."""
    padding = b"\n" * (2 * 1024 * 1024)
    assert (await send_csv(admin, "/price-import", PRICES + padding)).status == 200
    assert (await send_csv(admin, "/price-import", PRICES + 4 * padding)).status == 413


# Prices.


async def test_a_list_of_prices_is_only_shown(admin: Administrator) -> None:
    """As long as `apply` is not true: new, changed and unchanged ones, and what stays out."""
    body = f"model,input,output,cached_input\ngpt-4o,2.50,10,\n{MODEL},1,2,\n".encode()
    answer = (await send_csv(admin, "/price-import", body)).json
    [new], [changed] = answer["new"], answer["changed"]
    assert (new["model"], new["input"], new["before"]) == ("gpt-4o", "2.5", None)
    assert (changed["model"], changed["before"]["input"]) == (MODEL, "0.15")
    assert (answer["removed"], answer["unchanged"], answer["applied"]) == ([], 0, False)
    assert [price["model"] for price in (await admin.ask("GET", "/prices")).json["data"]] == [MODEL]


async def test_a_list_of_prices_is_set(admin: Administrator) -> None:
    """With `apply=true`; once more, nothing is left to set."""
    assert (await send_csv(admin, "/price-import?apply=true", PRICES)).json["applied"] is True
    assert "gpt-4o" in [price["model"] for price in (await admin.ask("GET", "/prices")).json["data"]]
    again = (await send_csv(admin, "/price-import", PRICES)).json
    assert (again["new"], again["changed"], again["unchanged"]) == ([], [], 1)


async def test_litellms_list_is_read(admin: Administrator) -> None:
    """To the last digit, with its tiers; of others' models it says why they stay out."""
    answer = (await admin.ask("POST", "/price-import?only=gpt-one", LIST)).json
    [new] = answer["new"]
    assert (new["model"], new["input"], new["cached_input"]) == ("gpt-one", "2.5", "0.25")
    assert ("flex", 272_000) in [(tier["service_tier"], tier["above"]) for tier in new["tiers"]]
    assert [entry["model"] for entry in answer["skipped"]] == ["openai/gpt-one"]


async def test_models_can_be_chosen_more_than_once(admin: Administrator) -> None:
    """A price for any of the patterns is taken."""
    body = b"model,input,output\na1,1,1\nb1,1,1\nc1,1,1\n"
    answer = (await send_csv(admin, "/price-import?only=a*&only=b*", body)).json
    assert [new["model"] for new in answer["new"]] == ["a1", "b1"]


async def test_prices_can_begin_later(admin: Administrator) -> None:
    """With `from`, whose `+` or `Z` must be there."""
    answer = (await send_csv(admin, "/price-import?from=2027-01-01T00:00:00Z", PRICES)).json
    assert [new["effective_at"] for new in answer["new"]] == ["2027-01-01T00:00:00Z"]
    assert (await send_csv(admin, "/price-import?from=2027-01-01T00:00:00", PRICES)).status == 400


async def test_a_time_that_utc_has_not_is_refused(admin: Administrator) -> None:
    """422: it is before the year 1 there, or behind 9999; a price of such a time could not be read again."""
    for moment in ("0001-01-01T00:00:00%2B23:00", "9999-12-31T23:59:59-23:00"):
        for apply in ("true", "false"):
            answer = await send_csv(admin, f"/price-import?apply={apply}&from={moment}", PRICES)
            assert (answer.status, answer.error["code"]) == (422, "invalid_value")


async def test_what_is_no_list_of_prices_is_refused(admin: Administrator) -> None:
    """422, and nothing is set, not even what comes before the fault."""
    for body in (b"{", b"{}", b"[]", b"\xff", b"name,openai_key\n", PRICES + b"x,-1,2\n", b" "):
        assert (await send_csv(admin, "/price-import?apply=true", body)).status == 422
    assert (await admin.ask("GET", "/price-history")).json["data"][1:] == []


async def test_prices_go_out_as_they_come_in(admin: Administrator) -> None:
    """What `export` writes, `import` finds unchanged."""
    await send_csv(admin, "/price-import?apply=true", PRICES)
    answer = await admin.ask("GET", "/price-export")
    assert answer.header("Content-Type") == "text/csv; charset=utf-8"
    assert answer.body.decode().startswith("model,effective_at,input,output,")
    again = (await send_csv(admin, "/price-import", answer.body)).json
    assert (again["new"], again["changed"], again["removed"], again["unchanged"]) == ([], [], [], 2)


async def test_history_goes_out_too(admin: Administrator) -> None:
    """With the prices that were superseded."""
    await send_csv(admin, "/price-import?apply=true", f"model,input,output\n{MODEL},1,2\n".encode())
    for word, lines in (("false", 2), ("true", 3)):
        answer = await admin.ask("GET", f"/price-export?history={word}")
        assert len(answer.body.splitlines()) == lines


async def test_a_word_is_no_truth(admin: Administrator) -> None:
    """Only `true` and `false` are."""
    for word in ("1", "yes", "True", ""):
        answer = await admin.ask("GET", f"/price-export?history={word}")
        assert (answer.status, answer.error["param"]) == (400, "history")


# What would have been.


async def test_the_past_at_another_price(admin: Administrator) -> None:
    """What it cost, what it would have cost, and the difference; nothing is changed."""
    before = (await admin.ask("GET", "/ledger/rows")).json
    body = {"since": "2020-01-01", "price": {"input": "0", "output": "0"}, "by": ["user", "model"]}
    answer = (await admin.ask("POST", "/price-what-if", body)).json
    cost = before["data"][0]["cost"]
    [row] = answer["rows"]
    assert row["group"] == {"user": "alice", "model": MODEL}
    assert (row["requests"], row["cost"], row["what_if"], row["difference"]) == (1, cost, "0", f"-{cost}")
    assert {**answer["total"], "group": row["group"]} == row
    assert (await admin.ask("GET", "/ledger/rows")).json == before


async def test_the_past_as_another_model(admin: Administrator) -> None:
    """At the price that it has now; 404 where it has none."""
    await send_csv(admin, "/price-import?apply=true", b"model,input,cached_input,output\ntwice,0.3,0.15,1.2\n")
    [row] = (await admin.ask("POST", "/price-what-if", {"since": "2020-01-01", "as_model": "twice"})).json["rows"]
    assert row["cost"] == row["difference"]
    assert (await admin.ask("POST", "/price-what-if", {"since": "2020-01-01", "as_model": "none"})).status == 404


async def test_a_question_without_sense_is_refused(admin: Administrator) -> None:
    """422: days that end before they begin, or two prices at once."""
    price = {"input": "1", "output": "1"}
    for more in ({"until": "2019-01-01"}, {"price": price, "as_model": MODEL}):
        answer = await admin.ask("POST", "/price-what-if", {"since": "2020-01-01", **more})
        assert (answer.status, answer.error["code"]) == (422, "invalid_value")


async def test_what_if_refuses_a_repeated_group(admin: Administrator) -> None:
    """A group that is named twice is answered with 422, as the command refuses it."""
    answer = await admin.ask("POST", "/price-what-if", {"since": "2020-01-01", "by": ["model", "model"]})
    assert (answer.status, answer.error["message"]) == (422, "the group 'model' is named twice")


async def test_a_viewer_may_ask_what_if(viewer: Administrator) -> None:
    """It changes nothing; a list of prices is not for them, though it is only shown."""
    assert (await viewer.ask("POST", "/price-what-if", {"since": "2020-01-01"})).status == 200
    assert (await send_csv(viewer, "/price-import", PRICES)).status == 403
