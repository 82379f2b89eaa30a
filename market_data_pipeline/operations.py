"""What else a person can ask for, whatever the face: verify, combine, status.

Belongs here: turning a request into core calls and Dagster runs, and their outcome into one report. Does not belong
here: parsing of command lines or HTTP, printing, loading (`loading`), mending (`mending`), starting runs (`runs`).
Dagster is imported only by what needs a run, so that the rest starts quickly.
"""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from market_data_pipeline.core.combine import Agreement, compare, select
from market_data_pipeline.core.coverage import Span
from market_data_pipeline.core.crosscheck import CrossCheck, crosscheck, sample
from market_data_pipeline.core.dataset_store import DatasetStore
from market_data_pipeline.core.days import parse_instant, parse_zone
from market_data_pipeline.core.errors import UsageError
from market_data_pipeline.core.status import DatasetStatus, status_of
from market_data_pipeline.core.verify import Verification, verify
from market_data_pipeline.loading import Target
from market_data_pipeline.settings import Settings
from market_data_pipeline.wiring import opener_of, store_of

if TYPE_CHECKING:
    from market_data_pipeline import runs

SAMPLE_DAYS = 10


@dataclass(frozen=True, slots=True)
class DatasetProof:
    """A dataset's verification, its cross-check if one was asked for, how its combined file stands to its chunks."""

    verification: Verification
    crosscheck: CrossCheck | None
    combined: Agreement
    combined_problem: str
    warnings: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """True if nothing is damaged, unexplained, or other than the source it was compared with."""
        agrees = self.crosscheck is None or self.crosscheck.ok
        return self.verification.ok and agrees and self.combined is not Agreement.DAMAGED


@dataclass(frozen=True, slots=True)
class ProofRequest:
    """What to prove: days from `start` to `end` as the user wrote them, and what to compare them with, if anything.

    `against` is `rest` or `archive`; `every_day` compares all days instead of a sample.
    """

    target: Target
    start: str | None = None
    end: str | None = None
    against: str | None = None
    every_day: bool = False


def verify_datasets(settings: Settings, request: ProofRequest) -> list[DatasetProof]:
    """Verify the target's dataset, or every dataset of the store if the user named none.

    Raises:
        UsageError: there is no such dataset or source, or the window is empty.
    """
    zone, start, end = request.target.zone, request.start, request.end
    start_ms = parse_instant(start, zone) if start else 0
    end_ms = parse_instant(end, zone) if end else 1 << 62
    if end_ms <= start_ms:
        raise UsageError(f"the end {end} is not after the start {start}; give a later --end")
    if request.against not in {None, "rest", "archive"}:
        raise UsageError(f"cannot compare with {request.against!r}; give --against rest or --against archive")
    window = Span(start_ms, end_ms) if start or end else None
    return [_proof(settings, request, files, window) for files in chosen(settings, request.target)]


def _proof(settings: Settings, request: ProofRequest, files: DatasetStore, window: Span | None) -> DatasetProof:
    verified, compared = verify(files, window), None
    if request.against:
        days = sample(files, window, None if request.every_day else SAMPLE_DAYS, f"{datetime.now(UTC):%Y-%m-%d}")
        with closing(opener_of(settings, request.against)(files.dataset.market, files.dataset.pair)) as source:
            compared = crosscheck(files, source, against=request.against, days=days)
    return DatasetProof(verified, compared, *compare(files), tuple(files.warnings))


def chosen(settings: Settings, target: Target) -> Iterator[DatasetStore]:
    """The files of the target's dataset, or of every dataset of the store if the user named none.

    Raises:
        UsageError: there is none.
        StoreError: a `dataset.json` is damaged.
    """
    store = store_of(settings)
    if target.named:
        found = [dataset] if (dataset := store.find(target.market, target.pair)) else []
    else:
        found = list(store.datasets())
    if not found:
        what = f"{target.market} {target.pair} is not" if target.named else "there is nothing"
        raise UsageError(f"{what} in {store.root}; run market-data backfill first")
    for dataset in found:
        yield store.open(dataset)


def combine_dataset(
    settings: Settings,
    target: Target,
    *,
    tz: str | None = None,
    from_index: int | None = None,
    to_index: int | None = None,
    rebuild: bool = False,
) -> "runs.RunReport":
    """Bring a combined file up to date, in a Dagster run of this process.

    Raises:
        UsageError, StoreError: there is nothing to combine, or a chunk is damaged.
    """
    from market_data_pipeline import runs

    files = next(chosen(settings, replace(target, named=True)))
    zone = parse_zone(tz) if tz else None
    select(files, zone=zone, from_index=from_index, to_index=to_index)  # an empty selection is said before any run
    config = {"tz": zone.name if zone else None, "from_index": from_index, "to_index": to_index, "rebuild": rebuild}
    with runs.open_instance(settings.home) as instance:
        return runs.run(instance, runs.tools_of(settings), files.dataset, ["combined"], config={"combined": config})


def statuses(settings: Settings, target: Target) -> list[DatasetStatus]:
    """What the store has, from its manifests alone."""
    return [status_of(files) for files in chosen(settings, target)]
