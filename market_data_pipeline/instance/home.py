"""The Dagster home, a folder. `python -m market_data_pipeline.instance.home` creates it and prints its path.

Belongs here: creating the folder with the project's `dagster.yaml`. Does not belong here: the instance itself (`runs`).
"""

import shutil
import sys
from pathlib import Path

from market_data_pipeline.core.errors import StoreError
from market_data_pipeline.core.store.atomic import write_whole

INSTANCE_FILE = "dagster.yaml"
# Before 0.2 the storage class was in the first module, which the dagster.yaml of an older home names.
_OLD_STORAGE, _STORAGE = "market_data_pipeline.dagster_event_log", "market_data_pipeline.instance.storage"


def prepare_home(home: Path) -> None:
    """Create the folder and copy the project's `dagster.yaml` into it, unless they exist.

    A `dagster.yaml` of an older version gets the present name of the storage class.

    Raises:
        StoreError: the folder cannot be written.
    """
    try:
        home.mkdir(parents=True, exist_ok=True)
        if not (home / INSTANCE_FILE).exists():
            shutil.copyfile(_template(), home / INSTANCE_FILE)
        _update_storage_name(home / INSTANCE_FILE)
    except OSError as error:
        raise StoreError(f"cannot write to {home}: {error.strerror}; set DAGSTER_HOME to a folder you own") from error


def _update_storage_name(path: Path) -> None:
    content = path.read_bytes()
    if _OLD_STORAGE.encode() in content:
        write_whole(path, content.replace(_OLD_STORAGE.encode(), _STORAGE.encode()))


def _template() -> Path:
    """The project's `dagster.yaml`: in the folder of an installed package, or at the top of a checkout."""
    package = Path(__file__).parents[1]
    return next(path / INSTANCE_FILE for path in (package, package.parent) if (path / INSTANCE_FILE).exists())


if __name__ == "__main__":
    from market_data_pipeline.settings import Settings

    prepare_home(Settings().home)
    sys.stdout.write(f"{Settings().home}\n")
