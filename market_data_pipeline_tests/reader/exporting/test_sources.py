"""What an export takes for known of a pair that live mode goes on loading."""

from pathlib import Path

import numpy as np
import pytest

from market_data_pipeline import open_dataset
from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.days import MINUTE_MS
from market_data_pipeline.reader.exporting.sources import Source
from market_data_pipeline.reader.resampling import parse_interval
from market_data_pipeline_tests.reader.exporting.stores import make

HOUR_MS = 60 * MINUTE_MS


@pytest.mark.parametrize("asked_days", [(0, 2), (1, 2), (-2, -1)])
def test_a_bin_that_is_stored_after_the_look_is_not_taken_for_whole(
    tmp_path: Path, asked_days: tuple[int, int]
) -> None:
    """The look is at what is stored; a part of a panel may be read hours later, when another day has begun."""
    make(tmp_path, "BTC/USDT")
    klines = open_dataset("BTC/USDT", market="spot", root=tmp_path)
    stored = klines.extent()
    asked = Span(*(stored.end_ms + day * 24 * HOUR_MS for day in asked_days))
    source = Source.of(klines, asked, stored, parse_interval("1h"), klines.zone)
    starts = np.arange(asked.start_ms, asked.end_ms, HOUR_MS)
    assert len(starts)
    assert source.are_known(starts, starts + HOUR_MS).any() == (asked_days[0] < 0)
