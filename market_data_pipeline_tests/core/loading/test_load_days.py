"""Loading ends with the klines that the exchange has and a reason for each it has not, whatever happens."""

import logging
import tempfile
import time
from collections.abc import Iterable
from dataclasses import replace
from datetime import date
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market_data_pipeline.core.counting.counts import DAYS_FAILED, DAYS_LOADED, KLINES_LOADED
from market_data_pipeline.core.errors import PairNotListed
from market_data_pipeline.core.klines.coverage import Absence, Kind, Span
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.days import MINUTE_MS, Zone, parse_zone
from market_data_pipeline.core.klines.flaws import Flaw
from market_data_pipeline.core.loading.day import DayLoader, DayResult
from market_data_pipeline.core.loading.fetch import FetchedDay
from market_data_pipeline.core.loading.load_days import backfill, load_days, load_together
from market_data_pipeline.core.loading.plan import Outcome, Task, plan_load
from market_data_pipeline.core.sources.protocol import Page
from market_data_pipeline.core.store.atomic import temporary_of
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.manifest import State
from market_data_pipeline.core.store.root import Store
from market_data_pipeline_tests.core.fakes import (
    REST,
    UTC_ZONE,
    FakePages,
    FakeSource,
    at,
    changed,
    day,
    klines_of,
    span,
    whole,
)
from market_data_pipeline_tests.support import counts_of

DAY = day("2024-03-05")
THREE_DAYS = span("2024-03-05", "2024-03-08")
HALT = span("2024-03-06T04:00Z", "2024-03-06T05:30Z")
START = date(2024, 3, 1)
FLAW = Flaw(at("2024-03-05T04:00Z"), "taker_base_volume is above volume", 1e9, ("archive", "rest"))
ZURICH = parse_zone("Europe/Zurich")


def dataset_in(root: Path, zone: Zone = UTC_ZONE, start: date = START) -> DatasetStore:
    return Store(root, manifest_interval_s=3600).create(Market.SPOT, "BTC/USDT", zone=zone, start=start)


def load(made: DatasetStore, source: FakeSource, window: Span, **options: object) -> list[DayResult]:
    return list(backfill(made, source, window, **options))


def outcomes(results: list[DayResult]) -> list[str]:
    return [result.outcome.value for result in results]


def chunks_of(made: DatasetStore) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((made.folder / "chunks").iterdir())}


def absences(made: DatasetStore, key: str) -> dict[str, list[Span]]:
    found: dict[str, list[Span]] = {}
    for absence in made.entries[key].absences:
        found.setdefault(absence.kind.value, []).append(absence.span)
    return found


# --- what is there stays, what is missing is asked for


def test_a_window_is_loaded_day_by_day_just_as_the_exchange_has_it(made):
    source = FakeSource()
    results = load(made, source, THREE_DAYS)
    assert [(result.day.key, result.outcome, result.error) for result in results] == [
        (key, Outcome.LOADED, None) for key in ("2024-03-05", "2024-03-06", "2024-03-07")
    ]
    for result in results:
        assert made.read(result.day).klines.equals(source.has(whole(result.day)))
        assert made.entries[result.day.key] == result.entry
        assert result.entry.complete
    assert source.asked_minutes == [THREE_DAYS]
    assert made.dataset.requested == (THREE_DAYS,)


def test_a_second_run_asks_for_nothing_and_changes_nothing(made):
    source = FakeSource(missing=[HALT])
    load(made, source, THREE_DAYS)
    before = chunks_of(made)
    source.forget()
    assert outcomes(load(made, source, THREE_DAYS)) == ["unchanged"] * 3
    assert source.asked == []
    assert chunks_of(made) == before


def test_a_second_run_asks_only_for_the_days_that_are_missing(made):
    source = FakeSource()
    load(made, source, whole(day("2024-03-06")))
    source.forget()
    assert outcomes(load(made, source, THREE_DAYS)) == ["loaded", "unchanged", "loaded"]
    assert source.asked_minutes == [whole(DAY), whole(day("2024-03-07"))]


def test_a_damaged_chunk_and_a_deleted_one_are_loaded_again_to_the_same_bytes(made):
    source = FakeSource()
    load(made, source, THREE_DAYS)
    before = chunks_of(made)
    made.chunk_path(DAY).write_bytes(b"damaged")
    made.chunk_path(day("2024-03-07")).unlink()
    source.forget()
    assert outcomes(load(made, source, THREE_DAYS)) == ["loaded", "unchanged", "loaded"]
    assert source.asked_minutes == [whole(DAY), whole(day("2024-03-07"))]
    assert chunks_of(made) == before


