"""The events of loads of one dataset after another, and of proving them.

Belongs here: `begun`, `failed`, `repaired`, and `progress` and `proved` once a second. Does not belong here: loads of
many at once (`bulk`), the result of a load (`app.market.as_json`).
"""

import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from market_data_pipeline.cli.lines.writing import Lines
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.loading.day import DayResult
from market_data_pipeline.core.loading.plan import Outcome
from market_data_pipeline.core.sources.protocol import KlineSource, Usage

if TYPE_CHECKING:
    from market_data_pipeline.core.proof.prove import Proof
    from market_data_pipeline.core.proof.repair import Repaired


class Counted:
    """Days and klines of a load, as its `progress` has them."""

    def __init__(self) -> None:
        """Begin now."""
        self.days = self.klines = 0
        self._began_s = time.monotonic()

    def note(self, result: DayResult) -> None:
        """Count a day."""
        self.days += 1
        if result.outcome is Outcome.LOADED and result.entry:
            self.klines += result.entry.rows

    def told(self, usage: Usage | None) -> dict[str, Any]:
        """The fields of `progress`."""
        seconds = max(0.001, time.monotonic() - self._began_s)
        weight = {"weight_used": usage.used, "weight_limit": usage.limit} if usage else {}
        return {"days": self.days, "klines": self.klines, "klines_per_second": round(self.klines / seconds), **weight}


class DayLines(Lines):
    """The events of one load after another, by day."""

    def __init__(self) -> None:
        """Write nothing yet."""
        super().__init__()
        self._dataset, self._of_days = "", 0
        self._source: KlineSource | None = None
        self._counted = Counted()

    def on_start(self, dataset: Dataset, days: int, source: KlineSource) -> None:
        """Tell that a load of this many days has begun."""
        self._dataset, self._of_days, self._source, self._counted = dataset.name, days, source, Counted()
        self.tell("begun", dataset=dataset.name, days=days)

    def on_day(self, result: DayResult) -> None:
        """Count a day, and tell if it failed."""
        self._counted.note(result)
        if result.outcome is Outcome.FAILED:
            self.tell("failed", dataset=self._dataset, day=result.day.key, error=result.error)
        if self.is_due:
            usage = self._source.usage() if self._source else None
            self.tell("progress", dataset=self._dataset, of_days=self._of_days, **self._counted.told(usage))

    def on_repaired(self, dataset: Dataset, repaired: "Repaired") -> None:
        """Tell what a repair made of one day or file."""
        told = {"what": repaired.what, "ok": repaired.ok, "before": repaired.before, "after": repaired.after}
        self.tell("repaired", dataset=dataset.name, **told)


class ProofLines(Lines):
    """The events of proving: `proved` once a second, of all datasets but the last one, which the result has."""

    def each(self, proofs: "Iterable[Proof]") -> "Iterator[Proof]":
        """The proofs, each told of when the next one is there."""
        before = None
        for proof in proofs:
            if before and self.is_due:
                self.tell("proved", dataset=before.verification.dataset.name, ok=before.ok)
            yield proof
            before = proof
