"""A new snapshot: all pairs that the exchange lists, the archive has, or the snapshot before had.

Belongs here: what is asked, in which order and how much at once, and what is done where there is no answer. Does not
belong here: what the answers mean for one pair (`telling`), files (`store.catalog.snapshots`).

A pair whose days cannot have changed is not asked about: one that is traded and was before, and one whose settlement is
the same as before. That takes a file of the life that it is in, as only files tell earlier lives and long pauses. An
end is never final, so one request finds out whether another pair that is not traded has later files.
"""

import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial

from market_data_pipeline.core.catalog.pairs import ListedPair, PairStatus, Snapshot, TradedDays
from market_data_pipeline.core.catalog.ports import Archive, Exchange, Listed, Snapshots
from market_data_pipeline.core.catalog.telling import Known, lives_of, tell, with_listing
from market_data_pipeline.core.errors import SourceError, SourceUnavailable
from market_data_pipeline.core.klines.dataset import FALLBACK_PAIR, Market
from market_data_pipeline.core.klines.pair import token_of
from market_data_pipeline.core.text import count_text

AT_ONCE = 32
# What an interrupted refresh asks again is what it learned in this time.
_SAVED_EVERY_S = 5
# No whole month without a file fits between two snapshots that are not further apart.
_NO_PAUSE_WITHIN = timedelta(28)
# Where REST is silent for so many pairs in a row, it is gone: each pair would wait a minute for itself.
_MOST_UNREACHABLE = 5
# A pair that is always traded: its newest file is the archive's newest.
_WITNESS = token_of(FALLBACK_PAIR)


@dataclass(frozen=True, slots=True)
class _World:
    """What the exchange and the archive say of the whole market; `archive` is None if it cannot be listed.

    `listed` has None for a pair whose entry cannot be read.
    """

    market: Market
    day: date
    exchange: Exchange | None
    listed: Mapping[str, Listed | None]
    archive: Archive | None
    folders: frozenset[str]
    newest: date | None
    gaps: tuple[str, ...]

    def exchange_of(self, symbol: str) -> Exchange | None:
        """REST; None where it says nothing that can be read of the pair, whether it is silent or its entry is odd."""
        return None if symbol in self.listed and self.listed[symbol] is None else self.exchange


@dataclass(frozen=True, slots=True)
class _Clock:
    """The exchange's clock, or this machine's where the exchange is silent, for the reason given."""

    now_ms: int
    silent: SourceError | None = None

    @property
    def day(self) -> date:
        return datetime.fromtimestamp(self.now_ms / 1000, UTC).date()


def refresh(
    market: Market,
    exchange: Exchange,
    archive: Archive,
    snapshots: Snapshots,
    *,
    again: bool = False,
    on_pairs: Callable[[int, int], object] = lambda done, total: None,
) -> Snapshot:
    """The snapshot of today, which is kept.

    Args:
        market: the market.
        exchange: its REST API.
        archive: the listing of its archive.
        snapshots: those of the market.
        again: ask also where there is a snapshot of today.
        on_pairs: called with how many pairs of those that are asked about are known, and of how many.

    Raises:
        SourceUnavailable: neither the exchange nor the archive answers, or the exchange has gone away meanwhile; what
            was learned until then is kept.
    """
    with snapshots.lock():
        before = snapshots.newest()
        clock = _clock(exchange)
        if before is not None and is_todays(before, clock.day) and not again:
            return before
        snapshot = _learn(_world(market, exchange, archive, clock), before, snapshots, on_pairs)
        snapshots.write(snapshot)
        return snapshot


def is_todays(snapshot: Snapshot, today: date) -> bool:
    """True if a refresh on that day need not ask again. Without the archive a snapshot lacks lives."""
    return snapshot.day == today and not snapshot.without_archive


def _learn(
    world: _World, before: Snapshot | None, snapshots: Snapshots, on_pairs: Callable[[int, int], object]
) -> Snapshot:
    known = before.by_symbol() if before else {}
    learned = {symbol: pair for symbol, pair in snapshots.learned(world.day).items() if _has_files(world, pair)}
    told, unknown = dict(learned), list[str]()
    for symbol in sorted({*world.listed, *world.folders, *known} - told.keys()):
        if (kept := _kept(world, symbol, known.get(symbol), before)) is not None:
            told[symbol] = kept
        else:
            unknown.append(symbol)
    failures, without_archive = list[str](), world.archive is None
    save = partial(snapshots.keep_learned, world.day)
    with closing(_answers(world, unknown, before, learned, save)) as answers:
        for done, (symbol, answer) in enumerate(answers, start=1):
            if answer.pair is not None:
                told[symbol] = answer.pair
            if answer.failure:
                failures.append(answer.failure)
            without_archive |= answer.lacks_files
            on_pairs(done, len(unknown))
    gaps = list(world.gaps)
    if failures:
        gaps.append(f"{count_text(len(failures), 'pair')} could not be asked about, such as {min(failures)}")
    if world.exchange is not None:
        gaps += world.exchange.warnings
    if world.archive is not None:
        gaps += world.archive.warnings
    pairs = tuple(told[symbol] for symbol in sorted(told))
    return Snapshot(world.market, world.day, pairs, tuple(dict.fromkeys(gaps)), without_archive)


def _clock(exchange: Exchange) -> _Clock:
    try:
        return _Clock(exchange.now_ms())
    except SourceError as error:
        return _Clock(round(time.time() * 1000), error)


