"""Which datasets a request is about.

Belongs here: parsing the market, pair and zone of a request, with the settings as defaults, and opening the datasets,
or creating one that begins today.
Does not belong here: the use cases (the other modules of `app`).
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from market_data_pipeline.core.errors import PASSING, StoreError, UsageError
from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.dataset import Dataset, Market, parse_market
from market_data_pipeline.core.klines.days import Zone, day_at, parse_zone
from market_data_pipeline.core.klines.pair import parse_pair
from market_data_pipeline.core.klines.patterns import Among, parse_patterns
from market_data_pipeline.core.loading.resolve import new_dataset, resolve
from market_data_pipeline.core.store import layout
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.core.store.storage.ahead import in_order
from market_data_pipeline.core.store.storage.protocol import StorePath
from market_data_pipeline.core.text import problem_text
from market_data_pipeline.instance.composition import opener_of, store_of
from market_data_pipeline.instance.home import prepare_home
from market_data_pipeline.settings import Settings

R = TypeVar("R")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Target:
    """The market, pair and zone of a request.

    Attributes:
        market: the market.
        pair: as `parse_pair` returns it: the symbol if the user gave that. The dataset has base and quote.
        zone: the zone.
        named: False if the user gave neither market nor pair.
        pair_named: False if the user gave no pair, so that it is that of the settings.
        in_catalog: True if `pair` is as the catalog has it, so that the exchange need not be asked for base and quote.
    """

    market: Market
    pair: str
    zone: Zone
    named: bool
    pair_named: bool = True
    in_catalog: bool = False


def target_of(settings: Settings, market: str | None = None, pair: str | None = None, tz: str | None = None) -> Target:
    """The target of a request. Parts that are None come from the settings.

    Args:
        settings: the defaults.
        market: `spot` or `futures`.
        pair: in any spelling that `parse_pair` reads.
        tz: an IANA time zone, or an offset such as `+05:30`.

    Raises:
        UsageError: a part cannot be parsed.
    """
    of_market = parse_market(market or settings.market_type)
    return Target(
        market=of_market,
        pair=parse_pair(pair or settings.symbol, has_contracts=of_market.has_contracts),
        zone=parse_zone(tz or settings.align_tz),
        named=market is not None or pair is not None,
        pair_named=pair is not None,
    )


def targets_of(
    settings: Settings,
    market: str | None,
    words: Sequence[str],
    tz: str | None = None,
    *,
    among: Callable[[Settings, Market], Iterable[str]] | None = None,
) -> list[Target]:
    """The targets of a request about several pairs, in the order of the words; those of one glob by name.

    Args:
        settings: the defaults.
        market: `spot` or `futures`.
        words: pairs in any spelling, globs, and what to leave out, as `core.klines.patterns` reads them.
        tz: an IANA time zone, or an offset such as `+05:30`.
        among: gives the pairs of a market that were traded in the window, for globs; those that are stored if None.

    Raises:
        UsageError: a word cannot be parsed, names a pair twice, or matches nothing.
        StoreError: the `dataset.json` of a stored pair is damaged that a glob may match.
    """
    of_market, zone = parse_market(market or settings.market_type), parse_zone(tz or settings.align_tz)
    patterns = parse_patterns(words, has_contracts=of_market.has_contracts)
    pairs = set[str]()
    if patterns.needs_candidates:
        pairs.update(among(settings, of_market) if among else store_of(settings).pairs(of_market, patterns.may_choose))
    chosen = patterns.choose(pairs, Among.TRADED if among else Among.STORED)
    return [Target(of_market, pair, zone, named=True, in_catalog=pair in pairs) for pair in chosen]


def words_of_file(path: Path) -> list[str]:
    """The words of a file of pairs: one a line, or several with commas or spaces between; `#` begins a comment.

    Raises:
        UsageError: it cannot be read, or names nothing.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise UsageError(f"cannot read {path}: {reason}; give a text file with one pair a line") from None
    words = [word for line in text.splitlines() for word in re.split(r"[,\s]+", line.partition("#")[0]) if word]
    if not words:
        raise UsageError(f"{path} names no pair; write one a line, such as BTC/USDT or */USDT")
    return words


def open_datasets(settings: Settings, target: Target) -> Iterator[DatasetStore]:
    """Open the files of the target's dataset; of every dataset of the market, or of the store, if no pair is named.

    Raises:
        UsageError: there is none.
        StoreError: a `dataset.json` is damaged.
    """
    store = store_of(settings)
    yield from store.open_each(datasets_of(store, target))


def datasets_of(store: Store, target: Target) -> list[Dataset]:
    """As `open_datasets`, not opened."""
    if target.pair_named:
        datasets = [dataset] if (dataset := store.find(target.market, target.pair)) else []
    else:
        datasets = list(store.datasets(target.market if target.named else None))
    if not datasets:
        raise nothing_stored(store, target)
    return datasets


