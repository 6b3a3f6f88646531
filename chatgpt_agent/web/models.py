"""What a token may know of itself: the models that it can use."""

import msgspec

from chatgpt_agent.core.errors import ModelNotFound
from chatgpt_agent.core.money.pricing import Price
from chatgpt_agent.runtime.authentication import Authenticator
from chatgpt_agent.runtime.directory import Directory
from chatgpt_agent.runtime.rate_limiter import Limits
from chatgpt_agent.web.base import TokenHandler


class ModelsHandler(TokenHandler):
    """`GET /v1/models` and `/v1/models/MODEL` (https://platform.openai.com/docs/api-reference/models): those that
    have a price and that this token may use."""

    def initialize(self, directory: Directory, gate: Authenticator, limits: Limits) -> None:  # type: ignore[override]
        super().initialize(gate, limits)
        self._directory = directory

    def get(self, model: str | None = None) -> None:
        prices = self._directory.models(self.identity)
        if model is None:
            self.write_json(msgspec.json.encode({"object": "list", "data": [_model(price) for price in prices]}))
            return
        found = next((price for price in prices if price.model == model), None)
        if found is None:
            raise ModelNotFound(model[:128])
        self.write_json(msgspec.json.encode(_model(found)))

    head = get


def _model(price: Price) -> dict[str, object]:
    """openai.types.Model."""
    return {
        "id": price.model,
        "object": "model",
        "created": int(price.effective_at.timestamp()),
        "owned_by": "openai",
    }
