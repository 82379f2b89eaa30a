"""What a refresh does where the exchange or the archive goes away in the middle of it, and what the next one asks."""

import time
from collections import Counter
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import pytest

from market_data_pipeline.core.catalog.pairs import TradedDays
from market_data_pipeline.core.catalog.ports import Listed
from market_data_pipeline.core.catalog.refresh import refresh
from market_data_pipeline.core.errors import SourceUnavailable
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.store.catalog.snapshots import CatalogStore

NOON_MS, NEWEST = 1_715_774_400_000, date(2024, 5, 14)
PAIRS = [f"P{number:03}USDT" for number in range(400)]
# A minute at the real exchange.
_SILENCE_S = 0.2


class Rest:
    """An exchange that lists these pairs, and after so many requests for klines answers none any more."""

    warnings: Sequence[str] = ()

    def __init__(self, symbols: Sequence[str], *, answers: int = 1 << 30) -> None:
        self._symbols, self.answers, self.asked = symbols, answers, Counter[str]()

    def now_ms(self) -> int:
        return NOON_MS

    def listed(self) -> dict[str, Listed]:
        return {
            symbol: Listed(f"{symbol[:-4]}/USDT", symbol[:-4], "USDT", "", True, None, None) for symbol in self._symbols
        }

    def first_day(self, symbol: str, since: date | None = None) -> date | None:
        self.asked[symbol] += 1
        if self.asked.total() > self.answers:
            time.sleep(_SILENCE_S)
            raise SourceUnavailable("no answer")
        return max(date(2023, 1, 3), since or date.min)

    last_day = first_day


class Files:
    """Daily files of May 2023, or of later months, too, until a day."""

    def __init__(self, last: date) -> None:
        first = date(2023, 5, 1)
        self._last, count = last, 12 * (last.year - first.year) + last.month - first.month + 1
        self.months = [date(2023 + (4 + number) // 12, (4 + number) % 12 + 1, 1) for number in range(count)]

    def days(self, month: date) -> list[date]:
        return [self._last] if month == self._last.replace(day=1) else [month]


class Archive:
    """An archive that has files of these pairs until these days; of `silent` ones it gives no answer."""

    warnings: Sequence[str] = ()

    def __init__(self, lasts: dict[str, date], *silent: str) -> None:
        self._lasts, self.silent = lasts, silent

    def symbols(self) -> list[str]:
        return [*self._lasts]

    def files(self, symbol: str) -> Files:
        if symbol in self.silent:
            raise SourceUnavailable("the archive cannot be listed")
        return Files(self._lasts[symbol])

    def has_later(self, symbol: str, day: date) -> bool:
        return self._lasts[symbol] > day


def test_an_exchange_that_goes_away_ends_the_refresh_and_the_next_one_goes_on(tmp_path: Path) -> None:
    rest, kept = Rest(PAIRS, answers=100), CatalogStore(tmp_path, Market.SPOT)
    with pytest.raises(SourceUnavailable):
        refresh(Market.SPOT, rest, Archive({}), kept)
    assert rest.asked.total() < len(PAIRS)
    assert kept.newest() is None
    rest.answers = 1 << 30
    snapshot = refresh(Market.SPOT, rest, Archive({}), kept)
    assert [pair.symbol for pair in snapshot.pairs] == PAIRS
    assert sum(count == 1 for count in rest.asked.values()) >= 100
    assert snapshot.gaps == ()


@pytest.mark.parametrize("silent", ["OLDUSDT", "BTCUSDT"], ids=["a pair", "the pair that tells the newest day"])
def test_pairs_that_the_listing_hid_are_asked_for_again_by_the_next_command_of_the_day(
    tmp_path: Path, silent: str
) -> None:
    archive = Archive({"BTCUSDT": NEWEST, "OLDUSDT": date(2023, 6, 7)}, silent)
    kept = CatalogStore(tmp_path, Market.SPOT)
    first = refresh(Market.SPOT, Rest(["BTCUSDT"]), archive, kept)
    assert "the archive cannot be listed" in first.gaps[0]
    assert "OLDUSDT" not in first.by_symbol()
    archive.silent = ()
    second = refresh(Market.SPOT, Rest(["BTCUSDT"]), archive, kept)
    assert second.by_symbol()["OLDUSDT"].lives == (TradedDays(date(2023, 5, 1), date(2023, 6, 7)),)
    assert second.gaps == ()
