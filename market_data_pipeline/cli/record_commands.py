"""The command about Dagster's records: `report`.

Belongs here: its options, and which use case it calls. Does not belong here: the use case (`app.report`), the commands
about what is stored (`data_commands`).
"""

import time

import typer

from market_data_pipeline.cli.load_options import Json
from market_data_pipeline.cli.outcome import FAILED, NOT_NOW, errors_in_one_line, exit_unless, fail, load_settings
from market_data_pipeline.cli.shell.examples import examples

app = typer.Typer()


@app.command(epilog=examples("report"))
def report(
    context: typer.Context,
    as_json: Json = False,
) -> None:
    """Tell Dagster of the stored days that it has forgotten.

    Needed after the Dagster home was lost, or restored from a backup. The manifests say what is stored; nothing in the
    store is written. Without --pair: all datasets of the market, or of both without --market, too.
    """
    with errors_in_one_line():
        from market_data_pipeline.app.report import report as report_datasets
        from market_data_pipeline.cli import reports
        from market_data_pipeline.cli.progress import dataset_progress

        settings, started_at = load_settings(), time.monotonic()
        targets = context.obj.targets(settings)
        with dataset_progress(as_json=as_json) as progress:
            done = report_datasets(settings, targets, on_start=progress.on_start, on_dataset=progress.on_dataset)
        if as_json:
            from market_data_pipeline.app.as_json import report_json
            from market_data_pipeline.cli.console import print_json

            print_json(report_json(done))
        else:
            reports.print_report(done, time.monotonic() - started_at)
        if done.error:
            fail(done.error, NOT_NOW if done.may_pass else FAILED)
        exit_unless(done.ok, may_pass=done.may_pass)
