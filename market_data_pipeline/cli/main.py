"""The entry point of the command line: the options before the command, and all commands.

Belongs here: putting the command line together, and running it. Does not belong here: the commands (`data_commands`,
`market.commands`, `research.commands`, `record_commands`, `care.commands`, `service_commands`), exit codes (`outcome`).
"""

import atexit
import gc
import logging
import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from market_data_pipeline import __version__
from market_data_pipeline.cli import data_commands, record_commands, service_commands
from market_data_pipeline.cli.care import commands as care_commands
from market_data_pipeline.cli.market import commands as market_commands
from market_data_pipeline.cli.options import GlobalOptions
from market_data_pipeline.cli.outcome import (
    EXIT_CODES,
    NOT_READ,
    Warns,
    errors_in_one_line,
    keep_interrupted_code,
)
from market_data_pipeline.cli.research import commands as research_commands
from market_data_pipeline.cli.shell import values
from market_data_pipeline.cli.shell.misplaced import Commands, asks_for_help

# What says for whom it waits. Importing these takes longer than a shell waits for a completion.
_WAITS = ("market_data_pipeline.core.store.disk.waiting", "market_data_pipeline.core.live.rights")

app = typer.Typer(
    name="market-data",
    cls=Commands,
    help="A verified, resumable, local store of Binance 1-minute klines.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"market-data {__version__}")
        raise typer.Exit


@app.callback()
def _global_options(
    context: typer.Context,
    market: Annotated[
        str | None,
        typer.Option(
            metavar="spot|futures",
            help="Market; the setting MARKET_TYPE if not given.",
            autocompletion=values.one_of(values.MARKETS),
        ),
    ] = None,
    pair: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PAIR|GLOB",
            help="BTC/USDT, or the exchange's symbol BTCUSDT, or BTC/USDT:USDT; the setting SYMBOL if not given. "
            "Several may be given, and globs: '*/USDT', and '!*DOWN/*' to leave pairs out.",
            autocompletion=values.pair,
        ),
    ] = None,
    pairs_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A text file with more pairs or globs, one a line.")
    ] = None,
    universe: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The pairs of [universe.NAME] in market-data.toml under the data root.",
            autocompletion=values.universe,
        ),
    ] = None,
    align_tz: Annotated[
        str | None,
        typer.Option(
            metavar="ZONE|±HH:MM",
            help="Time zone whose midnights start a day; the setting ALIGN_TZ if not given.",
            autocompletion=values.zone,
        ),
    ] = None,
    strict_pair: Annotated[
        bool,
        typer.Option(
            "--strict-pair",
            help="End with an error if the market does not list the pair, instead of using BTC/USDT.",
        ),
    ] = False,
    _version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version, and end.")
    ] = False,
) -> None:
    context.obj = GlobalOptions(market, tuple(pair or ()), pairs_file, universe, align_tz, strict_pair)
    if not asks_for_help(context):
        with errors_in_one_line():
            context.obj.require_taken(context.invoked_subcommand)


app.add_typer(data_commands.app)
app.add_typer(market_commands.app)
app.add_typer(research_commands.app)
app.add_typer(record_commands.app)
app.add_typer(care_commands.app)
app.add_typer(service_commands.app)


def main() -> NoReturn:
    """Run the command line and exit."""
    keep_interrupted_code()
    # Imports create half a million objects, nearly all of which stay. Looking through them at the default thresholds
    # takes a second, and looking through all of them once more a tenth.
    gc.set_threshold(50_000, 50)
    # At the end Python looks through all of them once more, which takes half a second after Dagster was imported.
    atexit.register(gc.freeze)
    # Without a handler their errors go to stderr. That of Dagster's databases has one, with traceback, at a Ctrl-C.
    for name in ("market_data_pipeline", "sqlalchemy.pool"):
        logging.getLogger(name).addHandler(logging.NullHandler())
    for name in _WAITS:
        logging.getLogger(name).addHandler(Warns())
    # Whoever started this has closed it, as by `>&-`.
    sys.stdout = sys.stdout or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - open as long as the process
    sys.stderr = sys.stderr or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - open as long as the process
    for stream in (sys.stdout, sys.stderr):
        # Windows gives files and pipes a legacy code page, which has no letters of most scripts that paths and names of
        # pairs may have, and which PowerShell reads wrong as well.
        encoding = "utf-8" if sys.platform == "win32" else None
        stream.reconfigure(encoding=encoding, errors="replace")  # type: ignore[union-attr]
    try:
        with errors_in_one_line():
            # Also as `python -m market_data_pipeline`: help and completion name the command.
            app(prog_name="market-data")
    except SystemExit as ended:
        # typer ends with the code of bad data where help, a version or an error has no reader.
        if ended.code == 1 and isinstance(ended.__context__, BrokenPipeError):
            sys.exit(NOT_READ)
        raise
    sys.exit(0)