def _world(market: Market, exchange: Exchange, archive: Archive, clock: _Clock) -> _World:
    gaps, silent = list[str](), clock.silent
    listed: Mapping[str, Listed | None] | None = None
    if silent is None:
        try:
            listed = exchange.listed()
        except SourceError as error:
            silent = error
    if silent is not None:
        gaps.append(f"{silent}: which pairs are traded and which have ended is as the archive's files tell")
    folders: frozenset[str] | None = None
    newest = None
    try:
        found = frozenset(archive.symbols())
        if _WITNESS in found:
            files = archive.files(_WITNESS)
            newest = max((day for month in files.months[-1:] for day in files.days(month)), default=None)
        folders = found
    except SourceUnavailable as error:
        if silent is not None:
            raise SourceUnavailable(f"{silent}; nor the archive: {error}") from error
        gaps.append(f"{error}: first days, and pairs that the exchange does not list, are as far as they are known")
    return _World(
        market,
        clock.day,
        None if listed is None else exchange,
        listed or {},
        None if folders is None else archive,
        folders or frozenset(),
        newest,
        tuple(gaps),
    )


def _kept(world: _World, symbol: str, known: ListedPair | None, before: Snapshot | None) -> ListedPair | None:
    """The pair of the snapshot before, where nothing has to be asked about it."""
    listed = world.listed.get(symbol)
    if known is None or before is None or listed is None or not _has_files(world, known):
        return None
    if listed.is_trading:
        is_another = listed.began is not None and listed.began > before.day
        is_same = known.is_trading and not is_another and world.day - before.day < _NO_PAUSE_WITHIN
    else:
        is_same = known.status is PairStatus.ENDED and listed.delivered_ms == known.delivered_ms is not None
    return with_listing(known, listed, world.newest) if is_same else None


def _has_files(world: _World, pair: ListedPair) -> bool:
    """True if the files of the life that a pair is in are known, or the archive has none that could be asked for."""
    if world.archive is None or pair.symbol not in world.folders:
        return True
    return pair.files_until is not None and pair.files_until >= pair.lives[-1].first


@dataclass(frozen=True, slots=True)
class _Answer:
    """A pair, None if it never had a kline; `failure` has what could not be asked, and why.

    `lacks_files` is True if the archive could not be asked, and `silent` is why the exchange could not.
    """

    pair: ListedPair | None
    failure: str = ""
    lacks_files: bool = False
    silent: SourceUnavailable | None = None


def _answers(
    world: _World,
    symbols: Sequence[str],
    before: Snapshot | None,
    learned: dict[str, ListedPair],
    save: Callable[[Iterable[ListedPair]], None],
) -> Generator[tuple[str, _Answer]]:
    """Ask about pairs, many at once. What is learned is saved from time to time, and if this is interrupted.

    Raises:
        SourceUnavailable: the exchange has gone away.
    """
    known, before_on = (before.by_symbol(), before.day) if before else ({}, None)

    def ask(symbol: str) -> _Answer:
        answer = _ask(world, symbol, known.get(symbol), before_on)
        if answer.pair is not None and not answer.failure:
            learned[symbol] = answer.pair
        return answer

    saved_s, unreachable = time.monotonic(), 0
    threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="catalog")
    try:
        asked = {threads.submit(ask, symbol): symbol for symbol in symbols}
        for future in as_completed(asked):
            answer = future.result()
            unreachable = unreachable + 1 if answer.silent else 0
            if answer.silent and unreachable == _MOST_UNREACHABLE:
                raise answer.silent
            yield asked[future], answer
            if time.monotonic() - saved_s > _SAVED_EVERY_S:
                save(learned.copy().values())  # threads go on learning meanwhile
                saved_s = time.monotonic()
    except BaseException as error:
        if not isinstance(error, Exception):  # Ctrl-C, or an end of the caller, waits for no answer
            for asked_of in (world.exchange, world.archive):
                if asked_of is not None:
                    asked_of.close()
        threads.shutdown(cancel_futures=True)  # what is under way is learned, too
        save(learned.values())
        raise
    finally:
        threads.shutdown(cancel_futures=True)


def _ask(world: _World, symbol: str, known: ListedPair | None, before_on: date | None) -> _Answer:
    listed, failure, exchange = world.listed.get(symbol), "", world.exchange_of(symbol)
    files: tuple[TradedDays, ...] | None = None
    try:
        if known is not None and _has_same_days(world, known, listed):
            return _Answer(with_listing(known, listed, world.newest) if exchange else known)
        files = _files(world, symbol, listed)
    except SourceUnavailable as error:
        failure = f"{symbol}: {error}"
    facts = Known(world.market, symbol, listed, exchange, files, world.newest, world.day, known, before_on)
    try:
        return _Answer(tell(facts), failure, lacks_files=bool(failure))
    except SourceError as error:
        silent = error if isinstance(error, SourceUnavailable) else None
        return _Answer(known, f"{symbol}: {error}", lacks_files=bool(failure), silent=silent)


def _has_same_days(world: _World, known: ListedPair, listed: Listed | None) -> bool:
    """Whether one request says that the pair's days are those of the snapshot before."""
    if world.archive is None or not _has_files(world, known) or (listed is not None and listed.is_trading):
        return False
    if known.last_day is not None:
        return known.symbol not in world.folders or not world.archive.has_later(known.symbol, known.last_day)
    if world.exchange_of(known.symbol) is not None or world.newest is None or known.symbol not in world.folders:
        return False
    # Without REST, a pair is traded that has a file of the newest day.
    return world.archive.has_later(known.symbol, world.newest - timedelta(1))


def _files(world: _World, symbol: str, listed: Listed | None) -> tuple[TradedDays, ...] | None:
    if world.archive is None:
        return None
    if symbol not in world.folders:
        return ()
    return lives_of(world.archive.files(symbol), listed.began if listed else None)
