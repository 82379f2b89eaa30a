"""All that can be proved of one dataset, in one result.

Belongs here: verification, cross-check and combined file put together, and the verdict. Does not belong here: each of
them (`verify`, `crosscheck`, `combined`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from market_data_pipeline.core.klines.coverage import Kind, Span
from market_data_pipeline.core.klines.days import Day, day_at
from market_data_pipeline.core.proof.combined import Agreement, combined_agreement
from market_data_pipeline.core.proof.crosscheck import CrossCheck, crosscheck
from market_data_pipeline.core.proof.verify import Verification, verify
from market_data_pipeline.core.sources.protocol import KlineSource
from market_data_pipeline.core.store.dataset_store import DatasetStore


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
        """True if nothing is damaged, unexplained, or other than the source it was compared with."""
        agrees = self.crosscheck is None or self.crosscheck.ok
        return self.verification.ok and agrees and self.combined is not Agreement.DAMAGED

    @property
    def needs_repair(self) -> bool:
        """True if `proof.repair` has something to do.

        Something is wrong, foreign files lie among the chunks, or the exchange is to be asked again about an end.
        """
        return not self.ok or bool(self.verification.strangers or self.ended)

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
    return Proof(verification, compared, *combined_agreement(store), tuple(store.warnings))
