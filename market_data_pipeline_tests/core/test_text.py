"""What is said of an error of the disk names what helps against it, and how far a clock is off is easily read."""

import errno
import os

import pytest

from market_data_pipeline.core.text import clock_text, refusal_of_disk

CLOSE_IT = "close the program that has it open, or check that you may write there"
OWN_IT = CLOSE_IT if os.name == "nt" else "run this as the user who owns it, or make it yours (chown)"


@pytest.mark.parametrize(
    ("number", "cure"),
    [(errno.ENOSPC, "check that the disk is not full"), (errno.EACCES, OWN_IT), (errno.EPERM, OWN_IT)],
)
def test_an_error_of_the_disk_has_its_cure(number: int, cure: str) -> None:
    said = refusal_of_disk(OSError(number, os.strerror(number), "/store/file"))
    assert said.startswith(f"{os.strerror(number)}: /store/file; {cure}")


class RefusedByWindows(PermissionError):
    """What Windows raises; other systems know no such numbers."""

    def __init__(self, number: int) -> None:
        super().__init__(errno.EACCES, "the reason", r"C:\store\file")
        self.winerror = number


@pytest.mark.parametrize(
    ("number", "cure"),
    [(5, CLOSE_IT), (32, CLOSE_IT), (33, CLOSE_IT), (23, "check that the disk is not full")],
    ids=["access denied", "open elsewhere", "locked elsewhere", "bad sector"],
)
def test_what_windows_refuses_is_open_in_another_program_or_not_ours(number: int, cure: str) -> None:
    said = refusal_of_disk(RefusedByWindows(number))
    assert said.startswith(rf"the reason: C:\store\file; {cure}")
    assert "chown" not in said


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
