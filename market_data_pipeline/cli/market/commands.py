"""The commands about a whole market: `pairs`, and `universe list`, `universe show`, `universe apply`.

Belongs here: their options, and which use case they call. Does not belong here: the use cases (`app`), how results look
(`reports`), the commands about datasets (`data_commands`).
"""

import time
from typing import Annotated

import typer

from market_data_pipeline.cli.load_options import Json, Plan, Runs, Wait, require_way
from market_data_pipeline.cli.outcome import errors_in_one_line, exit_unless, load_settings
from market_data_pipeline.cli.shell import values
from market_data_pipeline.cli.shell.examples import examples
from market_data_pipeline.cli.shell.misplaced import Listed

app = typer.Typer()
universe = typer.Typer(
    cls=Listed,
    help="Named choices of pairs, in market-data.toml under the data root.",
    epilog=examples("universe"),
    no_args_is_help=True,
)
app.add_typer(universe, name="universe")

Name = Annotated[str, typer.Argument(metavar="NAME", help="As in [universe.NAME].", autocompletion=values.universe)]


@app.command(epilog=examples("pairs"))
def pairs(
    context: typer.Context,
    patterns: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATTERN",
            help="Pairs, globs such as '*/USDT' or 'BTC*', and what to leave out: '!*DOWN/*'; all if none is given.",
            show_default=False,
            autocompletion=values.pair,
        ),
    ] = None,
    quote: Annotated[
        str | None,
        typer.Option(metavar="ASSET", help="Only pairs with this quote asset.", autocompletion=values.quote),
    ] = None,
    at: Annotated[str | None, typer.Option(metavar="DATE", help="Only pairs that were traded on this UTC day.")] = None,
    status: Annotated[
        str,
        typer.Option(
            metavar="trading|paused|ended|all",
            help="Only pairs that have this status now.",
            autocompletion=values.one_of(values.STATUSES),
        ),
    ] = "all",
    since: Annotated[
        str | None, typer.Option(metavar="DATE", help="What changed since this UTC day: new, ended, paused, resumed.")
    ] = None,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Ask the exchange even if there is a catalog of today.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List each pair of a market that ever had klines, and its days.

    --pair, --pairs-file and --universe before the command choose as PATTERN does.
    """
    with errors_in_one_line():
        from market_data_pipeline.app.as_json import catalog_json, changes_json
        from market_data_pipeline.app.market import pairs as catalogs
        from market_data_pipeline.cli.console import print_json, print_warnings
        from market_data_pipeline.cli.market import reports
        from market_data_pipeline.cli.progress import asking
        from market_data_pipeline.core.klines.dataset import parse_market

        settings = load_settings()
        of_market, _, words = context.obj.parts(settings)
        market = parse_market(of_market or settings.market_type)
        choice = catalogs.choice_of(market, [*words, *(patterns or ())], quote, catalogs.utc_day(at), status)
        changed_since = catalogs.utc_day(since)
        with asking(market) as on_pairs:
            catalog = catalogs.load_catalog(settings, market, refresh=refresh, on_pairs=on_pairs)
        print_warnings(catalog.warnings)
        chosen = catalogs.choose(catalog, choice)
        if changed_since is not None:
            report = catalogs.changes_since(settings, catalog, changed_since, among=chosen)
            print_json(changes_json(catalog, report)) if as_json else reports.print_changes(report)
        elif as_json:
            print_json(catalog_json(catalog, chosen))
        else:
            reports.print_pairs(chosen)


@universe.command("list", epilog=examples("universe list"))
def list_universes(as_json: Json = False) -> None:
    """List the universes of the file."""
    with errors_in_one_line():
        from market_data_pipeline.cli.market import reports
        from market_data_pipeline.core.store.universes import read_universes

        universes = list(read_universes(load_settings().root).values())
        if as_json:
            from market_data_pipeline.app.market.as_json import universe_json
            from market_data_pipeline.cli.console import print_json

            print_json(list(map(universe_json, universes)))
        else:
            reports.print_universes(universes)


@universe.command(epilog=examples("universe show"))
def show(name: Name, as_json: Json = False) -> None:
    """List the pairs that a universe means today."""
    with errors_in_one_line():
        from market_data_pipeline.app.market.universe import targets_of_universe
        from market_data_pipeline.cli.console import print_json, print_warnings
        from market_data_pipeline.cli.outcome import say
        from market_data_pipeline.core.store.universes import find_universe

        settings = load_settings()
        found = find_universe(settings.root, name)
        warnings: list[str] = []
        pairs = [target.pair for target in targets_of_universe(settings, found, on_warnings=warnings.extend)]
        print_warnings(warnings)
        if as_json:
            print_json({"name": found.name, "market": found.market.value, "pairs": pairs, "warnings": warnings})
        else:
            for pair in pairs:
                say(pair)


@universe.command(epilog=examples("universe apply"))
def apply(
    name: Name,
    plan: Plan = False,
    runs: Runs = False,
    wait: Wait = False,
    as_json: Json = False,
) -> None:
    """Bring the store to what the file says: load what is missing, and set the marks of live mode.

    New pairs join. Pairs that have ended are completed once and then rest.
    """
    with errors_in_one_line():
        from market_data_pipeline.app.market.pairs import Asked
        from market_data_pipeline.app.market.universe import apply_universe, requests_of_universe
        from market_data_pipeline.cli.console import print_warnings
        from market_data_pipeline.cli.market import reports
        from market_data_pipeline.cli.market.datasets import submit_universe
        from market_data_pipeline.cli.market.planning import print_plan
        from market_data_pipeline.cli.market.progress import bulk_progress
        from market_data_pipeline.core.store.universes import find_universe

        require_way(plan=plan, runs=runs, wait=wait)
        settings, started_at = load_settings(), time.monotonic()
        found = find_universe(settings.root, name)
        if runs:
            submit_universe(settings, found, wait=wait, as_json=as_json)
            return
        if plan:
            asked = Asked()
            of_universe, requests = requests_of_universe(settings, found, on_warnings=print_warnings, asked=asked)
            print_plan(of_universe, requests, asked, as_json=as_json)
            return
        with bulk_progress(as_json=as_json) as progress:
            applied = apply_universe(
                settings,
                found,
                on_warnings=print_warnings,
                on_start=progress.on_start,
                on_message=progress.on_message,
            )
        reports.print_applied(applied, time.monotonic() - started_at, as_json=as_json)
        exit_unless(applied.report.ok, may_pass=applied.report.may_pass)
