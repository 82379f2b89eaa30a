"""Which of the datasets a page shows, and in which order: search, filters, sorting and pages, from the query of a URL.

Belongs here: choosing. Does not belong here: the verdict on a dataset (`datasets.verdict`), HTML.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any

from fastapi import Query

from market_data_pipeline.api.datasets.summaries import Known
from market_data_pipeline.api.datasets.verdict import State, Verdict
from market_data_pipeline.core.klines.pair import token_of
from market_data_pipeline.validators import of_form

MOST_SEARCHED = 80


@dataclass(frozen=True, slots=True)
class Row:
    """A dataset and the verdict on it."""

    known: Known
    verdict: Verdict


class Sort(StrEnum):
    """What the datasets can be sorted by, with a `-` before it from the other end."""

    NAME = "name"
    MARKET = "market"
    QUOTE = "quote"
    HEALTH = "health"
    PROOF = "proof"
    FRESHNESS = "freshness"
    DAYS = "days"
    KLINES = "klines"
    SIZE = "size"


_KEYS: Mapping[Sort, Callable[[Row], Any]] = {
    Sort.NAME: lambda row: row.known.dataset.pair,
    Sort.MARKET: lambda row: row.known.dataset.market.value,
    Sort.QUOTE: lambda row: row.known.dataset.pair.partition("/")[2],
    Sort.HEALTH: lambda row: row.verdict.rank,
    Sort.PROOF: lambda row: row.verdict.proof and row.verdict.proof.at_s,
    Sort.FRESHNESS: lambda row: row.verdict.lag,
    Sort.DAYS: lambda row: row.known.summary and row.known.summary.status.chunks,
    Sort.KLINES: lambda row: row.known.summary and row.known.summary.status.rows,
    Sort.SIZE: lambda row: row.known.summary and row.known.summary.status.size_bytes,
}

Searched = Annotated[
    str, Query(max_length=MOST_SEARCHED, description="words that the pair, the zone or the market has to contain")
]
StateGiven = Annotated[State | None, Query(description="only the datasets in this state")]
_SORT = f"^-?({'|'.join(Sort)})$"
SortGiven = Annotated[
    str,
    of_form(_SORT, f"nothing to sort by; give {', '.join(Sort)}, or one with - before it"),
    Query(
        json_schema_extra={"pattern": _SORT},
        description=f"what to sort by: {', '.join(Sort)}; with - before it from the other end",
    ),
]


@dataclass(frozen=True, slots=True)
class Choice:
    """What was asked for. `query` makes the same request with other values."""

    q: str = ""
    market: str | None = None
    state: State | None = None
    sort: str = Sort.NAME.value

    def query(self, **other: Any) -> dict[str, Any]:
        """The values of the URL that are not the default, with these in place of theirs."""
        asked = {"q": self.q, "market": self.market, "state": self.state and self.state.value, "sort": self.sort}
        asked |= other
        default = {"sort": Sort.NAME.value, "page": 1}
        return {name: value for name, value in asked.items() if value and value != default.get(name)}


@dataclass(frozen=True, slots=True)
class Chosen:
    """A page of rows. `counts` are the datasets by state that the search found, whatever state was asked for."""

    rows: Sequence[Row]
    total: int
    page: int
    pages: int
    counts: Mapping[State, int] = field(default_factory=dict)


def choose(rows: Iterable[Row], choice: Choice, *, page: int, rows_a_page: int) -> Chosen:
    """The rows of a page. A page after the last is empty."""
    found = [row for row in rows if _matches(row, choice.q)]
    counts = Counter(row.verdict.state for row in found)
    if choice.state:
        found = [row for row in found if row.verdict.state is choice.state]
    found = _sorted(found, choice.sort)
    shown = found[(page - 1) * rows_a_page : page * rows_a_page]
    return Chosen(shown, len(found), page, max(1, -(-len(found) // rows_a_page)), counts)


def _matches(row: Row, searched: str) -> bool:
    dataset = row.known.dataset
    text = f"{dataset.pair} {dataset.token} {dataset.market} {dataset.zone.name}".casefold()
    # A pair may be searched for in any spelling that a person would write.
    return all(word in text or token_of(word) in text for word in searched.casefold().split())


def _sorted(rows: list[Row], sort: str) -> list[Row]:
    """The rows in this order; those without the value come last in both directions."""
    key = _KEYS[Sort(sort.removeprefix("-"))]
    rows = sorted(rows, key=lambda row: (row.known.dataset.pair, row.known.dataset.market.value))
    lacking = [row for row in rows if key(row) is None]
    having = sorted((row for row in rows if key(row) is not None), key=key, reverse=sort.startswith("-"))
    return having + lacking
