"""Pauses, ends and settlements in the middle of live mode: what is stored, what is asked, and whom it keeps back."""

import threading
import time

import pytest

from market_data_pipeline.core.errors import PairNotServed, SourceUnavailable
from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.days import MINUTE_MS
from market_data_pipeline.core.live.dataset import LiveDataset
from market_data_pipeline.core.live.newest import Patience
from market_data_pipeline.core.sources.protocol import Life, Page
from market_data_pipeline_tests.core.fakes import FakeSource
from market_data_pipeline_tests.core.live.test_dataset import NOON, clock, until_noon, zurich


def patience() -> Patience:
    return Patience(time.monotonic(), threading.Event())


class Settled(FakeSource):
    """A contract of which REST serves no klines any more, while the archive that would tell its life is away."""

    def newest(self, wanted: Span, *, paid: bool = False) -> Page:
        raise PairNotServed("no klines in its present status (-1122)")

    def life(self, since_ms: int = 0, *, between: Span | None = None, refresh: bool = False) -> Life:
        raise SourceUnavailable("no answer from the archive")


def test_an_archive_that_is_away_fails_the_contract_that_needs_it_and_no_other(tmp_path):
    source = FakeSource(now="2024-03-05T12:00Z")
    odd, good = (until_noon(zurich(tmp_path / name, Market.FUTURES), source) for name in ("odd", "good"))
    edge_ms, shared = NOON + MINUTE_MS, patience()
    clock(source, edge_ms)
    followed = LiveDataset(odd, Settled(now=source.now))
    with pytest.raises(SourceUnavailable, match="archive"):
        followed.fetch(followed.missing(edge_ms), shared)
    other = LiveDataset(good, source)
    assert other.store_newest(other.fetch(other.missing(edge_ms), shared)).added == 1
