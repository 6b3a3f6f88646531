"""Pages: every line once, whatever comes in between."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatgpt_agent.web.admin import cursors as pages
from chatgpt_agent.web.admin.routes import ROUTES
from tests.support.administrator import Administrator

pytestmark = pytest.mark.shared_agent

LISTS = [
    "/admins",
    "/budgets",
    "/users",
    "/tokens",
    "/users/alice/tokens",
    "/prices",
    "/price-history",
    "/surcharges",
    "/ledger/rows",
    "/audit",
]


async def walk(admin: Administrator, path: str, limit: int) -> list[Any]:
    """Every line of a list, a page after the other."""
    rows: list[Any] = []
    after = ""
    while True:
        answer = await admin.ask("GET", f"{path}?limit={limit}{after}")
        assert answer.status == 200
        assert len(answer.json["data"]) <= limit
        rows += answer.json["data"]
        if answer.json["next"] is None:
            return rows
        after = f"&after={answer.json['next']}"


async def test_pages_add_up_to_the_list(admin: Administrator) -> None:
    """Every list has the same rows in pages of any size."""
    agent = admin.agent
    await agent.set_price("gpt-6-sol", "1", "2")
    for number in range(1, 4):
        await agent.chat()
        await admin.ask("POST", "/users/alice/tokens", {})
        await admin.ask("PUT", f"/tokens/{number}/budgets/week", {"amount": "1"})
        await admin.ask("POST", "/surcharges", {"kind": "web_search", "amount": "1", "model": f"m{number}"})
    await agent.rows(4)
    for path in LISTS:
        whole = (await admin.ask("GET", f"{path}?limit=500")).json["data"]
        assert len(whole) >= 2
        assert await walk(admin, path, 1) == await walk(admin, path, 2) == whole


async def test_new_rows_do_not_shift_pages(admin: Administrator) -> None:
    """A user added behind the cursor is listed, and no user twice."""
    first = (await admin.ask("GET", "/users?limit=2")).json
    for name in ("aaron", "zoe"):
        await admin.agent.add_user(name)
    rest = (await admin.ask("GET", f"/users?after={first['next']}")).json
    assert [user["name"] for user in first["data"] + rest["data"]] == ["alice", "bob", "carl", "zoe"]


async def test_full_last_page_has_no_next_cursor(admin: Administrator) -> None:
    """No client fetches an empty page."""
    assert (await admin.ask("GET", "/users?limit=3")).json["next"] is None


async def test_invalid_page_is_rejected(admin: Administrator) -> None:
    """Every list answers 400 with the name of the parameter."""
    for path in LISTS:
        for query in ("after=%21", "after=", "limit=0", "limit=501", "limit=1.0", "limit=+1", "limit="):
            answer = await admin.ask("GET", f"{path}?{query}")
            assert (answer.status, answer.error["param"]) == (400, query.partition("=")[0])


def test_every_list_is_covered() -> None:
    """Each route with pages is in the table above."""
    paged = {route.path.replace("{name}", "alice") for route in ROUTES if "after" in route.query.__struct_fields__}
    assert paged == {*LISTS}


@given(st.integers(1, 2**60 - 1))
def test_id_survives_the_cursor(id: int) -> None:
    """The cursor matches its pattern."""
    assert pages.id_of(pages.id_cursor(id)) == id


@given(st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=128))
def test_name_survives_the_cursor(name: str) -> None:
    """Names of every script survive."""
    assert pages.text_of(pages.text_cursor(name)) == name


@given(st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1)), st.uuids())
def test_row_survives_the_cursor(moment: datetime, request_id: UUID) -> None:
    """The time is exact to the microsecond."""
    at = moment.replace(tzinfo=UTC) + timedelta(0)
    assert pages.row_of(pages.row_cursor(at, request_id)) == (at, request_id)
