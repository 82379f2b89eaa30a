"""Dagster metadata, which the UI shows: of a day, the manifest, a combined file, findings and the columns.

Belongs here: values of `core` as Dagster metadata. Does not belong here: computing the values (`core`).
https://docs.dagster.io/guides/build/assets/metadata-and-tags
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from market_data_pipeline.core.klines.coverage import Absence, evidence_of, minutes_by_kind, total_minutes
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.klines.days import iso
from market_data_pipeline.core.klines.flaws import Flaw
from market_data_pipeline.core.klines.table import SCHEMA
from market_data_pipeline.core.loading.day import DayResult
from market_data_pipeline.core.store.combined import Combined
from market_data_pipeline.core.store.layout import MANIFEST_FILE, REVISIONS_FILE
from market_data_pipeline.core.store.manifest import Entry
from market_data_pipeline.core.store.revisions import Revision
from market_data_pipeline.core.store.status import DatasetStatus
from market_data_pipeline.core.store.storage.protocol import StorePath
from market_data_pipeline.core.text import kinds_text, size_text
from market_data_pipeline.instance.names import COMBINED, DATA_VERSION_TAG, MANIFEST, ROWS, asset_path

_MOST_CHANGES = 5
_MOST_FLAWS = 5
_SHORT = 12
_RECORDED_CHUNK = re.compile(rf"sha256 ([0-9a-f]{{{_SHORT}}})")
# Of the first version, whose days are not told again: it had the whole sha256, as an entry of its own.
_FIRST_VERSION = '"sha256"'
_COLUMN_MEANING = {
    "open_time": "first ms of the minute, UTC; unique",
    "open": "price of the first trade",
    "high": "highest price",
    "low": "lowest price",
    "close": "price of the last trade",
    "volume": "traded amount of the base asset",
    "close_time": "last ms of the minute, UTC",
    "quote_volume": "traded amount of the quote asset",
    "trades": "number of trades",
    "taker_base_volume": "base asset bought by takers",
    "taker_quote_volume": "quote asset paid by taker buyers",
    "ignore": "stored as the exchange sends it; it has no meaning",
}


def column_schema() -> dg.TableSchema:
    """The twelve fields of a kline, for the asset's page."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                field.name, str(field.type), _COLUMN_MEANING[field.name], dg.TableColumnConstraints(nullable=False)
            )
            for field in SCHEMA
        ]
    )


def day_metadata(chunk: StorePath, result: DayResult) -> Mapping[str, Any]:
    """Metadata of a day: its rows, its absent minutes, its chunk and where that is; on odd days what is odd.

    Dagster takes 150 bytes for an entry, so what belongs together is one. The chart of a day and the rest of its
    numbers are on the browse page and in the manifest.
    """
    entry = result.entry
    if entry is None:
        return {ROWS: 0, "chunk": result.outcome.value}
    metadata: dict[str, Any] = {
        ROWS: entry.rows,
        "absent": absences_text(entry.absences),
        "chunk": f"{result.outcome}, {entry.state}, {entry.source}, {size_text(entry.size_bytes)}, "
        f"sha256 {entry.sha256[:_SHORT]}…",
        "file": dg.MetadataValue.path(str(chunk)),
    }
    if evidence := evidence_of(entry.absences):
        metadata["evidence"] = "; ".join(evidence)
    if entry.flaws:
        metadata["flaws"] = flaws_text(entry.flaws)
    if revision := result.revision:
        metadata["revised_minutes"] = total_minutes(revision.minutes)
        metadata["revised"] = revision_text(revision)
    return metadata


def recorded_chunk(text: str) -> str:
    """The begin of the sha256 of the chunk that a day's stored event tells of; empty if it tells of none."""
    found = _RECORDED_CHUNK.search(text)
    return found[1] if found else ""


def tells_of_chunk(text: str, entry: Entry | None) -> bool:
    """Whether the stored event of a day tells of the chunk of this entry, or of no chunk if that is None."""
    return recorded_chunk(text) == (entry.sha256[:_SHORT] if entry else "")