def test_a_damaged_chunk_is_loaded_again_as_far_as_it_was_ever_asked_for(made):
    source = FakeSource()
    load(made, source, THREE_DAYS)
    before = chunks_of(made)
    made.chunk_path(DAY).write_bytes(b"damaged")
    load(made, source, span("2024-03-05T10:00Z", "2024-03-05T11:00Z"))
    assert chunks_of(made) == before


def test_pages_are_asked_for_no_further_than_the_days_that_are_read(made):
    source = FakeSource()
    results = backfill(made, source, span("2023-01-01", "2024-01-01"))
    next(results)
    assert len(source.asked) <= 60  # 32 days are published together, of 365
    results.close()
    assert source.closed_iterators == 1


def test_days_before_one_that_the_disk_refuses_are_told(made):
    planned = plan_load(made, FakeSource(), THREE_DAYS)
    temporary_of(made.chunk_path(day("2024-03-06"))).mkdir()
    results = load_days(planned)
    assert next(results).day.key == "2024-03-05"
    with pytest.raises(OSError, match="2024-03-06"):
        next(results)
    assert list(made.entries) == ["2024-03-05"]


def test_days_are_on_disk_before_they_are_told(made):
    """What another process reads after the first result is what the load goes on from."""
    results = backfill(made, FakeSource(), THREE_DAYS)
    first = next(results)
    assert dataset_in(made.folder.parents[2]).read(first.day).entry == first.entry
    assert [result.outcome for result in results] == [Outcome.LOADED] * 2


def test_days_are_told_while_the_source_keeps_the_next_one_back(made):
    class KeptBack(FakeSource):
        def pages(self, spans: Iterable[Span]) -> FakePages:
            return Late(self.each_page(spans))

    class Late(FakePages):
        def wait(self, timeout_s: float) -> bool:
            return False

    together = load_together(plan_load(made, KeptBack(), THREE_DAYS))
    assert [[result.day.key for result in results] for results in together] == [
        ["2024-03-05"],
        ["2024-03-06"],
        ["2024-03-07"],
    ]
    assert len(made.entries) == 3


def test_a_day_that_has_a_chunk_waits_longer_for_others_than_a_new_one(made):
    """To replace it takes a write of the whole manifest, which they share."""
    waited = list[float]()

    class KeptBack(FakeSource):
        def pages(self, spans: Iterable[Span]) -> FakePages:
            return Late(self.each_page(spans))

    class Late(FakePages):
        def wait(self, timeout_s: float) -> bool:
            waited.append(timeout_s)
            return False

    load(made, KeptBack(), THREE_DAYS)
    of_new = max(waited)
    load(made, KeptBack(), THREE_DAYS, refetch=True)
    assert max(waited) > 2 * of_new


def test_days_whose_pages_come_one_after_the_other_are_not_all_told_at_the_end(made):
    class Slow(FakeSource):
        def _page(self, within: Span) -> Page:
            time.sleep(0.03)
            return super()._page(within)

    window = span("2024-03-05", "2024-03-17")
    together = list(load_together(plan_load(made, Slow(page_minutes=1440), window)))
    assert sum(map(len, together)) == 12
    assert len(together) > 1


def test_each_day_is_logged_with_its_klines_and_its_chunk(made, caplog):
    with caplog.at_level(logging.INFO):
        results = load(made, FakeSource(missing=[HALT]), THREE_DAYS)
    assert [record.getMessage() for record in caplog.records if " loaded: " in record.getMessage()] == [
        f"spot BTC/USDT {result.day.key} loaded: {rows} klines, sha256 {result.entry.sha256}"
        for result, rows in zip(results, (1440, 1350, 1440), strict=True)
    ]


@pytest.mark.parametrize("page_minutes", [1, 499, 1000, 1440, 100_000])
def test_the_size_of_pages_does_not_change_a_byte(tmp_path, page_minutes):
    window = whole(DAY) if page_minutes == 1 else THREE_DAYS
    expected, made = dataset_in(tmp_path / "expected"), dataset_in(tmp_path / "made")
    load(expected, FakeSource(missing=[HALT]), window)
    load(made, FakeSource(missing=[HALT], page_minutes=page_minutes), window)
    assert chunks_of(made) == chunks_of(expected)


def test_row_groups_have_the_asked_size(made):
    load(made, FakeSource(), whole(DAY), row_group_rows=500)
    assert pq.read_metadata(made.chunk_path(DAY)).num_row_groups == 3


