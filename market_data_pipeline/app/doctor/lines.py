"""A line of the examination.

Belongs here: the value, and how an error becomes one. Does not belong here: what is looked at, secrets (`secrets`).
"""

from dataclasses import dataclass

from market_data_pipeline.core.text import one_line

_MOST_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class Line:
    """What was seen of one thing. It is wrong if there is a cure, and whatever is wrong has one."""

    section: str
    name: str
    detail: str
    cure: str = ""

    @property
    def ok(self) -> bool:
        """True if nothing needs care."""
        return not self.cure


def of_error(section: str, name: str, error: Exception, cure: str) -> Line:
    """The line of an error: what is behind the first semicolon of its text is its cure, else `cure` is."""
    text = one_line(str(error), _MOST_CHARACTERS) or type(error).__name__
    detail, _, own_cure = text.partition("; ")
    return Line(section, name, detail, own_cure or cure)
