"""Klines as a page shows them: rows of a table, and the numbers of a chart.

Belongs here: which columns, in which form. Does not belong here: reading klines (`preview`), drawing them
(`static/chart.js`).
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from market_data_pipeline.api.pages.rendering import number
from market_data_pipeline.core.klines.days import Zone
from market_data_pipeline.core.klines.table import FIELDS, column

VALUES = tuple(name for name in FIELDS if name not in {"open_time", "close_time", "ignore"})
"""The columns of a table after the two of the open time. What is left out follows from it, or says nothing."""


def rows(klines: pa.Table, zone: Zone) -> Iterator[tuple[str, ...]]:
    """Each kline as texts: open time in UTC, open time in the zone with its offset, then `VALUES`."""
    times = column(klines, "open_time").tolist()
    texts = ([number(value) for value in column(klines, name).tolist()] for name in VALUES)
    for open_ms, *values in zip(times, *texts, strict=True):
        yield _utc(open_ms), local(open_ms, zone), *values


def drawn(klines: pa.Table, zone: Zone) -> dict[str, Any]:
    """What the chart needs, by name: arrays of n, times in ms UTC, and the times in the zone as texts."""
    fields = ("open_time", "open", "high", "low", "close", "volume", "trades")
    arrays = {name: column(klines, name) for name in fields}
    return {**arrays, "local": [local(open_ms, zone) for open_ms in arrays["open_time"].tolist()], "zone": zone.name}


def local(open_ms: int, zone: Zone) -> str:
    """`2021-04-25 06:01 +02:00`: the offset tells the hour that comes twice."""
    text = datetime.fromtimestamp(open_ms // 1000, zone.tzinfo).isoformat(" ", "minutes")
    return f"{text[:16]} {text[16:22]}"


def _utc(open_ms: int) -> str:
    return datetime.fromtimestamp(open_ms // 1000, UTC).isoformat(" ", "minutes")[:16]
