"""What one pair was, told from a listing, files and the snapshot before, without a network."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta

import pytest

from market_data_pipeline.core.catalog.pairs import ListedPair, PairKind, PairStatus, TradedDays, kind_of
from market_data_pipeline.core.catalog.ports import Listed
from market_data_pipeline.core.catalog.telling import Known, lives_of, tell
from market_data_pipeline.core.klines.dataset import Market

NEWEST, TODAY = date(2024, 5, 14), date(2024, 5, 15)
TRADING = Listed("XYZ/USDT", "XYZ", "USDT", "PERPETUAL", True, None, None)
BREAK = replace(TRADING, is_trading=False)


@dataclass
class Rest:
    """The first and the newest kline that REST has of the pair, and what was asked for."""

    first: date | None = None
    last: date | None = None
    warnings: Sequence[str] = ()
    asked: list[str] = field(default_factory=list)

    def now_ms(self) -> int:
        raise AssertionError

    def listed(self) -> dict[str, Listed]:
        raise AssertionError

    def first_day(self, symbol: str, since: date | None = None) -> date | None:
        self.asked.append("first")
        return max(self.first, since) if self.first and since else self.first

    def last_day(self, symbol: str) -> date | None:
        self.asked.append("last")
        return self.last


class Files:
    """Files of all days of these spans."""

    def __init__(self, *spans: tuple[str, str]) -> None:
        self._days = sorted(day for first, last in spans for day in days(first, last))
        self.months = sorted({day.replace(day=1) for day in self._days})

    def days(self, month: date) -> list[date]:
        return [day for day in self._days if day.replace(day=1) == month]


def days(first: str, last: str) -> list[date]:
    begin, end = date.fromisoformat(first), date.fromisoformat(last)
    return [begin + timedelta(number) for number in range((end - begin).days + 1)]


def lives(*spans: tuple[str, str | None]) -> tuple[TradedDays, ...]:
    return tuple(
        TradedDays(date.fromisoformat(first), date.fromisoformat(last) if last else None) for first, last in spans
    )


def known(
    listed: Listed | None, files: tuple[TradedDays, ...] | None, rest: Rest | None, before: ListedPair | None = None
) -> Known:
    return Known(
        Market.FUTURES, "XYZUSDT", listed, rest, files, NEWEST, TODAY, before, date(2024, 5, 10) if before else None
    )


def told(
    listed: Listed | None,
    files: tuple[TradedDays, ...] | None,
    rest: Rest | None = None,
    before: ListedPair | None = None,
) -> tuple[PairStatus, tuple[TradedDays, ...]]:
    pair = tell(known(listed, files, rest or Rest(), before))
    assert pair is not None
    return pair.status, pair.lives


def at_ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1000


# --- lives by files


def test_a_life_ends_where_a_whole_month_has_no_file() -> None:
    files = Files(("2023-01-10", "2023-03-02"), ("2023-04-28", "2023-05-03"), ("2023-07-01", "2023-07-01"))
    assert lives_of(files, None) == lives(("2023-01-10", "2023-05-03"), ("2023-07-01", "2023-07-01")), (
        "April has files, June has none"
    )


@pytest.mark.parametrize("began", ["2023-03-20", "2023-04-01", "2023-04-02"])
def test_a_contract_that_began_anew_after_a_hole_is_another_life(began: str) -> None:
    files = Files(("2023-01-10", "2023-03-02"), (began, "2023-06-03"))
    expected = lives(("2023-01-10", "2023-03-02"), (began, "2023-06-03"))
    assert lives_of(files, date.fromisoformat(began)) == expected


def test_a_wrong_day_of_listing_parts_no_life() -> None:
    files = Files(("2019-09-08", "2020-03-02"))
    assert lives_of(files, date(2019, 9, 25)) == lives(("2019-09-08", "2020-03-02"))


def test_a_settled_contract_of_two_lives_ends_with_the_second() -> None:
    files = Files(("2023-01-10", "2023-03-02"), ("2023-03-20", "2024-01-09"))
    found = lives_of(files, date(2023, 3, 20))
    status, all_lives = told(replace(BREAK, delivered_ms=at_ms("2024-01-05T09:00")), found)
    assert (status, all_lives) == (PairStatus.ENDED, lives(("2023-01-10", "2023-03-02"), ("2023-03-20", "2024-01-05")))


# --- pairs that the exchange lists


def test_a_traded_pair_with_the_newest_file_needs_no_request() -> None:
    rest = Rest()
    assert told(TRADING, lives(("2023-01-10", "2024-05-14")), rest) == (PairStatus.TRADING, lives(("2023-01-10", None)))
    assert rest.asked == []


def test_a_traded_pair_whose_files_ended_long_ago_is_another_one_if_rest_says_so() -> None:
    files = lives(("2022-01-10", "2022-05-14"))
    again = told(TRADING, files, Rest(first=date(2024, 5, 14)))
    assert again == (PairStatus.TRADING, lives(("2022-01-10", "2022-05-14"), ("2024-05-14", None)))
    assert told(TRADING, files, Rest(first=date(2022, 1, 10))) == (PairStatus.TRADING, lives(("2022-01-10", None)))


def test_a_traded_pair_without_newer_files_or_klines_begins_anew_after_a_whole_month() -> None:
    long_ago, lately = lives(("2022-01-10", "2024-03-31")), lives(("2022-01-10", "2024-04-01"))
    assert told(TRADING, long_ago, Rest())[1] == (*long_ago, TradedDays(TODAY, None))
    assert told(TRADING, lately, Rest())[1] == lives(("2022-01-10", None))


def test_a_pair_without_a_kline_is_in_no_catalog() -> None:
    assert tell(known(TRADING, (), Rest())) is None
    assert tell(known(BREAK, (), Rest())) is None
    assert tell(known(None, (), Rest())) is None


def test_a_status_proves_no_end() -> None:
    files = lives(("2022-01-10", "2022-05-14"))
    assert told(BREAK, files) == (PairStatus.PAUSED, files)
    ended = replace(BREAK, delivered_ms=at_ms("2022-05-14T09:00"))
    assert told(ended, files) == (PairStatus.ENDED, files)


def test_the_last_day_of_a_pair_that_just_paused_is_that_of_its_newest_kline() -> None:
    rest = Rest(last=date(2024, 5, 15))
    assert told(BREAK, lives(("2022-01-10", "2024-05-14")), rest)[1] == lives(("2022-01-10", "2024-05-15"))
    assert rest.asked == ["last"]


def test_a_listing_that_ended_without_a_kline_is_no_life() -> None:
    """The archive is away, and the catalog before has the pair as traded again."""
    twice, once = lives(("2022-01-10", "2024-01-10"), ("2024-05-10", None)), lives(("2024-05-10", None))
    before = ListedPair(Market.FUTURES, "XYZ/USDT", "XYZ", "USDT", PairKind.PERPETUAL, PairStatus.TRADING, twice)
    assert told(BREAK, None, Rest(last=date(2024, 1, 10)), before)[1] == lives(("2022-01-10", "2024-01-10"))
    assert tell(known(BREAK, None, Rest(last=date(2024, 1, 10)), replace(before, lives=once))) is None


# --- pairs that it does not list


def test_a_pair_that_is_gone_has_ended_once_the_archive_has_later_files_of_others() -> None:
    assert told(None, lives(("2022-01-10", "2024-05-13")))[0] is PairStatus.ENDED
    assert told(None, lives(("2022-01-10", "2024-05-14")))[0] is PairStatus.PAUSED
    late_archive = replace(known(None, lives(("2022-01-10", "2024-05-13")), Rest()), newest=None)
    pair = tell(late_archive)
    assert pair is not None and pair.status is PairStatus.PAUSED


def test_a_pair_that_vanished_everywhere_stays_with_the_day_on_which_it_was_last_known() -> None:
    before = ListedPair(
        Market.FUTURES, "XYZ/USDT", "XYZ", "USDT", PairKind.PERPETUAL, PairStatus.TRADING, lives(("2022-01-10", None))
    )
    assert told(None, (), before=before) == (PairStatus.PAUSED, lives(("2022-01-10", "2024-05-10")))


def test_a_settled_contract_that_the_exchange_drops_gets_no_flat_days() -> None:
    settled_ms = at_ms("2022-05-14T09:00")
    before = ListedPair(
        Market.FUTURES,
        "XYZ/USDT",
        "XYZ",
        "USDT",
        PairKind.PERPETUAL,
        PairStatus.ENDED,
        lives(("2022-01-10", "2022-05-14")),
        settled_ms,
    )
    # Files of flat klines go on for weeks, here up to the newest day.
    pair = tell(known(None, lives(("2022-01-10", "2024-05-14")), Rest(), before))
    assert pair is not None
    assert (pair.status, pair.lives, pair.delivered_ms) == (PairStatus.ENDED, before.lives, settled_ms)
    # A later life of the symbol is not cut.
    again = lives(("2022-01-10", "2022-06-14"), ("2023-01-10", "2023-02-14"))
    assert told(None, again, before=before) == (PairStatus.ENDED, again)


def test_files_alone_prove_no_end() -> None:
    def by_files(*spans: tuple[str, str | None]) -> PairStatus:
        pair = tell(known(None, lives(*spans), None))
        assert pair is not None
        return pair.status

    assert by_files(("2022-01-10", "2024-05-14")) is PairStatus.TRADING
    assert by_files(("2022-01-10", "2024-05-13")) is PairStatus.PAUSED


# --- names


@pytest.mark.parametrize(
    ("symbol", "pair", "base", "quote", "kind"),
    [
        ("XYZUSDT", "XYZ/USDT", "XYZ", "USDT", PairKind.PERPETUAL),
        ("BTCUSDT_240628", "BTC/USDT_240628", "BTC", "USDT", PairKind.DELIVERY),
        ("XYZUSDTSETTLED", "XYZ/USDTSETTLED", "XYZ", "USDT", PairKind.PERPETUAL),
        ("ODD", "ODD", "", "", PairKind.PERPETUAL),
    ],
)
def test_a_pair_that_is_gone_is_named_by_its_symbol(symbol: str, pair: str, base: str, quote: str, kind: str) -> None:
    found = tell(replace(known(None, lives(("2022-01-10", "2022-05-13")), Rest()), symbol=symbol))
    assert found is not None
    assert (found.pair, found.base, found.quote, found.kind, found.symbol) == (pair, base, quote, kind, symbol)


def test_the_kind_is_that_of_the_contract() -> None:
    assert kind_of(Market.SPOT, "BTCUSDT") is PairKind.SPOT
    assert kind_of(Market.FUTURES, "BTCUSDT", "NEXT_QUARTER") is PairKind.DELIVERY
    assert kind_of(Market.FUTURES, "BTCUSDT", "TRADIFI_PERPETUAL") is PairKind.PERPETUAL
