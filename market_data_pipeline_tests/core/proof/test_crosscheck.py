"""Each value that another source has otherwise is named, and no other; what could not be compared is said."""

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.days import MINUTE_MS, Zone, iso, parse_zone
from market_data_pipeline.core.klines.table import FIELDS, SCHEMA, column, open_times
from market_data_pipeline.core.loading.load_days import backfill
from market_data_pipeline.core.proof.crosscheck import (
    KLINE,
    MOST_DIFFERENCES,
    CrossCheck,
    Difference,
    crosscheck,
    sample,
)
from market_data_pipeline.core.sources.protocol import Page
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.root import Store
from market_data_pipeline_tests.core.fakes import UTC_ZONE, FakeSource, at, day, minutes_of, span, whole

DAY = day("2024-03-06")
THREE_DAYS = span("2024-03-05", "2024-03-08")
HALT = span("2024-03-06T04:00Z", "2024-03-06T05:30Z")
MINUTE = at("2024-03-06T12:31Z")
ONE_MINUTE = Span(MINUTE, MINUTE + MINUTE_MS)
ZURICH = parse_zone("Europe/Zurich")
KEYS = ["2024-03-05", "2024-03-06", "2024-03-07"]


@dataclass
class OtherSource(FakeSource):
    """An exchange that has the next number up, the smallest change there is, in these fields of these minutes."""

    changed: set[tuple[int, str]] = field(default_factory=set)

    def each_page(self, spans: Iterable[Span]) -> Iterator[Page]:
        for page in super().each_page(spans):
            yield replace(page, klines=self._changed(page.klines))

    def _changed(self, klines: pa.Table) -> pa.Table:
        columns = {name: column(klines, name).copy() for name in FIELDS}
        for minute, name in self.changed:
            for row in np.flatnonzero(open_times(klines) == minute):
                columns[name][row] = next_up(columns[name][row])
        return pa.Table.from_pydict(columns, schema=SCHEMA)


def next_up(value: float | int) -> float | int:
    return value + 1 if isinstance(value, int | np.integer) else float(np.nextafter(value, np.inf))


def dataset_in(root: Path, zone: Zone = UTC_ZONE, start: date = date(2024, 3, 1)) -> DatasetStore:
    return Store(root, manifest_interval_s=3600).create(Market.SPOT, "BTC/USDT", zone=zone, start=start)


def load(made: DatasetStore, source: FakeSource, window: Span = THREE_DAYS) -> None:
    list(backfill(made, source, window))


def check(made: DatasetStore, source: FakeSource, against: str = "rest") -> CrossCheck:
    return crosscheck(made, source, against=against, days=sample(made, None, None))


@pytest.fixture
def loaded(made: DatasetStore) -> DatasetStore:
    """Three days with a halt on the second."""
    load(made, FakeSource(missing=[HALT]))
    return made


# --- what differs


def test_the_same_klines_and_outages_are_found_equal_and_nothing_is_changed(loaded):
    source = FakeSource(missing=[HALT])
    before = {path: path.read_bytes() for path in loaded.folder.rglob("*.*")}
    result = check(loaded, source)
    assert result.ok
    assert (result.days, result.of_days, result.rows) == (3, 3, 3 * 1440 - 90)
    assert (result.differences, result.differing_days, result.not_compared) == ([], {}, [])
    assert source.asked_minutes == [THREE_DAYS]
    assert source.closed_iterators == 1
    assert {path: path.read_bytes() for path in loaded.folder.rglob("*.*")} == before


@pytest.mark.parametrize("name", FIELDS[1:])
def test_one_value_that_is_another_in_the_last_bit_is_exactly_what_is_found(loaded, name):
    result = check(loaded, OtherSource(missing=[HALT], changed={(MINUTE, name)}))
    ours = FakeSource().has(ONE_MINUTE).column(name)[0].as_py()
    assert result.differences == [Difference(DAY.key, MINUTE, name, ours, next_up(ours))]
    assert result.differing_days == {DAY.key: 1}
    assert not result.ok
    assert (result.days, result.rows) == (3, 3 * 1440 - 90)


