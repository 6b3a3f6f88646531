"""The metrics as text, in the formats of Prometheus and OpenMetrics."""

import time
from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client import ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from chatgpt_agent.core.cooperative import Cooperative
from chatgpt_agent.core.metrics import METRICS, Kind, Metric
from chatgpt_agent.runtime.histogram import Histogram
from chatgpt_agent.runtime.metrics import Metrics, Samples

_END = b"# EOF\n"  # of OpenMetrics


class Exposition:
    """The metrics of one agent, and those of its process that all programs have."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._process = OwnProcess(registry=None)  # None: not in the registry of the whole process

    def encode(self, accept: str) -> tuple[Cooperative[bytes], str]:
        """Returns the work that makes the text, metric after metric, and its media type. `accept`: the header field of
        the request."""
        encode, content_type = choose_encoder(accept)

        def work() -> Cooperative[bytes]:
            parts, end = [], b""
            for family in self._families():
                part = encode(_One(family))
                if part.endswith(_END):
                    part, end = part.removesuffix(_END), _END
                parts.append(part)
                yield
            return b"".join([*parts, end])

        return work(), content_type

    def _families(self) -> Iterator[Family]:
        samples = self._metrics.read()
        for metric in METRICS:
            if metric in samples:
                yield _family(metric, samples[metric])
        yield from self._process.collect()


class OwnProcess(ProcessCollector):
    """The metrics of the process, also where systemd hides all of /proc that is not of a process (`ProcSubset=pid`):
    prometheus-client has none of them if it cannot read /proc/stat, of which it only needs the time of the boot."""

    def _boot_time(self) -> float:
        clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # only Linux has it, and only Linux has /proc
        return time.time() - time.clock_gettime(clock)


class _One(Collector):
    """A registry of one metric: all at once would hold the event loop for 25 ms where there are many models."""

    def __init__(self, family: Family) -> None:
        self._family = family

    def collect(self) -> Iterator[Family]:
        yield self._family


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
