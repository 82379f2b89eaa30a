"""Live mode on stderr: in a terminal a table that is redrawn each minute, else one line a minute; or JSON on stdout.

Belongs here: what is shown while live mode runs and when it ends. Does not belong here: keeping datasets current
(`app.live`), other results (`reports`).
"""

import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from market_data_pipeline.app import live
from market_data_pipeline.app.backfill import OnDay, OnStart
from market_data_pipeline.app.live import LiveReport, LiveRequest
from market_data_pipeline.app.market.live import find_or_create_datasets
from market_data_pipeline.app.targets import Target
from market_data_pipeline.cli.console import out, print_json, print_warnings, styled, table_of, talk
from market_data_pipeline.cli.lines.live import LiveLines
from market_data_pipeline.cli.progress import day_progress
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.klines.days import MINUTE_MS, iso
from market_data_pipeline.core.live.dataset import Update
from market_data_pipeline.core.live.market import LiveMarket
from market_data_pipeline.core.live.runs_due import DueDays
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.text import clock_text, count_text, told_of
from market_data_pipeline.instance.names import sensor_name
from market_data_pipeline.services.signals import set_on_stop
from market_data_pipeline.settings import Settings

_MOST_TROUBLES = 5
# What fits on a screen, with the lines above the table.
_MOST_ROWS = 25
# Narrower terminals have no room for problems beside the other columns.
_LEAST_WIDTH = 80


@dataclass(slots=True)
class _Row:
    """What was stored of a dataset since live mode was started."""

    dataset: Dataset
    update: Update | None = None
    lag_s: float = 0.0
    revised: int = 0


