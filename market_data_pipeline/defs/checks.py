"""The asset checks: the store proves itself, and each check says what it read and what is wrong.

Belongs here: core's findings as Dagster check results. Does not belong here: the proving (`core.verify`,
`core.combine`).
The checks of `CHECKS` share one reading of the dataset, and each run checks all of it: a green one means all days.
https://docs.dagster.io/guides/test/asset-checks
"""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg

from market_data_pipeline.core.errors import SourceError, StoreError
from market_data_pipeline.core.klines.coverage import Span, minutes_by_kind
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.klines.findings import Severity
from market_data_pipeline.core.live.freshness import freshness
from market_data_pipeline.core.proof import verify as core
from market_data_pipeline.core.proof.combined import Agreement, combined_agreement
from market_data_pipeline.core.proof.crosscheck import CrossCheck, crosscheck, sample
from market_data_pipeline.core.proof.prove import Proof
from market_data_pipeline.core.store.dataset_file import read_dataset
from market_data_pipeline.core.text import kinds_text
from market_data_pipeline.defs.assets import asset_key
from market_data_pipeline.defs.metadata import findings_table
from market_data_pipeline.defs.resources import Tools
from market_data_pipeline.instance.names import CHECKS, COMBINED, COMBINED_EQUALS_CHUNKS, KLINES

MATCHES_OTHER_SOURCE = "klines_match_other_source"
FRESH = "newest_kline_is_fresh"
CAN_BE_READ = "dataset_can_be_read"
_MOST_SHOWN = 50
_SAMPLE_DAYS = 5
# By then the archive has the day, and REST has settled.
_OLD_ENOUGH_MS = 2 * 86_400_000


def checks_of(dataset: Dataset) -> dg.AssetChecksDefinition:
    """The checks of one dataset, as one step."""

    @dg.multi_asset_check(
        name=f"{dataset.market.exchange_id}__{dataset.token}__checks",
        specs=[
            dg.AssetCheckSpec(name, asset=asset_key(dataset, asset), description=description)
            for name, (asset, description) in CHECKS.items()
        ],
        can_subset=True,
    )
    def checks(context: dg.AssetCheckExecutionContext, tools: dg.ResourceParam[Tools]) -> Iterator[dg.AssetCheckResult]:
        store = tools.files(dataset)
        selected = {key.name for key in context.selected_asset_check_keys}
        if of_chunks := sorted(selected - {COMBINED_EQUALS_CHUNKS}):
            read = core.verify(store)
            for name in of_chunks:
                yield _of_chunks(dataset, read, name)
        if COMBINED_EQUALS_CHUNKS in selected:
            yield _of_combined(store.dataset, *combined_agreement(store))

    return checks


def evaluations_of(proof: Proof) -> Iterator[dg.AssetCheckEvaluation]:
    """The same checks as events, for a job whose op has the proof already."""
    dataset = proof.verification.dataset
    results = [_of_chunks(dataset, proof.verification, name) for name in CHECKS if name != COMBINED_EQUALS_CHUNKS]
    for result in [*results, _of_combined(dataset, proof.combined, proof.combined_problem)]:
        if result.asset_key and result.check_name:
            yield dg.AssetCheckEvaluation(
                asset_key=result.asset_key,
                check_name=result.check_name,
                passed=result.passed,
                severity=result.severity,
                description=result.description,
                metadata=result.metadata,
            )


def cross_check_of(dataset: Dataset) -> dg.AssetChecksDefinition:
    """Stored klines against the source that they did not come from."""

    @dg.asset_check(
        name=MATCHES_OTHER_SOURCE,
        asset=asset_key(dataset, KLINES),
        description="Some days, others each night: value by value what the source has that they did not come from.",
    )
    def compared(tools: dg.ResourceParam[Tools]) -> dg.AssetCheckResult:
        store = tools.files(dataset)
        now = datetime.now(UTC)
        settled = Span(0, int(now.timestamp() * 1000) - _OLD_ENOUGH_MS)
        days = sample(store, settled, _SAMPLE_DAYS, f"{now:%Y-%m-%d}")
        found = []
        for against in ("rest", "archive"):
            others = [day for day in days if (against == "rest") == ("archive" in store.entries[day.key].source)]
            if others:
                with closing(tools.opener(against)(dataset.market, dataset.pair)) as source:
                    found.append(crosscheck(store, source, against=against, days=others))
        return _of_comparison(found)

    return compared


