"""A dataset's days as Dagster partitions.

Belongs here: the partitions definition, and the window that a run is about. Does not belong here: day bounds, which
are `core.days`'s alone; tests hold Dagster's windows equal to them.
https://docs.dagster.io/guides/build/partitions-and-backfills
"""

import dagster as dg

from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.dataset import Dataset


def partitions_of(dataset: Dataset) -> dg.DailyPartitionsDefinition:
    """Daily partitions from the dataset's first day to today, whose windows are the dataset's days."""
    offset_minutes = dataset.zone.fixed_offset_minutes
    if offset_minutes is None:
        return dg.DailyPartitionsDefinition(dataset.start.isoformat(), timezone=dataset.zone.name, end_offset=1)
    # Dagster knows no `+05:30`. Etc/GMT zones are whole hours with the sign reversed; rounding the offset up puts local
    # midnight 0 to 59 minutes after the zone's, so the key stays the local date.
    hours = -(-offset_minutes // 60)
    zone = "UTC" if hours == 0 else f"Etc/GMT{'-' if hours > 0 else '+'}{abs(hours)}"
    return dg.DailyPartitionsDefinition(
        dataset.start.isoformat(), timezone=zone, minute_offset=hours * 60 - offset_minutes, end_offset=1
    )


def span_of(dataset: Dataset, keys: list[str]) -> Span:
    """The minutes of a run's days. A run's keys are contiguous."""
    return Span(dataset.day(min(keys)).start_ms, dataset.day(max(keys)).end_ms)
