"""`backfill`, `verify`, `combine` and `status`: the commands of the same names, as functions that return reports.

Belongs here: from parameters to a use case of `app`, and from its warnings to Python's. Does not belong here: the work
(`app`), which datasets are meant (`targets`), other parameters than the command has. Nothing is printed unless it is
asked for.
"""

import logging
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from market_data_pipeline.app.backfill import BackfillReport, BackfillRequest, OnDay, OnStart
from market_data_pipeline.app.targets import target_of
from market_data_pipeline.core.errors import (
    MarketDataError,
    MarketDataWarning,
    StoreUnavailable,
    Unavailable,
)
from market_data_pipeline.core.proof.prove import Proof
from market_data_pipeline.core.store.combined import Combined
from market_data_pipeline.core.store.status import DatasetStatus
from market_data_pipeline.core.store.storage.protocol import StorePath
from market_data_pipeline.core.text import count_text, refusal_of_disk
from market_data_pipeline.python.targets import settings_of, targets_for
from market_data_pipeline.reader.windows import Instant, instant_text
from market_data_pipeline.settings import Settings

# Without a handler, Python prints the warnings of loads on stderr.
logging.getLogger("market_data_pipeline").addHandler(logging.NullHandler())
_CALLER = 3  # how far the frame of the user's line is above the function that warns


@dataclass(frozen=True, slots=True)
class CombinedFile:
    """A combined file that is up to date; `built` is False if it was before the call.

    `path` is a `pathlib.Path`; of a store in a bucket it is a path whose `str` is the address.
    """

    path: StorePath
    built: bool
    chunks: int
    rows: int
    size_bytes: int


def backfill(
    pair: str | None = None,
    *,
    market: str | None = None,
    start: Instant = None,
    end: Instant = None,
    tz: str | None = None,
    source: str | None = None,
    refetch: bool = False,
    align_window: bool = True,
    chunk_size: int | None = None,
    strict_pair: bool = False,
    root: str | Path | None = None,
    progress: bool = False,
) -> BackfillReport:
    """Load the days of a window, like `market-data backfill`. Days that are stored and complete are skipped.

    A day that fails hides no other: look at `ok` and `failed` of the report. Each warning of the report, and a report
    that is not `ok`, is also a MarketDataWarning.

    Args:
        pair: in any spelling; None for that of the settings.
        market: `spot` or `futures`; None for that of the settings.
        start: the first minute: a date (local midnight), an ISO time, a datetime with a zone, or ms UTC; None for
            2020-01-01T01:00Z.
        end: the first minute after the window; None for now.
        tz: the zone whose midnights start a day, if the dataset is new; None for that of the settings.
        source: `auto`, `rest` or `archive`; None for that of the settings.
        refetch: load days again that are already stored and complete.
        align_window: load every day that the window touches as a whole, not only the minutes of the window.
        chunk_size: rows per Parquet row group; None for the whole day.
        strict_pair: refuse a pair that the market does not list, instead of loading BTC/USDT.
        root: the data root; None for that of the settings.
        progress: show the progress on stderr, as the command does.

    Raises:
        UsageError, StoreError, Unavailable: nothing was loaded.
    """
    from market_data_pipeline.app import backfill as backfills

    settings = settings_of(root, source)
    request = BackfillRequest(
        target_of(settings, market, pair, tz),
        start=instant_text(start),
        end=instant_text(end),
        align_window=align_window,
        chunk_size=chunk_size,
        refetch=refetch,
        strict_pair=strict_pair,
    )
    with as_in_python(), _shown(progress) as (on_start, on_day):
        report = backfills.backfill(settings, request, on_start=on_start, on_day=on_day)
    warn([*report.warnings, *_shortcomings(report)])
    return report


def verify(
    pair: str | Sequence[str] | None = None,
    *,
    market: str | None = None,
    universe: str | None = None,
    start: Instant = None,
    end: Instant = None,
    repair: bool = False,
    against: str | None = None,
    every_day: bool = False,
    root: str | Path | None = None,
    progress: bool = False,
) -> list[Proof]:
    """Check that stored klines are complete and undamaged, like `market-data verify`: one Proof per dataset.

    Args:
        pair: in any spelling, a glob, or several of these; None for all datasets of the market.
        market: `spot` or `futures`; None for both, for `pair` that of the settings, for `universe` its own.
        universe: the pairs of a universe of `market-data.toml`, too.
        start: the first minute whose day is checked, None for the first day.
        end: the first minute after the window, None for the last day.
        repair: load again what is damaged or unexplained, and check once more.
        against: also compare with this source, `rest` or `archive`, on a sample of days.
        every_day: with `against`: compare every day, not a sample.
        root: the data root; None for that of the settings.
        progress: show the progress of a repair on stderr, as the command does.

    Raises:
        UsageError: there is no such dataset or source, none for `every_day`, or the window is empty or without any day
            that is stored or was requested.
        StoreError, Unavailable: a dataset could not be checked or repaired.
    """
    from market_data_pipeline.app.verify import ProofRequest, refuse_proof_of_nothing, verify_datasets

    settings = settings_of(root)
    with as_in_python():
        requests = [
            ProofRequest(target, instant_text(start), instant_text(end), against, every_day)
            for target in targets_for(settings, pair, market, universe=universe)
        ]
        proofs = [proof for request in requests for proof in verify_datasets(settings, request)]
        refuse_proof_of_nothing(requests[0], proofs)
        if repair and _repair(settings, proofs, progress=progress):
            proofs = [proof for request in requests for proof in verify_datasets(settings, request)]
    warn(warning for proof in proofs for warning in proof.warnings)
    return proofs


