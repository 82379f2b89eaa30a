"""The command line, `market-data`.

Belongs here: the commands about data, and their options. Does not belong here: what they do (`loading`, `operations`,
`mending`), how results look (`console`), the commands that serve (`cli_services`), exit codes (`cli_outcome`). Heavy
imports wait for the command that needs them.
"""

import gc
import logging
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from market_data_pipeline.cli import services as cli_services
from market_data_pipeline.cli.outcome import NOT_AS_IT_SHOULD_BE, errors_in_one_line, exit_unless, fail, load_settings

if TYPE_CHECKING:
    from market_data_pipeline.app.targets import Target
    from market_data_pipeline.app.verify import DatasetProof
    from market_data_pipeline.settings import Settings

app = typer.Typer(
    name="market-data",
    help="A verified, resumable, local store of Binance 1-minute klines.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Start = Annotated[str | None, typer.Option(help="First instant: a date (local midnight) or an ISO time.")]
End = Annotated[str | None, typer.Option(help="End, exclusive: a date (local midnight) or an ISO time.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@dataclass(frozen=True)
class Globals:
    """The options before the command."""

    market: str | None
    pair: str | None
    align_tz: str | None
    strict_pair: bool

    def target(self, settings: "Settings") -> "Target":
        """The dataset that they and the settings name."""
        from market_data_pipeline.app.targets import target_of

        return target_of(settings, self.market, self.pair, self.align_tz)


@app.callback()
def _globals(
    context: typer.Context,
    market: Annotated[
        str | None, typer.Option(metavar="spot|futures", help="Market; MARKET_TYPE if not given.")
    ] = None,
    pair: Annotated[str | None, typer.Option(metavar="BASE/QUOTE", help="Pair; SYMBOL if not given.")] = None,
    align_tz: Annotated[
        str | None, typer.Option(metavar="ZONE|±HH:MM", help="Zone that days are cut in; ALIGN_TZ if not given.")
    ] = None,
    strict_pair: Annotated[
        bool, typer.Option("--strict-pair", help="Refuse a pair that the market does not list.")
    ] = False,
) -> None:
    context.obj = Globals(market, pair, align_tz, strict_pair)


@app.command()
def backfill(
    context: typer.Context,
    start: Annotated[str | None, typer.Option(help="First instant; 2020-01-01T01:00Z if not given.")] = None,
    end: Annotated[str | None, typer.Option(help="End, exclusive; now if not given.")] = None,
    chunk_size: Annotated[
        int | None, typer.Option(help="Rows per Parquet row group; the whole day if not given.")
    ] = None,
    align_window: Annotated[bool, typer.Option(help="Load every day that the window touches as a whole.")] = True,
    source: Annotated[
        str | None,
        typer.Option(
            metavar="auto|rest|archive", help="Where klines come from; auto: the archive where it has them, else REST."
        ),
    ] = None,
    refetch: Annotated[bool, typer.Option("--refetch", help="Ask again also for klines that are stored.")] = False,
    strict_pair: Annotated[bool, typer.Option("--strict-pair", help="As the option before the command.")] = False,
) -> None:
    """Load the days of a window; what is stored and whole is skipped."""
    import time

    with errors_in_one_line():
        from market_data_pipeline.app import backfill as backfills
        from market_data_pipeline.cli import console

        settings = load_settings(market_data_source=source)
        request = backfills.BackfillRequest(
            context.obj.target(settings),
            start=start,
            end=end,
            align_window=align_window,
            chunk_size=chunk_size,
            refetch=refetch,
            strict_pair=strict_pair or context.obj.strict_pair,
        )
        began = time.monotonic()
        with console.day_progress() as progress:
            report = backfills.backfill(settings, request, on_start=progress.on_start, on_day=progress.on_day)
        console.print_backfill(report, time.monotonic() - began)
        exit_unless(report.ok)


@app.command()
def live(
    context: typer.Context,
    minutes: Annotated[
        int | None, typer.Option(min=1, help="End after so many minutes; until stopped if not given.")
    ] = None,
    mark: Annotated[
        bool | None,
        typer.Option("--mark/--unmark", help="Let the live sensors keep the dataset current, or no longer, and end."),
    ] = None,
) -> None:
    """Keep a dataset current, minute by minute, until Ctrl-C; without --market or --pair all that are marked live."""
    with errors_in_one_line():
        from market_data_pipeline.app import live as live_mode
        from market_data_pipeline.cli import live_table

        settings = load_settings()
        target = context.obj.target(settings)
        if mark is not None:
            live_table.print_marked(live_mode.mark(settings, target, live=mark))
            return
        request = live_mode.LiveRequest(target, minutes, strict_pair=context.obj.strict_pair)
        report = live_table.follow(settings, request)
        live_table.print_session(report)
        exit_unless(not report.errors)


@app.command()
def verify(
    context: typer.Context,
    start: Start = None,
    end: End = None,
    repair: Annotated[bool, typer.Option("--repair", help="Collect again what is damaged or unexplained.")] = False,
    against: Annotated[
        str | None, typer.Option(metavar="rest|archive", help="Compare a sample of days with this source too.")
    ] = None,
    every_day: Annotated[bool, typer.Option("--every-day", help="With --against: compare all days.")] = False,
    as_json: Json = False,
) -> None:
    """Prove the store: one dataset if --market or --pair is given, else all; exit code 0 only if nothing is wrong."""
    with errors_in_one_line():
        from market_data_pipeline.app.verify import ProofRequest, verify_datasets
        from market_data_pipeline.cli import console

        settings = load_settings()
        request = ProofRequest(context.obj.target(settings), start, end, against, every_day)
        proofs = verify_datasets(settings, request)
        if repair and _repair(settings, proofs):
            proofs = verify_datasets(settings, request)
        if as_json:
            from market_data_pipeline.app.as_json import proof_json

            console.print_json([proof_json(proof) for proof in proofs])
        else:
            for proof in proofs:
                console.print_proof(proof)
        exit_unless(all(proof.ok for proof in proofs))


def _repair(settings: "Settings", proofs: "list[DatasetProof]") -> bool:
    """Mend what is wrong, saying of each day what it was and what it is; False if there was nothing to mend."""
    from market_data_pipeline.app import repair as repairs
    from market_data_pipeline.cli import console

    mended = False
    for proof in proofs:
        if not proof.ok or proof.verification.strangers:
            with console.day_progress() as progress:
                for one in repairs.repair(settings, proof, on_start=progress.on_start, on_day=progress.on_day):
                    console.print_mended(proof.verification.dataset, one)
                    mended = True
    return mended


@app.command()
def combine(
    context: typer.Context,
    tz: Annotated[str | None, typer.Option(metavar="ZONE|±HH:MM", help="Cut to whole days of this zone.")] = None,
    from_index: Annotated[int | None, typer.Option(help="First chunk by index.")] = None,
    to_index: Annotated[int | None, typer.Option(help="Last chunk by index, included.")] = None,
) -> None:
    """Put all chunks into one Parquet file; nothing is written if nothing changed."""
    with errors_in_one_line():
        from market_data_pipeline.app.combine import combine_dataset
        from market_data_pipeline.cli import console

        settings = load_settings()
        report = combine_dataset(
            settings, context.obj.target(settings), tz=tz, from_index=from_index, to_index=to_index
        )
        if report.error or not report.success:
            fail(report.error or "the run failed", NOT_AS_IT_SHOULD_BE)
        console.print_combined(report.results["combined"])
        console.print_warnings(report.failed_checks)
        exit_unless(not report.failed_checks)


@app.command()
def status(context: typer.Context, as_json: Json = False) -> None:
    """What is stored, from the manifests alone."""
    with errors_in_one_line():
        from market_data_pipeline.app.status import statuses_of
        from market_data_pipeline.cli import console

        settings = load_settings()
        statuses = statuses_of(settings, context.obj.target(settings))
        if as_json:
            from market_data_pipeline.app.as_json import status_json

            console.print_json([status_json(status) for status in statuses])
        else:
            console.print_statuses(statuses)


@app.command()
def health(context: typer.Context, as_json: Json = False) -> None:
    """Whether a load could start now: data root, Dagster instance, exchange, clock, disk."""
    with errors_in_one_line():
        from market_data_pipeline.app.health import look_after
        from market_data_pipeline.cli import console

        settings = load_settings()
        signs = look_after(settings, context.obj.target(settings))
        if as_json:
            console.print_json([{"name": sign.name, "ok": sign.ok, "detail": sign.detail} for sign in signs])
        else:
            for sign in signs:
                mark = "[green]ok [/green]" if sign.ok else "[red]BAD[/red]"
                console.out.print(f"{mark} {sign.name:<14} {sign.detail}")
        exit_unless(all(sign.ok for sign in signs))


app.add_typer(cli_services.app)


def main() -> NoReturn:
    """Run the command line and exit."""
    # Imports make objects by the hundred thousand, nearly all to stay; to look through them so often takes a second.
    gc.set_threshold(50_000)
    logging.getLogger("market_data_pipeline").addHandler(logging.NullHandler())
    for stream in (sys.stdout, sys.stderr):
        # A Windows console or pipe in a legacy code page must not fail on `→` or a bar.
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    app()
    sys.exit(0)
