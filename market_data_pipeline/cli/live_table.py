"""How live mode looks in a terminal: a table that is renewed each minute, or a line a minute without a terminal.

Belongs here: words and layout. Does not belong here: following (`following`), other results (`console`).
"""

import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from market_data_pipeline.app import live
from market_data_pipeline.app.backfill import OnDay, OnStart
from market_data_pipeline.app.live import LiveReport, LiveRequest
from market_data_pipeline.cli.console import day_progress, out, print_warnings, talk
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.klines.days import iso
from market_data_pipeline.core.live.dataset import Update
from market_data_pipeline.core.live.market import LiveMarket
from market_data_pipeline.core.live.runs_due import Due
from market_data_pipeline.instance.names import sensor_name
from market_data_pipeline.services.signals import set_on_stop
from market_data_pipeline.settings import Settings

_MOST_TROUBLES = 5


@dataclass(slots=True)
class _Row:
    """A dataset since the session began."""

    dataset: Dataset
    update: Update | None = None
    lag_s: float = 0.0
    revised: int = 0


class LiveTable:
    """Shows each dataset's newest kline, how long after its minute it was stored, and what was revised."""

    def __init__(self, datasets: Sequence[Dataset], console: Console = talk) -> None:
        self._console = console
        self._rows = {dataset.name: _Row(dataset) for dataset in datasets}
        self._foot: dict[str, str] = {}
        self._troubles: list[str] = []
        self._lock = threading.Lock()
        self._live = Live(console=console, auto_refresh=False, get_renderable=self._table)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start(refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def on_update(self, market: LiveMarket, edge_ms: int, update: Update) -> None:
        """See `app.live.Watcher`."""
        with self._lock:
            row = self._rows[update.name]
            row.update = update
            row.revised += update.revised
            if update.added:
                row.lag_s = (market.now_ms() - edge_ms) / 1000

    def on_minute(self, market: LiveMarket, edge_ms: int) -> None:
        """See `app.live.Watcher`."""
        usage = market.usage()
        offset = f"clock {market.clock_offset_ms:+,} ms" if abs(market.clock_offset_ms) >= 1 else "clock exact"
        with self._lock:
            self._foot[market.market] = f"{market.market} weight {usage.used:,} of {usage.limit:,}, {offset}"
        if self._console.is_terminal:
            self._live.refresh()
            return
        rows = [row for row in self._rows.values() if row.dataset.market is market.market and row.update]
        added = sum(row.update.added for row in rows if row.update)
        said = [f"{iso(edge_ms)} {market.market}: {_some(added, 'kline')} of {_some(len(rows), 'pair')}"]
        if added:
            said.append(f"slowest {max(row.lag_s for row in rows):.2f} s")
        self._console.print(", ".join([*said, *(f"{count} {what}" for what, count in _counted(rows).items())]))

    def on_trouble(self, said: str) -> None:
        """See `app.live.Watcher`."""
        with self._lock:
            self._troubles = [*self._troubles, f"{time.strftime('%H:%M:%S')} {said}"][-_MOST_TROUBLES:]
        if self._console.is_terminal:
            self._live.refresh()
        else:
            self._console.print(f"[yellow]{said}[/yellow]")

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
        for name in ("market", "pair", "newest kline", "lag", "revised", ""):
            table.add_column(name, justify="right" if name in {"lag", "revised"} else "left", no_wrap=bool(name))
        with self._lock:
            for row in sorted(self._rows.values(), key=lambda row: not _trouble_of(row.update)):
                newest = row.update.last_open_ms if row.update else None
                table.add_row(
                    row.dataset.market.value,
                    row.dataset.pair,
                    "-" if newest is None else iso(newest),
                    f"{row.lag_s:.2f} s" if row.lag_s else "-",
                    f"{row.revised:,}" if row.revised else "-",
                    f"[yellow]{_trouble_of(row.update)}[/yellow]",
                )
            table.caption = "\n".join(
                ["; ".join(self._foot.values()) or "waiting for the minute's end", *self._troubles]
            )
        table.caption_justify = "left"
        return table


def follow(settings: Settings, request: LiveRequest) -> LiveReport:
    """Follow with a table on the terminal until Ctrl-C, SIGTERM or the last minute."""
    stopped = threading.Event()
    with ExitStack() as stack:

        def on_load(due: list[Due]) -> tuple[OnStart, OnDay]:
            progress = stack.enter_context(day_progress())
            return progress.on_start, progress.on_day

        def watch(datasets: Sequence[Dataset], warnings: Sequence[str]) -> LiveTable:
            stack.close()
            print_warnings(warnings)
            stack.enter_context(set_on_stop(stopped))
            return stack.enter_context(LiveTable(datasets))

        return live.follow(settings, request, stopped=stopped, on_load=on_load, watch=watch)


def print_marked(dataset: Dataset) -> None:
    """What the sensors will do from now on."""
    sensor = sensor_name(dataset.market)
    if dataset.live:
        out.print(
            f"{dataset.name} is marked live: the sensor {sensor} keeps it current from its next tick on, if it is on"
        )
    else:
        out.print(f"{dataset.name} is not live any more: the sensor {sensor} lets go of it with its next tick")


def print_session(report: LiveReport, console: Console = talk) -> None:
    """What a session did, once it is over."""
    console.print(
        f"followed {_some(report.datasets, 'dataset')} for {_some(report.minutes, 'minute')}: "
        f"{_some(report.added, 'kline')} added, {report.revised:,} revised; the manifest is written"
    )
    for name, error in report.errors.items():
        console.print(f"[red]{name}: {error}[/red]")


def _some(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def _trouble_of(update: Update | None) -> str:
    if update is None:
        return ""
    if update.error:
        return update.error
    if update.is_behind:
        return "behind: the missing days are being loaded"
    if update.has_ended:
        return "traded no longer"
    return "late: the exchange has no newer kline" if update.is_late else ""


def _counted(rows: Sequence[_Row]) -> dict[str, int]:
    updates = [row.update for row in rows if row.update]
    counted = {
        "revised": sum(update.revised for update in updates),
        "late": sum(update.is_late for update in updates),
        "behind": sum(update.is_behind for update in updates),
        "failed": sum(update.error is not None for update in updates),
    }
    return {what: count for what, count in counted.items() if count}
