"""Flaws, and rows that cannot be stored: what the exchange has though it breaks a rule.

Belongs here: the two values, and the absences of minutes that have nothing but such a row. Does not belong here: the
rules (`checks`), telling such rows from good ones (`sifting`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from market_data_pipeline.core.klines.coverage import Absence, Kind, Span, intersect, merge
from market_data_pipeline.core.klines.days import MINUTE_MS, iso
from market_data_pipeline.core.text import count_text

_MOST_ROW_CHARACTERS = 200
# Runs of minutes in a day whose rows are quoted in full; a day can have 720 runs.
_MOST_QUOTED = 20


@dataclass(frozen=True, slots=True)
class Flaw:
    """A value of a stored kline that breaks a rule of `checks`, kept as the exchange has it.

    Attributes:
        open_time: the kline's, ms UTC.
        rule: what is wrong; its first word is the name of the field.
        value: that of the field.
        sources: the names of the sources that have this kline, sorted.
    """

    open_time: int
    rule: str
    value: float | int
    sources: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """One line: `2024-05-02T03:00Z taker_base_volume is above volume: 69.44682618 (archive, rest)`."""
        named = f" ({', '.join(self.sources)})" if self.sources else ""
        return f"{iso(self.open_time)} {self.rule}: {self.value!r}{named}"


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be stored: off the minute grid, with a value that is no number, or without a price.

    Attributes:
        open_time: the row's, ms UTC, which may be off the grid.
        rule: what is wrong.
        text: the row.
        sources: the names of the sources that have this row, sorted.
    """

    open_time: int
    rule: str
    text: str
    sources: tuple[str, ...] = ()

    @property
    def minute(self) -> int:
        """The minute that the row opens in, ms UTC."""
        return self.open_time // MINUTE_MS * MINUTE_MS


def named_by(sources: Iterable[str]) -> tuple[str, ...]:
    """The names of sources in the one order in which flaws and rows have them."""
    return tuple(sorted(set(sources)))


def within(flaws: Iterable[Flaw], spans: Sequence[Span]) -> tuple[Flaw, ...]:
    """The flaws of the minutes of the spans."""
    return tuple(flaw for flaw in flaws if any(span.start_ms <= flaw.open_time < span.end_ms for span in spans))


def attested(known: tuple[Flaw, ...], found: tuple[Flaw, ...]) -> tuple[Flaw, ...]:
    """The known flaws if they are those that were found, though fewer sources were asked now; else those found."""
    if len(known) != len(found):
        return found
    pairs = zip(known, found, strict=True)
    same = (replace(new, sources=old.sources) == old and set(new.sources) <= set(old.sources) for old, new in pairs)
    return known if all(same) else found


def merged(rows: Iterable[BadRow]) -> tuple[BadRow, ...]:
    """The rows by time; one that several sources have is one row with their names."""
    found: dict[tuple[int, str, str], BadRow] = {}
    for row in rows:
        key = (row.open_time, row.rule, row.text)
        known = found.get(key, row)
        found[key] = replace(row, sources=named_by((*known.sources, *row.sources)))
    return tuple(sorted(found.values(), key=lambda row: (row.open_time, row.sources)))


def malformed(rows: Iterable[BadRow], absent: Iterable[Span]) -> list[Absence]:
    """The absent minutes that have such a row and no other, as absences with the first row of each run as evidence."""
    ordered = merged(rows)
    minutes = merge(Span(row.minute, row.minute + MINUTE_MS) for row in ordered)
    absences = []
    for number, span in enumerate(intersect(minutes, absent)):
        inside = [row for row in ordered if span.start_ms <= row.minute < span.end_ms]
        absences.append(Absence(Kind.MALFORMED, span, _evidence(inside, quoted=number < _MOST_QUOTED)))
    return absences


def _evidence(rows: Sequence[BadRow], *, quoted: bool) -> tuple[str, ...]:
    """A line for each group of sources that have the same rows."""
    lines = []
    for sources in dict.fromkeys(row.sources for row in rows):
        same = [row for row in rows if row.sources == sources]
        counted = f"{count_text(len(same), 'row')}, first " if len(same) > 1 else ""
        row = f": {same[0].text[:_MOST_ROW_CHARACTERS]}" if quoted else ""
        lines.append(f"{', '.join(sources)}: {counted}{same[0].rule}{row}")
    return tuple(lines)
