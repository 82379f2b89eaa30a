"""One pair, told from what the exchange lists, the archive's files and the snapshot before.

Belongs here: when a life begins and ends, what proves an end, what is asked beside the listing. Does not belong here:
which pairs there are, and in which order they are asked about (`refresh`).

A status proves no end (docs/decisions/0029): that takes a settlement in the past, or a pair that the exchange does not
list while the archive has files of later days, of other pairs.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

from market_data_pipeline.core.catalog.pairs import ListedPair, PairStatus, TradedDays, kind_of
from market_data_pipeline.core.catalog.ports import Exchange, Listed, PairFiles
from market_data_pipeline.core.errors import UsageError
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.pair import QUOTES, pair_by_rule

_DAY = timedelta(1)
_QUOTE = re.compile(rf"({'|'.join(QUOTES)})(?:_\d{{6}})?(?:_?SETTLED\d*)*")


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of one pair.

    Attributes:
        market: the market.
        symbol: the pair's symbol.
        listed: how the exchange lists it; None if it does not.
        exchange: REST, None if it gives no answers: then nothing is said by `listed`.
        files: the archive's lives, closed and in order; None if they could not be had.
        newest: the newest day that the archive has of any pair; None if it is not known.
        today: the UTC day of the exchange's clock.
        before: the pair in the snapshot before, None if it is not in it.
        before_on: the day of that snapshot.
    """

    market: Market
    symbol: str
    listed: Listed | None
    exchange: Exchange | None
    files: tuple[TradedDays, ...] | None
    newest: date | None
    today: date
    before: ListedPair | None
    before_on: date | None


def tell(known: Known) -> ListedPair | None:
    """The pair; None if it never had a kline, as far as that is known.

    Raises:
        SourceUnavailable: the exchange was asked for the pair's first or newest kline, and gives no answer.
    """
    if known.exchange is None:
        status, lives = _by_files(known)
    elif known.listed is None:
        status, lives = _unlisted(known)
    elif known.listed.is_trading:
        status, lives = PairStatus.TRADING, _trading(known, known.exchange)
    else:
        status = PairStatus.ENDED if known.listed.delivered_ms is not None else PairStatus.PAUSED
        lives = _not_trading(known, known.listed, known.exchange)
    return _named(known, status, lives) if lives else None


def with_listing(before: ListedPair, listed: Listed | None, newest: date | None) -> ListedPair:
    """A pair of the snapshot before whose days have not changed, with what the exchange says of it now."""
    last = before.last_day
    if listed is None:
        is_ended = before.status is PairStatus.ENDED or (newest is not None and last is not None and last < newest)
        return replace(before, status=PairStatus.ENDED if is_ended else before.status)
    status = PairStatus.TRADING if listed.is_trading else PairStatus.PAUSED
    if listed.delivered_ms is not None and not listed.is_trading:
        status = PairStatus.ENDED
    kind = kind_of(before.market, before.symbol, listed.contract)
    return replace(
        before,
        pair=listed.pair,
        base=listed.base,
        quote=listed.quote,
        kind=kind,
        status=status,
        delivered_ms=None if listed.is_trading else listed.delivered_ms,
    )


def lives_of(files: PairFiles, began: date | None) -> tuple[TradedDays, ...]:
    """The lives that the archive's files tell: they end where a whole month has none, or where a contract began anew.

    Args:
        files: the files of a pair.
        began: the day on which the exchange says that the present contract was listed. It is wrong for many, so it
            ends a life only where the day before it has no file.

    Raises:
        SourceUnavailable: the archive cannot be listed.
    """
    lives = []
    for first, last in _runs(files.months):
        opening = files.days(first)
        closing = opening if last == first else files.days(last)
        if opening and closing:
            lives.append(TradedDays(opening[0], closing[-1]))
    return tuple(part for life in lives for part in _parted(files, life, began))


def _runs(months: Sequence[date]) -> Iterator[tuple[date, date]]:
    """The first and the last month of each run of months without a hole."""
    for at, month in enumerate(months):
        if at == 0 or _next_month(months[at - 1]) != month:
            first = month
        if at + 1 == len(months) or _next_month(month) != months[at + 1]:
            yield first, month


def _parted(files: PairFiles, life: TradedDays, began: date | None) -> Iterator[TradedDays]:
    if began is None or life.last is None or not life.first < began <= life.last:
        yield life
        return
    month = began.replace(day=1)
    near = [day for each in ((month - _DAY).replace(day=1), month) if each in files.months for day in files.days(each)]
    before, after = [day for day in near if day < began], [day for day in near if day >= began]
    if not before or began - before[-1] == _DAY:
        yield life
        return
    yield TradedDays(life.first, before[-1])
    yield TradedDays(after[0] if after else began, life.last)


def _trading(known: Known, exchange: Exchange) -> tuple[TradedDays, ...]:
    lives = known.files if known.files is not None else _lives_before(known)
    if not lives:
        first = exchange.first_day(known.symbol)
        return (TradedDays(first, None),) if first else ()
    *earlier, last = lives
    if last.last is None or (known.newest is not None and last.last >= known.newest):
        return (*earlier, TradedDays(last.first, None))
    # Newer files are missing: the archive lacks them, or trading has begun anew and has none yet.
    first = exchange.first_day(known.symbol, last.last + _DAY) or known.today
    if first - last.last > _DAY and (_has_month_between(last.last, first) or _is_another(known, exchange, first)):
        return (*lives, TradedDays(first, None))
    return (*earlier, TradedDays(last.first, None))


