"""The rows in an answer of klines, and whether they are believed.

Belongs here: reading an answer, rows that break a rule and have to come twice. Does not belong here: the rules
(`klines.checks`), requests (`rest.klines`).
"""

from typing import TypeAlias

from market_data_pipeline.core.klines.parsing import Parsed, from_json
from market_data_pipeline.core.klines.sifting import Sifted
from market_data_pipeline.core.klines.table import open_times
from market_data_pipeline.core.sources.rest.answers import is_plausible_ms
from market_data_pipeline.core.sources.rest.faults import WrongAnswer
from market_data_pipeline.core.text import count_text

_MOST_REMEMBERED = 20_000

_Row: TypeAlias = tuple[int, str, float | int | str]


class OddRows:
    """The rows that broke a rule in an earlier answer: the same row in another one is what the exchange has."""

    def __init__(self) -> None:
        """Know of none."""
        self._sent_before: set[_Row] = set()

    def refuse_what_comes_once(self, found: Sifted) -> None:
        """Note the rows that break a rule.

        Raises:
            WrongAnswer: one of them was in no earlier answer.
        """
        if found.clean:
            return
        rows: set[_Row] = {(flaw.open_time, flaw.rule, flaw.value) for flaw in found.flaws}
        rows |= {(row.open_time, row.rule, row.text) for row in found.bad_rows}
        if new := rows - self._sent_before:
            if len(self._sent_before) > _MOST_REMEMBERED:
                self._sent_before.clear()
            self._sent_before |= rows
            _, rule, value = min(new)
            raise WrongAnswer(f"{count_text(len(rows), 'row')} to ask for a second time ({rule}: {str(value)[:80]})")


def rows_of(body: bytes, limit: int) -> Parsed:
    """The rows of a body, at most `limit`.

    Raises:
        WrongAnswer: it has something else.
    """
    if not body.lstrip().startswith(b"["):
        raise WrongAnswer(f"not a list of klines but {' '.join(body[:80].decode('utf-8', 'replace').split())!r}")
    try:
        rows = from_json(body)
    except ValueError as error:
        raise WrongAnswer(f"rows that are not klines ({str(error)[:80]})") from error
    if (number := rows.klines.num_rows + len(rows.unreadable)) > limit:
        raise WrongAnswer(f"{number} klines, though {limit} were requested")
    times = open_times(rows.klines)
    if len(times) and not all(is_plausible_ms(int(time_ms)) for time_ms in times[[0, -1]]):
        raise WrongAnswer("klines of a time at which there was no exchange")
    return rows
