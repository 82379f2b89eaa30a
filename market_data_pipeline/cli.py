"""The command line, `market-data`.

Belongs here: options, exit codes, the one line that an error gets. Does not belong here: what commands do (`loading`,
`operations`, `mending`), how results look (`console`). Heavy imports wait for the command that needs them.
"""

import gc
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from market_data_pipeline.loading import Target
    from market_data_pipeline.operations import DatasetProof
    from market_data_pipeline.settings import Settings

NOT_AS_IT_SHOULD_BE, WRONG_USAGE, INTERRUPTED = 1, 2, 130

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
        from market_data_pipeline.loading import target_of

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

    with _errors_in_one_line():
        from market_data_pipeline import console, loading

        settings = _settings(market_data_source=source)
        request = loading.BackfillRequest(
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
            report = loading.backfill(settings, request, on_start=progress.on_start, on_day=progress.on_day)
        console.print_backfill(report, time.monotonic() - began)
        _exit_unless(report.ok)


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
    with _errors_in_one_line():
        from market_data_pipeline import following, live_table

        settings = _settings()
        target = context.obj.target(settings)
        if mark is not None:
            live_table.print_marked(following.mark(settings, target, live=mark))
            return
        request = following.LiveRequest(target, minutes, strict_pair=context.obj.strict_pair)
        report = live_table.follow(settings, request)
        live_table.print_session(report)
        _exit_unless(not report.errors)


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
    with _errors_in_one_line():
        from market_data_pipeline import console, operations

        settings = _settings()
        request = operations.ProofRequest(context.obj.target(settings), start, end, against, every_day)
        proofs = operations.verify_datasets(settings, request)
        if repair and _repair(settings, proofs):
            proofs = operations.verify_datasets(settings, request)
        if as_json:
            from market_data_pipeline.as_json import proof_json

            console.print_json([proof_json(proof) for proof in proofs])
        else:
            for proof in proofs:
                console.print_proof(proof)
        _exit_unless(all(proof.ok for proof in proofs))


def _repair(settings: "Settings", proofs: "list[DatasetProof]") -> bool:
    """Mend what is wrong, saying of each day what it was and what it is; False if there was nothing to mend."""
    from market_data_pipeline import console, mending

    mended = False
    for proof in proofs:
        if not proof.ok or proof.verification.strangers:
            with console.day_progress() as progress:
                for one in mending.repair(settings, proof, on_start=progress.on_start, on_day=progress.on_day):
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
    with _errors_in_one_line():
        from market_data_pipeline import console, operations

        settings = _settings()
        report = operations.combine_dataset(
            settings, context.obj.target(settings), tz=tz, from_index=from_index, to_index=to_index
        )
        if report.error or not report.success:
            _fail(report.error or "the run failed", NOT_AS_IT_SHOULD_BE)
        console.print_combined(report.results["combined"])
        console.print_warnings(report.failed_checks)
        _exit_unless(not report.failed_checks)


@app.command()
def status(context: typer.Context, as_json: Json = False) -> None:
    """What is stored, from the manifests alone."""
    with _errors_in_one_line():
        from market_data_pipeline import console, operations

        settings = _settings()
        statuses = operations.statuses(settings, context.obj.target(settings))
        if as_json:
            from market_data_pipeline.as_json import status_json

            console.print_json([status_json(status) for status in statuses])
        else:
            console.print_statuses(statuses)


@app.command()
def health(context: typer.Context, as_json: Json = False) -> None:
    """Whether a load could start now: data root, Dagster instance, exchange, clock, disk."""
    with _errors_in_one_line():
        from market_data_pipeline import console
        from market_data_pipeline.health import look_after

        settings = _settings()
        signs = look_after(settings, context.obj.target(settings))
        if as_json:
            console.print_json([{"name": sign.name, "ok": sign.ok, "detail": sign.detail} for sign in signs])
        else:
            for sign in signs:
                mark = "[green]ok [/green]" if sign.ok else "[red]BAD[/red]"
                console.out.print(f"{mark} {sign.name:<14} {sign.detail}")
        _exit_unless(all(sign.ok for sign in signs))


@app.command()
def simulate(
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1; 0 takes a free one.")] = 9000,
    archive: Annotated[Path | None, typer.Option(help="Folder with `data/` as on data.binance.vision.")] = None,
    rtt_ms: Annotated[float, typer.Option(help="Time each answer takes, ms.")] = 0,
    weights: Annotated[bool, typer.Option(help="Enforce request weights with 429 and 418.")] = True,
    fault: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=RATE", help="Fail a share of the requests or of the archive's files."),
    ] = None,
    now: Annotated[str | None, typer.Option(help="The instant at which the simulated clock starts, ISO.")] = None,
    speed: Annotated[float, typer.Option(help="Simulated seconds per second.")] = 1.0,
) -> None:
    """Serve a simulated exchange on this machine until Ctrl-C."""
    with _errors_in_one_line():
        from datetime import UTC, datetime

        from market_data_pipeline.core.days import parse_instant, parse_zone
        from market_data_pipeline.core.errors import UsageError
        from market_data_pipeline.simulator.exchange import SimulatedExchange
        from market_data_pipeline.simulator.faults import parse_faults
        from market_data_pipeline.simulator.server import run

        if archive is not None and not (archive / "data").is_dir():
            raise UsageError(f"{archive} has no folder `data`; give the folder that contains it")
        began = datetime.fromtimestamp(parse_instant(now, parse_zone("UTC")) / 1000, tz=UTC) if now else None
        try:
            exchange = SimulatedExchange(
                archive, rtt_ms=rtt_ms, weights=weights, faults=parse_faults(fault or []), now=began, speed=speed
            )
            run(exchange, port=port, on_ready=lambda url: print(f"simulated exchange at {url}", flush=True))  # noqa: T201
        except (ValueError, OSError) as error:
            raise UsageError(str(error)) from error


@app.command()
def demo() -> None:
    """Run the main job on a simulated exchange: load a month, verify, combine. Ends by itself."""
    with _errors_in_one_line():
        from market_data_pipeline.demo import run_demo

        _exit_unless(run_demo(_settings()))


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


def _settings(**given: str | None) -> "Settings":
    from market_data_pipeline.settings import load

    return load(**given)


@contextmanager
def _errors_in_one_line() -> Iterator[None]:
    from market_data_pipeline.core.errors import MarketDataError

    try:
        yield
    except MarketDataError as error:
        _fail(str(error), WRONG_USAGE)
    except KeyboardInterrupt:
        _fail("interrupted; what was finished is kept, run the same command again to go on", INTERRUPTED)


def _fail(message: str, code: int) -> NoReturn:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)  # noqa: T201
    sys.exit(code)


def _exit_unless(ok: bool) -> None:
    if not ok:
        raise typer.Exit(NOT_AS_IT_SHOULD_BE)
