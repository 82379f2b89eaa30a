"""Random sequences of commands on one dataset.

Belongs here: the commands, and what must hold after each. Does not belong here: how the model follows them (`model`),
how many sequences are run (`test_model`).
"""

from contextlib import nullcontext, suppress
from typing import cast

import pyarrow.parquet as pq
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from market_data_pipeline.core.errors import SourceUnavailable, StoreError
from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.days import MINUTE_MS, parse_zone
from market_data_pipeline.core.klines.table import SCHEMA
from market_data_pipeline.core.live.market import LiveMarket
from market_data_pipeline.core.loading.day import DayResult
from market_data_pipeline.core.loading.load_days import backfill
from market_data_pipeline.core.loading.plan import Load, Outcome
from market_data_pipeline.core.proof.prove import prove
from market_data_pipeline.core.proof.repair import repair
from market_data_pipeline.core.proof.verify import verify
from market_data_pipeline.core.sources.opening import LiveSources
from market_data_pipeline.core.store import layout
from market_data_pipeline.core.store.combined import combine
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.core.store.storage.places import storage_of
from market_data_pipeline_tests.model.model import DAYS, PAIR, WRITERS, Model
from market_data_pipeline_tests.model.said import MOST_VERSIONS

_OTHER_ZONE = parse_zone("Asia/Tokyo")
_WHO = st.integers(0, WRITERS - 1)


def has_dataset(model: Model) -> bool:
    return model.find() is not None


