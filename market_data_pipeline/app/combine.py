"""Combine: bring a combined file up to date, in a Dagster run of this process.

Belongs here: from a request to that run. Does not belong here: writing the file (`core.store.combined`), printing.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from market_data_pipeline.app.targets import Target, chosen
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
    """Bring a combined file up to date, in a Dagster run of this process.

    Raises:
        UsageError, StoreError: there is nothing to combine, or a chunk is damaged.
    """
    from market_data_pipeline.defs.location import definitions_of
    from market_data_pipeline.defs.resources import tools_of
    from market_data_pipeline.instance import runs

    files = next(chosen(settings, replace(target, named=True)))
    zone = parse_zone(tz) if tz else None
    select(files, zone=zone, from_index=from_index, to_index=to_index)  # an empty selection is said before any run
    config = {"tz": zone.name if zone else None, "from_index": from_index, "to_index": to_index, "rebuild": rebuild}
    with runs.open_instance(settings.home) as instance:
        definitions = definitions_of([files.dataset], tools_of(settings))
        return runs.run(instance, definitions, files.dataset, [COMBINED], config={COMBINED: config})
