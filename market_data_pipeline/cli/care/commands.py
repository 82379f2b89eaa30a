"""The commands `health` and `doctor`.

Belongs here: their options, and which use case they call. Does not belong here: the use cases (`app`), how results look
(`reports`).
Imports that take long are inside the command that needs them, so that `--help` is fast.
"""

import typer

from market_data_pipeline.cli.load_options import Json
from market_data_pipeline.cli.outcome import errors_in_one_line, exit_unless, leave_at_once, load_settings
from market_data_pipeline.cli.shell.examples import examples

app = typer.Typer()


@app.command(epilog=examples("health"))
def health(context: typer.Context, as_json: Json = False) -> None:
    """Check whether a load could start now.

    Looks at the data root, disk, datasets, Dagster instance, exchange and clock, and at how current live datasets are.
    The exit code is 0 only if all are good.
    """
    with errors_in_one_line():
        from market_data_pipeline.app.health import check_health, check_health_of_many
        from market_data_pipeline.cli.care import reports
        from market_data_pipeline.cli.console import print_json

        settings = load_settings()
        targets = context.obj.targets(settings)
        check = check_health(settings, targets[0]) if len(targets) == 1 else check_health_of_many(settings, targets)
        signs = list(check)
        if as_json:
            print_json([{"name": sign.name, "ok": sign.ok, "detail": sign.detail} for sign in signs])
        else:
            reports.print_health(signs)
        exit_unless(all(sign.ok for sign in signs))


@app.command(epilog=examples("doctor"))
def doctor(as_json: Json = False) -> None:
    """Show what this installation is, and what is wrong with it.

    Versions, settings, folders and disks, exchange and clock, proxies, limits, who holds which lock, Dagster's storage,
    the last errors. Works with a broken configuration and without a network, and shows nothing secret. The exit code is
    0 only if nothing needs care.
    """
    with errors_in_one_line():
        from market_data_pipeline.app.as_json import examined_json
        from market_data_pipeline.app.doctor.examination import Examination
        from market_data_pipeline.cli.care.reports import DoctorPage
        from market_data_pipeline.cli.console import print_json

        examination, page = Examination(), DoctorPage()
        for line in examination.lines():
            page.add(line, shown=not as_json)
        if as_json:
            print_json(examined_json(page.lines))
        else:
            page.end()
        if examination.unfinished:
            leave_at_once(page.ok)
        exit_unless(page.ok)
