"""Rights in a bucket: one holder at a time, what becomes of one that slept, and requests while nobody comes or goes."""

import errno
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.store.note_lock import LoadLocks
from market_data_pipeline.core.store.storage import lease
from market_data_pipeline.core.store.storage.lease import Lease, is_held
from market_data_pipeline.core.store.storage.objects import Objects
from market_data_pipeline.core.store.storage.places import storage_of
from market_data_pipeline.core.store.storage.session import Session, Sessions, Terms
from market_data_pipeline_tests.core.store.conftest import SERVERS
from market_data_pipeline_tests.objects_proxy import ObjectsProxy, proxied
from market_data_pipeline_tests.places import environment_of, in_bucket

pytestmark = pytest.mark.parametrize("root", ["memory", *SERVERS], indirect=True)


@dataclass
class Process:
    """A process that may have rights. It is asleep while `asleep_s` of its clock have passed unnoticed."""

    root: Any
    lasts_s: float = 60.0
    renewed_every_s: float = 3600.0
    asleep_s: float = 0.0
    sessions: Sessions = field(init=False)
    objects: Objects = field(init=False)

    def __post_init__(self) -> None:
        # Of one client, as no other one sees what is in the memory of this one.
        self.objects = storage_of(self.root)._objects
        self.sessions = Sessions(self.objects, Terms(self.lasts_s, self.renewed_every_s, self._now_s))

    def right(self, name: str = "right.lock") -> Lease:
        return Lease(self.objects, self.sessions, self.root / name)

    def _now_s(self) -> float:
        return time.monotonic() + self.asleep_s


class _Meanwhile:
    """Objects with which something happens after each look at them, before each write."""

    def __init__(self, objects: Objects, happens: Callable[[], object]) -> None:
        self._objects, self._happens = objects, happens

    def __getattr__(self, name: str) -> Any:
        return getattr(self._objects, name)

    def write(self, path: Any, content: bytes, expected: Any) -> Any:
        self._happens()
        return self._objects.write(path, content, expected)


def impatient(root: Any) -> Process:
    """A process for which the sessions of all others ran out long ago."""
    return Process(root, lasts_s=-1000)


def test_a_right_has_one_holder_and_is_free_when_that_releases_it(root: Any) -> None:
    one, other = Process(root), Process(root)
    first, second = one.right(), other.right()
    assert first.acquire() and first.is_mine
    assert not second.acquire() and not second.is_mine
    assert is_held(other.objects, other.sessions, root / "right.lock")
    second.release()
    assert first.is_mine
    first.release()
    assert not is_held(other.objects, other.sessions, root / "right.lock")
    assert second.acquire() and not first.acquire()
    second.release()
    assert list((root / ".sessions").iterdir()) == []


def test_two_rights_of_one_process_are_two(root: Any) -> None:
    process = Process(root)
    first, same, other = process.right(), process.right(), process.right("other.lock")
    assert first.acquire() and other.acquire() and not same.acquire()
    first.release()
    assert other.is_mine and same.acquire()


def test_a_holder_that_slept_and_was_not_missed_goes_on(root: Any) -> None:
    process = Process(root)
    held = process.right()
    assert held.acquire()
    process.asleep_s = 100
    assert not held.is_mine
    assert held.acquire() and held.is_mine


def test_a_holder_that_slept_while_another_one_took_over_has_no_right_any_more(root: Any) -> None:
    late, new = Process(root), impatient(root)
    taken, left = late.right(), late.right("left.lock")
    assert taken.acquire() and left.acquire()
    over = new.right()
    assert over.acquire()
    late.asleep_s = 100
    # Its session was ended, and with it all its rights; it takes again what is free.
    assert not taken.acquire()
    assert not left.is_mine
    new.sessions = Sessions(new.objects)
    assert left.acquire() and left.is_mine
    content = (root / "right.lock").read_bytes()
    taken.release()
    assert (root / "right.lock").read_bytes() == content


