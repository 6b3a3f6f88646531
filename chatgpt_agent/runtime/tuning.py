"""Values that no configuration key sets, in one place, so that tests can change them."""

import msgspec

from chatgpt_agent.core import proxy_probe
from chatgpt_agent.runtime import failed_attempts, last_used, stored_figures
from chatgpt_agent.runtime.alerts import AlertTimes
from chatgpt_agent.runtime.budget_sync import SyncTimes
from chatgpt_agent.runtime.limit_sync import LimitTimes
from chatgpt_agent.runtime.page_brake import BrakeTimes


class Tuning(msgspec.Struct, frozen=True, kw_only=True):
    """The defaults are those of a running agent."""

    wrong_token_burst: int = failed_attempts.BURST
    last_used_check: float = last_used.CHECK_SECONDS
    budgets: SyncTimes = SyncTimes()
    limits: LimitTimes = LimitTimes()
    alerts: AlertTimes = AlertTimes()
    page_brake: BrakeTimes = BrakeTimes()
    stored_figures: float = stored_figures.READ_SECONDS
    proxy_probe: float = proxy_probe.PAUSE
