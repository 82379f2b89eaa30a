"""One tick of live mode for one dataset: what is asked, what is stored, what is left to a run."""

import threading
import time
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.days import MINUTE_MS, parse_zone
from market_data_pipeline.core.live.dataset import LiveDataset, Update
from market_data_pipeline.core.live.newest import Patience
from market_data_pipeline.core.live.runs_due import DueDays, Reason, due_days
from market_data_pipeline.core.loading.load_days import backfill
from market_data_pipeline.core.proof.verify import verify
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.manifest import State
from market_data_pipeline.core.store.root import Store
from market_data_pipeline_tests.core.fakes import FakeSource, at, span

NOON = at("2024-03-05T12:00Z")
TODAY = "2024-03-05"


class ArchiveSource(FakeSource):
    """The fake exchange with klines from its archive."""

    def _page(self, within: Span):
        return replace(super()._page(within), sources=frozenset({"archive"}))


def clock(source: FakeSource, now_ms: int) -> None:
    source.now = datetime.fromtimestamp(now_ms / 1000, UTC).isoformat()


@pytest.fixture
def source() -> FakeSource:
    return FakeSource(now="2024-03-05T12:00Z")


def zurich(root, market: Market = Market.SPOT) -> DatasetStore:
    return Store(root, manifest_interval_s=1e9).create(
        market, "BTC/USDT", zone=parse_zone("Europe/Zurich"), start=date(2024, 3, 4)
    )


@pytest.fixture
def stored(tmp_path, source: FakeSource) -> DatasetStore:
    """A dataset of which today was loaded up to noon."""
    return until_noon(zurich(tmp_path), source)


def until_noon(store: DatasetStore, source: FakeSource) -> DatasetStore:
    list(backfill(store, source, span("2024-03-04T23:00Z", "2024-03-05T12:00Z")))
    return store


def tick(followed: LiveDataset, edge_ms: int) -> Update:
    wanted = followed.missing(edge_ms)
    assert wanted is not None
    return followed.store_newest(followed.fetch(wanted, Patience(time.monotonic(), threading.Event())))


def follow(store: DatasetStore, source: FakeSource, edges: Iterable[int], *, flush: bool = True) -> list[Update]:
    followed, updates = LiveDataset(store, source), []
    for edge_ms in edges:
        clock(source, edge_ms)
        updates.append(tick(followed, edge_ms))
    if flush:
        followed.flush()
    return updates


def minutes(start_ms: int, count: int) -> range:
    return range(start_ms, start_ms + count * MINUTE_MS, MINUTE_MS)


def test_each_tick_adds_the_minute_that_has_closed(stored, source):
    updates = follow(stored, source, minutes(NOON, 10))
    assert [(update.added, update.error, update.is_late) for update in updates[1:]] == [(1, None, False)] * 9
    assert [entry.rows for update in updates for entry in update.entries] == list(range(13 * 60, 13 * 60 + 10))
    assert stored.entries[TODAY].rows == 13 * 60 + 9
    assert stored.entries[TODAY].state is State.PROVISIONAL


def test_a_day_followed_to_its_end_and_confirmed_is_byte_equal_to_a_backfill(stored, source, tmp_path):
    later = at("2024-03-06T01:00Z")
    follow(stored, source, minutes(NOON, 13 * 60 + 1))
    assert stored.entries[TODAY].state is State.PROVISIONAL
    assert stored.entries["2024-03-06"].rows == 120
    assert verify(stored).findings == []
    clock(source, later + 10 * MINUTE_MS)
    other = zurich(tmp_path / "other")
    for store in (stored, other):
        list(backfill(store, source, span("2024-03-04T23:00Z", "2024-03-05T23:00Z")))
    assert stored.entries[TODAY] == other.entries[TODAY]
    assert stored.entries[TODAY].state is State.CONFIRMED


def test_klines_that_come_late_are_stored_by_the_next_tick(stored, source):
    source.missing = [span("2024-03-05T12:02Z", "2024-03-05T12:04Z")]
    updates = follow(stored, source, minutes(NOON + MINUTE_MS, 4))
    assert [(update.added, update.is_late) for update in updates] == [(1, False), (1, False), (0, True), (0, True)]
    source.missing = []
    (update,) = follow(stored, source, [NOON + 5 * MINUTE_MS])
    assert (update.added, update.is_late, update.error) == (3, False, None)
    assert verify(stored).findings == []


def test_a_minute_that_an_answer_leaves_out_is_asked_for_again(stored, source):
    source.dropped = [span("2024-03-05T12:01Z", "2024-03-05T12:03Z")]
    (update,) = follow(stored, source, [NOON + 5 * MINUTE_MS])
    assert update.error is None
    assert stored.entries[TODAY].rows == 13 * 60 + 5


