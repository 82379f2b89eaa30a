"""One service of `up`: the log of what it prints."""

import subprocess
import sys
from pathlib import Path

import pytest

from market_data_pipeline_tests.support import CHECKOUT

SUPERVISED = """
import os, sys, time
from pathlib import Path
from market_data_pipeline.services.process import Service, ServiceProcess

folder = Path(sys.argv[1])
program = "for line in range(1000): print(line)\\nopen('ended', 'w').close()"
service = ServiceProcess(Service("service", ("-c", program)), os.environ, folder / "service.log")
service.start()
while not Path("ended").exists():
    time.sleep(0.01)
print(service.process.wait(60))
"""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_log_on_a_full_disk_is_one_warning_and_the_service_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "service.log"
    log.symlink_to("/dev/full")
    command = [sys.executable, "-c", SUPERVISED, str(tmp_path)]
    environment = {"PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, encoding="utf-8", timeout=120)
    assert done.stdout == "0\n", done.stderr
    assert done.stderr.startswith(f"warning: {log} cannot be written: ") and done.stderr.count("\n") == 1, done.stderr