# --- what is absent gets a reason


def test_an_outage_is_believed_after_asking_again_for_exactly_its_minutes(made):
    source = FakeSource(missing=[HALT], page_minutes=1440)
    assert outcomes(load(made, source, THREE_DAYS)) == ["loaded"] * 3
    assert source.asked == [whole(DAY), whole(day("2024-03-06")), HALT, whole(day("2024-03-07"))]
    assert made.entries["2024-03-06"].absences == (Absence(Kind.OUTAGE, HALT, ("fake: none of them",)),)
    assert made.entries["2024-03-06"].complete


def test_minutes_that_nobody_confirms_are_unexplained_with_what_was_said_and_asked_for_again_later(made):
    source = FakeSource(missing=[HALT], unproven=True)
    failed = load(made, source, THREE_DAYS)[1]
    assert (failed.outcome, failed.may_pass) == (Outcome.FAILED, False)
    assert "fake: none of them" in failed.error
    assert made.entries["2024-03-06"].absences == (Absence(Kind.UNEXPLAINED, HALT, ("fake: none of them",)),)
    source.unproven = False
    assert outcomes(load(made, source, THREE_DAYS)) == ["unchanged", "loaded", "unchanged"]
    assert absences(made, "2024-03-06") == {"outage": [HALT]}


@pytest.mark.parametrize("is_refuted", [False, True])
def test_a_proven_outage_is_one_until_a_witness_speaks_against_it(made, is_refuted):
    source = FakeSource(missing=[HALT])
    load(made, source, THREE_DAYS)
    before = made.chunk_path(day("2024-03-06")).read_bytes()
    source.unproven, source.refuted = True, is_refuted
    again = load(made, source, THREE_DAYS, refetch=True)[1]
    assert again.outcome is (Outcome.FAILED if is_refuted else Outcome.LOADED)
    assert absences(made, "2024-03-06") == {"unexplained" if is_refuted else "outage": [HALT]}
    assert (made.chunk_path(day("2024-03-06")).read_bytes() == before) is not is_refuted


def test_rows_that_were_left_out_of_the_first_answer_are_filled(made):
    source = FakeSource(dropped=[HALT, span("2024-03-07T23:59Z", "2024-03-08")])
    load(made, source, THREE_DAYS)
    for key in ("2024-03-06", "2024-03-07"):
        assert made.read(day(key)).klines.equals(klines_of(whole(day(key))))


def test_left_out_rows_beside_an_outage_are_told_apart(made):
    outage = span("2024-03-06T04:30Z", "2024-03-06T05:00Z")
    load(made, FakeSource(missing=[outage], dropped=[HALT]), THREE_DAYS)
    assert absences(made, "2024-03-06") == {"outage": [outage]}


def test_minutes_about_which_the_exchange_keeps_changing_its_mind_are_our_failure(made):
    source = FakeSource(dropped=[HALT], drops_every_time=True)
    failed = load(made, source, THREE_DAYS)[1]
    assert failed.outcome is Outcome.FAILED
    assert "keeps giving some of them" in failed.error
    assert list(absences(made, "2024-03-06")) == ["unexplained"]
    source.dropped = []
    assert outcomes(load(made, source, THREE_DAYS)) == ["unchanged", "loaded", "unchanged"]
    assert absences(made, "2024-03-06") == {}


def test_a_day_of_outage_has_a_chunk_without_klines(made):
    source = FakeSource(missing=[whole(DAY)])
    [result] = load(made, source, whole(DAY))
    assert (result.outcome, result.entry.rows) == (Outcome.LOADED, 0)
    assert absences(made, DAY.key) == {"outage": [whole(DAY)]}
    assert outcomes(load(made, source, whole(DAY))) == ["unchanged"]


def test_minutes_right_before_now_are_open_and_no_outage(made):
    """The newest kline may come late; how late is not known, so nothing is concluded from it for three minutes."""
    source = FakeSource(now="2024-03-05T12:00:30Z", missing=[span("2024-03-05T11:50Z", "2024-03-05T12:00Z")])
    load(made, source, whole(DAY))
    assert absences(made, DAY.key) == {
        "outage": [span("2024-03-05T11:50Z", "2024-03-05T11:57Z")],
        "open": [span("2024-03-05T11:57Z", "2024-03-06")],
    }
    assert span("2024-03-05T11:50Z", "2024-03-05T11:57Z") in source.asked


