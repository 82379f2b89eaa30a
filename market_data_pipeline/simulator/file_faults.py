"""The faults of archive files.

Belongs here: changing, cutting and repacking a zip, and the checksum that goes with it.
Does not belong here: which file has a fault (`faults`), zips as such (`data.archive`), klines pages (`page_faults`).
"""

from functools import partial
from random import Random

from market_data_pipeline.simulator.data.archive import ArchiveName, checksum_line, repacked
from market_data_pipeline.simulator.data.rows import in_microseconds, other_values, without_trades

_EMPTY_MINUTES = 60
_MOST_DIFFERING = 3


def spoil_file(name: ArchiveName, packed: bytes, faults: set[str], seed: int) -> bytes:
    """Return a zip, or the checksum file of a zip, with the faults committed.

    Every draw depends on the seed, the fault and the zip's path only, so a zip and its checksum agree.
    """
    packed = repacked(packed, partial(_with_faults, path=name.zip.path, faults=faults, seed=seed))
    if "cut_zip" in faults:
        packed = packed[: len(packed) // 2]
    if not name.is_checksum:
        return packed
    return checksum_line(name, packed + b"other" if "wrong_checksum" in faults else packed)


def _with_faults(text: bytes, path: str, faults: set[str], seed: int) -> bytes:
    lines = text.splitlines(keepends=True)
    for name, spoil in (
        ("archive_drops_rows", _drop_rows),
        ("archive_empty_minutes", _empty_minutes),
        ("archive_differs", _differ),
    ):
        if name in faults:
            spoil(lines, Random(f"{seed} {name} rows {path}"))
    spoiled = b"".join(lines)
    return in_microseconds(spoiled) if "microseconds" in faults else spoiled


def _drop_rows(lines: list[bytes], random: Random) -> None:
    del lines[_run(len(lines), max(1, len(lines) // 10), random)]


def _empty_minutes(lines: list[bytes], random: Random) -> None:
    run = _run(len(lines), min(_EMPTY_MINUTES, len(lines) // 2), random)
    for at in range(len(lines))[run]:
        lines[at] = without_trades(lines[at], price=lines[at - 1].split(b",")[4])


def _differ(lines: list[bytes], random: Random) -> None:
    for at in random.sample(range(len(lines)), min(len(lines), random.randint(1, _MOST_DIFFERING))):
        lines[at] = other_values(lines[at])


def _run(rows: int, length: int, random: Random) -> slice:
    """Choose `length` successive rows without the first and the last row; none if there are not enough rows."""
    if rows < length + 2:
        return slice(rows, rows)
    start = random.randint(1, rows - length - 1)
    return slice(start, start + length)
