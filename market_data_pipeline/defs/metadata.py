"""What the UI shows about a day, a manifest, a combined file and the columns.

Belongs here: core's values as Dagster metadata. Does not belong here: computing them.
https://docs.dagster.io/guides/build/assets/metadata-and-tags
"""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
import numpy as np
import numpy.typing as npt

from market_data_pipeline.core.backfill import DayResult
from market_data_pipeline.core.combine import Combined
from market_data_pipeline.core.coverage import Absence, minutes_by_kind
from market_data_pipeline.core.dataset_store import DatasetStore
from market_data_pipeline.core.days import iso
from market_data_pipeline.core.klines import SCHEMA, column
from market_data_pipeline.core.status import DatasetStatus

_BLOCKS, _POINTS = "▁▂▃▄▅▆▇█", 48
_COLUMN_MEANING = {
    "open_time": "first ms of the minute, UTC; the key",
    "open": "price of the first trade",
    "high": "highest price",
    "low": "lowest price",
    "close": "price of the last trade",
    "volume": "traded amount of the base asset",
    "close_time": "last ms of the minute, UTC",
    "quote_volume": "traded amount of the quote asset",
    "trades": "number of trades",
    "taker_base_volume": "base asset bought by takers",
    "taker_quote_volume": "quote asset paid by taker buyers",
    "ignore": "as the exchange sends it; without meaning",
}


def column_schema() -> dg.TableSchema:
    """The twelve fields of a kline, for the asset's page."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                field.name, str(field.type), _COLUMN_MEANING[field.name], dg.TableColumnConstraints(nullable=False)
            )
            for field in SCHEMA
        ]
    )


def day_metadata(store: DatasetStore, result: DayResult) -> Mapping[str, Any]:
    """What a person would ask about a day."""
    entry = result.entry
    if entry is None:
        return {"outcome": result.outcome.value, "dagster/partition_row_count": 0, "expected_rows": result.day.minutes}
    metadata: dict[str, Any] = {
        "outcome": result.outcome.value,
        "dagster/partition_row_count": entry.rows,
        "expected_rows": entry.expected_rows,
        "complete": entry.complete,
        "absent": absences_text(entry.absences),
        "source": entry.source,
        "bytes": entry.size_bytes,
        "sha256": entry.sha256,
        "file": dg.MetadataValue.path(store.chunk_path(result.day)),
    }
    if entry.first_open_time is not None and entry.last_open_time is not None:
        metadata["first_open_time"] = dg.MetadataValue.timestamp(entry.first_open_time / 1000)
        metadata["last_open_time"] = dg.MetadataValue.timestamp(entry.last_open_time / 1000)
        klines = store.read(result.day).klines if result.klines is None else result.klines
        metadata["close"] = price_picture(column(klines, "close"))
    return metadata


def manifest_metadata(status: DatasetStatus) -> Mapping[str, Any]:
    """The sum of all chunks."""
    return {
        "chunks": status.chunks,
        "complete_chunks": status.complete_chunks,
        "dagster/row_count": status.rows,
        "first_day": status.first_day or "none",
        "last_day": status.last_day or "none",
        "bytes": status.size_bytes,
        "absent": kinds_text(status.absent_minutes),
        "file": dg.MetadataValue.path(status.folder / "manifest.json"),
    }


def combined_metadata(combined: Combined) -> Mapping[str, Any]:
    """The one file of all chunks."""
    return {
        "outcome": "built" if combined.built else "unchanged",
        "dagster/row_count": combined.rows,
        "chunks": combined.chunks,
        "bytes": combined.size_bytes,
        "fingerprint": combined.fingerprint,
        "file": dg.MetadataValue.path(combined.path),
    }


def absences_text(absences: Sequence[Absence]) -> str:
    """`outage 284 min from 2021-04-25T04:01Z`, one after the other; past five, only minutes per kind."""
    if len(absences) > 5:
        return kinds_text(minutes_by_kind(absences))
    if not absences:
        return "nothing"
    return ", ".join(
        f"{absence.kind} {absence.span.minutes} min from {iso(absence.span.start_ms)}" for absence in absences
    )


def kinds_text(minutes: Mapping[str, int]) -> str:
    """`outage 284 min, open 12 min`, or `nothing`."""
    return ", ".join(f"{kind} {count:,} min" for kind, count in minutes.items()) or "nothing"


def price_picture(closes: npt.NDArray[np.float64]) -> str:
    """The day's closing prices as a line of blocks, with first, last, lowest and highest in words.

    Text, because the UI hides pictures behind a link.
    """
    step = max(1, len(closes) // _POINTS)
    shown = closes[::step]
    low, high = float(closes.min()), float(closes.max())
    steps = np.zeros(len(shown)) if high == low else (shown - low) / (high - low) * (len(_BLOCKS) - 1)
    line = "".join(_BLOCKS[round(float(height))] for height in steps)
    return f"{line} {closes[0]:g} → {closes[-1]:g}, low {low:g}, high {high:g}"


def findings_table(findings: Sequence[tuple[str, str]]) -> dg.TableMetadataValue:
    """What a check found, day by day."""
    records = [dg.TableRecord({"day": day, "problem": problem}) for day, problem in findings]
    return dg.MetadataValue.table(records)
