"""The catalog of a market: read, refreshed where it is of an earlier day, and pairs chosen from it.

Belongs here: when it is refreshed, what is used where that is not possible, which pairs a request means. Does not
belong here: refreshing (`core.catalog.refresh`), the words for pairs (`core.klines.patterns`), printing.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from market_data_pipeline.core.catalog.catalog import Catalog, Changes, as_of, changes_between
from market_data_pipeline.core.catalog.pairs import ListedPair, PairStatus, Snapshot
from market_data_pipeline.core.catalog.refresh import is_todays
from market_data_pipeline.core.catalog.refresh import refresh as refresh_catalog
from market_data_pipeline.core.errors import SourceError, UsageError
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.pair import has_slash, require_same, token_of
from market_data_pipeline.core.klines.patterns import Among, Patterns, parse_patterns
from market_data_pipeline.core.sources.planning.traffic import Traffic
from market_data_pipeline.core.store.catalog.snapshots import CatalogStore
from market_data_pipeline.instance.composition import catalog_store_of, market_opener_of
from market_data_pipeline.settings import Settings

OnPairs = Callable[[int, int], object]
ALL = "all"


@dataclass(frozen=True, slots=True)
class Choice:
    """Which pairs of a catalog a request means: those that fit all that is given.

    Attributes:
        patterns: names and globs; None for all pairs.
        quote: the quote asset.
        at: a UTC day on which the pair was traded.
        status: the status that the pair has now.
    """

    patterns: Patterns | None = None
    quote: str | None = None
    at: date | None = None
    status: PairStatus | None = None


@dataclass(slots=True)
class Asked:
    """What a catalog that is not kept took: requests, bytes and request weight."""

    traffic: Traffic = Traffic()
    weight: int = 0


@dataclass(frozen=True, slots=True)
class ChangesSince:
    """What changed since a day. `compared` is False where no snapshot of that time was kept: the lives tell it then."""

    since: date
    compared: bool
    changes: Changes


def utc_day(given: date | str | None) -> date | None:
    """The UTC day of a date, of its text, or of a datetime with a zone; None for None.

    Raises:
        UsageError: it is none of these.
    """
    if isinstance(given, datetime):
        if given.tzinfo is None:
            raise UsageError(f"{given!r} has no zone; give it one, or give a date")
        return given.astimezone(UTC).date()
    if given is None or isinstance(given, date):
        return given
    try:
        return date.fromisoformat(given)
    except (TypeError, ValueError):
        raise UsageError(f"no date: {given!r:.42}; write 2022-05-01") from None


def load_catalog(
    settings: Settings,
    market: Market,
    *,
    refresh: bool = False,
    on_pairs: OnPairs = lambda done, total: None,
    asked: Asked | None = None,
) -> Catalog:
    """The catalog of a market, of today where the exchange or its archive answers, else the newest that there is.

    Args:
        settings: the settings.
        market: the market.
        refresh: ask the exchange also where the newest snapshot is of today.
        on_pairs: called during a refresh with how many pairs are known, and of how many.
        asked: if given, nothing is written, and what a refresh sends is added to it.

    Raises:
        SourceUnavailable: there is no snapshot, and neither the exchange nor the archive answers.
    """
    store = catalog_store_of(settings, market)
    newest = store.newest()
    # The exchange's clock is asked for only where this machine's is on another day.
    if newest is not None and is_todays(newest, datetime.now(UTC).date()) and not refresh:
        return _catalog(newest, store)
    with market_opener_of(settings)(market) as (exchange, archive), _kept_in(store, newest, asked) as kept:
        try:
            return _catalog(refresh_catalog(market, exchange, archive, kept, again=refresh, on_pairs=on_pairs), store)
        except SourceError as error:
            if newest is None:
                raise
            return _catalog(newest, store, f"the catalog of {market} is of {newest.day}: {error}")
        finally:
            if asked is not None:
                asked.traffic += exchange.traffic + archive.traffic
                asked.weight += exchange.spent


@contextmanager
def _kept_in(store: CatalogStore, newest: Snapshot | None, asked: Asked | None) -> Iterator[CatalogStore]:
    """Where a refresh keeps its snapshot: with `asked` in a folder that is removed when the block ends."""
    if asked is None:
        yield store
        return
    with TemporaryDirectory(prefix="market-data-") as folder:
        scratch = CatalogStore(Path(folder), store.market)
        with scratch.lock():
            if newest is not None:
                scratch.write(newest)
            if learned := store.learned(today := datetime.now(UTC).date()):
                scratch.keep_learned(today, learned.values())
        yield scratch


def choice_of(market: Market, words: Sequence[str], quote: str | None, at: date | None, status: str) -> Choice:
    """The choice that a user's words make.

    Args:
        market: the market.
        words: names and globs; those that only leave out are taken from all pairs.
        quote: a quote asset.
        at: a UTC day.
        status: `trading`, `paused`, `ended` or `all`.

    Raises:
        UsageError: a word is neither a pair nor a glob, or there is no such status.
    """
    patterns = None
    if words:
        only_leave_out = all(word.strip().startswith("!") for word in words)
        patterns = parse_patterns(["*", *words] if only_leave_out else words, has_contracts=market.has_contracts)
    return Choice(patterns, quote, at, _status(status))


def _status(text: str) -> PairStatus | None:
    if text.strip().lower() == ALL:
        return None
    try:
        return PairStatus(text.strip().lower())
    except ValueError:
        raise UsageError(f"no such status: {text[:40]!r}; give {', '.join(PairStatus)} or {ALL}") from None


def choose(catalog: Catalog, choice: Choice) -> list[ListedPair]:
    """The pairs that a request means, by symbol.

    Raises:
        UsageError: the market never had a pair that is named, a glob matches none, none has the quote asset, or the
            catalog says nothing about the day.
    """
    named = None if choice.patterns is None else _symbols(catalog, choice.patterns)
    chosen = list(catalog.pairs) if choice.at is None else catalog.at(choice.at)
    if choice.quote is not None:
        quote = choice.quote.strip().upper()
        if quote not in (quotes := {pair.quote for pair in catalog.pairs}):
            known = ", ".join(sorted(filter(None, quotes)))
            raise UsageError(f"no {catalog.market} pair has the quote asset {quote[:40]!r}; there are {known}")
        chosen = [pair for pair in chosen if pair.quote == quote]
    fitting = [pair for pair in chosen if choice.status in {None, pair.status}]
    return fitting if named is None else [pair for pair in fitting if pair.symbol in named]


def _symbols(catalog: Catalog, patterns: Patterns) -> set[str]:
    known = catalog.snapshot.by_symbol()
    for name in patterns.names:
        if token_of(name) not in known:
            raise UsageError(f"{catalog.market} never had klines of {name}; check the name, or the other market")
        if has_slash(known[token_of(name)].pair):
            require_same(name, known[token_of(name)].pair)
    return {token_of(pair) for pair in patterns.choose(catalog.names, Among.CATALOG)}


def changes_since(settings: Settings, catalog: Catalog, day: date, *, among: Sequence[ListedPair]) -> ChangesSince:
    """What changed since a day: since the newest snapshot of that day or before, or by the lives where there is none.

    Args:
        settings: the settings.
        catalog: the catalog of now.
        day: a UTC day.
        among: the pairs of the catalog that are meant.

    Raises:
        UsageError: the market had no pair yet, or the catalog is older than the day.
    """
    catalog.require_day(day)
    kept = catalog_store_of(settings, catalog.market).newest(until=day)
    before = kept or as_of(catalog.snapshot, day)
    changes = changes_between(before, catalog.snapshot).among({pair.symbol for pair in among})
    return ChangesSince(before.day, kept is not None, changes)


def _catalog(snapshot: Snapshot, store: CatalogStore, *warnings: str) -> Catalog:
    return Catalog(snapshot, (*store.warnings, *warnings, *snapshot.gaps))