def test_a_difference_is_one_line_for_people():
    differs = Difference("2024-03-05", at("2024-03-05T12:31Z"), "close", 4.123, 4.124)
    assert differs.text("rest") == "2024-03-05T12:31Z close: ours 4.123, rest 4.124"
    trades = Difference("2024-03-05", at("2024-03-05T12:31Z"), "trades", 0, 7)
    assert trades.text("archive") == "2024-03-05T12:31Z trades: ours 0, archive 7"


@pytest.mark.parametrize("against", ["rest", "archive"])
def test_a_kline_that_only_we_have_is_told_from_one_that_only_they_have(loaded, against):
    lacks = check(loaded, FakeSource(missing=[HALT, ONE_MINUTE]), against)
    assert lacks.differences == [Difference(DAY.key, MINUTE, KLINE, MINUTE, None)]
    assert lacks.differences[0].text(against) == f"2024-03-06T12:31Z kline: ours present, {against} absent"
    has = check(loaded, FakeSource(missing=[Span(HALT.start_ms + MINUTE_MS, HALT.end_ms)]), against)
    assert has.differences == [Difference(DAY.key, HALT.start_ms, KLINE, None, HALT.start_ms)]
    assert has.differences[0].text(against) == f"2024-03-06T04:00Z kline: ours absent, {against} present"


def test_an_outage_in_which_they_have_klines_differs_in_each_of_its_minutes(loaded):
    result = check(loaded, FakeSource())
    assert result.differing_days == {DAY.key: 90}
    assert {difference.open_time for difference in result.differences} == minutes_of([HALT])


def test_klines_that_rest_leaves_out_now_and_then_are_asked_for_again(loaded):
    dropped = [ONE_MINUTE, span("2024-03-07T23:00Z", "2024-03-08")]
    assert check(loaded, FakeSource(missing=[HALT], dropped=dropped)).ok
    assert check(loaded, FakeSource(missing=[HALT], dropped=[ONE_MINUTE]), "archive").differing_days == {DAY.key: 1}


def test_klines_that_rest_gives_one_by_one_are_asked_for_until_all_are_there(loaded):
    three = Span(MINUTE, MINUTE + 3 * MINUTE_MS)
    assert check(loaded, FakeSource(missing=[HALT], dropped=[three], drops_every_time=True)).ok


def test_the_list_of_differences_is_bounded_and_the_counts_are_not(loaded):
    result = check(loaded, FakeSource(missing=[span("2024-03-05T10:00Z", "2024-03-08")]))
    assert result.differing_days == {"2024-03-05": 840, "2024-03-06": 1350, "2024-03-07": 1440}
    assert len(result.differences) == MOST_DIFFERENCES
    assert result.differences[-1].open_time == DAY.start_ms + (MOST_DIFFERENCES - 840 - 1) * MINUTE_MS


minutes = st.integers(0, 1499)
NIGHT_OF_25_HOURS = day("2023-10-29", ZURICH)


