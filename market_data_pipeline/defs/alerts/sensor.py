"""The sensor `alerts`: each minute it looks for failures, and sends what is due.

Belongs here: one tick. Does not belong here: what is due (`memory`), how it is sent (`webhook`).
https://docs.dagster.io/guides/automate/sensors
"""

import logging
import socket
import time

import dagster as dg
from pydantic import SecretStr

from market_data_pipeline.core.text import count_text
from market_data_pipeline.defs.alerts.memory import Memory
from market_data_pipeline.defs.alerts.news import newest_event, news, still_fails
from market_data_pipeline.defs.alerts.webhook import NotDelivered, Webhook
from market_data_pipeline.instance.names import ALERTS

_log = logging.getLogger(__name__)
# Dagster ends a tick after 60 s, and what it sent would be forgotten. A try takes 10 s at most.
_SENDS_FOR_S = 30.0


def alert_sensor(url: SecretStr) -> dg.SensorDefinition:
    """The sensor that sends alerts to this URL."""
    webhook = Webhook(url)

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
        memory.note(found, still_fails=lambda check: still_fails(context.instance, _keys(context, check)))
        # Where nothing was found, the next look begins here and not with the first event.
        memory.runs_after, memory.checks_after = memory.runs_after or newest, memory.checks_after or newest
        memory.looked_s = looked_s
        summary = _send(memory, webhook)
        memory.forget(time.time())
        return dg.SensorResult(cursor=memory.dump(), skip_reason=summary)

    return alerts


def _keys(context: dg.SensorEvaluationContext, check: tuple[str, str]) -> list[dg.AssetCheckKey]:
    """The checks of this name that the code location has of datasets of this exchange."""
    exchange_id, name = check
    graph = context.repository_def.asset_graph if context.repository_def else None
    return (
        [key for key in graph.asset_check_keys if key.name == name and key.asset_key.path[0] == exchange_id]
        if graph
        else []
    )


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
