"""What is stored, as people read it in a terminal.

Belongs here: words and order of the table of `status`. Does not belong here: the numbers (`app.as_json`), which are
printed as they are kept, so that no object of the store is needed.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from market_data_pipeline.cli.console import out, print_table, print_warnings, table_of
from market_data_pipeline.core.text import count_text, kinds_text, size_text

Status = Mapping[str, Any]
"""As `app.as_json.status_json` returns it."""
_COLUMNS = ("market", "pair", "zone", "days", "chunks", "incomplete", "klines", "size", "state", "absent minutes")


def print_statuses(statuses: Sequence[Status]) -> None:
    """Print a table with one line per dataset, then one line for each dataset whose stored values were revised.

    A line is longer than the terminal rather than cut, so that other programs can read the table.
    """
    table = table_of(_COLUMNS, right={"chunks", "incomplete", "klines", "size"})
    for status in statuses:
        print_warnings(status["warnings"])
        table.add_row(*_cells(status))
    print_table(table)
    for status in statuses:
        _print_notes(status)


def _cells(status: Status) -> tuple[str, ...]:
    incomplete = status["chunks"] - status["complete_chunks"]
    return (
        status["market"],
        status["pair"],
        status["tz"],
        f"{status['first_day']} .. {status['last_day']}" if status["chunks"] else "none",
        _chunks_text(status),
        f"{incomplete:,}" if incomplete else "-",
        f"{status['rows']:,}",
        size_text(status["bytes"]),
        ", ".join(f"{count:,} {state}" for state, count in status["states"].items()) or "-",
        kinds_text(status["absent_minutes"]),
    )


def _chunks_text(status: Status) -> str:
    """How many days have a chunk, and of how many where some between the first and the last have none."""
    chunks: int = status["chunks"]
    if not chunks:
        return "0"
    first, last = (date.fromisoformat(status[name]) for name in ("first_day", "last_day"))
    days = (last - first).days + 1
    return f"{chunks:,}" if chunks == days else f"{chunks:,} of {days:,}"


def _print_notes(status: Status) -> None:
    """Print what a table has no place for: an earlier pair of the symbol, flaws, revisions."""
    name = f"{status['market']} {status['pair']}"
    if reused := status.get("reused"):
        out.print(f"{name}  an earlier pair had this symbol until {reused['until']}, this one begins {reused['since']}")
    if status["flaws"]:
        out.print(
            f"{name}  {count_text(status['flaws'], 'flaw')}: values that break a rule, stored as the exchange has them "
            "(market-data verify names them)"
        )
    if revisions := status.get("revisions"):
        last, count = revisions["last"], revisions["count"]
        times = "once" if count == 1 else f"{count:,} times"
        out.print(
            f"{name}  stored values revised {times}, last noticed {last['at']}: {last['minutes']} min of {last['day']} "
            f"(all in revisions.jsonl of {status['folder']})"
        )
