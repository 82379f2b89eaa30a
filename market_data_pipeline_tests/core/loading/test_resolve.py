"""From the pair that was named to the one that is worked on: what the exchange is asked for, and what is refused."""

import threading
from dataclasses import dataclass, field
from datetime import date

import pytest

from market_data_pipeline.core.errors import PairNotListed, SourceUnavailable, UsageError
from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.dataset import Dataset, Market
from market_data_pipeline.core.loading.resolve import Resolved, new_dataset, resolve
from market_data_pipeline.core.sources.protocol import Life
from market_data_pipeline_tests.core.fakes import UTC_ZONE, FakeSource, span


@dataclass
class Asked(FakeSource):
    """Notes what it is asked for beside klines, and whether it was closed."""

    refuses: Exception | None = None
    names_asked: int = 0
    lives_asked: int = 0
    is_closed: bool = False

    def life(self, since_ms: int = 0, *, between: Span | None = None, refresh: bool = False) -> Life:
        self.lives_asked += 1
        if self.refuses:
            raise self.refuses
        return super().life(since_ms, between=between, refresh=refresh)

    def listed_pair(self) -> str | None:
        self.names_asked += 1
        return self.listed

    def close(self) -> None:
        self.is_closed = True


def resolved(source: Asked, pair: str, *, strict: bool = True, **options: object) -> Resolved:
    """`pair` if the source lists it; the fallback has another source."""

    def opened(market: Market, named: str) -> FakeSource:
        assert market is Market.SPOT
        return source if named == pair else FakeSource(listed=named)

    return resolve(opened, Market.SPOT, pair, strict=strict, **options)  # type: ignore[arg-type]


def test_the_exchange_says_what_base_and_quote_a_symbol_has() -> None:
    source = Asked(listed="ETH/BTC")
    found = resolved(source, "ETHBTC")
    assert (found.market, found.pair, found.source, found.warning) == (Market.SPOT, "ETH/BTC", source, None)
    assert (source.names_asked, source.lives_asked, source.is_closed) == (1, 1, False)


def test_a_pair_of_which_the_exchange_says_nothing_is_split_by_rule() -> None:
    assert resolved(Asked(), "ETHBTC").pair == "ETH/BTC"


def test_a_pair_with_another_base_is_refused_and_its_source_closed() -> None:
    source = Asked(listed="ETH/BTC")
    with pytest.raises(UsageError, match="ET/HBTC"):
        resolved(source, "ET/HBTC")
    assert source.is_closed


@pytest.mark.parametrize("known", [True, False], ids=["stored", "in the catalog"])
def test_a_pair_whose_base_is_known_is_not_asked_for(known: bool) -> None:
    source = Asked(listed="ETH/BTC")
    dataset = Dataset(Market.SPOT, "ETH/BTC", UTC_ZONE, date(2024, 3, 1)) if known else None
    named = "ETHBTC" if known else "ETH/BTC"
    assert resolved(source, named, known=dataset, in_catalog=not known).pair == "ETH/BTC"
    assert (source.names_asked, source.lives_asked) == (0, 1)


def test_a_symbol_from_the_catalog_without_a_slash_is_asked_for() -> None:
    source = Asked(listed="ETH/BTC")
    assert resolved(source, "ETHBTC", in_catalog=True).pair == "ETH/BTC"
    assert source.names_asked == 1


def test_for_a_pair_that_was_never_listed_the_fallback_is_worked_on_with_a_warning() -> None:
    source = Asked(refuses=PairNotListed("no"))
    found = resolved(source, "NO/PE", strict=False)
    assert found.pair == "BTC/USDT"
    assert found.source is not source
    refusing = "--strict-pair or strict_pair=True refuses"
    assert found.warning == f"spot does not list NO/PE: working on BTC/USDT INSTEAD ({refusing})"
    assert source.is_closed
    with pytest.raises(UsageError, match="spot does not list NO/PE; check the name"):
        resolved(Asked(refuses=PairNotListed("no")), "NO/PE")


def test_a_source_is_closed_whatever_keeps_it_from_answering() -> None:
    source = Asked(refuses=SourceUnavailable("away"))
    with pytest.raises(SourceUnavailable, match="away"):
        resolved(source, "NO/PE", strict=False)
    assert source.is_closed


@pytest.mark.parametrize(
    ("first", "window", "start"),
    [
        ("2017-08-17T04:00Z", span("2024-05-01", "2024-05-02"), "2020-01-01"),
        ("2017-08-17T04:00Z", span("2019-05-01", "2024-05-02"), "2019-05-01"),
        ("2022-03-04T11:00Z", span("2019-05-01", "2024-05-02"), "2022-03-04"),
    ],
)
def test_a_new_dataset_starts_with_history_or_with_the_pair(first: str, window: Span, start: str) -> None:
    source = Asked(first=first, listed="ETH/BTC")
    made = new_dataset(resolved(source, "ETH/BTC"), zone=UTC_ZONE, window=window)
    assert (made.market, made.pair, made.zone, made.start.isoformat()) == (Market.SPOT, "ETH/BTC", UTC_ZONE, start)


@dataclass
class Interrupted(Asked):
    """Is interrupted while another thread waits for base and quote."""

    closed: threading.Event = field(default_factory=threading.Event)
    was_closed_in_time: bool = False

    def life(self, since_ms: int = 0, *, between: Span | None = None, refresh: bool = False) -> Life:
        raise KeyboardInterrupt

    def listed_pair(self) -> str | None:
        self.was_closed_in_time = self.closed.wait(20)
        return None

    def close(self) -> None:
        self.closed.set()


def test_an_interrupt_ends_the_wait_for_base_and_quote() -> None:
    source = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        resolved(source, "ETHBTC")
    assert source.was_closed_in_time
