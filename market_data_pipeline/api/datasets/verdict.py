"""The verdict on a dataset: whether anything is wrong with it, from its numbers and the last results of its checks.

Belongs here: the states and their order, and the reasons in words. Does not belong here: where the facts come from
(`summaries`, `proofs`), HTML.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from market_data_pipeline.api.datasets.kept import Summary
from market_data_pipeline.api.datasets.proofs import Proof
from market_data_pipeline.api.datasets.summaries import Known
from market_data_pipeline.core.klines.coverage import Kind
from market_data_pipeline.core.klines.days import MINUTE_MS
from market_data_pipeline.core.live.freshness import ALLOWED_MINUTES
from market_data_pipeline.core.text import age_text, count_text


class State(StrEnum):
    """How a dataset is, the worst first."""

    FAILED = "failed"
    WARNING = "warning"
    UNKNOWN = "unknown"
    NOT_PROVEN = "not-proven"
    GOOD = "good"

    @property
    def words(self) -> str:
        """The state as text on a page."""
        return self.value.replace("-", " ")

    @property
    def meaning(self) -> str:
        """One line that explains the state."""
        return _MEANINGS[self]


_MEANINGS = {
    State.FAILED: "a check failed, or minutes are unexplained",
    State.WARNING: "a check warns, a live dataset is late, or requested days have no chunk",
    State.UNKNOWN: "the dataset is being read, or Dagster has not answered",
    State.NOT_PROVEN: "Dagster has no result of some check",
    State.GOOD: "all checks passed when they last ran",
}
_ORDER = {state: rank for rank, state in enumerate(State)}


@dataclass(frozen=True, slots=True)
class Verdict:
    """The state of a dataset, and what is wrong with it in words, the worst first.

    `lag` is the number of closed minutes after the newest kline, None without klines. `has_changed` tells that the
    manifest is newer than the proof.
    """

    state: State
    reasons: tuple[str, ...]
    proof: Proof | None
    lag: int | None
    is_late: bool
    has_changed: bool

    @property
    def rank(self) -> tuple[int, int]:
        """The place in a list that begins with the worst."""
        return _ORDER[self.state], -len(self.reasons)


def verdict(known: Known, proof: Proof | None, now_ms: int) -> Verdict:
    """The verdict on a dataset; `proof` is None if Dagster has not answered about it."""
    summary = known.summary
    lag = lag_minutes(summary.since_ms if summary else None, now_ms)
    is_late = known.dataset.live and summary is not None and (lag is None or lag > ALLOWED_MINUTES)
    wrong, odd = list(_wrong(summary, proof)), list(_odd(summary, proof))
    if is_late:
        odd.append("live, but " + ("nothing is stored" if lag is None else f"{age_text(lag)} behind"))
    if wrong or odd:
        state = State.FAILED if wrong else State.WARNING
    elif summary is None or proof is None:
        state = State.UNKNOWN
    else:
        state = State.NOT_PROVEN if proof.not_evaluated else State.GOOD
    changed = bool(summary and proof and proof.at_s and summary.changed_at_s > proof.at_s)
    return Verdict(state, (*wrong, *odd), proof, lag, is_late, changed and not known.dataset.live)


def lag_minutes(since_ms: int | None, now_ms: int) -> int | None:
    """The closed minutes from `since_ms`, the first that is not stored (ms UTC), to now; None if nothing is stored."""
    return None if since_ms is None else max(0, (now_ms // MINUTE_MS * MINUTE_MS - since_ms) // MINUTE_MS)


def _wrong(summary: Summary | None, proof: Proof | None) -> Iterator[str]:
    if summary and (minutes := summary.status.absent_minutes.get(Kind.UNEXPLAINED, 0)):
        yield f"{minutes:,} min unexplained"
    for result in proof.failed if proof else ():
        if result.is_error:
            yield f"{result.check}: {result.text or 'failed'}"


def _odd(summary: Summary | None, proof: Proof | None) -> Iterator[str]:
    if summary and summary.missing_days:
        yield f"no chunk for {count_text(summary.missing_days, 'requested day')}"
    if summary:
        yield from summary.status.warnings
    for result in proof.failed if proof else ():
        if not result.is_error:
            yield f"{result.check}: {result.text or 'warns'}"
