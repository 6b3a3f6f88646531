"""The wiring: constructs the services of an agent and connects them with each other and with the handlers."""

import asyncio

from tornado.web import Application

from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.curl.upstream_client import UpstreamClient
from chatgpt_agent.adapters.outbox import Outbox
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.admin.administration import Stores
from chatgpt_agent.admin.ledger import Finding
from chatgpt_agent.admin.own_token import OwnToken
from chatgpt_agent.core.budget.max_cost import Assumptions
from chatgpt_agent.core.http.endpoints import upstream_urls
from chatgpt_agent.runtime.abandoned import AbandonedAnswers
from chatgpt_agent.runtime.account_limiter import AccountLimiter, rotation_limiter
from chatgpt_agent.runtime.admission import Admissions
from chatgpt_agent.runtime.alerts import Alerts, open_webhook
from chatgpt_agent.runtime.authentication import AdminAuthenticator, Authenticator
from chatgpt_agent.runtime.background import OnDeath
from chatgpt_agent.runtime.budget_store import PostgresBudgetStore
from chatgpt_agent.runtime.budget_sync import BudgetSync
from chatgpt_agent.runtime.budgets import Budgets
from chatgpt_agent.runtime.console_access import ConsoleAccess, ConsoleSettings
from chatgpt_agent.runtime.database import embedded_postgres
from chatgpt_agent.runtime.directory import Directory
from chatgpt_agent.runtime.embedded_watch import EmbeddedWatch
from chatgpt_agent.runtime.figures import Figures
from chatgpt_agent.runtime.job import Job
from chatgpt_agent.runtime.last_used import WRITE_TIMEOUT, LastUsed
from chatgpt_agent.runtime.ledger import Ledger
from chatgpt_agent.runtime.lifecycle import Lifecycle
from chatgpt_agent.runtime.limit_store import PostgresLimitStore
from chatgpt_agent.runtime.limit_sync import LimitSync
from chatgpt_agent.runtime.loop_lag import LoopLag
from chatgpt_agent.runtime.memory import Memory
from chatgpt_agent.runtime.metrics import Metrics
from chatgpt_agent.runtime.own_api import OwnApi
from chatgpt_agent.runtime.page_brake import PageBrake
from chatgpt_agent.runtime.proxy_probe import ProxyProbe
from chatgpt_agent.runtime.rate_limiter import RateLimiter
from chatgpt_agent.runtime.read_pool import ReadPool
from chatgpt_agent.runtime.relay import Relay
from chatgpt_agent.runtime.shipper import SHIP_TIMEOUT
from chatgpt_agent.runtime.stored_figures import StoredFigures
from chatgpt_agent.runtime.tracing import open_tracing
from chatgpt_agent.runtime.tuning import Tuning
from chatgpt_agent.web.admin.routing import MAX_FILE, AdminApi
from chatgpt_agent.web.app import Services, admin_app, api_app, forwarded_endpoints
from chatgpt_agent.web.console.routing import ConsoleServices
from chatgpt_agent.web.cors import Cors
from chatgpt_agent.web.exposition import Exposition
from chatgpt_agent.web.forward import ForwardServices
from chatgpt_agent.web.health import Readiness
from chatgpt_agent.web.metrics import MetricsAccess, MetricsServices, MetricsSettings

ADMIN_MEMORY = 4 * MAX_FILE  # bytes of files, apart from clients' bodies: admins can work however many these are
REPORT_SECONDS = 60.0  # for a statement of a report over REST
PROOF_SECONDS = 3600.0  # for a statement that may read the whole ledger


