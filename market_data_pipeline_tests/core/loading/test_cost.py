"""A plan says what a load takes: each number of it, from a source of which requests, bytes and klines are known."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date

import pytest

from market_data_pipeline.core.errors import SourceUnavailable, UsageError
from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.table import EMPTY
from market_data_pipeline.core.loading.cost import Cost, How, cost_of
from market_data_pipeline.core.loading.load_days import backfill
from market_data_pipeline.core.loading.request import WindowRequest
from market_data_pipeline.core.sources.planning.forecast import Expected
from market_data_pipeline.core.sources.planning.traffic import Traffic
from market_data_pipeline.core.sources.protocol import Life, Page, Usage
from market_data_pipeline.core.store.root import Store
from market_data_pipeline_tests.core.fakes import REST, UTC_ZONE, FakeSource, at, day, span, whole

REQUEST = WindowRequest(Market.SPOT, "BTC/USDT", UTC_ZONE, at("2024-05-01"), at("2024-05-05"))
DAYS = [day(f"2024-05-0{number}") for number in range(1, 5)]
# Of a file of the archive, of one that another file replaced, and of a row of REST.
FILE_BYTES, OTHER_FILE_BYTES, ROW_BYTES = 60_000, 90_000, 100
_ASKED_FIRST = Traffic(3, 1000)


@dataclass
class Priced(FakeSource):
    """Days before `rest_from` come from a file of the archive, later ones from REST by pages of 1,000 minutes."""

    rest_from: str = "2030-01-01"
    file_bytes: int | None = FILE_BYTES
    refuses_pages: bool = False
    received: int = 0
    absent_told: list[Span] = field(default_factory=list)
    is_closed: bool = False

    def traffic(self) -> Traffic:
        return _ASKED_FIRST + Traffic(0, self.received)

    def usage(self) -> Usage:
        return Usage(used=40, limit=1200, spent=7)

    def expect(self, days: Iterable[Sequence[Span]], absent: Sequence[Span] = ()) -> list[Expected]:
        self.absent_told += absent
        return [one for spans in days for piece in spans for one in self._expected(piece)]

    def _expected(self, piece: Span) -> Iterator[Expected]:
        klines = self.has(piece).num_rows
        if piece.start_ms < at(self.rest_from):
            yield Expected(piece, "archive" if klines else "", 2, 0, 1, self.file_bytes, 0, klines)
        else:
            yield Expected(piece, "rest" if klines else "", 2, 4, rest_rows=klines, klines=klines)
        if klines < piece.minutes:
            yield Expected(piece, "", 3, 6, rest_rows=60)

    def each_page(self, spans: Iterable[Span]) -> Iterator[Page]:
        for one in spans:
            if self.refuses_pages:
                yield Page(one, EMPTY, REST, "no")
                continue
            klines = self.has(one)
            of_file = one.start_ms < at(self.rest_from)
            self.received += (self.file_bytes or OTHER_FILE_BYTES) if of_file else ROW_BYTES * klines.num_rows
            yield Page(one, klines, REST)

    def close(self) -> None:
        self.is_closed = True


class Paused(Priced):
    """Its last kline proves no end."""

    def life(self, since_ms: int = 0, *, between: Span | None = None, refresh: bool = False) -> Life:
        return replace(super().life(since_ms), ended=False)


def cost(store: Store, source: Priced, request: WindowRequest = REQUEST, how: How | None = None) -> Cost:
    found = cost_of(store, lambda *_: source, request, how) if how else cost_of(store, lambda *_: source, request)
    assert source.is_closed
    return found


def chunk_bytes(store: Store) -> int:
    """What all days of the window take once they were loaded."""
    made = store.create(Market.SPOT, "BTC/USDT", zone=UTC_ZONE, start=date(2020, 1, 1))
    results = list(backfill(made, FakeSource(), span("2024-05-01", "2024-05-05")))
    return sum(result.entry.size_bytes for result in results if result.entry)


def test_days_of_the_archive_take_their_files_and_no_weight(store: Store) -> None:
    source = Priced()
    planned = cost(store, source)
    assert (planned.name, planned.error, planned.warnings, planned.may_pass) == ("spot BTC/USDT", None, (), False)
    assert (planned.days, planned.sources) == ({"to load": 4}, {"archive": 4})
    assert (planned.requests, planned.weight, planned.weight_per_minute) == (3 + 4 * 2, 7, 1200)
    assert planned.klines == 4 * 1440
    # What was downloaded to learn sizes is not part of the load.
    assert planned.download_bytes == 1000 + 4 * FILE_BYTES
    assert planned.seconds_at_limit == pytest.approx(60 * 7 / 1200)
    assert source.received == 2 * FILE_BYTES
    assert store.find(Market.SPOT, "BTC/USDT") is None
    assert planned.stored_bytes == pytest.approx(chunk_bytes(store), rel=0.01)


def test_days_of_rest_take_their_rows_and_weight(store: Store) -> None:
    source = Priced(rest_from="2020-01-01")
    planned = cost(store, source)
    assert (planned.sources, planned.weight, planned.requests) == ({"rest": 4}, 7 + 4 * 4, 3 + 4 * 2)
    assert planned.download_bytes == 1000 + 4 * 1440 * ROW_BYTES
    assert planned.seconds_at_limit == pytest.approx(60 * 23 / 1200)
    assert source.received == 2 * 1440 * ROW_BYTES
    assert planned.stored_bytes == pytest.approx(chunk_bytes(store), rel=0.01)


def test_days_of_both_are_measured_on_two_of_each(store: Store) -> None:
    source = Priced(rest_from="2024-05-03")
    planned = cost(store, source)
    assert planned.sources == {"archive": 2, "rest": 2}
    assert planned.download_bytes == 1000 + 2 * FILE_BYTES + 2 * 1440 * ROW_BYTES
    assert source.received == 2 * FILE_BYTES + 2 * 1440 * ROW_BYTES
    assert planned.stored_bytes == pytest.approx(chunk_bytes(store), rel=0.01)


def test_files_of_which_no_size_is_listed_are_measured(store: Store) -> None:
    planned = cost(store, Priced(file_bytes=None))
    assert planned.download_bytes == 1000 + 4 * OTHER_FILE_BYTES
    assert planned.stored_bytes == pytest.approx(chunk_bytes(store), rel=0.01)


def test_larger_files_make_larger_chunks(store: Store) -> None:
    class Growing(Priced):
        def _expected(self, piece: Span) -> Iterator[Expected]:
            [one] = super()._expected(piece)
            yield replace(one, file_bytes=FILE_BYTES * (3 if piece == whole(DAYS[0]) else 1))

    # The first day is none of the two that are measured.
    usual, grown = cost(store, Priced()), cost(store, Growing())
    assert grown.download_bytes == usual.download_bytes + 2 * FILE_BYTES
    of_a_day = chunk_bytes(store) / 4
    # What a chunk has beside its klines does not grow.
    assert 1.5 * of_a_day < grown.stored_bytes - usual.stored_bytes < 2 * of_a_day


@pytest.mark.parametrize("rest_from", ["2020-01-01", "2030-01-01"])
def test_where_nothing_can_be_measured_usual_sizes_are_told(store: Store, rest_from: str) -> None:
    planned = cost(store, Priced(rest_from=rest_from, file_bytes=None, refuses_pages=True))
    each = 1440 * 175 if rest_from < "2024" else 70_000
    assert planned.download_bytes == 1000 + 4 * each
    assert 4 * 1440 * 46 < planned.stored_bytes < 4 * (1440 * 46 + 10_000)


def test_a_day_that_is_stored_takes_nothing_and_a_part_keeps_what_is_there(store: Store) -> None:
    fresh = cost(store, Priced(rest_from="2020-01-01"))
    made = store.create(Market.SPOT, "BTC/USDT", zone=UTC_ZONE, start=date(2020, 1, 1))
    list(backfill(made, FakeSource(), span("2024-05-01", "2024-05-02T12:00Z")))
    source = Priced(rest_from="2020-01-01")
    planned = cost(store, source)
    assert (planned.days, planned.klines) == ({"unchanged": 1, "to load": 3}, 720 + 2 * 1440)
    assert planned.download_bytes == 1000 + (720 + 2 * 1440) * ROW_BYTES
    # With the half of the second day that is there.
    assert planned.stored_bytes == pytest.approx(chunk_bytes(store) * 3 / 4, rel=0.03)
    again = cost(store, Priced(rest_from="2020-01-01"))
    assert (again.days, again.klines, again.stored_bytes, again.requests) == ({"unchanged": 4}, 0, 0, 3)
    refetched = cost(store, Priced(rest_from="2020-01-01"), how=How(refetch=True))
    assert (refetched.days, refetched.klines) == ({"to load": 4}, 4 * 1440)
    # Nothing of a day remains of which each minute is requested again.
    assert refetched.stored_bytes == fresh.stored_bytes == pytest.approx(chunk_bytes(store), rel=0.01)


def test_smaller_row_groups_make_larger_chunks(store: Store) -> None:
    usual = cost(store, Priced()).stored_bytes
    assert cost(store, Priced(), how=How(row_group_rows=100)).stored_bytes > 1.2 * usual


def test_minutes_of_which_an_outage_is_proven_are_told_to_the_source(store: Store) -> None:
    halt = span("2024-05-02T04:00Z", "2024-05-02T05:30Z")
    made = store.create(Market.SPOT, "BTC/USDT", zone=UTC_ZONE, start=date(2020, 1, 1))
    list(backfill(made, FakeSource(missing=[halt]), span("2024-05-01", "2024-05-05")))
    source = Priced(missing=[halt])
    planned = cost(store, source, how=How(refetch=True))
    assert source.absent_told == [halt]
    assert (planned.requests, planned.weight) == (3 + 4 * 2 + 3, 7 + 6)
    assert planned.klines == 4 * 1440 - 90
    partly = Priced(missing=[halt])
    part = replace(REQUEST, start_ms=at("2024-05-02T05:00Z"), end_ms=at("2024-05-02T06:00Z"), align=False)
    cost(store, partly, part, How(refetch=True))
    assert partly.absent_told == [span("2024-05-02T05:00Z", "2024-05-02T05:30Z")]


def test_a_day_without_klines_has_no_source_and_a_chunk(store: Store) -> None:
    planned = cost(store, Priced(missing=[whole(DAYS[1])]))
    assert planned.sources == {"archive": 3, "none": 1}
    assert planned.klines == 3 * 1440
    lacking = FakeSource(missing=[whole(DAYS[1])])
    made = store.create(Market.SPOT, "BTC/USDT", zone=UTC_ZONE, start=date(2020, 1, 1))
    results = list(backfill(made, lacking, span("2024-05-01", "2024-05-05")))
    stored = sum(result.entry.size_bytes for result in results if result.entry)
    assert planned.stored_bytes == pytest.approx(stored, abs=10_000)


def test_days_outside_of_a_life_are_not_counted(store: Store) -> None:
    planned = cost(store, Priced(first="2024-05-02", last="2024-05-03T23:59Z"))
    assert (planned.days, planned.klines) == ({"to load": 2}, 2 * 1440)
    # A pause is asked about again.
    assert cost(store, Paused(last="2024-05-02T23:59Z")).days == {"to load": 2}


def test_warnings_of_the_request_and_of_the_source_are_told(store: Store) -> None:
    paused, of_source = cost(store, Paused(last="2024-05-03T23:59Z", warnings=["no listing"])).warnings
    assert paused.startswith("not traded since 2024-05-04T00:00Z")
    assert of_source == "no listing"


def test_what_would_be_refused_is_refused_and_the_source_closed(store: Store) -> None:
    source = Priced(first="2024-06-01")
    with pytest.raises(UsageError, match="none in the requested window"):
        cost_of(store, lambda *_: source, REQUEST)
    assert source.is_closed

    class Away(Priced):
        def expect(self, days: Iterable[Sequence[Span]], absent: Sequence[Span] = ()) -> list[Expected]:
            raise SourceUnavailable("away")

    with pytest.raises(SourceUnavailable, match="away"):
        cost_of(store, lambda *_: Away(), REQUEST)
