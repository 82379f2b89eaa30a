"""`market-data demo`: the main job from end to end on a simulated exchange, in a data root of its own.

Belongs here: the story of the demo. Does not belong here: anything a user's own load would not do.
"""

import time
from pathlib import Path

from market_data_pipeline.app.backfill import BackfillRequest, backfill
from market_data_pipeline.app.combine import combine_dataset
from market_data_pipeline.app.status import statuses_of
from market_data_pipeline.app.targets import Target
from market_data_pipeline.app.verify import ProofRequest, verify_datasets
from market_data_pipeline.cli import console
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.days import parse_zone
from market_data_pipeline.settings import Settings
from market_data_pipeline.simulator.exchange import SimulatedExchange
from market_data_pipeline.simulator.server import serve

# March 2023 has both: no spot klines on the 24th from 12:40 to 13:59 UTC, and 23 hours on the 26th in Zurich.
_ZONE, _START, _END = "Europe/Zurich", "2023-03-01", "2023-04-01"


def run_demo(settings: Settings) -> bool:
    """Load, verify and combine a month of spot BTC/USDT; True if all of it is good."""
    root = Path(f"{settings.root}-demo")
    target = Target(Market.SPOT, "BTC/USDT", parse_zone(_ZONE), named=True)
    with serve(SimulatedExchange()) as simulated:
        console.talk.print(f"A simulated exchange answers at {simulated.url}; nothing leaves this machine.")
        mine = settings.model_copy(
            update={
                "market_data_dir": root,
                "dagster_home": None,
                "log_dir": None,
                "market_data_exchange_url": simulated.url,
            }
        )
        request = BackfillRequest(target, _START, _END)
        began = time.monotonic()
        console.out.rule("load", align="left")
        with console.day_progress() as progress:
            report = backfill(mine, request, on_start=progress.on_start, on_day=progress.on_day)
        console.print_backfill(report, time.monotonic() - began)
        console.out.rule("combine", align="left")
        combined = combine_dataset(mine, target)
        console.print_combined(combined.results["combined"])
    console.out.rule("verify", align="left")
    proofs = verify_datasets(mine, ProofRequest(target))
    for proof in proofs:
        console.print_proof(proof)
    console.out.rule("store", align="left")
    console.print_statuses(statuses_of(mine, target))
    console.out.print(f"\nRead it:     pandas.read_parquet(r'{combined.results['combined']['file']}')")
    how = "run make dev or market-data up, open http://127.0.0.1:8000"
    console.out.print(f"Look at it:  set MARKET_DATA_DIR to {root}, {how}")
    return report.ok and combined.success and all(proof.ok for proof in proofs)
