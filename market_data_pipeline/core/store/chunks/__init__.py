"""The chunk files of a dataset: one Parquet file for each local day.

Belongs here: the encoding of klines and footer, preparing and reading files, the list of chunks, their hashes. Does not
belong here: writing them and the manifest (`store.dataset_store`), reading many as one (`store.combined`).
May import: `store.layout`, `store.atomic`, `store.records`, `store.manifest`, `core.klines`, `core.errors`.
"""