def test_today_is_loaded_in_part_and_completed_later_without_asking_twice(made, tmp_path):
    source = FakeSource(now="2024-03-05T12:00:30Z")
    [today] = load(made, source, whole(DAY))
    assert (today.outcome, today.entry.rows, today.entry.complete) == (Outcome.LOADED, 720, False)
    assert absences(made, DAY.key) == {"open": [span("2024-03-05T12:00Z", "2024-03-06")]}
    source.now = "2024-03-06T10:00Z"
    source.forget()
    [later] = load(made, source, whole(DAY))
    assert (later.outcome, later.entry.rows, later.entry.complete) == (Outcome.LOADED, 1440, True)
    # The last three had only just closed.
    assert source.asked_minutes == [span("2024-03-05T11:57Z", "2024-03-06")]
    at_once = dataset_in(tmp_path / "at_once")
    load(at_once, source, whole(DAY))
    assert chunks_of(made) == chunks_of(at_once)


def test_a_day_that_has_not_begun_is_open(made):
    source = FakeSource(now="2024-03-05T12:00:30Z")
    assert outcomes(load(made, source, THREE_DAYS)) == ["loaded", "open", "open"]
    assert list(made.entries) == [DAY.key]


def test_the_first_minute_of_a_day_is_open_until_its_kline_is_closed(made):
    source = FakeSource(now="2024-03-05T00:00:30Z")
    assert outcomes(load(made, source, whole(DAY))) == ["open"]
    assert made.entries == {}


def test_a_day_of_which_nothing_can_be_there_yet_is_open_and_without_a_chunk(made):
    made.note_requested(whole(DAY), START)
    loader = DayLoader(made, FakeSource().life(), settled_ms=DAY.start_ms)
    fetched = FetchedDay(Task(DAY, (whole(DAY),)), klines_of(Span(0, 0)), REST)
    assert loader.load(fetched) == DayResult(DAY, Outcome.OPEN)
    assert made.entries == {}


@pytest.mark.parametrize("late", [False, True], ids=["served", "late"])
def test_the_newest_minutes_alone_can_be_asked_for(made, late):
    newest = span("2024-03-05T11:58Z", "2024-03-05T12:00Z")
    source = FakeSource(now="2024-03-05T12:00:10Z", missing=[newest] if late else [])
    [result] = load(made, source, newest)
    assert result.outcome is (Outcome.OPEN if late else Outcome.LOADED)
    source.now, source.missing = "2024-03-05T12:10:10Z", []
    load(made, source, newest)
    assert made.read(DAY).klines.equals(klines_of(newest))


def test_days_before_the_first_kline_and_after_the_last_have_no_chunk(made):
    source = FakeSource(first="2024-03-05T04:00Z", last="2024-03-06T19:59Z")
    window = span("2024-03-03", "2024-03-09")
    expected = ["not_listed", "not_listed", "loaded", "loaded", "delisted", "delisted"]
    assert outcomes(load(made, source, window)) == expected
    assert list(made.entries) == ["2024-03-05", "2024-03-06"]
    assert absences(made, "2024-03-05") == {"not_listed": [span("2024-03-05", "2024-03-05T04:00Z")]}
    assert absences(made, "2024-03-06") == {"delisted": [span("2024-03-06T20:00Z", "2024-03-07")]}
    assert all(entry.complete for entry in made.entries.values())
    source.forget()
    assert outcomes(load(made, source, window)) == [outcome.replace("loaded", "unchanged") for outcome in expected]
    assert source.asked == []


def test_what_was_proven_of_other_minutes_of_a_day_is_kept_without_asking_again(made):
    source = FakeSource(missing=[HALT])
    load(made, source, span("2024-03-06", "2024-03-06T12:00Z"))
    [before] = [absence for absence in made.entries["2024-03-06"].absences if absence.kind is Kind.OUTAGE]
    source.forget()
    load(made, source, span("2024-03-06T12:00Z", "2024-03-07"))
    assert made.entries["2024-03-06"].absences == (before,) == (Absence(Kind.OUTAGE, HALT, before.evidence),)
    assert before.evidence
    assert source.asked_minutes == [span("2024-03-06T12:00Z", "2024-03-07")]


class Flawed(FakeSource):
    """The kline of one minute has more taker volume than volume, which two sources say."""

    def _page(self, within: Span) -> Page:
        page = super()._page(within)
        times = page.klines.column("open_time").to_pylist()
        if FLAW.open_time not in times:
            return page
        klines = changed(page.klines, "taker_base_volume", times.index(FLAW.open_time), FLAW.value)
        return replace(page, klines=klines, flaws=(FLAW,))


