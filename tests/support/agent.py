"""An agent on the test's own loop: the real server, with helpers for tests."""

import asyncio
import contextlib
import json
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.systemd import ServiceManager
from chatgpt_agent.admin.administration import Administration, Stores
from chatgpt_agent.admin.admins import Role
from chatgpt_agent.core.access.settings import NewUser
from chatgpt_agent.core.errors import Conflict, DirectoryStale, InvalidApiKey, StoreError
from chatgpt_agent.core.money.kinds import Rates
from chatgpt_agent.core.money.pricing import Tier
from chatgpt_agent.runtime.master_key import open_keyring
from chatgpt_agent.runtime.page_brake import BrakeTimes
from chatgpt_agent.runtime.tuning import Tuning
from chatgpt_agent.server import Server
from chatgpt_agent.web.client_stream import ConnectionLimits
from tests.support.administration import ROOT
from tests.support.canaries import SECRETS
from tests.support.client import Answer, Connection, fetch, request_bytes
from tests.support.waiting import SECONDS, until

OPENAI_KEY = "sk-made-up-key-of-alice"
MODEL = "gpt-6-luna"
TUNING = Tuning(
    page_brake=BrakeTimes(interval=0.0, apart=0.0)
)  # tests load pages faster than people do, between requests


class Agent:
    """A running agent; `token` is a token of its user `alice`.

    The settings `limits`, `tuning` and `manager` are further arguments of its server.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        self.limits: ConnectionLimits | None = settings.pop("limits", None)
        self.tuning = settings.pop("tuning", TUNING)
        self.manager: ServiceManager = settings.pop("manager", ServiceManager(None))
        defaults = {"bind_address": "127.0.0.1", "port": 0, "admin_port": 0, "max_concurrent_requests": 200}
        self.config = Config(**{**defaults, **settings})
        self.token = ""
        self.answers: list[Answer] = []  # of `post` and `chat`

    async def start(self) -> None:
        """Starts it with a user and a price, and waits until it is ready."""
        assert self.config.database_url is not None
        self.server = Server(self.config, self.config.database_url, self.limits, self.tuning, manager=self.manager)
        await self.server.start()
        await self.until(lambda: self.server.directory.loaded and self.server.budgets.loaded)
        self.store = Store(self.config.database_url)
        stores = Stores(changes=self.store, reports=self.store, proofs=self.store, checks=self.store)
        keyring = await open_keyring(self.config, self.store)
        self.administration = Administration(self.config, stores, ROOT, keyring)
        self.token = await self.add_user("alice", OPENAI_KEY)
        await self.set_price(MODEL, "0.15", "0.60", "0.075")

    async def stop(self) -> None:
        """Stops it as a signal does. Nothing may be held of its requests then."""
        await self.server.stop()
        assert self.server.memory.held == 0
        await self.store.close()

    @property
    def url(self) -> str:
        """The URL of the API."""
        return f"{'https' if self.config.tls_certificate else 'http'}://127.0.0.1:{self.server.port}"

    @property
    def admin_url(self) -> str:
        """The URL of the administration."""
        return f"{'https' if self.config.admin_tls else 'http'}://127.0.0.1:{self.server.admin_port}"

    async def admin_token(self, name: str, role: Role = Role.ADMIN) -> str:
        """Issues an administrator's token."""
        token = (await self.administration.admins.issue(name, role)).token
        SECRETS.add(token)
        return token

    async def add_user(self, name: str, key: str = OPENAI_KEY) -> str:
        """Adds a user, or issues another token if the user exists; the token works when this returns."""
        try:
            token = (await self.administration.users.add(NewUser(name=name, openai_key=key))).token
        except Conflict:
            token = (await self.administration.tokens.issue(name)).token
        SECRETS.update([key, token])
        await self.until(lambda: self.works(token))
        return token

    def works(self, token: str) -> bool:
        """Whether the agent accepts a token now."""
        try:
            self.server.directory.identify(token)
        except (InvalidApiKey, DirectoryStale):
            return False
        return True

    async def set_price(
        self,
        model: str,
        input: str,
        output: str,
        cached: str | None = None,
        *,
        tiers: Sequence[Tier] = (),
        **more: str,
    ) -> None:
        """Sets a price that the agent has when this returns; `more` are rates of other kinds."""
        texts = {"input": input, "output": output, **({"cached_input": cached} if cached else {}), **more}
        await self.administration.prices.set(
            model, Rates(**{kind: Decimal(text) for kind, text in texts.items()}), tiers
        )
        await self.follow()  # the book may change before, for the price that another agent of the test has set

    async def follow(self) -> None:
        """Waits until the agent has every change of users, tokens, prices and budgets that is in the database."""
        [(version,)] = await self.store.fetch("SELECT version FROM directory_version")
        await self.until(lambda: self.server.directory.version >= version)

    async def until(self, condition: Callable[[], Any], seconds: float = SECONDS) -> None:
        """Waits until a condition is true. Raises TimeoutError."""
        await until(condition, seconds=seconds)

    # Requests.

    def body(self, content: str = "hello", /, **more: Any) -> bytes:
        """Returns the body of a chat request."""
        return json.dumps({"model": MODEL, "messages": [{"role": "user", "content": content}], **more}).encode()

    def headers(self, **more: str) -> dict[str, str]:
        """Returns the headers of a valid request."""
        return {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json", **more}

    async def post(self, body: bytes, path: str = "/v1/chat/completions", **headers: str) -> Answer:
        """Sends a body with valid headers."""
        self.answers.append(await fetch(self.url + path, "POST", self.headers(**headers), body))
        return self.answers[-1]

    async def chat(self, content: str = "hello", /, **more: Any) -> Answer:
        """Sends a chat request."""
        return await self.post(self.body(content, **more))

    async def begin(self, content: str = "hello", /, **more: Any) -> Connection:
        """Sends a chat request and leaves the answer to the caller."""
        connection = await Connection.open(self.url)
        body = self.body(content, **more)
        await connection.send(request_bytes("POST", "/v1/chat/completions", self.headers(), body))
        return connection

    # The ledger.

    async def rows(self, count: int | None = None) -> list[dict[str, Any]]:
        """Waits for this number of rows in PostgreSQL, or until all are shipped; returns them in order of time."""
        async with asyncio.timeout(SECONDS):
            while True:
                await self.flush()
                waiting = await self.server.ledger.depth()  # first: a row that is shipped later is read below
                rows = await self.store.fetch("SELECT to_jsonb(usage)::text FROM usage ORDER BY started_at, request_id")
                if len(rows) == count or (count is None and waiting == 0):
                    break
                await asyncio.sleep(0.02)
        return [json.loads(text, parse_float=Decimal) for (text,) in rows]

    async def flush(self) -> None:
        """Ships rows without the delay in which the agent gathers them; where that fails, it tries again later."""
        if self.server.ledger.is_shipping:
            with contextlib.suppress(StoreError):
                await self.server.ledger.flush()


def files_below(folder: Path) -> list[Path]:
    """Returns every file below a folder."""
    return [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
