"""An administrator at a running agent, and an example request for every route."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from chatgpt_agent.web.admin.routes import PREFIX
from chatgpt_agent.web.admin.routing import Route
from tests.support.agent import MODEL, Agent
from tests.support.canaries import SECRETS
from tests.support.client import Answer, fetch

KEY = "sk-made-up-key-over-rest"
CSV = f"name,openai_key,budget\nemil,{KEY},12.50\nfrieda,{KEY},\n".encode()
FIGURES = b"start_time,model,num_model_requests,input_tokens,output_tokens\n2026-01-01,gpt-6-sol,1,2,3\n"

# A valid request for each route: parameters of path and query, and the body. Tests fail for a route that is missing.
EXAMPLES: dict[str, tuple[dict[str, str], Any]] = {
    "list_users": ({}, None),
    "add_user": ({}, {"name": "dora", "openai_key": KEY, "rpm": 10, "allowed_models": ["gpt-6*"]}),
    "import_users": ({}, CSV),
    "get_user": ({"name": "alice"}, None),
    "change_user": ({"name": "alice"}, {"comment": "on leave", "disabled": True}),
    "rename_user": ({"name": "carl"}, {"name": "carlos"}),
    "remove_user": ({"name": "bob"}, None),
    "import_keys": ({}, f"name,openai_key\nalice,{KEY}-3\n".encode()),
    "set_key": ({"name": "alice"}, {"openai_key": f"{KEY}-2"}),
    "list_user_tokens": ({"name": "alice"}, None),
    "issue_token": ({"name": "alice"}, {"label": "laptop", "allowed_networks": ["10.0.0.0/8"]}),
    "list_tokens": ({}, None),
    "get_token": ({"id": "1"}, None),
    "change_token": ({"id": "1"}, {"label": "phone", "tpm": 1000}),
    "revoke_token": ({"id": "3"}, None),
    "rotate_token": ({"id": "1"}, {"grace_seconds": 60}),
    "list_prices": ({}, None),
    "set_price": ({}, {"model": "gpt-6-sol", "input": "2.50", "output": "10", "cached_input": "1.25"}),
    "import_prices": ({"?": "apply=true"}, b"model,input,output\no3,2,8\n"),
    "export_prices": ({}, None),
    "what_if": ({}, {"since": "2026-01-01", "price": {"input": "1", "output": "2"}}),
    "remove_price": ({"model": MODEL}, None),
    "cancel_price": ({"id": "SCHEDULED"}, None),
    "list_history": ({}, None),
    "list_surcharges": ({}, None),
    "set_surcharge": ({}, {"kind": "web_search", "amount": "0.01", "model": MODEL}),
    "cancel_surcharge": ({"id": "1"}, None),
    "list_budgets": ({}, None),
    "get_budget": ({"id": "1"}, None),
    "set_user_budget": ({"name": "alice", "period": "month"}, {"amount": "20.50"}),
    "set_token_budget": ({"id": "2", "period": "total"}, {"amount": "5"}),
    "raise_budget": ({"id": "1"}, {"amount": "40", "until": f"{datetime.now(UTC) + timedelta(days=9):%Y-%m-%d}"}),
    "end_raise": ({"id": "1"}, None),
    "remove_budget": ({"id": "1"}, None),
    "report_usage": ({}, None),
    "list_rows": ({}, None),
    "get_row": ({"request_id": "ROW"}, None),
    "correct_row": ({"request_id": "ROW"}, {"input": 120, "output": 30, "reason": "OpenAI says so"}),
    "reconcile": ({}, FIGURES),
    "ledger_status": ({}, None),
    "verify_ledger": ({}, None),
    "list_archives": ({}, None),
    "list_audit": ({}, None),
    "list_admins": ({}, None),
    "revoke_admin": ({"name": "eve"}, None),
    "show_system": ({}, None),
    "show_document": ({}, None),
}


class Administrator:
    """A client of the administration listener, with a token or without one. The agent has the users alice, bob and carl
    (tokens 1 to 3), a budget of alice, a price, a row, and of a later date a price for the model `scheduled` and
    surcharge 1."""

    def __init__(self, agent: Agent, token: str | None, row: str = "", scheduled: str = "") -> None:
        self.agent = agent
        self.token = token
        self.row = row  # its request id
        self.scheduled = scheduled  # id of the price of a later date

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """Sends a request for a path below /api/v1. Names of headers are written with underscores."""
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.token is not None:
            fields["Authorization"] = f"Bearer {self.token}"
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        if data:
            fields.setdefault("Content-Type", "application/json")
        answer = await fetch(f"{self.agent.admin_url}{PREFIX}{path}", method, fields, data)
        if answer.status == 201 and "token" in answer.json:
            SECRETS.update([answer.json["token"], KEY])
        if path.startswith("/user-import") and answer.status == 200:
            SECRETS.update([KEY, *(issued["token"] for issued in answer.json["tokens"])])
        return answer

    async def example(self, route: Route) -> Answer:
        """Sends the example request for a route."""
        values, body = EXAMPLES[route.handler.__name__]
        path = route.path + ("?" + values["?"] if "?" in values else "")
        for name, value in values.items():
            value = {"ROW": self.row, "SCHEDULED": self.scheduled}.get(value, value)
            path = path.replace(f"{{{name}}}", quote(value, safe=""))
        media_type = {"Content_Type": next(iter(route.files))} if route.files else {}
        return await self.ask(route.method, path, body, **media_type)

    def with_token(self, token: str | None) -> "Administrator":
        """A client of the same agent with another token."""
        return Administrator(self.agent, token, self.row, self.scheduled)
