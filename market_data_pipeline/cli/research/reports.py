"""The results of the commands for research, as people read them in a terminal.

Belongs here: words and order of a result, progress. Does not belong here: the same as JSON (`app.as_json`).
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from market_data_pipeline.cli.console import out, print_table, table_of, talk
from market_data_pipeline.cli.lines.writing import Lines
from market_data_pipeline.core.klines.days import iso
from market_data_pipeline.core.store.snapshots.lists import Snapshot
from market_data_pipeline.core.store.snapshots.proving import SnapshotProof
from market_data_pipeline.core.store.snapshots.removing import Removed
from market_data_pipeline.core.text import count_text, size_text, told_of
from market_data_pipeline.reader.exporting import Exported, ExportReport

_TOLD_EVERY_S = 5.0
_MOST_NAMES = 10


@contextmanager
def telling_pairs(*, as_json: bool = False) -> Iterator[Callable[[str, int, int], None]]:
    """Tell which pair is being exported: on stderr every few seconds, or as a JSON line each second."""
    if as_json:
        with Lines() as lines:
            yield lambda name, place, of: lines.tell_if_due("exporting", dataset=name, pair=place, of_pairs=of)
        return
    told_s = time.monotonic()

    def on_pair(name: str, place: int, of: int) -> None:
        nonlocal told_s
        if time.monotonic() - told_s >= _TOLD_EVERY_S:
            told_s = time.monotonic()
            talk.print(f"exporting {name}, {place} of {of}")

    yield on_pair


def print_export(report: ExportReport) -> None:
    """Print a table of what was written, what was not, and what the reader of the files has to know."""
    table = table_of(("pair", "klines", "first", "last", "size", "files"), right={"klines", "size"})
    for each in report.results:
        if each.files:
            table.add_row(each.name, f"{each.rows:,}", *_times(each), size_text(each.size_bytes), _files(each))
    if table.rows:
        print_table(table)
    out.print(
        f"{count_text(len(report.files), 'file')} in {report.output}, {size_text(report.size_bytes)} of {report.format}"
    )
    for each in report.results:
        for note in each.notes:
            out.print(f"  note      {each.name}: {note}")
    if report.empty:
        names = ", ".join(each.name for each in report.empty[:_MOST_NAMES])
        more = f" and {len(report.empty) - _MOST_NAMES} more" if len(report.empty) > _MOST_NAMES else ""
        out.print(f"  none      no klines in the window: {names}{more}")
    for each in report.failed:
        out.print(f"  failed    {told_of(each.name, each.problem)}")


def print_snapshots(snapshots: Sequence[Snapshot]) -> None:
    """Print a table with one line for each snapshot."""
    if not snapshots:
        talk.print("no snapshot; market-data snapshot NAME makes one")
        return
    numbers = ("datasets", "chunks", "klines", "size")
    table = table_of(("snapshot", "created", *numbers, "sha256"), right=numbers)
    for each in snapshots:
        counts = (f"{each.datasets:,}", f"{each.chunks:,}", f"{each.rows:,}", size_text(each.size_bytes))
        table.add_row(each.name, each.created, *counts, each.sha256)
    print_table(table)


def print_removed(removed: Removed) -> None:
    """Print what was removed with a snapshot."""
    freed = (
        f"and {count_text(removed.chunks, 'kept chunk')} that no other snapshot names; "
        f"{size_text(removed.size_bytes)} are free again"
    )
    out.print(f"removed {removed.name} {freed if removed.chunks else 'alone; it kept no chunk that only it names'}")


def print_snapshot_proof(proof: SnapshotProof) -> None:
    """Print whether every chunk of a snapshot is there."""
    found = f"{count_text(proof.chunks, 'chunk')} read, {proof.kept:,} of them replaced since and kept"
    out.print(f"{proof.snapshot.name}: {'good' if proof.ok else 'not good'}, {found}")
    for problem in proof.problems:
        out.print(f"  problem   {problem}")


def _times(each: Exported) -> tuple[str, str]:
    first, last = ("-" if time_ms is None else iso(time_ms) for time_ms in (each.first_open_ms, each.last_open_ms))
    return first, last


def _files(each: Exported) -> str:
    if len(each.files) == 1:
        return str(each.files[0])
    return f"{len(each.files):,} in {each.files[0].parent}"
