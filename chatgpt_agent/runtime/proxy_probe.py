"""Whether a request is `doctor`'s probe of the reverse proxy in front, and what is to be said to it."""

import hmac
import time
from collections.abc import Callable

from chatgpt_agent.adapters.keyring import Keyring
from chatgpt_agent.core.access.networks import NO_PEER
from chatgpt_agent.core.errors import StoreUnavailable
from chatgpt_agent.core.proxy_probe import PAUSE, Sighting, count_forwarded, read_signed_value
from chatgpt_agent.runtime.authentication import Authenticator, Headers

MAX_RUNNING = 4  # probes at once: a run of doctor makes two


class ProxyProbe:
    """`keyring` raises StoreUnavailable until the database was reached; `pause`: seconds between two events."""

    def __init__(self, keyring: Callable[[], Keyring], authenticator: Authenticator, *, pause: float = PAUSE) -> None:
        self._keyring = keyring
        self._authenticator = authenticator
        self.pause = pause
        self.running = 0

    @property
    def full(self) -> bool:
        """Whether as many probes run as may."""
        return self.running >= MAX_RUNNING

    def accepts(self, values: list[str]) -> bool:
        """Whether the fields of a request are signed with one of the master keys, a short while ago."""
        signed = read_signed_value(values, time.time())
        if signed is None:
            return False
        seconds, signature = signed
        try:
            expected = self._keyring().probe_signatures(seconds)
        except StoreUnavailable:
            return False
        return any(hmac.compare_digest(signature, each) for each in expected)

    def sighting(self, headers: Headers, peer: str, port: int, ms: int) -> Sighting:
        """Returns what the agent sees of a request."""
        return Sighting(
            client=str(self._authenticator.client_address(headers, peer)),
            peer="" if peer == NO_PEER else peer,
            port=port,
            trusted=self._authenticator.is_proxy(peer),
            forwarded=count_forwarded(headers.get_list("X-Forwarded-For")),
            ms=ms,
        )
