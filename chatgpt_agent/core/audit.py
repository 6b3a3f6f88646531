"""Who changes something, as the audit log tells it."""

from enum import StrEnum

import msgspec


class Via(StrEnum):
    """The way that a change came. What is changed by hand in PostgreSQL is logged as `sql`."""

    COMMAND = "command"
    REST = "rest"
    CONSOLE = "console"


class Actor(msgspec.Struct, frozen=True):
    """Somebody who changes something: their name, the way they came, and where they are (an IP address or a host)."""

    name: str
    via: Via
    address: str


# For what nobody in particular does, such as a program that sets itself up.
SYSTEM = Actor("chatgpt-agent", Via.COMMAND, "local")
