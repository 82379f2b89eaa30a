"""The results of the commands about a whole market, as people read them in a terminal.

Belongs here: words, order and colours of a result. Does not belong here: the same as JSON (`app.as_json`), the results
of commands about datasets (`cli.reports`).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING

from market_data_pipeline.app.combine import CombinedMany
from market_data_pipeline.app.market.bulk import ManyReport
from market_data_pipeline.app.market.pairs import ChangesSince
from market_data_pipeline.cli.console import out, print_json, print_table, table_of, talk
from market_data_pipeline.core.catalog.pairs import ListedPair
from market_data_pipeline.core.catalog.renames import Rename, predecessor, successor
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.store.universes import UNIVERSES_FILE, Universe
from market_data_pipeline.core.text import count_text, kinds_text, size_text, told_of

if TYPE_CHECKING:
    from market_data_pipeline.app.market.universe import Applied

_MOST_LINES = 40
_PAIR_COLUMNS = ("pair", "symbol", "kind", "status", "first day", "last day", "lives", "renamed")


def print_many(report: ManyReport, seconds: float, *, as_json: bool = False) -> None:
    """Print what a backfill of many datasets did, on stdout: sums, then a table of what failed and why."""
    if as_json:
        from market_data_pipeline.app.market.as_json import many_json

        print_json(many_json(report, seconds))
        return
    loaded, failed = list(report.datasets.values()), report.failed
    outcomes, absent = Counter[str](), Counter[str]()
    for dataset in loaded:
        outcomes.update(dataset.outcomes)
        absent.update(dataset.absent_minutes)
    days = ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(outcomes.items()))
    out.print(f"{count_text(len(loaded), 'pair')}: {len(loaded) - len(failed):,} good, {len(failed):,} failed")
    out.print(f"  days      {days or 'none'} in {seconds:.1f} s")
    out.print(f"  klines    {sum(one.rows for one in loaded):,} in {size_text(sum(one.size_bytes for one in loaded))}")
    out.print(f"  absent    {kinds_text(absent)}")
    if flaws := sum(one.flaws for one in loaded):
        out.print(f"  flaws     {count_text(flaws, 'kline')} against a rule, kept (verify names all)")
    noted = [(one.name, warning) for one in loaded for warning in one.warnings]
    for name, warning in noted[:_MOST_LINES]:
        out.print(f"  warning   {name}: {warning}")
    if len(noted) > _MOST_LINES:
        out.print(f"  ... and {count_text(len(noted) - _MOST_LINES, 'more warning')}")
    out.print(f"  run       {report.run_id or 'none, as there was nothing to do'}")
    if failed:
        table = table_of(("failed", "days", "why"))
        for one in failed:
            day, why = one.failed[0] if one.failed else ("", one.error or "")
            more = f" and {len(one.failed) - 1} more" if len(one.failed) > 1 else ""
            table.add_row(one.name, f"{day}{more}" or "all", one.error or why)
        print_table(table)
    if report.error:
        out.print(f"  error     {report.error}")


def print_applied(applied: "Applied", seconds: float, *, as_json: bool) -> None:
    """Print what applying a universe did: the load, then the marks of live mode."""
    if as_json:
        from market_data_pipeline.app.market.as_json import many_json, marks_json

        print_json(many_json(applied.report, seconds) | marks_json(applied.marked, applied.unmarked))
        return
    print_many(applied.report, seconds)
    print_marks(applied.marked, applied.unmarked)


def print_combined_many(done: CombinedMany, *, as_json: bool = False) -> None:
    """Print a table of combined files, then what failed and why."""
    if as_json:
        from market_data_pipeline.app.market.as_json import combined_many_json

        print_json(combined_many_json(done))
        return
    columns = ("pair", "outcome", "klines", "chunks", "size", "file")
    table = table_of(columns, right={"klines", "chunks", "size"})
    for one in done.results:
        if file := one.combined:
            outcome = "built" if file.built else "unchanged"
            sizes = (f"{file.rows:,}", f"{file.chunks:,}", size_text(file.size_bytes))
            table.add_row(one.name, outcome, *sizes, str(file.path))
    if table.rows:
        print_table(table)
    out.print(
        f"{count_text(len(done.results), 'pair')}: {len(done.results) - len(done.failed):,} good, "
        f"{len(done.failed):,} failed"
    )
    for one in done.failed:
        out.print(f"  failed    {told_of(one.name, one.problem)}")


def print_universes(universes: Sequence[Universe]) -> None:
    """Print the universes of a data root: market, words, and how they are loaded."""
    if not universes:
        talk.print(f"no universe; write [universe.NAME] into {UNIVERSES_FILE} under the data root")
        return
    table = table_of(("universe", "market", "pairs", "zone", "start", "source", "live"))
    for each in universes:
        live = "-" if each.live is None else "yes" if each.live else "no"
        how = (each.zone or "-", each.start or "-", each.source or "-", live)
        table.add_row(each.name, each.market.value, " ".join(each.pairs), *how)
    print_table(table)


def print_marks(marked: Sequence[Dataset], unmarked: Sequence[Dataset]) -> None:
    """Print which datasets live mode follows now that it did not, and the other way round."""
    for what, datasets in (("live", marked), ("not live", unmarked)):
        if datasets:
            names = ", ".join(dataset.pair for dataset in datasets[:_MOST_LINES])
            more = f" and {len(datasets) - _MOST_LINES} more" if len(datasets) > _MOST_LINES else ""
            out.print(f"  {what:8}  from now on: {names}{more}")


def print_pairs(pairs: Sequence[ListedPair]) -> None:
    """Print a table with one line for each pair; `lives` has the days of each life where there are several."""
    if not pairs:
        talk.print("no pair fits")
        return
    table = table_of(_PAIR_COLUMNS)
    for pair in pairs:
        table.add_row(*_pair_cells(pair))
    print_table(table)


def print_changes(since: ChangesSince) -> None:
    """Print one line for each pair that changed, and what became of it."""
    if not since.compared:
        talk.print(f"no catalog of {since.since} or before is kept: told by the days on which pairs were traded")
    if since.changes.nothing:
        talk.print(f"nothing has changed since {since.since}")
        return
    table = table_of(("change", *_PAIR_COLUMNS))
    for field in fields(since.changes):
        for pair in getattr(since.changes, field.name):
            table.add_row(field.name, *_pair_cells(pair))
    print_table(table)


def _pair_cells(pair: ListedPair) -> tuple[str, ...]:
    lives = [f"{life.first}..{life.last or ''}" for life in pair.lives]
    return (
        pair.pair,
        pair.symbol,
        pair.kind.value,
        pair.status.value,
        pair.first_day.isoformat(),
        pair.last_day.isoformat() if pair.last_day else "-",
        " ".join(lives) if len(lives) > 1 else "1",
        _renamed(pair),
    )


def _renamed(pair: ListedPair) -> str:
    """The predecessor and the successor of a pair, and at what ratio if that is not 1."""
    before, after = predecessor(pair.market, pair.symbol), successor(pair.market, pair.symbol)
    told = [f"from {before.old}{_ratio(before)}"] if before else []
    return ", ".join([*told, f"to {after.new}{_ratio(after)}"] if after else told)


def _ratio(rename: Rename) -> str:
    return "" if rename.ratio == 1 else f" 1:{rename.ratio:g}"
