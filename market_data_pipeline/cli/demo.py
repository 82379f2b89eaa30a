"""`market-data demo`: load, combine and verify on a simulated exchange, in a data root of its own.

Belongs here: the steps of the demo and what is printed between them. Does not belong here: anything that a user's own
commands would not do.
"""

import time
from pathlib import Path

from market_data_pipeline.app.as_json import proof_json, status_json
from market_data_pipeline.app.backfill import BackfillRequest, backfill
from market_data_pipeline.app.combine import combine_dataset
from market_data_pipeline.app.market.as_json import backfill_json, combined_json
from market_data_pipeline.app.status import statuses_of
from market_data_pipeline.app.targets import Target
from market_data_pipeline.app.verify import ProofRequest, verify_datasets
from market_data_pipeline.cli import console, reports
from market_data_pipeline.cli.lines.writing import Lines
from market_data_pipeline.cli.outcome import fail_unless_run
from market_data_pipeline.cli.progress import day_progress
from market_data_pipeline.cli.stored.table import print_statuses
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.days import parse_zone
from market_data_pipeline.instance.names import COMBINED
from market_data_pipeline.settings import Settings
from market_data_pipeline.simulator.exchange import SimulatedExchange
from market_data_pipeline.simulator.server import serve

# March 2023 has an outage (no spot klines on the 24th from 12:40 to 13:59 UTC) and a day of 23 hours (the 26th in
# Zurich).
_ZONE, _START, _END = "Europe/Zurich", "2023-03-01", "2023-04-01"


def run_demo(settings: Settings, *, as_json: bool = False) -> bool:
    """Load, combine and verify a month of spot BTC/USDT; True if all of it is good."""
    root = Path(f"{settings.folder}-demo")
    target = Target(Market.SPOT, "BTC/USDT", parse_zone(_ZONE), named=True)
    with serve(SimulatedExchange()) as simulated:
        console.talk.print(f"The simulated exchange is at {simulated.url}; no request leaves this machine.")
        demo_settings = settings.model_copy(
            update={
                "market_data_dir": root,
                "dagster_home": None,
                "log_dir": None,
                "market_data_exchange_url": simulated.url,
            }
        )
        request = BackfillRequest(target, _START, _END)
        started_at = time.monotonic()
        _begin("load", as_json)
        with day_progress(as_json=as_json) as progress:
            report = backfill(demo_settings, request, on_start=progress.on_start, on_day=progress.on_day)
        seconds = time.monotonic() - started_at
        if not as_json:
            reports.print_backfill(report, seconds)
        _begin("combine", as_json)
        combined = combine_dataset(demo_settings, target)
        fail_unless_run(combined)
        if not as_json:
            reports.print_combined(combined.results[COMBINED])
    _begin("verify", as_json)
    proofs = list(verify_datasets(demo_settings, ProofRequest(target)))
    ok = report.ok and not combined.failed_checks and all(proof.ok for proof in proofs)
    if as_json:
        done = {"load": backfill_json(report, seconds), "combine": combined_json(report.dataset.name, combined)}
        console.print_json({"ok": ok, "root": str(root), **done, "verify": list(map(proof_json, proofs))})
        return ok
    for proof in proofs:
        reports.print_proof(proof)
    console.out.rule("store", align="left")
    print_statuses([status_json(status) for status in statuses_of(demo_settings, target)])
    console.out.print(f"\nRead it:     pandas.read_parquet(r'{combined.results[COMBINED]['file']}')")
    console.out.print(f"Look at it:  set MARKET_DATA_DIR to {root}")
    console.out.print("             run make dev or market-data up, then open http://127.0.0.1:8000")
    return ok


def _begin(step: str, as_json: bool) -> None:
    """Show that a step begins."""
    if as_json:
        with Lines() as lines:
            lines.tell("step", what=step)
    else:
        console.out.rule(step, align="left")
