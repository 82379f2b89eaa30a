"""The results of a benchmark: lines that compare ours with something else, each with its goal if it has one.

Belongs here: lines, verdicts, how numbers are written. Does not belong here: measuring, tables.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from benchmarks.processes import Run, Spread, peak


class Unit(StrEnum):
    """What the values of a line are."""

    SECONDS = "s"
    BYTES = "B"

    def show(self, value: float) -> str:
        """A value as people read it."""
        if self is Unit.SECONDS:
            if value < 0.01:
                return f"{value * 1000:.1f} ms"
            return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s" if value < 20 else f"{value:.1f} s"
        return f"{value / 1e6:.1f} MB" if value >= 1e6 else f"{value / 1e3:.1f} kB"


@dataclass(frozen=True, slots=True)
class Line:
    """One measurement. The goal is the most that the ratio may be or, with `absolute`, the most that ours may be."""

    what: str
    unit: Unit
    ours: Spread
    against: Spread | None = None
    against_what: str = ""
    ratio: Spread | None = None
    goal: float | None = None
    absolute: bool = False
    note: str = ""

    @property
    def met(self) -> bool | None:
        """True if the median keeps the goal; None without a goal."""
        if self.goal is None:
            return None
        judged = self.ours if self.absolute or self.ratio is None else self.ratio
        return judged.median <= self.goal

    def cells(self, *, judged: bool) -> list[str]:
        """What, ours, against, ratio, goal, verdict; without the verdict where sizes are too small for one."""
        against = f"{self.against.shown(self.unit.show)}, {self.against_what}" if self.against else self.against_what
        ratio = self.ratio.shown(lambda value: f"{value:.3f}") if self.ratio else "-"
        return [self.what, self.ours.shown(self.unit.show), against or "-", ratio, self._goal(), self._verdict(judged)]

    def _goal(self) -> str:
        if self.goal is None:
            return "-"
        return f"<= {self.unit.show(self.goal)}" if self.absolute else f"<= {self.goal:.2f}x"

    def _verdict(self, judged: bool) -> str:
        if self.met is None:
            return ""
        if not judged:
            return "too small to judge"
        return "met" if self.met else "NOT met"


def compared(
    what: str,
    value: Callable[[Run], float],
    ours: Sequence[Run],
    others: Sequence[Run],
    against: str,
    *,
    goal: float | None = None,
    absolute: bool = False,
    note: str = "",
) -> Line:
    """The line of runs that took turns: the ratio is that of each pair."""
    of_ours, of_others = tuple(map(value, ours)), tuple(map(value, others))
    ratio = Spread(tuple(our / other for our, other in zip(of_ours, of_others, strict=True)))
    unit = Unit.BYTES if value is peak else Unit.SECONDS
    return Line(what, unit, Spread(of_ours), Spread(of_others), against, ratio, goal, absolute, note)


HEAD = ("what", "ours", "against", "ratio", "goal", "")