@settings(max_examples=25, deadline=None)
@given(
    changed=st.sets(st.tuples(minutes, st.sampled_from(FIELDS[1:])), max_size=20),
    we_lack=st.sets(minutes, max_size=20),
    they_lack=st.sets(minutes, max_size=20),
    page_minutes=st.integers(100, 4000),
    against=st.sampled_from(["rest", "archive"]),
)
def test_what_is_found_is_what_was_made_to_differ(changed, we_lack, they_lack, page_minutes, against):
    on = NIGHT_OF_25_HOURS
    window = Span(on.start_ms - 1440 * MINUTE_MS, on.end_ms + 1440 * MINUTE_MS)

    def spans(numbers: set[int]) -> list[Span]:
        return [Span(time, time + MINUTE_MS) for time in (on.start_ms + number * MINUTE_MS for number in numbers)]

    theirs = OtherSource(
        missing=spans(they_lack),
        page_minutes=page_minutes,
        changed={(on.start_ms + number * MINUTE_MS, name) for number, name in changed},
    )
    with tempfile.TemporaryDirectory() as root:
        made = dataset_in(Path(root), ZURICH)
        load(made, FakeSource(missing=spans(we_lack)), window)
        result = check(made, theirs, against)
    values = {(number, name) for number, name in changed if number not in we_lack | they_lack}
    values |= {(number, KLINE) for number in we_lack ^ they_lack}
    found = [((found.open_time - on.start_ms) // MINUTE_MS, found.field) for found in result.differences]
    assert sorted(found) == sorted(values)
    assert [number for number, _ in found] == sorted(number for number, _ in values)
    assert result.differing_days == ({on.key: len({number for number, _ in values})} if values else {})
    assert (result.days, result.rows) == (3, window.minutes - len(we_lack))


# --- what is compared


@pytest.mark.parametrize(("key", "rows"), [("2023-03-26", 1380), ("2023-10-29", 1500)])
def test_a_day_on_which_the_clocks_change_is_compared_whole_and_alone(tmp_path, key, rows):
    made, on = dataset_in(tmp_path, ZURICH), day(key, ZURICH)
    load(made, FakeSource(), Span(on.start_ms - MINUTE_MS, on.end_ms + MINUTE_MS))
    last = on.end_ms - MINUTE_MS
    source = OtherSource(changed={(on.start_ms, "open"), (last, "open"), (on.end_ms, "open")})
    result = crosscheck(made, source, against="rest", days=[on])
    assert source.asked_minutes == [whole(on)]
    assert (result.days, result.of_days, result.rows) == (1, 3, rows)
    assert [difference.open_time for difference in result.differences] == [on.start_ms, last]


def test_only_minutes_that_are_stored_or_said_to_be_outages_are_asked_for(made):
    listed, now = "2024-03-05T10:00Z", "2024-03-07T12:00Z"
    load(made, FakeSource(first=listed, now=now, missing=[HALT]), span("2024-03-05", "2024-03-06T20:00Z"))
    load(made, FakeSource(first=listed, now=now, missing=[HALT]), span("2024-03-07T02:00Z", "2024-03-08"))
    later = FakeSource(missing=[HALT])
    result = check(made, later)
    assert result.ok
    assert later.asked_minutes == [
        span(listed, "2024-03-06T20:00Z"),
        span("2024-03-07T02:00Z", now),
    ]
    assert result.rows == sum(one.minutes for one in later.asked_minutes) - 90


def test_a_pair_that_ended_is_compared_to_its_end(made):
    load(made, FakeSource(last="2024-03-06T08:59Z", missing=[HALT]))
    later = FakeSource(missing=[HALT])
    assert check(made, later).ok
    assert later.asked_minutes == [span("2024-03-05", "2024-03-06T09:00Z")]


def test_days_are_compared_in_order_and_told_of_one_by_one(loaded):
    told: list[str] = []
    source = FakeSource(missing=[HALT])
    days = [day(key) for key in ("2024-03-07", "2024-03-05", "2024-03-07")]
    result = crosscheck(loaded, source, against="rest", days=days, on_day=told.append)
    assert told == ["2024-03-05", "2024-03-07"]
    assert (result.days, result.of_days, result.ok) == (2, 3, True)
    assert source.asked_minutes == [whole(day(key)) for key in told]


def test_pages_are_let_go_where_the_reader_stops(loaded):
    def stop(key: str) -> None:
        raise KeyboardInterrupt

    source = FakeSource(missing=[HALT], page_minutes=500)
    with pytest.raises(KeyboardInterrupt) as stopped:  # keeps what would otherwise be let go by itself
        crosscheck(loaded, source, against="rest", days=sample(loaded, None, None), on_day=stop)
    assert stopped.traceback
    assert len(source.asked) == 3
    assert source.closed_iterators == 1


# --- what could not be compared


def test_days_of_which_nothing_is_stored_are_said_not_to_be_compared(loaded):
    days = [day("2024-03-04"), DAY]
    result = crosscheck(loaded, FakeSource(missing=[HALT]), against="rest", days=days)
    assert result.not_compared == [("2024-03-04", "nothing is stored of it")]
    assert (result.days, result.ok) == (1, True)


def test_no_days_are_no_questions(made):
    source = FakeSource()
    result = check(made, source)
    assert (result.ok, result.days, result.of_days, source.asked) == (True, 0, 0, [])
    assert not result.nothing_compared


def test_days_none_of_which_could_be_compared_are_not_good(loaded):
    result = check(loaded, FakeSource(unavailable_from=iso(THREE_DAYS.start_ms)))
    assert (result.nothing_compared, result.ok, len(result.not_compared)) == (True, False, 3)


def test_a_day_whose_page_is_bad_is_not_compared_and_the_others_are(loaded):
    told: list[str] = []
    source = FakeSource(missing=[HALT], bad=[ONE_MINUTE], page_minutes=720)
    result = crosscheck(loaded, source, against="rest", days=sample(loaded, None, None), on_day=told.append)
    assert result.not_compared == [(DAY.key, "the fake exchange answered klines with nonsense")]
    assert (result.days, result.rows, told) == (2, 2880, KEYS)


def test_where_the_source_is_not_to_be_reached_the_remaining_days_are_not_compared(loaded):
    source = FakeSource(missing=[HALT], unavailable_from=iso(MINUTE), page_minutes=720)
    result = check(loaded, source)
    assert result.days == 1
    assert [key for key, _ in result.not_compared] == KEYS[1:]
    assert [reason.startswith("not tried") for _, reason in result.not_compared] == [False, True]
    assert all("no answer from the fake exchange" in reason for _, reason in result.not_compared)


def test_a_source_that_fails_when_asked_again_leaves_only_that_day_out(loaded):
    class Unsure(FakeSource):
        def recheck(self, gap: Span):
            self.bad.append(gap)
            return super().recheck(gap)

    result = check(loaded, Unsure(missing=[HALT], dropped=[ONE_MINUTE]))
    assert [key for key, _ in result.not_compared] == [DAY.key]
    assert (result.days, result.ok) == (2, True)


def test_a_damaged_chunk_and_a_deleted_one_are_not_compared(loaded):
    path = loaded.chunk_path(DAY)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    loaded.chunk_path(day("2024-03-07")).unlink()
    result = check(loaded, FakeSource(missing=[HALT]))
    assert [key for key, _ in result.not_compared] == KEYS[1:]
    assert "cannot be read" in result.not_compared[0][1]
    assert "is missing" in result.not_compared[1][1]
    assert (result.days, result.of_days, result.ok) == (1, 3, True)


def test_a_whole_chunk_that_the_manifest_does_not_list_is_not_compared(tmp_path, loaded):
    other = dataset_in(tmp_path / "other")
    load(other, FakeSource())
    loaded.chunk_path(DAY).write_bytes(other.chunk_path(DAY).read_bytes())
    [(key, reason)] = check(loaded, FakeSource()).not_compared
    assert key == DAY.key
    assert "is not what the manifest lists" in reason


def test_a_chunk_that_another_process_has_replaced_is_compared(tmp_path, made):
    load(made, FakeSource(now="2024-03-06T12:00Z"))
    root = Store(tmp_path)
    load(root.open(root.find(Market.SPOT, "BTC/USDT")), FakeSource())
    result = check(made, FakeSource())
    assert (result.days, result.ok, result.not_compared) == (2, True, [])


# --- samples


@pytest.fixture(scope="module")
def april(tmp_path_factory) -> DatasetStore:
    """Thirty days, of which the 10th is a halt from end to end."""
    made = dataset_in(tmp_path_factory.mktemp("april"))
    load(made, FakeSource(missing=[span("2024-04-10", "2024-04-11")]), span("2024-04-01", "2024-05-01"))
    return made


def test_all_days_with_klines_are_the_sample_without_a_number(april):
    keys = [of.key for of in sample(april, None, None)]
    assert keys == [f"2024-04-{number:02d}" for number in range(1, 31) if number != 10]


@settings(max_examples=50, deadline=None)
@given(most=st.integers(0, 40), seed=st.text(max_size=10), first=st.integers(0, 40), length=st.integers(0, 40))
def test_a_sample_is_so_many_days_of_the_window_and_the_newest_of_them(april, most, seed, first, length):
    start = THREE_DAYS.start_ms + (first * 1440 + 17) * MINUTE_MS
    window = Span(start, start + length * 1440 * MINUTE_MS)
    everything = sample(april, window, None)
    stored = sample(april, None, None)
    assert everything == [of for of in stored if max(start, of.start_ms) < min(window.end_ms, of.end_ms)]
    found = sample(april, window, most, seed)
    assert found == sample(april, window, most, seed) == sorted(found, key=lambda of: of.key)
    assert set(found) <= set(everything)
    assert len(found) == min(most, len(everything))
    assert found[-1:] == (everything[-1:] if most else [])


def test_samples_of_some_nights_reach_every_day(april):
    nights = [sample(april, None, 8, seed=f"2024-05-{number:02d}") for number in range(1, 31)]
    assert len({tuple(night) for night in nights}) == 30
    assert {of for night in nights for of in night} == set(sample(april, None, None))
