"""What an agent reports about itself, for operators: counted since its start."""

from collections.abc import Callable

from chatgpt_agent.core.access.identity import COUNTED_MODEL
from chatgpt_agent.core.name_counter import NameCounter
from chatgpt_agent.core.unknown_fields import COUNTED_FIELD
from chatgpt_agent.runtime.request_figures import RequestFigures
from chatgpt_agent.runtime.upstream_contact import UpstreamContact


class Figures:
    """`unknown_fields`: names in OpenAI's usages that we do not know, by answers; `unpriced_models`: models that
    clients asked for and that have no price, by requests; `in_progress` returns how many requests there are now;
    `key_ids` reads the ids of the master keys that the agent has; `upstream`: when OpenAI last answered; `requests`:
    what is counted of each request."""

    def __init__(self, in_progress: Callable[[], int] = lambda: 0, key_ids: Callable[[], list[str]] = list) -> None:
        self.unknown_fields = NameCounter(COUNTED_FIELD)
        self.unpriced_models = NameCounter(COUNTED_MODEL)
        self.in_progress = in_progress
        self.key_ids = key_ids
        self.upstream = UpstreamContact()
        self.requests = RequestFigures()

    def idle_seconds(self) -> float:
        """Returns for how many seconds no request has been in progress; 0 while one is."""
        return 0.0 if self.in_progress() else self.upstream.seconds_since
