"""A request to load a window of a pair: from what was asked to an open dataset, an open source and the minutes to load.

Belongs here: the order of the questions to the exchange, and what is refused before anything is written. Does not
belong here: which pair is meant (`resolve`), which minutes (`window`), what each day needs (`plan`).
"""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

from market_data_pipeline.core.errors import NoKlinesInWindow
from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.dataset import Dataset, Market
from market_data_pipeline.core.klines.days import Zone, iso
from market_data_pipeline.core.loading.resolve import OpenSource, Resolved, dataset_of, resolve
from market_data_pipeline.core.loading.window import parse_window, reachable
from market_data_pipeline.core.sources.protocol import KlineSource, Life
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.root import Store


@dataclass(frozen=True, slots=True)
class WindowRequest:
    """A window of a pair that is to be loaded.

    Attributes:
        market: the market.
        pair: in any spelling that `parse_pair` returns.
        zone: of the dataset if it is created now; its midnights also widen an aligned window.
        start_ms: first instant, ms UTC, None for the start of history.
        end_ms: end, exclusive, ms UTC, None for the present.
        align: load whole days of the zone and of the dataset's zone, or the minutes of the window alone.
        strict: refuse a pair that the market does not list, instead of falling back to BTC/USDT.
        in_catalog: `pair` has base and quote as the exchange's own list has them.
    """

    market: Market
    pair: str
    zone: Zone
    start_ms: int | None = None
    end_ms: int | None = None
    align: bool = True
    strict: bool = False
    in_catalog: bool = False

    @property
    def name(self) -> str:
        """How the pair is called in messages: `spot BTC/USDT`."""
        return f"{self.market} {self.pair}"

    def window(self, known: Dataset | None, now_ms: int) -> Span:
        """The requested minutes.

        Args:
            known: the dataset if it exists, else it will have the request's zone.
            now_ms: the present, ms UTC.

        Raises:
            UsageError: the end is not after the start, or the start is in the future.
        """
        align_to = [self.zone, known.zone if known else self.zone] if self.align else []
        return parse_window(start_ms=self.start_ms, end_ms=self.end_ms, now_ms=now_ms, align_to=align_to)


@dataclass(frozen=True, slots=True)
class Opened:
    """A request that can be loaded: the dataset's files, its open source, the minutes, and what a user should know."""

    files: DatasetStore
    source: KlineSource
    window: Span
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """A request after the exchange was asked, and before anything is written.

    `known` is the dataset if it exists, `zone` and `window` are as they were asked for, and `within_life` is the part
    of the window in which the exchange can have klines.
    """

    resolved: Resolved
    known: Dataset | None
    zone: Zone
    window: Span
    within_life: Span
    life: Life

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user should know, one line each."""
        of_zone = notes_of_zone(self.known, self.zone) if self.known else ()
        return (*of_zone, *([self.resolved.warning] if self.resolved.warning else []), *_notes(self.life))


@contextmanager
def found(store: Store, open_source: OpenSource, request: WindowRequest) -> Iterator[Found]:
    """Ask the exchange about a request; the source is open until the block ends. Nothing is written.

    Raises:
        UsageError, StoreError, SourceError: it cannot be loaded.
    """
    known = store.find(request.market, request.pair)  # a damaged dataset.json is refused before any request is sent
    resolved = resolve(
        open_source, request.market, request.pair, strict=request.strict, known=known, in_catalog=request.in_catalog
    )
    with closing(resolved.source) as source:
        now_ms = source.now_ms()
        is_of_known = known and (known.market, known.pair) == (resolved.market, resolved.pair)
        worked_on = known if is_of_known else store.find(resolved.market, resolved.pair)
        window = request.window(worked_on, now_ms)
        life = source.life(window.start_ms, between=known.reused if known else None)
        within_life = reachable(window, life, now_ms, known.zone if known else request.zone)
        if within_life is None:
            raise no_klines(f"{resolved.market} {resolved.pair}", life.first_open_ms, life.last_open_ms, window)
        yield Found(resolved, worked_on, request.zone, window, within_life, life)


@contextmanager
def opened(
    store: Store, open_source: OpenSource, request: WindowRequest, before_writing: Callable[[], None] = lambda: None
) -> Iterator[Opened]:
    """Open the dataset of a request, which is created if there was none, and its source until the block ends.

    The window ends where the exchange has no klines of the pair any more. `before_writing` is called when nothing but
    the disk can refuse the request.

    Raises:
        UsageError, StoreError, SourceError: nothing was written.
    """
    with found(store, open_source, request) as asked:
        store.require_writable()
        before_writing()
        if asked.known:
            files = store.open(asked.known)
        else:
            files = dataset_of(store, asked.resolved, zone=request.zone, window=asked.window)
        yield Opened(files, asked.resolved.source, asked.within_life, (*files.warnings, *asked.warnings))


def no_klines(name: str, first_ms: int, last_ms: int | None, window: Span) -> NoKlinesInWindow:
    """The refusal of a window in which the exchange has no kline of the pair."""
    until = "" if last_ms is None else f" to {iso(last_ms)}"
    return NoKlinesInWindow(
        f"{name} has klines from {iso(first_ms)}{until}, none in the requested window {iso(window.start_ms)} to "
        f"{iso(window.end_ms)}; give another start or end"
    )


def notes_of_zone(dataset: Dataset, zone: Zone) -> tuple[str, ...]:
    """What a user should know who asks for days of a zone, and gets those in which the dataset was created."""
    if dataset.zone.name == zone.name:
        return ()
    made, asked = dataset.zone.name, zone.name
    return (
        f"its days are those of {made}, in which it was created; {asked} says only where the window begins and ends",
    )


def _notes(life: Life) -> Iterator[str]:
    """What a user should know of the pair's life, one line each."""
    if life.between:
        until, since = iso(life.between.start_ms), iso(life.between.end_ms)
        yield f"an earlier pair had this symbol until {until}, this one begins {since}"
    if life.paused_ms is not None:
        yield (
            f"not traded since {iso(life.paused_ms)}, and no proof of an end: a pause, or an end that the exchange's "
            "status does not tell; each later load asks again"
        )
