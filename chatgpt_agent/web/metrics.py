"""`GET /metrics` of the admin port: the metrics in Prometheus's text format."""

from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from itertools import accumulate

import msgspec
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from chatgpt_agent.core.access.hosts import is_allowed_host, plain_host
from chatgpt_agent.core.access.networks import NO_PEER, Networks, Proxies, client_address, parse_address
from chatgpt_agent.core.errors import AgentError, MethodNotAllowed, MisdirectedRequest
from chatgpt_agent.core.metrics import METRICS, Kind, Metric
from chatgpt_agent.runtime.authentication import AdminAuthenticator, Headers
from chatgpt_agent.runtime.histogram import Histogram
from chatgpt_agent.runtime.metrics import Metrics, Samples
from chatgpt_agent.web.admin.handler import public_error
from chatgpt_agent.web.base import ApiHandler

PATH = "/metrics"


class MetricsSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the configuration says of the metrics. `networks`: that read them without signing in; `hosts`: under which
    the console is reached. A client of a proxy that is not in `trusted_proxies` is not known by its address."""

    networks: tuple[str, ...]
    trusted_proxies: tuple[str, ...]
    hosts: tuple[str, ...]


class MetricsAccess:
    """Who may read the metrics: clients in some networks, and admins with their token."""

    def __init__(self, authenticator: AdminAuthenticator, settings: MetricsSettings) -> None:
        self._authenticator = authenticator
        self.set_settings(settings)

    def set_settings(self, settings: MetricsSettings) -> None:
        """Puts other settings in force."""
        self._networks = Networks(settings.networks)
        self._trusted_proxies = Proxies(settings.trusted_proxies)
        self._hosts = frozenset(map(plain_host, settings.hosts))

    async def check(self, headers: Headers, peer: str | None, host: str) -> str:
        """Returns the name of the admin, or `-`. Raises InvalidApiKey, RateLimited, MisdirectedRequest, StoreError."""
        if not headers.get_list("Authorization") and self._is_in_network(headers, peer):
            if not (_is_address(host) or is_allowed_host(host, self._hosts)):
                raise MisdirectedRequest
            return "-"
        admin, _ = await self._authenticator.identify(headers, peer)
        return admin.name

    def _is_in_network(self, headers: Headers, peer: str | None) -> bool:
        forwarded = headers.get_list("X-Forwarded-For")
        if parse_address(peer or NO_PEER) not in self._trusted_proxies and (forwarded or headers.get_list("Forwarded")):
            return False  # otherwise all clients of a proxy on this machine would be let in
        return client_address(peer or NO_PEER, forwarded, self._trusted_proxies) in self._networks


def _is_address(host: str) -> bool:
    """Whether a Host header field has an address and no name, which a web page could have given to us."""
    try:
        ip_address(plain_host(host).strip("[]"))
    except ValueError:
        return False
    return True


class MetricsServices(msgspec.Struct, frozen=True, kw_only=True):
    """What the handler works with."""

    access: MetricsAccess
    registry: CollectorRegistry


class MetricsHandler(ApiHandler):
    """Answers scrapes. Nothing waits for PostgreSQL, except the check of an admin's token."""

    quiet = True

    def initialize(self, services: MetricsServices) -> None:
        self._services = services

    async def prepare(self) -> None:  # type: ignore[override]  # Tornado awaits it; the base class's is not async
        try:
            if self.request.method not in self.methods:
                raise MethodNotAllowed(f"Only {' and '.join(self.methods)} requests are accepted here.")
            request = self.request
            self.access.user = await self._services.access.check(request.headers, request.remote_ip, request.host)
        except AgentError as error:
            self.refuse(public_error(error))

    def get(self) -> None:
        encode, content_type = choose_encoder(self.request.headers.get("Accept", ""))
        text = encode(self._services.registry)
        self.set_header("Content-Type", content_type)
        self.set_header("Cache-Control", "no-store")
        self.set_header("Content-Length", str(len(text)))
        self.write(text)

    head = get


def registry_of(metrics: Metrics) -> CollectorRegistry:
    """Returns a registry of one agent, with the metrics of its process that all programs have."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Reader(metrics))
    ProcessCollector(registry=registry)
    return registry


class _Reader(Collector):
    """Reads the values at each scrape."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Family]:
        samples = self._metrics.read()
        for metric in METRICS:
            if metric in samples:
                yield _family(metric, samples[metric])


def _family(metric: Metric, samples: Samples) -> Family:
    name, text, labels = metric.full_name, metric.meaning, metric.labels
    if metric.kind is Kind.HISTOGRAM:
        histograms = HistogramMetricFamily(name, text, labels=labels)
        for values, value in samples.items():
            assert isinstance(value, Histogram)
            histograms.add_metric(values, _buckets(value), value.sum)
        return histograms
    kind = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
    family = kind(name, text, labels=labels)
    for values, value in samples.items():
        assert not isinstance(value, Histogram)
        family.add_metric(values, value)
    return family


def _buckets(histogram: Histogram) -> Sequence[tuple[str, float]]:
    bounds = [*map(floatToGoString, histogram.bounds), "+Inf"]
    return list(zip(bounds, accumulate(histogram.counts), strict=True))
