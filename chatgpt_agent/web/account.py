"""What a token may know of itself: the models that it can use."""

import msgspec

from chatgpt_agent.core.errors import ModelNotFound
from chatgpt_agent.core.pricing import Price
from chatgpt_agent.core.tokens import token_from_headers
from chatgpt_agent.services.directory import Directory
from chatgpt_agent.web.base import ApiHandler


class ModelsHandler(ApiHandler):
    """`GET /v1/models` and `/v1/models/MODEL` (https://platform.openai.com/docs/api-reference/models): those that
    have a price."""

    def initialize(self, directory: Directory) -> None:  # type: ignore[override]
        super().initialize()
        self._directory = directory

    def check(self) -> None:
        token = token_from_headers(self.request.headers.get_list("Authorization"))
        self.who = self._directory.identify(token).user.name

    def get(self, model: str | None = None) -> None:
        prices = self._directory.models()
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
