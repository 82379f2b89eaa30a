"""A load of many pairs as runs of Dagster's queue, a dataset and a year each: submit them, and wait for their end.

Belongs here: which parts are submitted, waiting, the report. Does not belong here: dividing a load (`parts`), runs
(`instance.queue`), a load by this process (`bulk`).
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from market_data_pipeline.app.backfill import BackfillRequest
from market_data_pipeline.app.market.pairs import load_catalog
from market_data_pipeline.app.market.parts import Divided, Piece, divide
from market_data_pipeline.core.errors import Unavailable
from market_data_pipeline.core.text import count_text
from market_data_pipeline.instance.composition import store_of
from market_data_pipeline.instance.home import INSTANCE_FILE, prepare_home
from market_data_pipeline.instance.queue.parts import Part, State
from market_data_pipeline.settings import Settings

if TYPE_CHECKING:
    from dagster import DagsterInstance

_LOOK_EVERY_S, _REST_TIMES = 2.0, 10
# A daemon tells every 30 s that it lives.
_SILENT_S = 120.0


@dataclass(slots=True)
class FannedOut:
    """A load as runs.

    Attributes:
        submitted, underway, blocked: parts, see `instance.queue.submitting.Submitted`.
        stored: how many parts need no run.
        refused: pairs that cannot be loaded, each with the reason.
        warnings: one line each.
        states: how many of the parts that have a run are in which state now.
        failed: after the wait, what did not end well, each with its days and the reason.
        waited: whether the end of all runs was waited for.
    """

    submitted: tuple[Part, ...] = ()
    underway: tuple[Part, ...] = ()
    blocked: tuple[Part, ...] = ()
    stored: int = 0
    refused: tuple[tuple[str, str], ...] = ()
    warnings: list[str] = field(default_factory=list)
    states: dict[State, int] = field(default_factory=dict)
    failed: list[tuple[Part, str]] = field(default_factory=list)
    waited: bool = False

    @property
    def followed(self) -> tuple[Part, ...]:
        """The parts that have a run."""
        return self.submitted + self.underway

    @property
    def ok(self) -> bool:
        """True if nothing is wrong yet."""
        return not (self.refused or self.failed)


def fan_out(
    settings: Settings,
    requests: Sequence[BackfillRequest],
    *,
    universe: str | None = None,
    wait: bool = False,
    on_submitted: Callable[[int, int], None] = lambda done, total: None,
    on_states: Callable[[dict[State, int]], None] = lambda states: None,
) -> FannedOut:
    """Submit a run for each dataset and year that lacks something, unless one is underway; loads nothing itself.

    Args:
        settings: the settings.
        requests: one for each dataset; they differ in nothing but the target.
        universe: the named choice that they are of.
        wait: wait until all runs have ended, those that were underway before as well.
        on_submitted: called with how many parts were submitted, and of how many.
        on_states: called now and then during the wait with how many runs are in which state.

    Raises:
        UsageError: a request is wrong, or the instance has no queue; nothing was submitted.
        SourceUnavailable: there is no catalog, and neither the exchange nor its archive answers.
        StoreUnavailable: the data root, the home or the database of Dagster cannot be used.
        Unavailable: with `wait`: no Dagster daemon takes runs from the queue.
    """
    for request in requests:
        request.wanted()
    store_of(settings).require_writable()
    prepare_home(settings.home)
    divided = divide(settings, requests, load_catalog(settings, requests[0].target.market), universe=universe)

    from market_data_pipeline.defs.location import jobs_of  # takes seconds
    from market_data_pipeline.defs.resources import tools_of
    from market_data_pipeline.instance import runs
    from market_data_pipeline.instance.queue.submitting import require_queue, submit

    with runs.open_instance(settings.home) as instance:
        require_queue(instance)
        parts = _needed(instance, divided)
        done = 0

        def on_part() -> None:
            nonlocal done
            done += 1
            on_submitted(done, len(parts))

        submitted = submit(instance, jobs_of(tools_of(settings)), parts, this_year=divided.this_year, on_part=on_part)
        fanned = FannedOut(
            submitted.new,
            submitted.underway,
            submitted.blocked,
            stored=len(divided.pieces) - len(parts),
            refused=divided.refused,
            warnings=_warnings(settings, instance, submitted.blocked),
        )
        if wait:
            _wait(instance, fanned, on_states)
    return fanned


def run_states(settings: Settings) -> dict[str, dict[State, int]]:
    """How many of the parts of all such loads are in which state, by market.

    Raises:
        StoreUnavailable: the home or the database of Dagster cannot be used.
    """
    from market_data_pipeline.instance import runs  # takes seconds
    from market_data_pipeline.instance.queue.states import counts

    if not (settings.home / INSTANCE_FILE).exists():
        return {}  # a question makes no folders
    with runs.open_instance(settings.home) as instance:
        return counts(instance)


def _needed(instance: "DagsterInstance", divided: Divided) -> list[Part]:
    """The parts that lack a day in the store or in Dagster, newest year first."""
    from market_data_pipeline.instance import runs

    recorded: dict[str, set[str]] = {}

    def is_recorded(piece: Piece) -> bool:
        part = piece.part
        if piece.dataset and part.dataset not in recorded:
            recorded[part.dataset] = runs.recorded_days(instance, piece.dataset)
        return piece.days <= recorded[part.dataset]

    needed = [piece.part for piece in divided.pieces if not (piece.is_stored and is_recorded(piece))]
    return sorted(needed, key=lambda part: -part.year)


def _warnings(settings: Settings, instance: "DagsterInstance", blocked: Sequence[Part]) -> list[str]:
    warnings = []
    if not instance.run_retries_enabled:
        warnings.append(
            "runs whose worker dies are not started anew: write run_retries with enabled: true into "
            f"{settings.home}/dagster.yaml"
        )
    if blocked:
        warnings.append(
            f"not submitted: {count_text(len(blocked), 'part')}, first {blocked[0].name} {blocked[0].days}, as runs of "
            "some of their days are underway; run the same command again when those have ended"
        )
    return warnings


def _wait(instance: "DagsterInstance", fanned: FannedOut, on_states: Callable[[dict[State, int]], None]) -> None:
    """Look at the runs until all have ended.

    Raises:
        Unavailable: runs wait, and no daemon takes them.
    """
    from market_data_pipeline.instance.queue.states import newest_runs, state_of, why_failed

    silent_since_s: float | None = None
    oldest: datetime | None = None
    left, over = list(fanned.followed), list[tuple[Part, State, str]]()
    while True:
        began_s = time.monotonic()
        found, states = newest_runs(instance, left, created_after=oldest), dict.fromkeys(State, 0)
        # What the parts had before is not read again with each look.
        first = min((record.create_timestamp for record in found if record), default=None)
        oldest = oldest or (first - timedelta(seconds=1) if first else None)
        waiting: list[Part] = []
        for part, newest in zip(left, found, strict=True):
            state = state_of(instance, newest) if newest else State.CANCELED
            if state.is_over:
                over.append((part, state, newest.dagster_run.run_id if newest else ""))
            else:
                waiting.append(part)
                states[state] += 1
        left = waiting
        for _, state, _ in over:
            states[state] += 1
        fanned.states = states
        on_states(states)
        if not left:
            break
        silent_since_s = (silent_since_s or began_s) if _is_silent(instance) and not states[State.RUNNING] else None
        if silent_since_s and time.monotonic() - silent_since_s > _SILENT_S:
            raise Unavailable(
                f"no Dagster daemon takes {count_text(len(left), 'run')} from the queue; start market-data up, or "
                "dagster-daemon run where the webserver is, and run the same command again"
            )
        time.sleep(max(_LOOK_EVERY_S, _REST_TIMES * (time.monotonic() - began_s)))
    fanned.waited = True
    for part, state, run_id in over:
        if state is State.FAILED:
            fanned.failed.append((part, why_failed(instance, run_id)))
        elif state is State.CANCELED:
            fanned.failed.append((part, "its run was canceled or deleted"))


def _is_silent(instance: "DagsterInstance") -> bool:
    """True if the daemon of the queue has told nothing for minutes."""
    told = instance.get_daemon_heartbeats().get("QUEUED_RUN_COORDINATOR")
    return told is None or time.time() - told.timestamp > _SILENT_S
