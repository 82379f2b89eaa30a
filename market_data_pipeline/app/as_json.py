"""Reports as JSON, for `--json` and the HTTP API.

Belongs here: the names and values of the fields, on which other programs rely. Does not belong here: how reports are
printed (`cli.reports`).
"""

from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from market_data_pipeline.core.catalog.renames import predecessor, successor
from market_data_pipeline.core.klines.coverage import minutes_by_kind, total_minutes
from market_data_pipeline.core.klines.days import iso
from market_data_pipeline.core.store.records import absence_record, content

if TYPE_CHECKING:
    from market_data_pipeline.app.doctor.lines import Line
    from market_data_pipeline.app.market.pairs import ChangesSince
    from market_data_pipeline.app.market.planning import LoadPlan
    from market_data_pipeline.app.report import Report
    from market_data_pipeline.core.catalog.catalog import Catalog
    from market_data_pipeline.core.catalog.pairs import ListedPair
    from market_data_pipeline.core.catalog.renames import Rename
    from market_data_pipeline.core.klines.dataset import Dataset
    from market_data_pipeline.core.loading.cost import Cost
    from market_data_pipeline.core.proof.crosscheck import CrossCheck
    from market_data_pipeline.core.proof.prove import Proof
    from market_data_pipeline.core.store.revisions import Revision
    from market_data_pipeline.core.store.snapshots.lists import Snapshot
    from market_data_pipeline.core.store.snapshots.proving import SnapshotProof
    from market_data_pipeline.core.store.snapshots.removing import Removed
    from market_data_pipeline.core.store.status import DatasetStatus
    from market_data_pipeline.reader.exporting import ExportReport


def dataset_json(dataset: "Dataset") -> dict[str, Any]:
    """The fields that identify a dataset."""
    return {"market": dataset.market.value, "pair": dataset.pair, "tz": dataset.zone.name}


def status_json(status: "DatasetStatus") -> dict[str, Any]:
    """A dataset in numbers. `revisions` is present only if stored values have been revised."""
    last, reused = status.last_revision, status.dataset.reused
    return {
        **dataset_json(status.dataset),
        "start": status.dataset.start.isoformat(),
        "first_day": status.first_day,
        "last_day": status.last_day,
        "chunks": status.chunks,
        "complete_chunks": status.complete_chunks,
        "rows": status.rows,
        "bytes": status.size_bytes,
        "newest_kline": None if status.newest_open_ms is None else iso(status.newest_open_ms),
        "live": status.dataset.live,
        **({"reused": {"until": iso(reused.start_ms), "since": iso(reused.end_ms)}} if reused else {}),
        "states": dict(status.states),
        "absent_minutes": dict(status.absent_minutes),
        "flaws": status.flaws,
        **({"revisions": {"count": status.revisions, "last": revision_json(last)}} if last else {}),
        "folder": str(status.folder),
        "warnings": list(status.warnings),
    }


def revision_json(revision: "Revision") -> dict[str, Any]:
    """A revision of stored values."""
    return {"day": revision.day, "at": revision.at, "minutes": total_minutes(revision.minutes)}


def proof_json(proof: "Proof") -> dict[str, Any]:
    """The results of verifying a dataset."""
    verification = proof.verification
    return {
        **dataset_json(verification.dataset),
        "ok": proof.ok,
        "days": verification.days,
        "rows": verification.rows,
        "bytes": verification.size_bytes,
        "absent_minutes": minutes_by_kind(verification.absences),
        "absences": [content(absence_record(absence)) for absence in verification.absences],
        "flaws": [asdict(flaw) for flaw in verification.flaws],
        "findings": [
            {
                "check": finding.check,
                "day": finding.day,
                "severity": finding.severity.value,
                "problem": finding.problem,
            }
            for finding in verification.findings
        ],
        "strangers": [str(path) for path in verification.strangers],
        "crosscheck": None if proof.crosscheck is None else crosscheck_json(proof.crosscheck),
        "combined": proof.combined.value,
        "combined_problem": proof.combined_problem or None,
        "warnings": list(proof.warnings),
    }


def pair_json(pair: "ListedPair") -> dict[str, Any]:
    """A pair of the catalog."""
    return {
        "market": pair.market.value,
        "pair": pair.pair,
        "symbol": pair.symbol,
        "base": pair.base,
        "quote": pair.quote,
        "kind": pair.kind.value,
        "status": pair.status.value,
        "first_day": pair.first_day.isoformat(),
        "last_day": pair.last_day.isoformat() if pair.last_day else None,
        "lives": [
            {"first_day": life.first.isoformat(), "last_day": life.last.isoformat() if life.last else None}
            for life in pair.lives
        ],
        "settlement": None if pair.delivered_ms is None else iso(pair.delivered_ms),
        "successor": _rename_json(successor(pair.market, pair.symbol), "new"),
        "predecessor": _rename_json(predecessor(pair.market, pair.symbol), "old"),
    }


def _rename_json(rename: "Rename | None", other: str) -> dict[str, Any] | None:
    """The other pair of a rename: `old` or `new`. `ratio` is how many units of the new asset one of the old became."""
    if rename is None:
        return None
    return {
        "pair": getattr(rename, other),
        "day": rename.day.isoformat() if rename.day else None,
        "ratio": rename.ratio,
        "sources": list(rename.sources),
    }


