"""The sensor `live_is_followed`: every ten minutes it looks whether somebody keeps the live datasets current.

Belongs here: which datasets a tick looks at, and which evaluations of `newest_kline_is_fresh` it records. Does not
belong here: what late is (`core.live.freshness`), messages about it (`alerts`).

Live mode records that check for what it follows. Once live mode is gone nobody would do so before the nightly proof.
https://docs.dagster.io/guides/automate/sensors
"""

from bisect import bisect_right
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress

import dagster as dg
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from market_data_pipeline.core.errors import MarketDataError, SourceError
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.klines.days import MINUTE_MS
from market_data_pipeline.core.live.freshness import ALLOWED_MINUTES, freshness, since_ms
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.layout import DATASET_FILE
from market_data_pipeline.core.store.storage.ahead import in_order
from market_data_pipeline.core.store.storage.places import storage_of
from market_data_pipeline.core.text import count_text
from market_data_pipeline.defs.assets import asset_key
from market_data_pipeline.defs.live_events import freshness_evaluation
from market_data_pipeline.defs.resources import Tools
from market_data_pipeline.instance.events.recorded import last_checks
from market_data_pipeline.instance.logs import log_to
from market_data_pipeline.instance.names import FOLLOWED, FRESH, KLINES

_INTERVAL_S = 600
# Live mode that is started anew, or a run that loads what it missed, has made up for it by then.
_LATE_MINUTES = 10
# A tick has 60 s. In a bucket the manifest of a dataset takes some requests, so many live datasets take turns. Where
# live mode is gone, any of them shows it.
_MOST_READ = 100
# Of the late ones. Each is asked for at the exchange, and five that get no answer take most of a tick.
_MOST_ASKED = 5
# Between the names in the cursor: the last one that was looked at, and the last failed one that was asked for.
_AND = "; "
_Live = tuple[DatasetStore, int | None]
"""A live dataset, and how many closed minutes it lacks."""


def followed_sensor(datasets: Sequence[Dataset], tools: Tools) -> dg.SensorDefinition:
    """The sensor that looks at those of these datasets that are marked live."""

    @dg.sensor(
        name=FOLLOWED,
        minimum_interval_seconds=_INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Every ten minutes, fails newest_kline_is_fresh of datasets that are marked live, "
        "and that nobody keeps current.",
    )
    def live_is_followed(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        log_to(tools.logs)
        after, _, again_after = (context.cursor or "").partition(_AND)
        chosen = _next_live(datasets, tools, after=after)
        live = _looked_at(chosen, tools)
        failed = _failed(context.instance, [files.dataset for files, _ in live])
        late = [files for files, minutes in live if _is_late(minutes)]
        told = _in_turn([files for files in late if files.dataset.name in failed], again_after)
        untold = [files for files in late if files.dataset.name not in failed]
        # Those that are told have one turn at least, however many others there are.
        asked = untold[: _MOST_ASKED - bool(told)]
        again = told[: _MOST_ASKED - len(asked)]
        changed = list(_changed([*asked, *again], failed, tools))
        # The next tick goes on after the last one that this tick has dealt with, so each has its turn: a pair that is
        # not traded any more is late by the clock in every tick, and nobody unmarks it.
        last = asked[-1].dataset if len(untold) > len(asked) else chosen[-1] if chosen else None
        newly_late = sum(not event.passed for event in changed)
        return dg.SensorResult(
            asset_events=[*_current_again(live, failed), *changed],
            skip_reason=f"{count_text(len(live), 'live dataset')} looked at, {newly_late} of them newly late.",
            cursor=_AND.join([last.name if last else after, again[-1].dataset.name if again else again_after]),
        )

    return live_is_followed


def _next_live(datasets: Sequence[Dataset], tools: Tools, *, after: str) -> list[Dataset]:
    """The next of those that are marked live now, in turn; one that is damaged or not stored has a check of its own."""
    store = tools.store

    def marked(dataset: Dataset) -> Dataset | None:
        with suppress(MarketDataError):
            stored = store.read(store.folder(dataset.market, dataset.pair) / DATASET_FILE)
            return stored if stored.live else None
        return None

    live = sorted(filter(None, in_order(marked, datasets, threads=store.most_at_once)), key=lambda one: one.name)
    at = bisect_right(live, after, key=lambda one: one.name)
    return [*live[at:], *live[:at]][:_MOST_READ]


def _in_turn(late: Sequence[DatasetStore], after: str) -> list[DatasetStore]:
    """The next of these."""
    return sorted(late, key=lambda files: (files.dataset.name <= after, files.dataset.name))


def _looked_at(datasets: Sequence[Dataset], tools: Tools) -> list[_Live]:
    now_s = tools.turns.clock()
    # A bucket that is away is so for all of them.
    unreadable = (MarketDataError,) if storage_of(tools.store.root).is_conditional else (MarketDataError, OSError)

    def look(dataset: Dataset) -> _Live | None:
        with suppress(*unreadable):
            files = tools.store.open(dataset)
            return files, _minutes_behind(files, now_s)
        return None

    return list(filter(None, in_order(look, datasets, threads=tools.store.most_at_once)))


def _failed(instance: dg.DagsterInstance, datasets: Sequence[Dataset]) -> set[str]:
    """The names of those whose last evaluation of the check failed."""
    keys = {dg.AssetCheckKey(asset_key(dataset, KLINES), FRESH): dataset.name for dataset in datasets}
    last = last_checks(instance, list(keys))
    return {keys[key] for key, record in last if record.status is AssetCheckExecutionRecordStatus.FAILED}


def _is_late(minutes: int | None) -> bool:
    return minutes is None or minutes > _LATE_MINUTES


def _current_again(live: Iterable[_Live], failed: Container[str]) -> Iterator[dg.AssetCheckEvaluation]:
    for files, minutes in live:
        if files.dataset.name in failed and minutes is not None and minutes <= ALLOWED_MINUTES:
            yield freshness_evaluation(files.dataset, True, f"{minutes} min behind this machine's clock")


def _changed(asked: Sequence[DatasetStore], failed: Container[str], tools: Tools) -> Iterator[dg.AssetCheckEvaluation]:
    """An evaluation of each of these that had another one.

    One that has not failed fails if the exchange has newer klines, or does not answer. One that has failed passes if
    the exchange has none: the pair may not be traded any more, and did not answer when it was asked for first.
    """
    with ExitStack() as stack:
        markets = {files.dataset.market for files in asked}
        sources = {market: stack.enter_context(closing(tools.live_sources(market))) for market in markets}
        for files in asked:
            dataset = files.dataset
            try:
                fresh = freshness(files, sources[dataset.market].of(dataset.pair))
                is_fresh, detail = fresh.ok, fresh.detail
            except SourceError as error:
                is_fresh, detail = False, str(error)
            if is_fresh is (dataset.name in failed):
                yield freshness_evaluation(dataset, is_fresh, detail)


def _minutes_behind(files: DatasetStore, now_s: float) -> int | None:
    """How many closed minutes are not stored, by this machine's clock; None without any that is."""
    since = since_ms(files)
    return None if since is None else max(0, round(now_s * 1000) - since) // MINUTE_MS
