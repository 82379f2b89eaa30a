"""What is said of an error of the disk names what helps against it."""

import errno
import os

import pytest

from market_data_pipeline.core.text import refusal_of_disk


@pytest.mark.parametrize(
    ("number", "cure"),
    [
        (errno.ENOSPC, "check that the disk is not full"),
        (errno.EACCES, "run this as the user who owns it, or make it yours (chown)"),
        (errno.EPERM, "run this as the user who owns it, or make it yours (chown)"),
    ],
)
def test_an_error_of_the_disk_has_its_cure(number: int, cure: str) -> None:
    said = refusal_of_disk(OSError(number, os.strerror(number), "/store/file"))
    assert said.startswith(f"{os.strerror(number)}: /store/file; {cure}")
