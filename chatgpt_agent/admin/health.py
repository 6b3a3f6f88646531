"""Whether the agent on this machine answers: for a container engine, which runs a command to learn it."""

import msgspec

from chatgpt_agent.adapters import own_listener
from chatgpt_agent.adapters.config import Config

ALIVE, READY = "/healthz", "/readyz"


class Health(msgspec.Struct, frozen=True):
    """Whether it answers as it should, and what was asked and answered, in a line."""

    ok: bool
    line: str


def check_health(config: Config, *, ready: bool, seconds: float) -> Health:
    """Asks the agent whether it is alive, or `ready` to serve requests; it may take so long to answer."""
    if config.port == 0:
        return Health(False, "port is 0, any that is free: set a fixed one to ask the agent")
    path = READY if ready else ALIVE
    failures = []
    for place in own_listener.places(config):
        try:
            status, body = own_listener.ask(place, path, seconds)
        except OSError as error:
            failures.append(f"{place.url}{path}: {error.strerror or error}")
        else:
            return Health(status == 200, f"{place.url}{path} answered {status}{_details(status, body)}")
    return Health(False, "; ".join(failures))


def _details(status: int, body: bytes) -> str:
    """What /readyz says: which part is not ready."""
    if status == 200:
        return ""
    try:
        state = msgspec.json.decode(body, type=dict[str, object])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    parts = [f"{name}: {value}" for name, value in state.items() if isinstance(value, str)]
    parts += [name for name, value in state.items() if value is True]  # draining
    return f" ({', '.join(parts)})" if parts else ""
