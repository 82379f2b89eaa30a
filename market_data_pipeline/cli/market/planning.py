"""`--plan`: what a load will take, on stdout as a table or as JSON.

Belongs here: what `backfill` and `universe apply` share of it, words and order. Does not belong here: the numbers
(`app.market.planning`), loading.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain

from market_data_pipeline.app.as_json import plan_json
from market_data_pipeline.app.backfill import BackfillRequest
from market_data_pipeline.app.market.pairs import Asked
from market_data_pipeline.app.market.planning import LoadPlan, plan_backfill
from market_data_pipeline.cli.console import out, print_json, print_table, print_warnings, table_of, talk
from market_data_pipeline.cli.outcome import exit_unless
from market_data_pipeline.cli.progress import LOG_EVERY_S
from market_data_pipeline.core.loading.cost import TO_LOAD, Cost
from market_data_pipeline.core.text import count_text, size_text, told_of
from market_data_pipeline.settings import Settings

_COLUMNS = ("pair", "days", "sources", "requests", "weight", "download", "store", "at the limit")


def print_plan(settings: Settings, requests: Sequence[BackfillRequest], asked: Asked, *, as_json: bool) -> None:
    """Plan the load of the requested windows, and print the plan; exit if a pair cannot be loaded."""
    with _progress() as on_pair:
        plan = plan_backfill(settings, requests, catalog=asked, on_pair=on_pair)
    print_warnings([f"{cost.name}: {warning}" for cost in plan.costs for warning in cost.warnings])
    if as_json:
        print_json(plan_json(plan))
    else:
        _print_table(plan)
    exit_unless(not plan.failed, may_pass=plan.may_pass)


def _print_table(plan: LoadPlan) -> None:
    table = table_of(_COLUMNS, right=set(_COLUMNS) - {"pair", "days", "sources"})
    total = plan.total
    for cost in (*plan.costs, *([total] if len(plan.costs) > 1 else [])):
        if not cost.error:
            table.add_row(*_cells(cost))
    print_table(table)
    for cost in plan.failed:
        out.print(f"  failed    {told_of(cost.name, cost.error or '')}")
    if plan.catalog.traffic.requests:
        out.print(
            f"  catalog   {count_text(plan.catalog.traffic.requests, 'request')} of weight {plan.catalog.weight:,} for "
            "the pairs of the market are in the sum; today's catalog was not kept"
        )
    out.print(
        f"  time      {_duration(total.seconds_at_limit)} for weight {total.weight:,} at {total.weight_per_minute:,} a "
        f"minute; and the time in which {size_text(total.download_bytes)} come over your line"
    )
    out.print("  nothing was written")


def _cells(cost: Cost) -> tuple[str, ...]:
    return (
        cost.name,
        _counts(dict(cost.days)),
        _counts(dict(cost.sources)),
        f"{cost.requests:,}",
        f"{cost.weight:,}",
        size_text(cost.download_bytes),
        size_text(cost.stored_bytes),
        _duration(cost.seconds_at_limit),
    )


def _counts(counts: Mapping[str, int]) -> str:
    """`31 to load, 2 unchanged`, with what is to be loaded first."""
    ordered = chain([TO_LOAD], sorted(counts.keys() - {TO_LOAD}))
    return ", ".join(f"{counts[name]:,} {name}" for name in ordered if counts.get(name)) or "-"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """Tell on stderr how far the plan is, if it takes long."""
    told_s = time.monotonic()

    def on_pair(done: int, total: int) -> None:
        nonlocal told_s
        if time.monotonic() - told_s >= LOG_EVERY_S:
            told_s = time.monotonic()
            talk.print(f"planned {done:,} of {count_text(total, 'pair')}")

    yield on_pair