def combine(
    pair: str | None = None,
    *,
    market: str | None = None,
    tz: str | None = None,
    from_index: int | None = None,
    to_index: int | None = None,
    root: str | Path | None = None,
) -> CombinedFile:
    """Combine all chunks of a dataset into one Parquet file, like `market-data combine`, if a chunk has changed.

    Args:
        pair: in any spelling; None for that of the settings.
        market: `spot` or `futures`; None for that of the settings.
        tz: keep only whole days of this zone; None keeps all klines.
        from_index: index of the first chunk, as in its file name; None for the first.
        to_index: index of the last chunk, included; None for the last.
        root: the data root; None for that of the settings.

    Raises:
        UsageError, StoreError: there is no such dataset or zone, or no chunk between the indexes.
        MarketDataError: the file could not be written; Unavailable if it could be later.
    """
    from market_data_pipeline.app.combine import combine_dataset

    settings, files = settings_of(root), list[Combined]()
    with as_in_python():
        ended = combine_dataset(
            settings,
            target_of(settings, market, pair),
            tz=tz,
            from_index=from_index,
            to_index=to_index,
            on_combined=files.append,
        )
    if ended.error or not ended.success:
        raise (Unavailable if ended.may_pass else MarketDataError)(ended.error or "the run failed")
    warn(ended.failed_checks)
    file = files[-1]
    return CombinedFile(file.path, file.built, file.chunks, file.rows, file.size_bytes)


def status(
    pair: str | Sequence[str] | None = None,
    *,
    market: str | None = None,
    universe: str | None = None,
    root: str | Path | None = None,
) -> list[DatasetStatus]:
    """What is stored, as the manifests list it, like `market-data status`: one DatasetStatus per dataset.

    Args:
        pair: in any spelling, a glob, or several of these; None for all datasets of the market.
        market: `spot` or `futures`; None for both, for `pair` that of the settings, for `universe` its own.
        universe: the pairs of a universe of `market-data.toml`, too.
        root: the data root; None for that of the settings.

    Raises:
        UsageError: there is no such dataset.
        StoreError: a `dataset.json` is damaged.
    """
    from market_data_pipeline.app.status import statuses_of

    settings = settings_of(root)
    with as_in_python():
        targets = targets_for(settings, pair, market, universe=universe)
        statuses = [status for target in targets for status in statuses_of(settings, target)]
    warn(warning for each in statuses for warning in each.warnings)
    return statuses


def _repair(settings: Settings, proofs: list[Proof], *, progress: bool) -> bool:
    """Repair every dataset that has something to repair; True if there was any."""
    from market_data_pipeline.app.repair import repair

    to_repair = [proof for proof in proofs if proof.needs_repair]
    for proof in to_repair:
        with _shown(progress) as (on_start, on_day):
            repair(settings, proof, on_start=on_start, on_day=on_day, on_repaired=lambda *_: None)
    return bool(to_repair)


@contextmanager
def _shown(progress: bool) -> Iterator[tuple[OnStart, OnDay]]:
    """What a load is to call to show its progress, which is nothing unless that is asked for."""
    if not progress:
        yield lambda *_: None, lambda _: None
        return
    from market_data_pipeline.cli.progress import day_progress

    with day_progress() as display:
        yield display.on_start, display.on_day


def _shortcomings(report: BackfillReport) -> Iterator[str]:
    """Why the report is not `ok`, in one line; nothing if it is."""
    if report.ok:
        return
    reasons = [f"{day}: {error}" for day, error in report.failed[:1]] + list(report.failed_checks[:1])
    failed = [count_text(len(report.failed), "day") + " failed"] if report.failed else []
    yield f"{report.dataset.name}: {'; '.join([*failed, *reasons, *filter(None, [report.error])])}"


def warn(texts: Iterable[str]) -> None:
    """Give each text as a MarketDataWarning of the user's line."""
    for text in texts:
        warnings.warn(text, MarketDataWarning, stacklevel=_CALLER)


@contextmanager
def as_in_python() -> Iterator[None]:
    """Turn an error of the disk in the block into one of this package, and leave Python's warnings as they are."""
    try:
        with warnings.catch_warnings():
            # In a notebook, whose event loop runs, Dagster makes one of its own and cannot tidy it up.
            warnings.filterwarnings("ignore", "coroutine '.*shutdown_asyncgens' was never awaited", RuntimeWarning)
            yield
    except OSError as error:
        raise StoreUnavailable(refusal_of_disk(error)) from error
