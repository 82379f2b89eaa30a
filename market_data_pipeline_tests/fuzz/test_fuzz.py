"""Damaged bodies are refused by the reader's own error, or read as what they are.

`MARKET_DATA_FUZZ_BODIES` is how many there are in all; `make fuzz` takes a million. A reader that hangs runs into the
time limit of the test.
"""

import os
from itertools import islice
from pathlib import Path
from random import Random

import pytest

from market_data_pipeline_tests.fuzz.damage import damaged
from market_data_pipeline_tests.fuzz.readers import readers

BODIES = int(os.environ.get("MARKET_DATA_FUZZ_BODIES", "30000"))
SEED = int(os.environ.get("MARKET_DATA_FUZZ_SEED", "17"))


@pytest.mark.timeout(1800)
def test_no_reader_crashes_or_reads_what_is_not_there(tmp_path: Path, subtests: pytest.Subtests) -> None:
    for reader in readers(tmp_path):
        with subtests.test(reader.name):
            assert all(map(reader.takes, reader.seeds))
            count, taken = BODIES * reader.share // 1000, 0
            for number, body in enumerate(islice(damaged(reader.seeds, Random(f"{SEED} {reader.name}")), count)):
                try:
                    taken += reader.takes(body)
                except Exception as error:
                    pytest.fail(f"body {number} of {reader.name} with seed {SEED}: {error!r} of {body[:2000]!r}")
            assert taken
            print(f"{reader.name}: {count:,} bodies, {taken:,} read")
