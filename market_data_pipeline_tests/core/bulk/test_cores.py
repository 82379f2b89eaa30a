"""How many processes work at once: cores, and the limits of the control groups that this process is in."""

import os
import sys
from pathlib import Path

import pytest

from market_data_pipeline.core.bulk import cores as module
from market_data_pipeline.core.bulk.cores import cores

POD = "kubepods/pod1/container2"
GIB = 1 << 30


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of 128 cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(128)), raising=False)
    monkeypatch.setattr(sys, "platform", "linux")


def system(root: Path, groups: str, files: dict[str, str]) -> Path:
    """The folders of a system whose process is in these groups, with these files below `sys/fs/cgroup`."""
    below = {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
    for name, text in {"proc/self/cgroup": groups, **below}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "most"),
    [
        ({}, 128),
        ({"cpu.max": "max 100000\n", "memory.max": "max\n"}, 128),
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "10000 100000\n"}, 1),
        ({"cpu.max": "max 100000\n", "memory.max": f"{2 * GIB}\n"}, 7),
        ({"memory.max": f"{256 << 20}\n"}, 1),
        ({"memory.max": "nonsense\n", "cpu.max": "\n"}, 128),
        ({f"{POD}/cpu.max": "300000 100000\n", "cpu.max": "max 100000\n"}, 3),
        ({f"{POD}/cpu.max": "max 100000\n", "kubepods/memory.max": f"{GIB}\n"}, 3),
    ],
)
def test_the_smallest_limit_of_all_groups_counts(tmp_path: Path, files: dict[str, str], most: int) -> None:
    assert cores(system(tmp_path, f"0::/{POD}\n", files)) == most


@pytest.mark.parametrize(
    ("files", "most"),
    [
        ({"cpu,cpuacct/cpu.cfs_quota_us": "-1\n", "memory/memory.limit_in_bytes": "9223372036854771712\n"}, 128),
        ({"cpu,cpuacct/cpu.cfs_quota_us": "250000\n", "cpu,cpuacct/cpu.cfs_period_us": "100000\n"}, 3),
        ({f"memory/{POD}/memory.limit_in_bytes": f"{GIB}\n"}, 3),
    ],
)
def test_limits_of_groups_of_version_1_count(tmp_path: Path, files: dict[str, str], most: int) -> None:
    groups = f"4:memory:/{POD}\n3:cpu,cpuacct:/{POD}\n1:name=systemd:/\n"
    assert cores(system(tmp_path, groups, files)) == most


def test_a_system_without_groups_has_its_cores(tmp_path: Path) -> None:
    assert cores(tmp_path) == 128


def test_windows_waits_for_no_more_than_it_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 128)
    monkeypatch.setattr(module.sys, "platform", "win32")
    assert cores(tmp_path) == 60