def catalog_json(catalog: "Catalog", chosen: Sequence["ListedPair"]) -> dict[str, Any]:
    """The pairs that were chosen from a catalog, and what it lacks."""
    return {
        "market": catalog.market.value,
        "day": catalog.day.isoformat(),
        "warnings": list(catalog.warnings),
        "pairs": [pair_json(pair) for pair in chosen],
    }


def changes_json(catalog: "Catalog", since: "ChangesSince") -> dict[str, Any]:
    """What changed in a catalog since a day, and what the catalog lacks."""
    return {
        "market": catalog.market.value,
        "day": catalog.day.isoformat(),
        "warnings": list(catalog.warnings),
        "since": since.since.isoformat(),
        "compared_with_snapshot": since.compared,
        **{
            field.name: [pair_json(pair) for pair in getattr(since.changes, field.name)]
            for field in fields(since.changes)
        },
    }


def plan_json(plan: "LoadPlan") -> dict[str, Any]:
    """What a load will take: `pairs` one by one, `total` with the requests for the catalog."""
    catalog = {
        "requests": plan.catalog.traffic.requests,
        "weight": plan.catalog.weight,
        "download_bytes": plan.catalog.traffic.received_bytes,
    }
    return {"pairs": [cost_json(cost) for cost in plan.costs], "catalog": catalog, "total": cost_json(plan.total)}


def cost_json(cost: "Cost") -> dict[str, Any]:
    """What a load of one pair will take. `seconds_at_limit` is the time that the weight takes, nothing else."""
    return {
        "name": cost.name,
        "days": dict(cost.days),
        "sources": dict(cost.sources),
        "requests": cost.requests,
        "weight": cost.weight,
        "weight_per_minute": cost.weight_per_minute,
        "seconds_at_limit": round(cost.seconds_at_limit, 1),
        "download_bytes": cost.download_bytes,
        "stored_bytes": cost.stored_bytes,
        "klines": cost.klines,
        "warnings": list(cost.warnings),
        "error": cost.error,
    }


def crosscheck_json(compared: "CrossCheck") -> dict[str, Any]:
    """The results of a comparison with another source, with the first differences in full."""
    return {
        "against": compared.against,
        "days": compared.days,
        "of_days": compared.of_days,
        "nothing_compared": compared.nothing_compared,
        "rows": compared.rows,
        "differing_days": compared.differing_days,
        "differences": [asdict(difference) for difference in compared.differences],
        "not_compared": [{"day": day, "reason": reason} for day, reason in compared.not_compared],
    }


def examined_json(lines: Sequence["Line"]) -> dict[str, Any]:
    """What `doctor` saw. A line that is not `ok` has what to do as its `cure`."""
    told = [
        {"section": line.section, "name": line.name, "ok": line.ok, "detail": line.detail, "cure": line.cure or None}
        for line in lines
    ]
    return {"ok": all(line.ok for line in lines), "lines": told}


def report_json(report: "Report") -> dict[str, Any]:
    """What Dagster was told of: the run, and each dataset with its days."""
    datasets = [
        {
            "name": one.name,
            "days": one.days,
            "told": one.told,
            "not_stored": one.not_stored,
            "error": one.problem or None,
        }
        for one in report.datasets
    ]
    return {
        "ok": report.ok,
        "run_id": report.run_id,
        "told": sum(one.told for one in report.datasets),
        "error": report.error,
        "datasets": datasets,
    }


def export_json(report: "ExportReport") -> dict[str, Any]:
    """What an export did: its files by pair."""
    return {
        "market": report.market.value,
        "format": report.format,
        "interval": report.interval,
        "output": str(report.output),
        "ok": report.ok,
        "rows": report.rows,
        "bytes": report.size_bytes,
        "warnings": list(report.warnings),
        "pairs": [
            {
                "pair": each.name,
                "files": [str(path) for path in each.files],
                "rows": each.rows,
                "first": None if each.first_open_ms is None else iso(each.first_open_ms),
                "last": None if each.last_open_ms is None else iso(each.last_open_ms),
                "bytes": each.size_bytes,
                "notes": list(each.notes),
                "problem": each.problem,
            }
            for each in report.results
        ],
    }


def snapshot_json(snapshot: "Snapshot") -> dict[str, Any]:
    """What a snapshot names, in numbers."""
    return {
        "name": snapshot.name,
        "created": snapshot.created,
        "datasets": snapshot.datasets,
        "chunks": snapshot.chunks,
        "rows": snapshot.rows,
        "bytes": snapshot.size_bytes,
        "sha256": snapshot.sha256,
    }


def removed_json(removed: "Removed") -> dict[str, Any]:
    """What was removed with a snapshot."""
    return {"name": removed.name, "removed_chunks": removed.chunks, "removed_bytes": removed.size_bytes}


def snapshot_proof_json(proof: "SnapshotProof") -> dict[str, Any]:
    """Whether all that a snapshot names is there."""
    return {
        **snapshot_json(proof.snapshot),
        "ok": proof.ok,
        "read_chunks": proof.chunks,
        "kept_chunks": proof.kept,
        "problems": list(proof.problems),
    }