@pytest.mark.parametrize(("unproven", "errors"), [(False, 0), (True, 2)])
def test_minutes_that_the_exchange_never_had_are_an_outage_once_it_is_proven(stored, source, unproven, errors):
    source.missing, source.unproven = [span("2024-03-05T12:01Z", "2024-03-05T12:31Z")], unproven
    updates = follow(stored, source, minutes(NOON + MINUTE_MS, 34))
    assert sum(update.is_late for update in updates) == 30
    kinds = {absence.kind.value: absence.span.minutes for absence in stored.entries[TODAY].absences}
    assert kinds.pop("open") == 24 * 60 - (13 * 60 + 34)
    assert kinds == {"unexplained" if unproven else "outage": 30}
    assert sum("nothing proves" in (update.error or "") for update in updates) == errors
    assert verify(stored).ok is not unproven


def test_a_halt_of_the_exchange_that_a_run_has_proven_is_no_reason_for_another_run(stored, source):
    halt = span("2024-03-05T12:00Z", "2024-03-05T22:00Z")
    source.missing = [halt]
    clock(source, at("2024-03-05T21:00Z"))
    followed = LiveDataset(stored, source)
    assert due_days(followed, source.now_ms()) != []
    list(backfill(stored, source, span("2024-03-04T23:00Z", "2024-03-05T21:00Z")))
    assert due_days(followed, source.now_ms()) == []
    assert tick(followed, source.now_ms()).is_late
    clock(source, at("2024-03-05T22:05Z"))
    assert tick(followed, source.now_ms()).added == 5
    assert verify(stored).ok


def test_values_that_the_exchange_changes_within_minutes_are_corrected_and_noted(stored, source, monkeypatch):
    truth = source.newest

    def provisional(wanted: Span, *, paid: bool = False):
        page = truth(wanted)
        klines = page.klines
        fresh = [minute >= source.now_ms() - MINUTE_MS for minute in klines["open_time"].to_pylist()]
        values = [
            volume + 1 if is_fresh else volume
            for volume, is_fresh in zip(klines["volume"].to_pylist(), fresh, strict=True)
        ]
        return replace(page, klines=klines.set_column(5, klines.schema.field("volume"), [values]))

    monkeypatch.setattr(source, "newest", provisional)
    updates = follow(stored, source, minutes(NOON + MINUTE_MS, 5))
    assert [update.revised for update in updates] == [0, 1, 1, 1, 1]
    assert len(stored.revisions()) == 4
    source.newest = truth
    (update,) = follow(stored, source, [NOON + 6 * MINUTE_MS])
    assert update.revised == 1
    (update,) = follow(stored, source, [NOON + 7 * MINUTE_MS])
    assert update.revised == 0
    assert len(stored.revisions()) == 5
    assert stored.read(stored.dataset.day(TODAY)).klines == source.has(span("2024-03-04T23:00Z", "2024-03-05T12:07Z"))


def test_after_a_long_pause_the_days_since_then_are_due_and_nothing_is_asked(stored, source):
    source.forget()
    followed, now_ms = LiveDataset(stored, source), at("2024-03-07T12:00Z")
    assert followed.missing(now_ms) is None
    assert source.asked == []
    assert said(due_days(followed, now_ms)) == (Reason.MISSING, TODAY, "2024-03-07", False)


def said(found: list[DueDays]) -> tuple[Reason, str, str, bool] | None:
    """The only days that are due; None if there are none."""
    if not found:
        return None
    [due] = found
    return due.reason, due.first.key, due.last.key, due.refetch


def test_of_a_new_dataset_today_is_due(tmp_path, source):
    assert said(due_days(LiveDataset(zurich(tmp_path), source), NOON)) == (Reason.MISSING, TODAY, TODAY, False)


def test_a_day_is_confirmed_once_it_is_over_and_archived_once_it_can_be(stored, source):
    end_ms = at("2024-03-05T23:00Z")
    follow(stored, source, minutes(NOON, 11 * 60 + 4))
    followed = LiveDataset(stored, source)
    assert said(due_days(followed, end_ms + 4 * MINUTE_MS)) is None
    confirming = due_days(followed, end_ms + 5 * MINUTE_MS)
    assert said(confirming) == (Reason.TO_CONFIRM, TODAY, TODAY, False)
    clock(source, end_ms + 5 * MINUTE_MS)
    list(backfill(stored, source, span("2024-03-04T23:00Z", "2024-03-05T23:00Z")))
    assert due_days(followed, end_ms + 6 * MINUTE_MS) == []
    for hour in range(12):
        clock(source, end_ms + hour * 60 * MINUTE_MS + 7 * MINUTE_MS)
        tick(followed, source.now_ms())
    assert said(due_days(followed, at("2024-03-06T09:59Z"))) is None
    assert said(due_days(followed, at("2024-03-06T10:00Z"))) == (Reason.TO_ARCHIVE, TODAY, TODAY, True)
    list(
        backfill(
            stored, ArchiveSource(now="2024-03-06T11:00Z"), span("2024-03-04T23:00Z", "2024-03-05T23:00Z"), refetch=True
        )
    )
    assert stored.entries[TODAY].state is State.ARCHIVED
    assert due_days(followed, at("2024-03-06T11:00Z")) == []


