"""The faults of klines pages.

Belongs here: changing the rows of a page, and cutting its JSON.
Does not belong here: which request has a fault (`faults`), archive files (`file_faults`).
"""

from market_data_pipeline.simulator.data.clock import MINUTE_MS
from market_data_pipeline.simulator.data.pairs import Pair
from market_data_pipeline.simulator.data.rows import csv_from_rows, other_values, provisional, rows_from_csv

_OFF_GRID_MS = 7_000


def spoil_page(body: bytes, faults: set[str], pair: Pair, now_ms: int, provisional_ms: float) -> bytes:
    """Return the JSON body of a klines page with the faults committed.

    With the fault `provisional`, klines that closed less than `provisional_ms` ago do not have their final values.
    """
    if "empty" in faults:
        body = b"[]"
    if body != b"[]":
        lines = csv_from_rows(body[1:-1] + b",", microseconds=False).splitlines()
        if "provisional" in faults:
            lines = [provisional(line, pair) if 0 <= _age_ms(line, now_ms) < provisional_ms else line for line in lines]
        body = b"[" + rows_from_csv(_with_faults(lines, faults, now_ms)).text[:-1] + b"]"
    return body[: len(body) // 2] if "cut_json" in faults else body


def _with_faults(lines: list[bytes], faults: set[str], now_ms: int) -> list[bytes]:
    if "drop_rows" in faults and len(lines) > 2:
        third = max(1, len(lines) // 3)
        lines = lines[:third] + lines[third + max(1, len(lines) // 10) :]
    # Of a page of two rows this is the first. The second is still open, and a client that polls for closed klines
    # drops it.
    middle = (len(lines) - 1) // 2
    if "open_as_closed" in faults:
        lines[-1] = _closed_before(lines[-1], now_ms)
    if "off_grid" in faults:
        lines[middle] = _shifted(lines[middle])
    if "swap_rows" in faults and len(lines) > 1:
        lines[middle], lines[middle + 1] = lines[middle + 1], lines[middle]
    if "conflicting_rows" in faults:
        lines.insert(middle + 1, other_values(lines[middle]))
    if "repeat_rows" in faults and len(lines) > 1:
        lines.insert(middle, lines[middle])
    return lines


def _age_ms(line: bytes, now_ms: int) -> int:
    """Return the time since the kline closed, ms; less than 0 while it is open."""
    return now_ms - int(line[: line.index(b",")]) - MINUTE_MS


def _closed_before(line: bytes, now_ms: int) -> bytes:
    fields = line.split(b",")
    if int(fields[6]) >= now_ms:
        fields[6] = b"%d" % max(int(fields[0]), now_ms - 1)
    return b",".join(fields)


def _shifted(line: bytes) -> bytes:
    fields = line.split(b",")
    fields[0], fields[6] = (b"%d" % (int(fields[at]) + _OFF_GRID_MS) for at in (0, 6))
    return b",".join(fields)
