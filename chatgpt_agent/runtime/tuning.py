"""Values that no configuration key sets, in one place, so that tests can change them."""

import msgspec

from chatgpt_agent.runtime import authentication


class Tuning(msgspec.Struct, frozen=True, kw_only=True):
    """The defaults are those of a running agent."""

    wrong_token_burst: int = authentication.BURST