def test_days_that_no_run_can_load_are_not_due(stored, source):
    """They hide no later one, and where a damaged one is the last stored, the day after it takes its place."""
    since, over_ms = date(2024, 3, 6), at("2024-03-06T23:05Z")
    followed = LiveDataset(stored, source)
    assert said(due_days(followed, over_ms, first_day=since)) == (Reason.MISSING, "2024-03-06", "2024-03-07", False)
    assert due_days(followed, over_ms, first_day=date(2024, 3, 8)) == []
    follow(stored, source, minutes(NOON, 11 * 60 + 4))
    confirmed_ms = at("2024-03-05T23:05Z")
    assert said(due_days(LiveDataset(stored, source), confirmed_ms)) == (Reason.TO_CONFIRM, TODAY, TODAY, False)
    assert due_days(LiveDataset(stored, source), confirmed_ms, first_day=since) == []
    stored.chunk_path(stored.dataset.day(TODAY)).write_bytes(b"")
    clock(source, confirmed_ms)
    followed = LiveDataset(stored, source)
    assert tick(followed, at("2024-03-05T23:02Z")).is_behind
    assert said(due_days(followed, confirmed_ms)) == (Reason.MISSING, TODAY, TODAY, False)
    assert said(due_days(followed, confirmed_ms, first_day=since)) == (Reason.MISSING, str(since), str(since), False)


def test_nothing_is_added_to_a_chunk_that_was_damaged(stored, source):
    followed = LiveDataset(stored, source)
    clock(source, NOON + MINUTE_MS)
    assert tick(followed, NOON + MINUTE_MS).added == 1
    path = stored.chunk_path(stored.dataset.day(TODAY))
    path.write_bytes(path.read_bytes()[:-1000])
    clock(source, NOON + 2 * MINUTE_MS)
    assert tick(followed, NOON + 2 * MINUTE_MS).is_behind
    assert said(due_days(followed, NOON + 2 * MINUTE_MS)) == (Reason.MISSING, TODAY, TODAY, False)
    list(backfill(stored, source, span("2024-03-04T23:00Z", "2024-03-05T12:02Z")))
    assert due_days(followed, NOON + 2 * MINUTE_MS) == []
    clock(source, NOON + 3 * MINUTE_MS)
    assert tick(followed, NOON + 3 * MINUTE_MS).added == 1
    assert stored.entries[TODAY].rows == 13 * 60 + 3
    assert verify(stored).ok


def test_of_a_contract_that_has_ended_no_flat_klines_are_stored(tmp_path, source, monkeypatch):
    stored = until_noon(zurich(tmp_path, Market.FUTURES), source)

    def flat(wanted: Span, *, paid: bool = False):
        page = truth(wanted)
        klines = page.klines
        return replace(page, klines=klines.set_column(8, klines.schema.field("trades"), [[0] * klines.num_rows]))

    truth = source.newest
    follow(stored, source, minutes(NOON + MINUTE_MS, 5))
    monkeypatch.setattr(source, "newest", flat)
    source.last = "2024-03-05T12:04Z"
    monkeypatch.setattr(source, "_has", lambda within: set(minutes(within.start_ms, (within.minutes))))
    updates = follow(stored, source, minutes(NOON + 6 * MINUTE_MS, 3))
    assert [(update.added, update.has_ended, update.is_late) for update in updates] == [(0, True, False)] * 3
    assert stored.entries[TODAY].last_open_time == at("2024-03-05T12:04Z")


def test_what_a_killed_process_wrote_is_whole_and_goes_on(stored, source, tmp_path):
    stored.flush()
    follow(stored, source, minutes(NOON + MINUTE_MS, 9), flush=False)
    reopened = Store(tmp_path).open(stored.dataset)
    assert reopened.warnings == []
    assert reopened.entries[TODAY].rows == 13 * 60 + 9
    assert reopened.entries[TODAY].state is State.PROVISIONAL
    assert verify(reopened).findings == []
    follow(reopened, source, [NOON + 10 * MINUTE_MS])
    assert reopened.entries[TODAY].rows == 13 * 60 + 10