def test_a_flaw_of_minutes_that_are_not_loaded_again_keeps_the_sources_that_said_so(made):
    source = Flawed()
    load(made, source, span("2024-03-05", "2024-03-05T12:00Z"))
    assert made.entries[DAY.key].flaws == (FLAW,)
    load(made, source, span("2024-03-05T12:00Z", "2024-03-06"))
    assert made.entries[DAY.key].flaws == (FLAW,)
    assert made.read(DAY).klines.equals(source._page(whole(DAY)).klines)


def test_a_part_of_a_plan_has_its_first_and_its_last_day(made):
    source = FakeSource()
    load = plan_load(made, source, span("2024-03-03", "2024-03-08")).between("2024-03-04", "2024-03-06")
    assert [task.day.key for task in load.tasks] == ["2024-03-04", "2024-03-05", "2024-03-06"]
    assert load.spans == [span("2024-03-04", "2024-03-07")]
    assert [result.day.key for result in load_days(load)] == ["2024-03-04", "2024-03-05", "2024-03-06"]
    assert source.asked_minutes == load.spans


def test_minutes_before_the_last_kline_of_a_pair_that_has_ended_are_no_part_of_its_end(made):
    halt = span("2024-03-06T19:58Z", "2024-03-06T19:59Z")
    load(made, FakeSource(last="2024-03-06T19:59Z", missing=[halt]), THREE_DAYS)
    assert absences(made, "2024-03-06") == {"outage": [halt], "delisted": [span("2024-03-06T20:00Z", "2024-03-07")]}


def test_nothing_is_made_for_a_window_before_the_first_kline(made):
    assert outcomes(load(made, FakeSource(first="2024-04-01"), THREE_DAYS)) == ["not_listed"] * 3
    assert made.dataset.requested == ()


def test_a_pair_that_is_not_listed_is_said_before_anything_is_made(made):
    class Unlisted(FakeSource):
        def life(self, since_ms=0, *, between=None, refresh=False):
            raise PairNotListed("the fake exchange lists no such pair")

    with pytest.raises(PairNotListed):
        load(made, Unlisted(), THREE_DAYS)
    assert made.dataset.requested == ()


# --- windows that are not whole days


def test_the_minutes_outside_a_window_are_not_requested(made):
    window = span("2024-03-05T06:00Z", "2024-03-06T18:00Z")
    source = FakeSource()
    assert outcomes(load(made, source, window)) == ["loaded", "loaded"]
    assert source.asked_minutes == [window]
    assert absences(made, "2024-03-05") == {"not_requested": [span("2024-03-05", "2024-03-05T06:00Z")]}
    assert absences(made, "2024-03-06") == {"not_requested": [span("2024-03-06T18:00Z", "2024-03-07")]}
    assert not made.entries["2024-03-05"].complete


def test_a_part_that_is_added_later_is_all_that_is_asked_for(made):
    source = FakeSource()
    load(made, source, span("2024-03-05T06:00Z", "2024-03-05T12:00Z"))
    source.forget()
    load(made, source, span("2024-03-05T09:00Z", "2024-03-05T18:00Z"))
    assert source.asked_minutes == [span("2024-03-05T12:00Z", "2024-03-05T18:00Z")]
    assert made.read(DAY).klines.equals(klines_of(span("2024-03-05T06:00Z", "2024-03-05T18:00Z")))


@pytest.mark.parametrize(
    ("part", "asked"),
    [
        (("09:00", "10:00"), [("09:57", "10:00")]),
        (("10:00", "23:00"), [("09:57", "23:00")]),
        (("20:00", "21:00"), [("09:57", "10:00"), ("20:00", "21:00")]),
        (("07:00", "08:00"), [("07:00", "08:00"), ("09:57", "10:00")]),
        (("09:00", "09:30"), []),
    ],
)
def test_klines_that_had_only_just_closed_are_read_again_with_any_other_part_of_their_day(made, part, asked):
    source = FakeSource(now="2024-03-05T10:00:10Z")
    load(made, source, span("2024-03-05T09:00Z", "2024-03-05T10:00Z"))
    source.now = "2024-03-07T12:00Z"
    source.forget()
    load(made, source, on_day(*part))
    assert source.asked_minutes == [on_day(*each) for each in asked]
    assert (made.entries[DAY.key].state is State.PROVISIONAL) == (not asked)


def on_day(start: str, end: str) -> Span:
    return span(f"{DAY.key}T{start}Z", f"{DAY.key}T{end}Z")


