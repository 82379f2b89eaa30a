"""What is asked of the exchange for a request, and what a user is told before anything is written."""

from dataclasses import dataclass, field, replace

import pytest

from market_data_pipeline.core.errors import PairNotListed, UsageError
from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.days import parse_zone
from market_data_pipeline.core.loading.request import WindowRequest, found, opened
from market_data_pipeline.core.sources.protocol import Life
from market_data_pipeline.core.store.root import Store
from market_data_pipeline_tests.core.fakes import UTC_ZONE, FakeSource, at, span
from market_data_pipeline_tests.core.loading.test_resolve import Asked

REQUEST = WindowRequest(Market.SPOT, "BTC/USDT", UTC_ZONE, at("2024-05-01T12:00Z"), at("2024-05-01T12:30Z"))


class Reused(FakeSource):
    """An earlier pair had the symbol."""

    def life(self, since_ms: int = 0, *, between: Span | None = None, refresh: bool = False) -> Life:
        return replace(super().life(since_ms), between=span("2022-05-01", "2022-06-01T03:00Z"))


def warnings_of(store: Store, source: FakeSource, request: WindowRequest = REQUEST) -> tuple[str, ...]:
    with found(store, lambda *_: source, request) as asked:
        return asked.warnings


def test_an_aligned_request_is_of_whole_days_of_its_zone_and_of_the_datasets(store: Store) -> None:
    zurich = replace(REQUEST, zone=parse_zone("Europe/Zurich"))
    for request, expected in (
        (REQUEST, span("2024-05-01", "2024-05-02")),
        (replace(REQUEST, align=False), span("2024-05-01T12:00Z", "2024-05-01T12:30Z")),
        (zurich, span("2024-04-30T22:00Z", "2024-05-01T22:00Z")),
    ):
        with found(store, lambda *_: FakeSource(), request) as asked:
            assert (asked.window, asked.within_life, asked.known, asked.warnings) == (expected, expected, None, ())
    with opened(store, lambda *_: FakeSource(), REQUEST) as made:
        assert made.files.dataset.zone == UTC_ZONE
    with found(store, lambda *_: FakeSource(), zurich) as asked:
        assert asked.known == made.files.dataset
        assert asked.window == span("2024-04-30", "2024-05-02")


def test_nothing_is_written_before_the_request_can_be_loaded(store: Store) -> None:
    seen: list[bool] = []
    with opened(store, lambda *_: FakeSource(), REQUEST, lambda: seen.append(store.find(*PAIR) is None)) as made:
        assert made.window == span("2024-05-01", "2024-05-02")
    assert seen == [True]
    assert store.find(*PAIR) == made.files.dataset


PAIR = (Market.SPOT, "BTC/USDT")


@pytest.mark.parametrize(
    ("source", "has"),
    [
        (FakeSource(first="2024-05-03T04:00Z"), "from 2024-05-03T04:00Z, none"),
        (FakeSource(last="2024-04-03T04:00Z"), "from 2017-08-17T04:00Z to 2024-04-03T04:00Z, none"),
    ],
)
def test_a_window_outside_of_a_life_is_refused_with_what_there_is(store: Store, source: FakeSource, has: str) -> None:
    window = "in the requested window 2024-05-01T00:00Z to 2024-05-02T00:00Z; give another start or end"
    with pytest.raises(UsageError) as refused:
        warnings_of(store, source)
    assert str(refused.value) == f"spot BTC/USDT has klines {has} {window}"
    assert store.find(*PAIR) is None


def test_a_user_is_told_that_another_pair_had_the_symbol(store: Store) -> None:
    assert warnings_of(store, Reused()) == (
        "an earlier pair had this symbol until 2022-05-01T00:00Z, this one begins 2022-06-01T03:00Z",
    )


def test_a_user_is_told_of_a_pause_and_not_of_an_end(store: Store) -> None:
    class Paused(FakeSource):
        def life(self, since_ms: int = 0, *, between: Span | None = None, refresh: bool = False) -> Life:
            return replace(super().life(since_ms), ended=False)

    [told] = warnings_of(store, Paused(last="2024-05-01T03:59Z"))
    assert told.startswith("not traded since 2024-05-01T04:00Z, and no proof of an end")
    assert warnings_of(store, FakeSource(last="2024-05-01T03:59Z")) == ()


@dataclass
class Noting(Asked):
    """Notes also between what it is asked for a life, and has no pair of the names in `unlisted`."""

    named: str = "BTC/USDT"
    unlisted: tuple[str, ...] = ()
    betweens: list[Span | None] = field(default_factory=list)

    def life(self, since_ms: int = 0, *, between: Span | None = None, refresh: bool = False) -> Life:
        self.betweens.append(between)
        if self.named in self.unlisted:
            raise PairNotListed("no")
        return super().life(since_ms, between=between, refresh=refresh)


def test_base_and_quote_are_asked_for_where_neither_the_catalog_nor_a_dataset_has_them(store: Store) -> None:
    def asked(request: WindowRequest) -> int:
        source = Noting(listed="BTC/USDT")
        with found(store, lambda *_: source, request):
            assert not source.is_closed
        assert source.is_closed
        return source.names_asked

    assert asked(REQUEST) == 1
    assert asked(replace(REQUEST, in_catalog=True)) == 0
    with opened(store, lambda *_: FakeSource(), REQUEST):
        pass
    assert asked(REQUEST) == 0


def test_the_exchange_is_not_asked_again_between_two_pairs_of_a_symbol(store: Store) -> None:
    between = span("2022-05-01", "2022-06-01T03:00Z")
    with opened(store, lambda *_: FakeSource(), REQUEST) as made:
        made.files.note_requested(span("2024-05-01", "2024-05-02"), made.files.dataset.start, reused=between)
    source = Noting()
    with found(store, lambda *_: source, REQUEST):
        assert source.betweens[-1] == between


def test_the_dataset_of_a_fallback_is_that_of_the_pair_that_is_worked_on(store: Store) -> None:
    with opened(store, lambda *_: FakeSource(), REQUEST) as made:
        btc = made.files.dataset

    def open_source(_: Market, pair: str) -> FakeSource:
        return Noting(named=pair, unlisted=("NO/PE",))

    nope = replace(REQUEST, pair="NO/PE")
    told = "spot does not list NO/PE: working on BTC/USDT INSTEAD (--strict-pair or strict_pair=True refuses)"
    with found(store, open_source, nope) as asked:
        assert (asked.resolved.pair, asked.known, asked.warnings) == ("BTC/USDT", btc, (told,))
    with opened(store, open_source, nope) as again:
        assert (again.files.dataset, again.warnings) == (btc, (told,))
    with pytest.raises(UsageError, match="spot does not list NO/PE; check the name"):
        warnings_of(store, Noting(named="NO/PE", unlisted=("NO/PE",)), replace(nope, strict=True))


def test_a_window_in_a_life_that_has_ended_is_cut_to_it(store: Store) -> None:
    ended = FakeSource(first="2024-05-01T03:00Z", last="2024-05-01T12:10Z")
    with found(store, lambda *_: ended, replace(REQUEST, start_ms=at("2024-04-29"))) as asked:
        assert asked.window == span("2024-04-29", "2024-05-02")
        assert asked.within_life == span("2024-05-01T03:00Z", "2024-05-01T12:11Z")
        assert asked.life == Life(at("2024-05-01T03:00Z"), at("2024-05-01T12:10Z"), ended=True)
