"""The probe of a reverse proxy: through it, `doctor` asks an agent for a short stream, and what it sees of the client.
The request is signed: without the master key the URL is unknown."""

import re
from collections.abc import Sequence

import msgspec

PATH = "/proxyz"
HEADER = "X-Agent-Probe"
MAX_AGE = 60  # seconds by which the time in a signed value may differ from the agent's
EVENTS = 3
PAUSE = 0.5  # seconds between two events

_VALUE = re.compile(r"(\d{1,12})\.([0-9a-f]{64})", re.ASCII)


class Sighting(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent says in each event. `client`: the address that it takes for the client's; `peer`, `port`: of the
    connection, empty and 0 on a Unix socket; `trusted`: whether the peer is a trusted proxy; `forwarded`: the number of
    addresses in X-Forwarded-For; `ms`: since the first event."""

    client: str
    peer: str
    port: int
    trusted: bool
    forwarded: int
    ms: int


def signed_value(seconds: int, signature: str) -> str:
    """Returns the value of the header field. `seconds`: Unix time."""
    return f"{seconds}.{signature}"


def read_signed_value(values: Sequence[str], now: float) -> tuple[int, str] | None:
    """Returns the time and the signature that the header fields of a request have; None: they have none of now."""
    match = _VALUE.fullmatch(values[0]) if len(values) == 1 else None
    if match is None or abs(int(match[1]) - now) > MAX_AGE:
        return None
    return int(match[1]), match[2]


def count_forwarded(values: Sequence[str]) -> int:
    """Returns the number of addresses in the fields of X-Forwarded-For."""
    return len(",".join(values).split(",")) if values else 0


def write_event(sighting: Sighting) -> bytes:
    """Returns a server-sent event."""
    return b"data: " + msgspec.json.encode(sighting) + b"\n\n"


def read_event(event: bytes) -> Sighting | None:
    """Returns what an event says, without the empty line at its end; None: it is no event of an agent."""
    try:
        return msgspec.json.decode(event.removeprefix(b"data: "), type=Sighting)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
