"""`python -m market_data_pipeline_tests.powerloss`: many power cuts of each scenario, and how many states they left.

Belongs here: what is tried by `make power-loss`, and the table of what was found. Does not belong here: trying it.
"""

import argparse
import sys
from dataclasses import replace

from market_data_pipeline_tests.powerloss import scenarios
from market_data_pipeline_tests.powerloss.objects import ObjectPlan, object_loss
from market_data_pipeline_tests.powerloss.replaying import Counts, Plan, power_loss

PLAN = Plan(most=100, most_after_kill=8, healed_each=6, kills=60)
# It has many more operations than the others.
KILLS_OF_LIVE = 16
# Between two writes of a manifest: for these scenarios it matters.
INTERVALS_S = {"load": (0, 3600), "moved start": (0, 3600)}
MOST_TOLD = 20
_ROW = "{:<24} {:>6} {:>8} {:>8} {:>8} {:>8} {:>8} {:>6}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m market_data_pipeline_tests.powerloss")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0, help="which states are drawn where there are too many")
    parser.add_argument("--only", choices=["folder", "bucket"], help="the data root is in a folder or in a bucket")
    parser.add_argument("scenarios", nargs="*", default=list(scenarios.ALL), help=", ".join(scenarios.ALL))
    asked = parser.parse_args()
    print(_ROW.format("scenario", "writes", "cuts", "states", "looks", "healed", "problems", "s"), flush=True)
    every: list[Counts] = []

    def done(counts: Counts) -> None:
        every.append(counts)
        print(_line(counts), flush=True)

    for name in asked.scenarios if asked.only != "bucket" else ():
        kills = KILLS_OF_LIVE if name == scenarios.Live.name else PLAN.kills
        plan = replace(PLAN, seed=asked.seed, kills=kills)
        for interval_s in INTERVALS_S.get(name, (0,)):
            done(power_loss(name, plan, interval_s=interval_s, processes=asked.processes))
    for name in asked.scenarios if asked.only != "folder" else ():
        done(object_loss(name, ObjectPlan(seed=asked.seed), processes=asked.processes))
    total = Counts("all", sum(counts.operations for counts in every), seconds=sum(counts.seconds for counts in every))
    for counts in every:
        total.add(counts)
    print(_line(total))
    for problem in total.problems[:MOST_TOLD]:
        print(problem, file=sys.stderr)
    return 1 if total.problems else 0


def _line(counts: Counts) -> str:
    numbers = counts.operations, counts.cuts, counts.states, counts.looks, counts.healed, len(counts.problems)
    return _ROW.format(counts.name, *(f"{number:,}" for number in numbers), f"{counts.seconds:.0f}")


if __name__ == "__main__":
    sys.exit(main())
