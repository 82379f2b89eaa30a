"""A line of the examination.

Belongs here: the value, and how an error becomes one. Does not belong here: what is looked at, secrets (`secrets`).
"""

from dataclasses import dataclass

from market_data_pipeline.core.text import one_line, refusal_of_disk

_MOST_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class Line:
    """What was seen of one thing. It is wrong if there is a cure, and whatever is wrong has one.

    `cause` is what an error of it has in common with others, such as a bucket that does not answer; empty for no error.
    """

    section: str
    name: str
    detail: str
    cure: str = ""
    cause: str = ""

    @property
    def ok(self) -> bool:
        """True if nothing needs care."""
        return not self.cure


def of_error(section: str, name: str, error: Exception, cure: str) -> Line:
    """The line of an error: what is behind the first semicolon of its text is its cure, else `cure` is."""
    of_disk = error if isinstance(error, OSError) else error.__cause__
    said = refusal_of_disk(error) if isinstance(error, OSError) else str(error)
    detail, _, own_cure = (one_line(said, _MOST_CHARACTERS) or type(error).__name__).partition("; ")
    strerror = of_disk.strerror if isinstance(of_disk, OSError) else None
    return Line(section, name, detail, own_cure or cure, cause=(strerror or detail).partition("; ")[0])
