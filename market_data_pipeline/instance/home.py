"""The folder of the Dagster instance. `python -m market_data_pipeline.instance.home` makes it and prints its path.

Belongs here: making it exist, with the project's `dagster.yaml`. Does not belong here: the instance itself (`runs`).
"""

import shutil
import sys
from pathlib import Path

from market_data_pipeline.core.errors import StoreError
from market_data_pipeline.core.store.atomic import write_whole

INSTANCE_FILE = "dagster.yaml"
# Where the storage class was before 0.2: a home made then names it so.
_OLD_STORAGE, _STORAGE = "market_data_pipeline.dagster_event_log", "market_data_pipeline.instance.storage"


def prepare_home(home: Path) -> None:
    """Make the folder exist, with the project's `dagster.yaml` unless it has one; one of an older version is mended.

    Raises:
        StoreError: the folder cannot be written.
    """
    try:
        home.mkdir(parents=True, exist_ok=True)
        if not (home / INSTANCE_FILE).exists():
            shutil.copyfile(_template(), home / INSTANCE_FILE)
        _name_storage_anew(home / INSTANCE_FILE)
    except OSError as error:
        raise StoreError(f"cannot write to {home}: {error.strerror}; set DAGSTER_HOME to a folder you own") from error


def _name_storage_anew(path: Path) -> None:
    written = path.read_bytes()
    if _OLD_STORAGE.encode() in written:
        write_whole(path, written.replace(_OLD_STORAGE.encode(), _STORAGE.encode()))


def _template() -> Path:
    """In an installed package beside this module, in a checkout at its top."""
    package = Path(__file__).parents[1]
    return next(path / INSTANCE_FILE for path in (package, package.parent) if (path / INSTANCE_FILE).exists())


if __name__ == "__main__":
    from market_data_pipeline.settings import Settings

    prepare_home(Settings().home)
    sys.stdout.write(f"{Settings().home}\n")
