"""The commands about data where they are about several datasets: what `data_commands` calls then.

Belongs here: a use case for many, its results, its exit code. Does not belong here: options (`data_commands`), the use
cases (`app`), how results look (`reports`).
Imports that take long are inside the functions, as in `data_commands`.
"""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from market_data_pipeline.cli.outcome import FAILED, NOT_NOW, exit_unless, fail

if TYPE_CHECKING:
    from market_data_pipeline.app.backfill import BackfillRequest
    from market_data_pipeline.app.market.fanout import FannedOut
    from market_data_pipeline.app.targets import Refused, Target
    from market_data_pipeline.app.verify import ProofRequest
    from market_data_pipeline.core.klines.dataset import Market
    from market_data_pipeline.core.proof.prove import Proof
    from market_data_pipeline.core.store.universes import Universe
    from market_data_pipeline.settings import Settings


def traded_pairs(settings: "Settings", market: "Market", **window: Any) -> list[str]:
    """The pairs of the catalog that were traded in the window."""
    from market_data_pipeline.app.market import universe  # only globs need it
    from market_data_pipeline.cli.console import print_warnings

    return universe.traded_pairs(settings, market, on_warnings=print_warnings, **window)


def backfill_many(settings: "Settings", requests: "Sequence[BackfillRequest]", *, as_json: bool) -> None:
    """Load several datasets, and print a table of them."""
    from market_data_pipeline.app.market import bulk
    from market_data_pipeline.cli.market import reports
    from market_data_pipeline.cli.market.progress import bulk_progress

    started_at = time.monotonic()
    with bulk_progress(as_json=as_json) as progress:
        progress.on_start(len(requests))
        report = bulk.backfill_many(settings, requests, on_message=progress.on_message)
    reports.print_many(report, time.monotonic() - started_at, as_json=as_json)
    exit_unless(report.ok, may_pass=report.may_pass)


def fan_out(
    settings: "Settings", requests: "Sequence[BackfillRequest]", universe: str | None, *, wait: bool, as_json: bool
) -> None:
    """Submit the runs that load several datasets, wait for them if asked, and print what became of them."""
    from market_data_pipeline.cli.market import runs

    started_at = time.monotonic()
    done = _fanned_out(settings, requests, universe, wait=wait, as_json=as_json)
    runs.print_fanned_out(done, time.monotonic() - started_at, as_json=as_json)
    exit_unless(done.ok)


def submit_universe(settings: "Settings", universe: "Universe", *, wait: bool, as_json: bool) -> None:
    """Apply a universe by runs, print what became of them, and set the marks of the datasets that there are then."""
    from market_data_pipeline.app.market.universe import mark_universe, requests_of_universe
    from market_data_pipeline.cli.console import print_warnings
    from market_data_pipeline.cli.market import reports, runs

    of_universe, requests = requests_of_universe(settings, universe, on_warnings=print_warnings)
    started_at = time.monotonic()
    try:
        done = _fanned_out(of_universe, requests, universe.name, wait=wait, as_json=as_json)
    finally:
        seconds = time.monotonic() - started_at
        marks = mark_universe(of_universe, universe, [request.target for request in requests])
    runs.print_fanned_out(done, seconds, marks, as_json=as_json)
    if not as_json:
        reports.print_marks(*marks)
    exit_unless(done.ok)


def _fanned_out(
    settings: "Settings",
    requests: "Sequence[BackfillRequest]",
    universe: str | None,
    *,
    wait: bool,
    as_json: bool,
) -> "FannedOut":
    from market_data_pipeline.app.market import fanout
    from market_data_pipeline.cli.market import runs

    with runs.run_progress(as_json=as_json) as progress:
        return fanout.fan_out(
            settings,
            requests,
            universe=universe,
            wait=wait,
            on_submitted=progress.on_submitted,
            on_states=progress.on_states,
        )


