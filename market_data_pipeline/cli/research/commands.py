"""The commands for research: their options, and what they call.

Belongs here: options. Does not belong here: how results look (`reports`).
Imports that take long are inside the command that needs them, as in `cli.data_commands`.
"""

from typing import Annotated

import typer

from market_data_pipeline.cli.load_options import End, Json, Start
from market_data_pipeline.cli.outcome import errors_in_one_line, exit_unless, load_settings
from market_data_pipeline.cli.shell.examples import examples
from market_data_pipeline.cli.shell.values import one_of

app = typer.Typer()


@app.command(epilog=examples("export"))
def export(
    context: typer.Context,
    format: Annotated[
        str,
        typer.Option(
            metavar="csv|parquet|feather-freqtrade|lean|nautilus",
            help="What the files are, and who reads them.",
            autocompletion=one_of(("csv", "parquet", "feather-freqtrade", "lean", "nautilus")),
        ),
    ],
    output: Annotated[
        str,
        typer.Option(
            metavar="DIR", help="The folder: freqtrade's datadir, Lean's data, the path of the catalog, or any other."
        ),
    ],
    start: Start = None,
    end: End = None,
    interval: Annotated[
        str,
        typer.Option(
            metavar="1m|5m|1h|1d|...",
            help="Length of a kline: minutes or hours that divide a day, 1d, 1w or 1mo; computed from minutes.",
            autocompletion=one_of(("1m", "5m", "15m", "1h", "4h", "1d", "1w", "1mo")),
        ),
    ] = "1m",
    panel: Annotated[
        str | None,
        typer.Option(
            metavar="long|wide",
            help="One csv or parquet file of all pairs: with a column for the pair, or with a column for each pair.",
            autocompletion=one_of(("long", "wide")),
        ),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only this column, in csv and parquet; may be given several times."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")] = False,
    as_of: Annotated[
        str | None, typer.Option(metavar="NAME", help="Klines as a snapshot has them, whatever was stored since.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write stored klines into files that other programs read. A minute that is absent stays absent."""
    with errors_in_one_line():
        from market_data_pipeline.cli.console import print_json, print_warnings
        from market_data_pipeline.cli.research import reports
        from market_data_pipeline.reader.exporting import ExportRequest

        request = ExportRequest(
            format,
            output,
            context.obj.words(),
            start,
            end,
            tz=context.obj.align_tz,
            market=context.obj.market,
            universe=context.obj.universe,
            panel=panel,
            columns=tuple(column or ()),
            overwrite=overwrite,
            as_of=as_of,
            interval=interval,
        )
        with reports.telling_pairs(as_json=as_json) as on_pair:
            report = request.run(on_pair)
        print_warnings(report.warnings)
        if as_json:
            from market_data_pipeline.app.as_json import export_json

            print_json(export_json(report))
        else:
            reports.print_export(report)
        exit_unless(report.ok, may_pass=report.may_pass)


@app.command(epilog=examples("snapshot"))
def snapshot(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="What it is called; all snapshots are listed if not given.")
    ] = None,
    remove: Annotated[
        bool, typer.Option("--remove", help="Remove it, and the kept chunks that no other snapshot names.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Name the stored chunks, to read them later as they are now.

    The day that is not over is in no snapshot. Without --pair and --universe: those of all datasets of the market, or
    of both without --market, too.
    """
    with errors_in_one_line():
        from market_data_pipeline.app import as_json as documents
        from market_data_pipeline.app.market import snapshots
        from market_data_pipeline.cli.console import print_json
        from market_data_pipeline.cli.research import reports
        from market_data_pipeline.core.errors import UsageError

        settings = load_settings()
        if name is None and remove:
            raise UsageError("--remove removes one snapshot; name it")
        if name is None or remove:
            context.obj.require_taken("snapshot --remove" if remove else "snapshot without NAME")
        if name is None:
            listed = snapshots.listed(settings)
            print_json([*map(documents.snapshot_json, listed)]) if as_json else reports.print_snapshots(listed)
        elif remove:
            removed = snapshots.remove(settings, name)
            print_json(documents.removed_json(removed)) if as_json else reports.print_removed(removed)
        else:
            made = snapshots.make(settings, name, context.obj.targets(settings))
            print_json(documents.snapshot_json(made)) if as_json else reports.print_snapshots([made])


def verify_snapshot(name: str, *, as_json: bool) -> None:
    """Read every chunk that a snapshot names, print what is missing, and exit with 1 if anything is."""
    from market_data_pipeline.app.as_json import snapshot_proof_json
    from market_data_pipeline.app.market import snapshots
    from market_data_pipeline.cli.console import print_json
    from market_data_pipeline.cli.research import reports

    proof = snapshots.prove(load_settings(), name)
    print_json(snapshot_proof_json(proof)) if as_json else reports.print_snapshot_proof(proof)
    exit_unless(proof.ok)
