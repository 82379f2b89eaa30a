"""The commands about data: `backfill`, `live`, `verify`, `combine`, `status`.

Belongs here: their options, and which use case they call. Does not belong here: the use cases (`app`), how results look
(`reports`, `live_table`).
Imports that take long are inside the command that needs them, so that `--help` is fast.
"""

import time
from dataclasses import replace
from functools import partial
from typing import Annotated

import typer

from market_data_pipeline.cli.load_options import (
    INSTANT,
    End,
    Json,
    Plan,
    Runs,
    Start,
    Wait,
    require_alone,
    require_way,
)
from market_data_pipeline.cli.market import datasets as many
from market_data_pipeline.cli.outcome import errors_in_one_line, exit_unless, fail_unless_run, load_settings
from market_data_pipeline.cli.research.commands import verify_snapshot
from market_data_pipeline.cli.shell.examples import examples
from market_data_pipeline.cli.shell.values import one_of, zone
from market_data_pipeline.core.source_names import SOURCE_NAMES

app = typer.Typer()

_ZONE = "ZONE|±HH:MM"


@app.command(epilog=examples("backfill"))
def backfill(
    context: typer.Context,
    start: Annotated[
        str | None,
        typer.Option(
            metavar=INSTANT,
            help="First minute: a date (local midnight) or an ISO time; 2020-01-01T01:00Z if not given.",
        ),
    ] = None,
    end: Annotated[
        str | None,
        typer.Option(metavar=INSTANT, help="First minute after the window, written the same way; now if not given."),
    ] = None,
    chunk_size: Annotated[
        int | None, typer.Option(metavar="ROWS", help="Rows per Parquet row group; the whole day if not given.")
    ] = None,
    align_window: Annotated[
        bool,
        typer.Option(help="Load every day that the window touches as a whole, or only the minutes of the window."),
    ] = True,
    source: Annotated[
        str | None,
        typer.Option(
            metavar="auto|rest|archive",
            help="Where klines come from; auto is the archive where it has them, else REST. "
            "The setting MARKET_DATA_SOURCE if not given.",
            autocompletion=one_of(SOURCE_NAMES),
        ),
    ] = None,
    refetch: Annotated[
        bool, typer.Option("--refetch", help="Load days again that are already stored and complete.")
    ] = False,
    strict_pair: Annotated[
        bool, typer.Option("--strict-pair", help="The same as --strict-pair before the command.")
    ] = False,
    plan: Plan = False,
    runs: Runs = False,
    wait: Wait = False,
    as_json: Json = False,
) -> None:
    """Load the days of a window. Days that are already stored and complete are skipped."""
    with errors_in_one_line():
        from market_data_pipeline.app import backfill as backfills
        from market_data_pipeline.app.market.pairs import Asked
        from market_data_pipeline.cli import reports
        from market_data_pipeline.cli.market.planning import print_plan
        from market_data_pipeline.cli.progress import day_progress

        require_way(plan=plan, runs=runs, wait=wait)
        settings, asked = load_settings(market_data_source=source), Asked() if plan else None
        universe = context.obj.chosen(settings)
        if universe:
            settings, start = load_settings(market_data_source=source or universe.source), start or universe.start
        tz = context.obj.align_tz or (universe.zone if universe else None)
        among = partial(many.traded_pairs, tz=tz, start=start, end=end, asked=asked)
        targets = context.obj.targets(settings, among)
        request = backfills.BackfillRequest(
            targets[0],
            start=start,
            end=end,
            align_window=align_window,
            chunk_size=chunk_size,
            refetch=refetch,
            strict_pair=strict_pair or context.obj.strict_pair,
        )
        requests = [replace(request, target=target) for target in targets]
        if asked is not None:
            print_plan(settings, requests, asked, as_json=as_json)
            return
        if runs:
            many.fan_out(settings, requests, context.obj.universe, wait=wait, as_json=as_json)
            return
        started_at = time.monotonic()
        if len(targets) > 1:
            many.backfill_many(settings, requests, as_json=as_json)
            return
        with day_progress(as_json=as_json) as progress:
            report = backfills.backfill(settings, request, on_start=progress.on_start, on_day=progress.on_day)
        reports.print_backfill(report, time.monotonic() - started_at, as_json=as_json)
        exit_unless(report.ok, may_pass=report.may_pass)


