"""Named lists of chunks, so that research can be repeated to the byte: what they name stays, though it is replaced.

Belongs here: the list and its files (`lists`), making and removing one (`making`, `removing`), keeping a chunk before
another takes its place (`keeping`), proof that all of it is there (`proving`). Does not belong here: reading klines of
a snapshot (`reader.snapshot`), the catalog's snapshots of pairs (`store.catalog`).

    <root>/snapshots/<NAME>/                         one snapshot
        snapshot.json                                written last: without it there is no snapshot
        market-data.toml                             the universes, as they were
        <exchange_id>/<TOKEN>/1m/dataset.json        a dataset, as it was
        <exchange_id>/<TOKEN>/1m/manifest.json       its chunks of days that were over, with their sha256
    <dataset>/kept/<sha256>.parquet                  a chunk that a snapshot names and that was replaced

No chunk is copied when a snapshot is made. Who replaces a chunk copies it before, if a snapshot names it.
"""
