"""Telling the rows of an answer or a file apart: those that can be stored, with their flaws, and those that cannot.

Belongs here: what one source has of a span, and what two sources that disagree have of it. Does not belong here: the
rules themselves (`checks`), asking a source (`sources`).
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from market_data_pipeline.core.klines.checks import flaws, is_clean, unstorable
from market_data_pipeline.core.klines.coverage import Span, merge
from market_data_pipeline.core.klines.days import MINUTE_MS
from market_data_pipeline.core.klines.flaws import BadRow, Flaw, merged, named_by, within
from market_data_pipeline.core.klines.parsing import Parsed
from market_data_pipeline.core.klines.table import EMPTY, FIELDS, column, common_minutes, cut, join, open_times


@dataclass(frozen=True, slots=True)
class Sifted:
    """What a source has of a span.

    Attributes:
        klines: the rows that can be stored, sorted.
        flaws: of these klines, as far as they show without the minutes around the span.
        bad_rows: the rows that cannot be stored.
        clean: True if the klines break no rule, whatever comes before and after (`checks.is_clean`).
    """

    klines: pa.Table
    flaws: tuple[Flaw, ...] = ()
    bad_rows: tuple[BadRow, ...] = ()
    clean: bool = True

    def part(self, span: Span) -> "Sifted":
        """The rows of the minutes of the span."""
        klines = cut(self.klines, span)
        if self.clean:
            return Sifted(klines)
        bad_rows = tuple(row for row in self.bad_rows if span.start_ms <= row.minute < span.end_ms)
        return Sifted(klines, within(self.flaws, [span]), bad_rows, clean=False)

    @property
    def doubtful(self) -> list[Span]:
        """The minutes with a flaw."""
        return merge(Span(flaw.open_time, flaw.open_time + MINUTE_MS) for flaw in self.flaws)


NOTHING = Sifted(EMPTY)
"""No rows."""


def sift(parsed: Parsed, within: Span, source: str) -> Sifted:
    """Tell the rows of a source apart.

    Raises:
        ValueError: rows are outside the span, out of order, or there twice; such an answer is not to be used at all.
    """
    klines, bad_rows = parsed.klines, parsed.unreadable
    clean = not bad_rows and is_clean(klines)
    if not clean:
        klines, without_place = _storable(klines)
        bad_rows = merged(replace(row, sources=(source,)) for row in (*bad_rows, *without_place))
        if (np.diff(open_times(klines)) <= 0).any():
            raise ValueError("klines out of order or doubled")
    times = open_times(klines)
    opened = [*(row.open_time for row in bad_rows), *([int(times[0]), int(times[-1])] if len(times) else [])]
    if opened and (min(opened) < within.start_ms or max(opened) >= within.end_ms):
        raise ValueError("klines outside the asked minutes")
    if clean:
        return Sifted(klines)
    return Sifted(klines, tuple(flaws(klines, sources=(source,), followed=True)), bad_rows, clean=False)


def both(one: Sifted, other: Sifted) -> Sifted:
    """What two sources have of the same minutes. A good row counts, then a flawed one; of two alike the `other`'s."""
    if one.clean and other.clean:
        return Sifted(join(one.klines, other.klines))
    doubted, of_one, of_other = ({flaw.open_time for flaw in one.flaws}, _minutes(one.klines), _minutes(other.klines))
    worse = {flaw.open_time for flaw in other.flaws if flaw.open_time in of_one - doubted}
    klines = join(one.klines, _without(other.klines, worse))
    equal = _equal_minutes(one.klines, other.klines)
    names_of_one = named_by(name for flaw in one.flaws for name in flaw.sources)
    found = [flaw for flaw in one.flaws if flaw.open_time not in of_other]
    for flaw in other.flaws:
        if flaw.open_time not in worse:
            sources = named_by((*names_of_one, *flaw.sources)) if flaw.open_time in equal else flaw.sources
            found.append(replace(flaw, sources=sources))
    present = _minutes(klines)
    bad_rows = merged(row for row in (*one.bad_rows, *other.bad_rows) if row.minute not in present)
    return Sifted(klines, tuple(sorted(found, key=lambda flaw: (flaw.open_time, flaw.rule))), bad_rows, clean=False)


def _storable(klines: pa.Table) -> tuple[pa.Table, list[BadRow]]:
    """The klines that can be stored, and the others as rows; a row that breaks several rules has the first of them."""
    rules: dict[int, str] = {}
    for rule, rows in unstorable(klines).items():
        for at in np.flatnonzero(rows).tolist():
            rules.setdefault(at, rule)
    if not rules:
        return klines, []
    at_rows = sorted(rules)
    values = list(zip(*(column(klines, name)[at_rows].tolist() for name in FIELDS), strict=True))
    bad = [BadRow(row[0], rules[at], ",".join(map(repr, row))) for at, row in zip(at_rows, values, strict=True)]
    return _rows(klines, ~np.isin(np.arange(klines.num_rows), at_rows)), bad


def _without(klines: pa.Table, minutes: set[int]) -> pa.Table:
    return _rows(klines, ~np.isin(open_times(klines), list(minutes))) if minutes else klines


def _rows(klines: pa.Table, kept: npt.NDArray[np.bool_]) -> pa.Table:
    return klines.take(pa.array(np.flatnonzero(kept))).combine_chunks()


def _minutes(klines: pa.Table) -> set[int]:
    return set(open_times(klines).tolist())


def _equal_minutes(one: pa.Table, other: pa.Table) -> set[int]:
    """The minutes of which both have the same row, to the last bit."""
    times, _, differs = common_minutes(one, other)
    return set(times[~differs.any(axis=1)].tolist())
