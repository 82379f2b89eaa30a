"""The folder of the Dagster instance. `python -m market_data_pipeline.home` makes it ready and prints where it is.

Belongs here: making it exist, with the project's `dagster.yaml`. Does not belong here: the instance itself (`runs`).
"""

import shutil
import sys
from pathlib import Path

from market_data_pipeline.core.errors import StoreError

INSTANCE_FILE = "dagster.yaml"


def prepare_home(home: Path) -> None:
    """Make the folder exist, with the project's `dagster.yaml` unless it has one.

    Raises:
        StoreError: the folder cannot be written.
    """
    try:
        home.mkdir(parents=True, exist_ok=True)
        if not (home / INSTANCE_FILE).exists():
            shutil.copyfile(_template(), home / INSTANCE_FILE)
    except OSError as error:
        raise StoreError(f"cannot write to {home}: {error.strerror}; set DAGSTER_HOME to a folder you own") from error


def _template() -> Path:
    """In an installed package beside this module, in a checkout at its top."""
    package = Path(__file__).parent
    return next(path / INSTANCE_FILE for path in (package, package.parent) if (path / INSTANCE_FILE).exists())


if __name__ == "__main__":
    from market_data_pipeline.settings import Settings

    prepare_home(Settings().home)
    sys.stdout.write(f"{Settings().home}\n")
