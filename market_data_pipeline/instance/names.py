"""What the code location's parts are called, for those who define them and for those who ask for them over GraphQL.

Belongs here: names of assets, checks, sensors, jobs and tags. Does not belong here: what imports Dagster, which takes
seconds.
"""

from market_data_pipeline.core.klines import findings
from market_data_pipeline.core.klines.dataset import Dataset, Market

LOCATION, LOCATION_MODULE = "market_data_pipeline", "market_data_pipeline.definitions"
# Dagster's own names for what a code location defines without naming it.
REPOSITORY, ASSET_JOB = "__repository__", "__ASSET_JOB"

KLINES, MANIFEST, COMBINED = "klines_1m", "manifest", "combined"
PROOF_JOB, REPAIR_JOB, REPAIR_OP = "proof", "repair", "mend"

COMBINED_EQUALS_CHUNKS = "combined_equals_chunks"
CHECKS = {
    findings.KEEPS_SCHEMA: (KLINES, "Twelve typed fields, on the minute grid, prices and volumes that fit together."),
    findings.COVERED: (KLINES, "Within each day every minute is a kline or has a reason to be absent."),
    findings.PLAUSIBLE: (KLINES, "No values that are hard to believe: frozen, silent, jumping, or not adding up."),
    findings.JOINED: (KLINES, "No day that was asked for lacks its chunk."),
    findings.MATCHES_MANIFEST: (
        MANIFEST,
        "Every chunk is on disk and is, to the byte, what the manifest says (sha256).",
    ),
    COMBINED_EQUALS_CHUNKS: (COMBINED, "The combined file, if there is one, holds the chunks' klines in order."),
}
"""The checks that prove a dataset: of which asset each is, and what it says."""

# Tags of runs. The first two are Dagster's and make a run be about a range of days.
RANGE_START_TAG, RANGE_END_TAG = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
DATASET_TAG, WHY_TAG, DAYS_TAG = "market_data/dataset", "market_data/live", "market_data/days"
WHAT_TAG = "market_data/what"
"""What a person asked for: backfill, verify, combine or repair."""


def asset_path(dataset: Dataset, name: str) -> list[str]:
    """The key of a dataset's asset: `[exchange_id, PAIR_TOKEN, name]`."""
    return [dataset.market.exchange_id, dataset.token, name]


def op_name(dataset: Dataset, name: str) -> str:
    """What run config calls a dataset's asset."""
    return "__".join(asset_path(dataset, name))


def dataset_tag(dataset: Dataset) -> str:
    """The value of `DATASET_TAG`."""
    return f"{dataset.market.exchange_id}/{dataset.token}"


def sensor_name(market: Market) -> str:
    """The name of a market's live sensor."""
    return f"{market.exchange_id}_live"


def range_tags(first: str, last: str) -> dict[str, str]:
    """The run tags that make a run be about the days from `first` to `last`, both included."""
    return {RANGE_START_TAG: first, RANGE_END_TAG: last}
