"""The asset checks of a dataset.

Belongs here: their definitions, and the checks that send requests. Does not belong here: the results of the others
(`proof.results`), finding out what is wrong (`core.proof`, `core.live.freshness`), names (`instance.names`).
The checks in `CHECKS` are evaluated from one read of the whole dataset, so a passed check is about all of its days. The
nightly proof (`proof.job`) evaluates the same checks of all datasets, and reads some of their days each night.
https://docs.dagster.io/guides/test/asset-checks
"""

from collections.abc import Iterator, Set
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from typing import Any

import dagster as dg

from market_data_pipeline.core.errors import SourceError, StoreError
from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.live.freshness import freshness
from market_data_pipeline.core.proof.combined import Agreement, combined_agreement
from market_data_pipeline.core.proof.crosscheck import CrossCheck, crosscheck, sample
from market_data_pipeline.core.proof.rolling import forget_combined, note
from market_data_pipeline.core.proof.verify import verify
from market_data_pipeline.core.store.layout import owner_of
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.core.store.storage.protocol import StorePath
from market_data_pipeline.core.text import count_text
from market_data_pipeline.defs.assets import AFTER, asset_key, inputs_of
from market_data_pipeline.defs.metadata import findings_table
from market_data_pipeline.defs.proof.results import MOST_FINDINGS, chunk_result, combined_result
from market_data_pipeline.defs.resources import Tools
from market_data_pipeline.instance.names import (
    CAN_BE_READ,
    CHECKS,
    COMBINED,
    COMBINED_EQUALS_CHUNKS,
    FRESH,
    KLINES,
    MANIFEST,
    MATCHES_OTHER_SOURCE,
    asset_path_of_folder,
    op_name,
)

_SAMPLE_DAYS = 5
# The archive publishes a day within this time, and REST changes no kline of it any more.
_SETTLED_AFTER_MS = 2 * 86_400_000
_NOT_ALWAYS, _NO_CONFIG = dg.Out(None, is_required=False), dg.Field(dg.Shape({}))
_REQUESTING_CHECKS = {
    FRESH: (KLINES, "A live dataset has the newest closed klines of the exchange."),
    MATCHES_OTHER_SOURCE: (
        KLINES,
        "A sample of days, a new one each night, has the values of the source that it was not loaded from.",
    ),
}


def checks_of(dataset: Dataset, tools: Tools, *, requesting: bool = False) -> dg.AssetChecksDefinition:
    """The checks of one dataset, which one step evaluates: those in `CHECKS`, and if asked those that send requests.

    The same as `@dg.multi_asset_check` makes, in less time; see `assets_of`.
    """
    of_assets = CHECKS | (_REQUESTING_CHECKS if requesting else {})
    specs = [
        dg.AssetCheckSpec(name, asset=asset_key(dataset, asset), description=description)
        for name, (asset, description) in of_assets.items()
    ]
    before = inputs_of(*(asset_key(dataset, asset) for asset in (KLINES, MANIFEST, COMBINED)))
    outputs = {spec.get_python_identifier(): spec for spec in specs}
    return dg.AssetChecksDefinition.create(
        keys_by_input_name=before,
        node_def=dg.OpDefinition(
            partial(_evaluate, dataset, tools),
            op_name(dataset, "checks"),
            ins=dict.fromkeys(before, AFTER),
            outs=dict.fromkeys(outputs, _NOT_ALWAYS),
            config_schema=_NO_CONFIG,
        ),
        check_specs_by_output_name=outputs,
        can_subset=True,
    )


def _evaluate(
    dataset: Dataset, tools: Tools, context: dg.AssetCheckExecutionContext, _: object
) -> Iterator[dg.AssetCheckResult]:
    """The results of the selected checks. If one can't be evaluated, the others are, and then the step fails."""
    selected = {key.name for key in context.selected_asset_check_keys}
    evaluations = [_stored_results(dataset, selected & CHECKS.keys(), tools)]
    evaluations += [evaluate(dataset, tools) for name, evaluate in REQUESTING.items() if name in selected]
    failure: Exception | None = None
    for results in evaluations:
        try:
            yield from results
        except Exception as error:
            if failure:
                context.log.warning(f"{type(error).__name__}: {error}")
            failure = failure or error
    if failure:
        raise failure


def _stored_results(dataset: Dataset, selected: Set[str], tools: Tools) -> Iterator[dg.AssetCheckResult]:
    if not selected:
        return
    store, now_s = tools.open_dataset(dataset), tools.turns.clock()
    if chunk_checks := sorted(selected - {COMBINED_EQUALS_CHUNKS}):
        verification = verify(store, fresh=tools.written)
        # What is found damaged now, the next night must not take for good.
        note(store, verification, now_s)
        for name in chunk_checks:
            yield chunk_result(verification, name)
    if COMBINED_EQUALS_CHUNKS in selected:
        agreement, detail = combined_agreement(store)
        if agreement is not Agreement.EQUAL:
            forget_combined(store)
        yield combined_result(store.dataset, agreement, detail)


