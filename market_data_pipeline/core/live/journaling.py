"""The journal in live mode: what a tick appends to it, when its klines are folded into chunks, what a kill left in it.

Belongs here: one append for all datasets whose klines have arrived, the turns in which datasets are folded, taking over
from processes that have ended. Does not belong here: files (`store.journal`), what may be in the journal (`open_day`).

Folding rewrites a chunk, which takes 3 ms and up to 70 kB. So the datasets take turns, each minute as many as it takes
for all to be folded in fourteen minutes: a chunk on disk is never older than a quarter of an hour.
"""

import logging
from collections.abc import Iterable, Sequence

from market_data_pipeline.core.errors import MarketDataError, StoreError
from market_data_pipeline.core.klines.dataset import Dataset, Market
from market_data_pipeline.core.klines.days import MINUTE_MS, day_at
from market_data_pipeline.core.klines.table import Bits, open_times
from market_data_pipeline.core.live.dataset import LiveDataset, Update
from market_data_pipeline.core.live.failures import Failures
from market_data_pipeline.core.live.newest import Newest
from market_data_pipeline.core.loading.fold import fold
from market_data_pipeline.core.store.journal.segments import Owner, by_time
from market_data_pipeline.core.store.journal.writing import JournalWriter
from market_data_pipeline.core.store.layout import CHUNKS, market_journal
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.core.store.storage.places import storage_of

_log = logging.getLogger(__name__)

FOLDED_EVERY_MINUTES = 14
"""In so many minutes all datasets have had their turn."""


class MarketJournal:
    """The journal of a market, as one process uses it."""

    def __init__(self, store: Store, market: Market) -> None:
        """Touch no file."""
        self._store, self._market = store, market
        self._writer = JournalWriter(market_journal(store.root, market))
        self._turns = 0.0

    def note_folded(self, owner: Owner) -> None:
        """Note that all klines of a dataset are in its chunk."""
        self._writer.note_folded(owner)

    def store(self, grown: Sequence[tuple[LiveDataset, Newest, Bits]]) -> list[Update]:
        """Append the new klines of these datasets; return their updates.

        Raises:
            OSError: nothing was stored.
        """
        klines = [(Owner.of(live.store.dataset), rows) for live, _, rows in grown if len(rows)]
        if klines:
            self._writer.append(klines)
        return [live.note_journaled(newest, rows) for live, newest, rows in grown]

    def fold_due(self, followed: Iterable[LiveDataset], edge_ms: int) -> None:
        """Fold the datasets whose turn it is, and those whose day is over with the next minute.

        What fails is logged and tried again at the next tick, whose update says so.
        """
        every = list(followed)
        pending = sorted((live for live in every if live.pending_minutes), key=lambda live: -live.pending_minutes)
        self._turns = min(self._turns, 1) + len(every) / FOLDED_EVERY_MINUTES
        turns = int(self._turns)
        self._turns -= turns
        failures = Failures()
        for turn, live in enumerate(pending):
            day = live.pending_day
            ends = day is not None and day.end_ms <= edge_ms + MINUTE_MS
            if turn < turns or ends or live.pending_minutes >= FOLDED_EVERY_MINUTES:
                try:
                    live.fold()
                except (MarketDataError, OSError) as error:
                    failures.note(live.name, str(error))
        failures.log()

    def take_over(self) -> None:
        """Bring what processes that have ended left in the journal into its chunks; what fails is logged and stays."""
        try:
            self._writer.take_over(self._fold_left)
        except (MarketDataError, OSError) as error:
            _log.warning("the journal of %s was not taken over: %s", self._market, " ".join(str(error).split()))

    def close(self) -> None:
        """Release the journal."""
        self._writer.close()

    def _fold_left(self, owner: Owner, rows: list[Bits]) -> bool:
        """Whether the chunks of the dataset have all of these klines, after they were folded."""
        klines = by_time(rows)
        try:
            dataset = self._store.find(self._market, owner.pair)
            if dataset is None or Owner.of(dataset) != owner:
                return self._is_deleted(owner, dataset)
            files = self._store.open(dataset)
            days = {day_at(dataset.zone, int(time_ms)).key for time_ms in open_times(klines)}
            for day in sorted(days):
                # A day that is complete was loaded whole after its end, from the exchange.
                if day not in files.entries or not files.entries[day].complete:
                    fold(files, dataset.day(day), klines)
            files.flush()
        except (MarketDataError, OSError) as error:
            _log.warning(
                "klines of %s %s stay in the journal of a process that has ended: %s",
                self._market,
                owner.pair,
                " ".join(str(error).split()),
            )
            return False
        return True

    def _is_deleted(self, owner: Owner, instead: Dataset | None) -> bool:
        """True if the dataset was deleted, or another one of the pair was made in its place: no chunk takes its klines.

        Raises:
            StoreError: it has chunks, and only its `dataset.json` is gone, which may come back.
        """
        folder = self._store.folder(self._market, owner.pair)
        if instead is None and storage_of(folder).names(folder / CHUNKS):
            raise StoreError("it has chunks and no dataset.json")
        _log.warning(
            "the journal's last klines of %s %s are given up, as the dataset was deleted", self._market, owner.pair
        )
        return True
