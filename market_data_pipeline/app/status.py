"""Status: what is stored, from the manifests alone.

Belongs here: which datasets are summed up. Does not belong here: the numbers (`core.store.status`), printing.
"""

from market_data_pipeline.app.targets import Target, chosen
from market_data_pipeline.core.store.status import DatasetStatus, status_of
from market_data_pipeline.settings import Settings


def statuses_of(settings: Settings, target: Target) -> list[DatasetStatus]:
    """What the store has, from its manifests alone."""
    return [status_of(files) for files in chosen(settings, target)]
