"""The klines of a page: the rows of its table, and the numbers of its chart.

Belongs here: which fields of a kline are shown, and as what text. Does not belong here: reading klines (`preview`),
drawing them (`static/chart.js`).
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from market_data_pipeline.api.pages.rendering import number
from market_data_pipeline.core.klines.days import Zone
from market_data_pipeline.core.klines.table import FIELDS, column

VALUES = tuple(name for name in FIELDS if name not in {"open_time", "close_time", "ignore"})
"""The fields in the table after the open time. `close_time` follows from it, and `ignore` has no meaning."""


def rows(klines: pa.Table, zone: Zone) -> Iterator[tuple[str, ...]]:
    """The texts of each kline: its open time in UTC, its open time in the zone with the offset, then `VALUES`."""
    times = column(klines, "open_time").tolist()
    texts = ([number(value) for value in column(klines, name).tolist()] for name in VALUES)
    for open_ms, *values in zip(times, *texts, strict=True):
        yield _utc(open_ms), local(open_ms, zone), *values


def drawn(klines: pa.Table, zone: Zone) -> dict[str, Any]:
    """The data of the chart by name: the zone, and arrays by kline, `open_time` in ms UTC and `local` as text."""
    fields = ("open_time", "open", "high", "low", "close", "volume", "trades")
    arrays = {name: column(klines, name) for name in fields}
    return {**arrays, "local": [local(open_ms, zone) for open_ms in arrays["open_time"].tolist()], "zone": zone.name}


def local(open_ms: int, zone: Zone) -> str:
    """`2021-04-25 06:01 +02:00`: the offset tells apart the two hours with the same name when clocks go back."""
    text = datetime.fromtimestamp(open_ms // 1000, zone.tzinfo).isoformat(" ", "minutes")
    return f"{text[:16]} {text[16:22]}"


def _utc(open_ms: int) -> str:
    return datetime.fromtimestamp(open_ms // 1000, UTC).isoformat(" ", "minutes")[:16]
