"""What was proved of a dataset, as results of its checks.

Belongs here: findings of `core` as Dagster's check results, and these as events. Does not belong here: the definitions
of checks (`defs.checks`), finding out what is wrong (`core.proof`), the nightly job (`job`).
"""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import dagster as dg

from market_data_pipeline.core.klines.coverage import minutes_by_kind
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.klines.findings import Finding, Severity
from market_data_pipeline.core.proof.combined import Agreement, combined_agreement
from market_data_pipeline.core.proof.prove import Proof
from market_data_pipeline.core.proof.rolling import Rolled
from market_data_pipeline.core.proof.verify import Verification
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.text import count_text, kinds_text
from market_data_pipeline.defs.assets import asset_key
from market_data_pipeline.defs.metadata import findings_table
from market_data_pipeline.instance.names import CHECKS, COMBINED, COMBINED_EQUALS_CHUNKS

MOST_FINDINGS = 50


def evaluations_of(proof: Proof) -> Iterator[dg.AssetCheckEvaluation]:
    """The results of the same checks as events, for an op that has the proof already."""
    verification = proof.verification
    results = [chunk_result(verification, name) for name in CHECKS if name != COMBINED_EQUALS_CHUNKS]
    results.append(combined_result(verification.dataset, proof.combined, proof.combined_problem))
    yield from map(evaluation_of, results)


def evaluations_of_night(rolled: Rolled) -> Iterator[dg.AssetCheckEvaluation]:
    """As `evaluations_of`, of a night's proof; none of the combined file if there was no time to compare it."""
    verification = rolled.verification
    read = {"days_read_now": rolled.read, "days_not_reached": rolled.not_reached}
    for name in CHECKS:
        if name != COMBINED_EQUALS_CHUNKS:
            yield evaluation_of(chunk_result(verification, name, read))
    if rolled.combined:
        yield evaluation_of(combined_result(verification.dataset, *rolled.combined))


def failed_evaluation(path: Sequence[str], name: str, problem: str) -> dg.AssetCheckEvaluation:
    """The event of a check that fails because it cannot be evaluated; `path` is the key of its asset."""
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey(path), check_name=name, passed=False, description=f"cannot be proved: {problem}"
    )


def combined_evaluation(store: DatasetStore) -> dg.AssetCheckEvaluation:
    """The result of the check of the combined file as an event, for an op that has just written it."""
    return evaluation_of(combined_result(store.dataset, *combined_agreement(store)))


def evaluation_of(result: dg.AssetCheckResult) -> dg.AssetCheckEvaluation:
    """The result of a check as an event."""
    assert result.asset_key is not None and result.check_name is not None
    return dg.AssetCheckEvaluation(
        asset_key=result.asset_key,
        check_name=result.check_name,
        passed=result.passed,
        severity=result.severity,
        description=result.description,
        metadata=result.metadata,
    )


def chunk_result(
    verification: Verification, name: str, more: Mapping[str, Any] = MappingProxyType({})
) -> dg.AssetCheckResult:
    """The result of the check `name`, which fails if it has a finding that is more than a notice.

    `more` is added to its metadata.
    """
    findings = verification.of(name)
    problems = [finding for finding in findings if finding.severity is not Severity.NOTICE]
    is_error = any(finding.severity is Severity.ERROR for finding in problems)
    metadata: dict[str, Any] = {
        "days": verification.days,
        "klines": verification.rows,
        "absent": kinds_text(minutes_by_kind(verification.absences)),
        **more,
    }
    if findings:
        metadata["number_of_findings"] = len(findings)
        metadata["findings"] = findings_table(
            [(f"{finding.day} {finding.severity}", finding.problem) for finding in findings[:MOST_FINDINGS]]
        )
    days, klines = count_text(verification.days, "day"), count_text(verification.rows, "kline")
    return dg.AssetCheckResult(
        asset_key=asset_key(verification.dataset, CHECKS[name][0]),
        check_name=name,
        passed=not problems,
        severity=dg.AssetCheckSeverity.ERROR if is_error or not problems else dg.AssetCheckSeverity.WARN,
        description=_first_problem(problems) if problems else f"{days}, {klines}",
        metadata=metadata,
    )


def _first_problem(problems: list[Finding]) -> str:
    """The first problem, how many more there are, and what to do about an error."""
    more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
    is_error = any(finding.severity is Severity.ERROR for finding in problems)
    advice = "; run market-data verify --repair" if is_error else ""
    return f"{problems[0].day}: {problems[0].problem}{more}{advice}"


def combined_result(dataset: Dataset, agreement: Agreement, detail: str) -> dg.AssetCheckResult:
    """The result of the check of the combined file."""
    is_older = agreement is Agreement.OLDER
    if is_older:
        advice = "the dataset is live and grows each minute" if dataset.live else "materialize it again"
        detail = f"it is {agreement}: {detail}; {advice}"
    return dg.AssetCheckResult(
        asset_key=asset_key(dataset, COMBINED),
        check_name=COMBINED_EQUALS_CHUNKS,
        # A live dataset gets new klines each minute, so its combined file is older a minute after it was built.
        passed=agreement in {Agreement.ABSENT, Agreement.EQUAL} or (is_older and dataset.live),
        severity=dg.AssetCheckSeverity.WARN if is_older else dg.AssetCheckSeverity.ERROR,
        description=detail or None,
        metadata={"combined": agreement.value},
    )
