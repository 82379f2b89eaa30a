"""What processes have counted, as metrics.

Belongs here: counts as samples of counters and histograms. Does not belong here: which there are (`core.counting`).
"""

from collections.abc import Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric

from market_data_pipeline.core.counting.counts import COUNTERS, TIMERS
from market_data_pipeline.core.counting.memory import Key, Timer


def counted(counts: Mapping[Key, float]) -> Iterator[Metric]:
    """The metrics of these counts. A metric of which nothing was counted has no samples."""
    for counter in COUNTERS:
        family = CounterMetricFamily(counter.name, counter.help, labels=counter.labels)
        for key in sorted(key for key in counts if key[0] == counter.name):
            family.add_metric(key[1:], counts[key])
        yield family
    for timer in TIMERS:
        yield _histogram(timer, counts)


def _histogram(timer: Timer, counts: Mapping[Key, float]) -> Metric:
    family = HistogramMetricFamily(timer.name, timer.help, labels=timer.labels)
    for name, *values in sorted(key for key in counts if key[0] == f"{timer.name}_sum"):
        buckets, below = list[tuple[str, float]](), 0.0
        for limit in timer.limits:
            below += counts.get((f"{timer.name}_bucket", *values, limit), 0.0)
            buckets.append((limit, below))
        family.add_metric(values, buckets, counts[(name, *values)])
    return family
