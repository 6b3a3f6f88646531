"""Surcharges over REST: fees of tools and factors of hosts."""

from typing import Any

import pytest

from tests.support.administrator import Administrator

pytestmark = pytest.mark.shared_agent

FEE = {"kind": "web_search", "amount": "0.01"}


async def listed(admin: Administrator, query: str = "") -> list[Any]:
    """The surcharges of `GET /surcharges`, without the one that each administrator has."""
    rows: list[Any] = (await admin.ask("GET", f"/surcharges{query}")).json["data"]
    return [row for row in rows if row["kind"] != "file_search"]


async def test_surcharge_supersedes_the_one_before(admin: Administrator) -> None:
    """The history has both; one without an amount is the end."""
    first = (await admin.ask("POST", "/surcharges", FEE)).json
    assert (first["kind"], first["host"], first["model"], first["amount"]) == ("web_search", "", "", "0.01")
    second = (await admin.ask("POST", "/surcharges", {**FEE, "amount": "0.025"})).json
    assert await listed(admin) == [second]
    end = (await admin.ask("POST", "/surcharges", {**FEE, "amount": None})).json
    assert await listed(admin) == []
    assert await listed(admin, "?history=true") == [first, second, end]


async def test_factor_is_for_the_upstreams_host(admin: Administrator) -> None:
    """Another one can be named, and a model."""
    await admin.ask("POST", "/surcharges", {"kind": "multiplier", "amount": "1.1"})
    await admin.ask("POST", "/surcharges", {"kind": "multiplier", "amount": "1.2", "host": "h", "model": "gpt-6-sol"})
    assert [(row["host"], row["model"]) for row in await listed(admin)] == [("127.0.0.1", ""), ("h", "gpt-6-sol")]


async def test_surcharge_of_a_later_date_can_be_cancelled(admin: Administrator) -> None:
    """One in force cannot: 409; one that does not exist is 404."""
    later = (await admin.ask("POST", "/surcharges", {**FEE, "effective_at": "2999-01-01"})).json
    assert await listed(admin, "?upcoming=true") == [later]
    cancelled = (await admin.ask("POST", f"/surcharges/{later['id']}/cancel")).json
    assert cancelled["cancelled_at"] is not None
    assert await listed(admin, "?upcoming=true") == []
    assert (await admin.ask("POST", f"/surcharges/{later['id']}/cancel")).status == 409
    now = (await admin.ask("POST", "/surcharges", FEE)).json
    assert (await admin.ask("POST", f"/surcharges/{now['id']}/cancel")).status == 409
    assert (await admin.ask("POST", "/surcharges/99/cancel")).status == 404


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"kind": "song", "amount": "1"}, 400, "kind"),
        ({"kind": "web_search", "amount": 0.01}, 400, "amount"),
        ({"kind": "web_search", "amount": "0.01", "host": "h"}, 422, "host"),
        ({"kind": "web_search", "amount": "1001"}, 422, "amount"),
        ({"kind": "multiplier", "amount": "0.9"}, 422, "amount"),
        ({"kind": "web_search", "amount": "1", "model": "gpt-6*"}, 422, "model"),
    ],
)
async def test_invalid_surcharge_is_rejected(
    admin: Administrator, body: dict[str, Any], status: int, param: str
) -> None:
    """The answer names the field, and nothing is set."""
    answer = await admin.ask("POST", "/surcharges", body)
    assert answer.status == status
    assert param in (answer.error["param"] or answer.error["message"])
    assert await listed(admin, "?history=true") == []


async def test_list_has_pages(admin: Administrator) -> None:
    """They are in the order of ids."""
    for model in ("a", "b", "c"):
        await admin.ask("POST", "/surcharges", {**FEE, "model": model})
    page = (await admin.ask("GET", "/surcharges?limit=2")).json
    rest = (await admin.ask("GET", f"/surcharges?limit=2&after={page['next']}")).json
    assert [row["model"] for row in [*page["data"], *rest["data"]]] == ["a", "b", "c"]
    assert rest["next"] is None


async def test_audit_log_names_the_surcharge(admin: Administrator) -> None:
    """Its name is its kind, its host and its model."""
    await admin.ask("POST", "/surcharges", {"kind": "multiplier", "amount": "1.1", "model": "m"})
    [change, _] = (await admin.ask("GET", "/audit?object=surcharges")).json["data"]
    assert (change["action"], change["name"], change["after"]["amount"]) == ("insert", "multiplier 127.0.0.1 m", "1.1")
