"""Places: the folders of an installation, and the object store, if the data root is in one.

Belongs here: whether each can be written, and how much room is left. Does not belong here: what is in them.
"""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from market_data_pipeline.app.doctor.lines import Line, of_error
from market_data_pipeline.app.health import LEAST_FREE_BYTES, existing_of
from market_data_pipeline.core.errors import MarketDataError
from market_data_pipeline.core.store.storage.folder import FOLDER
from market_data_pipeline.core.store.storage.places import storage_of
from market_data_pipeline.core.store.storage.protocol import StorePath
from market_data_pipeline.core.text import size_text
from market_data_pipeline.instance.budgets import postgres_url
from market_data_pipeline.instance.home import INSTANCE_FILE
from market_data_pipeline.settings import Settings

SECTION = "places"
LATE = "check the disk of this folder: a network mount whose server is gone lets everything wait"
LATE_BUCKET = "check the network, the bucket's address and its server"


def folders(settings: Settings) -> Iterator[Line]:
    """A line for each folder. Nothing is made."""
    if isinstance(settings.market_data_dir, Path):
        yield _folder("data root", settings.folder, "MARKET_DATA_DIR")
    yield _folder("Dagster home", settings.home, "DAGSTER_HOME")
    yield _folder("logs", settings.logs, "LOG_DIR")
    yield _budgets(settings)


def _budgets(settings: Settings) -> Line:
    """Where the budgets of request weight are."""
    try:
        url = postgres_url(settings.home)
    except MarketDataError as error:
        return of_error(SECTION, "request weight", error, f"correct {settings.home / INSTANCE_FILE}")
    if url is None:
        return _folder("request weight", settings.budgets[0], "XDG_STATE_HOME")
    return Line(SECTION, "request weight", "the table market_data_budget in the Postgres of the Dagster instance")


def bucket(root: StorePath) -> Iterator[Line]:
    """Whether the bucket takes objects and keeps conditions; a small object is written and removed."""
    began_s = time.monotonic()
    try:
        storage_of(root).require_writable(root)
    except MarketDataError as error:
        yield of_error(SECTION, "data root", error, LATE_BUCKET)
    else:
        took_ms = (time.monotonic() - began_s) * 1000
        yield Line(SECTION, "data root", f"{root}: takes objects and keeps conditions, shown in {took_ms:.0f} ms")


def _folder(name: str, path: Path, variable: str) -> Line:
    existing = existing_of(path)
    there = str(path) if existing == path else f"{path}, not made yet"
    try:
        FOLDER.require_writable(existing)
    except MarketDataError as error:
        reason = str(error).partition("; ")[0].rpartition(": ")[2]
        return Line(SECTION, name, f"{path} cannot be written: {reason}", f"set {variable} to a folder you own")
    free = shutil.disk_usage(existing).free
    cure = "" if free >= LEAST_FREE_BYTES else f"make room on this disk, or set {variable} to a folder on another one"
    return Line(SECTION, name, f"{there}, {size_text(free)} free", cure)