def is_told(entry: Entry, text: str | None) -> bool:
    """Whether the stored event of a day, None if there is none, tells of this chunk.

    While a day is not over its chunk grows, which is told each hour at most. An empty text tells of any chunk.
    """
    if not text or not entry.is_over:
        return text is not None
    return tells_of_chunk(text, entry) or _FIRST_VERSION in text


def manifest_metadata(status: DatasetStatus) -> Mapping[str, Any]:
    """Metadata of the manifest: sums over all chunks."""
    return {
        "chunks": status.chunks,
        "complete_chunks": status.complete_chunks,
        "dagster/row_count": status.rows,
        "first_day": status.first_day or "none",
        "last_day": status.last_day or "none",
        "bytes": status.size_bytes,
        "states": ", ".join(f"{state} {count:,}" for state, count in status.states.items()) or "none",
        "absent": kinds_text(status.absent_minutes),
        "flaws": status.flaws,
        "file": dg.MetadataValue.path(str(status.folder / MANIFEST_FILE)),
    }


def manifest_event(status: DatasetStatus, fingerprint: str) -> dg.AssetMaterialization:
    """The materialization of a manifest outside of its own asset."""
    return _event(status.dataset, MANIFEST, manifest_metadata(status), fingerprint)


def combined_event(dataset: Dataset, combined: Combined) -> dg.AssetMaterialization:
    """The materialization of a combined file outside of its own asset."""
    return _event(dataset, COMBINED, combined_metadata(combined), combined.fingerprint)


def _event(dataset: Dataset, name: str, metadata: Mapping[str, Any], version: str) -> dg.AssetMaterialization:
    key = dg.AssetKey(asset_path(dataset, name))
    return dg.AssetMaterialization(key, metadata=metadata, tags={DATA_VERSION_TAG: version})


def combined_metadata(combined: Combined) -> Mapping[str, Any]:
    """Metadata of a combined file: its rows, bytes and path, and whether it was written."""
    return {
        "outcome": "built" if combined.built else "unchanged",
        "dagster/row_count": combined.rows,
        "chunks": combined.chunks,
        "bytes": combined.size_bytes,
        "fingerprint": combined.fingerprint,
        "file": dg.MetadataValue.path(str(combined.path)),
    }


def absences_text(absences: Sequence[Absence]) -> str:
    """Absences in a row: `outage 284 min from 2021-04-25T04:01Z, ...`; minutes per kind if there are more than five."""
    if len(absences) > 5:
        return kinds_text(minutes_by_kind(absences))
    if not absences:
        return "nothing"
    return ", ".join(
        f"{absence.kind} {absence.span.minutes} min from {iso(absence.span.start_ms)}" for absence in absences
    )


def flaws_text(flaws: Sequence[Flaw]) -> str:
    """Flaws in a row, the first five of them."""
    more = f"; and {len(flaws) - _MOST_FLAWS:,} more" if len(flaws) > _MOST_FLAWS else ""
    return "; ".join(flaw.text for flaw in flaws[:_MOST_FLAWS]) + more


def revision_text(revision: Revision) -> dg.MarkdownMetadataValue:
    """Markdown: which fields differ from the previous chunk, and a list of the first values that do."""
    fields = ", ".join(f"`{name}`" for name in revision.fields)
    before = f"{revision.old_source} {revision.old_sha256[:_SHORT]}…"
    after = f"{revision.new_source} {revision.new_sha256[:_SHORT]}…"
    changes = [
        f"- {iso(change.open_time)} {change.field}: {change.old} → {change.new}"
        for change in revision.examples[:_MOST_CHANGES]
    ]
    more = f"\n\nMore in `{REVISIONS_FILE}`." if len(revision.examples) > _MOST_CHANGES else ""
    return dg.MetadataValue.md(f"{fields}; {before} → {after}\n\n" + "\n".join(changes) + more)


def findings_table(findings: Sequence[tuple[str, str]]) -> dg.TableMetadataValue:
    """A table of findings, each a day and the problem."""
    records = [dg.TableRecord({"day": day, "problem": problem}) for day, problem in findings]
    return dg.MetadataValue.table(records)