def test_a_holder_notices_that_its_session_was_ended(root: Any) -> None:
    late = Process(root)
    held, session = late.right(), late.sessions.join()
    assert held.acquire()
    assert impatient(root).right().acquire()
    assert held.is_mine
    session.renew()
    assert not held.is_mine


def test_a_session_that_is_renewed_in_the_last_moment_is_not_ended(root: Any) -> None:
    holder, other = Process(root), impatient(root)
    held = holder.right()
    assert held.acquire()
    other.objects = other.sessions._objects = _Meanwhile(other.objects, lambda: holder.sessions.join().renew())  # type: ignore[assignment]
    assert not other.right().acquire()
    assert held.is_mine


def test_two_that_take_a_right_of_one_process_at_the_same_moment_do_not_both_get_it(root: Any) -> None:
    process = Process(root)
    first, second = process.right(), process.right()
    second._objects = _Meanwhile(process.objects, first.acquire)  # type: ignore[assignment]
    assert not second.acquire()
    assert first.is_mine and not second.is_mine
    first.release()
    assert list((root / ".sessions").iterdir()) == []


def test_a_right_that_is_released_between_the_look_and_the_write_is_taken(root: Any) -> None:
    """As when the release of a killed process reaches the object store late."""
    first, second = Process(root).right(), impatient(root).right()
    assert first.acquire()
    second._objects = _Meanwhile(second._objects, first.release)  # type: ignore[assignment]
    assert second.acquire()
    assert (root / "right.lock").read_bytes() != b""
    assert not first.is_mine


def test_what_names_no_session_is_free(root: Any) -> None:
    for content in (b"", b"\xff\x00", b"../../binance/BTCUSDT/1m/dataset.json", b"0" * 32):
        (root / "right.lock").write_bytes(content)
        process = Process(root)
        held = process.right()
        assert held.acquire()
        held.release()


class _Waiting:
    """The clock of a process that does nothing but wait; `sleeps` has its pauses."""

    def __init__(self, wakes: Callable[[float], object] = lambda _: None) -> None:
        self.began_s, self.sleeps, self._wakes = time.monotonic(), list[float](), wakes

    def monotonic(self) -> float:
        return self.began_s + sum(self.sleeps)

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.sleeps.append(seconds)
        self._wakes(sum(self.sleeps))


def test_who_waits_for_a_right_gets_it_within_a_second_of_its_release(
    root: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, waiting = Process(root).right(), Process(root).right()
    assert held.acquire()
    clock = _Waiting(lambda waited_s: held.release() if waited_s > 2 else None)
    monkeypatch.setattr(lease, "time", clock)
    assert waiting.acquire(within_s=100) and waiting.is_mine
    assert 2 < sum(clock.sleeps) <= 3


@pytest.mark.parametrize("within_s", [0, 0.25, 2.5])
def test_who_waits_in_vain_waits_as_long_as_was_asked_for(
    root: Any, monkeypatch: pytest.MonkeyPatch, within_s: float
) -> None:
    held, waiting = Process(root).right(), Process(root).right()
    assert held.acquire()
    clock = _Waiting()
    monkeypatch.setattr(lease, "time", clock)
    assert not waiting.acquire(within_s=within_s)
    assert sum(clock.sleeps) == pytest.approx(within_s, abs=1e-6)


def test_a_right_that_cannot_be_written_leaves_no_session_and_can_be_taken_later(root: Any) -> None:
    process = Process(root)
    right = process.right()
    right._objects = failing(process.objects)
    with pytest.raises(OSError, match="the object store is away"):
        right.acquire()
    assert not right.is_mine
    assert list((root / ".sessions").iterdir()) == []
    right._objects = process.objects
    assert right.acquire() and right.is_mine


def test_a_right_whose_release_cannot_be_written_ends_with_its_session(root: Any) -> None:
    holder, other = Process(root), Process(root)
    right = holder.right()
    assert right.acquire()
    right._objects = failing(holder.objects)
    with pytest.raises(OSError, match="the object store is away"):
        right.release()
    assert not right.is_mine
    right.release()
    assert list((root / ".sessions").iterdir()) == []
    assert other.right().acquire()


def test_a_right_whose_release_cannot_be_written_is_free_in_a_moment_though_its_session_goes_on(root: Any) -> None:
    holder, other = Process(root, renewed_every_s=0.05), Process(root)
    right, kept = holder.right(), holder.right("kept.lock")
    assert right.acquire() and kept.acquire()
    right._objects = failing(holder.objects)
    with pytest.raises(OSError, match="the object store is away"):
        right.release()
    assert other.right().acquire(within_s=60)
    assert kept.is_mine and not holder.right().acquire()
    kept.release()  # or it renews its session twenty times a second until all tests have ended


def test_a_right_whose_taking_was_written_and_not_answered_is_free_in_a_moment(root: Any) -> None:
    holder, other = Process(root, renewed_every_s=0.05), Process(root)
    right, kept = holder.right(), holder.right("kept.lock")
    assert kept.acquire()
    right._objects = _Unanswered(holder.objects, OSError("the object store is away"))  # type: ignore[assignment]
    with pytest.raises(OSError, match="the object store is away"):
        right.acquire()
    assert other.right().acquire(within_s=60)
    assert kept.is_mine
    kept.release()  # or it renews its session twenty times a second until all tests have ended


class _Unwritable:
    """Objects that cannot be written, for this reason."""

    def __init__(self, objects: Objects, error: OSError) -> None:
        self._objects, self._error = objects, error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._objects, name)

    def write(self, *_: Any) -> Any:
        raise self._error

    put = write


