"""The names of what is charged: kinds of tokens, whose names come from their table, time, and calls of tools."""

from chatgpt_agent.core.money.kinds import TOKEN_KINDS
from chatgpt_agent.web.console.routing import ConsoleRequest


def part_names(request: ConsoleRequest) -> dict[str, str]:
    """Returns the names of the parts of a cost."""
    _ = request._
    return {
        **{kind.name: _(kind.title) for kind in TOKEN_KINDS},
        "seconds": _("Seconds of audio"),
        "web_search": _("Web searches"),
        "file_search": _("File searches"),
        "code_interpreter": _("Containers of the code interpreter"),
    }


def rate_labels(request: ConsoleRequest) -> dict[str, str]:
    """Returns the names of the rates of a price."""
    _ = request._
    return {
        **{kind.rate: _(kind.title) for kind in TOKEN_KINDS if kind.rate},
        "input": _("Input"),
        "cached_input": _("Cached input"),
        "output": _("Output"),
        "minute": _("Minute of audio"),
    }