@app.command(epilog=examples("live"))
def live(
    context: typer.Context,
    minutes: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Stop after N minutes; run until Ctrl-C if not given.")
    ] = None,
    mark: Annotated[
        bool | None,
        typer.Option(
            "--mark/--unmark",
            help="Do not run now: let Dagster's live sensors keep the dataset current from now on, or stop them.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Keep a dataset current, minute by minute.

    Without --pair: all datasets of the market that are marked live, or of both markets without --market, too; if none
    is, the default dataset. Alone, --mark and --unmark are about the default dataset.
    """
    with errors_in_one_line():
        from market_data_pipeline.api.metrics.server import serve_metrics
        from market_data_pipeline.app import live as live_mode
        from market_data_pipeline.cli import live_table
        from market_data_pipeline.core.errors import UsageError

        if mark is not None and minutes is not None:
            raise UsageError("--mark and --unmark follow nothing here, so --minutes has no effect; leave it out")
        settings = load_settings()
        targets = context.obj.targets(settings)
        if mark is not None and (as_json or len(targets) > 1):
            many.mark_many(settings, targets, live=mark, as_json=as_json)
            return
        if mark is not None:
            marked = live_mode.mark(settings, targets[0], live=mark)
            live_table.print_marked(marked, is_default=not targets[0].pair_named)
            return
        serve_metrics(settings)
        if len(targets) > 1:
            report = live_table.follow_many(settings, targets, minutes, as_json=as_json)
        else:
            request = live_mode.LiveRequest(targets[0], minutes, strict_pair=context.obj.strict_pair)
            report = live_table.follow(settings, request, as_json=as_json)
        live_table.print_session(report, as_json=as_json)
        exit_unless(not report.errors, may_pass=report.may_pass)


@app.command(epilog=examples("verify"))
def verify(
    context: typer.Context,
    start: Start = None,
    end: End = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Load again what is damaged, or absent without explanation.")
    ] = False,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="rest|archive",
            help="Also compare stored klines with this source, on a sample of days.",
            autocompletion=one_of(SOURCE_NAMES[1:]),
        ),
    ] = None,
    every_day: Annotated[
        bool, typer.Option("--every-day", help="With --against: compare every day, not a sample.")
    ] = False,
    snapshot: Annotated[
        str | None, typer.Option(metavar="NAME", help="Read the chunks that this snapshot names, and nothing else.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check that stored klines are complete and undamaged.

    Without --pair: all datasets of the market, or of both without --market, too. The exit code is 0 only if nothing is
    wrong.
    """
    with errors_in_one_line():
        from market_data_pipeline.app.verify import ProofRequest, refuse_proof_of_nothing
        from market_data_pipeline.cli import reports
        from market_data_pipeline.cli.console import print_json

        if snapshot is not None:
            require_alone("--snapshot", start, end, against, repair=repair, every_day=every_day)
            context.obj.require_taken("verify --snapshot")
            verify_snapshot(snapshot, as_json=as_json)
            return
        settings = load_settings()
        targets = context.obj.targets(settings)
        request = ProofRequest(targets[0], start, end, against, every_day)
        proofs, refused = many.prove_each(settings, request, targets, as_json=as_json)
        if not refused:
            refuse_proof_of_nothing(request, proofs)
        if repair and (failed := many.repair_each(settings, proofs, as_json=as_json)) is not None:
            proofs, refused = many.prove_each(settings, request, targets, as_json=as_json)
            refused += failed
        if as_json:
            from market_data_pipeline.app.as_json import proof_json

            print_json([proof_json(proof) for proof in proofs])
        else:
            for proof in proofs:
                reports.print_proof(proof)
        may_pass = all(proof.stored_is_good for proof in proofs) and all(each.may_pass for each in refused)
        exit_unless(all(proof.ok for proof in proofs) and not refused, may_pass=may_pass)


@app.command(epilog=examples("combine"))
def combine(
    context: typer.Context,
    tz: Annotated[
        str | None,
        typer.Option(
            metavar=_ZONE,
            help="Keep only whole days of this time zone; all klines if not given.",
            autocompletion=zone,
        ),
    ] = None,
    from_index: Annotated[
        int | None, typer.Option(metavar="N", help="Index of the first chunk, as in its file name; 1 is the first day.")
    ] = None,
    to_index: Annotated[int | None, typer.Option(metavar="N", help="Index of the last chunk, included.")] = None,
    as_json: Json = False,
) -> None:
    """Combine all chunks of a dataset into one Parquet file. It is written only if a chunk has changed."""
    with errors_in_one_line():
        from market_data_pipeline.app.combine import combine_dataset
        from market_data_pipeline.app.targets import open_datasets
        from market_data_pipeline.cli import reports

        settings = load_settings()
        targets = context.obj.targets(settings)
        if len(targets) > 1:
            many.combine_many(settings, targets, as_json=as_json, tz=tz, from_index=from_index, to_index=to_index)
            return
        target = replace(targets[0], pair_named=True)
        report = combine_dataset(settings, target, tz=tz, from_index=from_index, to_index=to_index)
        fail_unless_run(report)
        reports.print_combine(next(open_datasets(settings, target)).dataset, report, as_json=as_json)
        exit_unless(not report.failed_checks)


@app.command(epilog=examples("status"))
def status(
    context: typer.Context,
    runs: Annotated[bool, typer.Option("--runs", help="Show what became of the runs of backfill --runs.")] = False,
    as_json: Json = False,
) -> None:
    """Show what is stored, as the manifests list it.

    Without --pair: all datasets of the market, or of both without --market, too.
    """
    with errors_in_one_line():
        if runs:
            context.obj.require_taken("status --runs")
            many.show_runs(load_settings(), context.obj.market, as_json=as_json)
            return
        from market_data_pipeline.cli.stored.status import show_status

        show_status(context.obj, as_json=as_json)