class _Unanswered(_Unwritable):
    """Objects of which the answers to writes are lost."""

    def write(self, *arguments: Any) -> Any:
        self._objects.write(*arguments)
        raise self._error


def failing(objects: Objects) -> Any:
    return _Unwritable(objects, OSError("the object store is away"))


def test_who_may_only_read_knows_whether_a_right_is_held(root: Any) -> None:
    holder, reader = Process(root), Process(root)
    assert holder.right().acquire()
    read_only: Any = _Unwritable(reader.objects, PermissionError(errno.EACCES, "access denied"))
    held = [is_held(read_only, Sessions(read_only, Terms(lasts_s)), root / "right.lock") for lasts_s in (60.0, -1000.0)]
    assert held == [True, False]


def test_a_session_lasts_until_the_last_right_is_released(root: Any) -> None:
    holder, other = Process(root), Process(root)
    rights = [holder.right(f"{number}.lock") for number in range(3)]
    assert all(right.acquire() for right in rights)
    for right in rights:
        assert is_held(other.objects, other.sessions, root / "2.lock")
        right.release()
    assert not is_held(other.objects, other.sessions, root / "2.lock")
    assert rights[0].acquire() and is_held(other.objects, other.sessions, root / "0.lock")


def test_a_right_that_is_released_after_a_pause_is_free_while_its_session_goes_on(root: Any) -> None:
    holder, other = Process(root), Process(root)
    right, kept = holder.right(), holder.right("kept.lock")
    assert right.acquire() and kept.acquire()
    holder.asleep_s = 70
    right.release()
    assert kept.acquire() and kept.is_mine
    assert other.right().acquire()


