"""The commands about a whole market: `pairs`.

Belongs here: their options, and which use case they call. Does not belong here: the use cases (`app`), how results look
(`reports`), the commands about datasets (`data_commands`).
"""

from datetime import date
from typing import Annotated

import typer

from market_data_pipeline.cli.outcome import errors_in_one_line, load_settings

app = typer.Typer()


@app.command()
def pairs(
    context: typer.Context,
    patterns: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PATTERN]...",
            help="Pairs, globs such as '*/USDT' or 'BTC*', and what to leave out: '!*DOWN/*'; all if none is given.",
            show_default=False,
        ),
    ] = None,
    quote: Annotated[str | None, typer.Option(metavar="ASSET", help="Only pairs with this quote asset.")] = None,
    at: Annotated[str | None, typer.Option(metavar="DATE", help="Only pairs that were traded on this UTC day.")] = None,
    status: Annotated[
        str, typer.Option(metavar="trading|paused|ended|all", help="Only pairs that have this status now.")
    ] = "all",
    since: Annotated[
        str | None, typer.Option(metavar="DATE", help="What changed since this UTC day: new, ended, paused, resumed.")
    ] = None,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Ask the exchange also where the catalog is of today.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List every pair of a market that ever had klines, with the days on which it was traded."""
    with errors_in_one_line():
        from market_data_pipeline.app import pairs as catalogs
        from market_data_pipeline.app.as_json import catalog_json, changes_json
        from market_data_pipeline.cli import reports
        from market_data_pipeline.cli.console import print_json, print_warnings
        from market_data_pipeline.cli.progress import asking
        from market_data_pipeline.core.klines.dataset import parse_market

        settings = load_settings()
        market = parse_market(context.obj.market or settings.market_type)
        choice = catalogs.choice_of(market, patterns or (), quote, _day(at), status)
        changed_since = _day(since)
        with asking(market) as on_pairs:
            catalog = catalogs.load_catalog(settings, market, refresh=refresh, on_pairs=on_pairs)
        print_warnings(catalog.warnings)
        chosen = catalogs.choose(catalog, choice)
        if changed_since is not None:
            report = catalogs.changes_since(settings, catalog, changed_since, among=chosen)
            print_json(changes_json(report)) if as_json else reports.print_changes(report)
        elif as_json:
            print_json(catalog_json(catalog, chosen))
        else:
            reports.print_pairs(chosen)


def _day(text: str | None) -> date | None:
    from market_data_pipeline.core.errors import UsageError

    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"no date: {text[:40]!r}; write 2022-05-01") from None
