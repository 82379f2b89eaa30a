"""Pauses, ends and settlements in the middle of live mode: what is stored, what is asked, and whom it keeps back."""

import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from market_data_pipeline.core.errors import PairNotServed, SourceError, SourceUnavailable
from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.days import MINUTE_MS
from market_data_pipeline.core.live.dataset import LiveDataset
from market_data_pipeline.core.live.newest import Patience
from market_data_pipeline.core.sources.protocol import Life, Page
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline_tests.core.fakes import FakeSource, at, span
from market_data_pipeline_tests.core.live.test_dataset import NOON, TODAY, clock, minutes, tick, until_noon, zurich


@dataclass
class Keeping(FakeSource):
    """The fake exchange, which keeps the life that it has told until a refresh, as the real source does."""

    paused: str | None = None
    """The last minute before a pause."""
    lives_read: int = 0
    _kept: Life | None = None

    def life(self, since_ms: int = 0, *, between: Span | None = None, refresh: bool = False) -> Life:
        if self._kept is None or refresh:
            self.lives_read += 1
            self._kept = replace(super().life(), last_open_ms=at(self.paused)) if self.paused else super().life()
        return self._kept


def patience() -> Patience:
    return Patience(time.monotonic(), threading.Event())


def paused_at_noon(root: Path) -> tuple[Keeping, DatasetStore, LiveDataset]:
    """A dataset of which the pair pauses at five past noon and is traded again from 12:40 on."""
    source = Keeping(now="2024-03-05T12:00Z")
    stored = until_noon(zurich(root), source)
    followed = LiveDataset(stored, source)
    source.missing = [span("2024-03-05T12:05Z", "2024-03-05T12:40Z")]
    for edge_ms in minutes(NOON + MINUTE_MS, 5):
        clock(source, edge_ms)
        assert tick(followed, edge_ms).added == 1
    source.paused = "2024-03-05T12:04Z"
    clock(source, at("2024-03-05T12:20Z"))
    assert tick(followed, source.now_ms()).has_ended
    source.paused = None
    return source, stored, followed


def test_after_a_pause_the_minutes_go_into_the_journal_again(tmp_path):
    source, stored, followed = paused_at_noon(tmp_path)
    known = source.lives_read
    clock(source, at("2024-03-05T12:42Z"))
    update = tick(followed, source.now_ms())
    assert (update.added, update.has_ended, update.error) == (2, False, None)
    for edge_ms in minutes(source.now_ms() + MINUTE_MS, 10):
        clock(source, edge_ms)
        newest = followed.fetch(followed.missing(edge_ms), patience())
        rows = followed.growth(newest)
        assert rows is not None
        assert len(rows) == 1
        followed.note_journaled(newest, rows)
    # The life was read once more, and not in each minute.
    assert source.lives_read == known + 1
    assert {absence.kind.value for absence in stored.entries[TODAY].absences} == {"outage", "open"}


def test_a_gap_after_a_pause_that_nothing_proves_is_unexplained(tmp_path):
    source, stored, followed = paused_at_noon(tmp_path)
    clock(source, at("2024-03-05T12:42Z"))
    tick(followed, source.now_ms())
    source.missing.append(span("2024-03-05T12:43Z", "2024-03-05T12:45Z"))
    source.unproven = True
    clock(source, at("2024-03-05T12:50Z"))
    assert "nothing proves" in (tick(followed, source.now_ms()).error or "")
    kinds = {absence.kind.value: absence.span.minutes for absence in stored.entries[TODAY].absences}
    assert kinds["unexplained"] == 2


def test_a_pair_that_was_paused_as_live_mode_began_is_followed_once_it_is_traded(tmp_path):
    source, _, _ = paused_at_noon(tmp_path / "first")
    source.paused = "2024-03-05T12:04Z"
    source.life(refresh=True)
    source.paused = None
    clock(source, at("2024-03-05T12:45Z"))
    followed = LiveDataset(until_noon(zurich(tmp_path / "second"), source), source)
    assert tick(followed, source.now_ms()).added == 10
    clock(source, at("2024-03-05T12:46Z"))
    assert followed.growth(followed.fetch(followed.missing(source.now_ms()), patience())) is not None


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


@dataclass
class Unlisted(FakeSource):
    """Futures of which the list of contracts cannot be had, with some minutes without trades."""

    flat: tuple[Span, ...] = ()

    def settled_ms(self) -> int | None:
        raise SourceError("no answer to exchangeInfo")

    def _page(self, within: Span) -> Page:
        page = super()._page(within)
        times = page.klines["open_time"].to_pylist()
        quiet = [any(one.start_ms <= minute < one.end_ms for one in self.flat) for minute in times]
        trades = [0 if is_quiet else 7 for is_quiet in quiet]
        return replace(page, klines=page.klines.set_column(8, page.klines.schema.field("trades"), [trades]))


def test_without_the_list_of_contracts_a_quiet_minute_is_stored_and_more_of_them_are_not(tmp_path):
    source = Unlisted(now="2024-03-05T12:00Z", flat=(span("2024-03-05T12:01Z", "2024-03-05T13:00Z"),))
    followed = LiveDataset(until_noon(zurich(tmp_path, Market.FUTURES), source), source)
    for edge_ms in minutes(NOON + MINUTE_MS, 3):
        clock(source, edge_ms)
        assert tick(followed, edge_ms).added == 1
    clock(source, NOON + 4 * MINUTE_MS)
    with pytest.raises(SourceError, match="exchangeInfo"):
        tick(followed, source.now_ms())
