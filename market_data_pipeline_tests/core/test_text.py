"""What is said of an error of the disk names what helps against it, and how far a clock is off is easily read."""

import errno
import os

import pytest

from market_data_pipeline.core.text import clock_text, refusal_of_disk


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


@pytest.mark.parametrize(
    ("behind_ms", "text"),
    [
        (0, "exact"),
        (-3, "3 ms ahead"),
        (9_999, "9,999 ms behind"),
        (10_000, "10 s behind"),
        (-119_999, "119 s ahead"),
        (120_000, "2 min behind"),
        (-3 * 3_600_000, "3 h ahead"),
        (800 * 86_400_000, "800 days behind"),
    ],
)
def test_how_far_a_clock_is_off_is_said_in_the_unit_that_fits(behind_ms: int, text: str) -> None:
    assert clock_text(behind_ms) == text
