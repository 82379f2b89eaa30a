"""Verify: prove datasets, and compare them with another source.

Belongs here: which datasets and days a request is about, and the source to compare with. Does not belong here: proving
(`core.proof`), repair (`app.repair`), printing.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime

from market_data_pipeline.app.targets import OnRefused, Target, of_each, open_datasets
from market_data_pipeline.core.errors import UsageError
from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.days import parse_instant
from market_data_pipeline.core.proof.crosscheck import sample
from market_data_pipeline.core.proof.prove import Comparison, Proof, prove
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.instance.composition import opener_of, store_of
from market_data_pipeline.settings import Settings

SAMPLE_DAYS = 10


@dataclass(frozen=True, slots=True)
class ProofRequest:
    """What to prove.

    Attributes:
        target: the dataset, or all of them.
        start: first instant as the user wrote it, None for the first day.
        end: end, exclusive, None for the last day.
        against: the source to compare with, `rest` or `archive`; None for none.
        every_day: compare all days, not a sample.
    """

    target: Target
    start: str | None = None
    end: str | None = None
    against: str | None = None
    every_day: bool = False


def verify_datasets(settings: Settings, request: ProofRequest) -> Iterator[Proof]:
    """Prove the target's dataset, or every dataset of the store if the user named none; one after the other.

    Raises:
        UsageError: there is no such dataset or source, none for `every_day`, or the window is empty.
    """
    proof = _prover(settings, request)
    return (proof(files) for files in open_datasets(settings, request.target))


def verify_each(
    settings: Settings, request: ProofRequest, targets: Sequence[Target], *, on_refused: OnRefused
) -> Iterator[Proof]:
    """As `verify_datasets`, of several targets in place of that of the request, whose zone they have.

    One that cannot be read hides no other, see `of_each`.

    Raises:
        UsageError: as `verify_datasets`.
        StoreError, OSError: the only one cannot be read, or the bucket is away.
    """
    return of_each(store_of(settings), targets, _prover(settings, request), on_refused=on_refused)


def _prover(settings: Settings, request: ProofRequest) -> Callable[[DatasetStore], Proof]:
    """What proves a dataset as requested.

    Raises:
        UsageError: the request is wrong.
    """
    zone, start, end = request.target.zone, request.start, request.end
    start_ms = parse_instant(start, zone) if start else 0
    end_ms = parse_instant(end, zone) if end else 1 << 62
    if end_ms <= start_ms:
        raise UsageError(f"the end {end} is not after the start {start}; give a later end")
    if request.against not in {None, "rest", "archive"}:
        raise UsageError(f"cannot compare with {request.against!r}; give --against rest or --against archive")
    if request.every_day and request.against is None:
        raise UsageError("--every-day says how many days --against compares; give --against rest or --against archive")
    window = Span(start_ms, end_ms) if start or end else None
    return lambda files: _proof(settings, request, files, window)


def refuse_proof_of_nothing(request: ProofRequest, proofs: Sequence[Proof]) -> None:
    """Refuse a window in which no dataset has a day: that nothing is wrong there says nothing.

    Raises:
        UsageError: it is such a window.
    """
    start, end = request.start, request.end
    if (start or end) and proofs and not any(proof.verification.days for proof in proofs):
        window = " ".join(f"{word} {given}" for word, given in (("from", start), ("until", end)) if given)
        raise UsageError(f"nothing is stored or was requested {window}; market-data status shows which days are stored")


def _proof(settings: Settings, request: ProofRequest, files: DatasetStore, window: Span | None) -> Proof:
    if request.against is None:
        return prove(files, window)
    # Each date gives another sample, so nightly runs compare every day in time.
    days = sample(files, window, None if request.every_day else SAMPLE_DAYS, f"{datetime.now(UTC):%Y-%m-%d}")
    with closing(opener_of(settings, request.against)(files.dataset.market, files.dataset.pair)) as source:
        return prove(files, window, Comparison(request.against, source, days))
