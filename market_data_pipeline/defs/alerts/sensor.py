"""The sensor `alerts`: each minute it looks for failures, and sends what is due.

Belongs here: one tick. Does not belong here: what is due (`memory`), how it is sent (`webhook`).
https://docs.dagster.io/guides/automate/sensors
"""

import logging
import socket
import time
from collections.abc import Collection, Iterable

import dagster as dg
from pydantic import SecretStr

from market_data_pipeline.core.klines.dataset import Dataset
from market_data_pipeline.core.text import count_text
from market_data_pipeline.defs.alerts.memory import Memory
from market_data_pipeline.defs.alerts.news import newest_event, news, still_fails
from market_data_pipeline.defs.alerts.webhook import NotDelivered, Webhook
from market_data_pipeline.instance.names import ALERTS, KLINES, asset_path

_log = logging.getLogger(__name__)
# Dagster ends a tick after 60 s, and what it sent would be forgotten. A try takes 10 s at most.
_SENDS_FOR_S = 30.0


def alert_sensor(
    url: SecretStr, *, unstored: Iterable[Dataset] = (), unsure: Collection[str] = ()
) -> dg.SensorDefinition:
    """The sensor that sends alerts to this URL.

    Args:
        url: the webhook.
        unstored: datasets that are defined and not stored, so that nothing evaluates their checks: the default one,
            before its first load or after it was deleted.
        unsure: each exchange_id of which nobody knows which datasets are deleted, as one cannot be read, or as the data
            root has none at all, which may be a disk that is not mounted.
    """
    webhook = Webhook(url)
    left_out = {tuple(asset_path(dataset, KLINES)[:2]) for dataset in unstored}

    @dg.sensor(
        name=ALERTS,
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Each minute, sends news of failed runs and checks to MARKET_DATA_ALERT_URL: one message a cause.",
    )
    def alerts(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        looked_s, newest = time.time(), newest_event(context.instance)
        memory = Memory.parse(context.cursor or "")
        if memory is None:
            told = "From now on failures are sent to MARKET_DATA_ALERT_URL."
            return dg.SensorResult(cursor=Memory(newest, newest, looked_s=looked_s).dump(), skip_reason=told)
        since_s = None
        if newest < max(memory.runs_after, memory.checks_after):
            # The database is new and its ids begin anew, or the newest run was deleted: only times tell what is news.
            memory.runs_after, memory.checks_after, since_s = 0, 0, memory.looked_s
        found = news(context.instance, memory.runs_after, memory.checks_after, since_s=since_s)
        keys = _keys_of(context, left_out)
        memory.note(
            found,
            defined=keys.keys(),
            unsure=unsure,
            still_fails=lambda check: still_fails(context.instance, keys.get(check, [])),
        )
        # Where nothing was found, the next look begins here and not with the first event.
        memory.runs_after, memory.checks_after = memory.runs_after or newest, memory.checks_after or newest
        memory.looked_s = looked_s
        summary = _send(memory, webhook)
        memory.forget(time.time())
        return dg.SensorResult(cursor=memory.dump(), skip_reason=summary)

    return alerts


def _keys_of(
    context: dg.SensorEvaluationContext, left_out: Collection[tuple[str, ...]]
) -> dict[tuple[str, str], list[dg.AssetCheckKey]]:
    """The checks that the code location has, but for those of datasets that are left out, by exchange and name."""
    keys: dict[tuple[str, str], list[dg.AssetCheckKey]] = {}
    for key in context.repository_def.asset_graph.asset_check_keys if context.repository_def else ():
        if tuple(key.asset_key.path[:2]) not in left_out:
            keys.setdefault((key.asset_key.path[0], key.name), []).append(key)
    return keys


def _send(memory: Memory, webhook: Webhook) -> str:
    """Send what is due, and tell how that went, in one line; what was not taken is tried again at the next tick."""
    until_s, sent = time.monotonic() + _SENDS_FOR_S, 0
    for message in memory.due(time.time()):
        try:
            if time.monotonic() > until_s:
                raise NotDelivered("the webhook is slow")
            body = {**memory.body(message), "host": socket.gethostname()}
            webhook.send(body, until_s=until_s)
        except NotDelivered as error:
            _log.warning("alerts wait, and are sent again in a minute: %s", error)
            return f"{error}; {count_text(memory.untold, 'cause')} to tell, tried again at the next tick"
        memory.told(message, time.time())
        sent += 1
    return f"{count_text(sent, 'message')} sent."
