"""Loads as runs of Dagster's queue, in a terminal: the progress on stderr, the result on stdout.

Belongs here: how many runs are submitted and in which state, a table of what failed. Does not belong here: loads of
this process (`progress`, `reports`).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from market_data_pipeline.app.market.fanout import FannedOut
from market_data_pipeline.cli.console import out, print_json, print_table, print_warnings, table_of, talk
from market_data_pipeline.cli.lines.others import RunLines
from market_data_pipeline.cli.progress import Log, stderr_console
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.text import count_text
from market_data_pipeline.instance.queue.parts import State

Marks = tuple[Sequence[Dataset], Sequence[Dataset]]
"""The datasets that live mode follows now and did not before, and the other way round."""

_MOST_LINES = 40


@contextmanager
def run_progress(*, as_json: bool = False) -> "Iterator[RunProgress | RunLines]":
    """A progress display that is removed when the block ends, or JSON lines."""
    progress = RunLines() if as_json else RunProgress()
    try:
        yield progress
    finally:
        progress.stop()


class RunProgress:
    """The progress of runs: how many are submitted, then how many have ended."""

    def __init__(self) -> None:
        self._console = stderr_console()
        self._bar = Progress(
            BarColumn(bar_width=16),
            MofNCompleteColumn(),
            TextColumn("runs {task.fields[what]}", markup=False),
            TimeRemainingColumn(compact=True),
            console=self._console,
            transient=True,
        )
        self._task = self._bar.add_task("runs", total=None, what="choosing")
        self._done = self._total = 0
        self._what = ""
        self._log = Log(self._console, self._line)
        if self._console.is_interactive:
            self._bar.start()

    def on_submitted(self, done: int, total: int) -> None:
        """Show how many runs were submitted."""
        self._show(done, total, "submitted")

    def on_states(self, states: Mapping[State, int]) -> None:
        """Show how many runs are in which state."""
        over = sum(count for state, count in states.items() if state.is_over)
        self._show(over, sum(states.values()), states_text(states))

    def stop(self) -> None:
        """Remove the bar, and close the console, of which nothing is used afterwards."""
        self._log.end()
        if self._console.is_interactive:
            self._bar.stop()
        if self._console is not talk:
            self._console.file.close()

    def _show(self, done: int, total: int, what: str) -> None:
        self._done, self._total, self._what = done, total, what
        self._bar.update(self._task, completed=done, total=total, what=what)
        self._log.note()

    def _line(self) -> str:
        return f"{self._done:,} of {count_text(self._total, 'run')}: {self._what}"


def states_text(states: Mapping[State, int]) -> str:
    """`3 queued, 2 running, 12 done`; states without a run are left out."""
    return ", ".join(f"{states[state]:,} {state}" for state in State if states.get(state)) or "none"


def print_fanned_out(done: FannedOut, seconds: float, marks: Marks | None = None, *, as_json: bool = False) -> None:
    """Print how many runs were submitted, what became of them, and what failed and why; as JSON with the marks set."""
    print_warnings(done.warnings)
    if as_json:
        from market_data_pipeline.app.market.as_json import fanned_json, marks_json

        print_json(fanned_json(done, seconds) | (marks_json(*marks) if marks else {}))
        return
    parts = [
        (len(done.submitted), "submitted"),
        (len(done.underway), "underway before"),
        (len(done.blocked), "blocked"),
    ]
    total = sum(count for count, _ in parts) + done.stored
    words = [f"{count:,} {what}" for count, what in [*parts, (done.stored, "stored already")] if count]
    out.print(f"{count_text(total, 'part')} of a pair and a year: {', '.join(words) or 'none'}")
    if done.waited:
        out.print(f"  runs      {states_text(done.states)} in {seconds:.1f} s")
    elif done.followed:
        out.print("  see them with market-data status --runs, or wait for them with --runs --wait")
    failed = [(part.name, part.days, why) for part, why in done.failed]
    failed += [(name, "all", why) for name, why in done.refused]
    if failed:
        table = table_of(("failed", "days", "why"))
        for row in failed[:_MOST_LINES]:
            table.add_row(*row)
        print_table(table)
        if len(failed) > _MOST_LINES:
            out.print(f"... and {len(failed) - _MOST_LINES:,} more")


def print_states(states: Mapping[str, Mapping[State, int]]) -> None:
    """Print how many runs of each market are in which state."""
    if not states:
        talk.print("no runs of market-data backfill --runs, or universe apply NAME --runs")
    for market, of_market in states.items():
        out.print(f"{market:8}  {states_text(of_market)}")
