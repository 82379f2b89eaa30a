"""Which stored pairs a user means: names, globs over what is stored, and what they leave out.

Belongs here: finding datasets by what a user wrote. Does not belong here: spellings of one pair (`core.klines.pair`),
reading klines (`klines`, `panel`).

A glob with a slash is matched with base and quote (`*/USDT`), one without with the symbol (`BTC*`), small and capital
letters alike. `!` in front leaves out what matches.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from market_data_pipeline.core.errors import UsageError
from market_data_pipeline.core.klines.dataset import Dataset, Market
from market_data_pipeline.core.klines.pair import parse_pair, token_of
from market_data_pipeline.core.store.root import Store

_OF_GLOBS = frozenset("*?[")


def choose(store: Store, market: Market, pairs: str | Sequence[str]) -> list[Dataset]:
    """The stored datasets of a market that the user named, in that order; those of one glob by name.

    Raises:
        UsageError: a pair is not stored or named twice, a glob matches nothing, or nothing is left.
        StoreError: the `dataset.json` of a pair is damaged that is named, or that a glob may match.
    """
    written = _written(pairs)
    left_out = [text[1:] for text in written if text.startswith("!")]
    named: dict[str, str] = {}
    chosen: dict[str, Dataset] = {}
    for text in written:
        if text.startswith("!"):
            continue
        if _is_glob(text):
            chosen |= {
                dataset.token: dataset for dataset in _matching(store, market, text) if dataset.token not in chosen
            }
            continue
        dataset = find_stored(store, market, text)
        if dataset.token in named:
            raise UsageError(f"{dataset.pair} is named twice: {named[dataset.token]!r} and {text!r}; name it once")
        named[dataset.token] = text
        chosen.setdefault(dataset.token, dataset)
    kept = [dataset for dataset in chosen.values() if not any(_matches(text, dataset, market) for text in left_out)]
    if not kept:
        raise UsageError(f"no pair is left of {', '.join(written) or 'none'}; name pairs such as BTC/USDT or */USDT")
    return kept


def find_stored(store: Store, market: Market, pair: str) -> Dataset:
    """The dataset of a pair in any spelling.

    Raises:
        UsageError: it is no pair, or there is no such dataset.
        StoreError: its `dataset.json` is damaged.
    """
    name = parse_pair(pair, has_contracts=market.has_contracts)
    dataset = store.find(market, name)
    if dataset is None:
        raise UsageError(
            f"there is no {market} {name} under {store.root}; market-data status lists what is stored, "
            f"market-data --market {market} --pair {name} backfill loads it"
        )
    return dataset


def _written(pairs: str | Sequence[str]) -> list[str]:
    """Names and globs as the user wrote them. A universe, which is a name for such a list, has its place here."""
    written = [pairs] if isinstance(pairs, str) else list(pairs)
    if wrong := [each for each in written if not isinstance(each, str)]:
        raise UsageError(f"not a pair: {wrong[0]!r}; name pairs such as 'BTC/USDT' or '*/USDT'")
    return [text.strip() for text in written]


def _is_glob(text: str) -> bool:
    return not _OF_GLOBS.isdisjoint(text)


def _matching(store: Store, market: Market, glob: str) -> Iterator[Dataset]:
    # Only what the symbol lets match is read, so that no other dataset's damage matters.
    files = {path: path.parent.parent.name for path in store.dataset_files(market)}
    read = [store.read(path) for path, token in files.items() if _fits(token_of(glob), token)]
    found = sorted((one for one in read if _matches(glob, one, market)), key=lambda dataset: dataset.pair)
    if not found:
        raise UsageError(
            f"{glob!r} matches no {market} pair under {store.root}; market-data status lists what is stored"
        )
    yield from found


def _matches(text: str, dataset: Dataset, market: Market) -> bool:
    """True if a name or glob is that dataset's."""
    if not _is_glob(text):
        return token_of(parse_pair(text, has_contracts=market.has_contracts)) == dataset.token
    base, has_slash, quote = text.partition("/")
    if not has_slash:
        return _fits(text, dataset.token)
    of_base, _, of_quote = dataset.pair.partition("/")
    return _fits(base, of_base) and _fits(quote, of_quote)


def _fits(glob: str, name: str) -> bool:
    """True if the glob matches, whatever the case, and however letters with marks are composed."""
    return fnmatchcase(*(unicodedata.normalize("NFC", text).upper() for text in (name, glob)))
