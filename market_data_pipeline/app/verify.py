"""What else a person can ask for, whatever the face: verify, combine, status.

Belongs here: turning a request into core calls and Dagster runs, and their outcome into one report. Does not belong
here: parsing of command lines or HTTP, printing, loading (`loading`), mending (`mending`), starting runs (`runs`).
Dagster is imported only by what needs a run, so that the rest starts quickly.
"""

from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from market_data_pipeline.app.targets import Target, chosen
from market_data_pipeline.core.errors import UsageError
from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.days import parse_instant
from market_data_pipeline.core.proof.combined import Agreement, combined_agreement
from market_data_pipeline.core.proof.crosscheck import CrossCheck, crosscheck, sample
from market_data_pipeline.core.proof.verify import Verification, verify
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.instance.composition import opener_of
from market_data_pipeline.settings import Settings

if TYPE_CHECKING:
    pass

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
    return DatasetProof(verified, compared, *combined_agreement(files), tuple(files.warnings))
