"""The actor of a change, as the audit log records it."""

from enum import StrEnum

import msgspec


class Via(StrEnum):
    """The interface through which a change is made. Changes by hand in PostgreSQL are logged as `sql`."""

    COMMAND = "command"
    REST = "rest"
    CONSOLE = "console"
    OWN_TOKEN = "own_token"  # noqa: S105 - a user's own token, at `/me/rotate` or on the page of the token


class Actor(msgspec.Struct, frozen=True):
    """The author of a change: a name, the interface, and an IP address or host name."""

    name: str
    via: Via
    address: str
