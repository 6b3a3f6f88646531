"""Every change over REST is in the audit log, and never a secret."""

import json
from typing import Any

import pytest

from chatgpt_agent.web.admin.routes import ROUTES
from tests.support.administrator import KEY, Administrator
from tests.support.agent import OPENAI_KEY, Agent
from tests.support.canaries import SECRETS

pytestmark = pytest.mark.shared_agent

CHANGES = {
    "add_user": [("insert", "users"), ("insert", "tokens")],
    "import_users": [("insert", kind) for kind in ("budgets", "tokens", "tokens", "users", "users")],
    "change_user": [("update", "users")],
    "rename_user": [("update", "users")],
    "remove_user": [("update", "users"), ("update", "tokens")],
    "import_keys": [("update", "users")],
    "set_key": [("update", "users")],
    "issue_token": [("insert", "tokens")],
    "change_token": [("update", "tokens")],
    "revoke_token": [("update", "tokens")],
    "rotate_token": [("insert", "tokens"), ("update", "tokens")],
    "set_price": [("insert", "prices")],
    "remove_price": [("insert", "prices")],
    "cancel_price": [("update", "prices")],
    "set_surcharge": [("insert", "surcharges")],
    "cancel_surcharge": [("update", "surcharges")],
    "set_user_budget": [("insert", "budgets")],
    "set_token_budget": [("insert", "budgets")],
    "raise_budget": [("update", "budgets")],
    "end_raise": [("update", "budgets")],
    "remove_budget": [("update", "budgets")],
    "import_prices": [("insert", "prices")],
    "correct_row": [("insert", "usage")],
    "revoke_admin": [("update", "admins")],
}
CHANGING = [route for route in ROUTES if route.changes]


async def logged(agent: Agent) -> list[dict[str, Any]]:
    lines = await agent.store.fetch("SELECT to_jsonb(a)::text FROM audit_log a ORDER BY id")
    return [json.loads(text) for (text,) in lines]


async def test_every_change_is_logged(admin: Administrator) -> None:
    """The entries of every changing route have the actor, the interface and the address."""
    logged_rows = {}
    for route in CHANGING:
        before = await logged(admin.agent)
        assert (await admin.example(route)).status == route.status
        fresh = (await logged(admin.agent))[len(before) :]
        logged_rows[route.handler.__name__] = sorted((line["action"], line["object"]) for line in fresh)
        assert {(line["actor"], line["via"], line["address"]) for line in fresh} == {("carol", "rest", "127.0.0.1")}
    assert logged_rows == {name: sorted(lines) for name, lines in CHANGES.items()}


async def test_no_secret_is_logged(admin: Administrator) -> None:
    """No column of the log contains a key or a token after all these changes."""
    for route in CHANGING:
        await admin.example(route)
    text = json.dumps(await logged(admin.agent))
    assert {KEY, OPENAI_KEY} <= SECRETS
    assert [secret for secret in SECRETS if secret in text or secret[8:] in text] == []


async def test_reads_and_rejected_changes_are_not_logged(admin: Administrator) -> None:
    """The log holds only changes."""
    before = await logged(admin.agent)
    for route in ROUTES:
        if not route.changes:
            await admin.example(route)
    await admin.ask("PATCH", "/users/dora", {"comment": "x"})
    await admin.ask("PATCH", "/users/alice", {"comment": 7})
    assert await logged(admin.agent) == before


async def test_log_shows_the_values_before_and_after(admin: Administrator) -> None:
    """An entry has only the columns that changed."""
    await admin.ask("PATCH", "/users/alice", {"rpm": 7})
    await admin.ask("PATCH", "/users/alice", {"rpm": 8})
    [line] = (await admin.ask("GET", "/audit?object=users&limit=1")).json["data"]
    assert (line["name"], line["before"], line["after"]) == ("alice", {"rpm": 7}, {"rpm": 8})


async def test_amounts_in_the_log_are_texts(admin: Administrator) -> None:
    """A JSON reader does not round them."""
    await admin.ask("POST", "/prices", {"model": "gpt-6-sol", "input": "0.1000000001", "output": "0"})
    [line] = (await admin.ask("GET", "/audit?object=prices&limit=1")).json["data"]
    assert (line["after"]["input"], line["after"]["output"]) == ("0.1000000001", "0")


async def test_log_can_be_filtered(admin: Administrator) -> None:
    """Changes are selected by actor and by object."""
    await admin.ask("PATCH", "/users/bob", {"rpm": 7})
    [line] = (await admin.ask("GET", "/audit?actor=carol")).json["data"]
    entries = (await admin.ask("GET", f"/audit?object=users&object_id={line['object_id']}")).json["data"]
    assert [each["action"] for each in entries] == ["update", "insert"]
