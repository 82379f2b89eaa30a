"""Which datasets a component defines, by what its attributes say.

Belongs here: reading the attributes, choosing among pairs. Does not belong here: the attributes themselves (`klines`),
what is defined for a dataset (`defs`).
The data root is read and nothing is requested: a code location is loaded often, also where there is no network.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date

from market_data_pipeline.core.catalog.catalog import traded_pairs
from market_data_pipeline.core.errors import StoreError, UsageError
from market_data_pipeline.core.klines.dataset import Dataset, Market, default_start, parse_market
from market_data_pipeline.core.klines.days import Zone, day_at, parse_instant, parse_zone
from market_data_pipeline.core.klines.pair import has_slash, pair_by_rule, token_of
from market_data_pipeline.core.klines.patterns import Among, Patterns, parse_patterns
from market_data_pipeline.core.store.layout import DATASET_FILE, owner_of
from market_data_pipeline.core.store.storage.protocol import StorePath
from market_data_pipeline.core.store.universes import find_universe
from market_data_pipeline.defs.resources import Tools, tools_of
from market_data_pipeline.settings import Settings

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Chosen:
    """The datasets of a component, stored or not, and the `dataset.json` of those that cannot be read."""

    market: Market
    tools: Tools
    datasets: list[Dataset] = field(default_factory=list)
    damaged: list[StorePath] = field(default_factory=list)


def choose(
    settings: Settings,
    *,
    market: str | None,
    pairs: Sequence[str],
    universe: str | None,
    zone: str | None,
    start: str | None,
    source: str | None,
) -> Chosen:
    """The datasets that the attributes name, in the data root of the settings; None leaves it to the universe or these.

    Raises:
        UsageError: an attribute cannot be used.
    """
    found = find_universe(settings.root, universe) if universe else None
    of_market = parse_market(market or (found.market.value if found else settings.market_type))
    if found:
        found.refuse_other(of_market)
    words = [*(found.pairs if found else ()), *pairs]
    if not words:
        raise UsageError("no pair is named; write pairs, for example [BTC/USDT], or the name of a universe")
    source = source or (found.source if found else None)
    tools = tools_of(settings.model_copy(update={"market_data_source": source}) if source else settings)
    of_zone = parse_zone(zone or (found.zone if found else None) or settings.align_tz)
    start = start or (found.start if found else None)
    first = day_at(of_zone, parse_instant(start, of_zone)).date if start else None
    chosen = Chosen(of_market, tools)
    patterns = parse_patterns(words, has_contracts=of_market.has_contracts)
    candidates = _candidates(of_market, tools, of_zone, first) if patterns.needs_candidates else []
    for pair in _pairs(patterns, candidates, of_market):
        is_named = pair in patterns.names
        try:
            _add(chosen, pair, of_zone, first, is_named=is_named)
        except UsageError as error:
            if is_named:
                raise
            _log.warning("%s is left out: %s", pair, error)
    chosen.damaged += _maybe_meant(patterns, candidates, tools.store.dataset_files(of_market))
    return chosen


def _maybe_meant(patterns: Patterns, candidates: Sequence[str], files: Sequence[StorePath]) -> list[StorePath]:
    """The `dataset.json` of those that globs may mean by their symbol, where no file tells base and quote.

    A file of which the pair is no candidate cannot be read.
    """
    known = {token_of(pair) for pair in (*patterns.names, *candidates)}
    return [path for path in files if (token := owner_of(path)[-1]) not in known and patterns.may_choose(token)]


def _pairs(patterns: Patterns, candidates: Sequence[str], market: Market) -> list[str]:
    """The pairs that are named, and those that globs match; a glob that matches none is logged and left out."""
    globs = [glob for glob in patterns.globs if _matches(glob, candidates, market)]
    if not globs and not patterns.names:
        return []
    return replace(patterns, globs=tuple(globs)).choose(candidates, Among.STORED)


def _candidates(market: Market, tools: Tools, zone: Zone, first: date | None) -> list[str]:
    """The pairs that are stored, and those of the newest catalog that were traded since the first day."""
    catalog = tools.catalog(market).newest()
    start_ms = parse_instant(first.isoformat(), zone) if first else None
    traded = traded_pairs(catalog.pairs, zone, start_ms, None) if catalog else []
    # Of two spellings of a symbol the stored one counts.
    return sorted({token_of(pair): pair for pair in (*traded, *tools.store.pairs(market))}.values())


def _matches(glob: str, candidates: Sequence[str], market: Market) -> bool:
    try:
        return bool(Patterns((), (glob,)).choose(candidates, Among.STORED))
    except UsageError:
        _log.warning(
            "%r matches no %s pair that is stored or in the catalog; market-data --market %s pairs learns the catalog",
            glob,
            market,
            market,
        )
        return False


def _add(chosen: Chosen, pair: str, zone: Zone, first: date | None, *, is_named: bool) -> None:
    store, market = chosen.tools.store, chosen.market
    try:
        stored = store.find(market, pair)
    except StoreError:
        chosen.damaged.append(store.folder(market, pair) / DATASET_FILE)
        return
    if stored and stored.zone != zone:
        _log.warning("%s is stored in days of %s, which are its partitions", stored.name, stored.zone.name)
    # The catalog knows from the exchange where the slash belongs.
    is_clear = has_slash(pair) and not is_named
    dataset = stored or Dataset(market, pair if is_clear else pair_by_rule(pair), zone, default_start(zone))
    chosen.datasets.append(replace(dataset, start=first) if first else dataset)