def test_the_newest_minute_alone_is_read_again_without_those_that_nobody_asked_for(made):
    source = FakeSource(now="2024-03-05T10:00:10Z")
    load(made, source, on_day("09:59", "10:00"))
    source.now = "2024-03-07T12:00Z"
    source.forget()
    load(made, source, on_day("10:00", "12:00"))
    assert source.asked_minutes == [on_day("09:59", "12:00")]


def test_what_was_asked_for_and_never_loaded_is_loaded_with_the_next_part_of_its_day(made):
    """A process was killed after it noted the whole day as asked for and before it loaded it."""
    source = FakeSource()
    load(made, source, span("2024-03-05T00:00Z", "2024-03-05T02:00Z"))
    made.note_requested(whole(DAY), START)
    [result] = load(made, source, span("2024-03-05T03:00Z", "2024-03-05T04:00Z"))
    assert (result.outcome, result.error) == (Outcome.LOADED, None)
    assert absences(made, DAY.key) == {}


minutes = st.integers(1, THREE_DAYS.minutes - 1)


@settings(max_examples=30, deadline=None)
@given(
    cuts=st.lists(minutes, max_size=4, unique=True),
    order=st.randoms(use_true_random=False),
    outages=st.lists(st.tuples(minutes, st.integers(1, 2000)), max_size=3),
    page_minutes=st.integers(200, 2000),
)
def test_any_pieces_in_any_order_end_in_the_bytes_of_one_whole_load(cuts, order, outages, page_minutes):
    def minute(number: int) -> int:
        return THREE_DAYS.start_ms + number * MINUTE_MS

    missing = [Span(minute(start), min(minute(start + length), THREE_DAYS.end_ms)) for start, length in outages]
    pieces = [Span(minute(one), minute(other)) for one, other in pairwise([0, *sorted(cuts), THREE_DAYS.minutes])]
    order.shuffle(pieces)
    with tempfile.TemporaryDirectory() as root:
        whole_load, in_pieces = dataset_in(Path(root) / "whole"), dataset_in(Path(root) / "pieces")
        load(whole_load, FakeSource(missing=missing), THREE_DAYS)
        for piece in pieces:
            load(in_pieces, FakeSource(missing=missing, page_minutes=page_minutes), piece)
        assert chunks_of(in_pieces) == chunks_of(whole_load)
        assert in_pieces.dataset.requested == (THREE_DAYS,)
        for name in ("manifest.json", "dataset.json"):
            assert (in_pieces.folder / name).read_bytes() == (whole_load.folder / name).read_bytes()


def test_equal_answers_give_equal_bytes(tmp_path):
    stores = [dataset_in(tmp_path / name) for name in ("one", "two")]
    for made in stores:
        load(made, FakeSource(missing=[HALT], dropped=[span("2024-03-07T01:00Z", "2024-03-07T02:00Z")]), THREE_DAYS)
    assert chunks_of(stores[0]) == chunks_of(stores[1])
    assert (stores[0].folder / "manifest.json").read_bytes() == (stores[1].folder / "manifest.json").read_bytes()


# --- loading anew


def test_a_refetch_asks_for_everything_and_changes_no_byte_if_the_answers_are_the_same(made):
    source = FakeSource(missing=[HALT])
    load(made, source, THREE_DAYS)
    before = chunks_of(made)
    source.forget()
    assert outcomes(load(made, source, THREE_DAYS, refetch=True)) == ["loaded"] * 3
    assert source.asked_minutes == [THREE_DAYS]
    assert chunks_of(made) == before


def test_a_refetch_fills_what_the_exchange_has_found_since(made):
    source = FakeSource(missing=[HALT])
    load(made, source, THREE_DAYS)
    source.missing = []
    load(made, source, THREE_DAYS, refetch=True)
    assert made.read(day("2024-03-06")).klines.equals(klines_of(whole(day("2024-03-06"))))


def test_a_refetch_of_part_of_a_day_keeps_the_rest(made):
    source = FakeSource()
    load(made, source, whole(DAY))
    before = chunks_of(made)
    load(made, source, span("2024-03-05T10:00Z", "2024-03-05T11:00Z"), refetch=True)
    assert chunks_of(made) == before


def test_a_refetch_never_makes_a_chunk_worse(made):
    source = FakeSource()
    load(made, source, THREE_DAYS)
    before = chunks_of(made)
    source.missing = [HALT]
    results = load(made, source, THREE_DAYS, refetch=True)
    assert outcomes(results) == ["loaded", "failed", "loaded"]
    assert "keeps its chunk: the exchange now lacks 90 minutes" in results[1].error
    assert chunks_of(made) == before


