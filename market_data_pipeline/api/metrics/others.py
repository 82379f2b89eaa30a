"""What is neither counted nor in the store, as metrics: request weight, Dagster's runs, the version.

Belongs here: asking for it when it is shown. Does not belong here: datasets, counts.
"""

from collections.abc import Iterator
from contextlib import closing

from prometheus_client.core import GaugeMetricFamily, Metric

from market_data_pipeline import __version__
from market_data_pipeline.api.dagster_client import Dagster, DagsterUnavailable
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.instance.composition import live_sources_of
from market_data_pipeline.settings import Settings


def version() -> Iterator[Metric]:
    """The version of this package, as a label."""
    info = GaugeMetricFamily("market_data_info", "The version that serves this page.", labels=("version",))
    info.add_metric((__version__,), 1)
    yield info


def weights(settings: Settings) -> Iterator[Metric]:
    """The request weight of each market, as all processes together have used it in this minute. Sends no request."""
    used = GaugeMetricFamily(
        "market_data_weight_used",
        "Request weight used in the running minute; 0 while the budget in Postgres cannot be reached.",
        labels=("market",),
    )
    limit = GaugeMetricFamily("market_data_weight_limit", "Request weight that may be used.", labels=("market",))
    closed = GaugeMetricFamily(
        "market_data_weight_closed_seconds",
        "For how long the exchange refuses all requests from this address; 0 if it does not.",
        labels=("market",),
    )
    for market in Market:
        with closing(live_sources_of(settings, market)) as sources:
            usage = sources.usage()
        used.add_metric((market.value,), usage.used)
        limit.add_metric((market.value,), usage.limit)
        closed.add_metric((market.value,), usage.closed_s)
    yield from (used, limit, closed)


def runs(dagster: Dagster) -> Iterator[Metric]:
    """The runs that Dagster has, by status, and whether its webserver answers; without an answer no runs."""
    up = GaugeMetricFamily("market_data_dagster_up", "1 if the Dagster webserver answers, else 0.")
    by_status = GaugeMetricFamily(
        "market_data_runs", "Runs that Dagster has, by status; one that is deleted there is gone.", labels=("status",)
    )
    try:
        for status, count in dagster.run_counts().items():
            by_status.add_metric((status,), count)
        up.add_metric((), 1)
    except DagsterUnavailable:
        up.add_metric((), 0)
    yield from (up, by_status)
