"""The models that a token may use."""

from datetime import UTC, datetime

import msgspec

from chatgpt_agent.core.access.identity import model_denial
from chatgpt_agent.core.errors import ModelNotFound
from chatgpt_agent.core.money.pricing import Price
from chatgpt_agent.core.names import MAX_NAME
from chatgpt_agent.runtime.authentication import Authenticator
from chatgpt_agent.runtime.directory import Directory
from chatgpt_agent.runtime.rate_limiter import RateLimiter
from chatgpt_agent.web.base import TokenHandler


class ModelsHandler(TokenHandler):
    """`GET /v1/models` and `/v1/models/MODEL` (https://platform.openai.com/docs/api-reference/models): the models that
    have a price and that the token may use."""

    def initialize(self, directory: Directory, authenticator: Authenticator, rate_limiter: RateLimiter) -> None:
        self.set_services(authenticator, rate_limiter)
        self._directory = directory

    def get(self, model: str | None = None) -> None:
        if model is None:
            data = [self._model(price.model, price) for price in self._directory.models(self.identity)]
            self.write_json(msgspec.json.encode({"object": "list", "data": data}))
            return
        price = self._directory.model(self.identity, model)
        if price is None:
            in_force = self._directory.book.at(model, datetime.now(UTC))
            raise ModelNotFound(model[:MAX_NAME], reason=model_denial(self.identity, model, in_force))
        self.write_json(msgspec.json.encode(self._model(model, price)))

    head = get

    def _model(self, name: str, price: Price) -> dict[str, object]:
        """Returns a model with its price as an `openai.types.Model`."""
        day = self._directory.shutdown_dates.get(name, self._directory.shutdown_dates.get(price.model))
        return {
            "id": name,
            "object": "model",
            "created": int(price.effective_at.timestamp()),
            "owned_by": "openai",
            "shutdown_date": None if day is None else day.isoformat(),
        }