# --- what goes wrong concerns the days it concerns


def test_one_bad_day_does_not_stop_the_others(made):
    source = FakeSource(bad=[HALT], page_minutes=720)
    results = load(made, source, THREE_DAYS)
    assert outcomes(results) == ["loaded", "failed", "loaded"]
    assert "answered klines with nonsense" in results[1].error
    assert list(made.entries) == ["2024-03-05", "2024-03-07"]
    source.bad = []
    assert outcomes(load(made, source, THREE_DAYS)) == ["unchanged", "loaded", "unchanged"]


def test_a_bad_page_fails_every_day_it_has_minutes_of_and_no_other(made):
    source = FakeSource(bad=[span("2024-03-05T23:00Z", "2024-03-05T23:01Z")], page_minutes=1000)
    assert outcomes(load(made, source, THREE_DAYS)) == ["failed", "failed", "loaded"]


def test_when_the_exchange_goes_away_what_was_loaded_stays_and_the_rest_says_why(tmp_path, made):
    source = FakeSource(unavailable_from="2024-03-06T12:00Z", page_minutes=720)
    results = load(made, source, THREE_DAYS)
    assert outcomes(results) == ["loaded", "failed", "failed"]
    assert [result.may_pass for result in results] == [False, True, True]
    assert results[1].error == "no answer from the fake exchange; check the network"
    assert results[2].error == f"not tried, because an earlier request failed: {results[1].error}"
    assert list(dataset_in(tmp_path).entries) == [DAY.key]
    source.unavailable_from = None
    source.forget()
    assert outcomes(load(made, source, THREE_DAYS)) == ["unchanged", "loaded", "loaded"]
    assert source.asked_minutes == [span("2024-03-06", "2024-03-08")]


@pytest.mark.parametrize("has_core_free", [True, False])
def test_the_log_says_once_why_many_days_failed_and_then_how_many(made, caplog, has_core_free):
    source = FakeSource(unavailable_from="2024-03-06", bad=[whole(day("2024-03-02"))], page_minutes=1440)
    planned = plan_load(made, source, span("2024-03-01", "2024-05-01"))
    failed = [
        result
        for results in load_together(planned, has_core_free=has_core_free)
        for result in results
        if result.outcome is Outcome.FAILED
    ]
    assert len(failed) == 57
    gone = "no answer from the fake exchange; check the network"
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == [
        "spot BTC/USDT 2024-03-02 failed: the fake exchange answered klines with nonsense",
        f"spot BTC/USDT 2024-03-06 failed: {gone}",
        f"spot BTC/USDT 2024-03-07 failed: not tried, because an earlier request failed: {gone}",
        "spot BTC/USDT 2024-04-30: until then 54 more days failed for the same reason",
    ]


def test_days_are_counted_by_the_source_of_their_klines(made):
    source = FakeSource(bad=[whole(day("2024-03-06"))], page_minutes=1440)
    counted = counts_of(lambda: load(made, source, THREE_DAYS))
    names = {counter.name for counter in (DAYS_LOADED, DAYS_FAILED, KLINES_LOADED)}
    assert {key: count for key, count in counted.items() if key[0] in names} == {
        (DAYS_LOADED.name, "spot", "rest"): 2,
        (KLINES_LOADED.name, "spot", "rest"): 2 * 1440,
        (DAYS_FAILED.name, "spot"): 1,
    }


class Revising(FakeSource):
    """It has another number of trades at noon than it had."""

    def _page(self, within: Span) -> Page:
        page, noon = super()._page(within), at("2024-03-06T12:00Z")
        times = page.klines.column("open_time").to_pylist()
        return replace(page, klines=changed(page.klines, "trades", times.index(noon), 99)) if noon in times else page


def test_a_day_that_fails_again_tells_what_was_revised_of_it(made):
    on = whole(day("2024-03-06"))
    [first] = load(made, FakeSource(missing=[HALT], unproven=True), on)
    [again] = load(made, Revising(missing=[HALT], unproven=True), on, refetch=True)
    assert (first.outcome, again.outcome) == (Outcome.FAILED, Outcome.FAILED)
    assert first.revision is None
    assert again.revision is not None
    assert again.revision.fields == ("trades",)
    assert again.entry == made.entries["2024-03-06"] != first.entry


