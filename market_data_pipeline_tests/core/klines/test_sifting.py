"""Rows told apart: what can be stored, with its flaws, and what cannot; and what counts where two sources disagree."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market_data_pipeline.core.klines.checks import is_clean
from market_data_pipeline.core.klines.coverage import Absence, Kind, Span, gaps
from market_data_pipeline.core.klines.days import MINUTE_MS
from market_data_pipeline.core.klines.flaws import BadRow, Flaw, malformed
from market_data_pipeline.core.klines.parsing import Parsed
from market_data_pipeline.core.klines.sifting import NOTHING, Sifted, both, sift
from market_data_pipeline.core.klines.table import EMPTY, open_times
from market_data_pipeline_tests.core.fakes import at, changed, klines_of, span

HOUR = span("2024-03-05T03:00Z", "2024-03-05T04:00Z")
GOOD = klines_of(HOUR)
ROW, MINUTE = 7, at("2024-03-05T03:07Z")
THAT_MINUTE = Span(MINUTE, MINUTE + MINUTE_MS)
FLAWED = changed(GOOD, "trades", ROW, -1)
UNPRICED = changed(GOOD, "low", ROW, 0.0)
OFF_GRID = changed(GOOD, "open_time", ROW, MINUTE + 14_789)
ABSENT = klines_of(HOUR, without=[THAT_MINUTE])


def sifted(klines: pa.Table, source: str = "archive") -> Sifted:
    return sift(Parsed(klines), HOUR, source)


def test_good_rows_stay_as_they_are() -> None:
    assert sifted(GOOD) == Sifted(GOOD)
    assert sifted(EMPTY).clean


def test_a_flawed_row_is_kept_and_named() -> None:
    found = sifted(FLAWED)
    assert found.klines.equals(FLAWED)
    assert found.flaws == (Flaw(MINUTE, "trades is negative", -1, ("archive",)),)
    assert (found.doubtful, found.bad_rows, found.clean) == ([THAT_MINUTE], (), False)


@pytest.mark.parametrize(
    ("klines", "rule"),
    [
        (UNPRICED, "low is not a price"),
        (OFF_GRID, "open_time is not on the minute grid"),
        (changed(GOOD, "volume", ROW, float("inf")), "volume is not a number"),
    ],
)
def test_a_row_that_cannot_be_stored_is_left_out_and_quoted(klines: pa.Table, rule: str) -> None:
    found = sifted(klines)
    assert found.klines.equals(ABSENT)
    [row] = found.bad_rows
    assert (row.minute, row.rule, row.sources) == (MINUTE, rule, ("archive",))
    assert row.text.startswith(f"{row.open_time},")
    assert len(row.text.split(",")) == 12


def test_a_row_off_the_grid_beside_a_good_one_of_its_minute_costs_nothing() -> None:
    extra = changed(GOOD.slice(ROW, 1), "open_time", 0, MINUTE + 14_789)
    found = sifted(pa.concat_tables([GOOD.slice(0, ROW + 1), extra, GOOD.slice(ROW + 1)]))
    assert found.klines.equals(GOOD)
    assert malformed(found.bad_rows, gaps(open_times(found.klines), HOUR)) == []


@pytest.mark.parametrize(
    "klines",
    [
        pa.concat_tables([GOOD.slice(0, 8), GOOD.slice(7)]),
        pa.concat_tables([GOOD.slice(30), GOOD.slice(0, 30)]),
        klines_of(Span(HOUR.start_ms - MINUTE_MS, HOUR.end_ms)),
        klines_of(Span(HOUR.start_ms, HOUR.end_ms + MINUTE_MS)),
        changed(GOOD, "open_time", 59, HOUR.end_ms + 1),
        changed(GOOD, "open_time", 0, HOUR.start_ms - 1),
    ],
    ids=["doubled", "out of order", "before", "after", "off the grid after", "off the grid before"],
)
def test_an_answer_with_rows_where_none_belong_is_refused(klines: pa.Table) -> None:
    with pytest.raises(ValueError, match="outside the asked minutes|out of order or doubled"):
        sifted(klines)


@pytest.mark.parametrize(
    ("archive", "rest", "counts", "said"),
    [
        (GOOD, GOOD, GOOD, None),
        (FLAWED, GOOD, GOOD, None),
        (GOOD, FLAWED, GOOD, None),
        (FLAWED, FLAWED, FLAWED, ("archive", "rest")),
        (FLAWED, changed(GOOD, "trades", ROW, -2), changed(GOOD, "trades", ROW, -2), ("rest",)),
        (FLAWED, ABSENT, FLAWED, ("archive",)),
        (ABSENT, FLAWED, FLAWED, ("rest",)),
        (FLAWED, UNPRICED, FLAWED, ("archive",)),
        (UNPRICED, FLAWED, FLAWED, ("rest",)),
        (UNPRICED, GOOD, GOOD, None),
        (GOOD, OFF_GRID, GOOD, None),
        (UNPRICED, ABSENT, ABSENT, None),
        (OFF_GRID, UNPRICED, ABSENT, None),
    ],
)
def test_of_two_sources_the_better_row_counts(
    archive: pa.Table, rest: pa.Table, counts: pa.Table, said: tuple[str, ...] | None
) -> None:
    found = both(sifted(archive, "archive"), sifted(rest, "rest"))
    assert found.klines.equals(counts)
    assert [flaw.sources for flaw in found.flaws] == ([] if said is None else [said])
    assert bool(found.bad_rows) == (counts is ABSENT)
    assert found.clean <= is_clean(found.klines)


def test_the_same_row_of_both_is_one_line_of_evidence_and_different_ones_are_two() -> None:
    same = both(sifted(UNPRICED, "archive"), sifted(UNPRICED, "rest"))
    [absence] = malformed(same.bad_rows, [HOUR])
    assert (absence.kind, absence.span) == (Kind.MALFORMED, THAT_MINUTE)
    [line] = absence.evidence
    assert line.startswith(f"archive, rest: low is not a price: {MINUTE},")
    [absence] = malformed(both(sifted(UNPRICED, "archive"), sifted(OFF_GRID, "rest")).bad_rows, [HOUR])
    assert [line.partition(":")[0] for line in absence.evidence] == ["archive", "rest"]


def test_evidence_is_bounded_however_many_rows_there_are_and_however_long() -> None:
    rows = [BadRow(HOUR.start_ms + at * MINUTE_MS, "low is not a price", "9" * 10_000, ("rest",)) for at in range(60)]
    [whole] = malformed(rows, [HOUR])
    [line] = whole.evidence
    assert line.startswith("rest: 60 rows, first low is not a price: 999")
    assert len(line) < 300
    scattered = malformed(rows[::2], [HOUR])
    assert len(scattered) == 30
    assert sum(len(line) for absence in scattered for line in absence.evidence) < 6000


minutes = st.sets(st.integers(0, 11), max_size=6)


def made(present: set[int], flawed: set[int], bad: set[int], source: str, value: int) -> Sifted:
    """Klines of the minutes, some of them flawed, and rows that cannot be stored for others."""
    times = [HOUR.start_ms + minute * MINUTE_MS for minute in sorted((present | flawed) - bad)]
    klines = klines_of(HOUR).filter(np.isin(open_times(GOOD), times))
    for row, time in enumerate(open_times(klines).tolist()):
        if (time - HOUR.start_ms) // MINUTE_MS in flawed:
            klines = changed(klines, "trades", row, value)
    found = sift(Parsed(klines), HOUR, source)
    rows = tuple(BadRow(HOUR.start_ms + minute * MINUTE_MS, "x", "row", (source,)) for minute in sorted(bad))
    return found if not rows else replace(found, bad_rows=rows, clean=False)


@settings(max_examples=300, deadline=None)
@given(minutes, minutes, minutes, minutes, minutes, minutes, st.booleans())
def test_no_minute_is_lost_and_every_flaw_and_bad_row_is_named(p, f, b, p2, f2, b2, agree) -> None:
    one, other = made(p, f, b, "archive", -1), made(p2, f2, b2, "rest", -1 if agree else -2)
    found = both(one, other)
    has = {minute for minute in range(12)}
    times = {(time - HOUR.start_ms) // MINUTE_MS for time in open_times(found.klines).tolist()}
    good, good2 = p - f - b, p2 - f2 - b2
    assert times == ((p | f) - b) | ((p2 | f2) - b2)
    assert {(flaw.open_time - HOUR.start_ms) // MINUTE_MS for flaw in found.flaws} == (times - good - good2) & has
    assert {(row.minute - HOUR.start_ms) // MINUTE_MS for row in found.bad_rows} == (b | b2) - times
    assert (np.diff(open_times(found.klines)) > 0).all()
    assert found.clean <= is_clean(found.klines)


def test_nothing_beside_something_is_that() -> None:
    assert both(NOTHING, sifted(FLAWED)).klines.equals(FLAWED)
    assert both(sifted(FLAWED), NOTHING).flaws == sifted(FLAWED).flaws


def test_a_part_has_the_rows_of_its_minutes() -> None:
    found = both(sifted(FLAWED), NOTHING)
    assert found.part(THAT_MINUTE).flaws == found.flaws
    assert found.part(Span(HOUR.start_ms, MINUTE)).flaws == ()
    assert sifted(UNPRICED).part(THAT_MINUTE).bad_rows == sifted(UNPRICED).bad_rows
    assert isinstance(malformed(sifted(UNPRICED).bad_rows, [THAT_MINUTE])[0], Absence)
