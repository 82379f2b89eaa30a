"""The text of `/metrics`, kept for some seconds.

Belongs here: which metrics a process shows, and how long they are kept. Does not belong here: the metrics.
"""

import threading
import time
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from market_data_pipeline.api.dagster_client import Dagster
from market_data_pipeline.api.datasets.summaries import Summaries
from market_data_pipeline.api.metrics.counted import counted
from market_data_pipeline.api.metrics.datasets import dataset_metrics
from market_data_pipeline.api.metrics.others import runs, version, weights
from market_data_pipeline.core.counting.file import counts_in
from market_data_pipeline.settings import Settings

MEDIA_TYPE = CONTENT_TYPE_PLAIN_0_0_4
# Anybody may ask, and often: the store, the budgets and Dagster are asked once in this time.
_KEPT_S = 5.0


class MetricsPage(Collector):
    """The text of a process. Threads may share it: they wait for the same text."""

    def __init__(self, metrics: Callable[[], Iterator[Metric]]) -> None:
        """Nothing is collected before the first call of `text`."""
        self._metrics = metrics
        self._lock = threading.Lock()
        self._text = b""
        self._until_s = 0.0

    def collect(self) -> Iterator[Metric]:
        """The metrics as they are now, for prometheus_client."""
        return self._metrics()

    def text(self) -> bytes:
        """The metrics in the format of `MEDIA_TYPE`, at most 5 seconds old."""
        with self._lock:
            if time.monotonic() >= self._until_s:
                registry = CollectorRegistry(auto_describe=False)
                registry.register(self)
                self._text = generate_latest(registry)
                self._until_s = time.monotonic() + _KEPT_S
            return self._text


def metrics_of_host(settings: Settings) -> MetricsPage:
    """What the processes of this machine have counted, and the request weight."""

    def collect() -> Iterator[Metric]:
        yield from version()
        yield from weights(settings)
        yield from counted(counts_in(settings.logs))

    return MetricsPage(collect)


def metrics_of_all(settings: Settings, summaries: Summaries, dagster: Dagster) -> MetricsPage:
    """The same, and what the store and Dagster have."""

    def collect() -> Iterator[Metric]:
        yield from version()
        yield from dataset_metrics(summaries.known, round(time.time() * 1000))
        yield from runs(dagster)
        yield from weights(settings)
        yield from counted(counts_in(settings.logs))

    return MetricsPage(collect)