class LiveTable:
    """The newest kline of each dataset, how long after its minute it was stored, and how many klines were revised.

    A `Watcher` of `app.live`, called by one thread per market.
    """

    def __init__(self, datasets: Sequence[Dataset], console: Console = talk) -> None:
        self._console = console
        self._rows = {dataset.name: _Row(dataset) for dataset in datasets}
        self._footer: dict[str, str] = {}
        self._troubles: list[str] = []
        self._lock = threading.Lock()
        self._live = Live(console=console, auto_refresh=False, get_renderable=self._shown)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start(refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def on_update(self, market: LiveMarket, edge_ms: int, update: Update) -> None:
        """Note what was stored of a dataset for the minute that ended at `edge_ms`."""
        with self._lock:
            row = self._rows[update.name]
            row.update = update
            row.revised += update.revised
            if update.added:
                row.lag_s = (market.now_ms() - edge_ms) / 1000

    def on_minute(self, market: LiveMarket, edge_ms: int) -> None:
        """Redraw the table, or print the line of the minute that ended at `edge_ms`."""
        usage = market.usage()
        offset = f"clock {clock_text(market.clock_offset_ms)}"
        with self._lock:
            self._footer[market.market] = f"{market.market} weight {usage.used:,} of {usage.limit:,}, {offset}"
        if self._console.is_terminal:
            self._live.refresh()
            return
        rows = [row for row in self._rows.values() if row.dataset.market is market.market and row.update]
        added = sum(row.update.added for row in rows if row.update)
        parts = [f"{iso(edge_ms)} {market.market}: {count_text(added, 'kline')} of {count_text(len(rows), 'pair')}"]
        if added:
            parts.append(f"slowest {max(row.lag_s for row in rows):.2f} s")
        parts += [f"{count} {what}" for what, count in _problem_counts(rows).items()]
        self._console.print(", ".join(parts))

    def on_trouble(self, line: str) -> None:
        """Show a problem above the table, with the last few others, or print it as a line."""
        with self._lock:
            self._troubles = [*self._troubles, f"{time.strftime('%H:%M:%S')} {line}"][-_MOST_TROUBLES:]
        if self._console.is_terminal:
            self._live.refresh()
        else:
            self._console.print(styled((line, "yellow")))

    def _shown(self) -> Group:
        """What is said above the table, as a terminal that is too low shows the beginning, and the table."""
        with self._lock:
            rows = sorted(self._rows.values(), key=lambda row: not _problem_of(row.update))
            if len(rows) > _MOST_ROWS:
                # Of many, those that are late or have a problem, then the slowest.
                rows.sort(key=lambda row: (not _problem_of(row.update), -row.lag_s))
            footer = "; ".join(self._footer.values()) or "waiting for the end of the minute"
            lines = [*([_totals(rows)] if len(rows) > _MOST_ROWS else []), footer, *self._troubles]
            shown = rows[:_MOST_ROWS]
            has_room = self._console.width >= _LEAST_WIDTH
            if not has_room:
                problems = [(row.dataset.name, _problem_of(row.update)) for row in shown]
                lines += [told_of(name, problem) for name, problem in problems if problem][:_MOST_TROUBLES]
            # The console wraps nothing by itself, so that a pipe has one line for each.
            text = Text("\n".join(lines), style="table.caption", no_wrap=False, overflow="fold")
            return Group(text, _table_of(shown, with_problems=has_room))


def _table_of(rows: Sequence[_Row], *, with_problems: bool) -> Table:
    table = table_of(("market", "pair", "newest kline", "lag", "revised"), right={"lag", "revised"})
    for row in rows:
        newest = row.update.last_open_ms if row.update else None
        cells: list[RenderableType] = [
            row.dataset.market.value,
            row.dataset.pair,
            "-" if newest is None else iso(newest),
            f"{row.lag_s:.2f} s" if row.lag_s else "-",
            f"{row.revised:,}" if row.revised else "-",
        ]
        table.add_row(*cells, *([styled((_problem_of(row.update), "yellow"))] if with_problems else []))
    return table


def follow(settings: Settings, request: LiveRequest, *, as_json: bool = False) -> LiveReport:
    """Keep datasets current until a signal to stop or the last of the minutes: a table on stderr, or JSON lines."""
    stopped = threading.Event()
    with ExitStack() as stack:

        def on_load(due: list[DueDays]) -> tuple[OnStart, OnDay]:
            progress = stack.enter_context(day_progress(as_json=as_json))
            return progress.on_start, progress.on_day

        def watch(datasets: Sequence[Dataset], warnings: Sequence[str]) -> LiveTable | LiveLines:
            stack.close()
            print_warnings(warnings)
            stack.enter_context(set_on_stop(stopped))
            if as_json:
                return stack.enter_context(LiveLines(datasets, warnings))
            return stack.enter_context(LiveTable(datasets))

        return live.follow(settings, request, stopped=stopped, on_load=on_load, watch=watch)


def follow_many(
    settings: Settings, targets: Sequence[Target], minutes: int | None, *, as_json: bool = False
) -> LiveReport:
    """Keep several datasets current; what cannot be followed is told first, and is an error of the session."""
    named = find_or_create_datasets(settings, targets)
    print_warnings([f"{name} is not followed: {error}" for name, error in named.errors.items()])
    report = follow(settings, LiveRequest(targets[0], minutes, datasets=tuple(named.datasets)), as_json=as_json)
    report.errors |= named.errors
    report.passing |= named.passing
    return report


def print_marked(files: DatasetStore, *, is_default: bool) -> None:
    """Print what the sensors do with the dataset from now on; `is_default` says that the user named no pair."""
    dataset, sensor = files.dataset, sensor_name(files.dataset.market)
    if not dataset.live:
        out.print(f"{dataset.name} is no longer marked live: the sensor {sensor} leaves it alone from its next tick on")
        if is_default:
            out.print("other datasets keep their marks, as no pair is named; --pair '*' means all of the market")
        return
    newest = files.newest_open_ms
    missing = "today's klines" if newest is None else f"what is missing since {iso(newest + MINUTE_MS)}"
    out.print(
        f"{dataset.name} is marked live: from its next tick on the sensor {sensor}, if turned on, loads {missing} and "
        "keeps it current"
    )


def print_session(report: LiveReport, console: Console = talk, *, as_json: bool = False) -> None:
    """Print what live mode did, once it has ended: on stderr, or as JSON on stdout."""
    if as_json:
        from market_data_pipeline.app.market.as_json import session_json

        print_json(session_json(report))
        return
    console.print(
        f"followed {count_text(report.datasets, 'dataset')} for {count_text(report.minutes, 'minute')}: "
        f"{count_text(report.added, 'kline')} added, {report.revised:,} revised; the manifest is written"
    )
    for name, error in report.errors.items():
        console.print(styled((f"{name}: {error}", "red")))


def _totals(rows: Sequence[_Row]) -> str:
    """The line for all datasets, of which the table has not all."""
    followed = [row for row in rows if row.update]
    problems = ", ".join(f"{count} {what}" for what, count in _problem_counts(followed).items()) or "no problem"
    added = sum(row.update.added for row in followed if row.update)
    slowest = max((row.lag_s for row in rows), default=0.0)
    return f"all {count_text(len(rows), 'pair')}: {count_text(added, 'kline')}, slowest {slowest:.2f} s, {problems}"


def _problem_of(update: Update | None) -> str:
    if update is None:
        return ""
    if update.error:
        return update.error
    if update.is_behind:
        return "behind: the missing days are being loaded"
    if update.has_ended:
        return "no longer traded"
    return "late: the exchange has no newer kline" if update.is_late else ""


def _problem_counts(rows: Sequence[_Row]) -> dict[str, int]:
    updates = [row.update for row in rows if row.update]
    counts = {
        "revised": sum(update.revised for update in updates),
        "late": sum(update.is_late for update in updates),
        "behind": sum(update.is_behind for update in updates),
        "failed": sum(update.error is not None for update in updates),
    }
    return {what: count for what, count in counts.items() if count}
