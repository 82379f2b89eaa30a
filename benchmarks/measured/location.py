"""The code location of many datasets: what the code server of Dagster does before a page can show it.

Belongs here: definitions, repository, its snapshot and the text that is sent of it. Does not belong here: the datasets.
The data root is that of MARKET_DATA_DIR.
"""

from dagster._core.remote_representation.external_data import RepositorySnap
from dagster_shared.serdes import serialize_value

from benchmarks.measured.stopwatch import Stopwatch
from market_data_pipeline import definitions


def main() -> None:
    stopwatch = Stopwatch()
    repository = definitions.defs().get_repository_def()
    repository.load_all_definitions()
    snapshot = RepositorySnap.from_def(repository, defer_snapshots=True)
    sent = serialize_value(snapshot)
    stopwatch.report(assets=len(snapshot.asset_nodes), bytes=len(sent))


if __name__ == "__main__":
    main()
