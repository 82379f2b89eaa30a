"""A dataset's days as Dagster partitions.

Belongs here: the partitions definition, and the minutes that a run's partitions span. Does not belong here: the start
and end of a day (`core.klines.days`); tests compare Dagster's partition windows with them.
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
    # Dagster takes no offset such as `+05:30`. Etc/GMT zones are whole hours with the sign reversed. With the offset
    # rounded up, local midnight is 0 to 59 minutes after midnight of the zone, so the key stays the local date.
    hours = -(-offset_minutes // 60)
    zone = "UTC" if hours == 0 else f"Etc/GMT{'-' if hours > 0 else '+'}{abs(hours)}"
    return dg.DailyPartitionsDefinition(
        dataset.start.isoformat(), timezone=zone, minute_offset=hours * 60 - offset_minutes, end_offset=1
    )


def refusal_of(dataset: Dataset) -> str:
    """Why Dagster cannot have this dataset, empty if it can."""
    try:
        partitions_of(dataset).get_first_partition_key()
    except Exception as error:  # of Dagster, or of the calendar: any of them would end the whole code location
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return f"Dagster cannot have {dataset.name}: {reason}"
    return ""


def span_of(dataset: Dataset, keys: list[str]) -> Span:
    """From the start of the first day to the end of the last, ms UTC; the partition keys of a run are contiguous."""
    return Span(dataset.day(min(keys)).start_ms, dataset.day(max(keys)).end_ms)
