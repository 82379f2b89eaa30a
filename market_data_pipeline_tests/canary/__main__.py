"""`make canary`: ask the live exchange, and print what is not as recorded.

Belongs here: options, exit codes, printing. Exit codes: 0 as recorded, 1 something differs, 3 it does not answer.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from market_data_pipeline_tests.canary.asking import Addresses, Unreachable, shapes_of
from market_data_pipeline_tests.canary.comparing import differences

RECORDED = Path(__file__).with_name("recorded.json")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="canary", description="The live exchange against the recorded shapes.")
    parser.add_argument("--url", help="an exchange that has all addresses below this one, as the simulated one")
    parser.add_argument("--record", action="store_true", help="write what is seen as what is recorded")
    options = parser.parse_args(arguments)
    try:
        seen = shapes_of(Addresses.below(options.url) if options.url else Addresses())
    except Unreachable as error:
        print(f"canary: nothing was compared: {error}", file=sys.stderr)
        return 3
    if options.record:
        RECORDED.write_text(f"{json.dumps(seen, indent=2, sort_keys=True)}\n", encoding="utf-8")
        print(f"recorded in {RECORDED}")
        return 0
    found = list(differences(json.loads(RECORDED.read_text(encoding="utf-8")), seen))
    for line in found:
        print(line)
    print(f"canary: {len(found)} differences" if found else "canary: the exchange is as recorded")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
