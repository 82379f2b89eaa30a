"""Events of days without what nobody reads: a day takes less than 4 KB of Dagster's databases, in place of 17.

Belongs here: what is left out of a stored event. Does not belong here: storing it (`storage`), the metadata of a day
(`defs.metadata`).
Dagster stores an event of an asset twice: in the database of its run, which the page of the run reads, and in the
index, which the pages of the asset read. All of a day's metadata is in the index alone.
"""

import dagster as dg
from dagster._core.events import AssetObservationData, DagsterEvent, StepMaterializationData
from dagster._core.events.log import EventLogEntry
from dagster_shared.serdes import serialize_value

from market_data_pipeline.instance.names import ROWS

_WITHOUT_SPACES = (",", ":")


def in_run(event: EventLogEntry) -> EventLogEntry:
    """The event for the database of its run: that of a day has its number of rows alone."""
    logged = event.dagster_event
    if logged is None or not _is_of_a_day(logged):
        return event
    data = logged.event_specific_data
    if isinstance(data, StepMaterializationData):
        data = StepMaterializationData(data.materialization.with_metadata(_rows_of(data.materialization)))
    elif isinstance(data, AssetObservationData):
        data = AssetObservationData(data.asset_observation.with_metadata(_rows_of(data.asset_observation)))
    return _lean(event, logged._replace(event_specific_data=data))


def in_index(event: EventLogEntry) -> str:
    """The event for the index, as the JSON that Dagster reads: that of a day has no spaces in it."""
    logged = event.dagster_event
    if logged is None or not _is_of_a_day(logged):
        return serialize_value(event)
    return serialize_value(_lean(event, logged), separators=_WITHOUT_SPACES)


def _is_of_a_day(logged: DagsterEvent) -> bool:
    """True for the events that `defs.metadata` describes; a home may have assets of other projects, too."""
    data = logged.event_specific_data
    if isinstance(data, StepMaterializationData):
        return ROWS in data.materialization.metadata
    return isinstance(data, AssetObservationData) and ROWS in data.asset_observation.metadata


def _rows_of(described: dg.AssetMaterialization | dg.AssetObservation) -> dict[str, dg.MetadataValue]:
    return {ROWS: described.metadata[ROWS]}


def _lean(event: EventLogEntry, logged: DagsterEvent) -> EventLogEntry:
    """The event without its step's handles and tags, of which its run has a copy, and without its text in words."""
    logged = logged._replace(
        step_handle=None, node_handle=None, step_kind_value=None, logging_tags={}, message=None, pid=None
    )
    return event._replace(user_message="", dagster_event=logged)
