"""Combine: write a combined file if its chunks have changed, in a Dagster run of this process.

Belongs here: the run of a request. Does not belong here: writing the file (`core.store.combined`), printing.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from market_data_pipeline.app.targets import Target, open_datasets
from market_data_pipeline.core.klines.days import parse_zone
from market_data_pipeline.core.store.combined import select
from market_data_pipeline.instance.names import COMBINED
from market_data_pipeline.settings import Settings

if TYPE_CHECKING:
    from market_data_pipeline.instance import runs


def combine_dataset(
    settings: Settings,
    target: Target,
    *,
    tz: str | None = None,
    from_index: int | None = None,
    to_index: int | None = None,
    rebuild: bool = False,
) -> "runs.RunReport":
    """Write a combined file if its chunks have changed, in a Dagster run of this process.

    Args:
        settings: the settings.
        target: the dataset.
        tz: keep only whole days of this time zone; None keeps all klines.
        from_index: index of the first chunk; None means the dataset's first.
        to_index: index of the last chunk, included; None means the dataset's last.
        rebuild: write the file even if no chunk has changed.

    Returns:
        How the run ended; what goes wrong in the run is in its `error`.

    Raises:
        UsageError, StoreError: there is no such dataset or zone, or the selection has no chunk.
    """
    from market_data_pipeline.defs.location import definitions_of
    from market_data_pipeline.defs.resources import tools_of
    from market_data_pipeline.instance import runs

    files = next(open_datasets(settings, replace(target, named=True)))
    zone = parse_zone(tz) if tz else None
    select(files, zone=zone, from_index=from_index, to_index=to_index)  # an empty selection is refused before the run
    config = {"tz": zone.name if zone else None, "from_index": from_index, "to_index": to_index, "rebuild": rebuild}
    with runs.open_instance(settings.home) as instance:
        definitions = definitions_of([files.dataset], tools_of(settings))
        return runs.run(instance, definitions, files.dataset, [COMBINED], config={COMBINED: config})
