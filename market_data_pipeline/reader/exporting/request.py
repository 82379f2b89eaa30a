"""A request for an export: which pairs, minutes, format and folder, and going through the pairs.

Belongs here: reading the request, refusing what cannot be done before anything is written, one pair after another. Does
not belong here: the formats, which pairs a word means (`reader.choosing`).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from market_data_pipeline.core.errors import PASSING, StoreError, UsageError
from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.days import parse_zone
from market_data_pipeline.core.klines.patterns import parse_patterns
from market_data_pipeline.core.klines.table import FIELDS
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.core.store.storage.ahead import in_order
from market_data_pipeline.core.text import count_text
from market_data_pipeline.reader import open_dataset, open_panel
from market_data_pipeline.reader.choosing import Pairs, among, disk_in_one_line, store_at, store_of_names, words_of
from market_data_pipeline.reader.exporting import panels
from market_data_pipeline.reader.exporting.forms import Form
from market_data_pipeline.reader.exporting.freqtrade import FreqtradeFiles
from market_data_pipeline.reader.exporting.lean import LeanFiles
from market_data_pipeline.reader.exporting.nautilus import NautilusFiles
from market_data_pipeline.reader.exporting.output import only_writer, output_at
from market_data_pipeline.reader.exporting.report import Exported, ExportReport
from market_data_pipeline.reader.exporting.sources import Source, Tally, notes_of_zones
from market_data_pipeline.reader.exporting.tabular import FILES, PairFiles
from market_data_pipeline.reader.panel import Panel
from market_data_pipeline.reader.resampling import RESAMPLED_FIELDS, Interval, parse_interval
from market_data_pipeline.reader.windows import Instant, window_of

_OF_PEERS: dict[str, Form] = {
    "feather-freqtrade": FreqtradeFiles(),
    "lean": LeanFiles(),
    "nautilus": NautilusFiles(),
}
FORMATS = (*FILES, *_OF_PEERS)
PANELS = ("long", "wide")
_CLOSE = ("close",)

OnPair = Callable[[str, int, int], None]
"""Called with the name of a dataset that begins, `spot BTC/USDT`, its place from 1, and how many there are."""


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What to export, as `export` takes it."""

    format: str
    output: str | Path
    pairs: Pairs = ()
    start: Instant = None
    end: Instant = None
    tz: str | None = None
    market: str | None = None
    universe: str | None = None
    panel: str | None = None
    columns: str | Sequence[str] = ()
    overwrite: bool = False
    root: str | Path | None = None
    as_of: str | None = None
    interval: str = "1m"

    def run(self, on_pair: OnPair = lambda *_: None) -> ExportReport:
        """Write the files of one pair after another.

        Raises:
            UsageError: see `export`; nothing was written.
            StoreUnavailable: the folder takes no file now.
        """
        interval = parse_interval(self.interval)
        columns = self._columns(RESAMPLED_FIELDS if interval.minutes > 1 else FIELDS)
        store, market = store_at(self.market, self.root)
        names = store_of_names(store, self.as_of)
        has_chosen, as_of = self.market is not None, self.as_of
        market, words = words_of(names, market, self.pairs, self.universe, has_chosen=has_chosen, as_of=as_of)
        with disk_in_one_line():
            output = output_at(self.output, store.root)
            sources, failed = self._sources(names, market, words or [_default_pair()], interval)
        with disk_in_one_line(), only_writer(output):
            if self.panel:
                results = [*failed] if failed else [self._panel(output, market, sources, columns, on_pair)]
            else:
                form = _OF_PEERS.get(self.format) or PairFiles(self.format, columns)
                self._refuse(path for source in sources for path in form.in_the_way(output, source))
                results = [*failed, *_each(form, output, sources, on_pair)]
        warnings = notes_of_zones(sources, self.start, self.end) if self.tz is None else ()
        report = ExportReport(market, self.format, output, tuple(results), warnings, interval.name)
        if report.ok and not report.files:
            of_which = f"whole klines of {interval.name}" if interval.minutes > 1 else "klines"
            raise UsageError(
                f"there are no {of_which} in the window to export; market-data status shows which days are stored"
            )
        return report

    def _columns(self, known: Sequence[str]) -> Sequence[str]:
        """The columns that are asked for, with the open time before them; all of those that there are if none is.

        Raises:
            UsageError: there is no such format, panel or column, or they do not go together.
        """
        if self.format not in FORMATS:
            raise UsageError(f"no such format: {self.format!r}; give {', '.join(FORMATS)}")
        if self.panel and self.panel not in PANELS:
            raise UsageError(f"no such panel: {self.panel!r}; give {' or '.join(PANELS)}")
        named = list(dict.fromkeys([self.columns] if isinstance(self.columns, str) else self.columns))
        if (self.panel or named) and self.format not in FILES:
            raise UsageError(f"{self.format} has its own files and columns; panels and columns are for csv and parquet")
        if unknown := [name for name in named if name not in known]:
            raise UsageError(f"no such column: {unknown[0]!r}; there are {', '.join(known)}")
        return ["open_time", *(name for name in named if name != "open_time")] if named else known

    def _sources(
        self, names: Store, market: Market, words: Sequence[str], interval: Interval
    ) -> tuple[list[Source], list[Exported]]:
        """What is read of each pair, and the pairs that cannot be read."""
        patterns = parse_patterns(words, has_contracts=market.has_contracts)
        known = names.pairs(market, patterns.may_choose) if patterns.needs_candidates else ()
        chosen = patterns.choose(known, among(self.as_of))

        def look(pair: str) -> Source | Exported:
            try:
                return self._source(pair, market, interval)
            except StoreError as error:
                return _failed(pair, error)

        looked_at = list(in_order(look, chosen, threads=names.most_at_once))
        sources = [each for each in looked_at if isinstance(each, Source)]
        return sources, [each for each in looked_at if isinstance(each, Exported)]

    def _source(self, pair: str, market: Market, interval: Interval) -> Source:
        klines = open_dataset(pair, market=market.value, root=self.root, as_of=self.as_of)
        zone = parse_zone(self.tz) if self.tz is not None else klines.zone
        extent = cache(klines.extent)
        asked = window_of(self.start, self.end, zone, extent)
        # Other programs know the exchange's own klines, whose bins are those of UTC.
        bins = parse_zone("UTC") if self.format in _OF_PEERS else zone
        is_whole = self.start is None, self.end is None
        return Source.of(klines, asked, extent(), interval, bins, is_whole=is_whole)

    def _panel(
        self, output: Path, market: Market, sources: list[Source], columns: Sequence[str], on_pair: OnPair
    ) -> Exported:
        """All pairs in one file."""
        kind = str(self.panel)
        path = panels.panel_path(output, market, sources[0].interval.name, kind, self.format)
        self._refuse(each for each in [path] if each.exists())
        on_pair(f"{kind} panel of {count_text(len(sources), f'{market} pair')}", 1, 1)
        pairs = [source.dataset.pair for source in sources]
        try:
            if kind == "long":
                return panels.write_long(path, self.format, sources, columns)
            values = [name for name in columns if name != "open_time"] if self.columns else []
            panel = open_panel(
                pairs,
                values or _CLOSE,
                self.start,
                self.end,
                self.interval,
                tz=self.tz,
                market=market.value,
                root=self.root,
                as_of=self.as_of,
            )
            return panels.write_wide(path, self.format, panel, self._wide_window(panel, sources), sources)
        except StoreError as error:
            return _failed(f"{kind} panel", error)

    def _wide_window(self, panel: Panel, sources: Sequence[Source]) -> Span:
        """What is asked for; of longer klines, an end that nobody asked for is that of the first or last one."""
        if panel.interval.minutes == 1:
            return panel.window
        # One without klines there has no bins, or those of another window.
        known = [source for source in sources if source.window.minutes]
        if not known:
            return sources[0].window
        starts = (source.window if self.start is None else source.bins for source in known)
        ends = (source.window if self.end is None else source.bins for source in known)
        return Span(min(span.start_ms for span in starts), max(span.end_ms for span in ends))

    def _refuse(self, in_the_way: Iterator[Path]) -> None:
        """Refuse files that are there, unless they may be replaced.

        Raises:
            UsageError: there is one; or the format cannot have a pair, or replace one of its files.
        """
        for path in in_the_way:
            if not self.overwrite:
                raise UsageError(f"{path} is there already; give --overwrite (overwrite=True), or another folder")


def _each(form: Form, output: Path, sources: Sequence[Source], on_pair: OnPair) -> Iterator[Exported]:
    for place, source in enumerate(sources, 1):
        name, tally = source.dataset.pair, Tally()
        on_pair(source.dataset.name, place, len(sources))
        try:
            written = form.write(output, source, tally)
        except StoreError as error:
            yield _failed(name, error)
            continue
        size_bytes = sum(path.stat().st_size for path in written.files)
        counted = tally.rows, tally.first_open_ms, tally.last_open_ms
        yield Exported(name, written.files, *counted, size_bytes, written.notes)


def _failed(name: str, error: StoreError) -> Exported:
    return Exported(name, problem=str(error), may_pass=isinstance(error, PASSING))


def _default_pair() -> str:
    from market_data_pipeline import settings  # imported late, as in `reader.choosing`

    return settings.load().symbol
