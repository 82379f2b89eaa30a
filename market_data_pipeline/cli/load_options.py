"""Options behind the command that several commands have: `--json`, the window, and the ways of a load.

Belongs here: their names and texts, and which exclude each other. Does not belong here: options before the command
(`options`), what is then done (`market`).
"""

from typing import Annotated

import typer

INSTANT = "DATE|TIME"
Start = Annotated[
    str | None,
    typer.Option(metavar=INSTANT, help="First minute: a date (local midnight) or an ISO time; all days if not given."),
]
End = Annotated[
    str | None,
    typer.Option(metavar=INSTANT, help="First minute after the window, written the same way; all days if not given."),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print JSON: what happens, an object a line, and the result as the last line.")
]
Plan = Annotated[
    bool, typer.Option("--plan", help="Print what the load will take: requests, weight, sizes. Nothing is written.")
]
Runs = Annotated[
    bool,
    typer.Option(
        "--runs", help="Load nothing here: submit a run for each pair and year to Dagster's queue, for its workers."
    ),
]
Wait = Annotated[bool, typer.Option("--wait", help="With --runs: wait until all of these runs have ended.")]


def require_way(*, plan: bool, runs: bool, wait: bool) -> None:
    """Refuse options that do not go together.

    Raises:
        UsageError: `--wait` is given without `--runs`, or `--runs` with `--plan`.
    """
    from market_data_pipeline.core.errors import UsageError

    if wait and not runs:
        raise UsageError("--wait waits for the runs of --runs; give both, or none")
    if runs and plan:
        raise UsageError("--plan and --runs exclude each other; the plan is the same for both ways of loading")


def require_alone(option: str, *values: str | None, **switches: bool) -> None:
    """Refuse other options beside one that does something else.

    Raises:
        UsageError: one of them is given.
    """
    from market_data_pipeline.core.errors import UsageError

    if any(value is not None for value in values) or any(switches.values()):
        raise UsageError(f"{option} goes with --json alone; leave out the other options of the command")