def test_a_failed_day_keeps_the_chunk_it_had(made):
    source = FakeSource()
    load(made, source, span("2024-03-05T00:00Z", "2024-03-05T06:00Z"))
    before = chunks_of(made)
    source.bad = [whole(DAY)]
    [failed] = load(made, source, whole(DAY))
    assert (failed.outcome, failed.entry) == (Outcome.FAILED, made.entries[DAY.key])
    assert chunks_of(made) == before


# More days than are published together.
MANY_DAYS = span("2024-03-05", "2024-04-24")


@pytest.mark.parametrize("error", [KeyboardInterrupt, GeneratorExit, SystemExit])
def test_a_load_that_is_stopped_keeps_what_it_finished_and_is_continued(tmp_path, made, error):
    source = FakeSource()
    results = backfill(made, source, MANY_DAYS)
    next(results)
    with pytest.raises(error):
        results.throw(error)
    assert source.closed_iterators == 1
    again = dataset_in(tmp_path)
    assert (again.folder / "manifest.json").exists()
    kept = list(again.entries)
    assert DAY.key in kept
    assert len(kept) < 50
    source.forget()
    assert outcomes(load(again, source, MANY_DAYS)) == ["unchanged"] * len(kept) + ["loaded"] * (50 - len(kept))
    assert source.asked_minutes == [Span(day(max(kept)).end_ms, MANY_DAYS.end_ms)]


def test_a_load_that_was_killed_outright_is_continued(tmp_path, made):
    source = FakeSource()
    results = backfill(made, source, MANY_DAYS)
    next(results)
    again = dataset_in(tmp_path)
    kept = len(again.entries)
    assert 1 <= kept < 50
    assert outcomes(load(again, source, MANY_DAYS)) == ["unchanged"] * kept + ["loaded"] * (50 - kept)
    results.close()
    assert len(dataset_in(tmp_path).entries) == 50


# --- zones and starts


@pytest.mark.parametrize(("key", "rows"), [("2023-10-29", 1500), ("2024-03-31", 1380), ("2024-03-30", 1440)])
def test_a_day_on_which_the_clocks_change_is_loaded_whole(tmp_path, key, rows):
    on = day(key, ZURICH)
    made = dataset_in(tmp_path, ZURICH, date(2023, 10, 1))
    source = FakeSource(page_minutes=499)
    [result] = load(made, source, whole(on))
    assert (result.day, result.entry.rows, result.entry.complete) == (on, rows, True)
    assert made.read(on).klines.equals(source.has(whole(on)))


def test_a_window_in_another_zone_touches_the_days_of_the_datasets_zone(tmp_path):
    made = dataset_in(tmp_path, ZURICH)
    results = load(made, FakeSource(), whole(DAY))
    assert [result.day.key for result in results] == ["2024-03-05", "2024-03-06"]
    assert absences(made, "2024-03-06") == {"not_requested": [span("2024-03-06T00:00Z", "2024-03-06T23:00Z")]}


def test_an_earlier_day_moves_the_start_down_and_renames_what_is_there(tmp_path, made):
    load(made, FakeSource(), whole(DAY))
    [before] = chunks_of(made).values()
    assert made.dataset.start == date(2020, 1, 1)
    load(made, FakeSource(), whole(day("2018-02-01")))
    assert made.dataset.start == date(2018, 2, 1)
    index = (date(2024, 3, 5) - date(2018, 2, 1)).days + 1
    chunks = chunks_of(made)
    assert list(chunks) == ["chunk_000001_2018-02-01.parquet", f"chunk_{index:06d}_2024-03-05.parquet"]
    assert chunks[f"chunk_{index:06d}_2024-03-05.parquet"] == before
    assert outcomes(load(dataset_in(tmp_path), FakeSource(), whole(DAY))) == ["unchanged"]


def test_a_dataset_starts_no_sooner_than_the_pair(tmp_path):
    made = dataset_in(tmp_path, start=date(2024, 3, 5))
    load(made, FakeSource(first="2024-03-05T04:00Z"), span("2024-02-01", "2024-03-06"))
    assert made.dataset.start == date(2024, 3, 5)
    assert list(chunks_of(made)) == ["chunk_000001_2024-03-05.parquet"]


def test_what_a_manifest_says_of_a_day_is_what_its_chunk_holds(made):
    load(made, FakeSource(first="2024-03-05T04:00Z", missing=[HALT]), THREE_DAYS)
    for key, entry in made.entries.items():
        chunk = made.read(day(key))
        assert chunk.entry == entry
        assert entry.rows + sum(absence.span.minutes for absence in entry.absences) == entry.expected_rows
        assert entry.first_open_time == max(day(key).start_ms, at("2024-03-05T04:00Z"))
