"""An object store of its own for the data root: SeaweedFS on this machine, which counts the requests that it gets.

Belongs here: its start and end, what it has counted. Does not belong here: what is stored in it.
"""

import re
import tempfile
import urllib.request
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from market_data_pipeline_tests.places import environment_of
from market_data_pipeline_tests.servers import BUCKET, free_ports, seaweedfs

_COUNTED = re.compile(r"^SeaweedFS_s3_request_total\{(?P<labels>[^}]*)\} (?P<count>\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True, slots=True)
class ObjectStore:
    """A running object store; `variables` are what a program needs to reach it."""

    variables: Mapping[str, str]
    metrics_url: str
    process_id: int

    def new_root(self) -> str:
        """A fresh data root."""
        return f"s3://{BUCKET}/{uuid.uuid4().hex}"

    def requests(self) -> Counter[str]:
        """How many requests of each kind it has answered so far."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(self.metrics_url, timeout=60) as answer:
            text = answer.read().decode()
        found = Counter[str]()
        for counted in _COUNTED.finditer(text):
            labels = dict(_LABEL.findall(counted["labels"]))
            found[labels["type"]] += int(float(counted["count"]))
        return found

    def cpu_s(self) -> float:
        """The seconds of CPU that it has taken so far."""
        times = psutil.Process(self.process_id).cpu_times()
        return times.user + times.system


@contextmanager
def object_store() -> Iterator[ObjectStore]:
    """Start SeaweedFS on free ports; it ends with the block."""
    [port] = free_ports(1)
    with (
        tempfile.TemporaryDirectory(prefix="objects-", ignore_cleanup_errors=True) as folder,
        seaweedfs(Path(folder), metrics_port=port) as url,
    ):
        (weed,) = [each for each in psutil.Process().children() if each.name().startswith("weed")]
        yield ObjectStore(environment_of(url), f"http://127.0.0.1:{port}/metrics", weed.pid)
