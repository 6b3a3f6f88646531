"""How common clients are set up, ready to copy."""

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from chatgpt_agent.web.console.languages import Translator
from chatgpt_agent.web.console.parts import Code, Message, Part
from chatgpt_agent.web.console.routing import ConsoleRequest

MODEL = "gpt-6-luna"  # where no model has a price yet
_PLAIN_NAME = re.compile(r"[\w.:/-]+", re.ASCII)  # is safe in the quotes of a shell and of code


def recipes(request: ConsoleRequest, token: str, model: str = MODEL) -> list[Part]:
    """Returns what to write for curl, Python, Node.js and Codex, in a console."""
    return client_recipes(request, api_url(request), token, model)


def client_recipes(request: Translator, base: str, token: str, model: str = MODEL) -> list[Part]:
    """Returns what to write for curl, Python, Node.js and Codex. `base`: the base URL of the API."""
    _ = request._
    values = {"base": base, "token": token, "model": model}
    return [
        Message(
            title=_("Set up a client"),
            text=_("Any OpenAI client works with this base URL and the token as its API key: %(url)s") % {"url": base},
        ),
        Code(title="curl", text=_CURL % values),
        Code(title="Python", text=_PYTHON % values),
        Code(title="Node.js", text=_NODE % values),
        Code(title="Codex", text=_CODEX % values),
    ]


def model_for_recipes(models: Iterable[str]) -> str:
    """Returns one of the models that a token may use, so that its recipes work; one for text, as far as its name
    tells."""
    plain = list(filter(_PLAIN_NAME.fullmatch, models))
    return next((model for model in plain if model.startswith("gpt-")), plain[0] if plain else MODEL)


def own_page_url(base: str) -> str:
    """Returns the address of the page for users, of the base URL of the API."""
    return f"{base.removesuffix('/v1')}/me/page"


def api_url(request: ConsoleRequest) -> str:
    """Returns the base URL of the API for clients: by `public_url`, else the host at which the browser reaches the
    console, and the API's own port."""
    if (public := request.services.api.config.public_url) is not None:
        return base_url(public)
    return f"{request.services.own_api().url_at(urlsplit(request.origin).hostname)}/v1"


def base_url(url: str) -> str:
    """Returns the base URL that clients need, of an address of the API with or without `/v1`."""
    return f"{url.rstrip('/').removesuffix('/v1')}/v1"


_CURL = """curl %(base)s/chat/completions \\
  -H "Authorization: Bearer %(token)s" \\
  -H "Content-Type: application/json" \\
  -d '{"model": "%(model)s", "messages": [{"role": "user", "content": "Hello"}]}'"""

_PYTHON = """from openai import OpenAI

client = OpenAI(base_url="%(base)s", api_key="%(token)s")
messages = [{"role": "user", "content": "Hello"}]
answer = client.chat.completions.create(model="%(model)s", messages=messages)
print(answer.choices[0].message.content)"""

_NODE = """import OpenAI from "openai";

const client = new OpenAI({ baseURL: "%(base)s", apiKey: "%(token)s" });
const answer = await client.chat.completions.create({
  model: "%(model)s", messages: [{ role: "user", content: "Hello" }],
});
console.log(answer.choices[0].message.content);"""

_CODEX = """# ~/.codex/config.toml; put the token into the variable CHATGPT_AGENT_TOKEN
model_provider = "chatgpt-agent"

[model_providers.chatgpt-agent]
name = "chatgpt-agent"
base_url = "%(base)s"
env_key = "CHATGPT_AGENT_TOKEN"
wire_api = "responses"

# CHATGPT_AGENT_TOKEN=%(token)s"""
