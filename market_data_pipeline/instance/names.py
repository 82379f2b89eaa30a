"""The names in the code location: assets, checks, sensors, jobs and tags of runs.

Belongs here: every such name; other modules import it, the definitions as well as the clients that send it over
GraphQL. Does not belong here: anything that imports Dagster, which takes seconds.
"""

from string import ascii_uppercase, digits

from market_data_pipeline.core.klines import findings
from market_data_pipeline.core.klines.dataset import Dataset, Market

LOCATION, LOCATION_MODULE = "market_data_pipeline", "market_data_pipeline.definitions"
# Dagster's names of the repository and of the job that materializes assets.
REPOSITORY, ASSET_JOB = "__repository__", "__ASSET_JOB"

PAIRS, PAIRS_JOB, NO_PAIR_IS_LOST = "pairs", "refresh_pairs", "no_pair_is_lost"
KLINES, MANIFEST, COMBINED = "klines_1m", "manifest", "combined"
REST, ARCHIVE = "rest", "archive"
SOURCES = (REST, ARCHIVE)
"""What klines are loaded from: assets of a market that Dagster shows and does not make."""
PROOF_JOB, PROOF_OP = "proof", "prove_datasets"
REPAIR_JOB, REPAIR_OP = "repair", "mend"
LOAD_JOB, LOAD_OP = "load", "load_datasets"
ALERTS, FOLLOWED = "alerts", "live_is_followed"
COMBINE_JOB, COMBINE_OP = "combine", "combine_datasets"
REPORT_JOB, REPORT_OP = "report", "report_datasets"
PRUNE_JOB, PRUNE_OP = "prune_runs", "delete_old_runs"

MATCHES_OTHER_SOURCE = "klines_match_other_source"
FRESH = "newest_kline_is_fresh"
CAN_BE_READ = "dataset_can_be_read"
COMBINED_EQUALS_CHUNKS = "combined_equals_chunks"
CHECKS = {
    findings.KEEPS_SCHEMA: (
        KLINES,
        "Each kline has twelve typed fields, a whole minute, and prices and volumes that agree with each other.",
    ),
    findings.COVERED: (KLINES, "Each minute of each day has a kline, or a reason why it has none."),
    findings.PLAUSIBLE: (
        KLINES,
        "No values are implausible: prices that repeat or jump, minutes without trades, sums that do not agree.",
    ),
    findings.JOINED: (KLINES, "Each day that was requested has its chunk."),
    findings.MATCHES_MANIFEST: (
        MANIFEST,
        "Every chunk is on disk and has the size and sha256 that the manifest lists.",
    ),
    COMBINED_EQUALS_CHUNKS: (
        COMBINED,
        "The combined file, if there is one, holds the klines of the chunks in their order.",
    ),
}
"""The checks that prove a dataset: the asset and the description of each. The descriptions hold for a passed check."""

ROWS = "dagster/partition_row_count"
"""Metadata of a day: its number of rows. Dagster shows it in the list of partitions."""

# Tags of runs. Dagster reads the first three: the first and the last day of a run, or its only one.
RANGE_START_TAG, RANGE_END_TAG = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
PARTITION_TAG = "dagster/partition"
DATASET_TAG, WHY_TAG, DAYS_TAG = "market_data/dataset", "market_data/live", "market_data/days"
DATA_VERSION_TAG = "dagster/data_version"
"""Of events of a manifest and a combined file. Dagster has no other way to give an event that is logged a version."""
WHAT_TAG = "market_data/what"
"""What a user requested: backfill, verify, combine, repair or report."""
WHAT_OF_JOB = {
    PROOF_JOB: "verify",
    REPAIR_JOB: "repair",
    LOAD_JOB: "backfill",
    COMBINE_JOB: "combine",
    REPORT_JOB: "report",
}
"""The same of a run without that tag, which a command or the Dagster UI has started."""
PAIRS_TAG = "market_data/pairs"
"""Of how many pairs a run is that is of many."""
MARKET_TAG, YEAR_TAG, UNIVERSE_TAG = "market_data/market", "market_data/year", "market_data/universe"
"""Of a run that loads one dataset in one year, as a part of a load of many."""


_IN_NAMES = frozenset(ascii_uppercase + digits + "_")


def dagster_name(text: str) -> str:
    """A text as a name in Dagster, which may have only letters and digits of ASCII and `_`.

    Capital letters, digits and `_` stay, so `BTCUSDT_240628` is itself. Any other character is its code point: `币` is
    `u5e01`, and `w` with six digits stands for one that has more than four. No two texts have one name.
    """
    return "".join(
        character
        if character in _IN_NAMES
        else f"u{ord(character):04x}"
        if ord(character) < 1 << 16
        else f"w{ord(character):06x}"
        for character in text
    )


def asset_path(dataset: Dataset, name: str) -> list[str]:
    """The key of a dataset's asset: `[exchange_id, PAIR_TOKEN, name]`."""
    return [dataset.market.exchange_id, dagster_name(dataset.token), name]


def pairs_path(market: Market) -> list[str]:
    """The key of a market's catalog: `[exchange_id, "pairs"]`."""
    return [market.exchange_id, PAIRS]


def source_path(market: Market, source: str) -> list[str]:
    """The key of what a market's klines are loaded from: `[exchange_id, "rest"]`."""
    return [market.exchange_id, source]


def asset_path_of_folder(exchange_id: str, token: str, name: str) -> list[str]:
    """The key of an asset of the folder `exchange_id/token`, whatever its name is."""
    known = any(exchange_id == market.exchange_id for market in Market)
    return [exchange_id if known else dagster_name(exchange_id), dagster_name(token), name]


def dataset_of_asset(key: str) -> tuple[str, str] | None:
    """The first two parts of the key `exchange_id/PAIR_TOKEN/name` of a dataset's asset; None for other assets."""
    exchange_id, token, name, *others = [*key.split("/"), "", ""]
    is_ours = exchange_id in {market.exchange_id for market in Market} and name in {KLINES, MANIFEST, COMBINED}
    return (exchange_id, token) if is_ours and not any(others) else None


def op_name(dataset: Dataset, name: str) -> str:
    """The name of a dataset's asset in run config: `exchange_id__PAIR_TOKEN__name`."""
    return "__".join(asset_path(dataset, name))


def dataset_tag(dataset: Dataset) -> str:
    """The value of `DATASET_TAG`: `exchange_id/PAIR_TOKEN`."""
    return f"{dataset.market.exchange_id}/{dataset.token}"


def root_of_tag(tag: str) -> list[str]:
    """What the keys of the dataset's assets begin with, `[exchange_id, PAIR_TOKEN]`, by the value of `DATASET_TAG`."""
    exchange_id, _, token = tag.partition("/")
    return asset_path_of_folder(exchange_id, token, KLINES)[:2]


def sensor_name(market: Market) -> str:
    """The name of a market's live sensor."""
    return f"{market.exchange_id}_live"


def range_tags(first: str, last: str) -> dict[str, str]:
    """The tags of a run over the days from `first` to `last`, both included, keys `YYYY-MM-DD`."""
    return {RANGE_START_TAG: first, RANGE_END_TAG: last}