def show_runs(settings: "Settings", market: str | None, *, as_json: bool) -> None:
    """Print how many runs of `--runs` are in which state, of one market or of both."""
    from market_data_pipeline.app.market.fanout import run_states
    from market_data_pipeline.cli.console import print_json
    from market_data_pipeline.cli.market import runs
    from market_data_pipeline.core.klines.dataset import parse_market

    only = parse_market(market).value if market else None
    states = {name: counts for name, counts in run_states(settings).items() if only in {None, name}}
    if as_json:
        print_json(
            {market: {state.value: count for state, count in counts.items()} for market, counts in states.items()}
        )
    else:
        runs.print_states(states)


def combine_many(settings: "Settings", targets: "Sequence[Target]", *, as_json: bool, **selection: Any) -> None:
    """Write the combined files of several datasets, and print a table of them."""
    from market_data_pipeline.app.combine import combine_datasets
    from market_data_pipeline.cli.market import reports

    done = combine_datasets(settings, targets, **selection)
    reports.print_combined_many(done, as_json=as_json)
    if done.error:
        fail(done.error, NOT_NOW if done.may_pass else FAILED)
    exit_unless(done.ok, may_pass=done.may_pass)


def prove_each(
    settings: "Settings", request: "ProofRequest", targets: "Sequence[Target]", *, as_json: bool
) -> "tuple[list[Proof], list[Refused]]":
    """Prove all datasets; tell of each that cannot be read, in JSON also of each but the last, if that takes long."""
    from market_data_pipeline.app.targets import Refused
    from market_data_pipeline.app.verify import verify_each
    from market_data_pipeline.cli.lines.loads import ProofLines
    from market_data_pipeline.cli.lines.writing import tell_failed

    refused = list[Refused]()

    def on_refused(each: Refused) -> None:
        refused.append(each)
        tell_failed(each.name, each.problem, as_json=as_json)

    proofs = verify_each(settings, request, targets, on_refused=on_refused)
    if not as_json:
        return list(proofs), refused
    with ProofLines() as lines:
        return list(lines.each(proofs)), refused


def repair_each(settings: "Settings", proofs: "Sequence[Proof]", *, as_json: bool) -> "list[Refused] | None":
    """Repair every dataset that has something to repair, and tell of it; of several, an error of one hides no other.

    Returns:
        Those with an error, None if there was nothing to repair.
    """
    from market_data_pipeline.app.repair import repair
    from market_data_pipeline.app.targets import Refused
    from market_data_pipeline.cli import reports
    from market_data_pipeline.cli.lines.loads import DayLines
    from market_data_pipeline.cli.lines.writing import tell_failed
    from market_data_pipeline.cli.progress import day_progress
    from market_data_pipeline.core.errors import PASSING, MarketDataError
    from market_data_pipeline.core.text import problem_text

    to_repair, refused = [proof for proof in proofs if proof.needs_repair], list[Refused]()
    for proof in to_repair:
        try:
            with day_progress(as_json=as_json) as progress:
                repair(
                    settings,
                    proof,
                    on_start=progress.on_start,
                    on_day=progress.on_day,
                    on_repaired=progress.on_repaired if isinstance(progress, DayLines) else reports.print_repair,
                )
        except MarketDataError as error:
            if len(to_repair) == 1:
                raise
            dataset, problem = proof.verification.dataset, problem_text(error)
            may_pass = isinstance(error, PASSING)
            refused.append(Refused(dataset.name, dataset.market, dataset.pair, problem, may_pass))
            tell_failed(dataset.name, problem, as_json=as_json)
    return refused if to_repair else None


def mark_many(settings: "Settings", targets: "Sequence[Target]", *, live: bool, as_json: bool) -> None:
    """Mark several datasets as live, or not live; print which of them were not so before."""
    from market_data_pipeline.app.market import live as live_mode
    from market_data_pipeline.app.market.as_json import marks_json
    from market_data_pipeline.cli.console import out, print_json
    from market_data_pipeline.cli.market import reports
    from market_data_pipeline.core.text import count_text

    changed = live_mode.mark_many(settings, targets, live=live)
    if as_json:
        print_json(marks_json(changed if live else (), () if live else changed))
        return
    reports.print_marks(changed if live else (), () if live else changed)
    if same := len(targets) - len(changed):
        out.print(f"  {count_text(same, 'dataset')} {'was' if same == 1 else 'were'} so before")
