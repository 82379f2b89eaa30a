"""All that can be proved of one dataset, in one result.

Belongs here: verification, cross-check and combined file put together, and the verdict. Does not belong here: each of
them (`verify`, `crosscheck`, `combined`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from market_data_pipeline.core.klines.coverage import Kind, Span
from market_data_pipeline.core.klines.days import Day, day_at
from market_data_pipeline.core.proof.combined import Agreement, combined_agreement, never
from market_data_pipeline.core.proof.crosscheck import CrossCheck, crosscheck
from market_data_pipeline.core.proof.verify import DAYS_TOGETHER, Verification, verify, verify_written
from market_data_pipeline.core.sources.protocol import KlineSource
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.storage.protocol import Version


@dataclass(frozen=True, slots=True)
class Proof:
    """What was proved of a dataset.

    Attributes:
        verification: the chunks against the manifest and the rules.
        crosscheck: the klines against another source, None if that was not requested.
        combined: how the combined file stands to its chunks.
        combined_problem: where the combined file is damaged, or since when it is older; empty if it is neither.
        warnings: of opening the dataset, one line each.
    """

    verification: Verification
    crosscheck: CrossCheck | None
    combined: Agreement
    combined_problem: str
    warnings: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """True if nothing is damaged or unexplained, and all is as in the source that it was to be compared with."""
        return self.stored_is_good and (self.crosscheck is None or self.crosscheck.ok)

    @property
    def stored_is_good(self) -> bool:
        """True if nothing is known to be wrong with what is stored, also where nothing could be compared."""
        differs = self.crosscheck is not None and bool(self.crosscheck.differing_days)
        return self.verification.ok and not differs and self.combined is not Agreement.DAMAGED

    @property
    def needs_repair(self) -> bool:
        """True if `proof.repair` has something to do.

        Something is wrong, foreign files lie among the chunks, or the exchange is to be asked again about an end.
        """
        return not self.stored_is_good or bool(self.verification.strangers or self.ended)

    @property
    def ended(self) -> list[Day]:
        """The days that are good only if the pair's trading has ended in them or before, in order."""
        absences, zone = self.verification.absences, self.verification.dataset.zone
        days = {day_at(zone, absence.span.start_ms) for absence in absences if absence.kind is Kind.DELISTED}
        return sorted(days - set(self.bad_days), key=lambda day: day.start_ms)

    @property
    def bad_days(self) -> list[Day]:
        """The days with errors or with other values than the compared source, in order."""
        differing = self.crosscheck.differing_days if self.crosscheck else {}
        keys = {day.key for day in self.verification.bad_days} | set(differing)
        return [self.verification.dataset.day(key) for key in sorted(keys)]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What to compare stored klines with: an open source, the name it has (`rest` or `archive`), and the days."""

    name: str
    source: KlineSource
    days: Sequence[Day]


def prove(store: DatasetStore, window: Span | None = None, comparison: Comparison | None = None) -> Proof:
    """Read every chunk of the dataset, or those of the days that `window` touches, and the combined file.

    Args:
        store: the dataset's files; nothing in them is changed.
        window: the minutes whose days are read, None for all.
        comparison: another source to compare with, None for none.
    """
    verification, compared = verify(store, window), None
    if comparison:
        compared = crosscheck(store, comparison.source, against=comparison.name, days=comparison.days)
    return _proof(store, verification, compared)


def _proof(
    store: DatasetStore,
    verification: Verification,
    compared: CrossCheck | None = None,
    is_known: Callable[[Version], bool] = never,
) -> Proof:
    """With how the combined file stands to its chunks."""
    verification.read.clear()  # proofs of a whole store are kept together, and nobody notes what was read for them
    return Proof(verification, compared, *combined_agreement(store, is_known), tuple(store.warnings))


class NewDays:
    """The days that a load writes, proven while their klines are in memory: their files are hashed, and not decoded.

    Days between them that the load left as they are, are read from the disk.
    """

    def __init__(self, store: DatasetStore) -> None:
        """Read nothing yet."""
        self._store = store
        self._klines: dict[str, pa.Table] = {}
        self._span: Span | None = None
        self._verification: Verification | None = None

    def add(self, day: Day, klines: pa.Table) -> None:
        """Note a day whose chunk has been written from these klines. Days come in order."""
        self._klines[day.key] = klines
        self._span = Span(self._span.start_ms if self._span else day.start_ms, day.end_ms)
        if len(self._klines) == DAYS_TOGETHER:
            self._verify()

    def proof(self, is_known: Callable[[Version], bool] = never) -> Proof | None:
        """The proof from the first to the last of the days, None if there is none.

        `is_known` is as for `combined_agreement`.
        """
        self._verify()
        if self._verification is None:
            return None
        self._verification.note_awaited()
        return _proof(self._store, self._verification, is_known=is_known)

    def _verify(self) -> None:
        if not self._klines or self._span is None:
            return
        if self._verification is None:
            self._verification = Verification(self._store.dataset, strangers=self._store.strangers())
        verify_written(self._store, self._span, self._verification, self._klines)
        self._klines, self._span = {}, Span(self._span.end_ms, self._span.end_ms)
