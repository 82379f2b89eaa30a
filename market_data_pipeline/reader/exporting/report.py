"""What an export did: for each pair its files, or why there are none.

Belongs here: the two values. Does not belong here: how they are printed (`cli.research`), or look as JSON
(`app.as_json`).
"""

from dataclasses import dataclass
from pathlib import Path

from market_data_pipeline.core.klines.dataset import Market


@dataclass(frozen=True, slots=True)
class Exported:
    """What became of a pair, or of a panel of pairs.

    Attributes:
        name: the pair, or what the panel is called.
        files: what was written, in order; empty if the window has no klines of it, or if it failed.
        rows: how many rows they have together.
        first_open_ms: open time of the first kline, ms UTC; None if there is none.
        last_open_ms: open time of the last one.
        size_bytes: of all files together.
        notes: what the reader of the files has to know, one line each.
        problem: why it failed; empty if it did not.
        may_pass: True if it failed and the same may succeed later: the problem is one of the disk or the bucket.
    """

    name: str
    files: tuple[Path, ...] = ()
    rows: int = 0
    first_open_ms: int | None = None
    last_open_ms: int | None = None
    size_bytes: int = 0
    notes: tuple[str, ...] = ()
    problem: str = ""
    may_pass: bool = False


@dataclass(frozen=True, slots=True, repr=False)
class ExportReport:
    """What an export did. `output` is the folder; `warnings` is what a user should know of all pairs together."""

    market: Market
    format: str
    output: Path
    results: tuple[Exported, ...]
    warnings: tuple[str, ...] = ()
    interval: str = "1m"

    def __repr__(self) -> str:
        """Counts, as a notebook shows it: there may be a thousand pairs."""
        counts = f"pairs={len(self.results)}, failed={len(self.failed)}, empty={len(self.empty)}"
        return (
            f"ExportReport(ok={self.ok}, {self.market} {self.interval} {self.format} in {str(self.output)!r}, "
            f"{counts}, files={len(self.files)}, rows={self.rows}, size_bytes={self.size_bytes})"
        )

    @property
    def failed(self) -> list[Exported]:
        """What could not be exported; the others were."""
        return [each for each in self.results if each.problem]

    @property
    def empty(self) -> list[Exported]:
        """The pairs that have no klines in the window."""
        return [each for each in self.results if not each.problem and not each.files]

    @property
    def files(self) -> list[Path]:
        """Everything that was written."""
        return [path for each in self.results for path in each.files]

    @property
    def rows(self) -> int:
        """How many rows were written."""
        return sum(each.rows for each in self.results)

    @property
    def size_bytes(self) -> int:
        """How large the files are together."""
        return sum(each.size_bytes for each in self.results)

    @property
    def ok(self) -> bool:
        """True if nothing failed."""
        return not self.failed

    @property
    def may_pass(self) -> bool:
        """True if the same may succeed later: whatever failed did so by the disk or the bucket."""
        return all(each.may_pass for each in self.failed)