class StoreMachine(Model):
    """Subclasses name the place, the zone and the first day."""

    @initialize(days=st.integers(0, DAYS - 1), minute=st.integers(0, 1439))
    def begin(self, days: int, minute: int) -> None:
        self.start(days, minute)

    # --- the exchange

    @rule(minutes=st.sampled_from([1, 3, 20, 200, 1440]))
    def time_passes(self, minutes: int) -> None:
        if self.said.clock_ms < self.said.within.end_ms - 4 * 1440 * MINUTE_MS:
            self.said.clock_ms += minutes * MINUTE_MS

    @rule()
    def trading_stops(self) -> None:
        self.said.pause()

    @precondition(lambda self: self.said.paused_ms is not None)
    @rule()
    def trading_goes_on(self) -> None:
        self.said.go_on()

    @precondition(lambda self: self.said.version.max() < MOST_VERSIONS)
    @rule(back=st.integers(1, 4) | st.integers(1, 3000), minutes=st.integers(1, 30))
    def values_change(self, back: int, minutes: int) -> None:
        start_ms = max(self.said.within.start_ms, self.said.closed_ms - back * MINUTE_MS)
        self.said.revise(Span(start_ms, min(start_ms + minutes * MINUTE_MS, self.said.within.end_ms)))

    # --- commands

    @rule(who=_WHO, back=st.integers(0, DAYS), days=st.integers(1, 3), refetch=st.booleans())
    def load(self, who: int, back: int, days: int, refetch: bool) -> None:
        """Load some days; earlier ones than before move the dataset's start."""
        window = self.window(back, days)
        with self.told():
            self.follow_results(backfill(self.store_of(who, window), self.said, window, refetch=refetch))

    @rule(who=_WHO, back=st.integers(0, DAYS), days=st.integers(1, 3), page=st.integers(0, 4))
    def load_while_the_exchange_goes_away(self, who: int, back: int, days: int, page: int) -> None:
        window, left = self.window(back, days), page

        def goes_away() -> None:
            nonlocal left
            self.said.is_down, left = left == 0, left - 1

        with self.cut_off(goes_away):
            store = self.store_of(who, window)
            with suppress(SourceUnavailable):
                for result in backfill(store, self.said, window):
                    assert result.outcome is not Outcome.FAILED or result.may_pass
                    self.follow_results([result])
        self.doubt(window)

    @rule(who=_WHO, back=st.integers(0, DAYS), days=st.integers(1, 3), page=st.integers(0, 4))
    def load_and_be_killed(self, who: int, back: int, days: int, page: int) -> None:
        window, left = self.window(back, days), page
        copies = []

        def kill() -> None:
            nonlocal left
            if left == 0:
                copies.append(self.copy())
            left -= 1

        with self.cut_off(kill):
            store = self.store_of(who, window)
            for result in backfill(store, self.said, window):
                if not copies:
                    self.follow_results([result])
        if copies:
            self.go_on_with(copies[0])
        self.doubt(window)

    @precondition(has_dataset)
    @rule(who=_WHO, minutes=st.integers(1, 25), loads=st.booleans(), changes=st.booleans(), is_killed=st.booleans())
    def follow(self, who: int, minutes: int, loads: bool, changes: bool, is_killed: bool) -> None:
        """Live mode for some minutes; perhaps a backfill beside it, other values, a kill at the end."""
        live = LiveMarket(
            Store(self.root, manifest_interval_s=1e9),
            cast("LiveSources", self.said),
            who="the model",
            manifest_interval_s=0,
        )
        copied = None
        try:
            assert live.follow([self.dataset]) == {}
            for number in range(minutes):
                self.said.clock_ms += MINUTE_MS
                self.tick(live)
                if changes and number % 5 == 3:
                    self.values_change(back=2, minutes=1)
                if loads and number == minutes // 2:
                    self.load(who, 0, 1, refetch=False)
                if is_killed and number == minutes - 1:
                    copied = self.copy()
                live.flush()
        finally:
            live.close()
        if copied:
            self.go_on_with(copied)

    @precondition(has_dataset)
    @rule(who=_WHO)
    def prove_and_repair(self, who: int) -> None:
        store = self.stores[who] = self.opened(who)
        store.refresh()
        proof = prove(store)
        found = {day.key for day in proof.bad_days}
        assert found <= self.damaged | self.unproven, found
        results: list[DayResult] = []

        def ignore(load: Load) -> None:
            """Nothing is shown."""

        with self.told():
            repaired = list(
                repair(store, proof, lambda _: self.said, source="rest", on_load=ignore, on_day=results.append)
            )
            assert [each for each in repaired if not each.ok] == []
            self.follow_results(results)
        self.damaged.clear()
        self.unproven.clear()
        assert verify(store).ok

    @precondition(has_dataset)
    @rule(who=_WHO)
    def combine(self, who: int) -> None:
        if self.damaged:
            return
        store = self.stores[who] = self.opened(who)
        store.refresh()
        if not store.entries:
            return
        combined = combine(store)
        files = storage_of(combined.path)
        with files.open(combined.path) as opened:
            table = pq.read_table(opened)
        assert table.num_rows == combined.rows
        self.check_klines(table, whole=False)

    @precondition(has_dataset)
    @rule(data=st.data(), how=st.sampled_from(["bit", "cut", "empty", "gone"]))
    def damage(self, data: st.DataObject, how: str) -> None:
        """A chunk on disk is not what was written."""
        chunks = self.chunk_files()
        if not chunks:
            return
        day = data.draw(st.sampled_from(sorted(chunks)))
        path = chunks[day]
        files = storage_of(path)
        content = bytearray(files.read(path, 1 << 30))
        if how == "gone" or not content:
            files.remove(path)
        else:
            if how == "bit":
                content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
            files.write(path, bytes(content[: {"cut": len(content) // 2, "empty": 0}.get(how, len(content))]))
        self.damaged.add(day)
        self.owe_nothing(self.day(day))

    @precondition(has_dataset)
    @rule(what=st.sampled_from(["gone", "nonsense"]))
    def lose_the_manifest(self, what: str) -> None:
        path = self.folder() / layout.MANIFEST_FILE
        if what == "gone":
            storage_of(path).remove(path)
        else:
            storage_of(path).write(path, b'{"format": 1, "entr')

    @precondition(has_dataset)
    @rule()
    def name_another_zone(self) -> None:
        """The dataset keeps its zone, whoever opens it."""
        found = self.store_of_all().create(Market.SPOT, PAIR, zone=_OTHER_ZONE, start=self.first_day)
        assert found.dataset == self.dataset

    # --- what must hold

    @invariant()
    def what_is_read_was_said_and_nothing_is_lost(self) -> None:
        if not has_dataset(self):
            return
        reader = self.reader()
        if not self.damaged:
            whole = Span(self.said.within.start_ms, self.said.within.end_ms)
            table = reader.klines(whole, SCHEMA.names)
            self.check_klines(table, whole=True)
            self.check_absences(reader.absences(whole), table)
            return
        for day in reader.days():
            with suppress(StoreError) if day in self.damaged else nullcontext():
                span = Span(self.day(day).start_ms, self.day(day).end_ms)
                self.check_klines(reader.klines(span, SCHEMA.names), whole=False)
