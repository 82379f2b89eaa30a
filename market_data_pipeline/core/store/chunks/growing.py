"""A chunk and klines of minutes that it lacks, such as those of the journal, as one.

Belongs here: which klines the chunk lacks, its klines and absences with them. Does not belong here: where these klines
come from (`store.journal`), writing the grown chunk (`loading.fold`).
"""

from dataclasses import replace

import numpy as np
import pyarrow as pa

from market_data_pipeline.core.klines.coverage import Span, merge, subtract
from market_data_pipeline.core.klines.days import MINUTE_MS, Day
from market_data_pipeline.core.klines.table import cut, join, open_times
from market_data_pipeline.core.store.chunks.encoding import Footer


def lacked(stored: pa.Table, klines: pa.Table, day: Day) -> pa.Table:
    """Those of the klines that are of the day and of minutes that the stored ones lack: what a chunk has counts."""
    within = cut(klines, Span(day.start_ms, day.end_ms))
    if within.num_rows == 0:
        return within
    is_new = ~np.isin(open_times(within), open_times(stored))
    return within if is_new.all() else within.take(pa.array(np.flatnonzero(is_new))).combine_chunks()


def grown(stored: pa.Table, footer: Footer, klines: pa.Table) -> tuple[pa.Table, Footer]:
    """The stored klines of a day with those that they lack, and the footer without the absences of these."""
    spans = merge(Span(int(time_ms), int(time_ms) + MINUTE_MS) for time_ms in open_times(klines))
    absences = tuple(
        replace(absence, span=span) for absence in footer.absences for span in subtract([absence.span], spans)
    )
    return join(stored, klines), replace(footer, absences=absences)
