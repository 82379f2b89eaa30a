"""Requests that turn live mode on or off, for the dataset of a pair or for those of many.

Belongs here: which datasets a request means, what has to exist before it is answered. Does not belong here: HTTP
(`routes`), runs (`run_requests`), the marks themselves (`app`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from market_data_pipeline.api.context import Context
from market_data_pipeline.api.models import Live, LiveDataset, LiveMany
from market_data_pipeline.api.run_requests import name_of, universe_of
from market_data_pipeline.app.live import mark
from market_data_pipeline.app.market.live import go_live_many, mark_many
from market_data_pipeline.app.targets import Target, find_or_create_dataset, open_datasets, target_of, targets_of
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.klines.patterns import is_pattern
from market_data_pipeline.instance.names import sensor_name


@dataclass(frozen=True, slots=True)
class LivePairs:
    """The datasets of a request: `pair` has one pair or many words, `pairs` and `universe` always mean many."""

    market: str | None = None
    pair: Sequence[str] = ()
    pairs: Sequence[str] | None = None
    universe: str | None = None
    tz: str | None = None

    @property
    def is_of_many(self) -> bool:
        """True if it names many."""
        several = len(self.pair) > 1 or any(is_pattern(word) for word in self.pair)
        return several or self.pairs is not None or self.universe is not None


def go_live(context: Context, request: LivePairs) -> Live | LiveMany:
    """Create the datasets that do not exist, mark all live, and turn on the market's sensor.

    Raises:
        UsageError, StoreError, SourceError, DagsterUnavailable: a step failed. The request may be sent again.
    """
    settings, dagster = context.settings, context.dagster
    if request.is_of_many:
        targets = _targets(context, request)
        dagster.require_reachable()
        before = go_live_many(settings, targets)
        context.code_location.look()
        dagster.start_sensor(before[0].market)
        return _many(before, live=True)
    target = _target(context, request)
    dagster.require_reachable()
    dataset, warnings = find_or_create_dataset(settings, target)
    mark(settings, target_of(settings, dataset.market.value, dataset.pair), live=True)
    context.code_location.require(dataset)
    dagster.start_sensor(dataset.market)
    return _one(dataset, live=True, warnings=warnings)


def stop_live(context: Context, request: LivePairs) -> Live | LiveMany:
    """Mark the datasets as not live. The sensor stays on for the other datasets of the market.

    Raises:
        UsageError, StoreError: there is no such dataset, or it cannot be read.
    """
    settings = context.settings
    if request.is_of_many:
        targets = _targets(context, request)
        before = [files.dataset for target in targets for files in open_datasets(settings, target)]
        mark_many(settings, targets, live=False)
        return _many(before, live=False)
    return _one(mark(settings, _target(context, request), live=False).dataset, live=False)


def _target(context: Context, request: LivePairs) -> Target:
    return target_of(context.settings, request.market, next(iter(request.pair), None), request.tz)


def _targets(context: Context, request: LivePairs) -> list[Target]:
    """The targets of a request about many pairs, of which globs choose among those that are stored.

    Raises:
        UsageError: as `universe_of`; a glob matches nothing, or a pair is named twice.
    """
    found = universe_of(context, request.universe, request.market)
    words = [*(found.pairs if found else ()), *request.pair, *(request.pairs or ())]
    market, zone = (found.market.value, request.tz or found.zone) if found else (request.market, request.tz)
    return targets_of(context.settings, market, words, zone)


def _one(dataset: Dataset, *, live: bool, warnings: Sequence[str] = ()) -> Live:
    return Live(dataset=name_of(dataset), live=live, sensor=sensor_name(dataset.market), warnings=list(warnings))


def _many(before: Sequence[Dataset], *, live: bool) -> LiveMany:
    """The response about datasets, which are as they were before the request."""
    return LiveMany(
        pairs=len(before),
        live=live,
        sensor=sensor_name(before[0].market),
        datasets=[LiveDataset(**name_of(dataset).model_dump(), was_live=dataset.live) for dataset in before],
    )