def _is_another(known: Known, exchange: Exchange, first: date) -> bool:
    """True if REST has no kline before that day: it forgets those of an earlier pair of the symbol."""
    oldest = exchange.first_day(known.symbol)
    return oldest is not None and oldest >= first


def _has_month_between(last: date, first: date) -> bool:
    """True if a whole month lies between two days, which ends a life."""
    return _next_month(_next_month(last.replace(day=1))) <= first.replace(day=1)


def _not_trading(known: Known, listed: Listed, exchange: Exchange) -> tuple[TradedDays, ...]:
    lives = known.files if known.files is not None else _lives_before(known)
    if not lives:
        first, newest = exchange.first_day(known.symbol), exchange.last_day(known.symbol)
        if first is None or newest is None:
            return ()
        lives = (TradedDays(first, newest),)
    *earlier, life = lives
    last = life.last
    if last is None or (known.newest is not None and last >= known.newest):
        # Its last days have no file yet.
        last = max(filter(None, (last, exchange.last_day(known.symbol))), default=known.before_on or life.first)
    # It was listed once more and then taken off again, without a kline.
    ended = (*earlier, TradedDays(life.first, last)) if last >= life.first else tuple(earlier)
    return _until_settlement(ended, listed.delivered_ms) if ended else ()


def _unlisted(known: Known) -> tuple[PairStatus, tuple[TradedDays, ...]]:
    before, lives = known.before, known.files
    if not lives:
        if before is None:
            return PairStatus.PAUSED, ()
        status = PairStatus.PAUSED if before.is_trading else before.status
        return status, _closed(before.lives, known.before_on)
    settled_ms = before.delivered_ms if before else None
    last = lives[-1].last
    is_over = known.newest is not None and last is not None and last < known.newest
    status = PairStatus.ENDED if is_over or settled_ms is not None else PairStatus.PAUSED
    return status, _until_settlement(lives, settled_ms)


def _by_files(known: Known) -> tuple[PairStatus, tuple[TradedDays, ...]]:
    """What files alone tell: whether a pair is traded, and never that it has ended."""
    before, lives = known.before, known.files
    if not lives:
        return (before.status, before.lives) if before else (PairStatus.PAUSED, ())
    *earlier, life = lives
    if known.newest is not None and life.last is not None and life.last >= known.newest:
        return PairStatus.TRADING, (*earlier, TradedDays(life.first, None))
    is_same = before is not None and before.status is PairStatus.ENDED and before.lives == lives
    return PairStatus.ENDED if is_same else PairStatus.PAUSED, lives


def _named(known: Known, status: PairStatus, lives: tuple[TradedDays, ...]) -> ListedPair:
    listed, before = known.listed, known.before
    pair, base, quote = (listed.pair, listed.base, listed.quote) if listed else _by_rule(known.symbol)
    if listed is None and before is not None:
        pair, base, quote = before.pair, before.base, before.quote
    kind = kind_of(known.market, known.symbol, listed.contract if listed else "")
    if status is PairStatus.TRADING:
        delivered_ms = None
    else:
        delivered_ms = listed.delivered_ms if listed else before.delivered_ms if before else None
    files_until = before.files_until if before else None
    if known.files:
        files_until = known.files[-1].last
    return ListedPair(known.market, pair, base, quote, kind, status, lives, delivered_ms, files_until)


def _by_rule(symbol: str) -> tuple[str, str, str]:
    """Pair, base and quote of a symbol by the known quote assets; base and quote are empty where they are not clear."""
    with suppress(UsageError):
        pair = pair_by_rule(symbol)
        base, _, rest = pair.partition("/")
        if quoted := _QUOTE.fullmatch(rest):
            return pair, base, quoted[1]
    return symbol, "", ""


def _until_settlement(lives: tuple[TradedDays, ...], delivered_ms: int | None) -> tuple[TradedDays, ...]:
    """The lives without the days after the settlement: flat klines may follow it, which are not data."""
    *earlier, life = lives
    if delivered_ms is None or life.last is None or (settled := _utc_day(delivered_ms - 1)) < life.first:
        return lives
    return (*earlier, TradedDays(life.first, min(life.last, settled)))


def _lives_before(known: Known) -> tuple[TradedDays, ...]:
    return known.before.lives if known.before else ()


def _closed(lives: tuple[TradedDays, ...], on: date | None) -> tuple[TradedDays, ...]:
    """The lives, of which the last one was traded until that day, as far as is known."""
    *earlier, life = lives
    return lives if life.last is not None else (*earlier, TradedDays(life.first, max(life.first, on or life.first)))


def _next_month(month: date) -> date:
    return (month + timedelta(32)).replace(day=1)


def _utc_day(time_ms: int) -> date:
    return datetime.fromtimestamp(time_ms / 1000, UTC).date()