def test_a_load_that_begins_ends_the_sessions_of_killed_loads(root: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        assert Process(root).right(f"loading/0-60000-{number:032x}.lock").acquire()
    assert len(list((root / ".sessions").iterdir())) == 3
    monkeypatch.setattr(storage_of(root), "_sessions", impatient(root).sessions)
    loads = LoadLocks(root / "loading")
    loads.begin(Span(0, 60_000)).release()
    assert list((root / "loading").iterdir()) == list((root / ".sessions").iterdir()) == []


def test_what_nobody_ever_took_is_held_by_nobody(root: Any) -> None:
    process = Process(root)
    assert not is_held(process.objects, process.sessions, root / "never.lock")
    process.right("never.lock").release()
    assert not storage_of(root).is_file(root / "never.lock")


def test_a_process_whose_session_ran_out_holds_nothing_in_the_eyes_of_others(root: Any) -> None:
    holder, other = Process(root), impatient(root)
    assert holder.right().acquire()
    assert not is_held(other.objects, other.sessions, root / "right.lock")


@pytest.fixture
def proxy(request: pytest.FixtureRequest, root: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectsProxy]:
    if "memory" in request.node.callspec.id:
        pytest.skip("sends no requests")
    with proxied(request.getfixturevalue(request.node.callspec.params["root"])) as running:
        for name, value in environment_of(running.url).items():
            monkeypatch.setenv(name, value)
        yield running


def test_many_rights_are_renewed_by_one_request(proxy: ObjectsProxy) -> None:
    process = Process(in_bucket())
    rights = [process.right(f"{number}.lock") for number in range(20)]
    assert all(right.acquire() for right in rights)
    proxy.requests.clear()
    process.sessions.join().renew()
    assert [request.method for request in proxy.requests] == ["PUT"]
    assert all(right.is_mine for right in rights)


def test_who_has_a_right_and_asks_for_it_again_sends_no_request(proxy: ObjectsProxy) -> None:
    """So it keeps the right also while the object store is away for a moment."""
    right = Process(in_bucket()).right()
    assert right.acquire()
    proxy.requests.clear()
    assert right.acquire() and right.is_mine
    assert proxy.requests == []


def test_the_clock_of_the_store_is_asked_for_once_in_a_while(proxy: ObjectsProxy) -> None:
    holder = Process(in_bucket())
    other = Process(holder.root)
    held = holder.right()
    assert held.acquire()
    proxy.requests.clear()
    assert all(is_held(other.objects, other.sessions, holder.root / "right.lock") for _ in range(10))
    assert [request.method for request in proxy.requests if request.key.endswith(".clock")] == ["PUT", "HEAD"]
    other.asleep_s = 6
    assert is_held(other.objects, other.sessions, holder.root / "right.lock")
    assert len([request for request in proxy.requests if request.key.endswith(".clock")]) == 4


def test_a_lost_answer_costs_no_right(proxy: ObjectsProxy) -> None:
    proxy.lose_each_once(lambda request: request.method == "PUT")
    process = Process(in_bucket())
    held = process.right()
    assert held.acquire() and held.is_mine
    for _ in range(3):
        proxy.lose_each_once(lambda request: request.method == "PUT")
        process.sessions.join().renew()
        assert held.is_mine
    assert len(proxy.lost) == 5


class Shaky:
    """Objects of which the second and third write is refused."""

    def __init__(self, objects: Objects) -> None:
        self.objects, self.writes, self.is_written_again = objects, 0, threading.Event()

    def write(self, *arguments: Any) -> Any:
        self.writes += 1
        if self.writes in (2, 3):
            raise OSError("the object store is away")
        written = self.objects.write(*arguments)
        if self.writes > 3:
            self.is_written_again.set()
        return written

    def __getattr__(self, name: str) -> Any:
        return getattr(self.objects, name)


def test_a_session_that_could_not_be_renewed_is_renewed_in_a_moment(root: Any) -> None:
    shaky = Shaky(Process(root).objects)
    session = Session(shaky, Terms(renewed_every_s=0.01))  # type: ignore[arg-type]
    session.begin()
    assert shaky.is_written_again.wait(60)
    assert session.goes_on and not session.has_ended
    session.end()
    assert session.has_ended and not session.goes_on
    assert list((root / ".sessions").iterdir()) == []


@pytest.mark.parametrize("left", [None, b"what an earlier try wrote, whose answer was lost"])
def test_a_right_with_a_new_name_is_not_looked_for_and_leaves_nothing(proxy: ObjectsProxy, left: bytes | None) -> None:
    root = in_bucket()
    path = root / "own.lock"
    if left:
        path.write_bytes(left)
    proxy.requests.clear()
    right = storage_of(root).hold(path, is_own=True)
    assert right.acquire() and right.is_mine and storage_of(root).is_held(path)
    right.release()
    assert [request.method for request in proxy.requests if request.key.endswith("own.lock")] == [
        "PUT",
        "GET",
        "DELETE",
    ]
    assert not storage_of(root).is_file(path)
