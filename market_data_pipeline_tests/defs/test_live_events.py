"""Events that Dagster refused are told again, each once, and of each dataset at most a hundred are kept."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta

import dagster as dg

from market_data_pipeline.core.live.dataset import Update
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.defs.live_events import LiveEvent, LiveEvents
from market_data_pipeline_tests.defs.loading import BTC, Loading


def days_in(events: Sequence[LiveEvent]) -> list[str | None]:
    return [event.partition for event in events if isinstance(event, dg.AssetMaterialization)]


def test_what_was_not_told_is_told_with_the_next_update_and_then_no_more(load: Loading) -> None:
    load.run(BTC, "2024-05-01", "2024-05-02")
    store, events = load.store(BTC), LiveEvents()
    first, second = (Update(BTC.name, None, entries=(entry,)) for entry in store.entries.values())
    with dg.DagsterInstance.ephemeral() as instance:
        events.note(first)
        assert days_in(events.untold(BTC.name, lambda: store, instance)) == ["2024-05-01"]
        events.note(second)
        both = events.untold(BTC.name, lambda: store, instance)
        assert days_in(both) == ["2024-05-01", "2024-05-02"]
        for event in both:
            events.told(BTC.name, event)
        assert events.untold(BTC.name, lambda: store, instance) == []


def test_days_of_updates_that_had_no_look_at_events_are_told_later(load: Loading) -> None:
    load.run(BTC, "2024-05-01", "2024-05-02")
    store, events = load.store(BTC), LiveEvents()
    for entry in store.entries.values():
        events.note(Update(BTC.name, None, entries=(entry,)))
    with dg.DagsterInstance.ephemeral() as instance:
        assert days_in(events.untold(BTC.name, lambda: store, instance)) == ["2024-05-01", "2024-05-02"]


def test_of_each_dataset_the_newest_hundred_events_are_kept(tmp_path) -> None:
    store = Store(tmp_path).create(BTC.market, BTC.pair, zone=BTC.zone, start=BTC.start)
    events, kept = LiveEvents(), list[LiveEvent]()
    with dg.DagsterInstance.ephemeral() as instance:
        for number in range(150):
            events.note(Update(BTC.name, None, error=None if number % 2 else f"refused {number}"))
            kept = events.untold(BTC.name, lambda: store, instance)
    assert len(kept) == 100
    assert [event.description for event in kept[-2:]] == ["refused 148", "current"]


def test_of_each_dataset_the_newest_hundred_days_are_remembered(load: Loading) -> None:
    load.run(BTC, "2024-05-01")
    store, events = load.store(BTC), LiveEvents()
    [entry] = store.entries.values()
    days = [f"{date(2024, 5, 1) + timedelta(number)}" for number in range(150)]
    with dg.DagsterInstance.ephemeral() as instance:

        def tell(day: str) -> list[LiveEvent]:
            events.note(Update(BTC.name, None, entries=(replace(entry, day=day),)))
            untold = events.untold(BTC.name, lambda: store, instance)
            for event in untold:
                events.told(BTC.name, event)
            return untold

        assert all(map(tell, days))
        assert not any(map(tell, days[50:]))
        assert tell(days[49])
