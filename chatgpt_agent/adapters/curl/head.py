"""The head of OpenAI's answer: status and header fields."""

import msgspec

from chatgpt_agent.core.errors import ProxyError, UpstreamError, UpstreamInvalid


class Head(msgspec.Struct, frozen=True):
    """The start of an answer: HTTP status and header fields in their order."""

    status: int
    fields: list[tuple[str, str]]

    def first(self, name: str) -> str | None:
        """The value of a field (name in lower case), or None."""
        for key, value in self.fields:  # without a generator: it is asked for four fields of each answer
            if key.lower() == name:
                return value
        return None


def head_error(head: Head, *, has_proxy: bool) -> UpstreamError | None:
    """Why a head cannot be relayed: a redirect, a status outside of HTTP, a proxy's 407. None: it can."""
    if head.status == 407 and has_proxy:
        return ProxyError(sent=True, cause="the proxy answered with status 407: it wants other credentials")
    if not 200 <= head.status < 600 or 300 <= head.status < 400:
        return UpstreamInvalid(sent=True, cause=f"the answer has status {head.status}")
    return None


def parse_field(line: bytes) -> tuple[str, str]:
    """Name and value of a header line."""
    name, _, value = line.decode("latin-1").partition(":")
    return name.strip(), value.strip()