@dataclass(frozen=True, slots=True)
class Refused:
    """A dataset, one of several, that cannot be read.

    Attributes:
        name: as messages have it.
        market: its market.
        pair: its pair; its symbol where `dataset.json` cannot be read, which has the pair.
        problem: why, in one line.
        may_pass: whether the same may succeed later.
    """

    name: str
    market: Market
    pair: str
    problem: str
    may_pass: bool


OnRefused = Callable[[Refused], object]


def of_each(
    store: Store,
    targets: Sequence[Target],
    use: Callable[[DatasetStore], T],
    *,
    on_refused: OnRefused,
    threads: int = 1,
) -> Iterator[T]:
    """What `use` makes of each dataset of the targets, or as `open_datasets` if no pair is named.

    Args:
        store: the data root.
        targets: the datasets.
        use: called with the files of each.
        on_refused: called with each that cannot be read; it hides no other.
        threads: how many are used at once.

    Raises:
        UsageError: there is none.
        StoreError, OSError: the only one cannot be read, or the bucket is away.
    """
    paths = dataset_files_of(store, targets)

    def tried(name: str, market: Market, pair: str, work: Callable[[], R]) -> R | Refused:
        try:
            return work()
        except (StoreError, OSError) as error:
            if len(paths) == 1 or store.is_away(error):
                raise
            return Refused(name, market, pair, problem_text(error), isinstance(error, PASSING))

    def of_dataset(dataset: Dataset, work: Callable[[], R]) -> R | Refused:
        return tried(dataset.name, dataset.market, dataset.pair, work)

    def opened(path: StorePath) -> DatasetStore | Refused:
        exchange_id, token = layout.owner_of(path)
        dataset = tried(f"{exchange_id}/{token}", layout.market_of(path), token, lambda: store.read(path))
        return dataset if isinstance(dataset, Refused) else of_dataset(dataset, lambda: store.open(dataset))

    def used(files: DatasetStore | Refused) -> T | Refused:
        return files if isinstance(files, Refused) else of_dataset(files.dataset, lambda: use(files))

    # Opened ahead, as `Store.open_each` does.
    each = in_order(opened, paths, threads=store.most_at_once)
    for found in in_order(used, each, threads=threads):
        if isinstance(found, Refused):
            on_refused(found)
        else:
            yield found


def dataset_files_of(store: Store, targets: Sequence[Target]) -> list[StorePath]:
    """The `dataset.json` of the dataset of each target, or as `open_datasets` if no pair is named; damaged or not.

    Raises:
        UsageError: there is none.
    """
    first = targets[0]
    if first.pair_named:
        return store.files_of(first.market, [target.pair for target in targets])
    if files := store.dataset_files(first.market if first.named else None):
        return files
    raise nothing_stored(store, first)


def find_or_create_dataset(
    settings: Settings, target: Target, *, strict_pair: bool = False
) -> tuple[Dataset, list[str]]:
    """Find the target's dataset, or create one that begins today.

    Args:
        settings: the settings.
        target: market, pair and the zone of a new dataset.
        strict_pair: refuse a pair that the market does not list; otherwise BTC/USDT is taken, with a warning.

    Returns:
        The dataset, and the warnings, one line each.

    Raises:
        UsageError, StoreError, SourceError: it could not be created.
    """
    store = store_of(settings)
    store.require_writable()
    prepare_home(settings.home)
    if known := store.find(target.market, target.pair):
        return known, []
    new, warnings = dataset_from_today(settings, target, strict_pair=strict_pair)
    return store.create(new.market, new.pair, zone=new.zone, start=new.start).dataset, warnings


def dataset_from_today(settings: Settings, target: Target, *, strict_pair: bool) -> tuple[Dataset, list[str]]:
    """The dataset that `find_or_create_dataset` creates, which see. Nothing is written."""
    resolved = resolve(opener_of(settings), target.market, target.pair, strict=strict_pair)
    with closing(resolved.source) as source:
        now_ms = source.now_ms()
        today = Span(day_at(target.zone, now_ms).start_ms, now_ms)
        new = new_dataset(resolved, zone=target.zone, window=today)
    return new, [resolved.warning] if resolved.warning else []


def nothing_stored(store: Store, target: Target) -> UsageError:
    """The error of a target of which nothing is stored, with what to run."""
    if target.pair_named:
        return store.lacks(target.market, target.pair)
    if target.named:
        cure = f"run market-data --market {target.market} backfill first"
        return UsageError(f"there is no {target.market} dataset in {store.root}; {cure}")
    return UsageError(f"there is nothing in {store.root}; run market-data backfill first")
