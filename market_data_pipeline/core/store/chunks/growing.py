"""A chunk and klines of minutes that it lacks, such as those of the journal, as one.

Belongs here: which klines the chunk lacks, the chunk with them. Does not belong here: where these klines come from
(`store.journal`), writing the grown chunk (`loading.fold`, `publishing`).
"""

from dataclasses import replace

import numpy as np
import pyarrow as pa

from market_data_pipeline.core.klines.coverage import Span, merge, subtract
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.klines.days import MINUTE_MS, Day
from market_data_pipeline.core.klines.table import cut, join, open_times
from market_data_pipeline.core.store.chunks.encoding import Footer
from market_data_pipeline.core.store.chunks.files import Chunk, NewChunk, new_chunk


def lacked(stored: pa.Table, klines: pa.Table, day: Day) -> pa.Table:
    """Those of the klines that are of the day and of minutes that the stored ones lack: what a chunk has counts."""
    within = cut(klines, Span(day.start_ms, day.end_ms))
    if within.num_rows == 0:
        return within
    is_new = ~np.isin(open_times(within), open_times(stored))
    return within if is_new.all() else within.take(pa.array(np.flatnonzero(is_new))).combine_chunks()


def grown_chunk(dataset: Dataset, day: Day, stored: Chunk, klines: pa.Table, sources: str) -> NewChunk | None:
    """The day's chunk with those of the klines that it lacks, which come from these sources; None if it lacks none.

    Raises:
        BadAnswer: the klines cannot be stored.
    """
    lacking = lacked(stored.klines, klines, day)
    if lacking.num_rows == 0:
        return None
    joined, footer = grown(stored.klines, stored.footer, lacking)
    source = "+".join(sorted({*footer.source.split("+"), *sources.split("+")}))
    said, based_on = footer.flaws, stored.entry.sha256
    return new_chunk(dataset, day, joined, footer.absences, source=source, said=said, based_on=based_on)


def grown(stored: pa.Table, footer: Footer, klines: pa.Table) -> tuple[pa.Table, Footer]:
    """The stored klines of a day with those that they lack, and the footer without the absences of these."""
    spans = merge(Span(int(time_ms), int(time_ms) + MINUTE_MS) for time_ms in open_times(klines))
    absences = tuple(
        replace(absence, span=span) for absence in footer.absences for span in subtract([absence.span], spans)
    )
    return join(stored, klines), replace(footer, absences=absences)
