"""Reports of loads, of combining, of marks and universes as JSON, for `--json`; of one dataset or many.

Belongs here: the names and values of the fields, on which other programs rely. Does not belong here: reports about what
is stored (`app.as_json`), how reports are printed (`cli.reports`, `cli.market.reports`).
"""

from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from market_data_pipeline.app.as_json import revision_json
from market_data_pipeline.app.backfill import BackfillReport
from market_data_pipeline.app.combine import CombinedMany, CombinedOne
from market_data_pipeline.app.live import LiveReport
from market_data_pipeline.app.market.bulk import LoadedDataset, ManyReport
from market_data_pipeline.app.market.fanout import FannedOut
from market_data_pipeline.core.klines.coverage import minutes_by_kind
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.store.universes import Universe
from market_data_pipeline.instance.names import COMBINED

if TYPE_CHECKING:
    from market_data_pipeline.instance.runs import RunReport


def _load(
    ok: bool, run_id: str | None, error: str | None, seconds: float, datasets: Iterable[dict[str, Any]]
) -> dict[str, Any]:
    told = {"ok": ok, "run_id": run_id, "error": error, "seconds": round(seconds, 1)}
    return {**told, "datasets": list(datasets)}


def backfill_json(report: BackfillReport, seconds: float) -> dict[str, Any]:
    """What a backfill of one dataset did, in the shape of one of many."""
    one = {
        "name": report.dataset.name,
        "ok": report.ok,
        "first_day": report.first_day,
        "last_day": report.last_day,
        "days": report.outcomes,
        "rows": report.rows,
        "bytes": report.size_bytes,
        "absent_minutes": minutes_by_kind(report.absences),
        "flaws": len(report.flaws),
        "revised": [revision_json(revision) for revision in report.revised],
        "failed": [{"day": day, "error": why} for day, why in report.failed],
        "failed_checks": list(report.failed_checks),
        "error": report.error,
        "folder": str(report.folder),
        "warnings": report.warnings,
    }
    return _load(report.ok, report.run_id, report.error, seconds, [one])


def many_json(report: ManyReport, seconds: float) -> dict[str, Any]:
    """What a backfill of many datasets did."""
    return _load(report.ok, report.run_id, report.error, seconds, map(_loaded_json, report.datasets.values()))


def _loaded_json(loaded: LoadedDataset) -> dict[str, Any]:
    return {
        "name": loaded.name,
        "ok": loaded.ok,
        "days": loaded.outcomes,
        "rows": loaded.rows,
        "bytes": loaded.size_bytes,
        "absent_minutes": loaded.absent_minutes,
        "flaws": loaded.flaws,
        "failed": [{"day": day, "error": why} for day, why in loaded.failed],
        "error": loaded.error,
        "warnings": list(loaded.warnings),
    }


def marks_json(marked: Iterable[Dataset], unmarked: Iterable[Dataset]) -> dict[str, Any]:
    """Which datasets live mode follows now that it did not, and the other way round."""
    return {"marked": [each.name for each in marked], "unmarked": [each.name for each in unmarked]}


def fanned_json(done: FannedOut, seconds: float) -> dict[str, Any]:
    """What became of the parts of a load by runs. `states` counts runs, once their end was waited for."""
    failed = [{"name": part.name, "days": part.days, "error": why} for part, why in done.failed]
    return {
        "ok": done.ok,
        "seconds": round(seconds, 1),
        "submitted": len(done.submitted),
        "underway": len(done.underway),
        "blocked": len(done.blocked),
        "stored": done.stored,
        "waited": done.waited,
        "states": {state.value: count for state, count in done.states.items()},
        "failed": failed + [{"name": name, "days": "all", "error": why} for name, why in done.refused],
        "warnings": list(done.warnings),
    }


def combined_json(name: str, report: "RunReport") -> dict[str, Any]:
    """The combined file of one dataset, in the shape of many; its run did not fail."""
    numbers = report.results[COMBINED]
    counts = (numbers["dagster/row_count"], numbers["chunks"], numbers["bytes"])
    one = _combined(name, numbers["file"], numbers["outcome"], *counts)
    told = {"ok": not report.failed_checks, "run_id": report.run_id, "error": None}
    return {**told, "failed_checks": list(report.failed_checks), "datasets": [one]}


def combined_many_json(done: CombinedMany) -> dict[str, Any]:
    """The combined files of many datasets."""
    told: dict[str, Any] = {"ok": done.ok, "run_id": done.run_id, "error": done.error, "failed_checks": []}
    return {**told, "datasets": list(map(_combined_one, done.results))}


def _combined_one(one: CombinedOne) -> dict[str, Any]:
    if not (file := one.combined):
        return {"name": one.name, "error": one.problem}
    outcome = "built" if file.built else "unchanged"
    return _combined(one.name, str(file.path), outcome, file.rows, file.chunks, file.size_bytes) | {
        "error": one.problem or None
    }


def _combined(name: str, file: str, outcome: str, rows: int, chunks: int, size_bytes: int) -> dict[str, Any]:
    numbers = {"rows": rows, "chunks": chunks, "bytes": size_bytes}
    return {"name": name, "file": file, "outcome": outcome, **numbers, "error": None}


def session_json(report: LiveReport) -> dict[str, Any]:
    """What live mode did, once it has ended."""
    counts = {"datasets": report.datasets, "minutes": report.minutes, "added": report.added, "revised": report.revised}
    return {"ok": not report.errors, **counts, "errors": report.errors, "warnings": report.warnings}


def universe_json(universe: Universe) -> dict[str, Any]:
    """A universe as the file has it; what it leaves out is null."""
    return {**asdict(universe), "market": universe.market.value, "pairs": list(universe.pairs)}