class Wiring:
    """All services of one agent."""

    def __init__(self, config: Config, dsn: str, *, tuning: Tuning, on_death: OnDeath) -> None:
        clock = asyncio.get_running_loop().time
        urls = upstream_urls(config.openai_url)
        # Services, each after those that it uses; only the users' names in alerts come from a later one.
        self.embedded_watch = EmbeddedWatch(embedded_postgres(config), clock=clock) if config.embedded else None
        self.lifecycle = Lifecycle()
        self.memory = Memory(config.buffered_size)
        self.upstream = UpstreamClient(config.upstream)
        self.rate_limiter = RateLimiter(clock, limits_of=lambda owner: self.directory.limits_of(owner))
        self.limit_sync = LimitSync(
            self.rate_limiter.meters,
            PostgresLimitStore(Store(dsn), Store(dsn)),
            clock=clock,
            times=tuning.limits,
            on_death=on_death,
        )
        self.read_pool = ReadPool(dsn)
        self.account_limiter = AccountLimiter(clock)
        self.last_used = LastUsed(
            Store(dsn, seconds=WRITE_TIMEOUT), check_seconds=tuning.last_used_check, clock=clock, on_death=on_death
        )
        self.alerts = Alerts(
            Store(dsn),
            open_webhook(config),
            user_of=lambda budget: self.directory.user_of(budget),
            times=tuning.alerts,
            on_death=on_death,
        )
        self.budgets = Budgets(on_threshold=self.alerts.on_threshold, on_refusal=self.alerts.on_refusal)
        self.budget_sync = BudgetSync(
            self.budgets, PostgresBudgetStore(Store(dsn), Store(dsn)), times=tuning.budgets, on_death=on_death
        )
        self.directory = Directory(
            Store(dsn),
            on_budgets=self.budgets.set_budgets,
            stale_after=config.stale_after,
            clock=clock,
            host=config.openai_host,
            on_keys=lambda: self.ledger.report_soon(),
            on_death=on_death,
        )
        self.figures = Figures(
            in_progress=lambda: self.admissions.running, key_ids=lambda: self.admin_authenticator.key_ids()
        )
        self.ledger = Ledger(
            Outbox(config.data_dir, keep=config.keep_shipped),
            Store(dsn, seconds=SHIP_TIMEOUT),
            observer=self.budgets,
            figures=self.figures,
            on_death=on_death,
        )
        self.admissions = Admissions(
            directory=self.directory,
            rate_limiter=self.rate_limiter,
            budgets=self.budgets,
            assumptions=_assumptions(config),
            max_requests=config.max_concurrent_requests,
            unpriced_models=self.figures.unpriced_models,
        )
        self.relay = Relay(
            directory=self.directory,
            ledger=self.ledger,
            upstream=self.upstream,
            urls=urls,
            abandoned=AbandonedAnswers(seconds=config.drain_after_disconnect, limit=config.drain_after_disconnect_max),
            own_seconds=self.figures.requests.own,
        )
        self.authenticator = Authenticator(
            self.directory,
            self.last_used,
            trusted_proxies=config.trusted_proxies,
            clock=clock,
            burst=tuning.wrong_token_burst,
        )
        self.proxy_probe = ProxyProbe(
            lambda: self.admin_authenticator.keyring, self.authenticator, pause=tuning.proxy_probe
        )
        self.tracing = open_tracing(config)
        # Administration.
        self.own_api = OwnApi()  # known once the server listens
        self.admin_stores = _admin_stores(dsn)
        self.admin_authenticator = self._admin_authenticator(config, tuning.wrong_token_burst)
        self.console_access = self._console_access(config, tuning.wrong_token_burst)
        self.page_brake = PageBrake(self.figures.idle_seconds, loop=asyncio.get_running_loop(), times=tuning.page_brake)
        self.verification = Job[list[Finding]]("ledger verify")
        # Metrics.
        self.loop_lag = LoopLag()
        self.stored_figures = StoredFigures(
            self.admin_stores.reports, config.data_dir, seconds=tuning.stored_figures, on_death=on_death
        )
        self.metrics_access = MetricsAccess(self.admin_authenticator, _metrics_settings(config))
        # Handlers. What of their services a reload changes has a name here.
        self.cors = Cors(config.cors_origins)
        self.forward_services = self._forward_services(config)
        self.admin_api = self._admin_api(config)
        self.api = self._api(urls)
        self.admin = self._admin()

    def reload(self, config: Config) -> None:
        """Gives each service its values of a new configuration. Raises SetupError, and changes nothing, where a file
        cannot be used. Only keys in RELOADABLE (adapters/config_reload.py) have new values."""
        webhook = open_webhook(config)
        self.alerts.set_webhook(webhook)
        self.memory.limit = config.buffered_size
        self.upstream.set_settings(config.upstream)
        self.directory.stale_after = config.stale_after
        self.ledger.keep_shipped(config.keep_shipped)
        self.admissions.assumptions = _assumptions(config)
        self.admissions.max_requests = config.max_concurrent_requests
        self.relay.abandoned.seconds = config.drain_after_disconnect
        self.relay.abandoned.limit = config.drain_after_disconnect_max
        self.authenticator.set_trusted_proxies(config.trusted_proxies)
        self.admin_authenticator.set_trusted_proxies(config.trusted_proxies)
        self.console_access.set_settings(_console_settings(config))
        self.cors.set_origins(config.cors_origins)
        self.forward_services.max_body_size = config.max_body_size
        self.forward_services.ask_stream_usage = config.openai_ask_stream_usage
        self.metrics_access.set_settings(_metrics_settings(config))
        self.admin_api.config = config
        self.ledger.report_soon()  # reads the key file again, too

    def _admin_authenticator(self, config: Config, burst: int) -> AdminAuthenticator:
        clock = asyncio.get_running_loop().time
        return AdminAuthenticator(
            self.admin_stores.changes, trusted_proxies=config.trusted_proxies, clock=clock, burst=burst
        )

    def _console_access(self, config: Config, burst: int) -> ConsoleAccess:
        clock = asyncio.get_running_loop().time
        return ConsoleAccess(self.admin_stores.changes, _console_settings(config), clock=clock, burst=burst)

    def _forward_services(self, config: Config) -> ForwardServices:
        return ForwardServices(
            authenticator=self.authenticator,
            admissions=self.admissions,
            rate_limiter=self.rate_limiter,
            relay=self.relay,
            lifecycle=self.lifecycle,
            memory=self.memory,
            tracing=self.tracing,
            max_body_size=config.max_body_size,
            ask_stream_usage=config.openai_ask_stream_usage,
        )

    def _api(self, urls: dict[str, str]) -> Application:
        services = Services(
            endpoints=forwarded_endpoints(urls),
            forward=self.forward_services,
            directory=self.directory,
            budgets=self.budgets,
            read_pool=self.read_pool,
            account_limiter=self.account_limiter,
            own_token=self._own_token(),
            public_url=lambda: self.admin_api.config.public_url,
            readiness=self._readiness(),
            proxy_probe=self.proxy_probe,
            cors=self.cors,
            on_error=self.figures.requests.note_error,
        )
        return api_app(services)

    def _own_token(self) -> OwnToken:
        limiter = rotation_limiter(asyncio.get_running_loop().time)
        return OwnToken(self.admin_stores.changes, lambda: self.admin_authenticator.keyring, limiter)

    def _admin_api(self, config: Config) -> AdminApi:
        return AdminApi(
            config=config,
            authenticator=self.admin_authenticator,
            stores=self.admin_stores,
            lifecycle=self.lifecycle,
            memory=Memory(ADMIN_MEMORY),
            upstream=self.figures.upstream,
        )

    def _admin(self) -> Application:
        console = ConsoleServices(
            api=self.admin_api,
            access=self.console_access,
            page_brake=self.page_brake,
            time_zone=lambda: self.directory.time_zone,
            own_api=lambda: self.own_api,
            nearly_spent=self.budgets.nearly_spent,
            verification=self.verification,
        )
        metrics = MetricsServices(access=self.metrics_access, exposition=Exposition(self._metrics()))
        return admin_app(self.admin_api, console, self._readiness(), metrics)

    def _metrics(self) -> Metrics:
        return Metrics(
            figures=self.figures,
            ledger=self.ledger,
            directory=self.directory,
            alerts=self.alerts,
            loop_lag=self.loop_lag,
            stored=self.stored_figures,
        )

    def _readiness(self) -> Readiness:
        return Readiness(
            directory=self.directory,
            budgets=self.budgets,
            ledger=self.ledger,
            lifecycle=self.lifecycle,
            embedded_watch=self.embedded_watch,
        )


def _assumptions(config: Config) -> Assumptions:
    return Assumptions(
        attachment_tokens=config.budget_linked_tokens,
        output_tokens=config.budget_output_tokens,
        tool_calls=config.budget_tool_calls,
    )


def _console_settings(config: Config) -> ConsoleSettings:
    return ConsoleSettings(
        hosts=config.console_hosts,
        trusted_proxies=config.trusted_proxies,
        user_header=config.admin_user_header,
        user_header_from=config.admin_user_header_from,
    )


def _metrics_settings(config: Config) -> MetricsSettings:
    return MetricsSettings(
        networks=config.metrics_networks, trusted_proxies=config.trusted_proxies, hosts=config.console_hosts
    )


def _admin_stores(dsn: str) -> Stores:
    # In the background: on the agent's machine, a page of sums would take every processor from requests.
    return Stores(
        changes=Store(dsn),
        reports=Store(dsn, seconds=REPORT_SECONDS, background=True),
        proofs=Store(dsn, seconds=PROOF_SECONDS, background=True),
        checks=Store(dsn, seconds=PROOF_SECONDS, background=True),
    )
