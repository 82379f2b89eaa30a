"""The datasets as metrics: how many, how large, and how far live ones are behind.

Belongs here: sums per market, and the few datasets that are named. Does not belong here: reading datasets
(`datasets.summaries`).

The number of series does not grow with that of datasets: a market has its sums and its quantiles, and of its live
datasets those are named that are furthest behind, `MOST_NAMED` at most. As long as no more than that are late, these
are the late ones, and the first others by name, so that they do not change from one minute to the next.
"""

from collections.abc import Callable, Iterator, Sequence

from prometheus_client.core import GaugeMetricFamily, Metric

from market_data_pipeline.api.datasets.kept import Summary
from market_data_pipeline.api.datasets.summaries import Known, Unreadable
from market_data_pipeline.api.datasets.verdict import lag_minutes
from market_data_pipeline.core.errors import MarketDataError
from market_data_pipeline.core.klines.coverage import Kind
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.live.freshness import ALLOWED_MINUTES

MOST_NAMED = 20
_QUANTILES = (0.5, 0.9, 0.99, 1.0)


def dataset_metrics(ask: Callable[[], list[Known | Unreadable]], now_ms: int) -> Iterator[Metric]:
    """Whether the data root can be read, and the metrics of its datasets, of which there are none if it cannot.

    A market of which some were never read yet has no sums: they would be too small.
    """
    up = GaugeMetricFamily(
        "market_data_store_up", "1 if the data root can be read, else 0, and then there are no metrics of datasets."
    )
    try:
        known = ask()
    except (MarketDataError, OSError):  # the other metrics are there all the same
        up.add_metric((), 0)
        yield up
        return
    up.add_metric((), 1)
    yield up
    datasets = [each for each in known if isinstance(each, Known)]
    unreadable = sum(isinstance(each, Unreadable) for each in known)
    by_market = {market: [each for each in datasets if each.dataset.market is market] for market in Market}
    yield GaugeMetricFamily("market_data_unreadable_datasets", "Datasets that cannot be read.", unreadable)
    count = GaugeMetricFamily("market_data_datasets", "Datasets of the store.", labels=("market", "live"))
    for market, of_market in by_market.items():
        live = sum(each.dataset.live for each in of_market)
        count.add_metric((market.value, "true"), live)
        count.add_metric((market.value, "false"), len(of_market) - live)
    yield count
    read = {
        market: [(each, each.summary) for each in of_market if each.summary]
        for market, of_market in by_market.items()
        if of_market and all(each.summary for each in of_market)
    }
    yield from _sums({market: [summary for _, summary in pairs] for market, pairs in read.items()})
    yield from _freshness(
        {market: [pair for pair in pairs if pair[0].dataset.live] for market, pairs in read.items()}, now_ms
    )


def _sums(summaries: dict[Market, list[Summary]]) -> Iterator[Metric]:
    days = GaugeMetricFamily("market_data_stored_days", "Days that have a chunk.", labels=("market",))
    klines = GaugeMetricFamily("market_data_stored_klines", "Klines in the chunks.", labels=("market",))
    size = GaugeMetricFamily("market_data_stored_bytes", "Bytes of the chunks.", labels=("market",))
    missing = GaugeMetricFamily("market_data_missing_days", "Requested days without a chunk.", labels=("market",))
    unexplained = GaugeMetricFamily(
        "market_data_unexplained_minutes", "Minutes without a kline, and without a reason.", labels=("market",)
    )
    for market, of_market in summaries.items():
        labels = (market.value,)
        days.add_metric(labels, sum(each.status.chunks for each in of_market))
        klines.add_metric(labels, sum(each.status.rows for each in of_market))
        size.add_metric(labels, sum(each.status.size_bytes for each in of_market))
        missing.add_metric(labels, sum(each.missing_days for each in of_market))
        unexplained.add_metric(labels, sum(each.status.absent_minutes.get(Kind.UNEXPLAINED, 0) for each in of_market))
    yield from (days, klines, size, missing, unexplained)


def _freshness(live: dict[Market, list[tuple[Known, Summary]]], now_ms: int) -> Iterator[Metric]:
    lag = GaugeMetricFamily(
        "market_data_live_lag_seconds",
        "How far live datasets are behind the clock, in whole minutes: the quantiles of a market.",
        labels=("market", "quantile"),
    )
    late = GaugeMetricFamily(
        "market_data_live_late_datasets",
        f"Live datasets that are more than {ALLOWED_MINUTES} minutes behind, or have no kline.",
        labels=("market",),
    )
    named = GaugeMetricFamily(
        "market_data_live_dataset_lag_seconds",
        f"How far a live dataset is behind: of each market the {MOST_NAMED} that are furthest behind.",
        labels=("market", "pair"),
    )
    for market, pairs in live.items():
        lags = {known.dataset.pair: lag_minutes(summary.since_ms, now_ms) for known, summary in pairs}
        late.add_metric((market.value,), sum(_is_late(minutes) for minutes in lags.values()))
        known_lags = sorted(minutes for minutes in lags.values() if minutes is not None)
        for quantile in _QUANTILES if known_lags else ():
            lag.add_metric((market.value, f"{quantile:g}"), 60 * _quantile(known_lags, quantile))
        for pair, minutes in _worst(lags):
            named.add_metric((market.value, pair), 60 * minutes)
    yield from (lag, late, named)


def _is_late(minutes: int | None) -> bool:
    return minutes is None or minutes > ALLOWED_MINUTES


def _quantile(ordered: Sequence[int], quantile: float) -> int:
    return ordered[min(int(quantile * len(ordered)), len(ordered) - 1)]


def _worst(lags: dict[str, int | None]) -> list[tuple[str, int]]:
    """Those furthest behind, by pair; without klines there is nothing to measure from, so these are not named."""
    measured = [(pair, minutes) for pair, minutes in lags.items() if minutes is not None]
    measured.sort(key=lambda each: (-each[1] if _is_late(each[1]) else 0, each[0]))
    return measured[:MOST_NAMED]
