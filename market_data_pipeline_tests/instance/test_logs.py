"""`loader.log` where it cannot be kept: one line says so, and what is loaded does not suffer."""

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from market_data_pipeline.core.errors import StoreError
from market_data_pipeline.instance.logs import log_to


@pytest.fixture(autouse=True)
def logger() -> Iterator[logging.Logger]:
    """The package's logger, put back."""
    logger = logging.getLogger("market_data_pipeline")
    before = logger.handlers[:], logger.level
    yield logger
    for handler in set(logger.handlers) - set(before[0]):
        for each in (logger, logging.getLogger("sqlalchemy.pool")):
            each.removeHandler(handler)
        handler.close()
    logger.setLevel(before[1])


def test_lines_are_kept_once_however_often_the_log_is_asked_for(tmp_path: Path, logger: logging.Logger) -> None:
    for _ in range(3):
        log_to(tmp_path / "logs")
    logger.getChild("somewhere").info("a line")
    (line,) = (tmp_path / "logs" / "loader.log").read_text().splitlines()
    assert line.endswith(" INFO a line")


def test_what_dagsters_databases_report_is_kept_too_and_not_on_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log_to(tmp_path)
    logging.getLogger("sqlalchemy.pool.impl.QueuePool").error("a connection could not be closed")
    assert (tmp_path / "loader.log").read_text().endswith(" ERROR a connection could not be closed\n")
    assert capsys.readouterr().err == ""


def test_a_folder_that_cannot_be_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"^cannot keep a log in .*file: .*; set LOG_DIR to a folder you own$"):
        log_to(tmp_path / "file")


def test_a_log_that_cannot_be_written_is_said_once(
    tmp_path: Path, logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "loader.log").mkdir()
    log_to(tmp_path)
    for number in range(3):
        logger.info("line %d", number)
    said = capsys.readouterr().err
    assert said.startswith(f"warning: {tmp_path / 'loader.log'} cannot be written: ")
    assert said.count("\n") == 1


def test_a_program_without_stderr_goes_on_where_its_log_cannot_be_written(
    tmp_path: Path, logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "loader.log").mkdir()
    log_to(tmp_path)
    monkeypatch.setattr(sys, "stderr", None)
    logger.info("a line")
