"""How long rights in a bucket last whose process does not go on, by the clocks of all who are concerned."""

import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from market_data_pipeline.core.store.storage import session
from market_data_pipeline.core.store.storage.lease import Lease, is_held
from market_data_pipeline.core.store.storage.places import storage_of
from market_data_pipeline.core.store.storage.session import Session, Sessions, Terms, awake_s
from market_data_pipeline_tests.objects_proxy import ObjectsProxy
from market_data_pipeline_tests.places import in_bucket, in_memory
from market_data_pipeline_tests.powerloss import object_server
from market_data_pipeline_tests.support import PATIENCE


@pytest.fixture(params=["own_server"])
def direct(request: pytest.FixtureRequest) -> str:
    """The address of the server of objects in this process, whose clock a test can set."""
    address: str = request.getfixturevalue(request.param)
    return address


ENDING = """
from market_data_pipeline.core.store.storage.paths import BucketPath
from market_data_pipeline.core.store.storage.places import storage_of
root = BucketPath("memory:///ending")
assert storage_of(root).hold(root / "right.lock").acquire()
"""


def test_a_process_that_ends_without_releasing_its_right_ends() -> None:
    assert subprocess.run([sys.executable, "-c", ENDING], timeout=60 * PATIENCE, check=True).returncode == 0


@pytest.mark.parametrize("stands", ["time", "monotonic"])
def test_of_two_clocks_the_one_that_goes_on_counts(monkeypatch: pytest.MonkeyPatch, stands: str) -> None:
    """One is set back, or stands while the machine sleeps."""
    before_s = awake_s()
    now_s = {"time": time.time(), "monotonic": time.monotonic()}
    clocks = {name: lambda name=name: now_s[name] + (-3600 if name == stands else 100) for name in now_s}
    monkeypatch.setattr(session, "time", SimpleNamespace(**clocks))
    assert awake_s() == pytest.approx(before_s + 100, abs=1)


def test_at_no_time_do_two_processes_believe_that_a_right_is_theirs(
    proxy: ObjectsProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A holder that goes on, but cannot renew its session any more, gives up before others may take over."""
    passed = [0.0]

    def now_s() -> float:
        return 1_700_000_000 + passed[0]

    monkeypatch.setattr(object_server, "time", SimpleNamespace(time=now_s))
    root = in_bucket()
    objects = storage_of(root)._objects  # type: ignore[attr-defined]
    holder, other = (Sessions(objects, Terms(60.0, 3600.0, now_s)) for _ in range(2))
    held = Lease(objects, holder, root / "right.lock")
    assert held.acquire()
    believed, seen = list[float](), list[float]()
    for second in range(90):
        passed[0] = float(second)
        if held.is_mine:
            believed.append(second)
        if is_held(objects, other, root / "right.lock"):
            seen.append(second)
    assert 50 < max(believed) < 60 < max(seen) < 70
    assert seen == list(range(len(seen))), "others change their minds once"
    assert max(seen) - max(believed) >= 5, "times of the object store are in whole seconds, and clocks drift"
    assert Lease(objects, other, root / "right.lock").acquire()
    assert not held.is_mine
    assert not held.acquire()


def test_a_clock_that_was_ahead_makes_nobody_last_longer(proxy: ObjectsProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine's clock was a year ahead for a moment, in which a session was renewed and another one looked at."""
    of_store, ahead_s = [1_700_000_000.0], [0.0]

    def now_s() -> float:
        return of_store[0] + ahead_s[0]

    monkeypatch.setattr(object_server, "time", SimpleNamespace(time=lambda: of_store[0]))
    root = in_bucket()
    objects = storage_of(root)._objects  # type: ignore[attr-defined]
    holder, other = (Sessions(objects, Terms(60.0, 3600.0, now_s)) for _ in range(2))
    ahead_s[0] = 365 * 86_400.0
    held = Lease(objects, holder, root / "right.lock")
    assert held.acquire() and held.is_mine
    assert is_held(objects, other, root / "right.lock")
    ahead_s[0], of_store[0] = 0.0, of_store[0] + 100
    assert not held.is_mine
    assert not is_held(objects, other, root / "right.lock")
    assert Lease(objects, other, root / "right.lock").acquire()


def test_a_right_that_is_gone_keeps_no_other_one_from_being_freed() -> None:
    root = in_memory()
    (root / "left.lock").write_bytes(b"mine")
    session = Session(storage_of(root)._objects, Terms(renewed_every_s=0.01))  # type: ignore[attr-defined]
    for name in ("gone.lock", "left.lock"):
        session.release_later(root / name, b"mine")
    session.begin()
    until_s = time.monotonic() + 10 * PATIENCE
    while (root / "left.lock").read_bytes() and time.monotonic() < until_s:
        time.sleep(0.01)
    session.end()
    assert (root / "left.lock").read_bytes() == b""
