"""`POST /me/rotate`: replaces the token of the request by a new one."""

from datetime import timedelta

import msgspec

from chatgpt_agent.admin.own_token import OwnToken
from chatgpt_agent.core.errors import AgentError, Draining, InvalidRequest, UnsupportedMediaType
from chatgpt_agent.runtime.authentication import Authenticator
from chatgpt_agent.runtime.lifecycle import Lifecycle
from chatgpt_agent.runtime.memory import Memory
from chatgpt_agent.runtime.rate_limiter import RateLimiter
from chatgpt_agent.web.admin.handler import public_error
from chatgpt_agent.web.admin.parameters import parse_body
from chatgpt_agent.web.admin.tokens import Rotation
from chatgpt_agent.web.base import TokenHandler
from chatgpt_agent.web.body import BodyHandler

MAX_BODY = 1024  # bytes


class RotateHandler(TokenHandler, BodyHandler):
    """Rotates. The body is JSON with `grace_seconds`, or empty."""

    methods = ("POST",)

    def initialize(
        self,
        *,
        authenticator: Authenticator,
        rate_limiter: RateLimiter,
        own_token: OwnToken,
        lifecycle: Lifecycle,
        memory: Memory,
    ) -> None:
        self.set_services(authenticator, rate_limiter)
        self._client_address = authenticator.client_address
        self._own_token = own_token
        self._lifecycle = lifecycle
        self._memory = memory

    def check(self) -> None:
        if self._lifecycle.draining:
            raise Draining
        super().check()
        if self.request.query:
            raise InvalidRequest("This endpoint has no query parameters.")
        self.max_body_size = MAX_BODY
        self.reserve_body(self._memory.share(self.identity.user.id))

    async def post(self) -> None:
        """Answers with the new token."""
        with self._lifecycle:
            try:
                grace = timedelta(seconds=self._rotation().grace_seconds)
                address = str(self._client_address(self.request.headers, self.request.remote_ip))
                rotated = await self._own_token.rotate(self.identity, address, grace=grace)
            except AgentError as error:
                self.write_agent_error(public_error(error))
                return
            self.set_header("Cache-Control", "no-store")
            self.write_json(msgspec.json.encode(rotated), 201)

    def _rotation(self) -> Rotation:
        body = self.take_body()
        if not body:
            return Rotation()
        media_type = self.request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if media_type != "application/json" or "Content-Encoding" in self.request.headers:
            raise UnsupportedMediaType("The body must be application/json, and not compressed.")
        rotation: Rotation = parse_body(body, Rotation)
        return rotation
