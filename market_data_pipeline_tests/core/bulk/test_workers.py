"""Work for many processes: what they tell arrives in order, and one that dies takes its argument alone."""

import multiprocessing
import os
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from market_data_pipeline.core.bulk.workers import Died, stream
from market_data_pipeline_tests.support import wait_until

pytestmark = pytest.mark.slow


def count_to(number: int) -> Iterator[int]:
    yield from range(number)


def die_of_three(number: int) -> Iterator[int]:
    yield number
    if number == 3:
        os._exit(7)


def write_and_wait(file: Path) -> Iterator[str]:
    file.write_text(f"{os.getpid()}", encoding="utf-8")
    yield "begun"
    time.sleep(600)


def test_messages_of_each_argument_come_in_order_and_all_of_them():
    told: dict[int, list[int]] = defaultdict(list)
    for argument, message in stream(count_to, [5, 0, 3, 400, 1], processes=2):
        told[argument].append(message)
    assert told == {number: list(range(number)) for number in (5, 3, 400, 1)}


def test_a_process_that_dies_takes_its_argument_alone():
    told = list(stream(die_of_three, range(8), processes=2))
    died = [(argument, message) for argument, message in told if isinstance(message, Died)]
    assert [argument for argument, _ in died] == [3]
    assert died[0][1].how == "ended with code 7"
    assert sorted(message for _, message in told if not isinstance(message, Died)) == list(range(8))


def tell_who(number: int) -> Iterator[int]:
    yield os.getpid()


def test_a_process_that_dies_while_it_waits_takes_its_next_argument_alone():
    told = list[tuple[int, int | Died]]()
    for argument, message in stream(tell_who, range(4), processes=1):
        told.append((argument, message))
        if argument == 0 and isinstance(message, int):
            # It has said all of this argument soon after its only message.
            time.sleep(1)
            psutil.Process(message).kill()
            wait_until(lambda process=message: not is_alive(process))
    assert [argument for argument, message in told if isinstance(message, Died)] == [1]
    assert [argument for argument, message in told if not isinstance(message, Died)] == [0, 2, 3]


def test_processes_end_with_the_stream(tmp_path: Path):
    begun = stream(write_and_wait, [tmp_path / "a", tmp_path / "b"], processes=2)
    assert {message for _, message in (next(begun), next(begun))} == {"begun"}
    begun.close()
    assert not multiprocessing.active_children()


def test_no_argument_is_no_process():
    assert list(stream(count_to, [], processes=4)) == []


def begin(folder: Path) -> None:
    """Start work in processes, in a process that the test kills."""
    for _ in stream(write_and_wait, [folder / "a", folder / "b"], processes=2):
        pass


def test_processes_end_when_the_one_that_started_them_is_killed(tmp_path: Path):
    first = multiprocessing.get_context("spawn").Process(target=begin, args=(tmp_path,))
    first.start()
    files = [tmp_path / "a", tmp_path / "b"]
    wait_until(lambda: all(file.exists() and file.read_text(encoding="utf-8") for file in files))
    workers = [int(file.read_text(encoding="utf-8")) for file in files]
    first.kill()
    first.join()
    wait_until(lambda: not any(is_alive(worker) for worker in workers))


def is_alive(process: int) -> bool:
    return psutil.pid_exists(process) and psutil.Process(process).status() != psutil.STATUS_ZOMBIE
