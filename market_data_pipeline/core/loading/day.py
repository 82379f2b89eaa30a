"""One day, from fetched klines to its chunk on disk. Backfills and live mode both load their days here.

Belongs here: joining what was fetched with what is stored, and the day's result. Does not belong here: fetching
(`fetch`), the encoding and its rules (`store.chunks.files`), when a chunk may be replaced (`store.dataset_store`).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, repeat

import pyarrow as pa

from market_data_pipeline.core.errors import PASSING, MarketDataError
from market_data_pipeline.core.klines.coverage import (
    Absence,
    Kind,
    Span,
    gaps,
    intersect,
    merge,
    subtract,
    total_minutes,
)
from market_data_pipeline.core.klines.days import Day, iso
from market_data_pipeline.core.klines.flaws import within
from market_data_pipeline.core.klines.table import EMPTY, cut, join, open_times
from market_data_pipeline.core.loading.absences import explained
from market_data_pipeline.core.loading.fetch import FetchedDay
from market_data_pipeline.core.loading.plan import Outcome, Task
from market_data_pipeline.core.sources.protocol import Life
from market_data_pipeline.core.store.chunks.files import Chunk, NewChunk, new_chunk
from market_data_pipeline.core.store.chunks.replacing import until_published
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.manifest import LIVE, Entry
from market_data_pipeline.core.store.revisions import Revision
from market_data_pipeline.core.text import count_text

MOST_ROW_GROUP_ROWS = 1_000_000
"""What may be asked for as the most rows of a row group. A day has less."""
# A day that has nothing but such minutes has its chunk all the same, which says so.
_PROVEN = {Kind.OUTAGE, Kind.SUSPENDED, Kind.MALFORMED}


class Unexplained(MarketDataError):
    """A day has no kline, and nothing proves that it never had any."""


@dataclass(frozen=True, slots=True)
class DayResult:
    """What became of one day.

    Attributes:
        day: the day.
        outcome: what became of it.
        entry: that of its chunk, None where there is none.
        error: why it failed, one line.
        revision: the stored values that the new chunk changed, if any.
        klines: those of a chunk that was written now, for a look at them while they are in memory.
        may_pass: True if the same may succeed later: the error is one of the exchange, the network or the disk.
    """

    day: Day
    outcome: Outcome
    entry: Entry | None = None
    error: str | None = None
    revision: Revision | None = None
    klines: pa.Table | None = None
    may_pass: bool = False


@dataclass(frozen=True, slots=True)
class DayLoader:
    """Brings days of one dataset to disk.

    Attributes:
        store: the dataset's files. `dataset.json` must have the days' minutes as requested already.
        life: when the exchange has klines of the pair.
        settled_ms: klines that open before this instant (ms UTC) are final.
        row_group_rows: most rows of a Parquet row group in the chunks, None for one group a day.
    """

    store: DatasetStore
    life: Life
    settled_ms: int
    row_group_rows: int | None = None

    def load(self, fetched: FetchedDay) -> DayResult:
        """Check, encode and publish the day; why it fails is in the result."""
        try:
            encode = self.encoder(fetched)
        except MarketDataError as error:
            return self.result(fetched.task, Outcome.FAILED, error)
        return self.result(fetched.task, Outcome.OPEN) if encode is None else self.publish(fetched, encode)

    def encoder(self, fetched: FetchedDay) -> Callable[[], NewChunk] | None:
        """What checks and encodes the day's chunk, to be called in any thread; None if there is no kline to store yet.

        The returned function raises BadAnswer if a kline cannot be stored.

        Raises:
            StoreError: the chunk on disk cannot be read.
            Unexplained: the day has no kline, and nothing proves that it never had any.
        """
        day, dataset = fetched.task.day, self.store.dataset
        stored = self._kept(fetched)
        kept = stored.klines if stored else EMPTY
        klines = join(kept, fetched.klines)
        said = (*(stored.footer.flaws if stored else ()), *fetched.flaws)
        entry = stored.entry if stored else self.store.entries.get(day.key)
        absences = explained(dataset, klines, fetched, entry, self.life, self.settled_ms)
        if klines.num_rows == 0 and not any(absence.kind in _PROVEN for absence in absences):
            if problem := _unexplained(fetched.task, absences):
                raise Unexplained(problem)
            return None
        sources = set(fetched.sources)
        if stored and kept.num_rows:
            sources.update(stored.footer.source.split("+"))
        # Where open minutes follow the last kline, they mark the day as provisional by themselves.
        is_fresh = fetched.klines.num_rows > 0 and int(open_times(fetched.klines)[-1]) >= self.settled_ms
        if is_fresh and not any(absence.kind is Kind.OPEN for absence in absences):
            sources.add(LIVE)
        source = "+".join(sorted(sources))
        # Where nothing was added to checked klines, they need no second check.
        checked = fetched.checked and kept.num_rows == 0
        return partial(
            new_chunk,
            dataset,
            day,
            klines,
            absences,
            source=source,
            row_group_rows=self.row_group_rows,
            checked=checked,
            said=said,
            based_on=stored.entry.sha256 if stored else None,
        )

    def publish(self, fetched: FetchedDay, encoded: Callable[[], NewChunk]) -> DayResult:
        """Write the chunk that `encoded` gives, unless the one on disk is better.

        If another process has written the day since it was encoded, as live mode does each minute, it is encoded again.
        """
        task = fetched.task
        try:
            new, entry = self._published(fetched, encoded)
        except MarketDataError as error:
            return self.result(task, Outcome.FAILED, error)
        revision = self.store.revised.get(task.day.key)
        if problem := _unexplained(task, entry.absences):
            return self.result(task, Outcome.FAILED, problem, revision)
        return DayResult(task.day, Outcome.LOADED, entry, None, revision, new.chunk.klines)

    def _published(self, fetched: FetchedDay, encoded: Callable[[], NewChunk]) -> tuple[NewChunk, Entry]:
        encoders = chain([encoded], (self.encoder(fetched) or encoded for _ in repeat(None)))

        def publish() -> tuple[NewChunk, Entry]:
            new = next(encoders)()
            return new, self.store.publish(new)

        return until_published(publish)

    def result(
        self,
        task: Task,
        outcome: Outcome,
        error: MarketDataError | str | None = None,
        revision: Revision | None = None,
    ) -> DayResult:
        """The result of a day whose chunk, if it has one, stays as it is."""
        entry, reason = self.store.entries.get(task.day.key), str(error) if error else None
        return DayResult(task.day, outcome, entry, reason, revision, may_pass=isinstance(error, PASSING))

    def _kept(self, fetched: FetchedDay) -> Chunk | None:
        """The chunk on disk with the klines that the day keeps.

        Those are of minutes that were not requested now, of those that the exchange now has a row of that cannot be
        stored, as such a row takes no kline's place, and of those that it did not have yet and another process may have
        got meanwhile.
        """
        day, absences = fetched.task.day, fetched.absences
        absent = (gap for span in fetched.task.spans for gap in gaps(open_times(fetched.klines), span))
        not_there_yet = intersect(absent, [Span(self.settled_ms, max(day.end_ms, self.settled_ms))])
        malformed = [absence.span for absence in absences if absence.kind is Kind.MALFORMED]
        left = [*subtract([Span(day.start_ms, day.end_ms)], fetched.task.spans), *malformed, *not_there_yet]
        stored = self.store.trusted(day) if left else None
        if stored is None:
            return None
        pieces = [piece for span in merge(left) if (piece := cut(stored.klines, span)).num_rows]
        kept = pieces[0] if len(pieces) == 1 else pa.concat_tables([EMPTY, *pieces]).combine_chunks()
        return Chunk(stored.entry, kept, replace(stored.footer, flaws=within(stored.footer.flaws, left)))


def _unexplained(task: Task, absences: Iterable[Absence]) -> str | None:
    """Why the day failed though its source answered: requested minutes are absent without a reason."""
    unexplained = [
        absence for absence in absences if absence.kind is Kind.UNEXPLAINED and intersect([absence.span], task.spans)
    ]
    if not unexplained:
        return None
    evidence = "; ".join(unexplained[0].evidence) or "the exchange keeps giving some of them"
    minutes = total_minutes(absence.span for absence in unexplained)
    return (
        f"{count_text(minutes, 'minute')} absent from {iso(unexplained[0].span.start_ms)} on, and nothing proves that "
        f"there never were klines ({evidence}); try again, or a day later, when the archive has the day too"
    )