def freshness_check_of(dataset: Dataset) -> dg.AssetChecksDefinition:
    """Whether a live dataset has the exchange's newest closed klines."""

    @dg.asset_check(
        name=FRESH,
        asset=asset_key(dataset, KLINES),
        description="A live dataset has the newest closed kline that the exchange has; an outage is no lag.",
    )
    def fresh(tools: dg.ResourceParam[Tools]) -> dg.AssetCheckResult:
        found = tools.store.find(dataset.market, dataset.pair)
        if found is None or not found.live:
            return dg.AssetCheckResult(passed=True, description="not live, so it is not expected to be current")
        with closing(tools.opener(None)(dataset.market, dataset.pair)) as source:
            try:
                fresh = freshness(tools.store.open(found), source)
            except SourceError as error:
                return dg.AssetCheckResult(passed=False, severity=dg.AssetCheckSeverity.WARN, description=str(error))
        return dg.AssetCheckResult(
            passed=fresh.ok,
            severity=dg.AssetCheckSeverity.WARN,
            description=fresh.detail,
            metadata={} if fresh.lag_minutes is None else {"lag_minutes": fresh.lag_minutes},
        )

    return fresh


def damage_check_of(path: Path) -> dg.AssetChecksDefinition:
    """Fails while a `dataset.json` cannot be read, as its dataset then has no definitions that could."""
    exchange_id, token = path.parts[-4:-2]

    @dg.asset_check(
        name=CAN_BE_READ,
        asset=dg.AssetKey([exchange_id, token, KLINES]),
        description="dataset.json can be read. Once it is mended, reload the code location.",
    )
    def readable() -> dg.AssetCheckResult:
        try:
            return dg.AssetCheckResult(passed=True, description=f"{read_dataset(path).name}: reload the code location")
        except StoreError as error:
            return dg.AssetCheckResult(passed=False, description=str(error))

    return readable


def _of_comparison(found: list[CrossCheck]) -> dg.AssetCheckResult:
    compared = sum(one.days for one in found)
    differing = [(one.against, day, minutes) for one in found for day, minutes in one.differing_days.items()]
    reasons = [(day, reason) for one in found for day, reason in one.not_compared]
    shown = [(one.against, difference.text(one.against)) for one in found for difference in one.differences]
    if differing:
        against, day, minutes = differing[0]
        said = f"{day}: {minutes} minutes differ; run market-data verify --against {against} --every-day"
    elif reasons and not compared:
        said = f"nothing could be compared: {reasons[0][1]}"
    else:
        said = f"{compared} days, equal" if compared else "no day is old enough to be compared"
    return dg.AssetCheckResult(
        passed=not differing and (compared > 0 or not reasons),
        severity=dg.AssetCheckSeverity.ERROR if differing else dg.AssetCheckSeverity.WARN,
        description=said,
        metadata={"days": compared, "klines": sum(one.rows for one in found)}
        | ({"findings": findings_table([*shown, *reasons][:_MOST_SHOWN])} if shown or reasons else {}),
    )


def _of_chunks(dataset: Dataset, read: core.Verification, name: str) -> dg.AssetCheckResult:
    # A notice is good to know, and no reason for a check to fail.
    worth = [finding for finding in read.of(name) if finding.severity is not Severity.NOTICE]
    found = [(finding.day, finding.problem) for finding in worth]
    shown = [(f"{finding.day} {finding.severity}", finding.problem) for finding in read.of(name)[:_MOST_SHOWN]]
    metadata: dict[str, Any] = {
        "days": read.days,
        "klines": read.rows,
        "absent": kinds_text(minutes_by_kind(read.absences)),
    }
    if shown:
        metadata["number_of_findings"] = len(read.of(name))
        metadata["findings"] = findings_table(shown)
    is_error = any(finding.severity is Severity.ERROR for finding in worth)
    return dg.AssetCheckResult(
        asset_key=asset_key(dataset, CHECKS[name][0]),
        check_name=name,
        passed=not found,
        severity=dg.AssetCheckSeverity.ERROR if is_error or not found else dg.AssetCheckSeverity.WARN,
        description=_words(read, found, is_error),
        metadata=metadata,
    )


def _words(read: core.Verification, found: list[tuple[str, str]], is_error: bool) -> str:
    if not found:
        return f"{read.days:,} days, {read.rows:,} klines"
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return f"{found[0][0]}: {found[0][1]}{more}{'; run market-data verify --repair' if is_error else ''}"


def _of_combined(dataset: Dataset, agreement: Agreement, detail: str) -> dg.AssetCheckResult:
    older = agreement is Agreement.OLDER
    if older:
        advice = "the dataset is live and grows each minute" if dataset.live else "materialize it again"
        detail = f"it is {agreement}: {detail}; {advice}"
    return dg.AssetCheckResult(
        asset_key=asset_key(dataset, COMBINED),
        check_name=COMBINED_EQUALS_CHUNKS,
        # A live dataset grows each minute, so its combined file is always older but for the minute it was built in.
        passed=agreement in {Agreement.ABSENT, Agreement.EQUAL} or (older and dataset.live),
        severity=dg.AssetCheckSeverity.WARN if older else dg.AssetCheckSeverity.ERROR,
        description=detail or None,
        metadata={"combined": agreement.value},
    )