def _comparison_results(dataset: Dataset, tools: Tools) -> Iterator[dg.AssetCheckResult]:
    """Whether stored klines equal those of the source that they were not loaded from, REST or the archive."""
    store = tools.open_dataset(dataset)
    now = datetime.now(UTC)
    settled = Span(0, int(now.timestamp() * 1000) - _SETTLED_AFTER_MS)
    days = sample(store, settled, _SAMPLE_DAYS, f"{now:%Y-%m-%d}")
    crosschecks = []
    for against in ("rest", "archive"):
        of_other = [day for day in days if (against == "rest") == ("archive" in store.entries[day.key].source)]
        if of_other:
            with closing(tools.opener(against)(dataset.market, dataset.pair)) as source:
                crosschecks.append(crosscheck(store, source, against=against, days=of_other))
    yield _comparison_result(dataset, crosschecks)


def _freshness_results(dataset: Dataset, tools: Tools) -> Iterator[dg.AssetCheckResult]:
    """Whether a live dataset has the exchange's newest closed klines."""
    passed, description, metadata = True, "not live, so it is not expected to be current", dict[str, Any]()
    if (stored := tools.store.find(dataset.market, dataset.pair)) and stored.live:
        with closing(tools.opener(None)(dataset.market, dataset.pair)) as source:
            try:
                fresh = freshness(tools.store.open(stored), source)
            except SourceError as error:
                passed, description = False, str(error)
            else:
                passed, description = fresh.ok, fresh.detail
                metadata = {} if fresh.lag_minutes is None else {"lag_minutes": fresh.lag_minutes}
    yield dg.AssetCheckResult(
        asset_key=asset_key(dataset, KLINES),
        check_name=FRESH,
        passed=passed,
        severity=dg.AssetCheckSeverity.WARN,
        description=description,
        metadata=metadata,
    )


REQUESTING = {FRESH: _freshness_results, MATCHES_OTHER_SOURCE: _comparison_results}
"""The checks that send requests: from a dataset and the tools to their results."""


def damage_check_of(store: Store, path: StorePath, refusal: str) -> dg.AssetChecksDefinition:
    """The check that fails while this `dataset.json` cannot be used; its dataset has no other definitions then.

    Args:
        store: the data root.
        path: the `dataset.json`.
        refusal: why Dagster cannot have the dataset; empty if the file cannot be read.
    """
    exchange_id, token = owner_of(path)

    @dg.asset_check(
        name=CAN_BE_READ,
        asset=dg.AssetKey(asset_path_of_folder(exchange_id, token, KLINES)),
        description=f"{path} can be read and used. Reload the code location after you have restored it.",
    )
    def read() -> dg.AssetCheckResult:
        try:
            dataset = store.read(path)
        except StoreError as error:
            return dg.AssetCheckResult(passed=False, description=str(error))
        if refusal:
            return dg.AssetCheckResult(passed=False, description=refusal)
        return dg.AssetCheckResult(passed=True, description=f"{dataset.name}: reload the code location")

    return read


def _comparison_result(dataset: Dataset, crosschecks: list[CrossCheck]) -> dg.AssetCheckResult:
    days = sum(checked.days for checked in crosschecks)
    differing = [
        (checked.against, day, minutes) for checked in crosschecks for day, minutes in checked.differing_days.items()
    ]
    not_compared = [day_and_reason for checked in crosschecks for day_and_reason in checked.not_compared]
    nothing_compared = bool(crosschecks) and all(checked.nothing_compared for checked in crosschecks)
    findings = [
        (checked.against, difference.text(checked.against))
        for checked in crosschecks
        for difference in checked.differences
    ] + not_compared
    if differing:
        against, day, minutes = differing[0]
        command = f"{dataset.repair_command} --against {against} --every-day"
        description = f"{day}: {count_text(minutes, 'minute')} not equal; run {command}"
    elif nothing_compared:
        description = f"nothing could be compared: {not_compared[0][1]}"
    else:
        description = f"{count_text(days, 'day')}, equal" if days else "no day is old enough to be compared"
    return dg.AssetCheckResult(
        asset_key=asset_key(dataset, KLINES),
        check_name=MATCHES_OTHER_SOURCE,
        passed=all(checked.ok for checked in crosschecks) or (days > 0 and not differing),
        severity=dg.AssetCheckSeverity.ERROR if differing else dg.AssetCheckSeverity.WARN,
        description=description,
        metadata={"days": days, "klines": sum(checked.rows for checked in crosschecks)}
        | ({"findings": findings_table(findings[:MOST_FINDINGS])} if findings else {}),
    )
