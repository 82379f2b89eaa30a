"""Events of days without what nobody reads: a day takes less than 4 KB of Dagster's databases, in place of 17.

Belongs here: what is left out of a stored event. Does not belong here: storing it (`batches`), the metadata of a day
(`defs.metadata`).
Dagster stores an event of an asset twice: in the database of its run, which the page of the run reads, and in the
index, which the pages of the asset read. All of a day's metadata is in the index alone.
"""

import json
from typing import Any

from dagster._core.events import AssetObservationData, DagsterEvent, StepMaterializationData
from dagster._core.events.log import EventLogEntry
from dagster_shared.serdes import pack_value, serialize_value

from market_data_pipeline.instance.names import ROWS

# What Dagster calls the part of an event with the metadata, and in that the list of its entries.
_DESCRIBED, _ENTRIES = ("materialization", "asset_observation"), "metadata_entries"
_compact = json.JSONEncoder(separators=(",", ":")).encode


def texts_of(event: EventLogEntry) -> tuple[str, str]:
    """The event as the JSON that Dagster reads, for the database of its run and for the index.

    That of a day has no spaces in it, and for the database of its run no metadata but the number of rows.
    """
    packed = _packed(event)
    if packed is None:
        text = serialize_value(event)
        return text, text
    of_index, data = _compact(packed), packed["dagster_event"]["event_specific_data"]
    described = next(data[name] for name in _DESCRIBED if name in data)
    described[_ENTRIES] = [entry for entry in described[_ENTRIES] if entry["label"] == ROWS]
    return _compact(packed), of_index


def in_index(event: EventLogEntry) -> str:
    """The event for the index alone."""
    packed = _packed(event)
    return serialize_value(event) if packed is None else _compact(packed)


def _packed(event: EventLogEntry) -> dict[str, Any] | None:
    """The event of a day as Dagster stores it, but lean; None for any other event."""
    logged = event.dagster_event
    if logged is None or not _is_of_a_day(logged):
        return None
    return dict(pack_value(_lean(event, logged)))


def _is_of_a_day(logged: DagsterEvent) -> bool:
    """True for the events that `defs.metadata` describes; a home may have assets of other projects, too."""
    data = logged.event_specific_data
    if isinstance(data, StepMaterializationData):
        return ROWS in data.materialization.metadata
    return isinstance(data, AssetObservationData) and ROWS in data.asset_observation.metadata


def _lean(event: EventLogEntry, logged: DagsterEvent) -> EventLogEntry:
    """The event without its step's handles and tags, of which its run has a copy, and without its text in words."""
    logged = logged._replace(
        step_handle=None, node_handle=None, step_kind_value=None, logging_tags={}, message=None, pid=None
    )
    return event._replace(user_message="", dagster_event=logged)
