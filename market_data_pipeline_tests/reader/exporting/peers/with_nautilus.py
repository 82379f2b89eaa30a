"""What NautilusTrader reads of an export: run by its own Python, it prints JSON. Does not belong here: assertions.

    python with_nautilus.py CATALOG INSTRUMENT REWRITTEN

It queries the catalog for the bars of an instrument, and writes them into a catalog of its own in REWRITTEN.
"""

import json
import sys

import nautilus_trader
from nautilus_trader.model.data import Bar
from nautilus_trader.persistence.catalog import ParquetDataCatalog

path, instrument, rewritten = sys.argv[1:4]
catalog = ParquetDataCatalog(path)
bars = catalog.query(Bar, identifiers=[instrument])
ParquetDataCatalog(rewritten).write_data(bars)
bar_type = str(bars[0].bar_type)
print(
    json.dumps(
        {
            "version": nautilus_trader.__version__,
            "types": catalog.list_data_types(),
            "intervals": catalog.get_intervals(Bar, bar_type),
            "bar_type": bar_type,
            "precision": [bars[0].open.precision, bars[0].volume.precision],
            "rows": [
                [bar.ts_event, str(bar.open), str(bar.high), str(bar.low), str(bar.close), str(bar.volume), bar.ts_init]
                for bar in bars
            ],
        }
    )
)
